//! Traffic, history, log and metrics of integrations as events flow through them (contract 1 and 4.3).
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Person, START, TestApp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{sleep, timeout},
};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);
/// The day of [`START`].
const TODAY: &str = "2023-11-14";

/// A destination that answers every request with this status and `seen`; its address.
async fn receiver(status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4_096];
                // The requests of these tests fit into one segment.
                if socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    let answer =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\nconnection: close\r\n\r\nseen");
                    let _ = socket.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    format!("http://{address}/in")
}

struct World {
    app: TestApp,
    me: Person,
    org: String,
    products: Vec<Value>,
}

async fn world() -> World {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let products = vec![app.product(&me, &org).await, app.product(&me, &org).await];
    World { app, me, org: format!("/v1/orgs/{}", org["id"].as_str().unwrap()), products }
}

impl World {
    async fn share(&self, url: &str) -> Value {
        let ids: Vec<&Value> = self.products.iter().map(|product| &product["id"]).collect();
        let body = json!({"event": "e", "url": url, "product_ids": ids, "headers": {"X-Api-Key": "hush"}});
        let (status, made) = self.app.post(&self.me.token, &format!("{}/integrations", self.org), body).await;
        assert_eq!(status, 201, "{made}");
        made
    }

    fn of(&self, at: usize) -> String {
        format!("/v1/products/{}", self.products[at]["id"])
    }

    async fn publish(&self, at: usize, times: usize) {
        for _ in 0..times {
            let body = json!({"name": "e", "data": "open"});
            assert_eq!(self.app.post(&self.me.token, &format!("{}/events", self.of(at)), body).await.0, 200);
        }
    }

