//! Organization integrations: one configuration on an explicit list of products (contract 1).
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp};

struct World {
    app: TestApp,
    owner: Person,
    org: Value,
    products: Vec<Value>,
}

async fn world(plan: &str) -> World {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, plan).await;
    let mut products = Vec::new();
    for _ in 0..3 {
        products.push(app.product(&owner, &org).await);
    }
    World { app, owner, org, products }
}

impl World {
    fn org_path(&self, rest: &str) -> String {
        format!("/v1/orgs/{}/integrations{rest}", self.org["id"].as_str().unwrap())
    }

    fn product_path(&self, at: usize, rest: &str) -> String {
        format!("/v1/products/{}/integrations{rest}", self.products[at]["id"])
    }

    fn ids(&self, which: &[usize]) -> Vec<Value> {
        which.iter().map(|at| self.products[*at]["id"].clone()).collect()
    }

    async fn share(&self, which: &[usize]) -> Value {
        let body = json!({"event": "e", "url": "https://example.com/a", "product_ids": self.ids(which)});
        let (status, made) = self.app.post(&self.owner.token, &self.org_path(""), body).await;
        assert_eq!(status, 201, "{made}");
        made
    }

    async fn look(&self, id: &Value) -> Value {
        let path = self.org_path(&format!("/{}", id.as_str().unwrap()));
        let (status, body) = self.app.get(&self.owner.token, &path).await;
        assert_eq!(status, 200, "{body}");
        body["integration"].clone()
    }

    /// The member id of a product in an integration of the organization.
    fn member(integration: &Value, product: &Value) -> String {
        let products = integration["products"].as_array().unwrap();
        let found = products.iter().find(|p| p["id"] == product["id"]).unwrap();
        found["integration_id"].as_str().unwrap().to_owned()
    }
}

const CONFIG: fn() -> Value = || json!({"event": "e", "url": "https://example.com/a"});

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

#[tokio::test]
async fn rule_1_every_listed_product_has_a_copy_under_its_own_id() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    assert_eq!(made["ok"], true);
    assert_eq!(made["hookUrl"].as_str().unwrap(), w.org_path(&format!("/{}", made["id"].as_str().unwrap())));
    assert_eq!((&made["name"], &made["shared"]), (&json!("e for example.com"), &json!(true)));
    for at in [0, 1] {
        let (_, list) = w.app.get(&w.owner.token, &w.product_path(at, "")).await;
        let copy = &list[0];
        assert_eq!(copy["id"], World::member(&made, &w.products[at]));
        assert_eq!((&copy["org_integration_id"], &copy["shared"]), (&made["id"], &json!(true)));
        assert_eq!(copy["product_ids"], json!(w.ids(&[0, 1])));
        assert!(copy.get("products").is_none());
    }
    let (_, none) = w.app.get(&w.owner.token, &w.product_path(2, "")).await;
    assert_eq!(none, json!([]));
    let slug = w.products[0]["slug"].as_str().unwrap();
    let (status, _) = w.app.get(&w.owner.token, &format!("/v1/products/{slug}/integrations")).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn rule_2_on_the_plan_free_every_write_in_organization_scope_is_plan_required_and_reading_works() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let id = made["id"].as_str().unwrap();
    let org = format!("/v1/orgs/{}", w.org["id"].as_str().unwrap());
    let member = World::member(&made, &w.products[0]);
    assert_eq!(w.app.put(&w.owner.token, &org, json!({"plan": "free"})).await.0, 200);
    let body = with(CONFIG(), "product_ids", json!(w.ids(&[0])));
    let product = format!("/{id}/products/{}", w.products[2]["id"]);
    for (method, rest, body) in [
        ("POST", String::new(), body.clone()),
        ("POST", String::new(), json!({})),
        ("PUT", format!("/{id}"), body.clone()),
        ("DELETE", format!("/{id}"), Value::Null),
        ("PUT", product.clone(), Value::Null),
        ("DELETE", product, Value::Null),
        ("POST", format!("/{id}/merge"), json!({"from": [id]})),
    ] {
        let (status, answer) = w.app.call(method, &w.owner.token, &w.org_path(&rest), body).await;
        assert_eq!((status, &answer["error"]), (403, &json!("plan_required")), "{method} {rest}");
        let text = answer["error_description"].as_str().unwrap();
        assert!(text.contains("basic") && text.contains("enterprise"), "{text}");
    }
    for rest in ["", &format!("/{id}"), &format!("/{id}/history"), "/duplicates"] {
        assert_eq!(w.app.get(&w.owner.token, &w.org_path(rest)).await.0, 200, "{rest}");
    }
    let stranger = w.app.signed_up_user().await;
    assert_eq!(w.app.post(&stranger.token, &w.org_path(""), body.clone()).await.0, 404, "access comes first");
    // The product's side is not gated.
    let change = with(CONFIG(), "name", json!("mine"));
    let separate = w.product_path(0, &format!("/{member}/separate"));
    assert_eq!(w.app.post(&w.owner.token, &separate, change).await.0, 201);
    assert_eq!(w.app.post(&w.owner.token, &w.product_path(2, ""), CONFIG()).await.0, 201);
}

