//! What routes are made from: each integration once, compiled when an event first needs it.
//!
//! A source knows which configuration it stands for; it is read from the store and compiled at its first use, and shared
//! by all products on which the integration executes. What was not used for longest is given up when all compiled ones
//! together are over a budget of memory; the next event compiles it again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tributary_domain::{
    IntegrationId, MemberId, Owner, Timestamp, UserId,
    parameters::{Overrides, Parameters},
};
use tributary_store::{Store, StoreError, integrations::Which, routing::RouteRow};
use tributary_targets::{Secrets, Settings, sending::Sending};

use crate::{
    compiled::{Compiled, target_of},
    pace::{Pacer, Pacers},
    routes::Route,
};

/// Bytes that all compiled integrations may take together, as they are reckoned below.
const BUDGET_BYTES: usize = 96 << 20;
/// Configurations from this length on, in bytes, are compiled off the threads that serve others.
const LONG_BYTES: usize = 16 << 10;
/// What a compiled integration takes besides its texts, in bytes.
const BASE_BYTES: usize = 2 << 10;
/// What a compiled configuration takes for each byte of it.
const BYTES_PER_BYTE: usize = 4;

/// An integration with the configuration that it had at some time.
pub(crate) struct Source {
    pub(crate) id: IntegrationId,
    pub(crate) owner: Arc<OwnerState>,
    updated_at: Timestamp,
    /// The length of the configuration, in bytes.
    bytes: usize,
    pub(crate) pacer: Option<Arc<Pacer>>,
    /// The count of compilations when it was last used.
    used: AtomicU32,
    state: Mutex<State>,
}

enum State {
    /// Not compiled.
    Cold,
    /// It cannot be compiled, and that has been said.
    Refused,
    /// It is compiled.
    Ready(Box<Ready>),
}

struct Ready {
    /// Which of the owner's secrets it has.
    generation: u64,
    compiled: Arc<Compiled>,
    overrides: Overrides,
    /// The routes that were made of it: entries of the index only know theirs, so that they go with it.
    routes: Vec<Arc<Route>>,
    _cost: Cost,
}

/// What all sources of an owner have in common.
pub(crate) struct OwnerState {
    pub(crate) owner: Owner,
    /// How often its secrets changed.
    generation: AtomicU64,
    /// The owning user that all its routes were made with.
    user: Mutex<Option<Option<UserId>>>,
}

impl Source {
    /// The bytes that it takes when it is compiled, as they are reckoned.
    pub(crate) fn bytes(&self) -> usize {
        BASE_BYTES + self.bytes * BYTES_PER_BYTE
    }
}

impl OwnerState {
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// A route was made with this owning user. Only when all are made anew, another one counts.
    pub(crate) fn had_user(&self, user: Option<UserId>) {
        self.user.lock().get_or_insert(user);
    }
}

/// A share of the budget.
struct Cost {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Drop for Cost {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// All sources.
pub(crate) struct Sources {
    store: Store,
    settings: Settings,
    pub(crate) pacers: Pacers,
    known: Mutex<HashMap<IntegrationId, Weak<Source>>>,
    owners: Mutex<HashMap<Owner, Weak<OwnerState>>>,
    /// Those that were compiled.
    compiled: Mutex<Vec<Weak<Source>>>,
    total: Arc<AtomicUsize>,
    budget: usize,
    /// How many were compiled so far: the time by which their last use is told.
    compilations: AtomicU32,
}

/// Drops what nobody has any more whenever the map is about to grow.
fn prune<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, Weak<V>>) {
    if map.len() == map.capacity() {
        map.retain(|_, value| value.strong_count() > 0);
    }
}

impl Sources {
    pub(crate) fn new(store: Store, settings: Settings) -> Sources {
        Sources {
            store,
            settings,
            pacers: Pacers::default(),
            known: Mutex::default(),
            owners: Mutex::default(),
            compiled: Mutex::default(),
            total: Arc::default(),
            budget: BUDGET_BYTES,
            compilations: AtomicU32::new(0),
        }
    }

    /// A source that is compiled as this route is.
    #[cfg(test)]
    pub(crate) fn ready_with(&self, route: &Arc<Route>) -> Arc<Source> {
        let cost = Cost { bytes: 0, total: self.total.clone() };
        let ready = Ready {
            generation: 0,
            compiled: route.compiled.clone(),
            overrides: Overrides::default(),
            routes: vec![route.clone()],
            _cost: cost,
        };
        Arc::new(Source {
            id: route.counted.integration,
            owner: self.owner(route.owner),
            updated_at: Timestamp(0),
            bytes: 0,
            pacer: None,
            used: AtomicU32::new(0),
            state: Mutex::new(State::Ready(Box::new(ready))),
        })
    }

