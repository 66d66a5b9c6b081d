//! What the server says of itself to those who run it.

use std::fmt::Write as _;

use crate::Control;

impl Control {
    /// Whether the store and the event log can be used.
    pub async fn readiness(&self) -> (bool, bool) {
        let store = self.store.check().await;
        if let Err(error) = &store {
            tracing::error!(%error, "the store cannot be used");
        }
        (store.is_ok(), self.pipeline.is_ready().await)
    }

    /// Counts and gauges in Prometheus' text format. Names no user, product or address.
    pub async fn metrics(&self) -> String {
        let mut text = self.pipeline.metrics().render();
        let mut gauge = |name: &str, help: &str, value: i64| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        };
        gauge(
            "tributary_streams",
            "Open live streams.",
            i64::try_from(self.pipeline.streams().count()).unwrap_or(0),
        );
        // A store that does not answer shows in /ready; the other figures are still worth having.
        if let Ok(pending) = self.store.pending_count().await {
            gauge("tributary_pending", "Deliveries in the pending table.", pending);
        }
        text
    }
}
