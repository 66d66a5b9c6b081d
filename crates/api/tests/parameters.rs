//! Parameters: shared integrations in which single products override single values.
#![allow(clippy::unwrap_used, clippy::panic)]

#[allow(dead_code, reason = "a part of it is used here")]
#[path = "support/receiver.rs"]
mod receiver;
mod support;

use std::time::Duration;

use receiver::Receiver;
use serde_json::{Value, json};
use support::{Person, TestApp};

const MASK: &str = "[[SENSITIVE]]";

struct World {
    app: TestApp,
    me: Person,
    org: String,
    products: Vec<Value>,
    receiver: Receiver,
}

impl World {
    async fn new() -> World {
        let app = TestApp::new().await;
        let me = app.signed_up_user().await;
        let org = app.org(&me, "basic").await;
        let mut products = Vec::new();
        for _ in 0..3 {
            products.push(app.product(&me, &org).await);
        }
        let org = format!("/v1/orgs/{}", org["id"].as_str().unwrap());
        World { app, me, org, products, receiver: Receiver::start().await }
    }

    async fn call(&self, method: &str, path: &str, body: Value, status: u16) -> Value {
        let (got, body) = self.app.call(method, &self.me.token, path, body).await;
        assert_eq!(got, status, "{method} {path}: {body}");
        body
    }

    /// A configuration whose body is the parameter SITE.
    fn config(&self, parameters: Value) -> Value {
        let mut config = json!({
            "event": "e", "url": self.receiver.url("/a"), "noDefaults": true, "body": "{{{SITE}}}",
        });
        config["parameters"] = parameters;
        config
    }

    fn on(&self, mut config: Value, which: &[usize]) -> Value {
        config["product_ids"] = which.iter().map(|at| self.products[*at]["id"].clone()).collect();
        config
    }

    /// Shares an integration with these parameters; its path.
    async fn share(&self, parameters: Value, which: &[usize]) -> String {
        let body = self.on(self.config(parameters), which);
        let made = self.call("POST", &format!("{}/integrations", self.org), body, 201).await;
        format!("{}/integrations/{}", self.org, made["id"].as_str().unwrap())
    }

    /// Overrides parameters on a product.
    async fn put(&self, path: &str, at: usize, body: Value, status: u16) -> Value {
        self.call("PUT", &format!("{path}/products/{}", self.products[at]["id"]), body, status).await
    }

    async fn look(&self, path: &str) -> Value {
        self.call("GET", path, Value::Null, 200).await["integration"].clone()
    }

    /// What the products override, in the order of the list.
    async fn overrides(&self, path: &str) -> Value {
        let seen = self.look(path).await;
        seen["products"].as_array().unwrap().iter().map(|product| product["parameters"].clone()).collect()
    }

    /// The body of a test run on a product.
    async fn sent(&self, path: &str, at: usize) -> String {
        let body = json!({"product_id": self.products[at]["id"]});
        let run = self.call("POST", &format!("{path}/test"), body, 200).await;
        assert_eq!(run["pass"], true, "{run}");
        self.receiver.all().pop().unwrap().body
    }

    /// An integration once its log has a row.
    async fn logged(&self, path: &str) -> Value {
        let wait = async {
            loop {
                let seen = self.look(path).await;
                if seen["logs"].as_array().is_some_and(|logs| !logs.is_empty()) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap()
    }

    /// The path of a product's copy of an integration.
    async fn copy(&self, path: &str, at: usize) -> String {
        let seen = self.look(path).await;
        let products = seen["products"].as_array().unwrap();
        let found = products.iter().find(|product| product["id"] == self.products[at]["id"]).unwrap();
        let id = found["integration_id"].as_str().unwrap();
        format!("/v1/products/{}/integrations/{id}", self.products[at]["id"])
    }
}

/// The wrong fields of a refusal.
fn fields(refusal: &Value) -> Vec<&str> {
    refusal["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_override_is_sent_for_its_product_alone_and_follows_every_other_change() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu"}), &[0, 1, 2]).await;
    w.put(&path, 1, json!({"parameters": {"SITE": "us"}}), 200).await;
    assert_eq!([w.sent(&path, 0).await, w.sent(&path, 1).await, w.sent(&path, 2).await], ["eu", "us", "eu"]);