#[tokio::test]
async fn rule_2_growth_is_the_old_word_for_basic() {
    let w = world("growth").await;
    w.share(&[0]).await;
}

#[tokio::test]
async fn rule_3_the_list_of_products_is_explicit_and_a_wrong_entry_is_named() {
    let w = world("basic").await;
    let other = w.app.signed_up_user().await;
    let foreign = w.app.product(&other, &Value::Null).await;
    let (mine, theirs) = (w.products[0]["id"].clone(), foreign["id"].clone());
    for (list, said) in [
        (Value::Null, "product_ids: list the products where the integration will execute".to_owned()),
        (json!([]), "product_ids: list the products where the integration will execute".to_owned()),
        (json!(["*"]), "product_ids: * is not allowed, list each product".to_owned()),
        (json!([mine, "*"]), "product_ids: * is not allowed, list each product".to_owned()),
        (json!("all"), "product_ids: all is not allowed, list each product".to_owned()),
        (
            json!([mine, 987_654_321]),
            "product_ids: 987654321 is not a product of this organization".to_owned(),
        ),
        (json!(["no-such"]), "product_ids: no-such is not a product of this organization".to_owned()),
        (json!([theirs]), format!("product_ids: {theirs} is not a product of this organization")),
        (json!([{"id": 1}]), "product_ids: {\"id\":1} names no product; give its id or slug".to_owned()),
    ] {
        let body = with(CONFIG(), "product_ids", list.clone());
        let (status, answer) = w.app.post(&w.owner.token, &w.org_path(""), body).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_integration")), "{list}");
        assert_eq!(answer["error_description"], said, "{list}");
        assert_eq!(answer["errors"][0]["field"], "product_ids");
    }
    assert_eq!(w.app.get(&w.owner.token, &w.org_path("")).await.1, json!([]));
}

#[tokio::test]
async fn rule_3_a_product_named_twice_is_one_member() {
    let w = world("basic").await;
    let (id, slug) = (w.products[0]["id"].clone(), w.products[0]["slug"].clone());
    let list = json!([id, slug, id.to_string()]);
    let (status, made) =
        w.app.post(&w.owner.token, &w.org_path(""), with(CONFIG(), "product_ids", list)).await;
    assert_eq!((status, &made["product_ids"]), (201, &json!([id])));
    assert_eq!(made["products"][0]["name"], w.products[0]["name"]);
}

