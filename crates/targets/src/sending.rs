//! How an integration wants to be sent, whatever its kind: how fast, how many at once, and when again.

use serde_json::{Map, Value};
use tributary_domain::integration::Config;

use crate::fields::{Reader, scalar};

/// Lowest and highest rate, in deliveries per second.
const PER_SECOND: std::ops::RangeInclusive<f64> = 0.01..=10_000.0;
/// Most deliveries that may go at once after a pause.
const BURST_MAX: u32 = 10_000;
/// Most further attempts.
const RETRIES_MAX: usize = 8;
/// Shortest and longest wait before a further attempt, in milliseconds.
const DELAY_MS: std::ops::RangeInclusive<i64> = 1_000..=3_600_000;
const BAD_DELAYS: &str =
    "must be a list of at most 8 lengths of time from 1s to 1h, such as [\"10s\", \"5m\"]";
/// Most deliveries that may be asked to run at once.
const CONCURRENCY_MAX: u32 = 1_000;

/// What an integration says of its own deliveries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sending {
    /// How many start per second.
    pub rate: Option<Rate>,
    /// How many run at once.
    pub concurrency: Option<u32>,
    /// The wait before each further attempt, in milliseconds; none at all when it is empty.
    pub retry_delays_ms: Option<Box<[i64]>>,
}

/// A rate with some room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Deliveries per second.
    pub per_second: f64,
    /// Deliveries that may start together after a pause.
    pub burst: u32,
}

impl Sending {
    /// What a checked configuration says; what is wrong in it counts as absent.
    pub fn of(config: &Config) -> Sending {
        Sending::read(&mut Reader::new(config))
    }

    /// Reads the fields.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Sending {
        Sending {
            rate: read_rate(reader),
            concurrency: read_concurrency(reader),
            retry_delays_ms: read_delays(reader),
        }
    }
}

fn read_rate(reader: &mut Reader<'_>) -> Option<Rate> {
    let rate = reader.object("rate")?;
    let per_second = match number::<f64>(rate, "per_second") {
        Some(Some(per_second)) if PER_SECOND.contains(&per_second) => Some(per_second),
        _ => {
            let (low, high) = (PER_SECOND.start(), PER_SECOND.end());
            reader.error("rate.per_second", format!("must be a number from {low} to {high}"));
            None
        }
    };
    let burst = match number::<u32>(rate, "burst") {
        None => None,
        Some(Some(burst)) if (1..=BURST_MAX).contains(&burst) => Some(burst),
        Some(_) => {
            reader.error("rate.burst", format!("must be a whole number from 1 to {BURST_MAX}"));
            return None;
        }
    };
    let per_second = per_second?;
    // A second's worth, at least one: a rate of 2 lets two go together.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in 0.01..=10,000"
    )]
    let usual = per_second.ceil() as u32;
    Some(Rate { per_second, burst: burst.unwrap_or(usual) })
}

fn read_concurrency(reader: &mut Reader<'_>) -> Option<u32> {
    let given = scalar(reader.given("concurrency")?).and_then(|text| text.trim().parse().ok());
    let fits = given.filter(|given| (1..=CONCURRENCY_MAX).contains(given));
    if fits.is_none() {
        reader.error("concurrency", format!("must be a whole number from 1 to {CONCURRENCY_MAX}"));
    }
    fits
}

fn read_delays(reader: &mut Reader<'_>) -> Option<Box<[i64]>> {
    let given = reader.object("retry")?.get("delays");
    let list = given.and_then(Value::as_array).filter(|list| list.len() <= RETRIES_MAX);
    let delays = list.and_then(|list| list.iter().map(delay_ms).collect());
    if delays.is_none() {
        reader.error("retry.delays", BAD_DELAYS);
    }
    delays
}

/// A length of time: a whole number with `s`, `m` or `h`; without a unit, seconds.
fn delay_ms(value: &Value) -> Option<i64> {
    let text = scalar(value)?;
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit).filter(|ms| DELAY_MS.contains(ms))
}

/// A number in an object, also as the text that a form sends: `None` when absent, `Some(None)` when it is none.
fn number<T: std::str::FromStr>(object: &Map<String, Value>, name: &str) -> Option<Option<T>> {
    let value = object.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))?;
    Some(scalar(value).and_then(|text| text.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn read(config: &Value) -> Result<Sending, Vec<String>> {
        let mut reader = Reader::new(config.as_object().unwrap());
        let sending = Sending::read(&mut reader);
        reader.finish().map_err(|errors| errors.into_iter().map(|error| error.field).collect::<Vec<_>>())?;
        assert_eq!(Sending::of(config.as_object().unwrap()), sending);
        Ok(sending)
    }

    #[test]
    fn a_rate_has_a_second_s_worth_of_room_unless_it_says_otherwise() {
        for (config, per_second, burst) in [
            (json!({"rate": {"per_second": 10}}), 10.0, 10),
            (json!({"rate": {"per_second": 0.5}}), 0.5, 1),
            (json!({"rate": {"per_second": "2.5", "burst": "7"}}), 2.5, 7),
            (json!({"rate": {"per_second": 10_000, "burst": 1}}), 10_000.0, 1),
        ] {
            let rate = Some(Rate { per_second, burst });
            assert_eq!(read(&config).unwrap(), Sending { rate, ..Sending::default() }, "{config}");
        }
        assert_eq!(read(&json!({"concurrency": "4"})).unwrap().concurrency, Some(4));
        assert_eq!(read(&json!({"rate": null, "concurrency": ""})).unwrap(), Sending::default());
    }

    #[test]
    fn delays_have_a_unit_and_an_empty_list_means_no_further_attempt() {
        let delays =
            |given: Value| read(&json!({"retry": {"delays": given}})).unwrap().retry_delays_ms.unwrap();
        let given = json!(["1s", "10s", "2m", "1h", "3600s", 5, " 7 s ", "60m"]);
        let ms = [1_000, 10_000, 120_000, 3_600_000, 3_600_000, 5_000, 7_000, 3_600_000];
        assert_eq!(*delays(given), ms);
        assert_eq!(*delays(json!([])), [] as [i64; 0]);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        for (config, fields) in [
            (json!({"rate": 5}), vec!["rate"]),
            (json!({"rate": {}}), vec!["rate.per_second"]),
            (json!({"rate": {"per_second": 0, "burst": 0}}), vec!["rate.per_second", "rate.burst"]),
            (json!({"rate": {"per_second": 10_001}}), vec!["rate.per_second"]),
            (json!({"rate": {"per_second": "NaN"}}), vec!["rate.per_second"]),
            (json!({"rate": {"per_second": 1, "burst": 1.5}}), vec!["rate.burst"]),
            (json!({"rate": {"per_second": 1, "burst": 10_001}}), vec!["rate.burst"]),
            (json!({"concurrency": 0}), vec!["concurrency"]),
            (json!({"concurrency": 1_001}), vec!["concurrency"]),
            (json!({"concurrency": [1]}), vec!["concurrency"]),
            (json!({"retry": []}), vec!["retry"]),
            (json!({"retry": {}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": "10s"}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": vec!["1s"; 9]}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": ["0s"]}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": ["500ms"]}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": ["61m"]}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": ["-5s"]}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": ["99999999999999999999h"]}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": ["9999999999999999h"]}}), vec!["retry.delays"]),
            (json!({"retry": {"delays": [null, {}]}}), vec!["retry.delays"]),
        ] {
            assert_eq!(read(&config).unwrap_err(), fields, "{config}");
        }
    }
}
