//! Failed deliveries are made again: all of a time, of some products, or one row of the log alone.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{Person, TestApp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{sleep, timeout},
};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// A destination whose answer can be changed; its address.
async fn receiver(status: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let status = status.load(Ordering::Relaxed);
            tokio::spawn(async move {
                let mut bytes = [0; 4_096];
                // The requests of these tests fit into one segment.
                if socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                    let answer =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
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
    org: Value,
    products: Vec<Value>,
    /// The integration, in the organization.
    path: String,
    made: Value,
    status: Arc<AtomicU16>,
}

/// An integration of two products whose destination refuses everything.
async fn world() -> World {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let products = vec![app.product(&me, &org).await, app.product(&me, &org).await];
    let status = Arc::new(AtomicU16::new(404));
    let ids: Vec<&Value> = products.iter().map(|product| &product["id"]).collect();
    let body = json!({"event": "e", "url": receiver(status.clone()).await, "product_ids": ids});
    let place = format!("/v1/orgs/{}/integrations", org["id"].as_str().unwrap());
    let (code, made) = app.post(&me.token, &place, body).await;
    assert_eq!(code, 201, "{made}");
    let path = format!("{place}/{}", made["id"].as_str().unwrap());
    World { app, me, org, products, path, made, status }
}

impl World {
    /// Publishes in a product until so many deliveries of the integration have ended.
    async fn fail(&self, product: usize, times: usize, ended: usize) {
        for _ in 0..times {
            let path = format!("/v1/products/{}/events", self.products[product]["id"]);
            let body = json!({"name": "e", "data": "open"});
            assert_eq!(self.app.post(&self.me.token, &path, body).await.0, 200);
        }
        self.until(&self.path, "/integration/today/error", json!(ended)).await;
    }

    async fn until(&self, path: &str, part: &str, expected: Value) -> Value {
        let mut last = Value::Null;
        let read = async {
            loop {
                last = self.app.get(&self.me.token, path).await.1;
                if last.pointer(part) == Some(&expected) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, read).await.is_ok(), "{path} {part} is not {expected} but {last}");
        last
    }

    async fn redeliver(&self, body: Value) -> (u16, Value) {
        self.app.post(&self.me.token, &format!("{}/redeliver", self.path), body).await
    }
}

#[tokio::test]
async fn what_failed_is_counted_by_product_and_delivered_again_beside_the_history() {
    let w = world().await;
    w.fail(0, 2, 2).await;
    w.fail(1, 1, 3).await;
    let (code, counted) = w.redeliver(json!({"outcome": "error", "dry_run": true})).await;
    let [one, two] = [0, 1].map(|n| w.products[n]["id"].clone());
    let products = json!([{"id": one, "count": 2}, {"id": two, "count": 1}]);
    let expected = json!({"ok": true, "dry_run": true, "total": 3, "products": products, "redelivery": null});
    assert_eq!((code, counted), (200, expected));
    assert_eq!(w.redeliver(json!({"outcome": "skipped", "dry_run": true})).await.1["total"], 0);

    w.status.store(200, Ordering::Relaxed);
    let (code, begun) = w.redeliver(json!({"product_ids": [one]})).await;
    assert_eq!((code, &begun["total"], &begun["redelivery"]["state"]), (200, &json!(2), &json!("running")));
    let run = format!("{}/redeliveries/{}", w.path, begun["redelivery"]["id"].as_str().unwrap());
    let done = w.until(&run, "/redelivery/state", json!("finished")).await;
    let figures = ["total", "sent", "success", "error", "skipped"].map(|key| done["redelivery"][key].clone());
    assert_eq!(figures, [2, 2, 2, 0, 0].map(Value::from));
    let (_, history) = w.app.get(&w.me.token, &format!("{}/history?days=1", w.path)).await;
    let today = &history["history"]["total"][0];
    assert_eq!((&today["success"], &today["error"]), (&json!(0), &json!(3)), "the history stays true");
    assert_eq!(history["history"]["redelivered"], json!({"success": 2, "error": 0, "skipped": 0}));
    assert_eq!(w.redeliver(json!({"dry_run": true})).await.1["products"], json!([{"id": two, "count": 1}]));
    let (_, list) = w.app.get(&w.me.token, &format!("{}/redeliveries", w.path)).await;
    assert_eq!(list["redeliveries"].as_array().unwrap().len(), 1);
    assert_eq!(w.app.delete(&w.me.token, &run).await.0, 409, "it has ended");
}

#[tokio::test]
async fn one_row_of_the_log_is_delivered_again_alone_and_only_once() {
    let w = world().await;
    w.fail(0, 2, 2).await;
    w.status.store(200, Ordering::Relaxed);
    let (_, shown) = w.app.get(&w.me.token, &w.path).await;
    let row = &shown["integration"]["logs"][0];
    assert_eq!(row["kept"], true, "{row}");
    let path = format!("{}/logs/{}/redeliver", w.path, row["id"].as_str().unwrap());
    let (code, begun) = w.app.post(&w.me.token, &path, json!({})).await;
    assert_eq!((code, &begun["total"]), (200, &json!(1)), "{begun}");
    let run = format!("{}/redeliveries/{}", w.path, begun["redelivery"]["id"].as_str().unwrap());
    w.until(&run, "/redelivery/state", json!("finished")).await;
    let (_, shown) = w.app.get(&w.me.token, &w.path).await;
    let rows = shown["integration"]["logs"].as_array().unwrap();
    assert_eq!((&rows[0]["redelivered"], &rows[0]["outcome"]), (&json!(true), &json!("success")));
    assert_eq!(rows.iter().filter(|row| row["kept"] == true).count(), 1, "the other one is still kept");
    let (code, refused) = w.app.post(&w.me.token, &path, json!({})).await;
    assert_eq!((code, refused["error"].as_str()), (409, Some("not_kept")));
    assert_eq!(w.app.post(&w.me.token, &format!("{}/logs/999/redeliver", w.path), json!({})).await.0, 404);
}

#[tokio::test]
async fn a_product_delivers_again_what_is_its_own() {
    let w = world().await;
    w.fail(0, 1, 1).await;
    w.fail(1, 1, 2).await;
    let own = w.made["products"][0]["integration_id"].as_str().unwrap();
    let path = format!("/v1/products/{}/integrations/{own}", w.products[0]["id"]);
    let (code, begun) = w.app.post(&w.me.token, &format!("{path}/redeliver"), json!({})).await;
    assert_eq!((code, &begun["total"]), (200, &json!(1)), "{begun}");
    let run = format!("{path}/redeliveries/{}", begun["redelivery"]["id"].as_str().unwrap());
    let done = w.until(&run, "/redelivery/state", json!("finished")).await;
    assert_eq!(done["redelivery"]["error"], 1, "the destination still refuses");
    assert_eq!(w.redeliver(json!({"dry_run": true})).await.1["total"], 2, "what failed again is still kept");
    let (_, history) = w.app.get(&w.me.token, &format!("{path}/history?days=1")).await;
    assert_eq!(history["history"]["redelivered"]["error"], 1);
}

#[tokio::test]
async fn wrong_fields_a_disabled_integration_and_people_without_the_right_are_refused() {
    let w = world().await;
    w.fail(0, 1, 1).await;
    for (body, field) in [
        (json!({"from": "soon"}), "from"),
        (json!({"from": "2030-01-02", "to": "2030-01-01"}), "from"),
        (json!({"outcome": "success"}), "outcome"),
        (json!({"product_ids": [99_999]}), "product_ids"),
        (json!({"product_ids": "x"}), "product_ids"),
        (json!({"dry_run": "maybe"}), "dry_run"),
        (json!({"since": 1}), "since"),
    ] {
        let (code, refused) = w.redeliver(body.clone()).await;
        assert_eq!((code, refused["errors"][0]["field"].as_str()), (400, Some(field)), "{body}: {refused}");
    }
    let viewer = w.app.member(&w.me, &w.org, "View-only").await;
    let stranger = w.app.signed_up_user().await;
    for (who, code) in [(&viewer, 403), (&stranger, 404)] {
        let redeliver = format!("{}/redeliver", w.path);
        assert_eq!(w.app.post(&who.token, &redeliver, json!({"dry_run": true})).await.0, code);
        assert_eq!(w.app.post(&who.token, &format!("{}/logs/1/redeliver", w.path), json!({})).await.0, code);
    }
    let (_, shown) = w.app.get(&w.me.token, &w.path).await;
    let mut config = shown["integration"].clone();
    config["disabled"] = json!(true);
    assert_eq!(w.app.put(&w.me.token, &w.path, config).await.0, 200);
    let (code, refused) = w.redeliver(json!({})).await;
    assert_eq!((code, refused["error"].as_str()), (409, Some("disabled")), "{refused}");
}

#[tokio::test]
async fn a_cancelled_redelivery_leaves_what_was_not_sent() {
    let w = world().await;
    // More than can begin before the run is cancelled.
    let all = 300;
    w.fail(0, all, all).await;
    w.status.store(200, Ordering::Relaxed);
    let (_, begun) = w.redeliver(json!({})).await;
    let run = format!("{}/redeliveries/{}", w.path, begun["redelivery"]["id"].as_str().unwrap());
    let (code, cancelled) = w.app.delete(&w.me.token, &run).await;
    assert_eq!((code, &cancelled["redelivery"]["state"]), (200, &json!("cancelled")), "{cancelled}");
    let sent = cancelled["redelivery"]["sent"].as_u64().unwrap();
    assert!(sent < all as u64, "{cancelled}");
    // Those that were being sent end as usual.
    w.until(&run, "/redelivery/success", json!(sent)).await;
    assert_eq!(w.redeliver(json!({"dry_run": true})).await.1["total"], json!(all as u64 - sent));
}

#[tokio::test]
async fn in_a_sandbox_what_failed_is_delivered_again_and_is_nobody_else_s_to_see() {
    let w = world().await;
    w.status.store(404, Ordering::Relaxed);
    let own = json!({"event": "mine", "url": receiver(w.status.clone()).await});
    let (code, made) = w.app.post(&w.me.token, "/v1/integrations", own).await;
    assert_eq!(code, 201, "{made}");
    let path = format!("/v1/integrations/{}", made["id"].as_str().unwrap());
    let event = json!({"name": "mine", "data": "open"});
    assert_eq!(w.app.post(&w.me.token, "/v1/devices/events", event).await.0, 200);
    w.until(&path, "/integration/logs/0/kept", json!(true)).await;

    let stranger = w.app.signed_up_user().await;
    let redeliver = format!("{path}/redeliver");
    assert_eq!(w.app.post(&stranger.token, &redeliver, json!({})).await.0, 404);

    w.status.store(200, Ordering::Relaxed);
    let (code, begun) = w.app.post(&w.me.token, &redeliver, json!({})).await;
    assert_eq!((code, &begun["total"]), (200, &json!(1)), "{begun}");
    let run = begun["redelivery"]["id"].as_str().unwrap();
    let ended = w.until(&format!("{path}/redeliveries/{run}"), "/redelivery/state", json!("finished")).await;
    assert_eq!(ended["redelivery"]["success"], 1, "{ended}");
    assert_eq!(w.app.get(&stranger.token, &format!("{path}/redeliveries/{run}")).await.0, 404);
}