#[tokio::test]
async fn rule_4_the_organizations_list_covers_shared_and_single_product_integrations() {
    let w = world("basic").await;
    let shared = w.share(&[0, 1]).await;
    support::pass(1);
    let (_, own) = w.app.post(&w.owner.token, &w.product_path(2, ""), CONFIG()).await;
    let (_, list) = w.app.get(&w.owner.token, &w.org_path("")).await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!((&list[0]["id"], &list[0]["shared"]), (&shared["id"], &json!(true)));
    assert_eq!((&list[1]["id"], &list[1]["shared"]), (&own["org_integration_id"], &json!(false)));
    assert_eq!(list[1]["product_ids"], json!(w.ids(&[2])));
    assert_eq!(list[1]["products"][0]["integration_id"], own["id"]);
    assert_eq!(list[0]["today"], json!({"success": 0, "error": 0, "skipped": 0}));
    // Neither shows in the caller's own sandbox.
    assert_eq!(w.app.get(&w.owner.token, "/v1/integrations").await.1, json!([]));
}

#[tokio::test]
async fn rule_5_the_history_is_told_in_all_and_for_each_product_by_name() {
    let w = world("basic").await;
    let made = w.share(&[1, 0]).await;
    let path = w.org_path(&format!("/{}/history?days=7", made["id"].as_str().unwrap()));
    let (status, body) = w.app.get(&w.owner.token, &path).await;
    assert_eq!(status, 200);
    let history = &body["history"];
    assert_eq!((&history["from"], &history["to"]), (&json!("2023-11-08"), &json!("2023-11-14")));
    assert_eq!(history["total"].as_array().unwrap().len(), 7);
    assert_eq!(history["total"][6], json!({"date": "2023-11-14", "success": 0, "error": 0, "skipped": 0}));
    for (at, product) in [(0, &w.products[1]), (1, &w.products[0])] {
        let shown = &history["products"][at];
        assert_eq!(
            (&shown["id"], &shown["name"], &shown["slug"]),
            (&product["id"], &product["name"], &product["slug"])
        );
        assert_eq!(shown["days"].as_array().unwrap().len(), 7);
    }
}

#[tokio::test]
async fn rule_6_an_edit_in_the_organization_replaces_the_configuration_for_all_products() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let path = w.org_path(&format!("/{}", made["id"].as_str().unwrap()));
    let body = json!({"event": "other", "url": "https://example.com/b", "query": {"a": "1"}});
    let (status, answer) = w.app.put(&w.owner.token, &path, body).await;
    assert_eq!(
        (status, &answer["integration"]["product_ids"]),
        (200, &json!(w.ids(&[0, 1]))),
        "members stay"
    );
    let (_, list) = w.app.get(&w.owner.token, &w.product_path(1, "")).await;
    assert_eq!((&list[0]["event"], &list[0]["query"]), (&json!("other"), &json!({"a": "1"})));
    let (_, answer) = w.app.put(&w.owner.token, &path, CONFIG()).await;
    assert!(answer["integration"].get("query").is_none(), "nothing is merged");
}

#[tokio::test]
async fn a_list_of_products_in_an_edit_becomes_the_list_and_members_that_stay_keep_their_ids() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let path = w.org_path(&format!("/{}", made["id"].as_str().unwrap()));
    let body = with(CONFIG(), "product_ids", json!(w.ids(&[2, 1])));
    let (status, answer) = w.app.put(&w.owner.token, &path, body).await;
    let now = &answer["integration"];
    assert_eq!((status, &now["product_ids"]), (200, &json!(w.ids(&[1, 2]))));
    assert_eq!(World::member(now, &w.products[1]), World::member(&made, &w.products[1]));
    assert_eq!(w.app.get(&w.owner.token, &w.product_path(0, "")).await.1, json!([]));
    let (status, answer) = w.app.put(&w.owner.token, &path, with(CONFIG(), "product_ids", json!([]))).await;
    assert_eq!((status, &answer["errors"][0]["field"]), (400, &json!("product_ids")));
}

