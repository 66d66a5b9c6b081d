//! The recorder: the only writer of what happened. It commits *cursor + counters + log rows + waiting deliveries* in
//! one transaction per batch.
//!
//! The cursor moves past an event once each of its deliveries has ended or waits in the pending table. An event whose
//! delivery takes longer than [`SPILL_AFTER`] is moved there while it runs on, so that a slow destination never holds
//! up the cursor. A crash therefore repeats at most what is in the window, and never counts anything twice.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::Instant,
};
use tributary_domain::{
    Event, Timestamp, limits,
    outcome::{Health, Outcome},
};
use tributary_store::{
    Store,
    delivery::{Batch, Counted, Ended, PendingRow},
};

use crate::{
    metrics::Metrics,
    outcome::Finished,
    redelivery::Cancel,
    waiting::Waiting,
    window::{Slot, Window},
};

/// How long a delivery may hold up the cursor before it is written as waiting.
pub const SPILL_AFTER: Duration = Duration::from_millis(500);
/// Wait before a commit that failed is tried again.
const COMMIT_RETRY: Duration = Duration::from_millis(250);
/// Tries of the last commit while stopping; what it would have written is done again after the start.
const LAST_COMMIT_TRIES: usize = 8;
/// Shortest time between two commits: a lone outcome is written at once, many are written together.
const COMMIT_EVERY: Duration = Duration::from_millis(10);

/// What the other stages tell the recorder.
pub enum Report {
    /// Events were taken from the log, up to and including `through`; those that fire something have a slot.
    Dispatched {
        /// In the order of the log.
        slots: Vec<Slot>,
        /// The last event taken.
        through: u64,
    },
    /// An attempt ended.
    Completed {
        /// The job's id.
        id: i64,
        /// The event's place in the log, for a first attempt.
        seq: Option<u64>,
        /// What follows.
        verdict: Verdict,
    },
    /// A destination sleeps with this health, or is awake again.
    Slept {
        /// Its lane.
        lane: Arc<str>,
        /// `None` when it is awake.
        health: Option<Health>,
    },
    /// Kept deliveries of a run wait, due now.
    Redelivers {
        /// In this lane.
        lane: String,
    },
    /// A run is to be cancelled.
    Cancel(Box<Cancel>),
    /// A test was made: it is logged and not counted.
    Tested(Box<Finished>),
    /// Hand back what is under way, commit, and answer.
    Stop(oneshot::Sender<()>),
}

/// What follows an attempt.
pub enum Verdict {
    /// The delivery has ended.
    Ended(Box<Finished>),
    /// It waits: for the next attempt, or for room in its lane.
    Waits {
        /// Its lane.
        lane: Arc<str>,
        /// When it is due.
        due_at: Timestamp,
        /// The number of the attempt that is due.
        attempt: u32,
        /// Whose it is.
        counted: Counted,
        /// The event.
        event: Arc<Event>,
    },
}

/// What the recorder works with.
pub struct Parts {
    /// Where it commits.
    pub store: Store,
    /// Whose cursor it moves.
    pub shard: i64,
    /// The deliveries that wait.
    pub waiting: Waiting,
    /// What the other stages say.
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// Given back as events leave the window.
    pub window_permits: Arc<Semaphore>,
    /// How far the log has been dealt with, for those who trim it.
    pub committed: watch::Sender<u64>,
    /// Counts for operators.
    pub metrics: Arc<Metrics>,
    /// The present time.
    pub now: fn() -> Timestamp,
}

/// See the module.
pub struct Recorder {
    parts: Parts,
    window: Window,
    cursor: u64,
    next: NextCommit,
    next_commit: Instant,
    /// Runs to cancel once what has gathered is committed.
    cancels: Vec<Cancel>,
}

/// A delivery for the log, with its place among the batch's ended ones; a test has none.
type Logged = (Option<usize>, Finished);

/// What the next commit writes, and what follows once it has.
#[derive(Default)]
struct NextCommit {
    batch: Batch,
    /// The newest of each log; only these are worth rendering.
    logs: HashMap<(Counted, bool), VecDeque<Logged>>,
    /// Waiting deliveries that are no longer running.
    settled: Vec<i64>,
    /// Waiting deliveries that run already.
    running: Vec<(i64, String)>,
    /// When lanes have something due.
    wakes: Vec<(String, Timestamp)>,
}