    let mut edited = w.config(json!({"SITE": "asia"}));
    edited["body"] = "at {{{SITE}}}".into();
    w.call("PUT", &path, edited, 200).await;
    assert_eq!([w.sent(&path, 0).await, w.sent(&path, 1).await], ["at asia", "at us"]);
    assert_eq!(w.overrides(&path).await, json!([{}, {"SITE": "us"}, {}]));

    // The same through the product's own path, and for an event.
    let copy = w.copy(&path, 1).await;
    assert_eq!(w.sent(&copy, 1).await, "at us");
    let events = format!("/v1/products/{}/events", w.products[1]["id"]);
    let elsewhere = w.config(json!({"SITE": "asia"}));
    let elsewhere = json!({"url": w.receiver.url("/event"), "event": "e", "noDefaults": true,
        "body": elsewhere["body"], "parameters": elsewhere["parameters"]});
    w.call("PUT", &path, elsewhere, 200).await;
    w.call("POST", &events, json!({"name": "e", "data": r#"{"SITE":"forged"}"#}), 200).await;
    assert_eq!(w.receiver.first("/event").await.body, "us");
}

#[tokio::test]
async fn parameters_win_over_event_data_and_secrets_over_parameters() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu"}), &[0]).await;
    let forged = json!({"data": r#"{"SITE":"forged"}"#});
    assert_eq!(w.call("POST", &format!("{path}/test"), forged, 200).await["pass"], true);
    assert_eq!(w.receiver.all().pop().unwrap().body, "eu");
    w.put(&path, 0, json!({"parameters": {"SITE": "us"}}), 200).await;
    let secrets = format!("{}/secrets", w.org);
    w.call("POST", &secrets, json!({"secret": {"name": "SITE", "value": "from the secret"}}), 201).await;
    assert_eq!(w.sent(&path, 0).await, "from the secret");
}

#[tokio::test]
async fn every_wrong_parameter_is_named_and_nothing_is_stored() {
    let w = World::new().await;
    let all = format!("{}/integrations", w.org);
    let long = "A".repeat(65);
    let parameters = json!({
        "site": "a", "1A": "a", "A-B": "a", long.as_str(): "a", "PRODUCT_ID": "a", "SPARK_EVENT_NAME": "a", "N": 5, "L": ["a"],
        "BIG": "x".repeat(8 * 1024 + 1), "THE_KEY": MASK, "GOOD": "", "GONE": null,
    });
    let refused = w.call("POST", &all, w.on(w.config(parameters), &[0]), 400).await;
    let mut found = fields(&refused);
    found.sort_unstable();
    let named = ["site", "1A", "A-B", &long, "PRODUCT_ID", "SPARK_EVENT_NAME", "N", "L", "BIG", "THE_KEY"];
    let mut named: Vec<String> = named.iter().map(|name| format!("parameters.{name}")).collect();
    named.sort_unstable();
    assert_eq!(found, named);
    assert!(refused["errors"].to_string().contains("parameters.N: must be a text"), "{refused}");

    let many: serde_json::Map<String, Value> = (0..51).map(|n| (format!("P{n}"), "x".into())).collect();
    for wrong in [json!("text"), json!(["SITE"]), Value::Object(many)] {
        let refused = w.call("POST", &all, w.on(w.config(wrong), &[0]), 400).await;
        assert_eq!(fields(&refused), ["parameters"]);
    }
    assert_eq!(w.call("GET", &all, Value::Null, 200).await, json!([]));
}

#[tokio::test]
async fn the_object_replaces_the_overrides_null_removes_one_and_an_empty_body_leaves_them_alone() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu", "LINE": "1", "ROOM": "a"}), &[0]).await;
    for (body, overrides) in [
        (json!({"parameters": {"SITE": "us", "LINE": "2"}}), json!({"LINE": "2", "SITE": "us"})),
        (Value::Null, json!({"LINE": "2", "SITE": "us"})),
        (json!({}), json!({"LINE": "2", "SITE": "us"})),
        (json!({"parameters": null}), json!({"LINE": "2", "SITE": "us"})),
        (json!({"parameters": {"SITE": null, "LINE": "3"}}), json!({"LINE": "3"})),
        (json!({"parameters": {"ROOM": ""}}), json!({"ROOM": ""})),
        (json!({"parameters": {}}), json!({})),
    ] {
        let answer = w.put(&path, 0, body.clone(), 200).await;
        assert_eq!(answer["integration"]["products"][0]["parameters"], overrides, "{body}");
        assert_eq!(w.overrides(&path).await, json!([overrides]), "{body}");
    }
}

#[tokio::test]
async fn overriding_what_is_not_declared_or_with_no_text_is_refused_by_name_and_adds_no_product() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu", "LINE": "1", "A_TOKEN": "t"}), &[0]).await;
    let wrong = json!({"SITE": 5, "OTHER": "x", "LINE": "x".repeat(8 * 1024 + 1), "A_TOKEN": MASK});
    let refused = w.put(&path, 1, json!({"parameters": wrong}), 400).await;
    let mut found = fields(&refused);
    found.sort_unstable();
    let named = ["parameters.A_TOKEN", "parameters.LINE", "parameters.OTHER", "parameters.SITE"];
    assert_eq!(found, named, "{refused}");
    assert!(refused.to_string().contains("parameters.OTHER: is not declared"), "{refused}");
    assert_eq!(fields(&w.put(&path, 1, json!({"parameters": "SITE"}), 400).await), ["parameters"]);
    assert_eq!(w.look(&path).await["product_ids"], json!([w.products[0]["id"]]));
}

#[tokio::test]
async fn a_product_that_is_none_yet_is_added_with_its_overrides() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu"}), &[0]).await;
    w.put(&path, 1, json!({"parameters": {"SITE": "us"}}), 200).await;
    assert_eq!(w.overrides(&path).await, json!([{}, {"SITE": "us"}]));
    assert_eq!(w.sent(&path, 1).await, "us");
    // A product that leaves takes its overrides with it.
    w.call("DELETE", &format!("{path}/products/{}", w.products[1]["id"]), Value::Null, 204).await;
    w.put(&path, 1, Value::Null, 200).await;
    assert_eq!(w.overrides(&path).await, json!([{}, {}]));
}

#[tokio::test]
async fn lists_and_views_say_which_products_override_what() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu"}), &[0, 1]).await;
    w.put(&path, 1, json!({"parameters": {"SITE": "us"}}), 200).await;
    let all = format!("{}/integrations", w.org);
    for list in [all.clone(), format!("{all}?limit=10")] {
        let list = w.call("GET", &list, Value::Null, 200).await;
        assert_eq!(list[0]["parameters"], json!({"SITE": "eu"}));
        assert_eq!(list[0]["products"][0]["parameters"], json!({}));
        assert_eq!(list[0]["products"][1]["parameters"], json!({"SITE": "us"}));
    }
    for (at, overrides) in [(0, json!({})), (1, json!({"SITE": "us"}))] {
        let copy = w.look(&w.copy(&path, at).await).await;
        assert_eq!((&copy["parameters"], &copy["parameter_overrides"]), (&json!({"SITE": "eu"}), &overrides));
    }
    let plain = w.share(Value::Null, &[0]).await;
    let seen = w.look(&plain).await;
    assert!(seen.get("parameters").is_none() && seen["products"][0].get("parameters").is_none(), "{seen}");
    assert!(w.look(&w.copy(&plain, 0).await).await.get("parameter_overrides").is_none());
}

