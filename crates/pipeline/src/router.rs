//! The router: takes events from the log, finds what they fire, and hands the deliveries, not rendered yet, to the lanes.
//!
//! Most events are read in the order of the log. Those of an owner that has as much in memory as its share allows stay
//! in the log: they become a *backlog* that is read apart, in turns, as its owner's deliveries end. The
//! reading of all others goes on at once, so it never waits for anything but the disk.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::{
    sync::{mpsc, watch},
    time::{Duration, Instant},
};
use tributary_domain::{Event, Owner, Timestamp};
use tributary_eventlog::{EventLog, LogError, Record};
use tributary_store::backlogs::StoredBacklog;

use crate::{
    backlog::Backlogs,
    delivery::Delivery,
    lanes::{Job, Lanes, Place},
    metrics::{Metrics, Stage},
    recorder::{Report, Verdict},
    routes::{Entry, RouteKey, Routes},
    share::{Part, Shares},
    window::{OpenJob, Slot},
};

/// Events taken from the log at once.
const READ_EVENTS: usize = 512;
/// Bytes taken from the log at once.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that a backlog takes from the log at once; few of them keep what they have read.
const BACKLOG_READ_BYTES: usize = 256 * 1024;
/// Backlogs up to which each keeps what it has read while it waits.
const KEPT_PAGES: usize = 32;
/// What all owners' events may hold in memory from the log to their outcome, in bytes. A share is half of what is left.
pub const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// What an event counts at least, in bytes.
const SLOT_BYTES: usize = 4 * 1024;
/// What a delivery that is not rendered counts beside its event, in bytes.
pub(crate) const JOB_BYTES: usize = 256;
/// Events that are routed between two chances for other tasks to run.
const EVENTS_PER_TURN: usize = 64;
/// Readings of what has just been accepted before a backlog has its turn, while there is more of it.
const PAGES_BEFORE_TURN: usize = 16;
/// Events, and deliveries, after which a backlog's turn ends.
const BACKLOG_TURN: (usize, usize) = (256, 1_000);
/// How often backlogs that did not fit are looked at again.
const TICK: Duration = Duration::from_millis(5);
/// How often the router says that it is alive while there is nothing to do.
const STILL_ALIVE: Duration = Duration::from_secs(2);
/// Wait before a reading of the log that failed is tried again.
const READ_RETRY: Duration = Duration::from_millis(500);
/// How often the gauges are set anew.
const SHOWN_EVERY: Duration = Duration::from_millis(100);
/// How often the log says who is behind.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// See the module.
pub struct Router {
    pub(crate) log: EventLog,
    pub(crate) routes: Routes,
    pub(crate) lanes: Lanes,
    pub(crate) delivery: Delivery,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    /// The bytes of what is under way.
    pub(crate) queue: Shares,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) next_id: Arc<AtomicI64>,
}

/// Events that are dispatched together.
#[derive(Default)]
struct Dispatch {
    slots: Vec<Slot>,
    jobs: Vec<(Arc<str>, Job)>,
}

/// What became of an event.
enum Taken {
    /// It is dispatched, or fires nothing.
    Yes,
    /// There is no room for it in this owner's share.
    NoRoom(Owner),
}

/// What a turn of the backlogs came to.
#[derive(PartialEq, Eq)]
enum Turn {
    Moved,
    /// All of them wait for their owners' deliveries to end.
    Waits,
    /// Nothing is left to read.
    Idle,
    /// The process is going down.
    Down,
}

/// The reading of one shard.
struct Reading {
    router: Router,
    /// How far the log has been read for all but the backlogs.
    position: u64,
    backlogs: Backlogs,
    matched: Vec<Arc<Entry>>,
    told: Instant,
    shown: Instant,
}

impl Router {
    /// Runs from behind `cursor`, with the backlogs that there were then, until `stop` says so.
    pub async fn run(self, cursor: u64, stored: Vec<StoredBacklog>, mut stop: watch::Receiver<bool>) {
        let mut head = self.log.head();
        let backlogs = Backlogs::restore(&stored, cursor);
        let told = Instant::now();
        let mut reading =
            Reading { router: self, position: cursor, backlogs, matched: Vec::new(), told, shown: told };
        loop {
            head.mark_unchanged();
            if *stop.borrow() {
                return;
            }
            reading.router.metrics.alive(Stage::Router, reading.router.delivery.now());
            // Others do not wait for a backlog: what has just been accepted is looked at first.
            let mut read = false;
            for _ in 0..PAGES_BEFORE_TURN {
                match reading.read().await {
                    None => return,
                    Some(false) => break,
                    Some(true) => read = true,
                }
            }
            let turn = reading.turn().await;
            if turn == Turn::Down {
                return;
            }
            reading.tell();
            if read || turn == Turn::Moved {
                // Neither need have waited for anything.
                tokio::task::yield_now().await;
                continue;
            }
            let tick = if turn == Turn::Waits { TICK } else { STILL_ALIVE };
            tokio::select! {
                // The log closes its head when it is closed: then there is nothing more to come.
                changed = head.changed() => if changed.is_err() { return },
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(tick) => {}
            }
        }
    }