#[tokio::test]
async fn rule_7_a_separated_product_keeps_its_id_and_the_others_stay_shared() {
    let w = world("basic").await;
    let made = w.share(&[0, 1, 2]).await;
    let member = World::member(&made, &w.products[1]);
    let path = w.product_path(1, &format!("/{member}/separate"));
    let (status, body) = w.app.post(&w.owner.token, &path, with(CONFIG(), "name", json!("ours"))).await;
    assert_eq!(status, 201, "{body}");
    let own = &body["integration"];
    assert_eq!((&own["id"], &own["shared"]), (&json!(member), &json!(false)));
    assert_eq!((&own["name"], &own["product_ids"]), (&json!("ours"), &json!(w.ids(&[1]))));
    assert_ne!(own["org_integration_id"], made["id"]);
    assert_eq!(w.look(&made["id"]).await["product_ids"], json!(w.ids(&[0, 2])));
    assert_eq!(World::member(&w.look(&own["org_integration_id"]).await, &w.products[1]), member);

    let (status, body) = w.app.post(&w.owner.token, &path, with(CONFIG(), "name", json!("again"))).await;
    assert_eq!((status, &body["error"]), (409, &json!("not_shared")));
    let edit = w.product_path(1, &format!("/{member}"));
    let (status, body) =
        w.app.put(&w.owner.token, &edit, with(CONFIG(), "url", json!("https://example.com/z"))).await;
    assert_eq!((status, &body["integration"]["url"]), (200, &json!("https://example.com/z")));
    assert_eq!(w.look(&made["id"]).await["url"], "https://example.com/a");
}

#[tokio::test]
async fn rule_7_a_separation_must_change_a_field_and_a_mask_or_a_default_spelled_out_is_no_change() {
    let w = world("basic").await;
    let full = json!({
        "event": "e", "url": "https://example.com/a", "headers": {"Authorization": "hush"},
        "product_ids": w.ids(&[0, 1]),
    });
    let (_, made) = w.app.post(&w.owner.token, &w.org_path(""), full).await;
    let member = World::member(&made, &w.products[0]);
    let path = w.product_path(0, &format!("/{member}/separate"));
    let base =
        json!({"event": "e", "url": "https://example.com/a", "headers": {"Authorization": "[[SENSITIVE]]"}});
    let (_, shown) = w.app.get(&w.owner.token, &w.product_path(0, &format!("/{member}"))).await;
    for same in [
        base.clone(),
        with(base.clone(), "requestType", json!("POST")),
        with(base.clone(), "rejectUnauthorized", json!("true")),
        with(base.clone(), "headers", json!({"Authorization": "hush"})),
        with(base.clone(), "name", json!("e for example.com")),
        with(base.clone(), "body", Value::Null),
        shown["integration"].clone(),
    ] {
        let (status, body) = w.app.post(&w.owner.token, &path, same.clone()).await;
        assert_eq!((status, &body["error"]), (400, &json!("nothing_changed")), "{same}");
    }
    let (status, body) = w.app.post(&w.owner.token, &path, json!({"url": "x"})).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_integration")));
    let other = with(base, "headers", json!({"Authorization": "other"}));
    assert_eq!(w.app.post(&w.owner.token, &path, other).await.0, 201, "another secret is a change");
}

#[tokio::test]
async fn rule_8_a_product_holds_integrations_of_its_own_beside_shared_ones() {
    let w = world("basic").await;
    let shared = w.share(&[0, 1]).await;
    let (status, own) = w.app.post(&w.owner.token, &w.product_path(0, ""), CONFIG()).await;
    assert_eq!((status, &own["shared"], &own["product_ids"]), (201, &json!(false), &json!(w.ids(&[0]))));
    let (_, list) = w.app.get(&w.owner.token, &w.product_path(0, "")).await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_ne!(own["org_integration_id"], shared["id"]);
}

