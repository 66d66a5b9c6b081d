//! A live stream ends with the right to it (contract 4.1).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, StatusCode, header},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::{PASSWORD, Person, TestApp, encode, pass};

/// Longest wait for an end that must come: sooner than the next sign of life on a quiet stream.
const SOON: Duration = Duration::from_secs(5);

struct Scene {
    app: TestApp,
    me: Person,
    org: Value,
    product: Value,
}

async fn scene() -> Scene {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let product = app.product(&me, &org).await;
    Scene { app, me, org, product }
}

impl Scene {
    fn path(&self) -> String {
        format!("/v1/products/{}/events", self.product["id"])
    }

    async fn listen(&self, token: &str, path: &str) -> BodyDataStream {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let response = self.app.raw(request).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let mut body = response.into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), ":ok\n\n");
        body
    }

    async fn publish(&self) {
        let event = json!({"name": "e", "data": "x"});
        assert_eq!(self.app.post(&self.me.token, &self.path(), event).await.0, 200);
    }
}

/// Whether it has ended, and nothing was heard before.
async fn ends(stream: &mut BodyDataStream) -> bool {
    match tokio::time::timeout(SOON, stream.next()).await {
        Ok(None) => true,
        Ok(Some(heard)) => panic!("heard {heard:?}"),
        Err(_) => false,
    }
}

async fn hears(stream: &mut BodyDataStream) -> bool {
    let heard = tokio::time::timeout(SOON, stream.next()).await;
    heard.is_ok_and(|heard| heard.is_some_and(|bytes| bytes.unwrap().starts_with(b"event: e\n")))
}

#[tokio::test]
async fn who_is_taken_off_the_team_hears_no_more_and_the_others_do() {
    let s = scene().await;
    let member = s.app.member(&s.me, &s.org, "Developer").await;
    let org = format!("/v1/orgs/{}/events", s.org["id"].as_str().unwrap());
    let device = s.app.device(&s.me, &s.product).await;
    let of_device = format!("/v1/products/{}/devices/{device}/events", s.product["id"]);
    let mut all = Vec::new();
    for path in [&s.path(), &org, &of_device, "/v1/events/e"] {
        all.push(s.listen(&member.token, path).await);
    }
    let (mut mine, mut own) =
        (s.listen(&s.me.token, &s.path()).await, s.listen(&member.token, "/v1/devices/events").await);
    let team = format!("/v1/orgs/{}/team/{}", s.org["id"].as_str().unwrap(), encode(&member.username));
    assert_eq!(s.app.delete(&s.me.token, &team).await.0, 204);
    for stream in &mut all {
        assert!(ends(stream).await);
    }
    s.publish().await;
    assert!(hears(&mut mine).await, "nothing changed for the owner");
    let sandbox = json!({"name": "e"});
    assert_eq!(s.app.post(&member.token, "/v1/devices/events", sandbox).await.0, 200);
    assert!(hears(&mut own).await, "its own events are its own");
}

#[tokio::test]
async fn another_role_that_may_still_hear_hears_on() {
    let s = scene().await;
    let member = s.app.member(&s.me, &s.org, "Developer").await;
    let mut stream = s.listen(&member.token, &s.path()).await;
    let team = format!("/v1/orgs/{}/team/{}", s.org["id"].as_str().unwrap(), encode(&member.username));
    assert_eq!(s.app.put(&s.me.token, &team, json!({"role": "View-only"})).await.0, 200);
    s.publish().await;
    assert!(hears(&mut stream).await);
}

#[tokio::test]
async fn an_api_user_that_is_deleted_or_gets_other_scopes_hears_no_more() {
    let s = scene().await;
    let product = format!("/v1/products/{}", s.product["id"]);
    for change in [None, Some(json!({"scopes": ["devices:list"]}))] {
        let user = s.app.api_user(&s.me, &product, &["events:get"]).await;
        let mut stream = s.listen(&user.token, &s.path()).await;
        let one = format!("{product}/team/{}", encode(&user.username));
        let status = match change {
            None => s.app.delete(&s.me.token, &one).await.0,
            Some(change) => s.app.put(&s.me.token, &one, change).await.0,
        };
        assert!(status < 300, "{status}");
        assert!(ends(&mut stream).await);
    }
}

#[tokio::test]
async fn a_token_that_ends_ends_its_streams_and_no_others() {
    let s = scene().await;
    let token = async || {
        let granted = s.app.sign_in(&s.me.username, PASSWORD).await.json();
        granted["access_token"].as_str().unwrap().to_owned()
    };
    let (revoked, other) = (token().await, token().await);
    let (mut first, mut second) =
        (s.listen(&revoked, &s.path()).await, s.listen(&other, "/v1/devices/events").await);
    let mut third = s.listen(&s.me.token, &s.path()).await;
    assert_eq!(s.app.delete(&revoked, "/v1/access_tokens/current").await.0, 200);
    assert!(ends(&mut first).await);
    let change = json!({"current_password": PASSWORD, "password": "battery staple"});
    assert_eq!(s.app.put(&s.me.token, "/v1/user", change).await.0, 200);
    assert!(ends(&mut second).await, "another password");
    s.publish().await;
    assert!(hears(&mut third).await, "the one that changed it stays");
    assert_eq!(s.app.delete(&s.me.token, "/v1/access_tokens").await.0, 200);
    assert!(ends(&mut third).await, "all tokens");
}

#[tokio::test]
async fn a_token_that_expires_hears_not_one_event_more() {
    let s = scene().await;
    let form = format!(
        "grant_type=password&client_id=particle&client_secret=particle&expires_in=60&username={}&password={PASSWORD}",
        encode(&s.me.username)
    );
    let granted = s.app.form("/oauth/token", &[], &form).await.json();
    let mut stream = s.listen(granted["access_token"].as_str().unwrap(), &s.path()).await;
    s.publish().await;
    assert!(hears(&mut stream).await);
    pass(61);
    s.publish().await;
    // One event may have been under way when it looked last.
    let next = tokio::time::timeout(SOON, stream.next()).await.unwrap();
    assert!(next.is_none() || ends(&mut stream).await);
}

#[tokio::test]
async fn a_product_or_a_device_that_goes_away_takes_its_streams_along() {
    let s = scene().await;
    let mut of_product = s.listen(&s.me.token, &s.path()).await;
    assert_eq!(s.app.delete(&s.me.token, &format!("/v1/products/{}", s.product["id"])).await.0, 204);
    assert!(ends(&mut of_product).await);
    let id = "e00fce680123456789abcdef";
    assert_eq!(s.app.post(&s.me.token, "/v1/devices", json!({"id": id})).await.0, 200);
    let mut of_device = s.listen(&s.me.token, &format!("/v1/devices/{id}/events")).await;
    assert_eq!(s.app.delete(&s.me.token, &format!("/v1/devices/{id}")).await.0, 200);
    assert!(ends(&mut of_device).await);
}
