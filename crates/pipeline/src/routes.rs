//! Which integrations an event fires: an index by product and sandbox, each entry swapped whole when it changes.
//!
//! Looking up costs one hash per length of prefix that is in use there, at most 64, however many integrations exist. The
//! index holds no configurations; `sources` compile them when an event first needs them.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::RwLock;
use tributary_domain::{
    Event, IntegrationId, MemberId, OrgId, Owner, ProductId, UserId, integration::Integration, limits,
};
use tributary_store::{Store, StoreError, delivery::Counted, routing::RouteRow};
use tributary_targets::{Secrets, Settings};

pub use crate::compiled::Compiled;
use crate::{
    compiled::{routes_of, target_of},
    lanes::{lane_name, unresolved_lane},
    pace::Pacer,
    sources::{Source, Sources},
};

/// Integrations read at once while the index is built at start.
const LOAD_PAGE: usize = 1_000;

/// Whose events a set of routes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKey {
    /// Events in a product.
    Product(ProductId),
    /// Events of a person's devices and sandbox publishes.
    Sandbox(UserId),
}

impl RouteKey {
    /// Whose event this is, of its product and person.
    pub(crate) fn of(product: Option<ProductId>, user: Option<UserId>) -> Option<RouteKey> {
        product.map(RouteKey::Product).or(user.map(RouteKey::Sandbox))
    }

    /// As the store keeps it.
    pub(crate) fn to_text(self) -> String {
        match self {
            RouteKey::Product(id) => format!("product/{id}"),
            RouteKey::Sandbox(id) => format!("user/{id}"),
        }
    }

    /// Reads what [`RouteKey::to_text`] gave.
    pub(crate) fn from_text(text: &str) -> Option<RouteKey> {
        match text.split_once('/')? {
            ("product", id) => Some(RouteKey::Product(ProductId(id.parse().ok()?))),
            ("user", id) => Some(RouteKey::Sandbox(id.parse().ok()?)),
            _ => None,
        }
    }
}

/// One integration in one product, or in a sandbox.
pub struct Route {
    /// What its deliveries are counted by.
    pub counted: Counted,
    /// Its owner: with the destination, the name of its lane.
    pub owner: Owner,
    /// `PRODUCT_USER_ID`.
    pub product_user: Option<UserId>,
    /// Fires only for this device.
    pub device: Option<Box<str>>,
    /// Whether it is disabled: then it is in no index, but it can be tested.
    pub disabled: bool,
    /// The integration itself, one for all members that override none of its parameters. It is parsed once for all.
    pub compiled: Arc<Compiled>,
}

impl Route {
    /// Whether it listens to its owner's devices rather than to a product.
    pub fn is_sandbox(&self) -> bool {
        self.counted.product.is_none()
    }

    /// Whether an integration with this prefix fires for an event of the key that it listens to.
    pub fn fires(&self, prefix: &str, event: &Event) -> bool {
        !prefix.is_empty() && event.name.starts_with(prefix) && self.takes_device(event)
    }

    fn takes_device(&self, event: &Event) -> bool {
        self.device.as_deref().is_none_or(|device| device == &*event.coreid)
    }

    /// The organization that owns it.
    pub fn org(&self) -> Option<OrgId> {
        match self.owner {
            Owner::Org(id) => Some(id),
            Owner::User(_) => None,
        }
    }
}

/// A place of the index: all that is known of a route before its integration is compiled. Deliveries wait with it, so that
/// what is compiled is only what is being sent.
pub(crate) struct Entry {
    source: Arc<Source>,
    pub(crate) counted: Counted,
    /// The member and the number of its overrides, if it has any.
    overriding: Option<(MemberId, u64)>,
    product_user: Option<UserId>,
    device: Option<Box<str>>,
    pub(crate) disabled: bool,
    /// The lane of all its deliveries, once its integration was compiled; `None` in it where their destination depends on
    /// the event, on secrets or on parameters.
    lane: OnceLock<Option<Arc<str>>>,
    /// Its deliveries that wait for their lane to be found: later ones go behind them, to keep their order.
    unresolved: AtomicUsize,
    /// The route, while its source has it, and the generation of the secrets that it was made with.
    route: RwLock<(u64, Weak<Route>)>,
}

