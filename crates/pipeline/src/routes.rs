//! Which integrations an event fires: an index by product and sandbox, each entry swapped whole when it changes.
//!
//! Looking up costs one hash per length of prefix that is in use there, at most 64, however many integrations exist.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::RwLock;
use tributary_domain::{
    Event, IntegrationId, MemberId, OrgId, Owner, ProductId, UserId,
    integration::Integration,
    limits,
    parameters::{Parameters, declared},
    sensitive::is_sensitive_parameter,
};
use tributary_store::{Store, StoreError, delivery::Counted};
use tributary_targets::{Secrets, Settings, Target, kinds, sending::Sending};

use crate::pace::{Pacer, Pacers};

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

/// An integration ready to run: its target, and what its owner's templates and logs need.
pub struct Compiled {
    /// The destination.
    pub target: Arc<dyn Target>,
    /// The owner's secrets.
    pub secrets: Arc<Secrets>,
    /// The names of those that its templates use.
    pub used_secrets: Vec<String>,
    /// The parameters: the member's overrides, else the defaults.
    pub parameters: Parameters,
    /// Values that no log may show.
    pub sensitive: Vec<String>,
    /// The limits that it sets for its deliveries.
    pub pacer: Option<Arc<Pacer>>,
    /// Its own waits before further attempts, in milliseconds.
    pub retry_delays_ms: Option<Box<[i64]>>,
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

/// The routes of one key.
#[derive(Default)]
struct RouteSet {
    by_prefix: HashMap<Box<str>, Vec<Arc<Route>>>,
    /// The lengths of the prefixes, each once.
    lengths: Vec<usize>,
    /// All of them, also the disabled ones, for deliveries that waited.
    by_member: HashMap<MemberKey, Arc<Route>>,
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
    fn add(&mut self, prefix: &str, route: Arc<Route>) {
        self.by_member.insert(route.counted.into(), route.clone());
        if route.disabled || prefix.is_empty() || prefix.len() > limits::EVENT_NAME_BYTES {
            return;
        }
        if !self.lengths.contains(&prefix.len()) {
            self.lengths.push(prefix.len());
        }
        self.by_prefix.entry(prefix.into()).or_default().push(route);
    }

    fn collect(&self, event: &Event, into: &mut Vec<Arc<Route>>) {
        for routes in self.lengths.iter().filter_map(|n| self.by_prefix.get(event.name.get(..*n)?)) {
            into.extend(routes.iter().filter(|route| route.takes_device(event)).cloned());
        }
    }
}

struct Index {
    store: Store,
    settings: Settings,
    pacers: Pacers,
    sets: RwLock<HashMap<RouteKey, Arc<RouteSet>>>,
    /// Refreshes run one after another, so that an older reading never replaces a newer one.
    refreshing: tokio::sync::Mutex<()>,
}

/// The index. Cheap to clone.
#[derive(Clone)]
pub struct Routes(Arc<Index>);

/// Secrets and owning users that were read while routes are built.
#[derive(Default)]
struct Owners(HashMap<Owner, (Arc<Secrets>, Option<UserId>)>);

impl Owners {
    async fn read(
        &mut self,
        store: &Store,
        owner: Owner,
    ) -> Result<(Arc<Secrets>, Option<UserId>), StoreError> {
        if let Some(known) = self.0.get(&owner) {
            return Ok(known.clone());
        }
        let read = (Arc::new(Secrets(store.secrets_of(owner).await?)), store.owning_user(owner).await?);
        self.0.insert(owner, read.clone());
        Ok(read)
    }
}

impl Routes {
    /// The longest time that an integration's own settings let a delivery wait, in milliseconds.
    pub(crate) fn longest_wait_ms(&self) -> i64 {
        self.0.pacers.longest_wait_ms()
    }

