//! Lanes: each destination of each owner has a queue of its own, so that none waits for another's.
//!
//! A lane is bounded, in deliveries and in bytes: what does not fit is given back and waits in the pending table. What
//! waits in it is not rendered: a worker renders a delivery when it has a place for it. Places are bytes that all owners
//! [share](crate::share), so neither can one owner's slow destinations take all of them, nor can what is rendered be more
//! than there is room for. A lane runs at most [`limits::LANE_CONCURRENCY`] deliveries at once and keeps the health of
//! its destination. Where several events go in one request ([`tributary_targets::Target::together`]), that many requests.
//!
//! Where the destination depends on the event, deliveries go through their owner's *unresolved* lane first, whose worker
//! finds out where each one goes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::Instant;
use tributary_domain::{
    Event, Owner, limits,
    outcome::{Admission, AttemptClass, Health},
};
use tributary_targets::Attempt;

use crate::{
    delivery::{Delivery, NotSent, Prepared, RENDER_BYTES},
    pace::{Grant, Over, Pacer, Turn},
    router::JOB_BYTES,
    routes::Entry,
    share::{Part, Shares},
};

/// How many deliveries of other integrations are gone past to find those that can go together.
const PASSED: usize = 256;
/// What a delivery under way takes at least, in bytes: the largest usual reply and then some.
pub(crate) const PLACE_BYTES: usize = 128 * 1024;
/// What a delivery takes at least that goes in one request with others, in bytes.
const COMPANION_BYTES: usize = 4 * 1024;
/// What waits in one lane in memory, in bytes.
const LANE_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// How long a lane is kept that nothing uses.
const IDLE: Duration = Duration::from_secs(60);
/// How long one is kept whose destination sleeps.
const IDLE_ASLEEP: Duration = Duration::from_secs(3_600);
/// Lanes of one owner past which those that nothing uses are forgotten at once.
const LANES_PER_OWNER: usize = 1_024;
/// Wait of a delivery whose lane turned out to be full.
const FULL_WAIT: Duration = Duration::from_secs(2);

/// The text of an attempt that was not made (contract 4.3).
pub const SLEEPING: &str = "Sleeping, too many errors, please wait and try again";

/// Where an event stands in the log, and in which reading of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    /// The backlog; `None` = the shard's own reading.
    pub backlog: Option<i64>,
}

/// One delivery on its way.
pub struct Job {
    /// Unique among waiting deliveries; also the id of its pending row, once it has one.
    pub id: i64,
    /// The event's place in the log, for a first attempt that has no pending row yet.
    pub place: Option<Place>,
    /// The integration, in its product or sandbox.
    pub(crate) entry: Arc<Entry>,
    /// The event.
    pub event: Arc<Event>,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// The right to run under the integration's own limits, once it has it.
    pub grant: Option<Grant>,
    /// What the event takes of its owner's share of the memory, together with its other deliveries.
    pub part: Option<Arc<Part>>,
}

impl Job {
    fn bytes(&self) -> usize {
        JOB_BYTES + self.event.data.as_ref().map_or(0, |data| data.len())
    }
}

/// How many deliveries may wait in one lane when its owner's queue is this near the end of its share, in percent: full lanes
/// of slow destinations must leave room for those of quick ones. What does not fit waits in the pending table.
fn queued_at(pressure: usize) -> usize {
    match pressure {
        0..33 => usize::MAX,
        33..60 => 64,
        _ => 0,
    }
}

/// How many of one lane may run when its owner's places are this near the end of their share, in percent.
fn running_at(pressure: usize) -> usize {
    match pressure {
        0..33 => usize::MAX,
        33..60 => 8,
        _ => 2,
    }
}

/// The name of the lane of a destination (`host:port`).
pub fn lane_name(owner: Owner, destination: &str) -> String {
    format!("{owner}|{destination}")
}

/// The name of the lane of an owner's deliveries whose destination is not known yet.
pub(crate) fn unresolved_lane(owner: Owner) -> String {
    lane_name(owner, "")
}

pub(crate) struct Lane {
    name: Arc<str>,
    owner: Owner,
    state: Mutex<LaneState>,
}

impl Lane {
    fn is_unresolved(&self) -> bool {
        self.name.ends_with('|')
    }
}

