//! Publishing and live streams (contract 4.1).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, StatusCode, header},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use support::{Person, TestApp, check};

/// Longest wait for something that must come.
const SOON: Duration = Duration::from_secs(5);

/// An open stream, read event by event.
struct Listener {
    body: BodyDataStream,
    text: String,
}

impl Listener {
    async fn open(app: &TestApp, token: &str, path: &str) -> Listener {
        let request = Request::get(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Body::empty())
            .unwrap();
        let response = app.raw(request).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let mut listener = Listener { body: response.into_body().into_data_stream(), text: String::new() };
        assert_eq!(listener.frame().await, ":ok");
        listener
    }

    async fn frame(&mut self) -> String {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let frame = self.text[..end].trim_start_matches('\n').to_owned();
                self.text.drain(..end + 2);
                return frame;
            }
            let chunk = tokio::time::timeout(SOON, self.body.next()).await.expect("an event in time");
            self.text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
    }

    /// The next event's name and JSON.
    async fn event(&mut self) -> (String, Value) {
        let frame = self.frame().await;
        let (name, data) = frame.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        (name.to_owned(), serde_json::from_str(data).unwrap())
    }
}

struct Scene {
    app: TestApp,
    me: Person,
    org: Value,
    product: Value,
    events: String,
}

async fn scene() -> Scene {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let product = app.product(&me, &org).await;
    let events = format!("/v1/products/{}/events", product["id"]);
    Scene { app, me, org, product, events }
}

