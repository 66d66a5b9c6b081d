//! Waiting deliveries: those in the pending table, and when their lanes are looked at again.
//!
//! Only the recorder works with this, between its commits: so a row that is read here is neither being written nor
//! being ended at the same moment.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tributary_domain::{
    Event, Timestamp,
    outcome::{AttemptClass, RETRY_AFTER_MAX_MS},
};
use tributary_store::{
    Store,
    delivery::{Counted, PendingRow},
};

use crate::{
    agenda::Agenda,
    delivery::Delivery,
    lanes::{Job, Lanes},
    outcome::Finished,
    router::JOB_BYTES,
    routes::Routes,
    share::Shares,
};

/// Rows of one lane that are read at once.
const ROWS: usize = 256;
/// Lanes that are looked at before reports are taken in again.
const LANES_PER_TURN: usize = 8;
/// Wait before a lane that was full is looked at again, in milliseconds.
const FULL_WAIT_MS: i64 = 50;
/// Wait after the store could not be read, in milliseconds.
const FAILED_WAIT_MS: i64 = 1_000;
/// Longest sleep while something waits: a clock that was set back is noticed by then.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// What the log says of a waiting delivery whose integration was disabled meanwhile.
const DISABLED: &str = "the integration was disabled while this delivery waited";

/// See the module.
pub struct Waiting {
    routes: Routes,
    lanes: Lanes,
    /// The bytes of what is under way.
    queue: Shares,
    delivery: Delivery,
    /// When lanes are looked at next.
    agenda: Agenda,
    /// Rows whose delivery is queued or running, with the lane under which the row is kept.
    running: HashMap<i64, Arc<str>>,
    per_lane: HashMap<Arc<str>, usize>,
    /// Where the reading of a lane's rows goes on, so that rows that run already are not read again and again.
    resume: HashMap<Arc<str>, (Timestamp, i64)>,
}

/// Waiting deliveries that ended without being sent.
#[derive(Default)]
pub struct Unsent {
    /// Their request could not be built, or their integration is disabled.
    pub ended: Vec<(i64, Finished)>,
    /// Their integration no longer runs there.
    pub gone: Vec<(i64, Counted)>,
}

/// Longest time that a delivery waits for its next attempt, with these delays of the server's and those of the
/// integrations' own, in milliseconds.
pub(crate) fn longest_wait_ms(retry_delays_ms: &[i64], routes: &Routes) -> i64 {
    let longest = RETRY_AFTER_MAX_MS.max(routes.longest_wait_ms());
    retry_delays_ms.iter().copied().fold(longest, i64::max)
}

impl Waiting {
    /// Nothing waits yet; [`Waiting::wake`] tells of lanes that have rows.
    pub fn new(routes: Routes, lanes: Lanes, queue: Shares, delivery: Delivery) -> Waiting {
        Waiting {
            routes,
            lanes,
            queue,
            delivery,
            agenda: Agenda::default(),
            running: HashMap::new(),
            per_lane: HashMap::new(),
            resume: HashMap::new(),
        }
    }

    /// A lane has something due at this time.
    pub fn wake(&mut self, lane: &str, at: Timestamp) {
        self.agenda.wake(lane, at);
    }

    /// The delivery of this row is queued or running.
    pub fn runs(&mut self, id: i64, lane: &str) {
        let lane: Arc<str> =
            self.per_lane.get_key_value(lane).map_or_else(|| lane.into(), |(lane, _)| lane.clone());
        *self.per_lane.entry(lane.clone()).or_default() += 1;
        self.running.insert(id, lane);
    }

    /// Whether the delivery of this row is queued or running.
    pub fn is_running(&self, id: i64) -> bool {
        self.running.contains_key(&id)
    }

    /// The delivery of this row is no longer running, and the table says so too.
    pub fn settled(&mut self, id: i64) {
        let Some(lane) = self.running.remove(&id) else { return };
        if let Some(count) = self.per_lane.get_mut(&lane) {
            *count -= 1;
            if *count == 0 {
                self.per_lane.remove(&lane);
            }
        }
    }

    /// When a lane is next to be looked at.
    pub fn next_due(&self, now: Timestamp) -> Option<Instant> {
        let at = self.agenda.first()?;
        let wait = u64::try_from(at.0 - now.0).unwrap_or(0);
        Some(Instant::now() + Duration::from_millis(wait).min(LONGEST_SLEEP))
    }

