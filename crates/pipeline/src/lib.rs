//! The data plane: from an accepted event to its outcome. The modules stand in the order of the flow.
//!
//! [`ingest`] makes an event durable; [`router`] takes it from the log and finds what it fires by [`routes`], whose
//! integrations `sources` compile when they are first needed ([`compiled`] says what a route runs); [`lanes`] queue
//! deliveries by destination; [`delivery`] renders one when there is room ([`share`]), sends it and decides what follows;
//! [`outcome`] says what that causes and shows; [`recorder`] commits it together with the cursors, with [`waiting`] for
//! what comes later. [`streams`] show events to those who listen.
//!
//! Four rules hold everywhere: durable before 200; one commit per batch; a lane per destination; shares of what can be used
//! up.

mod agenda;
mod ages;
mod backlog;
pub mod compiled;
pub mod delivery;
pub mod ingest;
pub mod lanes;
pub mod mask;
pub mod metrics;
pub mod outcome;
pub mod pace;
pub mod preview;
pub mod recorder;
pub mod redelivery;
pub mod router;
pub mod routes;
pub mod share;
mod sources;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod waiting;
pub mod window;

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};
use tributary_domain::{
    Event, Owner, Timestamp, limits,
    outcome::{AttemptClass, Outcome},
    time::DAY_MS,
};
use tributary_store::{
    Store, StoreError,
    audit::{AUDIT_BYTES, AUDIT_ROWS, By},
    backlogs::StoredBacklog,
    versions::OWNER_VERSIONS_BYTES,
};
use tributary_targets::{Attempt, Clients};

pub use ingest::{Incoming, Ingest, IngestError};
pub use redelivery::RedeliverySettings;
pub use routes::{Route, RouteKey, Routes};
pub use streams::{Channel, Streams, Subscription, Wanted};
pub use tributary_eventlog::{EventLog, Options as LogOptions};

use ages::Ages;
use delivery::Delivery;
use lanes::Lanes;
use metrics::Metrics;
use outcome::Finished;
use recorder::{Parts, Recorder, Report};
use redelivery::{Cancel, Redeliverer};
use router::Router;
use share::Shares;
use waiting::Waiting;

/// The embedded log is one shard.
const SHARD: i64 = 0;
/// How often the log is trimmed.
const TRIM_EVERY: Duration = Duration::from_secs(10);
/// How often old history is dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How often lanes are looked through for those that nothing uses any more.
const FORGET_EVERY: Duration = Duration::from_secs(15);
/// A destination that slept is forgotten at a start this long after its last failure, in milliseconds.
const SLEEP_KEPT_MS: i64 = DAY_MS;
/// How long a stop waits for running deliveries before it hands them back.
const DRAIN: Duration = Duration::from_secs(5);
/// How long a stop waits for the last commit.
const LAST_COMMIT: Duration = Duration::from_secs(2);
/// How often a stop looks whether they have ended.
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// How deliveries behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The wait before each further attempt, in milliseconds.
    pub retry_delays_ms: Vec<i64>,
    /// Deliveries that run at once to one destination.
    pub lane_concurrency: usize,
    /// Deliveries that run at once in all.
    pub total_concurrency: usize,
    /// What is kept of failed and skipped deliveries.
    pub redelivery: RedeliverySettings,
    /// The present time.
    pub now: fn() -> Timestamp,
}

/// The running data plane. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline(Arc<Running>);

struct Running {
    ingest: Ingest,
    streams: Streams,
    lanes: Lanes,
    delivery: Delivery,
    log: EventLog,
    queue: Shares,
    metrics: Arc<Metrics>,
    /// Places for previews.
    previews: Shares,
    stop: watch::Sender<bool>,
    tasks: parking_lot::Mutex<Vec<JoinHandle<()>>>,
}

