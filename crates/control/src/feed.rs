//! Committed means applied: one task follows the change feed of the store, and makes routes, caches and live streams agree
//! with what is stored.
//!
//! It is woken by each request that may have written, and looks by itself once a second. While the store cannot be read it
//! tries again; a change is never passed over. A use-case therefore only writes: nothing has to be told after its commit.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::Instant,
};
use tributary_domain::{IntegrationId, Owner};
use tributary_pipeline::{RouteKey, Routes};
use tributary_store::{
    Store, StoreError,
    changes::{Change, Listens, TeamChanged},
};

use crate::{Control, cache::Cache, rights::Rights};

/// How often the store is looked at when nobody asks.
const POLL: Duration = Duration::from_secs(1);
/// Wait after the store could not be read.
const RETRY: Duration = Duration::from_millis(100);
/// How long a request that wrote waits for what it wrote to be in force.
const BOUND: Duration = Duration::from_secs(2);
/// Changes that are read at once.
const PAGE: usize = 1_000;
/// How often old changes are dropped.
const DROP_EVERY: Duration = Duration::from_secs(600);
/// Requests that may run on without their callers at the same time. Further ones end with their callers; what they had
/// committed is applied all the same.
const WITHOUT_CALLER: usize = 256;

/// The follower's counterpart in use-cases.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Rounds that were asked for.
    wanted: AtomicU64,
    wake: Notify,
    /// The last round that began after it was asked for and has ended.
    done: watch::Sender<u64>,
    /// The last change that is applied.
    applied: AtomicI64,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Wakes the follower when it is dropped: also when a request is, at whatever point.
struct WakeWhenDropped(Arc<Shared>);

impl Drop for WakeWhenDropped {
    fn drop(&mut self) {
        self.0.wake.notify_one();
    }
}

impl Shared {
    /// Waits until everything that was committed before is applied, at most [`BOUND`].
    async fn catch_up(&self) {
        let ticket = self.wanted.fetch_add(1, Ordering::AcqRel) + 1;
        let mut done = self.done.subscribe();
        self.wake.notify_one();
        let applied = tokio::time::timeout(BOUND, done.wait_for(|done| *done >= ticket)).await;
        if applied.is_err() {
            tracing::warn!("a change is stored and will be in force once the store can be read again");
        }
    }
}

impl Feed {
    /// Starts to follow the changes after those that `routes` were loaded with.
    pub(crate) fn start(store: Store, routes: Routes, cache: Arc<Cache>, rights: Arc<Rights>) -> Feed {
        let shared = Arc::new(Shared::default());
        let last = routes.loaded_with();
        shared.applied.store(last, Ordering::Release);
        let follower = Follower { store, routes, cache, rights, shared: shared.clone(), last };
        let task = tokio::spawn(follower.run());
        Feed { shared, places: Arc::new(Semaphore::new(WITHOUT_CALLER)), task }
    }
}

impl Control {
    /// Runs a request that may write. It runs to its end although its caller goes away, and its answer waits until what
    /// was committed is in force: routes, caches, rights of streams.
    pub async fn see_through<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let shared = self.feed.shared.clone();
        let run = async move {
            let wake = WakeWhenDropped(shared);
            let answer = request.await;
            wake.0.catch_up().await;
            answer
        };
        let Ok(place) = self.feed.places.clone().try_acquire_owned() else { return run.await };
        let task = tokio::spawn(async move {
            let answer = run.await;
            drop(place);
            answer
        });
        match task.await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process is going down.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// The id of the last change that is in force here.
    pub fn applied_change(&self) -> i64 {
        self.feed.shared.applied.load(Ordering::Acquire)
    }
}

struct Follower {
    store: Store,
    routes: Routes,
    cache: Arc<Cache>,
    rights: Arc<Rights>,
    shared: Arc<Shared>,
    last: i64,
}

impl Follower {
    async fn run(mut self) {
        let mut failing = false;
        let mut dropped = Instant::now();
        loop {
            // Taken before the store is read, so that who asked before finds what it had committed.
            let asked = self.shared.wanted.load(Ordering::Acquire);
            match self.follow().await {
                Ok(()) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("changes are in force again");
                    }
                    self.shared.done.send_replace(asked);
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "changes cannot be read and are not in force yet; they are tried again");
                    }
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            if dropped.elapsed() >= DROP_EVERY {
                dropped = Instant::now();
                if let Err(error) = self.store.drop_changes(self.last).await {
                    tracing::warn!(%error, "old changes could not be dropped and are tried again");
                }
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn follow(&mut self) -> Result<(), StoreError> {
        loop {
            let page = self.store.changes_after(self.last, PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            self.apply(&page).await?;
            self.last = *last;
            self.shared.applied.store(self.last, Ordering::Release);
        }
    }

    /// Applies some changes; what cannot fail first, so that rights end also while routes cannot be read.
    async fn apply(&self, page: &[(i64, Change)]) -> Result<(), StoreError> {
        let (mut keys, mut integrations) = (BTreeSet::new(), BTreeSet::<IntegrationId>::new());
        let (mut owners, mut secrets) = (BTreeSet::<Owner>::new(), BTreeSet::<Owner>::new());
        for (_, change) in page {
            match change {
                Change::Integration(id) => drop(integrations.insert(*id)),
                Change::RoutesOf(product) | Change::Product(product) => {
                    keys.insert(RouteKey::Product(*product));
                }
                Change::Sandbox(user) => drop(keys.insert(RouteKey::Sandbox(*user))),
                Change::Secrets(owner) => drop(secrets.insert(*owner)),
                // Templates may show who the owner of an organization is.
                Change::Team(_, TeamChanged::Org(org)) => drop(owners.insert(*org)),
                _ => {}
            }
        }
        let changes: Vec<Change> = page.iter().map(|(_, change)| *change).collect();
        self.cache.forget(changes.iter());
        self.rights.changed(&changes);
        for owner in secrets {
            self.routes.secrets_changed(owner);
        }
        let integrations: Vec<IntegrationId> = integrations.into_iter().collect();
        for listens in self.store.where_listening(&integrations).await? {
            keys.insert(match listens {
                Listens::Product(product) => RouteKey::Product(product),
                Listens::Sandbox(user) => RouteKey::Sandbox(user),
            });
        }
        for owner in owners {
            if self.routes.has_another_user(owner).await? {
                self.routes.refresh_owner(owner).await?;
            }
        }
        let keys: Vec<RouteKey> = keys.into_iter().collect();
        if keys.is_empty() { Ok(()) } else { self.routes.refresh(&keys).await }
    }
}
