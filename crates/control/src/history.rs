//! What was counted: the history of an integration, and the metrics of a product (contract 4.3).

use std::collections::BTreeMap;

use tributary_domain::{
    ProductId, Timestamp,
    access::{Action, Actor},
    limits,
    time::{DAY_MS, HOUR_MS},
};
pub use tributary_store::history::Counts;
use tributary_store::history::DayRow;

use crate::{Control, Error, place::PlaceKey};

/// The days of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductHistory {
    /// The product.
    pub product: ProductId,
    /// Its slug and name; `None` when it was deleted since.
    pub names: Option<(String, String)>,
    /// One per day of the window, oldest first.
    pub days: Vec<Counts>,
}

/// A window of days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The first day, counted from 1970-01-01 = 0.
    pub from: i64,
    /// The last day: today.
    pub to: i64,
    /// One per day, oldest first: the sum over all products.
    pub total: Vec<Counts>,
    /// By product: the present ones in the order of joining, then former ones. Empty in a sandbox.
    pub products: Vec<ProductHistory>,
    /// How redeliveries ended in these days; they are in none of the others.
    pub redelivered: Counts,
}

/// The window of metrics that is asked for, as the query has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsWindow {
    /// Where it begins; 30 days before its end when absent.
    pub start_date: Option<String>,
    /// Where it ends; now when absent.
    pub end_date: Option<String>,
    /// The length of one bucket: a number with `s`, `m`, `h` or `d`, or seconds; one day when absent.
    pub bucket_size: Option<String>,
}

impl Control {
    /// The history of an integration over the last `days` days, today included: 1 to 30, 30 when absent.
    ///
    /// # Errors
    /// When there is no such integration, or `days` is out of bounds.
    pub async fn history(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        days: Option<&str>,
    ) -> Result<History, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let days = match days {
            None => limits::HISTORY_DAYS,
            Some(text) => text
                .parse()
                .ok()
                .filter(|days| (1..=limits::HISTORY_DAYS).contains(days))
                .ok_or_else(|| {
                    Error::field("days", format!("must be a whole number from 1 to {}", limits::HISTORY_DAYS))
                })?,
        };
        let to = self.now().day();
        let from = to - days + 1;
        let owner = place.owner();
        let integration = found.integration.id;
        let (rows, members) = match found.member {
            Some(member) => (self.store.history_of_member(owner, member.id, [from, to]).await?, vec![member]),
            None => {
                let rows = self.store.history_of_integration(owner, found.integration.id, [from, to]).await?;
                (rows, found.integration.members)
            }
        };
        let only = found.member.map(|member| member.id);
        let redelivered = self.store.redelivered(owner, integration, only, [from, to]).await?;
        let mut products: Vec<ProductId> = members.iter().map(|member| member.product).collect();
        for former in rows.iter().filter_map(|row| row.product) {
            if !products.contains(&former) {
                products.push(former);
            }
        }
        let names = self.product_names(owner).await?;
        let of = |product: ProductId| ProductHistory {
            product,
            names: names.get(&product).cloned(),
            days: fill([from, to], rows.iter().filter(|row| row.product == Some(product))),
        };
        let products = products.into_iter().map(of).collect();
        Ok(History { from, to, total: fill([from, to], rows.iter()), products, redelivered })
    }

    /// The destinations of a place's owner that sleep at the moment, as `host:port`.
    ///
    /// # Errors
    /// When the place is not the caller's to look at.
    pub async fn sleeping_destinations(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
    ) -> Result<Vec<String>, Error> {
        let place = self.place(actor, key, Action::ListIntegrations).await?;
        Ok(self.pipeline.sleeping(place.owner()))
    }

    /// What was counted in a product, in buckets; empty ones are left out. Times are rounded down to whole hours.
    ///
    /// # Errors
    /// When the product is not the caller's to look at, or the window cannot be read.
    pub async fn metrics_of_product(
        &self,
        actor: &Actor,
        product: &str,
        window: &MetricsWindow,
    ) -> Result<Vec<(Timestamp, Counts)>, Error> {
        let product = self.product(actor, product, Action::GetMetrics).await?;
        let (range, hours) = read_window(window, self.now())?;
        let rows = self.store.hours_of_product(product.owner, product.id, range).await?;
        let mut buckets: BTreeMap<i64, Counts> = BTreeMap::new();
        for (hour, counts) in rows {
            *buckets.entry(hour - hour.rem_euclid(hours)).or_default() += counts;
        }
        Ok(buckets.into_iter().map(|(hour, counts)| (Timestamp(hour * HOUR_MS), counts)).collect())
    }
}