    /// Since when the first of them has been due that is not in its lane yet; `None` when none is.
    pub fn oldest_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.agenda.first().filter(|at| *at < now)
    }

    /// Looks at once at lanes whose time is further off than any delivery waits: the clock was set back since. Their rows,
    /// and all others of that kind, are due now.
    async fn heed_clock(&mut self, store: &Store, now: Timestamp) {
        let latest = now.plus_ms(longest_wait_ms(&self.delivery.retry_delays_ms, &self.routes));
        if self.agenda.last().is_none_or(|at| at <= latest) {
            return;
        }
        match store.bring_forward(latest, now).await {
            Ok(rows) => tracing::warn!(rows, "the clock was set back: deliveries that wait are due now"),
            // Seen again at the next turn, since the lanes keep their time.
            Err(error) => {
                return tracing::error!(%error, "the clock was set back, and what waits cannot be brought forward");
            }
        }
        self.resume.clear();
        self.agenda.bring_forward(latest, now);
    }

    /// Puts deliveries that are due into their lanes, as far as these have room. Gives those that end at once.
    pub async fn submit_due(&mut self, store: &Store, now: Timestamp) -> Unsent {
        let mut unsent = Unsent::default();
        self.heed_clock(store, now).await;
        for _ in 0..LANES_PER_TURN {
            let Some(lane) = self.agenda.take(now) else { break };
            self.submit_lane(store, &lane, now, &mut unsent).await;
        }
        unsent
    }

    async fn submit_lane(&mut self, store: &Store, lane: &Arc<str>, now: Timestamp, unsent: &mut Unsent) {
        // A lane is filled up by many rows at once, not for each that leaves it: those that it has are read anew then.
        let room = self.lanes.room(lane).min(ROWS);
        if room < ROWS {
            return self.wake(lane, now.plus_ms(FULL_WAIT_MS));
        }
        let after = self.resume.remove(lane);
        let limit = match after {
            Some(_) => room,
            None => room + self.per_lane.get(lane).copied().unwrap_or_default(),
        };
        let rows = match store.pending_of_lane(lane, after, limit).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "waiting deliveries cannot be read and are looked at again shortly");
                return self.wake(lane, now.plus_ms(FAILED_WAIT_MS));
            }
        };
        if rows.len() == limit {
            if let Some(last) = rows.last().filter(|last| last.due_at <= now) {
                self.resume.insert(lane.clone(), (last.due_at, last.id));
            }
            self.wake(lane, now);
        } else if after.is_some() {
            // The end is reached; rows that became due behind the reading are found from the start.
            self.wake(lane, now);
        }
        let mut submitted = None;
        for row in rows {
            if self.running.contains_key(&row.id) {
                submitted = Some((row.due_at, row.id));
                continue;
            }
            if row.due_at > now {
                return self.wake(lane, row.due_at);
            }
            if !self.submit_row(&row, lane, unsent).await {
                // No room: the reading goes on with this one.
                match submitted {
                    Some(submitted) => self.resume.insert(lane.clone(), submitted),
                    None => self.resume.remove(lane),
                };
                return self.wake(lane, now.plus_ms(FULL_WAIT_MS));
            }
            submitted = Some((row.due_at, row.id));
        }
    }

    /// Puts a waiting delivery into its lane, with its integration as it is now. False when there is no room for it.
    async fn submit_row(&mut self, row: &PendingRow, lane: &Arc<str>, unsent: &mut Unsent) -> bool {
        let event = match Event::decode(&row.event) {
            Ok(event) => Arc::new(event),
            Err(error) => {
                tracing::error!(pending.id = row.id, %error, "a waiting delivery cannot be read and stays where it is");
                self.runs(row.id, lane);
                return true;
            }
        };
        let Some(entry) = self.routes.find(row.counted, &event) else {
            self.runs(row.id, lane);
            unsent.gone.push((row.id, row.counted));
            return true;
        };
        if entry.disabled {
            self.runs(row.id, lane);
            let (class, error) = (AttemptClass::Sleeping, DISABLED.to_owned());
            match self.delivery.ended_unsent(&entry, event, row.attempt, class, error).await {
                Some(ended) => unsent.ended.push((row.id, ended)),
                None => unsent.gone.push((row.id, row.counted)),
            }
            return true;
        }
        let bytes = JOB_BYTES * 2 + row.event.len();
        let Some(part) = self.queue.try_take(entry.owner(), bytes) else { return false };
        let into = entry.lane();
        let (id, attempt, part) = (row.id, row.attempt, Some(Arc::new(part)));
        let job = Job { id, place: None, entry, event, attempt, grant: None, part };
        let submitted = self.lanes.submit(&into, job).is_ok();
        if submitted {
            self.runs(row.id, lane);
        }
        submitted
    }
}