    /// Loads all routes from the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Store, settings: Settings) -> Result<Routes, StoreError> {
        let mut sets: HashMap<RouteKey, RouteSet> = HashMap::new();
        let (mut owners, pacers) = (Owners::default(), Pacers::default());
        let mut after: Option<IntegrationId> = None;
        loop {
            let page = store.all_integrations(after, LOAD_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for integration in &page {
                let (secrets, user) = owners.read(&store, integration.owner).await?;
                let Some(compiled) = compile(integration, secrets, &settings, Some(&pacers)) else {
                    continue;
                };
                for (key, route) in routes_of(integration, user, &compiled) {
                    sets.entry(key).or_default().add(integration.text("event"), Arc::new(route));
                }
            }
        }
        let sets = sets.into_iter().map(|(key, set)| (key, Arc::new(set))).collect();
        let (sets, refreshing) = (RwLock::new(sets), tokio::sync::Mutex::default());
        let index = Index { store, settings, pacers, sets, refreshing };
        Ok(Routes(Arc::new(index)))
    }

    /// Reads the routes of these keys again; all are swapped in at once. Called after every write that changes them,
    /// before the write is answered, so that the next event sees it.
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
        let mut integrations = index.store.routes_of_products(&products).await?;
        for key in &keys {
            if let RouteKey::Sandbox(user) = key {
                integrations.extend(index.store.routes_of_sandbox(*user).await?);
            }
        }
        let mut sets: HashMap<RouteKey, RouteSet> = keys.iter().map(|k| (*k, RouteSet::default())).collect();
        let mut owners = Owners::default();
        for integration in &integrations {
            let (secrets, user) = owners.read(&index.store, integration.owner).await?;
            let Some(compiled) = compile(integration, secrets, &index.settings, Some(&index.pacers)) else {
                continue;
            };
            for (key, route) in routes_of(integration, user, &compiled) {
                if let Some(set) = sets.get_mut(&key) {
                    set.add(integration.text("event"), Arc::new(route));
                }
            }
        }
        let mut all = index.sets.write();
        for (key, set) in sets {
            if set.by_member.is_empty() {
                all.remove(&key);
            } else {
                all.insert(key, Arc::new(set));
            }
        }
        Ok(())
    }

    /// As [`Routes::refresh`] for everything that an owner has, e.g. after a secret changed.
    ///
    /// # Errors
    /// When the store cannot be read; the old routes stay.
    pub async fn refresh_owner(&self, owner: Owner) -> Result<(), StoreError> {
        let mut keys: Vec<RouteKey> =
            self.0.store.product_ids_of(owner).await?.into_iter().map(RouteKey::Product).collect();
        if let Owner::User(user) = owner {
            keys.push(RouteKey::Sandbox(user));
        }
        self.refresh(&keys).await
    }

    /// The routes that an event fires: those of its product, and those of its user's sandbox.
    pub fn matching(&self, event: &Event, into: &mut Vec<Arc<Route>>) {
        let sets = self.0.sets.read();
        let product = event.product.and_then(|id| sets.get(&RouteKey::Product(id)));
        let sandbox = event.user.and_then(|id| sets.get(&RouteKey::Sandbox(id)));
        for set in [product, sandbox].into_iter().flatten() {
            set.collect(event, into);
        }
    }

    /// The route of a waiting delivery as it is now; `None` when its integration no longer runs there. A member that
    /// has moved to another integration is found with that one.
    pub fn find(&self, counted: Counted, event: &Event) -> Option<Arc<Route>> {
        let key = match counted.product {
            Some(product) => RouteKey::Product(product),
            None => RouteKey::Sandbox(event.user?),
        };
        self.0.sets.read().get(&key)?.by_member.get(&counted.into()).cloned()
    }

