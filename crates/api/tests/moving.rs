//! A product leaves: from a sandbox to an organization, or for good (contract 2.2).
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Person, TestApp, destination::Destination, unique};
use tokio::time::{sleep, timeout};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    app: TestApp,
    me: Person,
    org: Value,
    product: Value,
}

async fn world(plan: &str) -> World {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, plan).await;
    let product = app.product(&me, &Value::Null).await;
    World { app, me, org, product }
}

impl World {
    fn path(&self) -> String {
        format!("/v1/products/{}", self.product["id"])
    }

    fn org_path(&self) -> String {
        format!("/v1/orgs/{}", self.org["id"].as_str().unwrap())
    }

    async fn integration(&self, config: Value) -> Value {
        let (status, made) =
            self.app.post(&self.me.token, &format!("{}/integrations", self.path()), config).await;
        assert_eq!(status, 201, "{made}");
        made
    }

    async fn publish(&self) {
        let path = format!("{}/events", self.path());
        assert_eq!(self.app.post(&self.me.token, &path, json!({"name": "e", "data": "1"})).await.0, 200);
    }

    async fn go(&self) -> (u16, Value) {
        let path = format!("{}/move", self.path());
        self.app.post(&self.me.token, &path, json!({"org": self.org["slug"]})).await
    }

    async fn today(&self, path: &str) -> Value {
        let (status, body) = self.app.get(&self.me.token, path).await;
        assert_eq!(status, 200, "{body}");
        body["integration"]["today"].clone()
    }

