//! A data plane whose destinations are scripted.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::Notify;
use tributary_domain::{
    Event, EventId, IntegrationId, MemberId, Owner, ProductId, Timestamp, UserId, outcome::AttemptClass,
};
use tributary_store::{Store, Vault, delivery::Counted};
use tributary_targets::{
    Attempt, BoxFuture, Clients, Message, ResponseSettings, Settings as TargetSettings, Target, Variables,
    net::ClientSettings,
};

use crate::{
    EventLog, Incoming, LogOptions, Pipeline, RedeliverySettings, Route, RouteKey, Routes, Settings,
    routes::Compiled,
};

/// Longest wait for anything, for machines that do other work too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A destination.
pub(super) struct Scripted {
    /// Its address; `None` = known for each event alone.
    fixed: bool,
    destination: String,
    /// Bytes of each request.
    body: usize,
    /// While set, nothing is answered.
    hangs: AtomicBool,
    changed: Notify,
    pub(super) sent: AtomicUsize,
    pub(super) running: AtomicUsize,
    pub(super) most_running: AtomicUsize,
    pub(super) seen: parking_lot::Mutex<HashMap<EventId, usize>>,
    response: ResponseSettings,
}

impl Scripted {
    pub(super) fn new(destination: &str, body: usize) -> Arc<Scripted> {
        Arc::new(Scripted {
            fixed: true,
            destination: destination.to_owned(),
            body,
            hangs: AtomicBool::new(false),
            changed: Notify::new(),
            sent: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            seen: Default::default(),
            response: ResponseSettings::default(),
        })
    }

    /// One whose host is made of each event's name.
    pub(super) fn ever_new(body: usize) -> Arc<Scripted> {
        Arc::new(Scripted { fixed: false, ..Arc::into_inner(Scripted::new("", body)).expect("just made") })
    }

    pub(super) fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Target for Scripted {
    fn fixed_destination(&self) -> Option<String> {
        self.fixed.then(|| self.destination.clone())
    }

    fn destination(&self, variables: &Variables<'_>) -> Result<String, String> {
        Ok(format!("{}.example:80", variables.event.name))
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        Ok(Message {
            destination: self.destination.clone(),
            method: "POST".to_owned(),
            url: variables.event.id.to_string(),
            headers: Vec::new(),
            body: Bytes::from(vec![b'x'; self.body]),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, _: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(running, Ordering::SeqCst);
            loop {
                let changed = self.changed.notified();
                if !self.hangs.load(Ordering::SeqCst) {
                    break;
                }
                changed.await;
            }
            let id = message.url.replace('-', "");
            let mut event = [0; 16];
            for (at, byte) in event.iter_mut().enumerate() {
                *byte = u8::from_str_radix(&id[at * 2..at * 2 + 2], 16).expect("an event's id");
            }
            *self.seen.lock().entry(EventId(event)).or_default() += 1;
            self.sent.fetch_add(1, Ordering::SeqCst);
            self.running.fetch_sub(1, Ordering::SeqCst);
            Attempt { class: AttemptClass::Success, error: None, reply: None }
        })
    }

    fn response(&self) -> &ResponseSettings {
        &self.response
    }

    fn variables(&self) -> Vec<String> {
        Vec::new()
    }

    fn sensitive_values(&self) -> &[String] {
        &[]
    }
}

/// A fleet: a person with one product, and the destinations of its integrations.
#[derive(Clone)]
pub(super) struct Fleet {
    pub(super) product: ProductId,
    pub(super) owner: Owner,
    pub(super) targets: Vec<Arc<Scripted>>,
}

impl Fleet {
    pub(super) fn new(n: u8, targets: Vec<Arc<Scripted>>) -> Fleet {
        Fleet { product: ProductId(i64::from(n)), owner: Owner::User(UserId([n; 12])), targets }
    }

    fn counted(&self, at: usize) -> Counted {
        let mut id = [0; 12];
        id[0] = u8::try_from(self.product.0).expect("few fleets");
        id[4..12].copy_from_slice(&(at as u64).to_be_bytes());
        Counted { integration: IntegrationId(id), member: Some(MemberId(id)), product: Some(self.product) }
    }

    fn routes(&self) -> Vec<(RouteKey, Route)> {
        let route = |(at, target): (usize, &Arc<Scripted>)| {
            let compiled = Compiled::of_target(target.clone());
            let route = Route {
                counted: self.counted(at),
                owner: self.owner,
                product_user: None,
                device: None,
                disabled: false,
                compiled: Arc::new(compiled),
            };
            (RouteKey::Product(self.product), route)
        };
        self.targets.iter().enumerate().map(route).collect()
    }
}

/// A running data plane.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) store: Store,
    pub(super) log: EventLog,
    pub(super) pipeline: Pipeline,
    fleets: Vec<Fleet>,
    next: AtomicUsize,
}