    /// Makes a slot and the jobs of an event, if there is room for it.
    fn take(
        &self,
        record: &Record,
        backlog: Option<i64>,
        matched: &mut Vec<Arc<Entry>>,
        into: &mut Dispatch,
    ) -> Taken {
        let event = match Event::decode(&record.bytes) {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(log.seq = record.seq, %error, "an event in the log cannot be read and is passed over");
                return Taken::Yes;
            }
        };
        matched.clear();
        self.routes.matching(&event, matched);
        let Some(owner) = matched.first().map(|entry| entry.owner()) else { return Taken::Yes };
        let bytes = SLOT_BYTES + kept_bytes(record, matched.len());
        let Some(part) = self.queue.try_take(owner, bytes) else { return Taken::NoRoom(owner) };
        self.dispatch(Place { seq: record.seq, backlog }, event, matched, part, into);
        Taken::Yes
    }

    fn dispatch(
        &self,
        place: Place,
        event: Event,
        matched: &mut Vec<Arc<Entry>>,
        mut part: Part,
        into: &mut Dispatch,
    ) {
        // What the slot takes is given back when it closes, what the event takes when its last delivery has ended.
        let slot_part = part.split(SLOT_BYTES);
        let (event, part) = (Arc::new(event), Arc::new(part));
        let mut slot = Slot {
            seq: place.seq,
            since: Instant::now(),
            open: Vec::with_capacity(matched.len()),
            ended: Vec::new(),
            waits: Vec::new(),
            part: Some(slot_part),
        };
        for entry in matched.drain(..) {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let lane = entry.lane();
            slot.open.push(OpenJob { id, counted: entry.counted, lane: lane.clone(), event: event.clone() });
            let (event, part) = (event.clone(), Some(part.clone()));
            let job = Job { id, place: Some(place), entry, event, attempt: 1, grant: None, part };
            into.jobs.push((lane, job));
        }
        into.slots.push(slot);
    }

    /// Tells the recorder and the lanes. False when the process is going down.
    fn send(&self, backlog: Option<i64>, dispatch: Dispatch, through: u64) -> bool {
        let Dispatch { slots, jobs } = dispatch;
        // Told before the lanes have the jobs, so that none can end before its slot is known.
        if self.reports.send(Report::Dispatched { backlog, slots, through }).is_err() {
            return false;
        }
        for (lane, job) in jobs {
            if let Err(job) = self.lanes.submit(&lane, job) {
                self.spill(*job, lane);
            }
        }
        true
    }

    /// A lane is full: the delivery waits in the pending table.
    fn spill(&self, job: Job, lane: Arc<str>) {
        self.metrics.spilled(1);
        let verdict = Verdict::Waits {
            lane,
            due_at: self.delivery.now(),
            attempt: 1,
            counted: job.entry.counted,
            event: job.event,
        };
        // The recorder outlives the router; when it is gone, so is the process.
        let _ = self.reports.send(Report::Completed { id: job.id, place: job.place, verdict });
    }
}

impl Reading {
    /// Takes what is next in the log, but for the backlogs' events. False when there was nothing, `None` when the
    /// process is going down.
    async fn read(&mut self) -> Option<bool> {
        if *self.router.log.head().borrow() <= self.position {
            return Some(false);
        }
        let records = match self.router.log.read_after(self.position, READ_EVENTS, READ_BYTES).await {
            Ok(records) => records,
            Err(error) => {
                self.position = failed(error, self.position).await?;
                return Some(true);
            }
        };
        let Some(last) = records.last().map(|last| last.seq) else { return Some(false) };
        self.router.metrics.events_read(records.len());
        for part in records.chunks(EVENTS_PER_TURN) {
            let mut dispatch = Dispatch::default();
            for record in part {
                self.take(record, &mut dispatch)?;
            }
            let through = part.last().map_or(last, |record| record.seq);
            if !self.router.send(None, dispatch, through) {
                return None;
            }
            self.position = through;
        }
        Some(true)
    }

    fn take(&mut self, record: &Record, dispatch: &mut Dispatch) -> Option<()> {
        let source = Event::peek(&record.bytes).and_then(|(product, user, _)| RouteKey::of(product, user));
        if let Some(source) = source
            && !self.backlogs.is_empty()
            && self.backlogs.take(source, record.seq)
        {
            return Some(());
        }
        let taken = self.router.take(record, None, &mut self.matched, dispatch);
        if let (Taken::NoRoom(owner), Some(source)) = (taken, source) {
            let (backlog, new) = self.backlogs.join(owner, source, record.seq);
            if new && let Some(backlog) = self.backlogs.get(backlog) {
                backlog.starved_at = Some(self.router.queue.used(owner));
            }
            let joined = Report::Joined { backlog, source: source.to_text(), after: record.seq - 1, new };
            self.router.reports.send(joined).ok()?;
        }
        Some(())
    }