#[tokio::test]
async fn what_an_edit_no_longer_declares_is_no_longer_overridden() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu", "LINE": "1"}), &[0, 1]).await;
    w.put(&path, 1, json!({"parameters": {"SITE": "us", "LINE": "2"}}), 200).await;
    w.call("PUT", &path, w.config(json!({"LINE": "1"})), 200).await;
    assert_eq!(w.overrides(&path).await, json!([{}, {"LINE": "2"}]));
    w.call("PUT", &path, w.config(json!({"SITE": "eu", "LINE": "1"})), 200).await;
    assert_eq!(w.overrides(&path).await, json!([{}, {"LINE": "2"}]));
    assert_eq!(w.sent(&path, 1).await, "eu");
}

#[tokio::test]
async fn separating_starts_with_the_effective_values_and_still_needs_a_change() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu", "LINE": "1"}), &[0, 1, 2]).await;
    for at in [0, 1, 2] {
        w.put(&path, at, json!({"parameters": {"SITE": "us"}}), 200).await;
    }
    let separate = |copy: String| format!("{copy}/separate");
    let same = w.config(json!({"LINE": "1", "SITE": "eu"}));
    for same in [same.clone(), w.config(Value::Null), w.look(&w.copy(&path, 0).await).await] {
        let refused = w.call("POST", &separate(w.copy(&path, 0).await), same, 400).await;
        assert_eq!(refused["error"], "nothing_changed");
    }
    for (at, parameters, own) in [
        (0, Value::Null, json!({"SITE": "us", "LINE": "1"})),
        (1, json!({"SITE": "asia", "LINE": "1"}), json!({"SITE": "asia", "LINE": "1"})),
    ] {
        let mut body = w.config(parameters);
        body["name"] = "mine".into();
        let copy = w.copy(&path, at).await;
        let made = w.call("POST", &separate(copy.clone()), body, 201).await["integration"].clone();
        assert_eq!((&made["parameters"], &made["parameter_overrides"]), (&own, &json!({})));
        assert_eq!(w.sent(&copy, at).await, own["SITE"]);
    }
    assert_eq!(w.overrides(&path).await, json!([{"SITE": "us"}]), "the others are as they were");
}

