//! The router: takes events from the log in order, finds what they fire, renders it, and hands it to the lanes.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::Instant,
};
use tributary_domain::{Event, outcome::AttemptClass};
use tributary_eventlog::{EventLog, LogError, Record};

use crate::{
    delivery::Delivery,
    lanes::{Job, Lanes, lane_name},
    metrics::Metrics,
    recorder::{Report, Verdict},
    routes::{Route, Routes},
    window::{OpenJob, Slot},
};

/// Events taken from the log at once.
const READ_EVENTS: usize = 512;
/// Bytes taken from the log at once.
const READ_BYTES: usize = 4 * 1024 * 1024;
/// Window permits in all: a slot holds one, and one more per 4 KiB that were rendered for it.
pub const WINDOW_PERMITS: usize = 8_192;
/// Rendered bytes for which a slot holds one more permit.
const WEIGHT_BYTES: usize = 4 * 1024;
/// Most permits that one slot holds, so that the largest event still fits the window.
const SLOT_WEIGHT_MAX: usize = WINDOW_PERMITS / 8;
/// Events that are routed between two chances for other tasks to run.
const EVENTS_PER_TURN: usize = 64;
/// Wait before a reading of the log that failed is tried again.
const READ_RETRY: std::time::Duration = std::time::Duration::from_millis(500);

/// See the module.
pub struct Router {
    pub(crate) log: EventLog,
    pub(crate) routes: Routes,
    pub(crate) lanes: Lanes,
    pub(crate) delivery: Delivery,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) window_permits: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) next_id: Arc<AtomicI64>,
}

/// What one event fires.
struct Routed {
    slot: Slot,
    jobs: Vec<(Arc<str>, Job)>,
}

impl Router {
    /// Runs from behind `cursor` until `stop` says so.
    pub async fn run(self, mut cursor: u64, mut stop: watch::Receiver<bool>) {
        let mut head = self.log.head();
        loop {
            head.mark_unchanged();
            let records = tokio::select! {
                records = self.log.read_after(cursor, READ_EVENTS, READ_BYTES) => records,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match records {
                Ok(records) if records.is_empty() => tokio::select! {
                    // The log closes its head when it is closed: then there is nothing more to come.
                    changed = head.changed() => if changed.is_err() { return },
                    _ = stop.wait_for(|stop| *stop) => return,
                },
                Ok(records) => {
                    cursor = records.last().map_or(cursor, |last| last.seq);
                    self.metrics.events_read(records.len());
                    for part in records.chunks(EVENTS_PER_TURN) {
                        if !self.dispatch(part).await {
                            return;
                        }
                    }
                }
                Err(LogError::Damaged { first_seq, last_seq, reason }) => {
                    tracing::error!(
                        first_seq,
                        last_seq,
                        reason,
                        "events in the log are damaged and are lost"
                    );
                    cursor = last_seq.max(cursor + 1);
                }
                Err(LogError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, log.after = cursor, "the event log cannot be read and is tried again");
                    tokio::time::sleep(READ_RETRY).await;
                }
            }
        }
    }

    /// Routes some events. False when the process is going down.
    async fn dispatch(&self, records: &[Record]) -> bool {
        let mut slots = Vec::with_capacity(records.len());
        let mut jobs = Vec::with_capacity(records.len());
        let mut matched = Vec::new();
        let (mut weight, mut through) = (0, 0);
        for record in records {
            through = record.seq;
            let event = match Event::decode(&record.bytes) {
                Ok(event) => event,
                Err(error) => {
                    tracing::error!(log.seq = record.seq, %error, "an event in the log cannot be read and is passed over");
                    continue;
                }
            };
            self.matching(&event, &mut matched).await;
            if matched.is_empty() {
                continue;
            }
            let routed = self.render(record.seq, &Arc::new(event), &matched);
            weight += routed.slot.weight;
            slots.push(routed.slot);
            jobs.extend(routed.jobs);
        }
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        match self.window_permits.acquire_many(permits).await {
            Ok(permits) => permits.forget(),
            Err(_) => return false,
        }
        let since = Instant::now();
        slots.iter_mut().for_each(|slot| slot.since = since);
        // Told before the lanes have the jobs, so that none can end before its slot is known.
        if self.reports.send(Report::Dispatched { slots, through }).is_err() {
            return false;
        }
        for (lane, job) in jobs {
            if let Err(job) = self.lanes.submit(&lane, job) {
                self.spill(*job, lane);
            }
        }
        true
    }

    /// What an event fires. A store that cannot be read now is asked again: the event must not be passed over.
    async fn matching(&self, event: &Event, matched: &mut Vec<Arc<Route>>) {
        loop {
            matched.clear();
            match self.routes.matching(event, matched).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(%error, "integrations cannot be read and are tried again");
                    tokio::time::sleep(READ_RETRY).await;
                }
            }
        }
    }

    fn render(&self, seq: u64, event: &Arc<Event>, matched: &[Arc<Route>]) -> Routed {
        let mut slot = Slot {
            seq,
            since: Instant::now(),
            weight: 1,
            open: Vec::new(),
            ended: Vec::new(),
            waits: Vec::new(),
        };
        let mut jobs = Vec::with_capacity(matched.len());
        let mut bytes = 0;
        for route in matched {
            match route.compiled.target.render(&Delivery::variables(route, event)) {
                Err(error) => slot.ended.push(self.delivery.ended_unsent(
                    route.clone(),
                    event.clone(),
                    1,
                    AttemptClass::Final,
                    error,
                )),
                Ok(message) => {
                    bytes += message.body.len();
                    let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                    let lane: Arc<str> = lane_name(route.owner, &message.destination).into();
                    let (counted, event) = (route.counted, event.clone());
                    slot.open.push(OpenJob { id, counted, lane: lane.clone(), event: event.clone() });
                    jobs.push((
                        lane,
                        Job {
                            id,
                            seq: Some(seq),
                            route: route.clone(),
                            event,
                            attempt: 1,
                            message,
                            grant: None,
                        },
                    ));
                }
            }
        }
        slot.weight = (1 + bytes / WEIGHT_BYTES).min(SLOT_WEIGHT_MAX);
        Routed { slot, jobs }
    }

    /// A lane is full: the delivery waits in the pending table.
    fn spill(&self, job: Job, lane: Arc<str>) {
        self.metrics.spilled(1);
        let verdict = Verdict::Waits {
            lane,
            due_at: self.delivery.now(),
            attempt: 1,
            counted: job.route.counted,
            event: job.event,
        };
        // The recorder outlives the router; when it is gone, so is the process.
        let _ = self.reports.send(Report::Completed { id: job.id, seq: job.seq, verdict });
    }
}