impl World {
    pub(super) async fn start(fleets: &[Fleet]) -> World {
        World::start_in(tempfile::tempdir().expect("a folder"), fleets, 0).await
    }

    async fn start_in(folder: tempfile::TempDir, fleets: &[Fleet], next: usize) -> World {
        let store =
            Store::open(&folder.path().join("tributary.db"), Vault::new(&[7; 32])).await.expect("a store");
        keep_integrations(&folder, fleets);
        let log = EventLog::open(&folder.path().join("events.db"), LogOptions::default()).expect("a log");
        let routes = fleets.iter().flat_map(Fleet::routes).collect();
        let routes = Routes::of(store.clone(), TargetSettings::default(), routes);
        let client =
            ClientSettings { timeout: PATIENCE, addresses: Arc::default(), ..ClientSettings::default() };
        let settings = Settings {
            retry_delays_ms: vec![50],
            lane_concurrency: 64,
            total_concurrency: 1_024,
            redelivery: RedeliverySettings::default(),
            now,
        };
        let clients = Clients::new(&client).expect("clients");
        let pipeline = Pipeline::start(store.clone(), log.clone(), routes, clients, settings)
            .await
            .expect("a data plane");
        World { folder, store, log, pipeline, fleets: fleets.to_vec(), next: AtomicUsize::new(next) }
    }

    /// Ends it as a kill does, and starts it again.
    pub(super) async fn kill(self) -> World {
        self.pipeline.abort();
        self.log.close().await;
        self.store.close().await;
        let World { folder, fleets, next, pipeline, .. } = self;
        drop(pipeline);
        World::start_in(folder, &fleets, next.into_inner()).await
    }

    /// Publishes events of a fleet with data of this size; gives their ids.
    pub(super) async fn publish(&self, fleet: &Fleet, events: usize, data: usize) -> Vec<EventId> {
        let mut ids = Vec::with_capacity(events);
        let all: Vec<usize> = (0..events).collect();
        for part in all.chunks(1_000) {
            let incoming: Vec<Incoming> = part.iter().map(|_| self.event(fleet, data)).collect();
            ids.extend(incoming.iter().map(|one| one.event.id));
            // A batch is at most 1 MiB.
            for some in incoming.chunks((1 << 20) / (data + 128)) {
                self.pipeline.ingest().accept_all(some).await.expect("accepted");
            }
        }
        ids
    }

    fn event(&self, fleet: &Fleet, data: usize) -> Incoming {
        let n = self.next.fetch_add(1, Ordering::SeqCst);
        let mut id = [0; 16];
        id[8..].copy_from_slice(&(n as u64 + 1).to_be_bytes());
        let event = Event {
            id: EventId(id),
            product: Some(fleet.product),
            user: None,
            coreid: "api".into(),
            name: format!("e{n}").into(),
            data: Some("d".repeat(data).into()),
            ttl: 60,
            published_at: now(),
            version: None,
        };
        Incoming { event, org: None }
    }

    /// How many successes the history counts of a fleet's integrations; nothing else happens here.
    fn counted(&self, fleet: &Fleet) -> usize {
        let db =
            rusqlite::Connection::open(self.folder.path().join("tributary.db")).expect("the store's file");
        let sql = "SELECT COALESCE(SUM(success), 0), COALESCE(SUM(error + skipped), 0) FROM counters WHERE product_id = ?1";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (success, other): (i64, i64) = db.query_row(sql, [fleet.product.0], row).expect("counts");
        assert_eq!(other, 0, "nothing fails or is skipped");
        usize::try_from(success).expect("a count")
    }

    /// Waits until each of a fleet's integrations has counted this many events, once each.
    pub(super) async fn until_counted(&self, fleet: &Fleet, events: usize) {
        let (begun, all) = (Instant::now(), events * fleet.targets.len());
        loop {
            let counted = self.counted(fleet);
            assert!(counted <= all, "{counted} counted of {all}");
            if counted == all {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{counted} counted of {all} after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        begun.elapsed()
    }
}

/// History is counted for integrations that the store knows.
fn keep_integrations(folder: &tempfile::TempDir, fleets: &[Fleet]) {
    let mut db = rusqlite::Connection::open(folder.path().join("tributary.db")).expect("the store's file");
    let rows = db.transaction().expect("a transaction");
    for fleet in fleets {
        for at in 0..fleet.targets.len() {
            let sql = "INSERT OR IGNORE INTO integrations (id, owner, integration_type, event, disabled, sandbox, config,
                       created_at, updated_at) VALUES (?1, ?2, 'Webhook', 'e', 0, 0, '{\"v\":1,\"config\":{}}', 0, 0)";
            let id = fleet.counted(at).integration.to_string();
            rows.execute(sql, (id, fleet.owner.to_string())).expect("a row");
        }
    }
    rows.commit().expect("committed");
}

#[expect(clippy::disallowed_methods, reason = "the clock of these tests")]
pub(super) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("this era"))
}