    async fn look(&self, path: &str) -> Value {
        let (status, body) = self.app.get(&self.me.token, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Reads `path` until `part` of it is `expected`.
    async fn until(&self, path: &str, part: &str, expected: Value) -> Value {
        let mut last = Value::Null;
        let read = async {
            loop {
                last = self.look(path).await;
                if last.pointer(part) == Some(&expected) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, read).await.is_ok(), "{path} {part} is not {expected} but {last}");
        last
    }
}

fn day(success: u32, error: u32) -> Value {
    json!({"date": TODAY, "success": success, "error": error, "skipped": 0})
}

#[tokio::test]
async fn traffic_is_summed_in_the_organization_told_for_each_product_and_stays_when_one_separates() {
    let w = world().await;
    let made = w.share(&receiver(200).await).await;
    w.publish(0, 3).await;
    w.publish(1, 1).await;
    let id = made["id"].as_str().unwrap();
    let in_org = format!("{}/integrations/{id}", w.org);
    let history = format!("{in_org}/history?days=1");
    let body = w.until(&history, "/history/total", json!([day(4, 0)])).await;
    let products = &body["history"]["products"];
    assert_eq!((&products[0]["days"], &products[1]["days"]), (&json!([day(3, 0)]), &json!([day(1, 0)])));
    let today = json!({"success": 4, "error": 0, "skipped": 0});
    assert_eq!(w.look(&in_org).await["integration"]["today"], today);
    assert_eq!(w.look(&format!("{}/integrations", w.org)).await[0]["today"], today);

    let member = made["products"][0]["integration_id"].as_str().unwrap();
    let copy = format!("{}/integrations/{member}", w.of(0));
    let three = json!({"success": 3, "error": 0, "skipped": 0});
    assert_eq!(w.look(&format!("{}/integrations", w.of(0))).await[0]["today"], three);
    let change = json!({"event": "e", "url": receiver(404).await, "name": "ours"});
    let (status, own) = w.app.post(&w.me.token, &format!("{copy}/separate"), change).await;
    assert_eq!((status, &own["integration"]["today"]), (201, &three), "the product's history goes on");
    w.publish(0, 1).await;
    w.until(&format!("{copy}/history?days=1"), "/history/total", json!([day(3, 1)])).await;
    let body = w.look(&history).await;
    assert_eq!(body["history"]["total"], json!([day(4, 0)]), "what ran as the shared one stays with it");
    assert_eq!(body["history"]["products"][1]["name"], w.products[0]["name"], "a former member is told too");
    let list = w.look(&format!("{}/integrations", w.org)).await;
    let sum: u64 = list.as_array().unwrap().iter().map(|i| i["today"]["success"].as_u64().unwrap()).sum();
    assert_eq!(sum, 4, "nothing is counted twice");
}

#[tokio::test]
async fn the_log_is_told_newest_first_from_both_sides_without_secrets() {
    let w = world().await;
    let made = w.share(&receiver(202).await).await;
    w.publish(0, 1).await;
    let id = made["id"].as_str().unwrap();
    let in_org = format!("{}/integrations/{id}", w.org);
    w.until(&in_org, "/integration/today/success", json!(1)).await;
    support::pass(1);
    w.publish(1, 1).await;
    let body = w.until(&in_org, "/integration/today/success", json!(2)).await;
    let logs = body["integration"]["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 2);
    assert_eq!(logs[0]["product_id"], w.products[1]["id"]);
    let entry = &logs[1];
    assert_eq!((&entry["outcome"], &entry["event"]["data"]), (&json!("success"), &json!("open")));
    assert_eq!((&entry["response"]["status"], &entry["response"]["body"]), (&json!(202), &json!("seen")));
    assert!(entry["id"].is_string() && !body.to_string().contains("hush"), "{body}");
    let member = made["products"][1]["integration_id"].as_str().unwrap();
    let copy = w.look(&format!("{}/integrations/{member}", w.of(1))).await;
    assert_eq!(copy["integration"]["logs"], json!([logs[0]]));
}

#[tokio::test]
async fn metrics_of_a_product_count_all_its_integrations_in_buckets() {
    let w = world().await;
    w.share(&receiver(200).await).await;
    w.share(&receiver(400).await).await;
    w.publish(0, 2).await;
    let path = format!("{}/metrics/integration", w.of(0));
    let whole_day = json!([{"time": format!("{TODAY}T00:00:00.000Z"), "success": 2, "failure": 2}]);
    w.until(&path, "/integrations", whole_day.clone()).await;
    let of_the_hour = json!([{"time": format!("{TODAY}T22:00:00.000Z"), "success": 2, "failure": 2}]);
    let start = START.plus_ms(-3_600_000);
    let body = w.look(&format!("{path}?start_date={start}&bucket_size=1h")).await;
    assert_eq!(body["integrations"], of_the_hour);
    let body = w.look(&format!("{path}?start_date=2023-11-01&end_date=2023-11-14")).await;
    assert_eq!(body["integrations"], json!([]), "before its end");
    assert_eq!(w.look(&format!("{}/metrics/integration", w.of(1))).await["integrations"], json!([]));
    for (query, field) in [
        ("start_date=soon", "start_date"),
        ("end_date=x", "end_date"),
        ("start_date=2023-11-02&end_date=2023-11-01", "start_date"),
        ("bucket_size=0", "bucket_size"),
    ] {
        let (status, body) = w.app.get(&w.me.token, &format!("{path}?{query}")).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!(field)), "{query}");
    }
}

#[tokio::test]
async fn a_history_covers_1_to_30_days_and_a_sandbox_has_no_products() {
    let w = world().await;
    let body = json!({"event": "e", "url": "https://example.com"});
    let (_, made) = w.app.post(&w.me.token, "/v1/integrations", body).await;
    let path = format!("/v1/integrations/{}/history", made["id"].as_str().unwrap());
    let history = &w.look(&path).await["history"];
    assert_eq!((history["total"].as_array().unwrap().len(), &history["products"]), (30, &json!([])));
    assert_eq!((&history["from"], &history["to"]), (&json!("2023-10-16"), &json!(TODAY)));
    for days in ["0", "31", "-1", "x", "1.5", ""] {
        let (status, body) = w.app.get(&w.me.token, &format!("{path}?days={days}")).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("days")), "{days}");
    }
}
