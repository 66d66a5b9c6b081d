//! Committed means applied, also while the store cannot be read, and whoever wrote it.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use serde_json::json;
use tributary_control::{
    Control, Error, Settings, Sources,
    accounts::NewUser,
    accounts_settings::{AccountSettings, Signup},
    tokens::TokenRequest,
};
use tributary_domain::Timestamp;
use tributary_pipeline::{EventLog, LogOptions, Pipeline, Routes};
use tributary_store::{Store, Vault};
use tributary_targets::{AddressPolicy, Clients, net::ClientSettings};

const NOW: Timestamp = Timestamp(1_704_110_400_000);
const SOON: Duration = Duration::from_secs(4);

async fn control(folder: &Path) -> Control {
    let store = Store::open(&folder.join("store.db"), Vault::new(&[7; 32])).await.unwrap();
    let addresses = Arc::new(AddressPolicy::default());
    let targets = tributary_targets::Settings { addresses: addresses.clone(), ..Default::default() };
    let routes = Routes::load(store.clone(), targets.clone()).await.unwrap();
    let log = EventLog::open(&folder.join("events.db"), LogOptions::default()).unwrap();
    let settings = ClientSettings { timeout: Duration::from_secs(1), addresses, ..ClientSettings::default() };
    let clients = Clients::new(&settings).unwrap();
    let now = || NOW;
    let delivery = tributary_pipeline::Settings {
        retry_delays_ms: vec![30_000],
        lane_concurrency: 1,
        total_concurrency: 1,
        redelivery: Default::default(),
        now,
    };
    let pipeline = Pipeline::start(store.clone(), log, routes.clone(), clients, delivery).await.unwrap();
    let accounts = AccountSettings { signup: Signup::Open, ..AccountSettings::default() };
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).unwrap();
    Control::new(
        store,
        routes,
        pipeline,
        Sources { now, random },
        Settings { accounts, targets, quotas: Default::default() },
    )
}

/// A token that has been used, so that it is known by heart.
async fn token(control: &Control) -> String {
    let person = json!({"username": "ada@example.com", "password": "correct horse"});
    let body = person.as_object().unwrap().clone();
    if !control.has_users().await.unwrap() {
        control.sign_up(NewUser::read(body.clone()).unwrap()).await.unwrap();
    }
    let mut form = body;
    form.insert("grant_type".into(), "password".into());
    let request = TokenRequest::read(Some(("particle".into(), "particle".into())), form).unwrap();
    let granted = control.grant_token(request, None::<IpAddr>).await.unwrap();
    control.authenticate(&granted.access_token).await.unwrap();
    granted.access_token
}

async fn until_ended(control: &Control, token: &str) {
    let until = tokio::time::Instant::now() + SOON;
    while !matches!(control.authenticate(token).await, Err(Error::InvalidToken)) {
        assert!(tokio::time::Instant::now() < until, "the token is still good");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_was_committed_while_changes_cannot_be_read_is_answered_as_done_and_comes_into_force() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(folder.path()).await;
    let token = token(&control).await;
    let other = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    other.busy_timeout(SOON).unwrap();
    // Its triggers go on writing it under its other name.
    other.execute_batch("ALTER TABLE changes RENAME TO changes_elsewhere").unwrap();
    let (used, ended) = (control.clone(), token.clone());
    let answer = control.see_through(async move { used.end_token(&ended).await }).await;
    assert!(answer.is_ok(), "it is committed, so no answer says that it is not: {answer:?}");
    let before = control.applied_change();
    other.execute_batch("ALTER TABLE changes_elsewhere RENAME TO changes").unwrap();
    until_ended(&control, &token).await;
    assert!(control.applied_change() > before);
}

#[tokio::test]
async fn a_write_that_nobody_sees_through_comes_into_force_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(folder.path()).await;
    let token = token(&control).await;
    control.end_token(&token).await.unwrap();
    until_ended(&control, &token).await;
    let elsewhere = self::token(&control).await;
    let other = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    other.busy_timeout(SOON).unwrap();
    other.execute_batch("DELETE FROM tokens").unwrap();
    until_ended(&control, &elsewhere).await;
}

#[tokio::test]
async fn a_write_whose_caller_is_gone_runs_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let control = control(folder.path()).await;
    let (token, (told, may)) = (token(&control).await, tokio::sync::oneshot::channel::<()>());
    let (used, ended) = (control.clone(), token.clone());
    let mut answer = Box::pin(control.see_through(async move {
        may.await.unwrap();
        used.end_token(&ended).await
    }));
    assert!(futures_util::FutureExt::now_or_never(&mut answer).is_none());
    drop(answer);
    control.authenticate(&token).await.unwrap();
    told.send(()).unwrap();
    until_ended(&control, &token).await;
}
