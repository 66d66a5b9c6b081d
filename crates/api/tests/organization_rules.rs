//! The rules of organization integrations and of their model (contract 1), one test for each sentence that is not the name
//! of a test in `integrations_*.rs` already.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Person, TestApp, destination::Destination};
use tokio::time::{sleep, timeout};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    app: TestApp,
    me: Person,
    org: String,
    products: [Value; 3],
}

async fn world(plan: &str) -> World {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, plan).await;
    let products = [app.product(&me, &org).await, app.product(&me, &org).await, app.product(&me, &org).await];
    World { app, me, org: format!("/v1/orgs/{}", org["id"].as_str().unwrap()), products }
}

impl World {
    fn of(&self, at: usize) -> String {
        format!("/v1/products/{}", self.products[at]["id"])
    }

    fn in_org(&self, rest: &str) -> String {
        format!("{}/integrations{rest}", self.org)
    }

    async fn call(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let (got, answer) = self.app.call(method, &self.me.token, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
        answer
    }

    async fn look(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null, 200).await
    }

    /// Shares a webhook among these products; its id.
    async fn share(&self, url: &str, which: &[usize]) -> String {
        let ids: Vec<&Value> = which.iter().map(|at| &self.products[*at]["id"]).collect();
        let body = json!({"event": "e", "url": url, "product_ids": ids});
        self.call("POST", &self.in_org(""), body, 201).await["id"].as_str().unwrap().to_owned()
    }

    /// The id of the copy that a product has of an integration of the organization.
    async fn copy(&self, at: usize, id: &str) -> String {
        let list = self.look(&format!("{}/integrations", self.of(at))).await;
        let found = list.as_array().unwrap().iter().find(|one| one["org_integration_id"] == json!(id));
        found.unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn publish(&self, at: usize, body: Value) {
        self.call("POST", &format!("{}/events", self.of(at)), body, 200).await;
    }

    /// Reads until so many successes of today are told at `path`.
    async fn successes(&self, path: &str, expected: u64) {
        let mut last = Value::Null;
        let read = async {
            loop {
                last = self.look(path).await["integration"]["today"]["success"].clone();
                if last == json!(expected) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, read).await.is_ok(), "{path}: {last} is not {expected}");
    }
}

fn event() -> Value {
    json!({"name": "e", "data": "1"})
}

#[tokio::test]
async fn rule_1_it_executes_in_every_listed_product_and_in_no_other() {
    let w = world("basic").await;
    let mut destination = Destination::new(Some(200)).await;
    let id = w.share(&destination.url, &[0, 1]).await;
    for at in [2, 0, 1] {
        w.publish(at, event()).await;
    }
    destination.request().await;
    destination.request().await;
    w.successes(&w.in_org(&format!("/{id}")), 2).await;
    let history = w.look(&w.in_org(&format!("/{id}/history?days=1"))).await;
    let told: Vec<&Value> =
        history["history"]["products"].as_array().unwrap().iter().map(|p| &p["id"]).collect();
    assert_eq!(told, [&w.products[0]["id"], &w.products[1]["id"]]);
}

#[tokio::test]
async fn rule_1_it_also_works_for_unclaimed_devices() {
    let w = world("basic").await;
    let mut destination = Destination::new(Some(200)).await;
    w.share(&destination.url, &[0]).await;
    let device = w.app.device(&w.me, &w.products[0]).await;
    let path = format!("{}/devices/{device}", w.of(0));
    assert_eq!(w.look(&path).await["user_id"], Value::Null, "nobody claimed it");
    w.publish(0, json!({"name": "e", "data": "1", "as_device_id": device})).await;
    assert!(destination.request().await.contains(&device));
}

#[tokio::test]
async fn rule_2_what_was_created_before_a_downgrade_goes_on_running_and_product_scope_is_not_gated() {
    let w = world("enterprise").await;
    let mut destination = Destination::new(Some(200)).await;
    let id = w.share(&destination.url, &[0, 1]).await;
    w.call("PUT", &w.org, json!({"plan": "free"}), 200).await;
    w.publish(1, event()).await;
    destination.request().await;
    w.successes(&w.in_org(&format!("/{id}")), 1).await;
    let body = json!({"event": "e", "url": destination.url, "product_ids": [w.products[0]["id"]]});
    assert_eq!(w.call("POST", &w.in_org(""), body, 403).await["error"], json!("plan_required"));
    let own = json!({"event": "own", "url": destination.url});
    w.call("POST", &format!("{}/integrations", w.of(0)), own, 201).await;
    let copy = format!("{}/integrations/{}", w.of(1), w.copy(1, &id).await);
    w.call("DELETE", &copy, Value::Null, 204).await;
}

#[tokio::test]
async fn rule_4_the_list_says_on_how_many_products_each_executes_with_todays_traffic_summed_over_them() {
    let w = world("basic").await;
    let destination = Destination::new(Some(200)).await;
    let shared = w.share(&destination.url, &[0, 1, 2]).await;
    let own = json!({"event": "e", "url": destination.url});
    w.call("POST", &format!("{}/integrations", w.of(0)), own, 201).await;
    for at in [0, 1, 1, 2] {
        w.publish(at, event()).await;
    }
    w.successes(&w.in_org(&format!("/{shared}")), 4).await;
    let list = w.look(&w.in_org("")).await;
    let mut told: Vec<(usize, u64)> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["product_ids"].as_array().unwrap().len(), one["today"]["success"].as_u64().unwrap()))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [(1, 1), (3, 4)]);
}