struct LaneState {
    queue: Queue,
    workers: usize,
    running: usize,
    health: Health,
    /// When it was used last.
    used: Instant,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
}

impl Queue {
    fn is_full(&self) -> bool {
        self.jobs.len() >= limits::LANE_QUEUE || self.bytes >= LANE_QUEUE_BYTES
    }

    fn push_back(&mut self, job: Job) {
        self.bytes += job.bytes();
        self.jobs.push_back(job);
    }

    fn push_front(&mut self, job: Job) {
        self.bytes += job.bytes();
        self.jobs.push_front(job);
    }

    fn pop_front(&mut self) -> Option<Job> {
        let job = self.jobs.pop_front()?;
        self.bytes -= job.bytes();
        if self.jobs.is_empty() {
            // A burst must not leave its room behind.
            self.jobs.shrink_to(16);
        }
        Some(job)
    }
}

impl LaneState {
    /// Whether one more worker is to be started; counts it.
    fn one_more_worker(&mut self, most: usize) -> bool {
        let more = self.workers < most;
        self.workers += usize::from(more);
        more
    }

    fn is_idle(&self) -> bool {
        self.workers == 0 && self.running == 0 && self.queue.jobs.is_empty()
    }
}

#[derive(Default)]
struct All {
    lanes: HashMap<Arc<str>, Arc<Lane>>,
    /// How many of them each owner has.
    counts: HashMap<Owner, usize>,
}

struct Inner {
    all: Mutex<All>,
    places: Shares,
    /// The bytes of queued events.
    queue: Shares,
    concurrency: usize,
    delivery: Delivery,
}

/// All lanes. Cheap to clone.
#[derive(Clone)]
pub struct Lanes(Arc<Inner>);

impl Lanes {
    /// Lanes that run at most `concurrency` deliveries each and `total` together, fewer where these are large.
    pub fn new(delivery: Delivery, queue: Shares, concurrency: usize, total: usize) -> Lanes {
        let places = Shares::new(total.saturating_mul(PLACE_BYTES));
        Lanes(Arc::new(Inner { all: Mutex::default(), places, queue, concurrency, delivery }))
    }

    /// Takes a job into a lane.
    ///
    /// # Errors
    /// Gives the job back when the lane is full.
    pub fn submit(&self, name: &str, job: Job) -> Result<(), Box<Job>> {
        let lane = self.lane(name, job.entry.owner());
        let most = queued_at(self.0.queue.pressure(job.entry.owner()));
        let mut state = lane.state.lock();
        // One that a worker can take at once is no burden.
        // One worker finds out where deliveries go, one after the other, so that they keep their order.
        let workers = if lane.is_unresolved() { 1 } else { self.0.concurrency };
        let at_once = state.queue.jobs.is_empty() && state.workers < workers;
        if state.queue.is_full() || (state.queue.jobs.len() >= most && !at_once) {
            return Err(Box::new(job));
        }
        state.used = Instant::now();
        if lane.is_unresolved() {
            job.entry.begin_resolving();
        }
        state.queue.push_back(job);
        let more = state.one_more_worker(workers);
        drop(state);
        if more {
            self.0.start_worker(lane);
        }
        Ok(())
    }

    /// Lets a destination go on sleeping that slept before the server was started.
    pub fn restore(&self, name: &str, health: Health) {
        // A name that is none has no deliveries.
        let owner = name.split_once('|').and_then(|(owner, _)| owner.parse().ok());
        if let Some(owner) = owner {
            self.lane(name, owner).state.lock().health = health;
        }
    }

    /// The destinations of an owner that sleep, as `host:port`.
    pub fn sleeping(&self, owner: Owner) -> Vec<String> {
        let begin = lane_name(owner, "");
        let lanes = self.lanes();
        let sleeps = |lane: &Arc<Lane>| lane.state.lock().health.sleeps();
        let own = lanes.iter().filter_map(|lane| Some((lane, lane.name.strip_prefix(&*begin)?)));
        own.filter(|(lane, _)| sleeps(lane)).map(|(_, destination)| destination.to_owned()).collect()
    }

