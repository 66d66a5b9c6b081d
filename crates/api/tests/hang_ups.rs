//! Committed means applied: whatever becomes of the caller, and while the store is busy (contract 4.3).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, header},
};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use support::{Person, TestApp, encode, unique};

/// Hang-ups of each kind.
const TRIES: u32 = 80;
/// How long a change may take to be in force after its caller hung up.
const SOON: Duration = Duration::from_secs(3);

/// Sends a request and hangs up a moment later: after so many looks at it, some of them with a pause between.
async fn hang_up(app: &TestApp, method: &str, token: &str, path: &str, body: Value, looks: u32) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(if body.is_null() { Body::empty() } else { Body::from(body.to_string()) })
        .unwrap();
    let mut answer = Box::pin(app.raw(request));
    for look in 0..=looks {
        if (&mut answer).now_or_never().is_some() {
            return;
        }
        match look % 4 {
            0 => tokio::time::sleep(Duration::from_micros(u64::from(looks) * 20)).await,
            _ => tokio::task::yield_now().await,
        }
    }
}

/// Waits until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = tokio::time::Instant::now() + SOON;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_taken_off_the_team_is_off_it_although_the_caller_hung_up() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let product = app.product(&me, &org).await;
    let (team, one) =
        (format!("/v1/orgs/{}/team", org["id"].as_str().unwrap()), format!("/v1/products/{}", product["id"]));
    let bob: Person = app.member(&me, &org, "Developer").await;
    let mut committed = 0;
    for looks in 0..TRIES {
        until("bob is on the team", async || app.get(&bob.token, &one).await.0 == 200).await;
        let member = format!("{team}/{}", encode(&bob.username));
        hang_up(&app, "DELETE", &me.token, &member, Value::Null, looks % 20).await;
        until("what is listed holds", async || {
            let (_, listed) = app.get(&me.token, &team).await;
            let is_listed =
                listed["team"].as_array().unwrap().iter().any(|m| m["username"] == bob.username.as_str());
            let may = app.get(&bob.token, &one).await.0 == 200;
            is_listed == may
        })
        .await;
        if app.get(&bob.token, &one).await.0 != 200 {
            committed += 1;
            let again = json!({"username": bob.username, "role": "Developer"});
            assert!(app.post(&me.token, &team, again).await.0 < 300);
        }
    }
    assert!(committed > 0, "some removals were committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_was_ended_is_ended_although_the_caller_hung_up() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    for looks in 0..TRIES {
        let granted = app.sign_in(&me.username, support::PASSWORD).await.json();
        let token = granted["access_token"].as_str().unwrap().to_owned();
        assert_eq!(app.get(&token, "/v1/user").await.0, 200);
        hang_up(&app, "DELETE", &token, "/v1/access_tokens/current", Value::Null, looks % 20).await;
        // It began, so it runs to its end.
        until("the token has ended", async || app.get(&token, "/v1/user").await.0 == 401).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_runs_although_the_caller_hung_up() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let mut to = support::destination::Destination::new(Some(200)).await;
    let base = to.url.trim_end_matches("/in").to_owned();
    let body = |n: u32| {
        let url = format!("{base}/{n}");
        json!({"event": "e", "url": url, "name": unique("hook"), "requestType": "POST"})
    };
    let (_, made) = app.post(&me.token, "/v1/integrations", body(0)).await;
    let path = format!("/v1/integrations/{}", made["id"].as_str().unwrap());
    for n in 1..=TRIES / 2 {
        hang_up(&app, "PUT", &me.token, &path, body(n), n % 20).await;
        until("the edit is committed", async || {
            let (_, shown) = app.get(&me.token, &path).await;
            shown["integration"]["url"].as_str().unwrap().ends_with(&format!("/{n}"))
        })
        .await;
        // What is stored now comes into force by itself.
        until("the edit is in force", async || {
            assert_eq!(app.post(&me.token, "/v1/devices/events", json!({"name": "e"})).await.0, 200);
            let request = to.request().await;
            request.starts_with(&format!("POST /{n} "))
        })
        .await;
    }
}
