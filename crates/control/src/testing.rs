//! A control plane on a temporary folder, for the tests of faces: they may not know the crates that it is made of.

use std::{path::Path, sync::Arc, time::Duration};

use tributary_domain::Timestamp;
use tributary_pipeline::{EventLog, LogOptions, Pipeline, Routes};
use tributary_store::{Store, StoreError, Vault, vault::KEY_BYTES};
use tributary_targets::{AddressPolicy, Clients, net::ClientSettings};

use crate::{Control, Settings, Sources, accounts_settings::AccountSettings, quotas::Quotas};

/// What destinations are made of, for tests of faces, which may not use it otherwise.
pub use tributary_targets as targets;

/// Time for one delivery.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// The waits before further attempts.
const RETRY_DELAYS_MS: [i64; 2] = [50, 50];

/// Opens, or creates, a control plane in `folder`.
///
/// # Errors
/// When the store cannot be opened.
pub async fn open(
    folder: &Path,
    accounts: AccountSettings,
    now: fn() -> Timestamp,
) -> Result<Control, StoreError> {
    open_with(folder, accounts, Quotas::default(), now).await
}

/// As [`open`], with these bounds for owners.
///
/// # Errors
/// When the store cannot be opened.
pub async fn open_with(
    folder: &Path,
    accounts: AccountSettings,
    quotas: Quotas,
    now: fn() -> Timestamp,
) -> Result<Control, StoreError> {
    let store = Store::open(&folder.join("tributary.db"), Vault::new(&[7; KEY_BYTES])).await?;
    let addresses = Arc::new(AddressPolicy { allow_private: true, ..AddressPolicy::default() });
    let targets = tributary_targets::Settings { addresses: addresses.clone(), ..Default::default() };
    let routes = Routes::load(store.clone(), targets.clone()).await?;
    let failed =
        |what, error: &dyn std::error::Error| StoreError::Unreadable { what, why: error.to_string() };
    let log = EventLog::open(&folder.join("events.db"), LogOptions::default())
        .map_err(|error| failed("event log", &error))?;
    let clients =
        Clients::new(&ClientSettings { timeout: DELIVERY_TIMEOUT, addresses, ..ClientSettings::default() })
            .map_err(|error| failed("TLS set-up", &error))?;
    let delivery = tributary_pipeline::Settings {
        retry_delays_ms: RETRY_DELAYS_MS.to_vec(),
        lane_concurrency: 8,
        total_concurrency: 64,
        redelivery: Default::default(),
        now,
    };
    let pipeline = Pipeline::start(store.clone(), log, routes.clone(), clients, delivery).await?;
    let settings = Settings { accounts, targets, quotas };
    Ok(Control::new(store, routes, pipeline, Sources { now, random }, settings))
}

#[allow(clippy::expect_used, reason = "a test without randomness cannot go on")]
fn random(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives randomness");
}