    /// How many more jobs a lane takes; none while what it holds is large.
    pub fn room(&self, name: &str) -> usize {
        let lane = self.0.all.lock().lanes.get(name).cloned();
        lane.map_or(limits::LANE_QUEUE, |lane| {
            let state = lane.state.lock();
            if state.queue.bytes >= LANE_QUEUE_BYTES / 2 {
                return 0;
            }
            limits::LANE_QUEUE.saturating_sub(state.queue.jobs.len())
        })
    }

    /// Jobs that are queued or running.
    pub fn busy(&self) -> usize {
        let lanes = self.lanes();
        lanes.iter().map(|lane| lane.state.lock()).map(|state| state.queue.jobs.len() + state.running).sum()
    }

    /// How many lanes there are.
    pub fn count(&self) -> usize {
        self.0.all.lock().lanes.len()
    }

    /// Bytes that deliveries under way hold.
    pub fn bytes_under_way(&self) -> usize {
        self.0.places.taken()
    }

    /// Forgets lanes that nothing has used for a while, however their destinations did: urls from templates may name
    /// ever new hosts.
    pub fn sweep(&self) {
        self.0.forget(|lane, state| {
            let keep = if state.health.sleeps() { IDLE_ASLEEP } else { IDLE };
            state.used.elapsed() >= keep && Arc::strong_count(lane) == 1
        });
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.0.all.lock().lanes.values().cloned().collect()
    }

    fn lane(&self, name: &str, owner: Owner) -> Arc<Lane> {
        let mut all = self.0.all.lock();
        if let Some(lane) = all.lanes.get(name) {
            return lane.clone();
        }
        let name: Arc<str> = name.into();
        let state = LaneState {
            queue: Queue::default(),
            workers: 0,
            running: 0,
            health: Health::default(),
            used: Instant::now(),
        };
        let lane = Arc::new(Lane { name: name.clone(), owner, state: Mutex::new(state) });
        all.lanes.insert(name, lane.clone());
        let count = all.counts.entry(owner).or_default();
        *count += 1;
        let too_many = *count > LANES_PER_OWNER;
        drop(all);
        if too_many {
            self.0.forget(|lane, _| lane.owner == owner && Arc::strong_count(lane) == 1);
        }
        lane
    }
}