impl NextCommit {
    fn ended(&mut self, pending: Option<i64>, finished: Finished, metrics: &Metrics) {
        metrics.outcome(finished.outcome);
        let (counted, outcome, at) = (finished.route.counted, finished.outcome, finished.at);
        let place = self.batch.ended.len();
        self.batch.ended.push(Ended { pending, counted, outcome, at });
        if outcome != Outcome::Success {
            self.batch.kept.push(finished.kept(place));
        }
        let used = &finished.route.compiled.used_secrets;
        if !used.is_empty() {
            self.batch
                .accessed
                .entry(finished.route.owner)
                .or_insert((at, HashSet::new()))
                .1
                .extend(used.iter().cloned());
        }
        self.settled.extend(pending);
        self.log(Some(place), finished);
    }

    fn log(&mut self, ended: Option<usize>, finished: Finished) {
        let success = finished.outcome == Outcome::Success;
        let keep = if success { limits::LOG_SUCCESSES } else { limits::LOG_ERRORS };
        let newest = self.logs.entry((finished.route.counted, success)).or_default();
        if newest.len() == keep {
            newest.pop_front();
        }
        newest.push_back((ended, finished));
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.logs.is_empty()
    }
}

impl Recorder {
    /// A recorder that goes on behind `cursor`.
    pub fn new(parts: Parts, cursor: u64) -> Recorder {
        let next_commit = Instant::now();
        Recorder {
            parts,
            window: Window::new(cursor),
            cursor,
            next: NextCommit::default(),
            next_commit,
            cancels: Vec::new(),
        }
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        let mut reports = Vec::new();
        loop {
            let wake = self.next_wake();
            tokio::select! {
                first = self.parts.reports.recv() => match first {
                    Some(first) => reports.push(first),
                    None => return,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
            // Under load much gathers until the next commit may be made, and is written together.
            tokio::time::sleep_until(self.next_commit).await;
            while let Ok(report) = self.parts.reports.try_recv() {
                reports.push(report);
            }
            for report in reports.drain(..) {
                if let Some(answer) = self.take(report) {
                    self.close(Duration::ZERO);
                    self.commit(LAST_COMMIT_TRIES).await;
                    // Nobody waits for it any more when the wait was given up.
                    let _ = answer.send(());
                    return;
                }
            }
            self.close(SPILL_AFTER);
            self.commit(usize::MAX).await;
            for cancel in std::mem::take(&mut self.cancels) {
                self.cancel(cancel).await;
            }
            self.submit_due().await;
        }
    }

    /// Cancels a run but for what is being sent at this moment.
    async fn cancel(&self, Cancel { owner, id, by, answer }: Cancel) {
        let store = &self.parts.store;
        let cancelled = match store.pending_of_redelivery(&id).await {
            Ok(mut rows) => {
                rows.retain(|row| self.parts.waiting.is_running(*row));
                store.cancel_redelivery(owner, &id, &rows, by).await
            }
            Err(error) => Err(error),
        };
        // Nobody waits for it any more when the caller has gone.
        let _ = answer.send(cancelled);
    }

    /// Puts waiting deliveries that are due into their lanes; those that end at once are written with the next commit.
    async fn submit_due(&mut self) {
        let now = (self.parts.now)();
        let unsent = self.parts.waiting.submit_due(&self.parts.store, now).await;
        for (id, finished) in unsent.ended {
            self.next.ended(Some(id), finished, &self.parts.metrics);
        }
        for (id, counted) in unsent.gone {
            let ended = Ended { pending: Some(id), counted, outcome: Outcome::Skipped, at: now };
            self.next.batch.ended.push(ended);
            self.next.settled.push(id);
        }
    }

    fn next_wake(&self) -> Instant {
        if !self.next.is_empty() {
            return self.next_commit;
        }
        let spill = self.window.oldest().map(|since| since + SPILL_AFTER);
        let due = self.parts.waiting.next_due((self.parts.now)());
        let idle = Instant::now() + Duration::from_secs(60);
        [spill, due].into_iter().flatten().min().unwrap_or(idle)
    }

    /// Takes in one report; gives the sender of a stop's answer back.
    fn take(&mut self, report: Report) -> Option<oneshot::Sender<()>> {
        match report {
            Report::Dispatched { slots, through } => self.window.extend(slots, through),
            Report::Completed { id, seq, verdict } => match seq.and_then(|seq| self.window.take(seq, id)) {
                None => self.complete_waiting(id, verdict),
                Some((job, slot)) => match verdict {
                    Verdict::Ended(finished) => {
                        // Most events fire one delivery; a vector that grows by itself would take room for four.
                        slot.ended.reserve_exact(1);
                        slot.ended.push(*finished);
                    }
                    Verdict::Waits { due_at, attempt, .. } => slot.waits.push(job.row(due_at, attempt)),
                },
            },
            Report::Slept { lane, health } => {
                self.next.batch.sleeping.insert(lane.to_string(), health);
            }
            Report::Redelivers { lane } => self.parts.waiting.wake(&lane, (self.parts.now)()),
            Report::Cancel(cancel) => self.cancels.push(*cancel),
            Report::Tested(finished) => self.next.log(None, *finished),
            Report::Stop(answer) => return Some(answer),
        }
        None
    }

    /// A delivery that has a pending row ended, or waits again.
    fn complete_waiting(&mut self, id: i64, verdict: Verdict) {
        match verdict {
            Verdict::Ended(finished) => self.next.ended(Some(id), *finished, &self.parts.metrics),
            Verdict::Waits { lane, due_at, attempt, counted, event } => {
                let row = PendingRow {
                    id,
                    lane: lane.to_string(),
                    due_at,
                    counted,
                    attempt,
                    event: event.encode(),
                };
                self.next.wakes.push((row.lane.clone(), due_at));
                self.next.settled.push(id);
                self.next.batch.postponed.push(row);
            }
        }
    }

    fn close(&mut self, patience: Duration) {
        let (next, metrics) = (&mut self.next, &self.parts.metrics);
        let ended = |finished| next.ended(None, finished, metrics);
        let closed = self.window.close(patience, (self.parts.now)(), self.cursor, ended);
        self.parts.window_permits.add_permits(closed.weight);
        if let Some(cursor) = closed.cursor {
            self.cursor = cursor;
            next.batch.cursor = Some((self.parts.shard, cursor));
        }
        self.parts.metrics.spilled(closed.running.len());
        next.wakes.extend(closed.waits.iter().map(|row| (row.lane.clone(), row.due_at)));
        next.running.extend(closed.running.iter().map(|row| (row.id, row.lane.clone())));
        next.batch.pending.extend(closed.waits);
        next.batch.pending.extend(closed.running);
    }

    /// Commits what has gathered; nothing goes on until it is on disk.
    async fn commit(&mut self, tries: usize) {
        if self.next.is_empty() {
            return;
        }
        let mut next = std::mem::take(&mut self.next);
        for (at, (ended, finished)) in next.logs.into_values().flatten().enumerate() {
            next.batch.logs.push(finished.log_row());
            next.batch.logged.extend(ended.map(|ended| (at, ended)));
        }
        for (id, lane) in next.running {
            self.parts.waiting.runs(id, &lane);
        }
        for _ in 0..tries {
            match self.parts.store.commit_batch(&next.batch).await {
                Ok(()) => {
                    self.parts.metrics.committed();
                    break;
                }
                Err(error) => {
                    tracing::error!(%error, "a batch could not be committed and is tried again");
                    self.parts.metrics.commit_failed();
                    tokio::time::sleep(COMMIT_RETRY).await;
                }
            }
        }
        self.next_commit = Instant::now() + COMMIT_EVERY;
        for id in next.settled {
            self.parts.waiting.settled(id);
        }
        for (lane, at) in next.wakes {
            self.parts.waiting.wake(&lane, at);
        }
        self.parts.committed.send_replace(self.cursor);
    }
}
