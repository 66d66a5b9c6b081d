//! The limits that an integration sets for its own deliveries: how many start per second and how many run at once.
//!
//! What is over them is held beside its lane, so that it is in nobody's way, and goes back to the lane's front when its
//! turn has come. Few are held; the rest waits in the pending table until about when its turn will be. None of this is
//! an attempt, so nothing of it is counted as one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tributary_domain::IntegrationId;
use tributary_targets::sending::{Rate, Sending};

use crate::lanes::{Job, Lane};

/// Deliveries of one integration that are held in memory.
const HELD: usize = 128;
/// Longest stay in the pending table before a delivery asks again: limits may have been raised meanwhile.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// How long a delivery is taken to last before any has been measured.
const USUAL: Duration = Duration::from_millis(50);
/// How much one delivery changes the measured length.
const WEIGHT: f64 = 0.1;

/// The limits of one integration, over all its products and lanes.
pub struct Pacer {
    state: Mutex<State>,
    /// A delivery ended, or the limits changed.
    changed: Notify,
}

struct State {
    limits: Sending,
    /// Deliveries that may start now.
    tokens: f64,
    filled: Instant,
    running: u32,
    held: VecDeque<Held>,
    /// Whether somebody waits for the turn of those that are held.
    awaited: bool,
    /// When the last one that was sent to the pending table will have its turn.
    tail: Instant,
    /// How long a delivery lasts.
    length: Duration,
}

/// A delivery beside its lane.
pub(crate) struct Held {
    pub(crate) lane: Arc<Lane>,
    pub(crate) job: Job,
}

/// The right to run; it ends when it is dropped.
pub struct Grant {
    pacer: Arc<Pacer>,
    since: Instant,
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut state = self.pacer.state.lock();
        state.running = state.running.saturating_sub(1);
        state.length = state.length.mul_f64(1.0 - WEIGHT) + self.since.elapsed().mul_f64(WEIGHT);
        drop(state);
        self.pacer.changed.notify_one();
    }
}

/// What became of a delivery that was over the limits.
pub(crate) enum Over {
    /// It is held, and somebody waits for its turn.
    Held,
    /// It is held, and the caller must wait for its turn.
    HeldFirst,
    /// It does not fit; it may ask again after this time.
    Later(Box<Job>, Duration),
}

/// The turn of those that are held.
pub(crate) enum Turn {
    /// Of this one, now.
    Now(Box<Held>),
    /// Then, or when something changes.
    At(Instant),
    /// When something changes.
    Unknown,
    /// None is held any more.
    Over,
}

impl State {
    /// Whether one may start now; takes its token.
    fn take(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        if self.limits.concurrency.is_some_and(|most| self.running >= most) {
            return Err(None);
        }
        if let Some(Rate { per_second, burst }) = self.limits.rate {
            let passed = now.saturating_duration_since(self.filled).as_secs_f64();
            self.tokens = (self.tokens + passed * per_second).min(f64::from(burst));
            self.filled = self.filled.max(now);
            if self.tokens < 1.0 {
                return Err(Some(now + Duration::from_secs_f64((1.0 - self.tokens) / per_second)));
            }
            self.tokens -= 1.0;
        }
        self.running += 1;
        Ok(())
    }

    /// About how long it takes from one turn to the next.
    fn interval(&self) -> Duration {
        let rate = self.limits.rate.map(|rate| Duration::from_secs_f64(1.0 / rate.per_second));
        // Half of what was measured: to ask again too early costs one write, too late leaves the destination idle.
        let concurrency = self.limits.concurrency.map(|most| self.length / most / 2);
        rate.max(concurrency).unwrap_or_default()
    }

    /// When one that does not fit asks again: behind all that do the same.
    fn later(&mut self, now: Instant) -> Duration {
        let interval = self.interval();
        let behind_held = now + interval * u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        self.tail = (self.tail.max(behind_held) + interval).min(now + ASK_AGAIN);
        self.tail - now
    }
}