    /// Reads until an integration counted so many of success, error and skipped.
    async fn until(&self, path: &str, expected: [u32; 3]) {
        let expected = json!({"success": expected[0], "error": expected[1], "skipped": expected[2]});
        let mut last = Value::Null;
        let read = async {
            loop {
                last = self.today(path).await;
                if last == expected {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, read).await.is_ok(), "{path} is not {expected} but {last}");
    }
}

#[tokio::test]
async fn a_product_moves_with_its_integrations_under_the_same_ids_and_its_history_goes_on() {
    let w = world("basic").await;
    let destination = Destination::new(Some(200)).await;
    let made = w.integration(json!({"event": "e", "url": destination.url})).await;
    let copy = format!("{}/integrations/{}", w.path(), made["id"].as_str().unwrap());
    w.publish().await;
    w.until(&copy, [1, 0, 0]).await;
    let guest = w.app.signed_up_user().await;
    let invite = json!({"username": guest.username, "role": "Developer"});
    assert_eq!(w.app.post(&w.me.token, &format!("{}/team", w.path()), invite).await.0, 201);
    let device = w.app.device(&w.me, &w.product).await;
    w.app.post(&w.me.token, "/v1/devices", json!({"id": device})).await;

    let (status, body) = w.go().await;
    assert_eq!((status, &body["ok"]), (200, &json!(true)), "{body}");
    assert_eq!(body["product"]["organization_id"], w.org["id"]);
    assert_eq!((&body["product"]["id"], &body["product"]["slug"]), (&w.product["id"], &w.product["slug"]));

    let (_, seen) = w.app.get(&w.me.token, &copy).await;
    let seen = &seen["integration"];
    assert_eq!((&seen["id"], &seen["shared"]), (&made["id"], &json!(false)));
    assert_eq!(seen["logs"].as_array().unwrap().len(), 1, "the log came along");
    let id = seen["org_integration_id"].as_str().unwrap();
    let in_org = format!("{}/integrations/{id}", w.org_path());
    w.publish().await;
    w.until(&in_org, [2, 0, 0]).await;
    w.until(&copy, [2, 0, 0]).await;
    let (_, list) = w.app.get(&w.me.token, &format!("{}/integrations", w.org_path())).await;
    assert_eq!(list[0]["product_ids"], json!([w.product["id"]]));

    assert_eq!(w.app.get(&w.me.token, "/v1/user/products").await.1["products"], json!([]));
    assert_eq!(w.app.get(&guest.token, &w.path()).await.0, 200, "its own team stays");
    let (_, own) = w.app.get(&w.me.token, "/v1/devices").await;
    assert_eq!(own[0]["id"], json!(device), "and so does a claim");
    let colleague = w.app.member(&w.me, &w.org, "Developer").await;
    assert_eq!(w.app.get(&colleague.token, &copy).await.0, 200, "the organization's team has it now");
    let other = w.app.product(&w.me, &w.org).await;
    let path = format!("{in_org}/products/{}", other["id"]);
    assert_eq!(w.app.put(&w.me.token, &path, Value::Null).await.0, 200, "it can be shared");
}

#[tokio::test]
async fn an_event_that_was_accepted_before_the_move_and_ends_after_it_is_counted_once() {
    let w = world("basic").await;
    let mut destination = Destination::new(None).await;
    let made = w.integration(json!({"event": "e", "url": destination.url})).await;
    let copy = format!("{}/integrations/{}", w.path(), made["id"].as_str().unwrap());
    w.publish().await;
    w.publish().await;
    destination.request().await;
    destination.request().await;
    assert_eq!(w.go().await.0, 200);
    // Both attempts began before the move. One ends; the other fails, and its next one is the organization's.
    destination.statuses.send(200).await.unwrap();
    destination.statuses.send(500).await.unwrap();
    destination.retry().await;
    destination.statuses.send(404).await.unwrap();
    w.until(&copy, [1, 1, 0]).await;
    let (_, seen) = w.app.get(&w.me.token, &copy).await;
    let id = seen["integration"]["org_integration_id"].as_str().unwrap();
    assert_eq!(w.today(&format!("{}/integrations/{id}", w.org_path())).await, w.today(&copy).await);
}

#[tokio::test]
async fn secrets_that_the_organization_lacks_are_named_and_its_own_are_used_after_the_move() {
    let w = world("basic").await;
    let mut destination = Destination::new(Some(200)).await;
    let url = format!("{}?a={{{{{{KEY_A}}}}}}&b={{{{{{KEY_B}}}}}}&c={{{{{{DATA}}}}}}", destination.url);
    w.integration(json!({"event": "e", "url": url})).await;
    let secret = |name: &str, value: &str| json!({"secret": {"name": name, "value": value}});
    for name in ["KEY_A", "KEY_B", "KEY_UNUSED"] {
        assert_eq!(w.app.post(&w.me.token, "/v1/secrets", secret(name, "of-me")).await.0, 201);
    }
    let secrets = format!("{}/secrets", w.org_path());
    assert_eq!(w.app.post(&w.me.token, &secrets, secret("KEY_A", "of-org")).await.0, 201);
    let (status, body) = w.go().await;
    assert_eq!((status, &body["error"]), (409, &json!("secrets_missing")));
    let text = body["error_description"].as_str().unwrap();
    assert!(text.contains(": KEY_B;"), "{text}");
    assert_eq!(w.app.get(&w.me.token, &w.path()).await.1["product"]["organization_id"], Value::Null);

    assert_eq!(w.app.post(&w.me.token, &secrets, secret("KEY_B", "of-org-too")).await.0, 201);
    assert_eq!(w.go().await.0, 200);
    w.publish().await;
    let request = destination.request().await;
    assert!(request.contains("a=of-org&b=of-org-too&c="), "{request}");
}

#[tokio::test]
async fn a_name_that_the_organization_has_is_named_and_nothing_moves() {
    let w = world("basic").await;
    let same = json!({"product": {"name": w.product["name"]}});
    assert_eq!(w.app.post(&w.me.token, &format!("{}/products", w.org_path()), same).await.0, 201);
    w.integration(json!({"event": "e", "url": "https://example.com"})).await;
    let (status, body) = w.go().await;
    assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("name")), "{body}");
    assert_eq!(w.app.get(&w.me.token, &w.path()).await.1["product"]["organization_id"], Value::Null);
    assert_eq!(
        w.app.get(&w.me.token, &format!("{}/integrations", w.org_path())).await.1,
        json!([]),
        "its integrations stay with it"
    );
}

