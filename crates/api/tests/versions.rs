//! The versions of an integration: who changed what, and going back.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

/// Requests that wait to be looked at.
const REQUESTS: usize = 16;

struct World {
    app: TestApp,
    owner: Person,
    org: Value,
    products: Vec<Value>,
}

async fn world() -> World {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, "basic").await;
    let products = vec![app.product(&owner, &org).await, app.product(&owner, &org).await];
    World { app, owner, org, products }
}

impl World {
    fn org_path(&self, rest: &str) -> String {
        format!("/v1/orgs/{}/integrations{rest}", self.org["id"].as_str().unwrap())
    }

    fn product_path(&self, at: usize, rest: &str) -> String {
        format!("/v1/products/{}/integrations{rest}", self.products[at]["id"])
    }

    /// Creates an integration of these products; its path in the organization and its answer.
    async fn made(&self, which: &[usize], mut config: Value) -> (String, Value) {
        config["product_ids"] = which.iter().map(|at| self.products[*at]["id"].clone()).collect();
        let (status, made) = self.app.post(&self.owner.token, &self.org_path(""), config).await;
        assert_eq!(status, 201, "{made}");
        (self.org_path(&format!("/{}", made["id"].as_str().unwrap())), made)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.app.get(&self.owner.token, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn put(&self, path: &str, body: Value) -> Value {
        let (status, body) = self.app.put(&self.owner.token, path, body).await;
        assert_eq!(status, 200, "{path}: {body}");
        body["integration"].clone()
    }

    async fn versions(&self, path: &str) -> Vec<Value> {
        self.get(&format!("{path}/versions")).await["versions"].as_array().unwrap().clone()
    }

    async fn restore(&self, path: &str, version: i64) -> (u16, Value) {
        self.app.post(&self.owner.token, &format!("{path}/versions/{version}/restore"), Value::Null).await
    }
}

fn config() -> Value {
    json!({
        "event": "e", "url": "https://example.com/a", "name": "n",
        "headers": {"Authorization": "Bearer hush", "Accept": "text/plain"},
        "json": {"b": 1, "a": "{{{PARTICLE_EVENT_VALUE}}}"},
    })
}

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

fn fields(version: &Value) -> Vec<&str> {
    version["changes"].as_array().unwrap().iter().map(|change| change["field"].as_str().unwrap()).collect()
}

/// A destination that accepts everything; its address and the requests that it gets.
async fn receiver() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel(REQUESTS);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let tell = tell.clone();
            tokio::spawn(async move {
                let mut bytes = [0; 4_096];
                // The requests of these tests fit into one segment.
                if let Ok(read @ 1..) = socket.read(&mut bytes).await {
                    let _ = tell.send(String::from_utf8_lossy(&bytes[..read]).into_owned()).await;
                    let answer = b"HTTP/1.1 204 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = socket.write_all(answer).await;
                }
            });
        }
    });
    (format!("http://{address}/in"), told)
}

