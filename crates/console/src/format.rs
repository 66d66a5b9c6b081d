//! Figures, times and words as pages show them.

use std::borrow::Borrow;

use tributary_domain::{
    Timestamp,
    time::{DAY_MS, HOUR_MS},
};

/// A minute, in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// `18204` as `18,204`.
pub(crate) fn number(value: impl Borrow<i64>) -> String {
    let value = *value.borrow();
    let digits = value.unsigned_abs().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        grouped.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1` and "product" as `1 product`, `3` as `3 products`.
pub(crate) fn counted(value: usize, noun: &str) -> String {
    let number = number(i64::try_from(value).unwrap_or(i64::MAX));
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        _ if value == 1 => format!("{number} {noun}"),
        Some(stem) => format!("{number} {stem}ies"),
        None => format!("{number} {noun}s"),
    }
}

/// How long ago, in words.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let past = (now.0 - at.0).max(0);
    match past {
        _ if past < 5_000 => "just now".to_owned(),
        _ if past < MINUTE_MS => format!("{} s ago", past / 1_000),
        _ if past < HOUR_MS => format!("{} min ago", past / MINUTE_MS),
        _ if past < 2 * DAY_MS => format!("{} h ago", past / HOUR_MS),
        _ => format!("{} days ago", past / DAY_MS),
    }
}

/// A moment as a page shows it: relative, with the exact one beside it.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// ISO 8601, UTC.
    pub(crate) iso: String,
    /// In words.
    pub(crate) ago: String,
}

impl Moment {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Moment {
        Moment { iso: at.to_string(), ago: ago(at, now) }
    }

    /// Of a time at which something is due, to the second.
    pub(crate) fn due(at: Timestamp, now: Timestamp) -> Moment {
        let left = at.0 - now.0;
        let text = match left {
            _ if left <= 0 => "now".to_owned(),
            _ if left < MINUTE_MS => format!("in {} s", (left + 999) / 1_000),
            _ if left < HOUR_MS => format!("in {} min", (left + MINUTE_MS - 1) / MINUTE_MS),
            _ => format!("in {} h", (left + HOUR_MS - 1) / HOUR_MS),
        };
        Moment { iso: at.to_string(), ago: text }
    }

    /// Of a time to come.
    pub(crate) fn until(at: Timestamp, now: Timestamp) -> Moment {
        let days = (at.0 - now.0).max(0) / DAY_MS;
        Moment {
            iso: at.to_string(),
            ago: format!("in {}", counted(usize::try_from(days).unwrap_or(0), "day")),
        }
    }

    /// Of a text as the API writes times; the text itself where it is none.
    pub(crate) fn parse(text: &str, now: Timestamp) -> Moment {
        match Timestamp::parse(text) {
            Some(at) => Moment::new(at, now),
            None => Moment { iso: text.to_owned(), ago: text.to_owned() },
        }
    }
}

/// The host of an address that may hold templates; the address itself when it has none.
pub(crate) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_thousands_separators() {
        for (value, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (-12_345, "-12,345")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!((counted(1, "product"), counted(3, "product")), ("1 product".into(), "3 products".into()));
    }

    #[test]
    fn times_are_told_in_the_unit_that_says_most() {
        let now = Timestamp(10 * DAY_MS);
        for (past, text) in [
            (0, "just now"),
            (42_000, "42 s ago"),
            (3 * MINUTE_MS, "3 min ago"),
            (47 * HOUR_MS, "47 h ago"),
            (3 * DAY_MS, "3 days ago"),
            (-5_000, "just now"),
        ] {
            assert_eq!(ago(Timestamp(now.0 - past), now), text);
        }
    }

    #[test]
    fn the_host_of_an_address_is_found_also_in_a_template() {
        for (url, host) in [
            ("https://ingest.example.com/v2", "ingest.example.com"),
            ("http://u:p@127.0.0.1:9000?x=/", "127.0.0.1:9000"),
            ("https://{{{REGION}}}.example.com/a", "{{{REGION}}}.example.com"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(host_of(url), host);
        }
    }
}
