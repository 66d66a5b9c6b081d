//! The use-cases of the control plane: one file per noun, the only caller of the store for writes.
//!
//! A use-case takes the [`Actor`] first, asks [`access`] once, applies rules from
//! `tributary_domain`, and writes one store transaction; [`feed`] brings into force what it
//! changed. Faces (the REST API, the
//! console) call these and hold no rule of their own.

pub mod access;
pub mod accounts;
pub mod accounts_settings;
pub mod addressed;
pub mod audit;
mod cache;
pub mod claims;
mod comparing;
pub mod devices;
mod drafting;
pub mod error;
pub mod expecting;
pub mod failed;
pub mod feed;
mod fields;
pub mod history;
pub mod integrations;
pub mod invitations;
mod kept;
pub mod kinds;
pub mod listing;
pub mod merging;
pub mod moving;
pub mod newest;
pub mod operations;
pub mod orgs;
pub mod origin;
pub mod paged;
mod parameters;
mod passwords;
pub mod place;
pub mod preview;
pub mod products;
pub mod publish;
pub mod quotas;
pub mod redelivery;
mod rights;
pub mod secrets;
pub mod sharing;
mod sign_in_limits;
mod signing;
mod slugs;
pub mod streaming;
pub mod team;
pub mod test_run;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tokens;
pub mod versions;

use std::sync::Arc;

use tributary_domain::{Timestamp, access::Actor};
use tributary_pipeline::{Pipeline, Routes};
use tributary_store::{Store, audit::By};

pub use error::Error;

/// Where time and chance come from, so that tests can give their own.
#[derive(Clone, Copy)]
pub struct Sources {
    /// The present time.
    pub now: fn() -> Timestamp,
    /// Fills a buffer with unguessable bytes.
    pub random: fn(&mut [u8]),
}

/// What the server's configuration says to the control plane.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may sign up.
    pub accounts: accounts_settings::AccountSettings,
    /// What destinations may do.
    pub targets: tributary_targets::Settings,
    /// What each owner may have at most.
    pub quotas: quotas::Quotas,
}

/// The use-cases. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(crate) store: Store,
    pub(crate) routes: Routes,
    pub(crate) pipeline: Pipeline,
    pub(crate) sources: Sources,
    pub(crate) settings: Arc<Settings>,
    pub(crate) cache: Arc<cache::Cache>,
    pub(crate) rights: Arc<rights::Rights>,
    pub(crate) feed: Arc<feed::Feed>,
    pub(crate) passwords: passwords::Passwords,
    pub(crate) sign_in_limits: Arc<sign_in_limits::SignInLimits>,
}

impl Control {
    /// Use-cases over this store, these routes and this data plane. In a runtime: a task of it follows the changes.
    pub fn new(
        store: Store,
        routes: Routes,
        pipeline: Pipeline,
        sources: Sources,
        settings: Settings,
    ) -> Control {
        let (cache, rights) = (Arc::<cache::Cache>::default(), Arc::<rights::Rights>::default());
        let feed = feed::Feed::start(store.clone(), routes.clone(), cache.clone(), rights.clone());
        Control {
            store,
            routes,
            pipeline,
            sources,
            cache,
            rights,
            feed: Arc::new(feed),
            passwords: passwords::Passwords::new(passwords::MEMORY_KIB, sources.random),
            sign_in_limits: Arc::default(),
            settings: Arc::new(settings),
        }
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        (self.sources.now)()
    }

    /// Who makes a change, now, for the audit.
    pub(crate) fn by(&self, actor: &Actor) -> By {
        By { user: actor.user, at: self.now() }
    }

    /// Twelve unguessable bytes, for a new id.
    pub(crate) fn new_id(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        (self.sources.random)(&mut bytes);
        bytes
    }
}