#[tokio::test]
async fn rule_6_an_edit_applies_to_every_product_from_the_next_event_on() {
    let w = world("basic").await;
    let (mut old, mut new) = (Destination::new(Some(200)).await, Destination::new(Some(200)).await);
    let id = w.share(&old.url, &[0, 1, 2]).await;
    w.publish(0, event()).await;
    old.request().await;
    w.call("PUT", &w.in_org(&format!("/{id}")), json!({"event": "e", "url": new.url}), 200).await;
    for at in [0, 1, 2] {
        w.publish(at, event()).await;
        new.request().await;
    }
    w.successes(&w.in_org(&format!("/{id}")), 4).await;
    assert!(old.requests.try_recv().is_err(), "the old address heard of it");
}

#[tokio::test]
async fn rule_7_the_separated_product_runs_its_own_configuration_and_the_others_the_shared_one() {
    let w = world("basic").await;
    let (mut shared, mut own) = (Destination::new(Some(200)).await, Destination::new(Some(200)).await);
    let id = w.share(&shared.url, &[0, 1, 2]).await;
    let copy = w.copy(1, &id).await;
    let separate = format!("{}/integrations/{copy}/separate", w.of(1));
    w.call("POST", &separate, json!({"event": "e", "url": own.url}), 201).await;
    w.publish(1, event()).await;
    own.request().await;
    for at in [0, 2] {
        w.publish(at, event()).await;
        shared.request().await;
    }
    w.successes(&w.in_org(&format!("/{id}")), 2).await;
    assert!(own.requests.try_recv().is_err() && shared.requests.try_recv().is_err());
}

#[tokio::test]
async fn rule_8_own_and_shared_integrations_of_a_product_both_execute() {
    let w = world("basic").await;
    let (mut shared, mut own) = (Destination::new(Some(200)).await, Destination::new(Some(200)).await);
    w.share(&shared.url, &[0, 1]).await;
    w.call("POST", &format!("{}/integrations", w.of(0)), json!({"event": "e", "url": own.url}), 201).await;
    w.publish(0, event()).await;
    shared.request().await;
    own.request().await;
}

