//! The window: events that were taken from the log and are not yet behind the cursor, in the order of the log.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use tributary_domain::{Event, Timestamp};
use tributary_store::delivery::{Counted, PendingRow};

use crate::outcome::Finished;

/// An event under way.
pub struct Slot {
    /// Its place in the log.
    pub seq: u64,
    /// When it was dispatched.
    pub since: Instant,
    /// How many window permits it holds.
    pub weight: usize,
    /// Deliveries that have not ended.
    pub open: Vec<OpenJob>,
    /// Deliveries that ended.
    pub ended: Vec<Finished>,
    /// Deliveries that wait in the pending table.
    pub waits: Vec<PendingRow>,
}

/// A delivery under way: what is needed to write it as waiting.
pub struct OpenJob {
    /// The job's id, and that of its row when it gets one.
    pub id: i64,
    /// Whose it is.
    pub counted: Counted,
    /// Its lane.
    pub lane: Arc<str>,
    /// The event.
    pub event: Arc<Event>,
}

impl OpenJob {
    /// The row of this delivery, due at `due_at` for attempt `attempt`.
    pub fn row(&self, due_at: Timestamp, attempt: u32) -> PendingRow {
        PendingRow {
            id: self.id,
            lane: self.lane.to_string(),
            due_at,
            counted: self.counted,
            attempt,
            event: self.event.encode(),
        }
    }
}

/// See the module.
pub struct Window {
    slots: VecDeque<Slot>,
    through: u64,
}

/// What closing slots gave.
#[derive(Default)]
pub struct Closed {
    /// How far the log has been dealt with, if that has moved.
    pub cursor: Option<u64>,
    /// Deliveries that ended.
    pub ended: Vec<Finished>,
    /// Deliveries that wait, none of them running.
    pub waits: Vec<PendingRow>,
    /// Deliveries that are written as waiting while they run on.
    pub running: Vec<PendingRow>,
    /// Window permits that came free.
    pub weight: usize,
}

impl Window {
    /// An empty window behind this place of the log.
    pub fn new(cursor: u64) -> Window {
        Window { slots: VecDeque::new(), through: cursor }
    }

    /// Takes in events, all of them after those taken in before; `through` is the last one that was looked at.
    pub fn extend(&mut self, slots: Vec<Slot>, through: u64) {
        self.slots.extend(slots);
        self.through = through;
    }

    /// When the oldest event was dispatched.
    pub fn oldest(&self) -> Option<Instant> {
        self.slots.front().map(|slot| slot.since)
    }

    /// Takes a job that is no longer open out of its event's slot. `None` when the event has left the window: then the
    /// job has a pending row.
    pub fn take(&mut self, seq: u64, id: i64) -> Option<(OpenJob, &mut Slot)> {
        let at = self.slots.partition_point(|slot| slot.seq < seq);
        let slot = self.slots.get_mut(at).filter(|slot| slot.seq == seq)?;
        let index = slot.open.iter().position(|job| job.id == id)?;
        let job = slot.open.swap_remove(index);
        Some((job, slot))
    }

    /// Closes events from the oldest on: those with nothing open, and those older than `patience`, whose open
    /// deliveries become waiting ones that run on.
    pub fn close(&mut self, patience: Duration, now: Timestamp, before: u64) -> Closed {
        let mut closed = Closed::default();
        while let Some(front) = self.slots.front() {
            if !front.open.is_empty() && front.since.elapsed() < patience {
                break;
            }
            let Some(slot) = self.slots.pop_front() else { break };
            closed.weight += slot.weight;
            closed.ended.extend(slot.ended);
            closed.waits.extend(slot.waits);
            closed.running.extend(slot.open.iter().map(|job| job.row(now, 1)));
        }
        let cursor = self.slots.front().map_or(self.through, |slot| slot.seq - 1);
        closed.cursor = (cursor > before).then_some(cursor);
        closed
    }
}