    #[cfg(test)]
    pub(crate) fn with_budget(self, budget: usize) -> Sources {
        Sources { budget, ..self }
    }

    /// How many integrations were compiled so far.
    pub(crate) fn compilations(&self) -> u32 {
        self.compilations.load(Ordering::Relaxed)
    }

    /// The source of an integration as a row has it: the one that is known, unless its configuration changed.
    pub(crate) fn of(&self, row: &RouteRow) -> Arc<Source> {
        let mut known = self.known.lock();
        let before = known.get(&row.integration).and_then(Weak::upgrade);
        let same = |source: &Arc<Source>| {
            source.updated_at == row.updated_at
                && source.owner.owner == row.owner
                && source.bytes == row.bytes
        };
        if let Some(same) = before.filter(same) {
            return same;
        }
        let sending = row.sending.as_ref().map(Sending::of).unwrap_or_default();
        let source = Arc::new(Source {
            id: row.integration,
            owner: self.owner(row.owner),
            updated_at: row.updated_at,
            bytes: row.bytes,
            pacer: self.pacers.of(row.integration, &sending),
            used: AtomicU32::new(0),
            state: Mutex::new(State::Cold),
        });
        prune(&mut known);
        known.insert(row.integration, Arc::downgrade(&source));
        source
    }

    fn owner(&self, owner: Owner) -> Arc<OwnerState> {
        let mut owners = self.owners.lock();
        if let Some(known) = owners.get(&owner).and_then(Weak::upgrade) {
            return known;
        }
        let new = Arc::new(OwnerState { owner, generation: AtomicU64::new(0), user: Mutex::default() });
        prune(&mut owners);
        owners.insert(owner, Arc::downgrade(&new));
        new
    }

