//! The window: events that were taken from the log and are not yet behind the cursor, in the order of the log.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;
use tributary_domain::{Event, Timestamp};
use tributary_store::delivery::{Counted, PendingRow};

use crate::{outcome::Finished, share::Part};

/// An event under way.
pub struct Slot {
    /// Its place in the log.
    pub seq: u64,
    /// When it was dispatched.
    pub since: Instant,
    /// Deliveries that have not ended.
    pub open: Vec<OpenJob>,
    /// Deliveries that ended.
    pub ended: Vec<Finished>,
    /// Deliveries that wait in the pending table.
    pub waits: Vec<PendingRow>,
    /// What it takes of its owner's share of the memory until it closes.
    pub part: Option<Part>,
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
    pub fn row(&self, due_at: Timestamp, attempt: u32, encoder: &mut Encoder) -> PendingRow {
        PendingRow {
            id: self.id,
            lane: self.lane.to_string(),
            due_at,
            counted: self.counted,
            attempt,
            event: encoder.encoded(&self.event),
        }
    }
}

/// Encodes events, and remembers the last one: an event's rows come one after another and share its bytes.
#[derive(Default)]
pub struct Encoder(Option<(Arc<Event>, Arc<[u8]>)>);

impl Encoder {
    /// The event as the store keeps it.
    pub fn encoded(&mut self, event: &Arc<Event>) -> Arc<[u8]> {
        if let Some((last, bytes)) = &self.0
            && Arc::ptr_eq(last, event)
        {
            return bytes.clone();
        }
        let bytes: Arc<[u8]> = event.encode().into();
        self.0 = Some((event.clone(), bytes.clone()));
        bytes
    }

    /// Forgets the last one.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

/// Bytes of rows after which closing goes on with the next commit.
const CLOSED_BYTES: usize = 8 * 1024 * 1024;

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
    /// Deliveries that wait, none of them running.
    pub waits: Vec<PendingRow>,
    /// Deliveries that are written as waiting while they run on.
    pub running: Vec<PendingRow>,
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

    /// How far the log was looked at.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Whether no event is under way.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
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
    /// deliveries become waiting ones that run on. Each delivery that ended is given to `ended`.
    pub fn close(
        &mut self,
        patience: Duration,
        now: Timestamp,
        before: u64,
        encoder: &mut Encoder,
        mut ended: impl FnMut(Finished),
    ) -> Closed {
        let mut closed = Closed::default();
        let mut bytes = 0;
        while let Some(front) = self.slots.front() {
            let full = bytes > CLOSED_BYTES && patience > Duration::ZERO;
            if !front.open.is_empty() && (front.since.elapsed() < patience || full) {
                break;
            }
            let Some(slot) = self.slots.pop_front() else { break };
            slot.ended.into_iter().for_each(&mut ended);
            bytes += slot.waits.iter().map(|row| row.event.len()).sum::<usize>();
            closed.waits.extend(slot.waits);
            closed.running.extend(slot.open.iter().map(|job| {
                let row = job.row(now, 1, encoder);
                bytes += row.event.len();
                row
            }));
        }
        let cursor = self.slots.front().map_or(self.through, |slot| slot.seq - 1);
        closed.cursor = (cursor > before).then_some(cursor);
        closed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tributary_domain::{EventId, IntegrationId, MemberId, ProductId};

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);
    const PATIENT: Duration = Duration::from_secs(3_600);

    fn nothing(_: Finished) {
        unreachable!("no delivery of these tests ends");
    }

    fn slot(seq: u64, jobs: &[i64]) -> Slot {
        let event = Arc::new(Event {
            id: EventId([0; 16]),
            product: Some(ProductId(1)),
            user: None,
            coreid: "api".into(),
            name: "a".into(),
            data: None,
            ttl: 60,
            published_at: NOW,
            version: None,
        });
        let counted = Counted {
            integration: IntegrationId([1; 12]),
            member: Some(MemberId([2; 12])),
            product: Some(ProductId(1)),
        };
        let job = |id: &i64| OpenJob { id: *id, counted, lane: "lane".into(), event: event.clone() };
        let open = jobs.iter().map(job).collect();
        Slot { seq, since: Instant::now(), open, ended: Vec::new(), waits: Vec::new(), part: None }
    }

    /// Ends a job as one that waits for its second attempt.
    fn wait(window: &mut Window, seq: u64, id: i64) {
        let (job, slot) = window.take(seq, id).unwrap();
        slot.waits.push(job.row(NOW, 2, &mut Encoder::default()));
    }

    #[test]
    fn the_cursor_follows_the_oldest_event_under_way() {
        let mut window = Window::new(10);
        window.extend(vec![slot(12, &[1, 2]), slot(14, &[3])], 15);
        assert_eq!(
            window.close(PATIENT, NOW, 10, &mut Encoder::default(), nothing).cursor,
            Some(11),
            "what fired nothing is behind it at once"
        );
        wait(&mut window, 14, 3);
        assert_eq!(
            window.close(PATIENT, NOW, 11, &mut Encoder::default(), nothing).cursor,
            None,
            "an event that ended early waits for the older one"
        );
        wait(&mut window, 12, 1);
        assert_eq!(window.close(PATIENT, NOW, 11, &mut Encoder::default(), nothing).cursor, None);
        wait(&mut window, 12, 2);
        let closed = window.close(PATIENT, NOW, 11, &mut Encoder::default(), nothing);
        assert_eq!((closed.cursor, closed.waits.len()), (Some(15), 3));
        assert!(closed.running.is_empty());
    }

    #[test]
    fn an_event_that_takes_too_long_is_written_as_waiting_while_it_runs_on() {
        let mut window = Window::new(0);
        window.extend(vec![slot(1, &[1, 2]), slot(2, &[3])], 2);
        wait(&mut window, 1, 1);
        let closed = window.close(Duration::ZERO, NOW, 0, &mut Encoder::default(), nothing);
        assert_eq!(closed.cursor, Some(2));
        assert_eq!(closed.waits.iter().map(|row| row.id).collect::<Vec<_>>(), [1]);
        let running: Vec<_> = closed.running.iter().map(|row| (row.id, row.due_at, row.attempt)).collect();
        assert_eq!(running, [(2, NOW, 1), (3, NOW, 1)]);
        assert!(window.take(1, 2).is_none(), "from now on it is known by its row");
    }

    #[test]
    fn an_empty_window_is_as_far_as_the_log_was_read() {
        let mut window = Window::new(5);
        assert_eq!(window.close(PATIENT, NOW, 5, &mut Encoder::default(), nothing).cursor, None);
        window.extend(Vec::new(), 9);
        assert_eq!(window.close(PATIENT, NOW, 5, &mut Encoder::default(), nothing).cursor, Some(9));
        assert!(window.oldest().is_none());
    }
}