#[tokio::test]
async fn merging_keeps_what_each_product_executes_with() {
    let w = World::new().await;
    let into = w.share(json!({"SITE": "eu"}), &[0]).await;
    let from = w.share(json!({"SITE": "eu"}), &[1, 2]).await;
    let other = w.share(json!({"SITE": "us"}), &[1]).await;
    w.put(&from, 1, json!({"parameters": {"SITE": "asia"}}), 200).await;
    let id = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let merge = format!("{into}/merge");
    let refused = w.call("POST", &merge, json!({"from": [id(&other)]}), 409).await;
    assert_eq!(refused["error"], "not_equal");
    assert!(refused["error_description"].as_str().unwrap().contains("in parameters"), "{refused}");
    w.call("POST", &merge, json!({"from": [id(&from)]}), 200).await;
    assert_eq!(w.overrides(&into).await, json!([{}, {"SITE": "asia"}, {}]));
    assert_eq!([w.sent(&into, 0).await, w.sent(&into, 1).await], ["eu", "asia"]);

    // On one product with different values there is no copy that does what both did.
    let twin = w.share(json!({"SITE": "eu"}), &[1]).await;
    let refused = w.call("POST", &merge, json!({"from": [id(&twin)]}), 409).await;
    assert_eq!(refused["error"], "not_equal");
    w.put(&twin, 1, json!({"parameters": {"SITE": "asia"}}), 200).await;
    w.call("POST", &merge, json!({"from": [id(&twin)]}), 200).await;
    assert_eq!(w.sent(&into, 1).await, "asia");
}