#[tokio::test]
async fn a_shared_integration_cannot_be_edited_from_a_product_and_the_refusal_names_both_ways_out() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let path = w.product_path(0, &format!("/{}", World::member(&made, &w.products[0])));
    let (status, body) = w.app.put(&w.owner.token, &path, with(CONFIG(), "name", json!("no"))).await;
    assert_eq!((status, &body["error"]), (409, &json!("shared_integration")));
    let text = body["error_description"].as_str().unwrap();
    let edit = format!("PUT /v1/orgs/:org/integrations/{}", made["id"].as_str().unwrap());
    assert!(text.contains(&edit) && text.contains("/separate"), "{text}");
    assert_eq!(w.look(&made["id"]).await["name"], "e for example.com");
}

#[tokio::test]
async fn left_with_one_product_an_integration_is_edited_through_it_and_not_separated() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let member = World::member(&made, &w.products[0]);
    let other = w.product_path(1, &format!("/{}", World::member(&made, &w.products[1])));
    assert_eq!(w.app.delete(&w.owner.token, &other).await.0, 204);
    let path = w.product_path(0, &format!("/{member}"));
    assert_eq!(w.app.put(&w.owner.token, &path, with(CONFIG(), "name", json!("mine"))).await.0, 200);
    let (status, body) = w.app.post(&w.owner.token, &format!("{path}/separate"), CONFIG()).await;
    assert_eq!((status, &body["error"]), (409, &json!("not_shared")));
    assert_eq!(w.look(&made["id"]).await["name"], "mine");
}

#[tokio::test]
async fn products_are_added_and_removed_and_the_last_one_takes_the_integration_with_it() {
    let w = world("basic").await;
    let made = w.share(&[0]).await;
    let id = made["id"].as_str().unwrap();
    let product = |at: usize| w.org_path(&format!("/{id}/products/{}", w.products[at]["id"]));
    for _ in 0..2 {
        let (status, body) = w.app.put(&w.owner.token, &product(1), Value::Null).await;
        assert_eq!(
            (status, &body["integration"]["product_ids"]),
            (200, &json!(w.ids(&[0, 1]))),
            "again is no change"
        );
    }
    let slug = w.org_path(&format!("/{id}/products/{}", w.products[2]["slug"].as_str().unwrap()));
    assert_eq!(w.app.put(&w.owner.token, &slug, Value::Null).await.0, 200);
    assert_eq!(w.app.delete(&w.owner.token, &slug).await.0, 204);
    assert_eq!(w.app.delete(&w.owner.token, &slug).await.0, 404, "one that is none");
    assert_eq!(
        w.app.put(&w.owner.token, &w.org_path(&format!("/{id}/products/nope")), Value::Null).await.0,
        404
    );
    let member = World::member(&w.look(&made["id"]).await, &w.products[1]);
    assert_eq!(w.app.delete(&w.owner.token, &w.product_path(1, &format!("/{member}"))).await.0, 204);
    assert_eq!(w.look(&made["id"]).await["product_ids"], json!(w.ids(&[0])));
    assert_eq!(w.app.delete(&w.owner.token, &product(0)).await.0, 204);
    assert_eq!(w.app.get(&w.owner.token, &w.org_path(&format!("/{id}"))).await.0, 404);
}

#[tokio::test]
async fn deleting_in_the_organization_deletes_it_in_all_products() {
    let w = world("enterprise").await;
    let made = w.share(&[0, 1]).await;
    let path = w.org_path(&format!("/{}", made["id"].as_str().unwrap()));
    assert_eq!(w.app.delete(&w.owner.token, &path).await, (204, Value::Null));
    for at in [0, 1] {
        assert_eq!(w.app.get(&w.owner.token, &w.product_path(at, "")).await.1, json!([]));
    }
    assert_eq!(w.app.delete(&w.owner.token, &path).await.0, 404);
}