impl Inner {
    /// Forgets idle lanes for which `gone` says so.
    fn forget(&self, gone: impl Fn(&Arc<Lane>, &LaneState) -> bool) {
        let mut slept = Vec::new();
        {
            let All { lanes, counts } = &mut *self.all.lock();
            lanes.retain(|name, lane| {
                let state = lane.state.lock();
                if !state.is_idle() || !gone(lane, &state) {
                    return true;
                }
                slept.extend(state.health.sleeps().then(|| name.clone()));
                if let Some(count) = counts.get_mut(&lane.owner) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&lane.owner);
                    }
                }
                false
            });
        }
        for lane in slept {
            self.delivery.slept(&lane, None);
        }
    }

    fn start_worker(self: &Arc<Inner>, lane: Arc<Lane>) {
        let inner = self.clone();
        tokio::spawn(async move { inner.work(&lane).await });
    }

    /// Takes jobs from a lane until it is empty, or its share of its owner's places is used up.
    async fn work(self: &Arc<Inner>, lane: &Arc<Lane>) {
        loop {
            {
                let most = running_at(self.places.pressure(lane.owner));
                let mut state = lane.state.lock();
                // Those that are running go on with what is queued.
                if state.running >= most {
                    state.workers -= 1;
                    return;
                }
            }
            // Before the job is taken, so that what waits for a place stays in its lane; for as much as it may render.
            let part = self.places.take(lane.owner, RENDER_BYTES).await;
            let Some((job, admission)) = self.next(lane) else { return };
            if admission == Admission::Sleep {
                let error = Some(SLEEPING.to_owned());
                let attempt = Attempt { class: AttemptClass::Sleeping, error, reply: None };
                lane.state.lock().running -= 1;
                drop(part);
                self.delivery.finish_unsent(job, &lane.name, attempt).await;
                continue;
            }
            if lane.is_unresolved() {
                self.resolve(lane, job).await;
                continue;
            }
            let Some(first) = self.prepare(lane, job, part, PLACE_BYTES).await else { continue };
            // A probe goes alone.
            let others =
                if admission == Admission::Go { self.companions(lane, &first).await } else { Vec::new() };
            if others.is_empty() {
                self.send(lane, first).await;
            } else {
                // In a box, so that a worker that sends one by one stays small.
                let all = std::iter::once(first).chain(others);
                Box::pin(join_all(all.map(|prepared| self.send(lane, prepared)))).await;
            }
        }
    }

    /// Renders a job; one that cannot be rendered ends here.
    async fn prepare(&self, lane: &Lane, job: Job, part: Part, least: usize) -> Option<Prepared> {
        match self.delivery.prepare(job, part, least).await {
            Ok(prepared) => Some(prepared),
            Err((job, why)) => {
                {
                    let mut state = lane.state.lock();
                    state.running -= 1;
                    // Nothing was sent: it tells nothing of the destination, and another one may find out.
                    state.health.probing_since = None;
                }
                self.not_sent(lane, *job, why).await;
                None
            }
        }
    }

    async fn not_sent(&self, lane: &Lane, job: Job, why: NotSent) {
        match why {
            NotSent::Gone => self.delivery.gone(&job),
            NotSent::Failed(error) => {
                let attempt = Attempt { class: AttemptClass::Final, error: Some(error), reply: None };
                self.delivery.finish_unsent(job, &lane.name, attempt).await;
            }
        }
    }

    /// Puts a job into the lane of its destination.
    async fn resolve(self: &Arc<Inner>, lane: &Lane, job: Job) {
        let (found, entry) = (self.delivery.lane_of(&job).await, job.entry.clone());
        lane.state.lock().running -= 1;
        match found {
            Ok(name) => {
                if let Err(job) = Lanes(self.clone()).submit(&name, job) {
                    self.delivery.postpone(*job, &name, FULL_WAIT);
                }
            }
            Err(why) => self.not_sent(lane, job, why).await,
        }
        entry.end_resolving();
    }

    /// Makes an attempt.
    async fn send(&self, lane: &Lane, mut prepared: Prepared) {
        let started = Instant::now();
        let attempt = self.delivery.send(&prepared).await;
        {
            let mut state = lane.state.lock();
            state.running -= 1;
            state.used = Instant::now();
            let slept = state.health.sleeps();
            state.health.record(attempt.class, self.delivery.now());
            let sleeps = state.health.sleeps();
            // Told under the lock, so that the last word is the last that is written.
            if slept || sleeps {
                self.delivery.slept(&lane.name, sleeps.then_some(state.health));
            }
        }
        prepared.sent(&attempt);
        self.delivery.finish(prepared, &lane.name, attempt, started.elapsed()).await;
    }

    /// Takes what can go in one request with `first`: deliveries of the same integration, within its limits.
    async fn companions(&self, lane: &Lane, first: &Prepared) -> Vec<Prepared> {
        let together = first.route.compiled.target.together();
        if together <= 1 {
            return Vec::new();
        }
        let mut jobs = self.take_companions(lane, &first.job, together).into_iter();
        let mut prepared = Vec::with_capacity(jobs.len());
        while let Some(job) = jobs.next() {
            let Some(part) = self.places.try_take(lane.owner, RENDER_BYTES) else {
                // No room for more: they keep their turn.
                let mut state = lane.state.lock();
                for job in std::iter::once(job).chain(jobs).rev() {
                    state.running -= 1;
                    state.queue.push_front(job);
                }
                break;
            };
            prepared.extend(self.prepare(lane, job, part, COMPANION_BYTES).await);
        }
        prepared
    }

    fn take_companions(&self, lane: &Lane, first: &Job, together: usize) -> Vec<Job> {
        let mut state = lane.state.lock();
        let most = (together - 1).min(limits::LANE_TOGETHER.saturating_sub(state.running));
        let (mut taken, mut passed) = (Vec::new(), Vec::new());
        while taken.len() < most && passed.len() < PASSED {
            let Some(mut job) = state.queue.pop_front() else { break };
            if !job.entry.is_with(&first.entry) {
                passed.push(job);
                continue;
            }
            if job.grant.is_none()
                && let Some(pacer) = job.entry.pacer()
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
                state.used = Instant::now();
                return None;
            };
            if lane.is_unresolved() {
                state.running += 1;
                return Some((job, Admission::Go));
            }
            let admission = state.health.admit(now);
            // What is not sent anyway needs no turn.
            if admission != Admission::Sleep
                && job.grant.is_none()
                && let Some(pacer) = job.entry.pacer()
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
