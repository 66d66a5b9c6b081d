//! Lanes: each destination of each owner has a queue of its own, so that none waits for another's.
//!
//! A lane is bounded: what does not fit is given back and waits in the pending table. It runs at most
//! [`limits::LANE_CONCURRENCY`] deliveries at once and keeps the health of its destination. Where several events go in
//! one request ([`tributary_targets::Target::together`]), that many requests.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};
use tributary_domain::{
    Event, Owner, limits,
    outcome::{Admission, AttemptClass, Health},
};
use tributary_targets::{Attempt, Message};

use crate::{
    delivery::Delivery,
    pace::{Grant, Over, Pacer, Turn},
    routes::Route,
};

/// How many deliveries of other integrations are gone past to find those that can go together.
const PASSED: usize = 256;

/// The text of an attempt that was not made (contract 4.3).
pub const SLEEPING: &str = "Sleeping, too many errors, please wait and try again";

/// One rendered delivery on its way.
pub struct Job {
    /// Unique among waiting deliveries; also the id of its pending row, once it has one.
    pub id: i64,
    /// The event's place in the log, for a first attempt that has no pending row yet.
    pub seq: Option<u64>,
    /// The integration, in its product or sandbox.
    pub route: Arc<Route>,
    /// The event.
    pub event: Arc<Event>,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// What is sent.
    pub message: Message,
    /// The right to run under the integration's own limits, once it has it.
    pub grant: Option<Grant>,
}

/// The name of the lane of a destination (`host:port`).
pub fn lane_name(owner: Owner, destination: &str) -> String {
    format!("{owner}|{destination}")
}

pub(crate) struct Lane {
    name: Arc<str>,
    state: Mutex<LaneState>,
}

#[derive(Default)]
struct LaneState {
    queue: VecDeque<Job>,
    workers: usize,
    running: usize,
    health: Health,
}

impl LaneState {
    /// Whether one more worker is to be started; counts it.
    fn one_more_worker(&mut self, most: usize) -> bool {
        let more = self.workers < most;
        self.workers += usize::from(more);
        more
    }
}

struct Inner {
    lanes: Mutex<HashMap<Arc<str>, Arc<Lane>>>,
    permits: Semaphore,
    concurrency: usize,
    delivery: Delivery,
}

/// All lanes. Cheap to clone.
#[derive(Clone)]
pub struct Lanes(Arc<Inner>);

impl Lanes {
    /// Lanes that run at most `concurrency` deliveries each and `total` together.
    pub fn new(delivery: Delivery, concurrency: usize, total: usize) -> Lanes {
        Lanes(Arc::new(Inner {
            lanes: Mutex::default(),
            permits: Semaphore::new(total),
            concurrency,
            delivery,
        }))
    }

    /// Takes a job into a lane.
    ///
    /// # Errors
    /// Gives the job back when the lane is full.
    pub fn submit(&self, name: &str, job: Job) -> Result<(), Box<Job>> {
        let lane = self.lane(name);
        let mut state = lane.state.lock();
        if state.queue.len() >= limits::LANE_QUEUE {
            return Err(Box::new(job));
        }
        state.queue.push_back(job);
        let more = state.one_more_worker(self.0.concurrency);
        drop(state);
        if more {
            self.0.start_worker(lane);
        }
        Ok(())
    }

    /// Lets a destination go on sleeping that slept before the server was started.
    pub fn restore(&self, name: &str, health: Health) {
        self.lane(name).state.lock().health = health;
    }

    /// The destinations of an owner that sleep, as `host:port`.
    pub fn sleeping(&self, owner: Owner) -> Vec<String> {
        let begin = lane_name(owner, "");
        let lanes: Vec<Arc<Lane>> = self.0.lanes.lock().values().cloned().collect();
        let sleeps = |lane: &Arc<Lane>| lane.state.lock().health.sleeps();
        let own = lanes.iter().filter_map(|lane| Some((lane, lane.name.strip_prefix(&*begin)?)));
        own.filter(|(lane, _)| sleeps(lane)).map(|(_, destination)| destination.to_owned()).collect()
    }

    /// How many more jobs a lane takes.
    pub fn room(&self, name: &str) -> usize {
        let lane = self.0.lanes.lock().get(name).cloned();
        lane.map_or(limits::LANE_QUEUE, |lane| {
            limits::LANE_QUEUE.saturating_sub(lane.state.lock().queue.len())
        })
    }

    /// Jobs that are queued or running.
    pub fn busy(&self) -> usize {
        let lanes: Vec<Arc<Lane>> = self.0.lanes.lock().values().cloned().collect();
        lanes.iter().map(|lane| lane.state.lock()).map(|state| state.queue.len() + state.running).sum()
    }

    /// Forgets lanes that are idle and healthy: urls from templates may name ever new hosts.
    pub fn sweep(&self) {
        self.0.lanes.lock().retain(|_, lane| {
            let state = lane.state.lock();
            state.workers > 0
                || !state.queue.is_empty()
                || state.health.score > 0
                || Arc::strong_count(lane) > 1
        });
    }

