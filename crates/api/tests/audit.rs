//! Who changed what: the audit of an organization and of a sandbox.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp};

struct World {
    app: TestApp,
    owner: Person,
    org: Value,
    base: String,
}

async fn world() -> World {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, "basic").await;
    let base = format!("/v1/orgs/{}", org["id"].as_str().unwrap());
    World { app, owner, org, base }
}

impl World {
    /// All rows of the organization, oldest first.
    async fn audit(&self) -> Vec<Value> {
        let path = format!("{}/audit?limit=100", self.base);
        let (status, body) = self.app.get(&self.owner.token, &path).await;
        assert_eq!((status, &body["next"]), (200, &Value::Null), "{body}");
        body["audit"].as_array().unwrap().iter().rev().cloned().collect()
    }

    async fn ok(&self, method: &str, rest: &str, body: Value) -> Value {
        let path = if rest.starts_with("/v1") { rest.to_owned() } else { format!("{}{rest}", self.base) };
        let (status, answer) = self.app.call(method, &self.owner.token, &path, body).await;
        assert!(status < 300, "{method} {path}: {status} {answer}");
        answer
    }
}

fn actions(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["action"].as_str().unwrap()).collect()
}

fn config() -> Value {
    json!({"event": "e", "name": "n", "url": "https://example.com/a", "headers": {"Authorization": "Bearer hush"}})
}

#[tokio::test]
async fn every_change_of_an_integration_and_its_products_is_a_row_with_before_and_after() {
    let w = world().await;
    let [one, two] = [w.app.product(&w.owner, &w.org).await, w.app.product(&w.owner, &w.org).await];
    let begun = w.audit().await.len();
    let mut body = config();
    body["product_ids"] = json!([one["id"]]);
    let made = w.ok("POST", "/integrations", body).await;
    let id = made["id"].as_str().unwrap();
    let path = format!("/integrations/{id}");
    let mut changed = config();
    changed["headers"]["Authorization"] = json!("Bearer whisper");
    changed["name"] = json!("m");
    w.ok("PUT", &path, changed.clone()).await;
    w.ok("POST", &format!("{path}/versions/1/restore"), Value::Null).await;
    let second = format!("{path}/products/{}", two["id"]);
    let shared = w.ok("PUT", &second, Value::Null).await;
    let member = shared["integration"]["products"][1]["integration_id"].as_str().unwrap();
    let own = format!("/v1/products/{}/integrations/{member}", two["id"]);
    let separated = w.ok("POST", &format!("{own}/separate"), changed).await;
    w.ok("PUT", &own, config()).await;
    let copy = separated["integration"]["org_integration_id"].clone();
    w.ok("POST", &format!("{path}/merge"), json!({"from": [copy]})).await;
    w.ok("DELETE", &second, Value::Null).await;
    w.ok("DELETE", &path, Value::Null).await;

    let rows = w.audit().await.split_off(begun);
    assert_eq!(
        actions(&rows),
        [
            "integration.create",
            "integration.update",
            "integration.restore",
            "integration.add_product",
            "integration.separate",
            "integration.update",
            "integration.merge",
            "integration.remove_product",
            "integration.delete",
        ]
    );
    for row in &rows {
        assert_eq!(row["by"], json!({"username": w.owner.username}));
        assert_eq!(row["subject"]["kind"], "integration");
        assert!(row["at"].is_string() && row["id"].is_i64());
    }
    assert_eq!((&rows[0]["before"], &rows[8]["after"]), (&Value::Null, &Value::Null));
    assert_eq!(rows[1]["subject"], json!({"kind": "integration", "id": id, "name": "m"}));
    assert_eq!(
        (&rows[1]["before"]["config"]["name"], &rows[1]["after"]["config"]["name"]),
        (&json!("n"), &json!("m"))
    );
    assert_eq!(rows[3]["after"]["product_ids"], json!([one["id"], two["id"]]));
    assert_eq!(rows[7]["after"]["product_ids"], json!([one["id"]]));
    let text = json!(rows).to_string();
    assert!(text.contains("[[SENSITIVE]]") && !text.contains("hush") && !text.contains("whisper"), "{text}");
}

