//! What the server says of itself to those who run it.

use std::fmt::Write as _;

use crate::Control;

impl Control {
    /// Whether the store and the event log can be used, and which part of the data plane stands still, if one does.
    pub async fn readiness(&self) -> (bool, bool, Option<String>) {
        let store = self.store.check().await;
        if let Err(error) = &store {
            tracing::error!(%error, "the store cannot be used");
        }
        let stands_still = self.pipeline.stands_still();
        if let Some(what) = &stands_still {
            tracing::error!(what, "the data plane does not go on");
        }
        (store.is_ok(), self.pipeline.is_ready().await, stands_still)
    }

    /// Counts and gauges in Prometheus' text format. Names no user, product or address.
    pub async fn metrics(&self) -> String {
        let mut text = self.pipeline.metrics().render(self.now());
        let mut gauge = |name: &str, help: &str, value: i64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        };
        gauge(
            "tributary_streams",
            "Open live streams.",
            i64::try_from(self.pipeline.streams().count()).unwrap_or(0),
        );
        let lanes = i64::try_from(self.pipeline.lanes()).unwrap_or(i64::MAX);
        gauge("tributary_lanes", "Destinations of which something is under way or remembered.", lanes);
        let bytes = i64::try_from(self.pipeline.bytes_under_way()).unwrap_or(i64::MAX);
        gauge(
            "tributary_delivery_bytes",
            "Memory that deliveries under way hold, as it is shared out.",
            bytes,
        );
        // A store that does not answer shows in /ready; the other figures are still worth having.
        if let Ok(pending) = self.store.pending_count().await {
            gauge("tributary_pending", "Deliveries in the pending table.", pending);
        }
        text
    }
}