impl Pipeline {
    /// Starts the data plane: it goes on where the store's cursor says.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        store: Store,
        log: EventLog,
        routes: Routes,
        clients: Clients,
        settings: Settings,
    ) -> Result<Pipeline, StoreError> {
        let (cursor, backlogs) = begin_at(&store, *log.head().borrow()).await?;
        let next_id = Arc::new(AtomicI64::new(store.last_pending_id().await? + 1));
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by the owners' shares of the memory: what is reported holds its part until it is recorded"
        )]
        let (reports, inbox) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let (committed, behind) = watch::channel(cursor);
        let metrics = Arc::new(Metrics::begin((settings.now)()));
        let streams = Streams::default();
        let delivery = Delivery::new(clients, &routes, &streams, &reports, &metrics, &settings);
        let queue = Shares::new(router::QUEUE_BYTES);
        let (each, total) = (settings.lane_concurrency, settings.total_concurrency);
        let lanes = Lanes::new(delivery.clone(), queue.clone(), each, total);
        let waiting = take_up(&store, &routes, &lanes, &queue, &delivery).await?;
        let (now, shown) = (settings.now, metrics.clone());
        let parts = Parts {
            store: store.clone(),
            shard: SHARD,
            waiting,
            reports: inbox,
            committed,
            metrics: shown,
            now,
        };
        let redeliverer = Redeliverer::new(store.clone(), &reports, &next_id, &settings);
        let router = Router {
            log: log.clone(),
            routes,
            lanes: lanes.clone(),
            delivery: delivery.clone(),
            reports,
            queue: queue.clone(),
            metrics: metrics.clone(),
            next_id,
        };
        let tasks = vec![
            tokio::spawn(Recorder::new(parts, cursor, &backlogs).run()),
            tokio::spawn(router.run(cursor, backlogs, stopped.clone())),
            tokio::spawn(redeliverer.run(stopped.clone())),
            tokio::spawn(trim(log.clone(), behind, stopped.clone())),
            tokio::spawn(forget_lanes(lanes.clone(), stopped.clone())),
            tokio::spawn(sweep(store, settings.now, stopped)),
        ];
        Ok(Pipeline(Arc::new(Running {
            ingest: Ingest::new(log.clone(), streams.clone()),
            streams,
            lanes,
            delivery,
            log,
            queue,
            metrics,
            previews: Shares::new(preview::AT_ONCE),
            stop,
            tasks: tasks.into(),
        })))
    }

    /// The way in.
    pub fn ingest(&self) -> &Ingest {
        &self.0.ingest
    }

    /// The destinations of an owner that sleep, as `host:port`.
    pub fn sleeping(&self, owner: Owner) -> Vec<String> {
        self.0.lanes.sleeping(owner)
    }

    /// The live streams.
    pub fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// Counts for operators.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Whether events can be stored now.
    pub async fn is_ready(&self) -> bool {
        self.0.log.check().await.is_ok()
    }

    /// Which part of the data plane stands still, in words, if one does.
    pub fn stands_still(&self) -> Option<String> {
        self.0.metrics.stands_still(self.0.delivery.now())
    }

    /// The destinations that something is known or under way of.
    pub fn lanes(&self) -> usize {
        self.0.lanes.count()
    }

    /// Ends at once, as a kill does.
    #[cfg(test)]
    pub(crate) fn abort(&self) {
        self.0.tasks.lock().drain(..).for_each(|task| task.abort());
    }

    /// The bytes of events between the log and their outcome.
    pub fn queued_bytes(&self) -> usize {
        self.0.queue.taken()
    }

    /// The bytes that deliveries under way hold.
    pub fn bytes_under_way(&self) -> usize {
        self.0.lanes.bytes_under_way()
    }

    /// Sends one event through a route for real, once: no retry, not counted, logged as a test (contract 3.4).
    pub async fn test(&self, route: Arc<Route>, event: Event) -> Attempt {
        let (delivery, event) = (&self.0.delivery, Arc::new(event));
        let started = Instant::now();
        let rendered = delivery.render(&route, &event).await;
        let (message, result) = match rendered {
            Ok(message) => {
                let mut attempt = route.compiled.target.send(&message, &delivery.clients).await;
                attempt.reply.iter_mut().for_each(tributary_targets::Reply::shorten);
                (Some(message), attempt)
            }
            Err(error) => (None, Attempt { class: AttemptClass::Final, error: Some(error), reply: None }),
        };
        let succeeded = result.class == AttemptClass::Success;
        let finished = Finished {
            route,
            event,
            outcome: if succeeded { Outcome::Success } else { Outcome::Error },
            at: delivery.now(),
            attempt: 1,
            duration: started.elapsed(),
            test: true,
            message,
            result: result.clone(),
            part: None,
        };
        // Without a recorder the process is going down, and the caller still gets its answer.
        let _ = delivery.reports.send(Report::Tested(Box::new(finished)));
        result
    }

    /// Cancels a run of redeliveries: what is not being sent at this moment is kept again. False when it was not running.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn cancel_redelivery(&self, owner: Owner, id: &str, by: By) -> Result<bool, StoreError> {
        let (answer, cancelled) = oneshot::channel();
        let cancel = Cancel { owner, id: id.to_owned(), by, answer };
        // Without a recorder the process is going down.
        if self.0.delivery.reports.send(Report::Cancel(Box::new(cancel))).is_err() {
            return Ok(false);
        }
        cancelled.await.unwrap_or(Ok(false))
    }

    /// Stops: no more events are taken, running deliveries may end within a few seconds, the rest is handed back to be
    /// delivered after the next start.
    pub async fn stop(&self) {
        let running = &self.0;
        running.stop.send_replace(true);
        let until = Instant::now() + DRAIN;
        while running.lanes.busy() > 0 && Instant::now() < until {
            tokio::time::sleep(DRAIN_STEP).await;
        }
        let (answer, stopped) = oneshot::channel();
        if running.delivery.reports.send(Report::Stop(answer)).is_ok() {
            // An answer that never comes means that the recorder is gone, or that it cannot commit (a full disk): what it
            // would have written is done again after the next start.
            let _ = tokio::time::timeout(LAST_COMMIT, stopped).await;
        }
        for task in running.tasks.lock().drain(..) {
            task.abort();
        }
        running.log.close().await;
    }
}