#[tokio::test]
async fn who_may_not_move_is_told_who_may_and_strangers_see_nothing() {
    let w = world("basic").await;
    let target = format!("{}/move", w.path());
    let into = |org: &Value| json!({"org": org["id"]});
    let stranger = w.app.signed_up_user().await;
    assert_eq!(w.app.post(&stranger.token, &target, into(&w.org)).await.0, 404);
    let admin = w.app.signed_up_user().await;
    let role = json!({"username": admin.username, "role": "Administrator"});
    assert_eq!(w.app.post(&w.me.token, &format!("{}/team", w.path()), role).await.0, 201);
    let own = w.app.org(&admin, "basic").await;
    let (status, body) = w.app.post(&admin.token, &target, into(&own)).await;
    assert_eq!(status, 403);
    assert!(body["error_description"].as_str().unwrap().contains("owner of the sandbox"), "{body}");

    assert_eq!(w.app.post(&w.me.token, &target, into(&own)).await.0, 404, "an organization of others");
    let support = json!({"username": w.me.username, "role": "Support"});
    let team = format!("/v1/orgs/{}/team", own["id"].as_str().unwrap());
    assert_eq!(w.app.post(&admin.token, &team, support).await.0, 201);
    let (status, body) = w.app.post(&w.me.token, &target, into(&own)).await;
    assert_eq!(status, 403);
    assert!(body["error_description"].as_str().unwrap().contains("needs the role Developer"), "{body}");
    let (status, body) = w.app.post(&w.me.token, &target, json!({})).await;
    assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("org")));

    assert_eq!(w.go().await.0, 200);
    let second = w.app.org(&w.me, "basic").await;
    let (status, body) = w.app.post(&w.me.token, &target, into(&second)).await;
    assert_eq!((status, &body["error"]), (409, &json!("not_in_sandbox")), "{body}");
}

#[tokio::test]
async fn an_organization_on_the_plan_free_takes_a_product_whose_integrations_go_on_running() {
    let w = world("free").await;
    let mut destination = Destination::new(Some(200)).await;
    let made = w.integration(json!({"event": "e", "url": destination.url})).await;
    assert_eq!(w.go().await.0, 200);
    w.publish().await;
    destination.request().await;
    let copy = format!("{}/integrations/{}", w.path(), made["id"].as_str().unwrap());
    let edit = json!({"event": "e", "url": destination.url, "name": "edited"});
    assert_eq!(w.app.put(&w.me.token, &copy, edit.clone()).await.0, 200, "product scope is not gated");
    let (_, seen) = w.app.get(&w.me.token, &copy).await;
    let id = seen["integration"]["org_integration_id"].as_str().unwrap();
    let (status, body) = w.app.put(&w.me.token, &format!("{}/integrations/{id}", w.org_path()), edit).await;
    assert_eq!((status, &body["error"]), (403, &json!("plan_required")));
}

#[tokio::test]
async fn a_deleted_product_leaves_shared_integrations_and_takes_those_that_are_only_its_own() {
    let w = world("basic").await;
    let (leaving, staying) = (w.app.product(&w.me, &w.org).await, w.app.product(&w.me, &w.org).await);
    let list = format!("{}/integrations", w.org_path());
    let mut ids = Vec::new();
    for products in [json!([leaving["id"], staying["id"]]), json!([leaving["id"]])] {
        let body = json!({
            "event": "e", "url": "https://example.com", "name": unique("shared"), "product_ids": products,
        });
        let (status, made) = w.app.post(&w.me.token, &list, body).await;
        assert_eq!(status, 201, "{made}");
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let team = format!("/v1/products/{}/team", leaving["id"]);
    let (_, invited) = w.app.post(&w.me.token, &team, json!({"username": "new@example.com"})).await;
    let link = format!("/v1/invitations/{}", invited["invitation"]["token"].as_str().unwrap());
    assert_eq!(w.app.delete(&w.me.token, &format!("/v1/products/{}", leaving["id"])).await.0, 204);
    let (_, kept) = w.app.get(&w.me.token, &format!("{list}/{}", ids[0])).await;
    assert_eq!(kept["integration"]["product_ids"], json!([staying["id"]]));
    assert_eq!(kept["integration"]["shared"], json!(false));
    assert_eq!(w.app.get(&w.me.token, &format!("{list}/{}", ids[1])).await.0, 404);
    assert_eq!(w.app.post("", &link, json!({"password": support::PASSWORD})).await.0, 404);
}