#[tokio::test]
async fn the_team_products_secrets_tokens_and_the_organization_itself_are_in_it() {
    let w = world().await;
    let person = w.app.member(&w.owner, &w.org, "Developer").await;
    let member = format!("/team/{}", support::encode(&person.username));
    w.ok("PUT", &member, json!({"role": "Support"})).await;
    w.ok("DELETE", &member, Value::Null).await;
    let robot = w.app.api_user(&w.owner, &w.base, &["integrations:list"]).await;
    let robot_path = format!("/team/{}", support::encode(&robot.username));
    w.ok("PUT", &robot_path, json!({"scopes": ["events:get"]})).await;
    w.ok("PUT", &robot_path, json!({"friendly_name": "Other"})).await;
    w.ok("DELETE", &robot_path, Value::Null).await;
    let product = w.app.product(&w.owner, &w.org).await;
    let path = format!("/v1/products/{}", product["id"]);
    let worker = w.app.api_user(&w.owner, &path, &["events:send"]).await;
    w.ok("DELETE", &format!("/v1/access_tokens/{}", worker.token), Value::Null).await;
    w.ok("DELETE", &path, Value::Null).await;
    w.ok("POST", "/secrets", json!({"secret": {"name": "KEY", "value": "hush"}})).await;
    w.ok("PUT", "/secrets/KEY", json!({"secret": {"value": "whisper"}})).await;
    w.ok("DELETE", "/secrets/KEY", Value::Null).await;
    w.ok("PUT", "", json!({"name": "New name"})).await;

    let rows = w.audit().await;
    #[rustfmt::skip]
    let expected = [
        ("organization.create", "organization"),
        ("team.add", "member"), ("team.update", "member"), ("team.remove", "member"),
        ("team.add", "member"), ("token.create", "token"),
        ("team.update", "member"), ("token.replace", "token"),
        ("team.update", "member"),
        ("token.end", "token"), ("team.remove", "member"),
        ("product.create", "product"),
        ("team.add", "member"), ("token.create", "token"), ("token.end", "token"),
        ("product.delete", "product"),
        ("secret.create", "secret"), ("secret.update", "secret"), ("secret.delete", "secret"),
        ("organization.update", "organization"),
    ];
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row["action"].as_str().unwrap(), row["subject"]["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(told, expected);
    let pair = |at: usize| (rows[at]["before"].clone(), rows[at]["after"].clone());
    assert_eq!(pair(2), (json!({"role": "Developer"}), json!({"role": "Support"})));
    assert_eq!(rows[2]["subject"]["id"], person.username);
    assert_eq!(pair(7), (json!({"scopes": ["integrations:list"]}), json!({"scopes": ["events:get"]})));
    let named = |name: &str| json!({"friendly_name": name, "scopes": ["events:get"]});
    assert_eq!(pair(8), (named("Robot"), named("Other")));
    assert_eq!(rows[14]["by"], json!({"username": worker.username, "api_user": true}), "who held it");
    assert_eq!(rows[15]["subject"]["name"], product["name"]);
    assert_eq!(pair(17), (json!({"name": "KEY"}), json!({"name": "KEY"})));
    assert_eq!(pair(19).1["name"], "New name");
    let text = json!(rows).to_string();
    for hidden in ["hush", "whisper", &robot.token, &worker.token] {
        assert!(!text.contains(hidden), "{text}");
    }
}

#[tokio::test]
async fn a_product_that_is_deleted_tells_of_each_integration_that_it_leaves() {
    let w = world().await;
    let [one, two] = [w.app.product(&w.owner, &w.org).await, w.app.product(&w.owner, &w.org).await];
    let mut shared = config();
    shared["product_ids"] = json!([one["id"], two["id"]]);
    let shared = w.ok("POST", "/integrations", shared).await;
    let own = w.ok("POST", &format!("/v1/products/{}/integrations", one["id"]), config()).await;
    let begun = w.audit().await.len();
    w.ok("DELETE", &format!("/v1/products/{}", one["id"]), Value::Null).await;
    let rows = w.audit().await.split_off(begun);
    let mut told: Vec<_> = rows.iter().map(|row| (&row["action"], &row["subject"]["id"])).collect();
    told.sort_by_key(|(action, _)| action.to_string());
    let product = json!(one["id"].to_string());
    assert_eq!(
        told,
        [
            (&json!("integration.delete"), &own["org_integration_id"]),
            (&json!("integration.remove_product"), &shared["id"]),
            (&json!("product.delete"), &product),
        ]
    );
}

#[tokio::test]
async fn administrators_may_read_it_others_on_the_team_are_told_who_may_and_strangers_see_nothing() {
    let w = world().await;
    let path = format!("{}/audit", w.base);
    let admin = w.app.member(&w.owner, &w.org, "Administrator").await;
    assert_eq!(w.app.get(&admin.token, &path).await.0, 200);
    for role in ["View-only", "Support", "Developer"] {
        let person = w.app.member(&w.owner, &w.org, role).await;
        let (status, refused) = w.app.get(&person.token, &path).await;
        assert_eq!((status, &refused["error"]), (403, &json!("forbidden")), "{role}");
        assert!(refused["error_description"].as_str().unwrap().contains("Administrator"), "{refused}");
    }
    let robot = w.app.api_user(&w.owner, &w.base, &["organization:get"]).await;
    assert_eq!(w.app.get(&robot.token, &path).await.0, 403);
    let stranger = w.app.signed_up_user().await;
    assert_eq!(w.app.get(&stranger.token, &path).await.0, 404);
}

#[tokio::test]
async fn pages_follow_one_another_newest_first_and_hold_only_the_own_organization() {
    let w = world().await;
    let other = w.app.org(&w.owner, "basic").await;
    w.app.product(&w.owner, &other).await;
    for _ in 0..4 {
        w.app.product(&w.owner, &w.org).await;
    }
    let (mut query, mut sizes, mut ids) = ("limit=2".to_owned(), Vec::new(), Vec::new());
    loop {
        let (_, page) = w.app.get(&w.owner.token, &format!("{}/audit?{query}", w.base)).await;
        let rows = page["audit"].as_array().unwrap();
        sizes.push(rows.len());
        ids.extend(rows.iter().map(|row| row["id"].as_i64().unwrap()));
        let Some(next) = page["next"].as_i64() else { break };
        query = format!("limit=2&before={next}");
    }
    assert_eq!(sizes, [2, 2, 1]);
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    let (status, wrong) = w.app.get(&w.owner.token, &format!("{}/audit?limit=1000", w.base)).await;
    assert_eq!((status, &wrong["errors"][0]["field"]), (400, &json!("limit")));
}

#[tokio::test]
async fn a_person_reads_what_changed_in_the_own_sandbox() {
    let w = world().await;
    w.ok("POST", "/v1/integrations", config()).await;
    let (status, body) = w.app.get(&w.owner.token, "/v1/audit").await;
    assert_eq!(status, 200);
    assert_eq!(actions(body["audit"].as_array().unwrap()), ["integration.create"]);
}