/// One entry per day, zero where nothing was counted.
fn fill<'a>([from, to]: [i64; 2], rows: impl Iterator<Item = &'a DayRow>) -> Vec<Counts> {
    let mut days = vec![Counts::default(); usize::try_from(to - from + 1).unwrap_or_default()];
    for row in rows {
        if let Some(day) = usize::try_from(row.day - from).ok().and_then(|at| days.get_mut(at)) {
            *day += row.counts;
        }
    }
    days
}

/// The first and last hour of a window, and the hours of one bucket.
fn read_window(window: &MetricsWindow, now: Timestamp) -> Result<([i64; 2], i64), Error> {
    let time = |field: &str, text: &Option<String>, absent: Timestamp| match text.as_deref() {
        None | Some("") => Ok(absent),
        Some(text) => Timestamp::parse(text).ok_or_else(|| {
            Error::field(field, "must be a date or time in ISO 8601, e.g. 2024-01-31T12:00:00Z")
        }),
    };
    let end = time("end_date", &window.end_date, now)?;
    let start = time("start_date", &window.start_date, end.plus_ms(-limits::HISTORY_DAYS * DAY_MS))?;
    if start > end {
        return Err(Error::field("start_date", "must not be after end_date"));
    }
    let hours = match window.bucket_size.as_deref() {
        None | Some("") => DAY_MS / HOUR_MS,
        Some(text) => read_bucket(text).ok_or_else(|| {
            let most = limits::HISTORY_DAYS;
            Error::field("bucket_size", format!("must be a length of time up to {most}d, e.g. 1h or 1d"))
        })?,
    };
    Ok(([start.hour(), end.hour()], hours))
}

/// The length of a bucket in hours, rounded up to whole ones: what is counted is kept by the hour.
fn read_bucket(text: &str) -> Option<i64> {
    let text = text.trim();
    let (number, unit_ms) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) if text.ends_with('m') => (number, 60_000),
        Some(number) if text.ends_with('h') => (number, HOUR_MS),
        Some(number) if text.ends_with('d') => (number, DAY_MS),
        Some(number) => (number, 1_000),
        None => (text, 1_000),
    };
    let ms = number.parse::<i64>().ok()?.checked_mul(unit_ms)?;
    (1..=limits::HISTORY_DAYS * DAY_MS).contains(&ms).then(|| (ms - 1) / HOUR_MS + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn buckets_are_whole_hours() {
        for (text, hours) in [
            ("1h", Some(1)),
            ("1d", Some(24)),
            ("30d", Some(720)),
            ("31d", None),
            ("60m", Some(1)),
            ("90m", Some(2)),
            ("3600", Some(1)),
            ("86400s", Some(24)),
            ("1", Some(1)),
            ("0", None),
            ("-1h", None),
            ("h", None),
            ("", None),
            ("week", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(read_bucket(text), hours, "{text}");
        }
    }

    #[test]
    fn a_window_has_defaults_and_a_wrong_one_is_told() {
        let now = Timestamp(100 * DAY_MS);
        let window = |start: Option<&str>, end: Option<&str>, bucket: Option<&str>| MetricsWindow {
            start_date: start.map(str::to_owned),
            end_date: end.map(str::to_owned),
            bucket_size: bucket.map(str::to_owned),
        };
        assert_eq!(read_window(&window(None, None, None), now).unwrap(), ([70 * 24, 100 * 24], 24));
        let hour = window(Some("1970-01-02T01:30:00Z"), Some("1970-01-02T03:00:00+01:00"), Some("1h"));
        assert_eq!(read_window(&hour, now).unwrap(), ([25, 26], 1));
        for (wrong, field) in [
            (window(Some("soon"), None, None), "start_date"),
            (window(None, Some("12"), None), "end_date"),
            (window(Some("1970-01-03"), Some("1970-01-02"), None), "start_date"),
            (window(None, None, Some("x")), "bucket_size"),
        ] {
            let text = read_window(&wrong, now).unwrap_err().to_string();
            assert!(text.starts_with(&format!("{field}: ")), "{text}");
        }
    }

    #[test]
    fn days_without_traffic_are_zero() {
        let row =
            |day, success| DayRow { product: None, day, counts: Counts { success, error: 0, skipped: 0 } };
        let days = fill([10, 13], [row(11, 2), row(11, 3), row(13, 1), row(9, 7), row(14, 7)].iter());
        assert_eq!(days.iter().map(|day| day.success).collect::<Vec<_>>(), [0, 5, 0, 1]);
    }
}