    /// Goes on with the backlog whose turn it is, of those for which there is room.
    async fn turn(&mut self) -> Turn {
        let mut turn = Turn::Idle;
        for _ in 0..self.backlogs.len() {
            let position = self.position;
            let queue = &self.router.queue;
            let Some(backlog) = self.backlogs.next_turn() else { break };
            if let (Some(mark), Some(owner)) = (backlog.starved_at, backlog.owner)
                && queue.used(owner) > mark / 4 * 3
            {
                turn = Turn::Waits;
                continue;
            }
            if backlog.page.is_empty() && backlog.next_stretch().is_none() {
                // Not while its owner still has much under way: the next event would begin another one.
                let busy = backlog.owner.is_some_and(|owner| queue.used(owner) > QUEUE_BYTES / 16);
                let end = backlog.until.unwrap_or(position);
                if busy || position < end {
                    turn = Turn::Waits;
                    continue;
                }
                let id = backlog.id;
                self.backlogs.end(id);
                if self.router.reports.send(Report::CaughtUp { backlog: id, until: end }).is_err() {
                    return Turn::Down;
                }
                return Turn::Moved;
            }
            let id = backlog.id;
            return match self.go_on(id).await {
                None => Turn::Down,
                Some(true) => Turn::Moved,
                Some(false) => {
                    turn = Turn::Waits;
                    continue;
                }
            };
        }
        turn
    }

    /// Takes some events of a backlog. False when there was no room for any, `None` when the process is going down.
    async fn go_on(&mut self, id: i64) -> Option<bool> {
        let keeps = self.backlogs.len() <= KEPT_PAGES;
        let backlog = self.backlogs.get(id)?;
        if backlog.page.is_empty() {
            let Some((after, last)) = backlog.next_stretch() else { return Some(false) };
            match self.router.log.read_after(after, READ_EVENTS, BACKLOG_READ_BYTES).await {
                Ok(records) => {
                    backlog.page.extend(records.into_iter().take_while(|record| record.seq <= last));
                }
                Err(error) => {
                    backlog.read = failed(error, after).await?;
                    return Some(true);
                }
            }
            if backlog.page.is_empty() {
                // Nothing of it is there any more.
                backlog.read = last;
            }
        }
        let mut dispatch = Dispatch::default();
        let mut room = true;
        while let Some(record) = backlog.page.pop_front() {
            let source =
                Event::peek(&record.bytes).and_then(|(product, user, _)| RouteKey::of(product, user));
            if source.is_some_and(|source| backlog.holds(source, record.seq))
                && let Taken::NoRoom(owner) =
                    self.router.take(&record, Some(id), &mut self.matched, &mut dispatch)
            {
                backlog.owner = Some(owner);
                backlog.starved_at = Some(self.router.queue.used(owner));
                backlog.page.push_front(record);
                room = false;
                break;
            }
            backlog.read = record.seq;
            backlog.starved_at = None;
            if dispatch.slots.len() >= BACKLOG_TURN.0 || dispatch.jobs.len() >= BACKLOG_TURN.1 {
                break;
            }
        }
        let through = backlog.read;
        if !room && !keeps {
            backlog.page = Default::default();
        }
        let moved = room || !dispatch.slots.is_empty();
        self.router.send(Some(id), dispatch, through).then_some(moved)
    }

    /// Tells operators how far behind the reading is, and who is.
    fn tell(&mut self) {
        let metrics = &self.router.metrics;
        if self.shown.elapsed() < SHOWN_EVERY {
            return;
        }
        self.shown = Instant::now();
        let head = *self.router.log.head().borrow();
        let now = self.router.delivery.now();
        let accepted = |record: &Record| Event::peek(&record.bytes).map(|(.., at)| at);
        let oldest: Option<Timestamp> =
            self.backlogs.iter().filter_map(|backlog| backlog.page.front().and_then(accepted)).min();
        metrics.reads(head.saturating_sub(self.position), oldest, self.backlogs.len());
        if self.backlogs.is_empty() || self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        for backlog in self.backlogs.iter() {
            let since = backlog.page.front().and_then(accepted).map(|at| (now.0 - at.0) / 1_000);
            tracing::warn!(
                owner = backlog.owner.map(|owner| owner.to_string()),
                log.read = backlog.read,
                log.head = head,
                seconds_behind = since,
                "events of this owner come faster than its destinations take them: they wait in the log, others do not wait for them"
            );
        }
    }
}

/// What an event and its deliveries take in memory until the last of them has ended.
fn kept_bytes(record: &Record, deliveries: usize) -> usize {
    record.bytes.len() + deliveries * JOB_BYTES
}

/// Where the reading goes on after an error; `None` when the log is closed.
async fn failed(error: LogError, after: u64) -> Option<u64> {
    match error {
        LogError::Damaged { first_seq, last_seq, reason } => {
            tracing::error!(first_seq, last_seq, reason, "events in the log are damaged and are lost");
            Some(last_seq.max(after + 1))
        }
        LogError::Closed => None,
        error => {
            tracing::error!(%error, log.after = after, "the event log cannot be read and is tried again");
            tokio::time::sleep(READ_RETRY).await;
            Some(after)
        }
    }
}