    /// The owner's secrets are others now: whatever of it runs next has the new ones.
    pub(crate) fn secrets_changed(&self, owner: Owner) {
        if let Some(known) = self.owners.lock().get(&owner).and_then(Weak::upgrade) {
            known.generation.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The owning user that all routes of an owner were made with, if it has any.
    pub(crate) fn user_of(&self, owner: Owner) -> Option<Option<UserId>> {
        self.owners.lock().get(&owner).and_then(Weak::upgrade).and_then(|known| *known.user.lock())
    }

    /// All routes of an owner were made anew with this owning user.
    pub(crate) fn set_user(&self, owner: Owner, user: Option<UserId>) {
        if let Some(known) = self.owners.lock().get(&owner).and_then(Weak::upgrade) {
            *known.user.lock() = Some(user);
        }
    }

    /// A source was used just now.
    pub(crate) fn touch(&self, source: &Source) {
        source.used.store(self.compilations(), Ordering::Relaxed);
    }

    /// Makes a route of a source, which is compiled for it unless it is already. `None` when it cannot be, or is gone.
    /// With the route goes the generation of the secrets that it has.
    ///
    /// # Errors
    /// When the store cannot be read now.
    pub(crate) async fn route(
        &self,
        source: &Arc<Source>,
        overriding: Option<MemberId>,
        make: impl Fn(Arc<Compiled>) -> Route,
    ) -> Result<Option<(u64, Arc<Route>)>, StoreError> {
        // Taken before anything is read, so that what is read later is at least as new.
        let generation = source.owner.generation();
        let outdated = match &mut *source.state.lock() {
            State::Refused => return Ok(None),
            State::Cold => None,
            State::Ready(ready) if !ready.knows(overriding) => None,
            State::Ready(ready) if ready.generation < generation => Some(ready.compiled.clone()),
            State::Ready(ready) => {
                self.touch(source);
                return Ok(Some((ready.generation, ready.route(overriding, &make))));
            }
        };
        let made = match outdated {
            Some(compiled) => self.with_secrets(source, generation, &compiled).await,
            None => self.compile(source, generation).await,
        };
        let ready = match made {
            Ok(Some(ready)) => ready,
            Ok(None) => return Ok(None),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                tracing::error!(integration.id = %source.id, %error, "a stored integration cannot be read and will not run");
                *source.state.lock() = State::Refused;
                return Ok(None);
            }
        };
        let mut state = source.state.lock();
        let mut ready = match std::mem::replace(&mut *state, State::Cold) {
            // Somebody else was quicker.
            State::Ready(other) if other.generation >= generation && other.knows(overriding) => other,
            _ => ready,
        };
        let route = ready.route(overriding, &make);
        *state = State::Ready(ready);
        drop(state);
        self.touch(source);
        self.compiled.lock().push(Arc::downgrade(source));
        self.give_up_unused();
        Ok(Some((generation, route)))
    }

    /// The same target with the secrets that its owner has now.
    async fn with_secrets(
        &self,
        source: &Source,
        generation: u64,
        compiled: &Compiled,
    ) -> Result<Option<Box<Ready>>, StoreError> {
        let names = compiled.target.variables();
        let secrets = Secrets(self.store.secrets_named(source.owner.owner, &names).await?);
        let overrides = match &*source.state.lock() {
            State::Ready(ready) => ready.overrides.clone(),
            State::Cold | State::Refused => Overrides::default(),
        };
        let compiled = compiled.with_secrets(Arc::new(secrets));
        Ok(Some(self.ready(source, generation, compiled, overrides)))
    }

    /// Reads the integration of a source and compiles it. `None` when it is gone, or cannot be.
    async fn compile(&self, source: &Source, generation: u64) -> Result<Option<Box<Ready>>, StoreError> {
        let owner = source.owner.owner;
        // One that is gone: the index is about to learn it.
        let Some(integration) = self.store.integration(Which::One(owner, source.id)).await? else {
            return Ok(None);
        };
        self.compilations.fetch_add(1, Ordering::Relaxed);
        let settings = self.settings.clone();
        let run = move || (target_of(&integration, &settings), integration);
        let (target, mut integration) = if source.bytes < LONG_BYTES {
            run()
        } else {
            match tokio::task::spawn_blocking(run).await {
                Ok(made) => made,
                // It panicked, or the process is going down.
                Err(_) => return Ok(None),
            }
        };
        let Some(target) = target else {
            *source.state.lock() = State::Refused;
            return Ok(None);
        };
        let secrets = Arc::new(Secrets(self.store.secrets_named(owner, &target.variables()).await?));
        let compiled = Compiled::new(&integration, target, secrets, source.pacer.clone());
        let overrides = std::mem::take(&mut integration.overrides);
        Ok(Some(self.ready(source, generation, compiled, overrides)))
    }

    fn ready(
        &self,
        source: &Source,
        generation: u64,
        compiled: Compiled,
        overrides: Overrides,
    ) -> Box<Ready> {
        let texts = compiled.secrets.0.iter().chain(overrides.values().flatten());
        let texts: usize = texts.map(|(name, value)| name.len() + value.len()).sum();
        let bytes = BASE_BYTES + source.bytes * BYTES_PER_BYTE + texts;
        self.total.fetch_add(bytes, Ordering::Relaxed);
        let cost = Cost { bytes, total: self.total.clone() };
        let compiled = Arc::new(compiled);
        Box::new(Ready { generation, compiled, overrides, routes: Vec::new(), _cost: cost })
    }

    /// Gives up what was not used for longest while all together cost more than the budget.
    fn give_up_unused(&self) {
        if self.total.load(Ordering::Relaxed) <= self.budget {
            return;
        }
        let mut compiled = self.compiled.lock();
        let mut all: Vec<Arc<Source>> = compiled.iter().filter_map(Weak::upgrade).collect();
        // Newest first; the same one may be there twice.
        all.sort_by_key(|source| std::cmp::Reverse(source.used.load(Ordering::Relaxed)));
        while self.total.load(Ordering::Relaxed) > self.budget / 4 * 3 {
            let Some(source) = all.pop() else { break };
            let mut state = source.state.lock();
            if matches!(*state, State::Ready(_)) {
                *state = State::Cold;
            }
        }
        *compiled = all.iter().map(Arc::downgrade).collect();
    }
}

impl Ready {
    /// Whether it has the overrides of this member: one that joined without another change of the configuration brought
    /// its own.
    fn knows(&self, overriding: Option<MemberId>) -> bool {
        overriding.is_none_or(|member| self.overrides.contains_key(&member))
    }

    fn route(
        &mut self,
        overriding: Option<MemberId>,
        make: impl FnOnce(Arc<Compiled>) -> Route,
    ) -> Arc<Route> {
        let own: Option<&Parameters> = overriding.and_then(|member| self.overrides.get(&member));
        let compiled = match own {
            Some(own) => Arc::new(self.compiled.overridden(own)),
            None => self.compiled.clone(),
        };
        let route = Arc::new(make(compiled));
        if self.routes.len() == self.routes.capacity() {
            // Those that no entry knows any more.
            self.routes.retain(|route| Arc::weak_count(route) > 0);
        }
        self.routes.push(route.clone());
        route
    }
}