#[tokio::test]
async fn a_parameter_that_is_a_key_or_token_is_masked_everywhere_and_the_mask_keeps_it() {
    let w = World::new().await;
    let mut config = w.config(json!({"SITE": "eu", "A_KEY": "default-hush"}));
    config["body"] = "{{{A_KEY}}}".into();
    let made = w.call("POST", &format!("{}/integrations", w.org), w.on(config, &[0, 1]), 201).await;
    let path = format!("{}/integrations/{}", w.org, made["id"].as_str().unwrap());
    let put = w.put(&path, 1, json!({"parameters": {"A_KEY": "override-hush"}}), 200).await;
    assert_eq!([w.sent(&path, 0).await, w.sent(&path, 1).await], ["default-hush", "override-hush"]);
    let copy = w.copy(&path, 1).await;
    let own = w.logged(&copy).await;
    let view = w.look(&path).await;
    assert_eq!(own["logs"][0]["request"]["body"], MASK, "{own}");
    let list = w.call("GET", &format!("{}/integrations", w.org), Value::Null, 200).await;
    for answer in [&made, &put, &view, &own, &list] {
        assert!(!answer.to_string().contains("hush"), "{answer}");
    }
    assert_eq!(view["products"][1]["parameters"], json!({"A_KEY": MASK}));
    assert_eq!(own["parameter_overrides"], json!({"A_KEY": MASK}));

    w.put(&path, 1, json!({"parameters": {"A_KEY": MASK, "SITE": "us"}}), 200).await;
    w.call("PUT", &path, view, 200).await;
    assert_eq!([w.sent(&path, 0).await, w.sent(&path, 1).await], ["default-hush", "override-hush"]);

    let mut body = own;
    body["name"] = "mine".into();
    w.call("POST", &format!("{copy}/separate"), body, 201).await;
    assert_eq!(w.sent(&copy, 1).await, "override-hush", "the mask stands for what the product had");
}

#[tokio::test]
async fn sandboxes_and_products_declare_parameters_too() {
    let w = World::new().await;
    for place in ["/v1".to_owned(), format!("/v1/products/{}", w.products[0]["id"])] {
        let path = format!("{place}/integrations");
        let made = w.call("POST", &path, w.config(json!({"SITE": "here"})), 201).await;
        let path = format!("{path}/{}", made["id"].as_str().unwrap());
        assert_eq!(w.look(&path).await["parameters"], json!({"SITE": "here"}));
        assert_eq!(w.sent(&path, 0).await, "here");
    }
}

#[tokio::test]
async fn an_override_outlives_an_edit_through_the_product_once_it_is_alone() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu"}), &[0]).await;
    w.put(&path, 0, json!({"parameters": {"SITE": "us"}}), 200).await;
    let copy = w.copy(&path, 0).await;
    let mut seen = w.look(&copy).await;
    seen["body"] = "at {{{SITE}}}".into();
    w.call("PUT", &copy, seen, 200).await;
    assert_eq!(w.sent(&copy, 0).await, "at us");
}

#[tokio::test]
async fn a_preview_shows_what_each_product_overrides() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu"}), &[0, 1]).await;
    w.put(&path, 1, json!({"parameters": {"SITE": "us"}}), 200).await;
    let mut config = w.config(json!({"SITE": "asia"}));
    let id = path.rsplit('/').next().unwrap();
    config["body"] = "at {{{SITE}}}".into();
    let body = json!({"id": id, "integration": config, "events": [{"name": "e", "data": "x"}]});
    let preview = w.call("POST", &format!("{}/integrations/preview", w.org), body, 200).await;
    let products = preview["products"].as_array().unwrap();
    let bodies: Vec<&Value> = products.iter().map(|one| &one["events"][0]["request"]["body"]).collect();
    assert_eq!(bodies, ["at asia", "at us"], "{preview}");
}

#[tokio::test]
async fn overriding_needs_the_plan_the_right_and_an_integration_that_is_there() {
    let w = World::new().await;
    let path = w.share(json!({"SITE": "eu"}), &[0]).await;
    let body = json!({"parameters": {"SITE": "us"}});
    let put = format!("{path}/products/{}", w.products[0]["id"]);
    let stranger = w.app.signed_up_user().await;
    assert_eq!(w.app.put(&stranger.token, &put, body.clone()).await.0, 404);
    let org = json!({"id": w.org.rsplit('/').next().unwrap()});
    let viewer = w.app.member(&w.me, &org, "View-only").await;
    assert_eq!(w.app.put(&viewer.token, &put, body.clone()).await.0, 403);
    w.call("PUT", &format!("{path}/products/999999"), body.clone(), 404).await;
    w.call("PUT", &w.org, json!({"plan": "free"}), 200).await;
    let refused = w.call("PUT", &put, body, 403).await;
    assert_eq!(refused["error"], "plan_required");
}