#[tokio::test]
async fn model_an_integration_of_a_product_and_of_its_organization_is_one_thing_seen_from_two_places() {
    let w = world("basic").await;
    let config = json!({"event": "e", "url": "https://example.com"});
    let made = w.call("POST", &format!("{}/integrations", w.of(0)), config, 201).await;
    let id = made["org_integration_id"].as_str().unwrap();
    assert_ne!(made["id"], json!(id), "through the product the id is the member's");
    let seen = &w.look(&w.in_org(&format!("/{id}"))).await["integration"];
    assert_eq!((&seen["id"], &seen["products"][0]["integration_id"]), (&json!(id), &made["id"]));
    assert_eq!((&seen["product_ids"], &seen["shared"]), (&json!([w.products[0]["id"]]), &json!(false)));
    let edit = json!({"event": "e", "url": "https://example.com/edited"});
    w.call("PUT", &w.in_org(&format!("/{id}")), edit, 200).await;
    let copy = format!("{}/integrations/{}", w.of(0), made["id"].as_str().unwrap());
    assert_eq!(w.look(&copy).await["integration"]["url"], json!("https://example.com/edited"));
    w.call("PUT", &w.in_org(&format!("/{id}/products/{}", w.products[1]["id"])), Value::Null, 200).await;
    let seen = &w.look(&copy).await["integration"];
    assert_eq!((&seen["id"], &seen["shared"]), (&made["id"], &json!(true)));
}

#[tokio::test]
async fn model_a_products_history_is_continuous_across_separating_and_merging_and_sums_never_fall() {
    let w = world("basic").await;
    let destination = Destination::new(Some(200)).await;
    let id = w.share(&destination.url, &[0, 1]).await;
    let in_org = w.in_org(&format!("/{id}"));
    let copy_id = w.copy(0, &id).await;
    let copy = format!("{}/integrations/{copy_id}", w.of(0));
    w.publish(0, event()).await;
    w.publish(1, event()).await;
    w.successes(&in_org, 2).await;

    let named = json!({"event": "e", "url": destination.url, "name": "ours"});
    let own = w.call("POST", &format!("{copy}/separate"), named, 201).await;
    w.publish(0, event()).await;
    w.successes(&copy, 2).await;
    w.successes(&in_org, 2).await;
    let own_id = own["integration"]["org_integration_id"].as_str().unwrap();
    w.successes(&w.in_org(&format!("/{own_id}")), 1).await;

    w.call("POST", &format!("{in_org}/merge"), json!({"from": [own_id]}), 200).await;
    w.successes(&in_org, 3).await;
    w.publish(0, event()).await;
    w.successes(&copy, 3).await;
    w.successes(&in_org, 4).await;
    assert_eq!(w.copy(0, &id).await, copy_id);
}

#[tokio::test]
async fn model_adding_and_removing_products_changes_members_and_never_configuration() {
    let w = world("basic").await;
    let id = w.share("https://example.com/a", &[0]).await;
    let path = w.in_org(&format!("/{id}"));
    let config = |seen: &Value| {
        let mut config = seen["integration"].as_object().unwrap().clone();
        for told in ["product_ids", "products", "shared"] {
            config.remove(told);
        }
        config
    };
    let before = config(&w.look(&path).await);
    for at in [1, 2] {
        w.call("PUT", &format!("{path}/products/{}", w.products[at]["id"]), Value::Null, 200).await;
        assert_eq!(config(&w.look(&path).await), before);
    }
    for at in [0, 1] {
        w.call("DELETE", &format!("{path}/products/{}", w.products[at]["id"]), Value::Null, 204).await;
        assert_eq!(config(&w.look(&path).await), before);
    }
    w.call("DELETE", &format!("{path}/products/{}", w.products[2]["id"]), Value::Null, 204).await;
    w.call("GET", &path, Value::Null, 404).await;
}

#[tokio::test]
async fn model_identical_integrations_are_never_merged_by_themselves_and_all_of_them_execute() {
    let w = world("basic").await;
    let mut destination = Destination::new(Some(200)).await;
    let (first, second) = (w.share(&destination.url, &[0]).await, w.share(&destination.url, &[0]).await);
    w.publish(0, event()).await;
    destination.request().await;
    destination.request().await;
    let groups = w.look(&w.in_org("/duplicates")).await["duplicates"].clone();
    let mut told: Vec<&str> =
        groups[0]["integrations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    let mut ids = [first.as_str(), &second];
    told.sort_unstable();
    ids.sort_unstable();
    assert_eq!(told, ids);
    assert_eq!(w.look(&w.in_org("")).await.as_array().unwrap().len(), 2);
}
