//! Equal integrations are reported and merged, never by themselves (contract 1.2).
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp};

struct World {
    app: TestApp,
    owner: Person,
    org: String,
    products: [Value; 2],
}

async fn world() -> World {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, "enterprise").await;
    let products = [app.product(&owner, &org).await, app.product(&owner, &org).await];
    World { app, owner, org: format!("/v1/orgs/{}/integrations", org["slug"].as_str().unwrap()), products }
}

impl World {
    /// Creates an integration of one product; its id in the organization and in the product.
    async fn own(&self, at: usize, config: Value) -> (String, String) {
        support::pass(1);
        let path = format!("/v1/products/{}/integrations", self.products[at]["id"]);
        let (status, made) = self.app.post(&self.owner.token, &path, config).await;
        assert_eq!(status, 201, "{made}");
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        (text("org_integration_id"), text("id"))
    }

    async fn merge(&self, into: &str, from: Value) -> (u16, Value) {
        self.app.post(&self.owner.token, &format!("{}/{into}/merge", self.org), json!({"from": from})).await
    }

    async fn duplicates(&self) -> Value {
        let (status, body) = self.app.get(&self.owner.token, &format!("{}/duplicates", self.org)).await;
        assert_eq!(status, 200, "{body}");
        body["duplicates"].clone()
    }
}

fn config() -> Value {
    json!({"event": "e", "url": "https://example.com/a", "headers": {"Authorization": "hush"}})
}

#[tokio::test]
async fn equal_after_normalising_is_a_duplicate_whatever_the_names() {
    let w = world().await;
    let (first, _) = w.own(0, config()).await;
    let spelled = json!({
        "url": "https://example.com/a", "requestType": "POST", "disabled": false, "body": null, "name": "mine",
        "headers": {"Authorization": "hush"}, "event": "e",
    });
    let (second, _) = w.own(1, spelled).await;
    let mut other = config();
    other["headers"]["Authorization"] = json!("different");
    w.own(1, other).await;

    let groups = w.duplicates().await;
    assert_eq!(groups.as_array().unwrap().len(), 1, "{groups}");
    let shown = &groups[0]["integrations"];
    assert_eq!((&shown[0]["id"], &shown[1]["id"]), (&json!(first), &json!(second)));
    assert_eq!(shown[1]["product_ids"], json!([w.products[1]["id"]]));
    assert_eq!(shown[1]["products"][0]["name"], w.products[1]["name"]);
    assert_eq!((&shown[1]["name"], &groups[0]["names_differ"]), (&json!("mine"), &json!(true)));
    assert!(!groups.to_string().contains("hush"));
}

#[tokio::test]
async fn merged_members_move_over_with_their_ids_and_the_others_are_gone() {
    let w = world().await;
    let (into, kept) = w.own(0, config()).await;
    let (from, moved) = w.own(1, config()).await;
    let (status, body) = w.merge(&into, json!([from, from])).await;
    assert_eq!(status, 200, "{body}");
    let products = &body["integration"]["products"];
    assert_eq!(
        (&products[0]["integration_id"], &products[1]["integration_id"]),
        (&json!(kept), &json!(moved))
    );
    assert_eq!(w.app.get(&w.owner.token, &format!("{}/{from}", w.org)).await.0, 404);
    let path = format!("/v1/products/{}/integrations/{moved}", w.products[1]["id"]);
    let (_, copy) = w.app.get(&w.owner.token, &path).await;
    assert_eq!(
        (&copy["integration"]["org_integration_id"], &copy["integration"]["shared"]),
        (&json!(into), &json!(true))
    );
    assert_eq!(w.duplicates().await, json!([]));
}

#[tokio::test]
async fn of_two_copies_in_one_product_one_is_left() {
    let w = world().await;
    let (into, kept) = w.own(0, config()).await;
    let (from, dropped) = w.own(0, config()).await;
    let (status, body) = w.merge(&into, json!(from)).await;
    assert_eq!((status, &body["integration"]["shared"]), (200, &json!(false)));
    let path = format!("/v1/products/{}/integrations", w.products[0]["id"]);
    assert_eq!(w.app.get(&w.owner.token, &format!("{path}/{kept}")).await.0, 200);
    assert_eq!(w.app.get(&w.owner.token, &format!("{path}/{dropped}")).await.0, 404);
}

#[tokio::test]
async fn what_differs_is_not_merged_and_the_refusal_says_in_what() {
    let w = world().await;
    let (into, _) = w.own(0, config()).await;
    let mut other = config();
    other["url"] = json!("https://example.com/b");
    other["noDefaults"] = json!(true);
    let (from, _) = w.own(1, other).await;
    let (status, body) = w.merge(&into, json!([from])).await;
    assert_eq!((status, &body["error"]), (409, &json!("not_equal")));
    let text = body["error_description"].as_str().unwrap();
    assert!(text.contains("noDefaults, url") && text.contains(&from), "{text}");
    assert_eq!(w.app.get(&w.owner.token, &w.org).await.1.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_wrong_entry_of_from_is_named() {
    let w = world().await;
    let (into, _) = w.own(0, config()).await;
    let nowhere = "f".repeat(24);
    for (from, said) in [
        (Value::Null, "from: list the ids"),
        (json!([]), "from: list the ids"),
        (json!([5]), "from: 5 is not an id"),
        (json!(["x"]), "from: \"x\" is not an id"),
        (json!([nowhere]), "from: ffffffffffffffffffffffff is not an integration of this organization"),
        (json!([into]), "is the integration itself"),
    ] {
        let (status, body) = w.merge(&into, from.clone()).await;
        assert_eq!(status, 400, "{from}");
        assert!(body["error_description"].as_str().unwrap().contains(said), "{body}");
        assert_eq!(body["errors"][0]["field"], "from");
    }
    let (_, sandboxed) = w.app.post(&w.owner.token, "/v1/integrations", config()).await;
    assert_eq!(w.merge(&into, json!([sandboxed["id"]])).await.0, 400, "one of another owner");
    assert_eq!(w.merge(&nowhere, json!([into])).await.0, 404);
}
