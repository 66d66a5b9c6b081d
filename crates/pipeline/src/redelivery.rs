//! Redelivery: takes kept deliveries of the runs that are under way, a bounded number in each turn, and lets them wait,
//! due now; from there they go the way of all waiting deliveries. What is kept for too long, or is too much, is dropped
//! here.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tributary_domain::{Owner, Timestamp, time::DAY_MS};
use tributary_store::{Store, StoreError, audit::By};

use crate::{ages::Ages, recorder::Report};

/// How often each run is taken further.
const TURN: Duration = Duration::from_millis(500);
/// Turns in a second.
const TURNS_PER_SECOND: i64 = 2;
/// Most deliveries of one run in one turn.
const MOST_PER_TURN: i64 = 1_000;
/// How often kept deliveries are looked through for what is to be dropped.
const TRIM_EVERY: Duration = Duration::from_secs(10);

/// What is kept, and how fast it is made again.
#[derive(Clone, Copy, Debug)]
pub struct RedeliverySettings {
    /// For how long failed and skipped deliveries are kept, in milliseconds.
    pub keep_ms: i64,
    /// The bytes of their events in all; the oldest are dropped first.
    pub keep_bytes: i64,
    /// Deliveries of one run that begin in a second.
    pub per_second: i64,
}

impl Default for RedeliverySettings {
    fn default() -> RedeliverySettings {
        RedeliverySettings { keep_ms: 7 * DAY_MS, keep_bytes: 1 << 30, per_second: 100 }
    }
}

/// A run that is to be cancelled, for the recorder: only it knows which deliveries are being sent.
pub struct Cancel {
    /// Whose integration it is of.
    pub(crate) owner: Owner,
    /// The run.
    pub(crate) id: String,
    /// Who cancels it.
    pub(crate) by: By,
    /// Whether it was running.
    pub(crate) answer: oneshot::Sender<Result<bool, StoreError>>,
}

/// See the module.
pub(crate) struct Redeliverer {
    store: Store,
    reports: mpsc::UnboundedSender<Report>,
    next_id: Arc<AtomicI64>,
    settings: RedeliverySettings,
    now: fn() -> Timestamp,
}

impl Redeliverer {
    pub(crate) fn new(
        store: Store,
        reports: &mpsc::UnboundedSender<Report>,
        next_id: &Arc<AtomicI64>,
        settings: &crate::Settings,
    ) -> Redeliverer {
        let (reports, next_id) = (reports.clone(), next_id.clone());
        Redeliverer { store, reports, next_id, settings: settings.redelivery, now: settings.now }
    }

    /// Runs until it is told to stop.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut trim_at = Instant::now();
        let mut ages = Ages::new(self.store.newest_time().await.unwrap_or_default());
        loop {
            if trim_at <= Instant::now() {
                trim_at = Instant::now() + TRIM_EVERY;
                let now = (self.now)();
                let by = if ages.may_drop(now, Instant::now()) { now } else { Timestamp(0) };
                let cutoff = by.plus_ms(-self.settings.keep_ms);
                if let Err(error) = self.store.trim_kept(cutoff, self.settings.keep_bytes).await {
                    tracing::error!(%error, "kept deliveries could not be dropped; tried again");
                }
            }
            if let Err(error) = self.turn().await {
                tracing::error!(%error, "a redelivery could not go on and is tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(TURN) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn turn(&self) -> Result<(), StoreError> {
        let rate = self.settings.per_second;
        let most = ((rate + TURNS_PER_SECOND - 1) / TURNS_PER_SECOND).clamp(1, MOST_PER_TURN);
        for id in self.store.running_redeliveries().await? {
            let lane = lane_of(&id);
            // Ids that no row gets are not missed.
            let first = self.next_id.fetch_add(most, Ordering::Relaxed);
            let sent = self.store.send_redelivery(&id, &lane, [first, most], (self.now)()).await?;
            if sent > 0 {
                // The recorder outlives this task; when it is gone, so is the process.
                let _ = self.reports.send(Report::Redelivers { lane });
            }
        }
        Ok(())
    }
}

/// Where the deliveries of a run wait until they are rendered for the first time, which tells their destination.
fn lane_of(run: &str) -> String {
    format!("redelivery/{run}")
}
