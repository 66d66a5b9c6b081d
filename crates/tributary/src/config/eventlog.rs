//! `[eventlog]`: the window of recent events that previews look at.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tributary_eventlog::Options;

use super::Span;

/// `[eventlog]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EventLogConfig {
    /// Events that are kept after they were dealt with; 0 = none.
    pub(crate) keep_events: u64,
    /// No event is kept for longer.
    pub(crate) keep_for: Span,
    /// Bytes of events that are kept in all.
    pub(crate) keep_bytes: usize,
}

impl Default for EventLogConfig {
    fn default() -> EventLogConfig {
        EventLogConfig {
            keep_events: 10_000,
            keep_for: Span(Duration::from_secs(24 * 3_600)),
            keep_bytes: 64 << 20,
        }
    }
}

impl EventLogConfig {
    /// The log's options under these settings.
    pub(crate) fn options(&self) -> Options {
        Options {
            keep_records: self.keep_events,
            keep_for: self.keep_for.0,
            keep_bytes: self.keep_bytes,
            ..Options::default()
        }
    }
}
