//! Bodies and answers of integrations in every place (contract 3).
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp};

const MASK: &str = "[[SENSITIVE]]";

struct World {
    app: TestApp,
    me: Person,
    product: Value,
    /// The three lists: sandbox, product, organization.
    places: [String; 3],
}

async fn world() -> World {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let product = app.product(&me, &org).await;
    let places = [
        "/v1/integrations".to_owned(),
        format!("/v1/products/{}/integrations", product["id"]),
        format!("/v1/orgs/{}/integrations", org["id"].as_str().unwrap()),
    ];
    World { app, me, product, places }
}

fn fine() -> Value {
    json!({"event": "e", "url": "https://example.com/a"})
}

/// Bodies that are wrong in every place, and the fields that must be named.
fn wrong_everywhere() -> Vec<(Value, Vec<&'static str>)> {
    let with = |change: Value| {
        let mut body = fine();
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    vec![
        (json!({}), vec!["event", "url"]),
        (json!({"event": "", "url": "gopher://example.com"}), vec!["event", "url"]),
        (with(json!({"event": ["a"]})), vec!["event"]),
        (with(json!({"event": {"a": 1}})), vec!["event"]),
        (with(json!({"event": "e".repeat(65)})), vec!["event"]),
        (with(json!({"name": ["a"]})), vec!["name"]),
        (with(json!({"name": "n".repeat(201)})), vec!["name"]),
        (with(json!({"url": "not an address"})), vec!["url"]),
        (with(json!({"url": {"a": 1}})), vec!["url"]),
        (with(json!({"requestType": "PATCH"})), vec!["requestType"]),
        (with(json!({"integration_type": "Pigeon"})), vec!["integration_type"]),
        (with(json!({"integration_type": 5})), vec!["integration_type"]),
        (with(json!({"disabled": "perhaps"})), vec!["disabled"]),
        (with(json!({"rejectUnauthorized": {}})), vec!["rejectUnauthorized"]),
        (with(json!({"json": 5})), vec!["json"]),
        (with(json!({"form": ["a"]})), vec!["form"]),
        (with(json!({"body": {"a": 1}})), vec!["body"]),
        (with(json!({"headers": "X-A: b"})), vec!["headers"]),
        (with(json!({"query": "a=1"})), vec!["query"]),
        (with(json!({"auth": "u:p"})), vec!["auth"]),
        (with(json!({"body": "{{#never}}closed"})), vec!["body"]),
        (with(json!({"responseTopic": "{{#a}}"})), vec!["responseTopic"]),
        (with(json!({"headers": {"Authorization": MASK}})), vec!["headers.Authorization"]),
        (with(json!({"mine": "x".repeat(300_000)})), vec!["mine"]),
        (
            with(json!({"event": "", "url": "x", "requestType": "LOOK", "json": 5})),
            vec!["event", "json", "requestType", "url"],
        ),
    ]
}

fn fields(answer: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> =
        answer["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    fields
}

#[tokio::test]
async fn every_wrong_field_is_named_in_every_place_on_creation_and_edit_and_nothing_is_stored() {
    let w = world().await;
    for place in &w.places {
        let in_org = place.contains("/orgs/");
        let mut kept = fine();
        kept["product_ids"] = json!([w.product["id"]]);
        let (status, made) = w.app.post(&w.me.token, place, kept).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("{place}/{}", made["id"].as_str().unwrap());
        let before = w.app.get(&w.me.token, place).await.1;
        for (mut body, named) in wrong_everywhere() {
            let (status, answer) = w.app.put(&w.me.token, &path, body.clone()).await;
            assert_eq!((status, &answer["error"]), (400, &json!("invalid_integration")), "{body:.100}");
            assert_eq!(fields(&answer), named, "edit {place} {body:.100}");
            if in_org {
                body["product_ids"] = json!([w.product["id"]]);
            }
            let (status, answer) = w.app.post(&w.me.token, place, body.clone()).await;
            assert_eq!((status, &answer["error"]), (400, &json!("invalid_integration")), "{body:.100}");
            assert_eq!(fields(&answer), named, "create {place} {body:.100}");
        }
        assert_eq!(w.app.get(&w.me.token, place).await.1, before, "{place}");
        assert_eq!(w.app.delete(&w.me.token, &path).await.0, 204);
    }
}

#[tokio::test]
async fn the_products_and_the_configuration_are_judged_together() {
    let w = world().await;
    let (_, answer) = w.app.post(&w.me.token, &w.places[2], json!({"event": "e"})).await;
    assert_eq!(fields(&answer), ["product_ids", "url"]);
}

#[tokio::test]
async fn a_device_is_for_the_sandbox_alone() {
    let w = world().await;
    let id = "ABCDEF0123456789abcdef01";
    for spelling in ["deviceID", "deviceid", "deviceId"] {
        let mut body = fine();
        body[spelling] = json!(id);
        let (status, made) = w.app.post(&w.me.token, &w.places[0], body.clone()).await;
        assert_eq!((status, &made["deviceID"]), (201, &json!(id.to_lowercase())), "{spelling}");
        body["product_ids"] = json!([w.product["id"]]);
        for place in &w.places[1..] {
            let (status, answer) = w.app.post(&w.me.token, place, body.clone()).await;
            assert_eq!((status, fields(&answer)), (400, vec!["deviceID"]), "{spelling} {place}");
        }
    }
    let mut body = fine();
    body["deviceID"] = json!("my-device");
    assert_eq!(w.app.post(&w.me.token, &w.places[0], body).await.0, 400);
}

#[tokio::test]
async fn what_was_configured_comes_back_and_can_be_sent_back() {
    let w = world().await;
    let full = json!({
        "event": "e", "url": "https://example.com/a", "name": "n", "json": {"{{k}}": ["{{v}}", 1, null]},
        "headers": {"Authorization": "hush", "X-A": "b"}, "mine": {"z": [1, {"y": true}]}, "_": "note",
        "noDefaults": "true", "product_ids": [w.product["slug"]],
    });
    for place in &w.places {
        let (status, made) = w.app.post(&w.me.token, place, full.clone()).await;
        assert_eq!(status, 201, "{made}");
        let path = format!("{place}/{}", made["id"].as_str().unwrap());
        let (_, read) = w.app.get(&w.me.token, &path).await;
        let read = &read["integration"];
        for key in ["event", "url", "name", "json", "mine", "_"] {
            assert_eq!(read[key], full[key], "{key}");
        }
        assert_eq!((&read["noDefaults"], &read["integration_type"]), (&json!(true), &json!("Webhook")));
        assert_eq!(read["headers"], json!({"Authorization": MASK, "X-A": "b"}));
        assert_eq!((&read["logs"], &read["today"]["success"]), (&json!([]), &json!(0)));
        let (status, again) = w.app.put(&w.me.token, &path, read.clone()).await;
        assert_eq!(status, 200, "{again}");
        let mut expected = read.clone();
        expected.as_object_mut().unwrap().remove("logs");
        expected["updated_at"] = again["integration"]["updated_at"].clone();
        assert_eq!(again["integration"], expected);
        assert_eq!(w.app.delete(&w.me.token, &path).await.0, 204);
    }
}

#[tokio::test]
async fn forms_are_read_like_json() {
    let w = world().await;
    let token = [("authorization", &*format!("Bearer {}", w.me.token))];
    let form = format!(
        "eventName=e&url=https%3A%2F%2Fexample.com&form[a]=x&auth[username]=u&auth[password]=p&\
         rejectUnauthorized=false&product_ids[]={}",
        w.product["id"]
    );
    let made = w.app.form(&w.places[2], &token, &form).await;
    assert_eq!(made.status.as_u16(), 201);
    let made = made.json();
    assert_eq!((&made["event"], &made["form"]), (&json!("e"), &json!({"a": "x"})));
    assert_eq!(made["auth"], json!({"username": "u", "password": MASK}));
    assert_eq!(
        (&made["rejectUnauthorized"], &made["product_ids"]),
        (&json!(false), &json!([w.product["id"]]))
    );
}

#[tokio::test]
async fn an_edit_without_a_type_keeps_it_and_without_a_name_takes_the_default() {
    let w = world().await;
    let mut body = fine();
    body["name"] = json!("mine");
    let (_, made) = w.app.post(&w.me.token, &w.places[0], body).await;
    let path = format!("{}/{}", w.places[0], made["id"].as_str().unwrap());
    let change = json!({"event": "f", "url": "https://other.example.com/b"});
    let (_, answer) = w.app.put(&w.me.token, &path, change).await;
    let now = &answer["integration"];
    assert_eq!(
        (&now["name"], &now["integration_type"]),
        (&json!("f for other.example.com"), &json!("Webhook"))
    );
}

#[tokio::test]
async fn the_older_webhook_calls_work_on_webhooks() {
    let w = world().await;
    for base in ["/v1".to_owned(), format!("/v1/products/{}", w.product["id"])] {
        let path = format!("{base}/webhooks");
        let body =
            json!({"event": "e", "url": "https://example.com", "deviceId": null, "requestType": "GET"});
        let (status, made) = w.app.post(&w.me.token, &path, body).await;
        assert_eq!((status, &made["ok"], &made["requestType"]), (201, &json!(true), &json!("GET")));
        let one = format!("{path}/{}", made["id"].as_str().unwrap());
        assert!(made["hookUrl"].as_str().unwrap().ends_with(&one), "{made}");
        let (_, list) = w.app.get(&w.me.token, &path).await;
        assert_eq!(list[0]["id"], made["id"]);
        assert_eq!(w.app.get(&w.me.token, &one).await.1["webhook"]["id"], made["id"]);
        assert_eq!(w.app.delete(&w.me.token, &one).await.0, 204);
        assert_eq!(w.app.delete(&w.me.token, &one).await.0, 404);
        let other = json!({"event": "e", "integration_type": "GoogleMaps", "api_key": "k"});
        assert_eq!(w.app.post(&w.me.token, &path, other).await.0, 400);
    }
}

#[tokio::test]
async fn an_api_user_does_what_its_scopes_say() {
    let w = world().await;
    let team = format!("/v1/products/{}", w.product["id"]);
    let scopes = ["integrations:list", "integrations:create", "integrations:remove"];
    let robot = w.app.api_user(&w.me, &team, &scopes).await;
    let (status, made) = w.app.post(&robot.token, &w.places[1], fine()).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("{}/{}", w.places[1], made["id"].as_str().unwrap());
    assert_eq!(w.app.get(&robot.token, &w.places[1]).await.0, 200);
    assert_eq!(w.app.get(&robot.token, &path).await.0, 403);
    assert_eq!(w.app.put(&robot.token, &path, fine()).await.0, 403);
    assert_eq!(w.app.get(&robot.token, "/v1/integrations").await.0, 403, "nothing is its own");
    assert_eq!(w.app.get(&robot.token, &w.places[2]).await.0, 404, "nor is the organization");
    assert_eq!(w.app.delete(&robot.token, &path).await.0, 204);
}