impl Pacer {
    /// Limits that nothing has used yet.
    pub fn new(limits: Sending, now: Instant) -> Arc<Pacer> {
        let tokens = limits.rate.map_or(0.0, |rate| f64::from(rate.burst));
        let state = State {
            limits,
            tokens,
            filled: now,
            running: 0,
            held: VecDeque::new(),
            awaited: false,
            tail: now,
            length: USUAL,
        };
        Arc::new(Pacer { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Other limits, for those that are held too.
    fn set(&self, limits: Sending) {
        let mut state = self.state.lock();
        if state.limits != limits {
            state.limits = limits;
            state.tail = state.filled;
            drop(state);
            self.changed.notify_one();
        }
    }

    fn grant(self: &Arc<Pacer>, now: Instant) -> Grant {
        Grant { pacer: self.clone(), since: now }
    }

    /// Lets a delivery run, unless it is over the limits or others are held before it.
    pub fn admit(self: &Arc<Pacer>, now: Instant) -> Option<Grant> {
        let mut state = self.state.lock();
        (state.held.is_empty() && state.take(now).is_ok()).then(|| self.grant(now))
    }

    /// Holds a delivery that was not let run.
    pub(crate) fn hold(&self, lane: &Arc<Lane>, job: Job, now: Instant) -> Over {
        let mut state = self.state.lock();
        if state.held.len() >= HELD {
            return Over::Later(Box::new(job), state.later(now));
        }
        state.held.push_back(Held { lane: lane.clone(), job });
        if std::mem::replace(&mut state.awaited, true) { Over::Held } else { Over::HeldFirst }
    }

    /// Whose turn it is.
    pub(crate) fn turn(self: &Arc<Pacer>, now: Instant) -> Turn {
        let mut state = self.state.lock();
        if state.held.is_empty() {
            state.awaited = false;
            return Turn::Over;
        }
        match state.take(now) {
            Err(at) => at.map_or(Turn::Unknown, Turn::At),
            Ok(()) => match state.held.pop_front() {
                None => Turn::Over,
                Some(mut held) => {
                    held.job.grant = Some(self.grant(now));
                    Turn::Now(Box::new(held))
                }
            },
        }
    }

    /// Waits until something changes.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The limits of all integrations that have some. They outlive the routes, which are made anew at every change.
#[derive(Default)]
pub struct Pacers {
    known: Mutex<HashMap<IntegrationId, Arc<Pacer>>>,
    longest_wait_ms: AtomicI64,
}

impl Pacers {
    /// The longest time that any integration so far lets a delivery wait, in milliseconds. It does not fall when that
    /// integration goes.
    pub fn longest_wait_ms(&self) -> i64 {
        self.longest_wait_ms.load(Ordering::Relaxed)
    }

    /// The pacer of an integration that has limits.
    pub fn of(&self, id: IntegrationId, limits: &Sending) -> Option<Arc<Pacer>> {
        let longest = limits.retry_delays_ms.iter().flatten().copied().max().unwrap_or(0);
        self.longest_wait_ms.fetch_max(longest, Ordering::Relaxed);
        let mut all = self.known.lock();
        if limits.rate.is_none() && limits.concurrency.is_none() {
            if let Some(before) = all.remove(&id) {
                before.set(limits.clone());
            }
            return None;
        }
        if let Some(known) = all.get(&id) {
            known.set(limits.clone());
            return Some(known.clone());
        }
        let again = i64::try_from(ASK_AGAIN.as_millis()).unwrap_or(i64::MAX);
        self.longest_wait_ms.fetch_max(again, Ordering::Relaxed);
        // Those that only this table knows belong to integrations that are gone.
        if all.len() == all.capacity() {
            all.retain(|_, pacer| Arc::strong_count(pacer) > 1);
        }
        let pacer = Pacer::new(limits.clone(), Instant::now());
        all.insert(id, pacer.clone());
        Some(pacer)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn limits(per_second: Option<f64>, burst: u32, concurrency: Option<u32>) -> Sending {
        let rate = per_second.map(|per_second| Rate { per_second, burst });
        Sending { rate, concurrency, ..Sending::default() }
    }

    #[test]
    fn as_many_start_as_the_rate_allows() {
        let start = Instant::now();
        let pacer = Pacer::new(limits(Some(10.0), 3, None), start);
        let at = |ms| start + Duration::from_millis(ms);
        let started = |ms| std::iter::from_fn(|| pacer.admit(at(ms))).count();
        assert_eq!((started(0), started(50), started(101), started(101)), (3, 0, 1, 0));
        assert_eq!(started(10_000), 3, "a pause gathers no more than the burst");
        assert_eq!(started(9_000), 0, "time that goes backwards gives nothing");
    }

    #[test]
    fn as_many_run_as_the_concurrency_allows() {
        let now = Instant::now();
        let pacer = Pacer::new(limits(None, 0, Some(2)), now);
        let first = pacer.admit(now).unwrap();
        let _second = pacer.admit(now).unwrap();
        assert!(pacer.admit(now).is_none());
        drop(first);
        assert!(pacer.admit(now).is_some());
    }

    #[test]
    fn what_does_not_fit_asks_again_one_behind_the_other() {
        let now = Instant::now();
        let pacer = Pacer::new(limits(Some(10.0), 1, None), now);
        let mut state = pacer.state.lock();
        let ms = Duration::from_millis;
        assert_eq!((state.later(now), state.later(now)), (ms(100), ms(200)));
        assert_eq!(state.later(now + ms(150)), ms(150));
        state.limits = limits(Some(0.01), 1, Some(5));
        assert_eq!((0..9).map(|_| state.later(now)).max(), Some(ASK_AGAIN));
    }

    #[test]
    fn limits_stay_with_their_integration_when_its_routes_are_made_anew() {
        let (pacers, id) = (Pacers::default(), IntegrationId([1; 12]));
        let one = pacers.of(id, &limits(None, 0, Some(1))).unwrap();
        let grant = one.admit(Instant::now()).unwrap();
        let again = pacers.of(id, &limits(None, 0, Some(2))).unwrap();
        assert!(Arc::ptr_eq(&one, &again));
        let second = again.admit(Instant::now());
        assert!(second.is_some() && again.admit(Instant::now()).is_none(), "one runs from before");
        drop(grant);
        assert!(pacers.of(id, &limits(None, 0, None)).is_none());
        assert!(pacers.known.lock().is_empty());
        assert!(one.admit(Instant::now()).is_some(), "what is left of it has no limits");
    }
}