#[tokio::test]
async fn an_event_is_heard_where_it_happened_and_where_its_owner_listens() {
    let s = scene().await;
    let device = s.app.device(&s.me, &s.product).await;
    let org = s.org["slug"].as_str().unwrap();
    let product = &s.product["id"];
    let paths = [
        format!("/v1/products/{product}/events/temp"),
        format!("/v1/products/{product}/devices/events"),
        format!("/v1/products/{product}/devices/{device}/events"),
        format!("/v1/orgs/{org}/events/temp/"),
        format!("/v1/orgs/{org}/products/{product}/events"),
        "/v1/events/temp".to_owned(),
    ];
    let mut listeners = Vec::new();
    for path in &paths {
        listeners.push(Listener::open(&s.app, &s.me.token, path).await);
    }
    let body = json!({"name": "temp/1", "data": "21", "ttl": 30, "as_device_id": device});
    assert_eq!(s.app.post(&s.me.token, &s.events, body).await, (200, json!({"ok": true})));
    for (path, listener) in paths.iter().zip(&mut listeners) {
        let (name, event) = listener.event().await;
        assert_eq!(name, "temp/1", "{path}");
        assert_eq!(
            event,
            json!({"data": "21", "ttl": 30, "published_at": "2023-11-14T22:13:20.000Z", "coreid": device, "productID": product}),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_stream_has_only_its_prefix_and_its_owner() {
    let s = scene().await;
    let other = s.app.signed_up_user().await;
    let mut own = Listener::open(&s.app, &s.me.token, "/v1/devices/events/a").await;
    let publish = async |who: &Person, name: &str| {
        let (status, _) = s.app.post(&who.token, "/v1/devices/events", json!({"name": name})).await;
        assert_eq!(status, 200);
    };
    publish(&s.me, "b").await;
    publish(&other, "a/theirs").await;
    s.app.post(&s.me.token, &s.events, json!({"name": "a/product"})).await;
    publish(&s.me, "a/mine").await;
    let (name, event) = own.event().await;
    assert_eq!((name.as_str(), &event["data"], &event["coreid"]), ("a/mine", &Value::Null, &json!("api")));
}

#[tokio::test]
async fn strangers_neither_publish_nor_listen_and_viewers_only_listen() {
    let s = scene().await;
    let stranger = s.app.signed_up_user().await;
    let viewer = s.app.member(&s.me, &s.org, "View-only").await;
    let org_events = format!("/v1/orgs/{}/events", s.org["id"].as_str().unwrap());
    for path in [&s.events, &org_events] {
        let event = json!({"name": "a"});
        assert_eq!(s.app.post(&stranger.token, path, event.clone()).await.0, 404, "{path}");
        assert_eq!(s.app.post(&viewer.token, path, event).await.0, 403, "{path}");
        assert_eq!(s.app.get(&stranger.token, path).await.0, 404, "{path}");
        Listener::open(&s.app, &viewer.token, path).await;
    }
}

#[tokio::test]
async fn every_wrong_event_is_refused_with_the_field() {
    let s = scene().await;
    let elsewhere = s.app.device(&s.me, &s.app.product(&s.me, &s.org).await).await;
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a".repeat(65)}), "name"),
        (json!({"name": "Spark"}), "name"),
        (json!({"name": "grün"}), "name"),
        (json!({"name": "a", "data": "x".repeat(16_385)}), "data"),
        (json!({"name": "a", "data": {"b": 1}}), "data"),
        (json!({"name": "a", "ttl": "soon"}), "ttl"),
        (json!({"name": "a", "as_device_id": "nobody"}), "as_device_id"),
        (json!({"name": "a", "as_device_id": elsewhere}), "as_device_id"),
    ] {
        let (status, answer) = s.app.post(&s.me.token, &s.events, body.clone()).await;
        assert_eq!((status, &answer["errors"][0]["field"]), (400, &json!(field)), "{body}: {answer}");
    }
}

async fn batch(s: &Scene, kind: &str, lines: &str) -> (u16, Value) {
    let path = format!("{}/batch", s.events);
    let request = Request::post(&path)
        .header(header::AUTHORIZATION, format!("Bearer {}", s.me.token))
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(lines.to_owned()))
        .unwrap();
    let answer = s.app.send(request).await;
    check("POST", &path, &answer);
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn a_batch_keeps_its_good_lines_and_answers_for_each() {
    let s = scene().await;
    let mut stream = Listener::open(&s.app, &s.me.token, &s.events).await;
    let lines = "{\"name\":\"one\",\"data\":\"1\"}\r\n\n{\"name\":\"\"}\nnonsense\n[1]\n{\"name\":\"two\"}\n";
    let (status, answer) = batch(&s, "application/x-ndjson; charset=utf-8", lines).await;
    assert_eq!((status, &answer["ok"]), (200, &json!(false)));
    let oks: Vec<bool> =
        answer["results"].as_array().unwrap().iter().map(|r| r["ok"].as_bool().unwrap()).collect();
    assert_eq!(oks, [true, false, false, false, true]);
    for result in answer["results"].as_array().unwrap().iter().filter(|r| r["ok"] == false) {
        assert!(result["error"].is_string() && result["error_description"].is_string(), "{result}");
    }
    assert_eq!(stream.event().await.0, "one");
    assert_eq!(stream.event().await.0, "two");
}

#[tokio::test]
async fn a_batch_has_at_most_a_thousand_lines_and_is_ndjson() {
    let s = scene().await;
    let lines = |n: usize| "{\"name\":\"a\"}\n".repeat(n);
    assert_eq!(batch(&s, "application/x-ndjson", &lines(1_000)).await.0, 200);
    let (status, answer) = batch(&s, "application/x-ndjson", &lines(1_001)).await;
    assert_eq!((status, &answer["error"]), (413, &json!("payload_too_large")));
    assert_eq!(batch(&s, "application/json", "{\"name\":\"a\"}").await.0, 415);
}

#[tokio::test]
async fn an_event_of_the_organization_happens_in_every_product() {
    let s = scene().await;
    let second = s.app.product(&s.me, &s.org).await;
    let org = s.org["slug"].as_str().unwrap();
    let mut stream = Listener::open(&s.app, &s.me.token, &format!("/v1/orgs/{org}/events")).await;
    let (status, _) =
        s.app.post(&s.me.token, &format!("/v1/orgs/{org}/events"), json!({"name": "all"})).await;
    assert_eq!(status, 200);
    let mut products =
        [stream.event().await.1["productID"].clone(), stream.event().await.1["productID"].clone()];
    products.sort_by_key(Value::as_i64);
    assert_eq!(products, [s.product["id"].clone(), second["id"].clone()]);
}

#[tokio::test]
async fn the_description_of_the_api_is_the_one_that_is_checked_in() {
    let checked_in = include_str!("../openapi.json");
    let present = tributary_api::openapi::json();
    assert!(
        checked_in.trim() == present.trim(),
        "the API changed; write its description anew: cargo run -- openapi > crates/api/openapi.json"
    );
}