/// Where to go on: behind the cursor, with the backlogs, unless the log ends before it. That is another log than the one that
/// they are of (an older copy was put in its place, or it was removed), and its next events must not be taken for old ones.
async fn begin_at(store: &Store, head: u64) -> Result<(u64, Vec<StoredBacklog>), StoreError> {
    let cursor = store.cursor(SHARD).await?;
    if cursor <= head {
        return Ok((cursor, store.backlogs(SHARD).await?));
    }
    tracing::error!(
        cursor,
        log.head = head,
        "the event log ends before what was dealt with: it was replaced"
    );
    store.drop_backlogs(SHARD).await?;
    Ok((head, Vec::new()))
}

/// Drops from the log what is behind the committed cursor, but for the window that previews look at.
async fn trim(log: EventLog, behind: watch::Receiver<u64>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TRIM_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let up_to = *behind.borrow();
        if let Err(error) = log.trim_window(up_to).await {
            tracing::error!(%error, "the event log could not be trimmed and is tried again");
        }
    }
}

/// Forgets lanes that nothing uses any more.
async fn forget_lanes(lanes: Lanes, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => lanes.sweep(),
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Drops history that is too old.
async fn sweep(store: Store, now: fn() -> Timestamp, mut stop: watch::Receiver<bool>) {
    let mut ages = Ages::new(store.newest_time().await.unwrap_or_default());
    loop {
        let now = now();
        // By a clock that is doubted nothing is old, but there may still be too much of it.
        let by = if ages.may_drop(now, Instant::now()) { now } else { Timestamp(0) };
        if let Err(error) = store.drop_older_than(by.plus_ms(-limits::HISTORY_DAYS * DAY_MS)).await {
            tracing::error!(%error, "old history could not be dropped and is tried again");
        }
        if let Err(error) = store.trim_audit(by, AUDIT_ROWS).await {
            tracing::error!(%error, "the audit could not be trimmed and is tried again");
        }
        let bytes = async {
            store.trim_audit_bytes(AUDIT_BYTES).await?;
            store.trim_versions(OWNER_VERSIONS_BYTES).await
        };
        if let Err(error) = bytes.await {
            tracing::error!(%error, "audit and versions could not be cut to their size and are tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// What was waiting or asleep when the data plane was last stopped, or killed.
async fn take_up(
    store: &Store,
    routes: &Routes,
    lanes: &Lanes,
    queue: &Shares,
    delivery: &Delivery,
) -> Result<Waiting, StoreError> {
    let now = (delivery.now)();
    for (lane, health) in store.sleeping_lanes(now.plus_ms(-SLEEP_KEPT_MS)).await? {
        lanes.restore(&lane, health);
    }
    let latest = now.plus_ms(waiting::longest_wait_ms(&delivery.retry_delays_ms, routes));
    if store.bring_forward(latest, now).await? > 0 {
        tracing::warn!("the clock was set back since the last start: deliveries that wait are due now");
    }
    let mut waiting = Waiting::new(routes.clone(), lanes.clone(), queue.clone(), delivery.clone());
    for (lane, due_at) in store.waiting_lanes().await? {
        waiting.wake(&lane, due_at);
    }
    Ok(waiting)
}
