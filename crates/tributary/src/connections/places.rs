//! Who may stay connected: so many in all, and so many of one address.
//!
//! Where there is no room, the connection that has waited longest for a whole head makes some: it costs its caller at
//! most a new connection, while refusing the newcomer would let whoever holds connections open keep all others out. One
//! that has been answered before makes room only when there is none of those, and when it has been idle for a while: its
//! caller may be about to use it again.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tributary_control::origin::Origin;

/// Of many connections so many are looked at to find one that makes room.
const LOOKED_AT: usize = 256;
/// A connection that has waited for less makes no room: its request is probably on the way.
const SPARED: Duration = Duration::from_millis(50);
/// As [`SPARED`] for one that has been answered before.
const SPARED_IDLE: Duration = Duration::from_secs(5);

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// In all.
    pub(crate) all: usize,
    /// From one address, proxies that are trusted excepted: they bring many callers.
    pub(crate) per_address: usize,
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Every connection is being answered.
    All(usize),
    /// Every connection of this address is being answered.
    Address(usize),
}

/// What a connection does at the moment, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for the rest of a head.
    Head(Instant),
    /// It waits for the next request.
    Idle(Instant),
    /// A request is being answered.
    Serving,
    /// It made room for another.
    Evicted,
}

const HEAD: u64 = 0;
const IDLE: u64 = 1;
const SERVING: u64 = 2;
const EVICTED: u64 = 3;

/// One connection, as others see it.
#[derive(Debug)]
pub(super) struct Held {
    born: Instant,
    /// Milliseconds from `born` on when the phase began, and in the two lowest bits the phase.
    phase: AtomicU64,
    /// Whether its reader does not take what is sent.
    pub(super) blocked: AtomicBool,
    evicted: Notify,
    origin: Origin,
    /// Where it stands in the list of all and in that of its address.
    at: [AtomicUsize; 2],
}

impl Held {
    fn new(origin: Origin) -> Held {
        Held {
            born: Instant::now(),
            phase: AtomicU64::new(HEAD),
            blocked: AtomicBool::new(false),
            evicted: Notify::new(),
            origin,
            at: [AtomicUsize::new(0), AtomicUsize::new(0)],
        }
    }

    /// What it does.
    pub(super) fn phase(&self) -> Phase {
        let packed = self.phase.load(Ordering::Relaxed);
        let since = self.born + Duration::from_millis(packed >> 2);
        match packed & 3 {
            HEAD => Phase::Head(since),
            IDLE => Phase::Idle(since),
            SERVING => Phase::Serving,
            _ => Phase::Evicted,
        }
    }

    fn enter(&self, phase: u64) {
        let ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        // One that has been told to go stays so.
        let _ = self.phase.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now & 3 != EVICTED).then_some(ms << 2 | phase)
        });
    }

    /// The first bytes of a head are there.
    pub(super) fn head_begins(&self) {
        self.enter(HEAD);
    }

    /// A request is whole but for its body.
    pub(super) fn serves(&self) {
        self.enter(SERVING);
    }

    /// Its answer has ended.
    pub(super) fn served(&self) {
        self.enter(IDLE);
    }

    /// Waits until it has to make room.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Whether it is idle and since when it has been waiting for a caller, if it may make room.
    fn waits_since(&self) -> Option<(bool, Instant)> {
        let (is_idle, since) = match self.phase() {
            Phase::Head(since) => (false, since),
            Phase::Idle(since) => (true, since),
            Phase::Serving | Phase::Evicted => return None,
        };
        let spared = if is_idle { SPARED_IDLE } else { SPARED };
        let goes = since.elapsed() >= spared && !self.blocked.load(Ordering::Relaxed);
        goes.then_some((is_idle, since))
    }

    /// Tells it to go, unless a request has come meanwhile.
    fn evict(&self) -> bool {
        let told = self.phase.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            (now & 3 == HEAD || now & 3 == IDLE).then_some(EVICTED)
        });
        if told.is_ok() {
            self.evicted.notify_one();
        }
        told.is_ok()
    }
}

/// A list from which anything can be taken at once, for each knows where it stands.
#[derive(Default)]
struct List {
    held: Vec<Arc<Held>>,
    looked: usize,
}

impl List {
    fn add(&mut self, which: usize, held: &Arc<Held>) {
        held.at[which].store(self.held.len(), Ordering::Relaxed);
        self.held.push(Arc::clone(held));
    }

    fn remove(&mut self, which: usize, held: &Arc<Held>) {
        let at = held.at[which].load(Ordering::Relaxed);
        if !self.held.get(at).is_some_and(|there| Arc::ptr_eq(there, held)) {
            return;
        }
        self.held.swap_remove(at);
        if let Some(moved) = self.held.get(at) {
            moved.at[which].store(at, Ordering::Relaxed);
        }
    }

    /// The one that makes room, of all or of the next few.
    fn longest_waiting(&mut self) -> Option<Arc<Held>> {
        let count = self.held.len().min(LOOKED_AT);
        let start = self.looked;
        self.looked = start.wrapping_add(count);
        let looked_at = (0..count).map(|n| &self.held[start.wrapping_add(n) % self.held.len()]);
        let waiting = looked_at.filter_map(|held| Some((held.waits_since()?, held)));
        waiting.min_by_key(|(since, _)| *since).map(|(_, held)| Arc::clone(held))
    }
}