    /// The routes of an integration, stored or not, compiled anew; none when it does not compile.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn routes_of(&self, integration: &Integration) -> Result<Vec<(RouteKey, Route)>, StoreError> {
        let (secrets, user) = Owners::default().read(&self.0.store, integration.owner).await?;
        let compiled = compile(integration, secrets, &self.0.settings, None);
        Ok(compiled.map(|compiled| routes_of(integration, user, &compiled)).unwrap_or_default())
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
        let (secrets, user) = Owners::default().read(&self.0.store, integration.owner).await?;
        let compiled = compile(integration, secrets, &self.0.settings, None);
        let routes = compiled.map(|compiled| routes_of(integration, user, &compiled)).unwrap_or_default();
        Ok(routes.into_iter().map(|(_, route)| route).find(|route| route.counted.member == member))
    }
}

/// Compiles a stored integration. One that this version refuses (its kind is gone, its address is no longer allowed)
/// fires nothing and is reported; it stays stored. Without `pacers`, for what goes through no lane, it has no limits.
fn compile(
    integration: &Integration,
    secrets: Arc<Secrets>,
    settings: &Settings,
    pacers: Option<&Pacers>,
) -> Option<Arc<Compiled>> {
    let kind = kinds::find(integration.text("integration_type"))?;
    match kind.compile(&integration.config, settings) {
        Ok(target) => {
            let mut used_secrets = target.variables();
            used_secrets.retain(|name| secrets.0.contains_key(name));
            let mut sensitive: Vec<String> = target.sensitive_values().to_vec();
            sensitive.extend(used_secrets.iter().filter_map(|name| secrets.0.get(name)).cloned());
            let parameters = declared(&integration.config);
            sensitive.extend(sensitive_values(&parameters));
            let sending = Sending::of(&integration.config);
            let pacer = pacers.and_then(|pacers| pacers.of(integration.id, &sending));
            let retry_delays_ms = sending.retry_delays_ms;
            Some(Arc::new(Compiled {
                target,
                secrets,
                used_secrets,
                parameters,
                sensitive,
                pacer,
                retry_delays_ms,
            }))
        }
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            tracing::error!(integration.id = %integration.id, ?errors, "a stored integration does not compile and will not run");
            None
        }
    }
}

fn sensitive_values(parameters: &Parameters) -> impl Iterator<Item = String> {
    parameters.iter().filter(|(name, _)| is_sensitive_parameter(name)).map(|(_, value)| value.clone())
}

/// The compiled integration as it is for one member.
fn for_member(integration: &Integration, member: MemberId, compiled: &Arc<Compiled>) -> Arc<Compiled> {
    if integration.overrides_of(member).is_none() {
        return compiled.clone();
    }
    let parameters = integration.effective(member);
    let mut sensitive = compiled.sensitive.clone();
    sensitive.extend(sensitive_values(&parameters));
    Arc::new(Compiled {
        target: compiled.target.clone(),
        secrets: compiled.secrets.clone(),
        used_secrets: compiled.used_secrets.clone(),
        parameters,
        sensitive,
        pacer: compiled.pacer.clone(),
        retry_delays_ms: compiled.retry_delays_ms.clone(),
    })
}

fn routes_of(
    integration: &Integration,
    user: Option<UserId>,
    compiled: &Arc<Compiled>,
) -> Vec<(RouteKey, Route)> {
    let route = |member: Option<(MemberId, ProductId)>| Route {
        counted: Counted {
            integration: integration.id,
            member: member.map(|m| m.0),
            product: member.map(|m| m.1),
        },
        owner: integration.owner,
        product_user: user,
        device: Some(integration.text("deviceID")).filter(|id| !id.is_empty()).map(Into::into),
        disabled: integration.config.get("disabled") == Some(&serde_json::Value::Bool(true)),
        compiled: match member {
            Some((member, _)) => for_member(integration, member, compiled),
            None => compiled.clone(),
        },
    };
    match integration.owner {
        Owner::User(user) if integration.members.is_empty() => vec![(RouteKey::Sandbox(user), route(None))],
        _ => {
            let members = integration.members.iter();
            members.map(|m| (RouteKey::Product(m.product), route(Some((m.id, m.product))))).collect()
        }
    }
}
