//! Points in time, as the wire and the stores have them: milliseconds since 1970-01-01T00:00:00Z.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Milliseconds in a day of UTC.
pub const DAY_MS: i64 = 86_400_000;
/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;

/// Milliseconds since the Unix epoch. Shown, and sent, as ISO 8601 UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The UTC day, counted from 1970-01-01 = 0.
    pub fn day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// The UTC hour, counted from 1970-01-01T00 = 0.
    pub fn hour(self) -> i64 {
        self.0.div_euclid(HOUR_MS)
    }

    /// This time and `ms` milliseconds.
    pub fn plus_ms(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Reads ISO 8601 with an offset or `Z`, or a plain date (midnight UTC). `None` for anything else.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let at = text
            .parse::<jiff::Timestamp>()
            .or_else(|_| format!("{}T00:00:00Z", text.parse::<jiff::civil::Date>()?).parse())
            .ok()?;
        Some(Timestamp(at.as_millisecond()))
    }
}

/// The date of a day number as `YYYY-MM-DD`.
pub fn date_of(day: i64) -> String {
    Timestamp(day.saturating_mul(DAY_MS)).to_string().chars().take(10).collect()
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Howard Hinnant's days-to-civil algorithm: this runs for every event, where a calendar library is too slow.
        let (days, ms) = (self.0.div_euclid(DAY_MS), self.0.rem_euclid(DAY_MS));
        let z = days + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
        let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (h, m, s) = (ms / HOUR_MS, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", ms % 1_000)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| D::Error::custom("not an ISO 8601 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc_with_milliseconds() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(ms).to_string(), text);
            assert_eq!(Timestamp::parse(text), Some(Timestamp(ms)));
        }
    }

    #[test]
    fn dates_and_offsets_are_read_and_nonsense_is_not() {
        assert_eq!(Timestamp::parse("2023-11-14"), Some(Timestamp(1_699_920_000_000)));
        assert_eq!(Timestamp::parse("2023-11-14T01:00:00+01:00"), Some(Timestamp(1_699_920_000_000)));
        assert_eq!(Timestamp::parse("yesterday"), None);
        assert_eq!(date_of(Timestamp(1_699_920_000_000).day()), "2023-11-14");
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_read_back(ms in -60_000_000_000_000_i64..250_000_000_000_000) {
            proptest::prop_assert_eq!(Timestamp::parse(&Timestamp(ms).to_string()), Some(Timestamp(ms)));
        }
    }
}
