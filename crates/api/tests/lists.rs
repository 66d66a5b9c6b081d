//! Lists of integrations: pages, search, filters and order, in all three places.
#![allow(clippy::unwrap_used)]

mod support;

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use support::{Answer, Person, TestApp, check};

struct World {
    app: TestApp,
    owner: Person,
    products: Vec<Value>,
    list: String,
}

/// An organization with seven integrations on two products.
async fn world() -> World {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, "basic").await;
    let products = vec![app.product(&owner, &org).await, app.product(&owner, &org).await];
    let list = format!("/v1/orgs/{}/integrations", org["id"].as_str().unwrap());
    for n in 0..7 {
        let on: Vec<_> = products.iter().take(1 + n % 2).map(|p| p["id"].clone()).collect();
        let body = json!({
            "name": format!("Name {}", 6 - n),
            "event": format!("event/{n}"),
            "url": format!("https://host-{n}.example.com/a"),
            "disabled": n == 3,
            "product_ids": on,
        });
        let (status, made) = app.post(&owner.token, &list, body).await;
        assert_eq!(status, 201, "{made}");
    }
    World { app, owner, products, list }
}

impl World {
    async fn ask(&self, path: &str) -> Answer {
        let request =
            Request::builder().uri(path).header("Authorization", format!("Bearer {}", self.owner.token));
        let answer = self.app.send(request.body(Body::empty()).unwrap()).await;
        check("GET", path, &answer);
        answer
    }

    async fn events(&self, path: &str) -> Vec<String> {
        events(&self.ask(path).await)
    }
}

fn events(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |row: &Value| row["event"].as_str().unwrap().trim_start_matches("event/").to_owned();
    answer.json().as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repetition_and_the_complete_list_stays() {
    let w = world().await;
    let complete = w.ask(&w.list).await;
    assert_eq!(events(&complete).len(), 7);
    assert!(!complete.headers.contains_key("x-next-cursor"));
    for order in [
        "name",
        "-name",
        "event",
        "created_at",
        "-updated_at",
        "success",
        "-error",
        "skipped",
        "address",
        "-products",
        "state",
    ] {
        let mut path = format!("{}?limit=3&order={order}", w.list);
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = w.ask(&path).await;
            let rows = events(&page);
            sizes.push(rows.len());
            seen.extend(rows);
            let Some(link) = page.headers.get("link") else { break };
            let cursor = page.headers["x-next-cursor"].to_str().unwrap();
            path = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
            assert!(path.contains(cursor) && path.contains("limit=3"), "{path}");
        }
        assert_eq!(sizes, [3, 3, 1], "{order}");
        let expected = match order {
            "name" => Some(["6", "5", "4", "3", "2", "1", "0"]),
            "-name" | "event" => Some(["0", "1", "2", "3", "4", "5", "6"]),
            _ => None,
        };
        if let Some(expected) = expected {
            assert_eq!(seen, expected, "{order}");
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7, "{order}");
    }
}

#[tokio::test]
async fn a_search_looks_into_name_event_and_address_whatever_the_case_and_filters_narrow_it() {
    let w = world().await;
    for (query, expected) in [
        ("search=NAME%206", vec!["0"]),
        ("search=EVENT/2", vec!["2"]),
        ("search=Host-5.EXAMPLE", vec!["5"]),
        ("search=%25", vec![]),
        ("event=event/1", vec!["1"]),
        ("event=event/", vec![]),
        ("state=disabled", vec!["3"]),
        ("state=enabled&search=host-3", vec![]),
        ("type=Webhook&order=event&limit=2", vec!["0", "1"]),
    ] {
        assert_eq!(w.events(&format!("{}?{query}", w.list)).await, expected, "{query}");
    }
    for key in [w.products[1]["id"].to_string(), w.products[1]["slug"].as_str().unwrap().to_owned()] {
        let path = format!("{}?product={key}&order=event", w.list);
        assert_eq!(w.events(&path).await, ["1", "3", "5"]);
    }
    let row = w.ask(&format!("{}?search=host-1", w.list)).await.json()[0].clone();
    let complete = w.ask(&w.list).await.json();
    let same = complete.as_array().unwrap().iter().find(|one| one["id"] == row["id"]).unwrap();
    assert_eq!(&row, same, "a row of a page is that of the complete list");
}

#[tokio::test]
async fn a_product_and_a_sandbox_have_the_same_pages_of_their_own_rows() {
    let w = world().await;
    let product = format!("/v1/products/{}/integrations", w.products[1]["id"]);
    assert_eq!(w.events(&format!("{product}?order=-event&limit=2")).await, ["5", "3"]);
    let whole = w.ask(&product).await.json();
    assert_eq!(
        w.ask(&format!("{product}?order=created_at&search=host-1")).await.json()[0]["org_integration_id"],
        whole.as_array().unwrap().iter().find(|one| one["event"] == "event/1").unwrap()["org_integration_id"]
    );
    let body = json!({"event": "event/mine", "url": "https://example.com/a"});
    assert_eq!(w.app.post(&w.owner.token, "/v1/integrations", body).await.0, 201);
    assert_eq!(w.events("/v1/integrations?limit=100&order=name").await, ["mine"]);
}

#[tokio::test]
async fn a_wrong_parameter_is_named() {
    let w = world().await;
    let first = w.ask(&format!("{}?limit=1&order=name", w.list)).await;
    let cursor = first.headers["x-next-cursor"].to_str().unwrap();
    let other_order = format!("order=event&cursor={cursor}");
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        (&other_order, "cursor"),
        ("order=size", "order"),
        ("state=on", "state"),
        ("type=Nothing", "type"),
        ("product=nowhere", "product"),
    ] {
        let answer = w.ask(&format!("{}?{query}", w.list)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["errors"][0]["field"]),
            (400, &json!(field)),
            "{query}"
        );
    }
    let answer = w.ask("/v1/integrations?product=1").await;
    assert_eq!(answer.json()["errors"][0]["field"], "product");
}
