//! The server: its parts wired together, started and stopped.

use std::{io, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tributary_api::{AppState, OpenStreams, Parts, RequestLimit};
use tributary_control::{Control, Sources, accounts_settings::AccountSettings};
use tributary_domain::Timestamp;
use tributary_eventlog::EventLog;
use tributary_pipeline::{Pipeline, Routes};
use tributary_store::Store;
use tributary_targets::{
    AddressPolicy, Clients,
    net::{ClientSettings, Proxy},
};

use crate::{config::Config, connections, key, site::Site};

/// The file of the accounts, integrations and history.
const STORE_FILE: &str = "tributary.db";
/// The file of the accepted events.
const LOG_FILE: &str = "events.db";
/// The file of the key, unless another is configured.
const KEY_FILE: &str = "key";
/// How long open connections may go on once the server stops.
const CLOSE_CONNECTIONS: Duration = Duration::from_secs(2);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A setting that cannot be used.
    #[error("setting {0}: {1}")]
    Setting(&'static str, String),
    /// The data folder.
    #[error("data folder {0}: {1}")]
    DataDir(String, #[source] io::Error),
    /// The key file.
    #[error("key file {0}: {1}")]
    Key(String, #[source] io::Error),
    /// The database of accounts and history.
    #[error("store: {0}")]
    Store(#[from] tributary_store::StoreError),
    /// The event log.
    #[error("event log: {0}")]
    Log(#[from] tributary_eventlog::LogError),
    /// TLS for deliveries.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

/// A running server.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    pipeline: Pipeline,
    store: Store,
    closing: watch::Sender<bool>,
    http: JoinHandle<()>,
}

/// The present time.
#[expect(clippy::disallowed_methods, reason = "this is the one clock that every part is given")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Fills a buffer with unguessable bytes.
#[allow(
    clippy::expect_used,
    reason = "without randomness no token would be safe: better to stop than to go on"
)]
pub(crate) fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the operating system gives randomness");
}

fn account_settings(config: &Config) -> Result<AccountSettings, StartError> {
    let accounts = &config.accounts;
    let wrong = |name: &'static str| move |error: String| StartError::Setting(name, error);
    Ok(AccountSettings {
        signup: accounts.signup.parse().map_err(|e: _| wrong("accounts.signup")(format!("{e}")))?,
        default_plan: accounts.default_plan.parse().map_err(
            |e: tributary_domain::account::UnknownPlan| wrong("accounts.default_plan")(e.to_string()),
        )?,
        failures_per_user: accounts.failures_per_user,
        failures_per_address: accounts.failures_per_address,
        failure_window_ms: ms(accounts.failure_window.0),
    })
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn address_policy(config: &Config) -> Result<AddressPolicy, StartError> {
    let allowed = config.delivery.allowed_targets.0.iter().map(|text| {
        text.parse()
            .map_err(|error| StartError::Setting("delivery.allowed_targets", format!("{text}: {error}")))
    });
    Ok(AddressPolicy {
        allow_private: config.delivery.allow_private_targets,
        allowed: allowed.collect::<Result<_, _>>()?,
    })
}

fn outbound_proxy(config: &Config) -> Result<Option<Arc<Proxy>>, StartError> {
    let (address, except) = (&config.delivery.proxy, &config.delivery.proxy_except.0);
    if address.trim().is_empty() {
        return Ok(None);
    }
    let proxy =
        Proxy::parse(address, except).map_err(|error| StartError::Setting("delivery.proxy", error))?;
    Ok(Some(Arc::new(proxy)))
}

/// Makes the data folder where there is none. Everything in it is for the server's user alone.
fn make_folder(dir: &Path) -> Result<(), StartError> {
    let folder = |error| StartError::DataDir(dir.display().to_string(), error);
    std::fs::create_dir_all(dir).map_err(folder)?;
    let open = |path: &Path| std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o077 != 0);
    if open(dir).map_err(folder)? {
        tracing::warn!(
            "other users of this machine may look into the data folder; run: chmod 700 {}",
            dir.display()
        );
    }
    for file in [STORE_FILE, LOG_FILE].map(|name| dir.join(name)) {
        if open(&file).unwrap_or(false) {
            tracing::warn!(
                "other users of this machine may read the data; run: chmod 600 {}*",
                file.display()
            );
        }
    }
    Ok(())
}

/// Opens the store. The folder is locked by then, so that nothing is migrated under a server that runs.
async fn open_store(config: &Config, dir: &Path) -> Result<Store, StartError> {
    let configured = &config.store.key_file;
    let key_file = if configured.as_os_str().is_empty() { dir.join(KEY_FILE) } else { configured.clone() };
    let store_file = dir.join(STORE_FILE);
    let is_new = !std::fs::metadata(&store_file).is_ok_and(|meta| meta.len() > 0);
    let vault = key::open(&key_file, is_new)
        .map_err(|error| StartError::Key(key_file.display().to_string(), error))?;
    Ok(Store::open(&store_file, vault).await?)
}

/// Claims of devices that an update ended: said once, until it was said.
async fn tell_of_ended_claims(store: &Store) -> Result<(), StartError> {
    for claim in store.ended_claims().await? {
        tracing::warn!(device = claim.device, claimed_by = claim.username, product = %claim.product,
            "a claim ended: who had claimed the device is not on the team of its product");
    }
    Ok(store.forget_ended_claims().await?)
}

impl Server {
    /// Starts a server; when this returns it answers requests.
    ///
    /// # Errors
    /// When a setting is wrong, something in the data folder cannot be opened, or the address is taken.
    pub(crate) async fn start(config: &Config) -> Result<Server, StartError> {
        let http = config.server.connections(config.delivery.total_concurrency)?;
        let dir = &config.store.data_dir;
        make_folder(dir)?;
        // The log's lock is that of the whole folder.
        let log = EventLog::open(&dir.join(LOG_FILE), config.eventlog.options())?;
        let store = open_store(config, dir).await?;
        tell_of_ended_claims(&store).await?;
        let addresses = Arc::new(address_policy(config)?);
        let targets = config.targets.settings(addresses.clone(), tributary_targets::settings::Clock(now));
        let targets = targets.map_err(|(name, error)| StartError::Setting(name, error))?;
        let routes = Routes::load(store.clone(), targets.clone()).await?;
        let pipeline_settings = tributary_pipeline::Settings {
            retry_delays_ms: config.delivery.retry_delays.0.iter().map(|span| ms(span.0)).collect(),
            lane_concurrency: config.delivery.lane_concurrency.max(1),
            total_concurrency: config.delivery.total_concurrency.max(1),
            redelivery: config.redelivery.settings(),
            now,
        };
        let clients = Clients::new(&ClientSettings {
            timeout: config.delivery.timeout.0,
            addresses,
            clock: tributary_targets::settings::Clock(now),
            proxy: outbound_proxy(config)?,
        })?;
        let pipeline =
            Pipeline::start(store.clone(), log, routes.clone(), clients, pipeline_settings).await?;
        let settings = tributary_control::Settings {
            accounts: account_settings(config)?,
            targets,
            quotas: config.quotas.control(),
        };
        let sources = Sources { now, random };
        let control = Control::new(store.clone(), routes, pipeline.clone(), sources, settings);
        let state = AppState::from(Parts {
            control: control.clone(),
            request_limit: RequestLimit::new(config.limits.requests_per_minute),
            open_streams: OpenStreams::new(config.limits.streams_per_user, config.limits.streams_per_address),
        });
        let listen = config.server.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| StartError::Listen(listen, error))?;
        let address = listener.local_addr().map_err(|error| StartError::Listen(listen, error))?;
        let (closing, closed) = watch::channel(false);
        let http = {
            let site = Site::new(tributary_console::router(control), tributary_api::service(state));
            tokio::spawn(connections::serve(listener, site, http, closed))
        };
        Ok(Server { address, pipeline, store, closing, http })
    }

    /// Stops it: no new requests, running deliveries end or are handed back, the databases are closed.
    pub(crate) async fn stop(mut self) {
        self.closing.send_replace(true);
        // Streams never end by themselves, so connections are given a bounded time.
        if tokio::time::timeout(CLOSE_CONNECTIONS, &mut self.http).await.is_err() {
            self.http.abort();
        }
        self.pipeline.stop().await;
        self.store.close().await;
    }
}

/// Waits for SIGTERM or Ctrl-C.
///
/// # Errors
/// When the signals cannot be listened for.
pub(crate) async fn stop_signal() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "Ctrl-C",
    })
}