    fn lane(&self, name: &str) -> Arc<Lane> {
        let mut lanes = self.0.lanes.lock();
        if let Some(lane) = lanes.get(name) {
            return lane.clone();
        }
        let name: Arc<str> = name.into();
        let lane = Arc::new(Lane { name: name.clone(), state: Mutex::default() });
        lanes.insert(name, lane.clone());
        lane
    }
}

impl Inner {
    fn start_worker(self: &Arc<Inner>, lane: Arc<Lane>) {
        let inner = self.clone();
        tokio::spawn(async move { inner.work(&lane).await });
    }

    /// Takes jobs from a lane until it is empty.
    async fn work(self: &Arc<Inner>, lane: &Arc<Lane>) {
        loop {
            // Never closed, so this only waits.
            let Ok(_permit) = self.permits.acquire().await else { return };
            let Some((job, admission)) = self.next(lane) else { return };
            if admission == Admission::Sleep {
                let error = Some(SLEEPING.to_owned());
                let attempt = Attempt { class: AttemptClass::Sleeping, error, reply: None };
                lane.state.lock().running -= 1;
                self.delivery.finish(job, &lane.name, attempt, Duration::ZERO);
                continue;
            }
            // A probe goes alone.
            let others = if admission == Admission::Go { self.companions(lane, &job) } else { Vec::new() };
            if others.is_empty() {
                self.send(lane, job).await;
            } else {
                // In a box, so that a worker that sends one by one stays small.
                let all = std::iter::once(job).chain(others);
                Box::pin(join_all(all.map(|job| self.send(lane, job)))).await;
            }
        }
    }

    /// Makes an attempt.
    async fn send(&self, lane: &Lane, job: Job) {
        let started = Instant::now();
        let attempt = self.delivery.send(&job).await;
        {
            let mut state = lane.state.lock();
            state.running -= 1;
            let slept = state.health.sleeps();
            state.health.record(attempt.class, self.delivery.now());
            let sleeps = state.health.sleeps();
            // Told under the lock, so that the last word is the last that is written.
            if slept || sleeps {
                self.delivery.slept(&lane.name, sleeps.then_some(state.health));
            }
        }
        self.delivery.finish(job, &lane.name, attempt, started.elapsed());
    }

    /// Takes what can go in one request with `first`: deliveries of the same integration, within its limits.
    fn companions(&self, lane: &Lane, first: &Job) -> Vec<Job> {
        let together = first.route.compiled.target.together();
        if together <= 1 {
            return Vec::new();
        }
        let mut state = lane.state.lock();
        let most = (together - 1).min(limits::LANE_TOGETHER.saturating_sub(state.running));
        let (mut taken, mut passed) = (Vec::new(), Vec::new());
        while taken.len() < most && passed.len() < PASSED {
            let Some(mut job) = state.queue.pop_front() else { break };
            if !Arc::ptr_eq(&job.route.compiled, &first.route.compiled) {
                passed.push(job);
                continue;
            }
            if job.grant.is_none()
                && let Some(pacer) = &job.route.compiled.pacer
            {
                job.grant = pacer.admit(Instant::now());
                if job.grant.is_none() {
                    // It is held when it comes to the front again.
                    passed.push(job);
                    break;
                }
            }
            taken.push(job);
        }
        for job in passed.into_iter().rev() {
            state.queue.push_front(job);
        }
        state.running += taken.len();
        taken
    }

    fn next(self: &Arc<Inner>, lane: &Arc<Lane>) -> Option<(Job, Admission)> {
        let now = self.delivery.now();
        let mut state = lane.state.lock();
        loop {
            let Some(mut job) = state.queue.pop_front() else {
                state.workers -= 1;
                return None;
            };
            let admission = state.health.admit(now);
            // What is not sent anyway needs no turn.
            if admission != Admission::Sleep
                && job.grant.is_none()
                && let Some(pacer) = &job.route.compiled.pacer
            {
                let pacer = pacer.clone();
                job.grant = pacer.admit(Instant::now());
                if job.grant.is_none() {
                    self.hold(&pacer, lane, job);
                    continue;
                }
            }
            if admission == Admission::Probe {
                state.health.probe(now);
            }
            state.running += 1;
            return Some((job, admission));
        }
    }

    /// Takes a job that is over its integration's limits out of the others' way.
    fn hold(self: &Arc<Inner>, pacer: &Arc<Pacer>, lane: &Arc<Lane>, job: Job) {
        match pacer.hold(lane, job, Instant::now()) {
            Over::Held => {}
            Over::HeldFirst => {
                let (inner, pacer) = (self.clone(), pacer.clone());
                tokio::spawn(async move { inner.take_turns(&pacer).await });
            }
            Over::Later(job, wait) => self.delivery.postpone(*job, &lane.name, wait),
        }
    }

    /// Puts held jobs back into their lanes when it is their turn, until none is left.
    async fn take_turns(self: &Arc<Inner>, pacer: &Arc<Pacer>) {
        loop {
            match pacer.turn(Instant::now()) {
                Turn::Now(held) => {
                    let mut state = held.lane.state.lock();
                    state.queue.push_front(held.job);
                    let more = state.one_more_worker(self.concurrency);
                    drop(state);
                    if more {
                        self.start_worker(held.lane);
                    }
                }
                Turn::At(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = pacer.changed() => {}
                },
                Turn::Unknown => pacer.changed().await,
                Turn::Over => return,
            }
        }
    }
}
