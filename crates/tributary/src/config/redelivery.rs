//! `[redelivery]`: what is kept of failed and skipped deliveries, and how fast it is made again.

use serde::{Deserialize, Serialize};
use tributary_domain::time::DAY_MS;
use tributary_pipeline::RedeliverySettings;

/// `[redelivery]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redelivery {
    /// Days for which failed and skipped deliveries are kept.
    pub(crate) keep_days: u32,
    /// Bytes of their events in all; the oldest are dropped first.
    pub(crate) keep_bytes: usize,
    /// Deliveries of one run that begin in a second.
    pub(crate) per_second: u32,
}

impl Default for Redelivery {
    fn default() -> Redelivery {
        Redelivery { keep_days: 7, keep_bytes: 1 << 30, per_second: 100 }
    }
}

impl Redelivery {
    /// What the data plane is told.
    pub(crate) fn settings(&self) -> RedeliverySettings {
        RedeliverySettings {
            keep_ms: i64::from(self.keep_days) * DAY_MS,
            keep_bytes: i64::try_from(self.keep_bytes).unwrap_or(i64::MAX),
            per_second: i64::from(self.per_second),
        }
    }
}
