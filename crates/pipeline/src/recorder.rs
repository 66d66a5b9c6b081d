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
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tributary_domain::{
    Event, Timestamp, limits,
    outcome::{Health, Outcome},
};
use tributary_store::{
    Store,
    backlogs::{BacklogPlace, StoredBacklog},
    delivery::{Batch, Counted, Ended, PendingRow},
};

use crate::{
    lanes::Place,
    metrics::{Metrics, Stage},
    outcome::Finished,
    redelivery::Cancel,
    waiting::Waiting,
    window::{Encoder, Slot, Window},
};

/// How long a delivery may hold up the cursor before it is written as waiting.
pub const SPILL_AFTER: Duration = Duration::from_millis(500);
/// Wait before a commit that failed is tried again.
const COMMIT_RETRY: Duration = Duration::from_millis(250);
/// Tries of the last commit while stopping; what it would have written is done again after the start.
const LAST_COMMIT_TRIES: usize = 8;
/// Shortest time between two commits: a lone outcome is written at once, many are written together.
const COMMIT_EVERY: Duration = Duration::from_millis(10);

/// How often the recorder says that it is alive while there is nothing to do.
const STILL_ALIVE: Duration = Duration::from_secs(2);

/// What the other stages tell the recorder.
pub enum Report {
    /// Events were taken from the log, up to and including `through`; those that fire something have a slot.
    Dispatched {
        /// The backlog that they are of; `None` = the shard's own reading.
        backlog: Option<i64>,
        /// In the order of the log.
        slots: Vec<Slot>,
        /// The last event taken.
        through: u64,
    },
    /// Events of a source are read apart from now on.
    Joined {
        /// The backlog.
        backlog: i64,
        /// The source, as the store keeps it.
        source: String,
        /// Its events behind this place are in the backlog.
        after: u64,
        /// Whether the backlog begins with it.
        new: bool,
    },
    /// A backlog has been read to its end; later events of its sources are the shard's own.
    CaughtUp {
        /// The backlog.
        backlog: i64,
        /// Its last event.
        until: u64,
    },
    /// An attempt ended.
    Completed {
        /// The job's id.
        id: i64,
        /// The event's place in the log, for a first attempt.
        place: Option<Place>,
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
    /// Its integration is gone, or does not compile: nothing is counted of it, unless it waited before.
    Gone {
        /// Whose it is.
        counted: Counted,
    },
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
    /// How far the log has been dealt with, backlogs included, for those who trim it.
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
    backlogs: HashMap<i64, BacklogWindow>,
    encoder: Encoder,
    next: NextCommit,
    next_commit: Instant,
    /// Runs to cancel once what has gathered is committed.
    cancels: Vec<Cancel>,
}

/// The events of a backlog that are under way.
struct BacklogWindow {
    window: Window,
    cursor: u64,
    until: Option<u64>,
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
    fn ended(&mut self, pending: Option<i64>, finished: Finished, metrics: &Metrics, encoder: &mut Encoder) {
        metrics.outcome(finished.outcome);
        let (counted, outcome, at) = (finished.route.counted, finished.outcome, finished.at);
        let place = self.batch.ended.len();
        self.batch.ended.push(Ended { pending, counted, outcome, at });
        if outcome != Outcome::Success {
            self.batch.kept.push(finished.kept(place, encoder));
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
    /// A recorder that goes on behind `cursor`, with the backlogs that there were then.
    pub fn new(parts: Parts, cursor: u64, stored: &[StoredBacklog]) -> Recorder {
        let next_commit = Instant::now();
        let window = |one: &StoredBacklog| BacklogWindow {
            window: Window::new(one.cursor),
            cursor: one.cursor,
            until: one.until,
        };
        Recorder {
            parts,
            window: Window::new(cursor),
            cursor,
            backlogs: stored.iter().map(|one| (one.id, window(one))).collect(),
            encoder: Encoder::default(),
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
            let now = (self.parts.now)();
            self.parts.metrics.oldest_due(self.parts.waiting.oldest_due(now));
            self.parts.metrics.alive(Stage::Recorder, now);
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
            self.next.ended(Some(id), finished, &self.parts.metrics, &mut self.encoder);
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
        let backlogs = self.backlogs.values().map(|backlog| &backlog.window);
        let oldest = std::iter::once(&self.window).chain(backlogs).filter_map(Window::oldest).min();
        let spill = oldest.map(|since| since + SPILL_AFTER);
        let due = self.parts.waiting.next_due((self.parts.now)());
        let idle = Instant::now() + STILL_ALIVE;
        [spill, due].into_iter().flatten().min().unwrap_or(idle)
    }

    /// Takes in one report; gives the sender of a stop's answer back.
    fn take(&mut self, report: Report) -> Option<oneshot::Sender<()>> {
        match report {
            Report::Dispatched { backlog: None, slots, through } => self.window.extend(slots, through),
            Report::Dispatched { backlog: Some(id), slots, through } => {
                if let Some(backlog) = self.backlogs.get_mut(&id) {
                    backlog.window.extend(slots, through);
                }
            }
            Report::Joined { backlog, source, after, new } => self.join(backlog, source, after, new),
            Report::CaughtUp { backlog, until } => self.caught_up(backlog, until),
            Report::Completed { id, place, verdict } => self.complete(id, place, verdict),
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

    fn join(&mut self, id: i64, source: String, after: u64, new: bool) {
        let changes = &mut self.next.batch.backlogs;
        if new {
            let begun = BacklogWindow { window: Window::new(after), cursor: after, until: None };
            self.backlogs.insert(id, begun);
            changes.moved.insert(id, BacklogPlace { shard: self.parts.shard, cursor: after, until: None });
        }
        changes.joined.push((id, source, after));
    }

    fn caught_up(&mut self, id: i64, until: u64) {
        let Some(backlog) = self.backlogs.get_mut(&id) else { return };
        backlog.until = Some(until);
        backlog.window.extend(Vec::new(), until);
        let place = BacklogPlace { shard: self.parts.shard, cursor: backlog.cursor, until: Some(until) };
        self.next.batch.backlogs.moved.insert(id, place);
    }

    fn complete(&mut self, id: i64, place: Option<Place>, verdict: Verdict) {
        let window = match place.map(|place| place.backlog) {
            None => None,
            Some(None) => Some(&mut self.window),
            Some(Some(backlog)) => self.backlogs.get_mut(&backlog).map(|backlog| &mut backlog.window),
        };
        let open = window.zip(place).and_then(|(window, place)| window.take(place.seq, id));
        match (open, verdict) {
            (None, verdict) => self.complete_waiting(id, verdict),
            (Some((_, slot)), Verdict::Ended(finished)) => {
                // Most events fire one delivery; a vector that grows by itself would take room for four.
                slot.ended.reserve_exact(1);
                slot.ended.push(*finished);
            }
            (Some(_), Verdict::Gone { .. }) => {}
            (Some((job, slot)), Verdict::Waits { due_at, attempt, .. }) => {
                slot.waits.push(job.row(due_at, attempt, &mut self.encoder));
            }
        }
    }

    /// A delivery that has a pending row ended, or waits again.
    fn complete_waiting(&mut self, id: i64, verdict: Verdict) {
        match verdict {
            Verdict::Ended(finished) => {
                self.next.ended(Some(id), *finished, &self.parts.metrics, &mut self.encoder);
            }
            Verdict::Gone { counted } => {
                let at = (self.parts.now)();
                let ended = Ended { pending: Some(id), counted, outcome: Outcome::Skipped, at };
                self.next.batch.ended.push(ended);
                self.next.settled.push(id);
            }
            Verdict::Waits { lane, due_at, attempt, counted, event } => {
                let row = PendingRow {
                    id,
                    lane: lane.to_string(),
                    due_at,
                    counted,
                    attempt,
                    event: self.encoder.encoded(&event),
                };
                self.next.wakes.push((row.lane.clone(), due_at));
                self.next.settled.push(id);
                self.next.batch.postponed.push(row);
            }
        }
    }

    fn close(&mut self, patience: Duration) {
        let now = (self.parts.now)();
        let mut window = std::mem::replace(&mut self.window, Window::new(0));
        if let Some(cursor) = self.close_window(&mut window, self.cursor, patience, now) {
            self.cursor = cursor;
            self.next.batch.cursor = Some((self.parts.shard, cursor));
        }
        self.window = window;
        let mut backlogs = std::mem::take(&mut self.backlogs);
        for (id, backlog) in &mut backlogs {
            if let Some(cursor) = self.close_window(&mut backlog.window, backlog.cursor, patience, now) {
                backlog.cursor = cursor;
                let place = BacklogPlace { shard: self.parts.shard, cursor, until: backlog.until };
                self.next.batch.backlogs.moved.insert(*id, place);
            }
        }
        // One that has ended is needed until the shard's own reading cannot come to its events again.
        backlogs.retain(|id, backlog| {
            let done = |until| backlog.window.is_empty() && backlog.cursor >= until && self.cursor >= until;
            if !backlog.until.is_some_and(done) {
                return true;
            }
            self.next.batch.backlogs.moved.remove(id);
            self.next.batch.backlogs.ended.push(*id);
            false
        });
        self.backlogs = backlogs;
        self.encoder.clear();
    }

    /// Gives the new cursor, if it has moved.
    fn close_window(
        &mut self,
        window: &mut Window,
        before: u64,
        patience: Duration,
        now: Timestamp,
    ) -> Option<u64> {
        let (next, metrics) = (&mut self.next, &self.parts.metrics);
        // Two encoders, since both go through the same events.
        let mut rows = Encoder::default();
        let encoder = &mut self.encoder;
        let ended = |finished| next.ended(None, finished, metrics, encoder);
        let closed = window.close(patience, now, before, &mut rows, ended);
        self.parts.metrics.spilled(closed.running.len());
        next.wakes.extend(closed.waits.iter().map(|row| (row.lane.clone(), row.due_at)));
        next.running.extend(closed.running.iter().map(|row| (row.id, row.lane.clone())));
        next.batch.pending.extend(closed.waits);
        next.batch.pending.extend(closed.running);
        closed.cursor
    }

    /// How far the log has been dealt with, backlogs included.
    fn dealt_with(&self) -> u64 {
        self.backlogs.values().map(|backlog| backlog.cursor).fold(self.cursor, u64::min)
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
        self.parts.committed.send_replace(self.dealt_with());
    }
}