impl Entry {
    fn new(source: Arc<Source>, row: &RouteRow, product_user: Option<UserId>) -> Entry {
        let member = row.member;
        Entry {
            source,
            counted: Counted {
                integration: row.integration,
                member: member.map(|member| member.id),
                product: member.map(|member| member.product),
            },
            overriding: member.filter(|member| member.overrides != 0).map(|m| (m.id, m.overrides)),
            product_user,
            device: row.device.as_deref().map(Into::into),
            disabled: row.disabled,
            lane: OnceLock::new(),
            unresolved: AtomicUsize::new(0),
            route: RwLock::default(),
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        self.source.owner.owner
    }

    /// The limits that its integration sets for its deliveries.
    pub(crate) fn pacer(&self) -> Option<&Arc<Pacer>> {
        self.source.pacer.as_ref()
    }

    /// Whether it is of the same integration, with the same configuration.
    pub(crate) fn is_with(&self, other: &Entry) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// The bytes of its configuration.
    pub(crate) fn configuration_bytes(&self) -> usize {
        self.source.bytes()
    }

    /// The lane into which its deliveries go: that of their owner's for those whose destination is not known yet, if it
    /// is not the same for all of them or was not asked for so far.
    pub(crate) fn lane(&self) -> Arc<str> {
        let waits = self.unresolved.load(Ordering::Acquire) > 0;
        let known = self.lane.get().filter(|_| !waits).cloned().flatten();
        known.unwrap_or_else(|| unresolved_lane(self.owner()).into())
    }

    /// One of its deliveries waits for its lane to be found.
    pub(crate) fn begin_resolving(&self) {
        self.unresolved.fetch_add(1, Ordering::AcqRel);
    }

    /// It is in its lane, or has ended.
    pub(crate) fn end_resolving(&self) {
        self.unresolved.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether all its deliveries go into the same lane, as far as is known.
    pub(crate) fn has_lane(&self) -> bool {
        self.lane.get().is_some_and(Option::is_some)
    }

    /// Notes the lane of its route.
    pub(crate) fn learn_lane(&self, route: &Route) -> Option<Arc<str>> {
        let of = |destination: String| lane_name(self.owner(), &destination).into();
        self.lane.get_or_init(|| route.compiled.target.fixed_destination().map(of)).clone()
    }

    /// Whether it says the same as another one, which can stay then.
    fn is(&self, other: &Entry) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
            && self.counted == other.counted
            && self.overriding == other.overriding
            && self.product_user == other.product_user
            && self.device == other.device
            && self.disabled == other.disabled
    }

    /// The route if nothing has to be read for it.
    fn ready(&self) -> Option<Arc<Route>> {
        let route = self.route.read();
        if route.0 == self.source.owner.generation() { route.1.upgrade() } else { None }
    }

    fn takes_device(&self, event: &Event) -> bool {
        self.device.as_deref().is_none_or(|device| device == &*event.coreid)
    }

    fn make(&self, compiled: Arc<Compiled>) -> Route {
        Route {
            counted: self.counted,
            owner: self.source.owner.owner,
            product_user: self.product_user,
            device: self.device.clone(),
            disabled: self.disabled,
            compiled,
        }
    }
}

/// The routes of one key.
#[derive(Default)]
struct RouteSet {
    by_prefix: HashMap<Box<str>, Vec<Arc<Entry>>>,
    /// The lengths of the prefixes, each once.
    lengths: Vec<usize>,
    /// All of them, also the disabled ones, for deliveries that waited.
    by_member: HashMap<MemberKey, Arc<Entry>>,
}

/// What stays the same of a route while its product is separated or merged: the member, in a sandbox the integration.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum MemberKey {
    Member(MemberId),
    Sandbox(IntegrationId),
}

impl From<Counted> for MemberKey {
    fn from(counted: Counted) -> MemberKey {
        counted.member.map_or(MemberKey::Sandbox(counted.integration), MemberKey::Member)
    }
}

impl RouteSet {
    fn add(&mut self, prefix: &str, entry: Arc<Entry>) {
        self.by_member.insert(entry.counted.into(), entry.clone());
        if entry.disabled || prefix.is_empty() || prefix.len() > limits::EVENT_NAME_BYTES {
            return;
        }
        if !self.lengths.contains(&prefix.len()) {
            self.lengths.push(prefix.len());
        }
        self.by_prefix.entry(prefix.into()).or_default().push(entry);
    }

    fn matching<'s>(&'s self, event: &'s Event) -> impl Iterator<Item = &'s Arc<Entry>> {
        let of_length = |n: &usize| self.by_prefix.get(event.name.get(..*n)?);
        self.lengths.iter().filter_map(of_length).flatten().filter(|entry| entry.takes_device(event))
    }
}

struct Index {
    store: Store,
    settings: Settings,
    sources: Sources,
    sets: RwLock<HashMap<RouteKey, Arc<RouteSet>>>,
    /// Refreshes run one after another, so that an older reading never replaces a newer one.
    refreshing: tokio::sync::Mutex<()>,
    /// The last change of the store before it was read for the first time.
    loaded_with: i64,
}

/// The index. Cheap to clone.
#[derive(Clone)]
pub struct Routes(Arc<Index>);

