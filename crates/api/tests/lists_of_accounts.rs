//! Pages of products, teams, secrets and organizations (contract 2.2 and 2.3): optional, and complete without parameters.
#![allow(clippy::unwrap_used)]

mod support;

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};
use support::{Answer, Person, TestApp, unique};

struct World {
    app: TestApp,
    me: Person,
    /// Each list with the name under which its rows stand, and what a row is called.
    lists: Vec<(String, &'static str, &'static str)>,
}

/// Five rows in each list.
async fn world() -> World {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let path = format!("/v1/orgs/{}", org["id"].as_str().unwrap());
    for n in 0..5 {
        app.product(&me, &org).await;
        app.product(&me, &Value::Null).await;
        let secret = json!({"secret": {"name": format!("KEY_{n}"), "value": "x"}});
        assert_eq!(app.post(&me.token, &format!("{path}/secrets"), secret.clone()).await.0, 201);
        assert_eq!(app.post(&me.token, "/v1/secrets", secret).await.0, 201);
        let invited = json!({"username": format!("{}@example.com", unique("new"))});
        assert_eq!(app.post(&me.token, &format!("{path}/team"), invited).await.0, 201);
    }
    for _ in 0..4 {
        app.member(&me, &org, "Developer").await;
        app.org(&me, "basic").await;
    }
    let lists = vec![
        (format!("{path}/products"), "products", "slug"),
        ("/v1/user/products".to_owned(), "products", "slug"),
        (format!("{path}/team"), "team", "username"),
        (format!("{path}/team/invitations"), "invitations", "username"),
        (format!("{path}/secrets"), "secrets", "name"),
        ("/v1/secrets".to_owned(), "secrets", "name"),
        ("/v1/orgs".to_owned(), "organizations", "slug"),
    ];
    World { app, me, lists }
}

impl World {
    async fn ask(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {}", self.me.token));
        let answer = self.app.send(request.body(Body::empty()).unwrap()).await;
        support::check("GET", path, &answer);
        answer
    }
}

fn words(answer: &Answer, rows: &str, word: &str) -> Vec<String> {
    let text = |row: &Value| row[word].as_str().unwrap().to_owned();
    answer.json()[rows].as_array().unwrap().iter().map(text).collect()
}

#[tokio::test]
async fn pages_follow_one_another_without_gap_or_repetition_and_the_complete_list_stays() {
    let w = world().await;
    for (list, rows, word) in &w.lists {
        let complete = w.ask(list).await;
        assert!(!complete.headers.contains_key("x-next-cursor"), "{list}");
        let mut expected = words(&complete, rows, word);
        assert_eq!(expected.len(), 5, "{list}");
        let mut path = format!("{list}?limit=2");
        let (mut seen, mut sizes) = (Vec::new(), Vec::new());
        loop {
            let page = w.ask(&path).await;
            let found = words(&page, rows, word);
            sizes.push(found.len());
            seen.extend(found);
            let Some(link) = page.headers.get("link") else { break };
            path = link.to_str().unwrap().split(['<', '>']).nth(1).unwrap().to_owned();
            assert!(path.contains(page.headers["x-next-cursor"].to_str().unwrap()), "{path}");
        }
        assert_eq!(sizes, [2, 2, 1], "{list}");
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected, "{list}");
    }
}

#[tokio::test]
async fn a_search_finds_part_of_a_name_whatever_the_case_and_a_wrong_parameter_is_named() {
    let w = world().await;
    for (list, rows, word) in &w.lists {
        let all = words(&w.ask(list).await, rows, word);
        let wanted = all[3].to_uppercase();
        let found = w.ask(&format!("{list}?search={}", support::encode(&wanted))).await;
        let expected: Vec<&String> = all.iter().filter(|word| word.contains(&all[3])).collect();
        assert_eq!(words(&found, rows, word).iter().collect::<Vec<_>>(), expected, "{list}");
        let none = w.ask(&format!("{list}?search=nothing-of-this&limit=3")).await;
        assert_eq!(none.json()[rows], json!([]), "{list}");
        for (query, field) in
            [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("cursor=!", "cursor")]
        {
            let answer = w.ask(&format!("{list}?{query}")).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["errors"][0]["field"]), (400, &json!(field)));
        }
    }
}