#[tokio::test]
async fn each_change_of_a_configuration_is_a_version_that_says_who_when_and_which_fields() {
    let w = world().await;
    let (path, made) = w.made(&[0, 1], config()).await;
    assert_eq!(made["version"], 1);
    let developer = w.app.member(&w.owner, &w.org, "Developer").await;
    support::pass(5);
    let mut changed = with(config(), "url", json!("https://example.com/b"));
    changed["headers"]["Authorization"] = json!("Bearer whisper");
    let (status, answer) = w.app.put(&developer.token, &path, changed.clone()).await;
    assert_eq!((status, &answer["integration"]["version"]), (200, &json!(2)));

    let all = w.versions(&path).await;
    assert_eq!(all.iter().map(|v| v["version"].as_i64().unwrap()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((&all[0]["action"], &all[1]["action"]), (&json!("update"), &json!("create")));
    assert_eq!(all[0]["by"], json!({"username": developer.username}));
    assert_eq!(all[1]["by"], json!({"username": w.owner.username}));
    assert_eq!(all[0]["at"], answer["integration"]["updated_at"]);
    let mask = "[[SENSITIVE]]";
    assert_eq!(
        all[0]["changes"],
        json!([
            {"field": "url", "before": "https://example.com/a", "after": "https://example.com/b"},
            {"field": "headers.Authorization", "before": mask, "after": mask},
        ])
    );
    assert!(fields(&all[1]).contains(&"event"));

    let one = w.get(&format!("{path}/versions/1")).await;
    assert_eq!(one["version"]["config"]["url"], "https://example.com/a");
    assert_eq!(one["version"]["config"]["headers"]["Authorization"], mask);
    for shown in [json!(all), one] {
        assert!(!shown.to_string().contains("hush") && !shown.to_string().contains("whisper"), "{shown}");
    }
    assert_eq!(w.app.get(&w.owner.token, &format!("{path}/versions/3")).await.0, 404);
    assert_eq!(w.app.get(&w.owner.token, &format!("{path}/versions/x")).await.0, 404);
}

#[tokio::test]
async fn what_changes_nothing_or_only_the_products_makes_no_version() {
    let w = world().await;
    let (path, _) = w.made(&[0], config()).await;
    let read = w.get(&path).await["integration"].clone();
    assert_eq!(w.put(&path, read).await["version"], 1, "what was read is sent back");
    let both: Vec<Value> = w.products.iter().map(|product| product["id"].clone()).collect();
    assert_eq!(w.put(&path, with(config(), "product_ids", json!(both))).await["version"], 1);
    let (first, second) = (json!([both[0]]), json!(both));
    let alone = with(with(config(), "product_ids", first.clone()), "name", json!("m"));
    assert_eq!(w.put(&path, alone).await["version"], 2);
    let newest = &w.versions(&path).await[0];
    assert_eq!(fields(newest), ["name", "product_ids"]);
    assert_eq!((&newest["changes"][1]["before"], &newest["changes"][1]["after"]), (&second, &first));
}

#[tokio::test]
async fn a_separated_copy_starts_at_version_1_and_a_merge_is_told_of() {
    let w = world().await;
    let (path, made) = w.made(&[0, 1], config()).await;
    let member = made["products"][0]["integration_id"].as_str().unwrap();
    let own = w.product_path(0, &format!("/{member}"));
    let body = with(config(), "name", json!("ours"));
    assert_eq!(w.app.post(&w.owner.token, &format!("{own}/separate"), body).await.0, 201);
    let versions = w.versions(&own).await;
    assert_eq!(versions.len(), 1);
    assert_eq!((&versions[0]["version"], &versions[0]["action"]), (&json!(1), &json!("separate")));
    assert_eq!(versions[0]["separated_from"], json!({"id": made["id"], "name": "n"}));
    assert_eq!(fields(&versions[0]), ["name"]);

    let copy = w.get(&own).await["integration"]["org_integration_id"].clone();
    let merge = json!({"from": [copy]});
    assert_eq!(w.app.post(&w.owner.token, &format!("{path}/merge"), merge).await.0, 200);
    let newest = &w.versions(&path).await[0];
    assert_eq!((&newest["version"], &newest["action"]), (&json!(2), &json!("merge")));
    assert_eq!(newest["merged"], json!([{"id": copy, "name": "ours"}]));
    assert_eq!(fields(newest), ["product_ids"]);
}

#[tokio::test]
async fn restoring_a_version_gives_back_the_same_configuration_byte_for_byte_masked_values_included() {
    let w = world().await;
    let (url, mut requests) = receiver().await;
    let (path, made) = w.made(&[0, 1], with(config(), "url", json!(url))).await;
    let publish = format!("/v1/products/{}/events", w.products[0]["id"]);
    let mut sent = async || {
        let event = json!({"name": "e", "data": "open"});
        assert_eq!(w.app.post(&w.owner.token, &publish, event).await.0, 200);
        let request = tokio::time::timeout(std::time::Duration::from_secs(20), requests.recv()).await;
        // The time of the event is its own.
        let request = request.unwrap().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut body: Value = serde_json::from_str(body).unwrap();
        body.as_object_mut().unwrap().remove("published_at").unwrap();
        (head.to_owned(), body.to_string())
    };
    let first = sent().await;
    assert!(first.0.contains("Bearer hush"), "{first:?}");
    let shown = w.get(&format!("{path}/versions/1")).await["version"]["config"].to_string();

    let other =
        json!({"event": "e", "url": url, "headers": {"Authorization": "Bearer whisper"}, "json": {"a": 1}});
    w.put(&path, other).await;
    assert!(sent().await.0.contains("Bearer whisper"));

    let (status, restored) = w.restore(&path, 1).await;
    assert_eq!((status, &restored["integration"]["version"]), (200, &json!(3)), "{restored}");
    assert_eq!(restored["integration"]["headers"]["Authorization"], "[[SENSITIVE]]");
    assert_eq!(restored["integration"]["product_ids"], made["product_ids"]);
    assert_eq!(sent().await, first, "what is delivered is the same again");
    let newest = w.get(&format!("{path}/versions/3")).await["version"].clone();
    assert_eq!(newest["config"].to_string(), shown, "in the same order");
    assert_eq!((&newest["action"], &newest["restored_from"]), (&json!("restore"), &json!(1)));
    assert_eq!(fields(&newest), ["name", "headers.Authorization", "headers.Accept", "json.b", "json.a"]);
}

#[tokio::test]
async fn versions_are_reached_in_every_place_and_a_shared_one_is_not_restored_through_a_product() {
    let w = world().await;
    let (_, made) = w.made(&[0, 1], config()).await;
    let member = made["products"][0]["integration_id"].as_str().unwrap();
    let shared = w.product_path(0, &format!("/{member}"));
    assert_eq!(w.versions(&shared).await.len(), 1);
    let (status, refused) = w.restore(&shared, 1).await;
    assert_eq!((status, &refused["error"]), (409, &json!("shared_integration")));

    for list in [w.product_path(1, ""), "/v1/integrations".to_owned()] {
        let (_, own) = w.app.post(&w.owner.token, &list, config()).await;
        let own = format!("{list}/{}", own["id"].as_str().unwrap());
        w.put(&own, with(config(), "name", json!("m"))).await;
        let (status, restored) = w.restore(&own, 1).await;
        assert_eq!((status, &restored["integration"]["name"]), (200, &json!("n")), "{restored}");
        assert_eq!(w.versions(&own).await.len(), 3);
    }
}

#[tokio::test]
async fn who_may_look_may_read_versions_and_only_who_may_change_may_restore_where_the_plan_allows_it() {
    let w = world().await;
    let (path, _) = w.made(&[0, 1], config()).await;
    let viewer = w.app.member(&w.owner, &w.org, "View-only").await;
    let stranger = w.app.signed_up_user().await;
    let restore = format!("{path}/versions/1/restore");
    for read in [format!("{path}/versions"), format!("{path}/versions/1")] {
        assert_eq!(w.app.get(&viewer.token, &read).await.0, 200, "{read}");
        assert_eq!(w.app.get(&stranger.token, &read).await.0, 404, "{read}");
    }
    let (status, refused) = w.app.post(&viewer.token, &restore, Value::Null).await;
    assert_eq!((status, &refused["error"]), (403, &json!("forbidden")));
    assert!(refused["error_description"].as_str().unwrap().contains("Developer"));
    assert_eq!(w.app.post(&stranger.token, &restore, Value::Null).await.0, 404);

    let base = format!("/v1/orgs/{}", w.org["id"].as_str().unwrap());
    let robot = w.app.api_user(&w.owner, &base, &["integrations:get"]).await;
    assert_eq!(w.app.get(&robot.token, &format!("{path}/versions")).await.0, 200);
    assert_eq!(w.app.post(&robot.token, &restore, Value::Null).await.0, 403);
    let robot = w.app.api_user(&w.owner, &base, &["integrations:update"]).await;
    assert_eq!(w.app.get(&robot.token, &format!("{path}/versions")).await.0, 403);
    assert_eq!(w.app.post(&robot.token, &restore, Value::Null).await.0, 200);
    let by = json!({"username": robot.username, "api_user": true});
    assert_eq!(w.versions(&path).await[0]["by"], by);

    w.put_plan("free").await;
    assert_eq!(w.versions(&path).await.len(), 2);
    let (status, refused) = w.restore(&path, 1).await;
    assert_eq!((status, &refused["error"]), (403, &json!("plan_required")));
}

impl World {
    async fn put_plan(&self, plan: &str) {
        let org = format!("/v1/orgs/{}", self.org["id"].as_str().unwrap());
        assert_eq!(self.app.put(&self.owner.token, &org, json!({"plan": plan})).await.0, 200);
    }
}

#[tokio::test]
async fn a_version_that_refers_to_a_secret_that_is_gone_is_not_restored_and_the_field_is_named() {
    let w = world().await;
    let secrets = format!("/v1/orgs/{}/secrets", w.org["id"].as_str().unwrap());
    let secret = json!({"secret": {"name": "KEY", "value": "v"}});
    assert_eq!(w.app.post(&w.owner.token, &secrets, secret.clone()).await.0, 201);
    let using = with(config(), "query", json!({"key": "{{{KEY}}}", "other": "{{OTHER}}"}));
    let (path, _) = w.made(&[0], using).await;
    w.put(&path, config()).await;
    support::pass(1);
    assert_eq!(w.app.delete(&w.owner.token, &format!("{secrets}/KEY")).await.0, 204);

    let (status, refused) = w.restore(&path, 1).await;
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_integration")), "{refused}");
    assert_eq!(refused["errors"].as_array().unwrap().len(), 1);
    assert_eq!(refused["errors"][0]["field"], "query.key");
    assert!(
        refused["error_description"].as_str().unwrap().contains("secret KEY, which is gone"),
        "{refused}"
    );
    assert_eq!(w.versions(&path).await.len(), 2, "nothing was stored");

    assert_eq!(w.app.post(&w.owner.token, &secrets, secret).await.0, 201);
    assert_eq!(w.restore(&path, 1).await.0, 200, "once it is there again");
}

#[tokio::test]
async fn versions_come_in_pages_and_only_the_newest_200_are_kept() {
    let w = world().await;
    let (path, _) = w.made(&[0], config()).await;
    for n in 2..=203 {
        w.put(&path, with(config(), "name", json!(format!("n{n}")))).await;
    }
    let (mut next, mut seen) = (Value::Null, Vec::new());
    loop {
        let before = next.as_i64().map(|next| format!("&before={next}")).unwrap_or_default();
        let page = w.get(&format!("{path}/versions?limit=90{before}")).await;
        seen.extend(page["versions"].as_array().unwrap().iter().map(|v| v["version"].as_i64().unwrap()));
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(seen, (4..=203).rev().collect::<Vec<i64>>());
    assert_eq!(w.versions(&path).await.len(), 50, "a page where nothing is said");
    assert_eq!(w.app.get(&w.owner.token, &format!("{path}/versions/3")).await.0, 404);
    for (query, field) in [("limit=0", "limit"), ("limit=101", "limit"), ("before=x", "before")] {
        let (status, body) = w.app.get(&w.owner.token, &format!("{path}/versions?{query}")).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!(field)), "{query}");
    }
}