/// Sets under construction, and the owning users that were read for them.
#[derive(Default)]
struct Building {
    sets: HashMap<RouteKey, RouteSet>,
    users: HashMap<Owner, Option<UserId>>,
}

impl Building {
    /// Adds a row to the set of its key. The entry that `index` has stays when it says the same.
    async fn add(&mut self, index: &Index, row: &RouteRow) -> Result<(), StoreError> {
        let key = match (row.member, row.owner) {
            (Some(member), _) => RouteKey::Product(member.product),
            (None, Owner::User(user)) => RouteKey::Sandbox(user),
            // Its last member is being removed.
            (None, Owner::Org(_)) => return Ok(()),
        };
        let user = match self.users.get(&row.owner) {
            Some(known) => *known,
            None => {
                let user = index.store.owning_user(row.owner).await?;
                self.users.insert(row.owner, user);
                user
            }
        };
        let new = Entry::new(index.sources.of(row), row, user);
        new.source.owner.had_user(user);
        let known =
            index.sets.read().get(&key).and_then(|set| set.by_member.get(&new.counted.into()).cloned());
        let entry = known.filter(|known| known.is(&new)).unwrap_or_else(|| Arc::new(new));
        self.sets.entry(key).or_default().add(&row.event, entry);
        Ok(())
    }
}

impl Routes {
    /// The longest time that an integration's own settings let a delivery wait, in milliseconds.
    pub(crate) fn longest_wait_ms(&self) -> i64 {
        self.0.sources.pacers.longest_wait_ms()
    }

    /// How many integrations were compiled so far: each at its first use, and again after a change.
    pub fn compilations(&self) -> u32 {
        self.0.sources.compilations()
    }

    /// Loads the index from the store. No integration is compiled yet.
    ///
    /// # Errors
    /// When the store cannot be read, or its key does not open what is in it.
    pub async fn load(store: Store, settings: Settings) -> Result<Routes, StoreError> {
        let sources = Sources::new(store.clone(), settings.clone());
        Routes::load_with(store, settings, sources).await
    }

    /// These routes, each for all events of its key.
    #[cfg(test)]
    pub(crate) fn of(store: Store, settings: Settings, routes: Vec<(RouteKey, Route)>) -> Routes {
        let sources = Sources::new(store.clone(), settings.clone());
        let mut sets: HashMap<RouteKey, RouteSet> = HashMap::new();
        for (key, route) in routes {
            let route = Arc::new(route);
            let entry = Entry {
                source: sources.ready_with(&route),
                counted: route.counted,
                overriding: None,
                product_user: None,
                device: None,
                disabled: false,
                lane: OnceLock::new(),
                unresolved: AtomicUsize::new(0),
                route: RwLock::new((0, Arc::downgrade(&route))),
            };
            sets.entry(key).or_default().add("e", Arc::new(entry));
        }
        let sets = RwLock::new(sets.into_iter().map(|(key, set)| (key, Arc::new(set))).collect());
        Routes(Arc::new(Index {
            store,
            settings,
            sources,
            sets,
            refreshing: Default::default(),
            loaded_with: 0,
        }))
    }

    pub(crate) async fn load_with(
        store: Store,
        settings: Settings,
        sources: Sources,
    ) -> Result<Routes, StoreError> {
        store.check_key().await?;
        let loaded_with = store.last_change().await?;
        let (sets, refreshing) = (RwLock::default(), tokio::sync::Mutex::default());
        let index = Index { store, settings, sources, sets, refreshing, loaded_with };
        let mut building = Building::default();
        let mut after: Option<IntegrationId> = None;
        loop {
            let page = index.store.all_route_rows(after, LOAD_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.integration);
            for row in &page {
                building.add(&index, row).await?;
            }
        }
        *index.sets.write() = building.sets.into_iter().map(|(key, set)| (key, Arc::new(set))).collect();
        Ok(Routes(Arc::new(index)))
    }

    /// The last change of the store that they were loaded with: what follows is to be applied with [`Routes::refresh`].
    pub fn loaded_with(&self) -> i64 {
        self.0.loaded_with
    }

    /// Reads the routes of these keys again; all are swapped in at once. Whoever follows the changes of the store calls
    /// it, before the write is answered, so that the next event sees it.
    ///
    /// # Errors
    /// When the store cannot be read; the old routes stay.
    pub async fn refresh(&self, keys: &[RouteKey]) -> Result<(), StoreError> {
        let index = &*self.0;
        let _one_at_a_time = index.refreshing.lock().await;
        let keys: HashSet<RouteKey> = keys.iter().copied().collect();
        let products: Vec<ProductId> = keys
            .iter()
            .filter_map(|k| if let RouteKey::Product(id) = k { Some(*id) } else { None })
            .collect();
        let mut rows = index.store.route_rows_of_products(&products).await?;
        for key in &keys {
            if let RouteKey::Sandbox(user) = key {
                rows.extend(index.store.route_rows_of_sandbox(*user).await?);
            }
        }
        let mut building = Building::default();
        for row in &rows {
            building.add(index, row).await?;
        }
        let mut all = index.sets.write();
        for key in keys {
            match building.sets.remove(&key) {
                Some(set) => drop(all.insert(key, Arc::new(set))),
                None => drop(all.remove(&key)),
            }
        }
        Ok(())
    }