#[derive(Default)]
struct Table {
    all: List,
    by_address: HashMap<Origin, List>,
}

impl Table {
    fn remove(&mut self, held: &Arc<Held>) {
        self.all.remove(0, held);
        if let Some(list) = self.by_address.get_mut(&held.origin) {
            list.remove(1, held);
            if list.held.is_empty() {
                self.by_address.remove(&held.origin);
            }
        }
    }

    /// Lets one go; whether one could be found.
    fn let_go(&mut self, found: Option<Arc<Held>>) -> bool {
        let Some(held) = found.filter(|held| held.evict()) else { return false };
        self.remove(&held);
        true
    }
}

struct Inner {
    bounds: Bounds,
    table: Mutex<Table>,
    /// Connections that have not ended yet, those that were told to go among them.
    open: AtomicUsize,
    ended: Notify,
}

/// All connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

/// The right to be connected; it ends when it is dropped.
pub(super) struct Place {
    places: Places,
    held: Arc<Held>,
}

impl Places {
    pub(super) fn new(bounds: Bounds) -> Places {
        Places(Arc::new(Inner {
            bounds,
            table: Mutex::default(),
            open: AtomicUsize::new(0),
            ended: Notify::new(),
        }))
    }

    /// A place for a caller of this address, or for a proxy; where there is none, another connection makes room.
    ///
    /// # Errors
    /// When all connections are being answered.
    pub(super) fn take(&self, origin: Origin, is_proxy: bool) -> Result<Place, Full> {
        let Bounds { all, per_address } = self.0.bounds;
        let mut table = self.0.table.lock();
        if !is_proxy
            && let Some(own) = table.by_address.get_mut(&origin).filter(|own| own.held.len() >= per_address)
        {
            let found = own.longest_waiting();
            if !table.let_go(found) {
                return Err(Full::Address(per_address));
            }
        }
        if table.all.held.len() >= all {
            let found = table.all.longest_waiting();
            if !table.let_go(found) {
                return Err(Full::All(all));
            }
        }
        let held = Arc::new(Held::new(origin));
        table.all.add(0, &held);
        table.by_address.entry(origin).or_default().add(1, &held);
        drop(table);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Ok(Place { places: self.clone(), held })
    }

    /// Lets the connection go that has waited longest: there are no descriptors left.
    pub(super) fn make_room(&self) {
        let mut table = self.0.table.lock();
        let found = table.all.longest_waiting();
        table.let_go(found);
    }

    /// Waits until no connection is left.
    pub(super) async fn empty(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.0.open.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Place {
    pub(super) fn held(&self) -> &Arc<Held> {
        &self.held
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.places.0;
        inner.table.lock().remove(&self.held);
        if inner.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            inner.ended.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn origin(last: u8) -> Origin {
        Origin::from(Some(IpAddr::from([192, 0, 2, last])))
    }

    fn places(all: usize, per_address: usize) -> Places {
        Places::new(Bounds { all, per_address })
    }

    async fn was_evicted(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.held().evicted()).await.is_ok()
    }

    #[tokio::test]
    async fn who_has_waited_longest_for_a_head_makes_room_and_who_is_answered_or_was_just_now_does_not() {
        let places = places(10, 3);
        let kept: Vec<Place> = (0..3).filter_map(|_| places.take(origin(1), false).ok()).collect();
        tokio::time::sleep(SPARED).await;
        kept[0].held().serves();
        kept[1].held().serves();
        kept[1].held().served();
        let newcomer = places.take(origin(1), false);
        assert!(newcomer.is_ok());
        assert!(was_evicted(&kept[2]).await);
        assert!(!was_evicted(&kept[0]).await && !was_evicted(&kept[1]).await);
        kept[1].held().serves();
        if let Ok(newcomer) = &newcomer {
            newcomer.held().serves();
        }
        assert_eq!(places.take(origin(1), false).err(), Some(Full::Address(3)));
        assert!(places.take(origin(2), false).is_ok(), "another address has places of its own");
    }

    #[tokio::test]
    async fn the_bound_in_all_holds_for_many_addresses_and_places_come_back() {
        let places = places(5, 2);
        let mut kept: Vec<Place> = (0..5).filter_map(|n| places.take(origin(n), false).ok()).collect();
        for place in &kept {
            place.held().serves();
        }
        assert_eq!(places.take(origin(9), false).err(), Some(Full::All(5)));
        kept.swap_remove(2);
        let last = places.take(origin(9), false);
        assert!(last.is_ok());
        drop((kept, last));
        places.empty().await;
        assert!(places.0.table.lock().by_address.is_empty());
        assert!(places.0.table.lock().all.held.is_empty());
    }

    #[test]
    fn one_that_begins_to_be_answered_is_not_told_to_go() {
        let held = Held::new(origin(1));
        held.serves();
        assert!(!held.evict());
        held.served();
        assert!(held.evict());
        held.serves();
        assert_eq!(held.phase(), Phase::Evicted);
    }
}