#[tokio::test]
async fn view_only_may_look_a_developer_may_write_and_a_stranger_sees_nothing() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let id = made["id"].as_str().unwrap();
    let member = World::member(&made, &w.products[0]);
    let viewer = w.app.member(&w.owner, &w.org, "View-only").await;
    let developer = w.app.member(&w.owner, &w.org, "Developer").await;
    let stranger = w.app.signed_up_user().await;
    let body = with(CONFIG(), "product_ids", json!(w.ids(&[0])));
    let reads = [
        w.org_path(""),
        w.org_path(&format!("/{id}")),
        w.org_path(&format!("/{id}/history")),
        w.product_path(0, ""),
    ];
    for path in &reads {
        assert_eq!(w.app.get(&viewer.token, path).await.0, 200, "{path}");
        assert_eq!(w.app.get(&stranger.token, path).await.0, 404, "{path}");
    }
    for (method, path, body) in [
        ("POST", w.org_path(""), body.clone()),
        ("PUT", w.org_path(&format!("/{id}")), CONFIG()),
        ("DELETE", w.org_path(&format!("/{id}")), Value::Null),
        ("POST", w.org_path(&format!("/{id}/merge")), json!({})),
        ("PUT", w.org_path(&format!("/{id}/products/{}", w.products[2]["id"])), Value::Null),
        ("DELETE", w.org_path(&format!("/{id}/products/{}", w.products[0]["id"])), Value::Null),
        ("POST", w.product_path(0, ""), CONFIG()),
        ("PUT", w.product_path(0, &format!("/{member}")), CONFIG()),
        ("DELETE", w.product_path(0, &format!("/{member}")), Value::Null),
        ("POST", w.product_path(0, &format!("/{member}/separate")), CONFIG()),
    ] {
        let (status, answer) = w.app.call(method, &viewer.token, &path, body.clone()).await;
        assert_eq!((status, &answer["error"]), (403, &json!("forbidden")), "{method} {path}");
        assert_eq!(w.app.call(method, &stranger.token, &path, body).await.0, 404, "{method} {path}");
    }
    assert_eq!(w.app.post(&developer.token, &w.org_path(""), body).await.0, 201);
    assert_eq!(w.look(&made["id"]).await["product_ids"], json!(w.ids(&[0, 1])));
}

#[tokio::test]
async fn an_id_reaches_an_integration_only_in_its_own_place() {
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let id = made["id"].as_str().unwrap();
    let member = World::member(&made, &w.products[0]);
    let (_, sandboxed) = w.app.post(&w.owner.token, "/v1/integrations", CONFIG()).await;
    let sandboxed = sandboxed["id"].as_str().unwrap();
    for path in [
        format!("/v1/integrations/{id}"),
        format!("/v1/integrations/{member}"),
        w.org_path(&format!("/{member}")),
        w.org_path(&format!("/{sandboxed}")),
        w.product_path(0, &format!("/{id}")),
        w.product_path(1, &format!("/{member}")),
        w.product_path(0, &format!("/{sandboxed}")),
        w.org_path("/not-an-id"),
        w.product_path(0, "/not-an-id"),
    ] {
        assert_eq!(w.app.get(&w.owner.token, &path).await.0, 404, "{path}");
        assert_eq!(w.app.put(&w.owner.token, &path, CONFIG()).await.0, 404, "{path}");
        assert_eq!(w.app.delete(&w.owner.token, &path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn of_two_products_that_separate_at_the_same_moment_one_does_and_the_other_is_left_alone_with_the_rest()
{
    let w = world("basic").await;
    let made = w.share(&[0, 1]).await;
    let separate = async |at: usize| {
        let path = w.product_path(at, &format!("/{}/separate", World::member(&made, &w.products[at])));
        w.app.post(&w.owner.token, &path, with(CONFIG(), "name", json!("ours"))).await
    };
    let (one, other) = tokio::join!(separate(0), separate(1));
    let mut answers = [(one.0, one.1["error"].clone()), (other.0, other.1["error"].clone())];
    answers.sort_by_key(|(status, _)| *status);
    assert_eq!(answers, [(201, Value::Null), (409, json!("not_shared"))]);
    assert_eq!(w.look(&made["id"]).await["product_ids"].as_array().unwrap().len(), 1);
}