    /// As [`Routes::refresh`] for everything that an owner has.
    ///
    /// # Errors
    /// When the store cannot be read; the old routes stay.
    pub async fn refresh_owner(&self, owner: Owner) -> Result<(), StoreError> {
        let mut keys: Vec<RouteKey> =
            self.0.store.product_ids_of(owner).await?.into_iter().map(RouteKey::Product).collect();
        if let Owner::User(user) = owner {
            keys.push(RouteKey::Sandbox(user));
        }
        let user = self.0.store.owning_user(owner).await?;
        self.refresh(&keys).await?;
        self.0.sources.set_user(owner, user);
        Ok(())
    }

    /// Whether an owner's routes were made with another owning user than there is now.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn has_another_user(&self, owner: Owner) -> Result<bool, StoreError> {
        match self.0.sources.user_of(owner) {
            Some(user) => Ok(self.0.store.owning_user(owner).await? != user),
            None => Ok(false),
        }
    }

    /// The secrets of an owner are others now: whatever fires next has the new ones.
    pub fn secrets_changed(&self, owner: Owner) {
        self.0.sources.secrets_changed(owner);
    }

    /// What an event fires: integrations of its product, and of its user's sandbox.
    pub(crate) fn matching(&self, event: &Event, into: &mut Vec<Arc<Entry>>) {
        let sets = self.0.sets.read();
        let product = event.product.and_then(|id| sets.get(&RouteKey::Product(id)));
        let sandbox = event.user.and_then(|id| sets.get(&RouteKey::Sandbox(id)));
        for set in [product, sandbox].into_iter().flatten() {
            into.extend(set.matching(event).cloned());
        }
    }

    /// Whose a waiting delivery is now; `None` when its integration no longer runs there. A member that has moved to
    /// another integration is found with that one.
    pub(crate) fn find(&self, counted: Counted, event: &Event) -> Option<Arc<Entry>> {
        let key = match counted.product {
            Some(product) => RouteKey::Product(product),
            None => RouteKey::Sandbox(event.user?),
        };
        self.0.sets.read().get(&key)?.by_member.get(&counted.into()).cloned()
    }

    /// The route of an entry; its integration is compiled where it is not. `None` when it is gone, or cannot be compiled.
    ///
    /// # Errors
    /// When it has to be compiled and the store cannot be read now.
    pub(crate) async fn route_of(&self, entry: &Entry) -> Result<Option<Arc<Route>>, StoreError> {
        match entry.ready() {
            Some(route) => {
                self.0.sources.touch(&entry.source);
                Ok(Some(route))
            }
            None => self.0.prepare(entry).await,
        }
    }

    /// The routes of an integration, stored or not, compiled anew; none when it does not compile.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn routes_of(&self, integration: &Integration) -> Result<Vec<(RouteKey, Route)>, StoreError> {
        let index = &*self.0;
        let Some(target) = target_of(integration, &index.settings) else { return Ok(Vec::new()) };
        let secrets = Arc::new(Secrets(index.store.secrets_of(integration.owner).await?));
        let user = index.store.owning_user(integration.owner).await?;
        let compiled = Arc::new(Compiled::new(integration, target, secrets, None));
        Ok(routes_of(integration, user, &compiled))
    }

    /// The route of an integration through one of its members (none in a sandbox), compiled anew.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn route(
        &self,
        integration: &Integration,
        member: Option<MemberId>,
    ) -> Result<Option<Route>, StoreError> {
        let routes = self.routes_of(integration).await?;
        Ok(routes.into_iter().map(|(_, route)| route).find(|route| route.counted.member == member))
    }
}

impl Index {
    /// The route of an entry that has none, or one with secrets that have changed.
    async fn prepare(&self, entry: &Entry) -> Result<Option<Arc<Route>>, StoreError> {
        let overriding = entry.overriding.map(|(member, _)| member);
        let made = self.sources.route(&entry.source, overriding, |compiled| entry.make(compiled)).await?;
        Ok(made.map(|(generation, route)| {
            *entry.route.write() = (generation, Arc::downgrade(&route));
            route
        }))
    }
}

#[cfg(test)]
mod tests;
