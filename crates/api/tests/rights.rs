//! Rights that are no wider than their name: stored credentials stay with their destination, and each thing that a request
//! does needs the scope for it (contract 2.2, 3.1).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp};

const MASK: &str = "[[SENSITIVE]]";

struct World {
    app: TestApp,
    me: Person,
    org: String,
    products: Vec<Value>,
}

impl World {
    async fn new() -> World {
        let app = TestApp::new().await;
        let me = app.signed_up_user().await;
        let org = app.org(&me, "basic").await;
        let mut products = Vec::new();
        for _ in 0..3 {
            products.push(app.product(&me, &org).await["id"].clone());
        }
        World { org: format!("/v1/orgs/{}", org["id"].as_str().unwrap()), app, me, products }
    }

    async fn call(&self, who: &Person, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.app.call(method, &who.token, path, body).await
    }

    async fn share(&self, config: Value, products: &[usize]) -> (String, Value) {
        let mut body = config;
        body["product_ids"] = products.iter().map(|at| self.products[*at].clone()).collect();
        let (status, made) = self.call(&self.me, "POST", &format!("{}/integrations", self.org), body).await;
        assert_eq!(status, 201, "{made}");
        (format!("{}/integrations/{}", self.org, made["id"].as_str().unwrap()), made)
    }
}

fn config(url: &str) -> Value {
    json!({
        "event": "e", "url": url, "headers": {"Authorization": "Bearer stored"}, "query": {"api_key": "stored"},
        "parameters": {"HOST": "a.example", "A_TOKEN": "stored", "SITE": "eu"},
    })
}

fn masked(url: &str) -> Value {
    let mut config = config(url);
    config["headers"]["Authorization"] = MASK.into();
    config["query"]["api_key"] = MASK.into();
    config["parameters"]["A_TOKEN"] = MASK.into();
    config
}

fn wrong(body: &Value) -> Vec<String> {
    let errors = body["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let mut fields: Vec<String> =
        errors.iter().map(|e| e["field"].as_str().unwrap_or_default().to_owned()).collect();
    fields.sort();
    fields
}

const KEPT: [&str; 3] = ["headers.Authorization", "parameters.A_TOKEN", "query.api_key"];

#[tokio::test]
async fn stored_values_stay_only_while_scheme_host_and_port_stay() {
    let w = World::new().await;
    let (path, _) = w.share(config("https://{{{HOST}}}/in"), &[0, 1]).await;
    let (_, view) = w.call(&w.me, "GET", &path, Value::Null).await;
    let member = view["integration"]["products"][0]["integration_id"].as_str().unwrap().to_owned();
    let separate = format!("/v1/products/{}/integrations/{member}/separate", w.products[0]);
    for elsewhere in [
        "http://a.example/in",
        "https://a.example:444/in",
        "https://b.example/",
        "https://{{{SITE}}}/in",
        "https://a.example@b.example/",
        "https://{{x}}.a.example/",
        "{{{HOST}}}",
        "https://a.example{{{x}}}/",
    ] {
        let (status, refused) = w.call(&w.me, "PUT", &path, masked(elsewhere)).await;
        assert_eq!(
            (status, wrong(&refused)),
            (400, KEPT.map(str::to_owned).to_vec()),
            "{elsewhere}: {refused}"
        );
        assert!(refused["error_description"].as_str().unwrap().contains("enter it again"), "{refused}");
        let (status, refused) = w.call(&w.me, "POST", &separate, masked(elsewhere)).await;
        assert_eq!(
            (status, wrong(&refused)),
            (400, KEPT.map(str::to_owned).to_vec()),
            "{elsewhere}: {refused}"
        );
        for (place, id) in
            [(w.org.clone(), &path[path.len() - 24..]), (format!("/v1/products/{}", w.products[0]), &member)]
        {
            let body = json!({"id": id, "integration": masked(elsewhere), "events": [{"name": "e"}]});
            let (status, refused) =
                w.call(&w.me, "POST", &format!("{place}/integrations/preview"), body).await;
            assert_eq!(
                (status, wrong(&refused)),
                (400, KEPT.map(str::to_owned).to_vec()),
                "{elsewhere}: {refused}"
            );
        }
    }
    // A default of a parameter moves it as well.
    let mut moved = masked("https://{{{HOST}}}/in");
    moved["parameters"]["HOST"] = "evil.example".into();
    assert_eq!(w.call(&w.me, "PUT", &path, moved.clone()).await.0, 400);
    assert_eq!(w.call(&w.me, "POST", &separate, moved).await.0, 400);
    // The same place, however it is written, and everything else may change.
    for same in ["HTTPS://A.example:443/other?x", "https://{{HOST}}/in", "https://{{{HOST}}}/{{{data}}}"] {
        let mut body = masked(same);
        body["name"] = same.into();
        let (status, kept) = w.call(&w.me, "PUT", &path, body).await;
        assert_eq!(status, 200, "{same}: {kept}");
    }
    // Who enters them again may go anywhere.
    assert_eq!(w.call(&w.me, "PUT", &path, config("https://b.example/")).await.0, 200);
    assert_eq!(w.call(&w.me, "PUT", &path, masked("https://b.example/x")).await.0, 200);
}

#[tokio::test]
async fn an_override_and_a_version_take_no_stored_value_elsewhere() {
    let w = World::new().await;
    let (path, _) = w.share(config("https://{{{HOST}}}/in"), &[0, 1]).await;
    let on = |at: usize| format!("{path}/products/{}", w.products[at]);
    for at in [1, 2] {
        let (status, refused) =
            w.call(&w.me, "PUT", &on(at), json!({"parameters": {"HOST": "evil.example"}})).await;
        assert_eq!((status, wrong(&refused)), (400, KEPT.map(str::to_owned).to_vec()), "{refused}");
    }
    let guessed = json!({
        "parameters": {"HOST": "b.example", "A_TOKEN": "own"}, "headers": {"Authorization": "Bearer guess"}, "query": {"api_key": MASK}
    });
    let (status, refused) = w.call(&w.me, "PUT", &on(1), guessed).await;
    assert_eq!(
        (status, wrong(&refused)),
        (400, vec!["headers.Authorization".to_owned(), "query.api_key".to_owned()])
    );
    let known = json!({
        "parameters": {"HOST": "b.example", "A_TOKEN": "own"}, "headers": {"Authorization": "Bearer stored"}, "query": {"api_key": "stored"}
    });
    let (status, put) = w.call(&w.me, "PUT", &on(1), known).await;
    assert_eq!(status, 200, "{put}");
    assert_eq!(
        w.call(&w.me, "PUT", &on(1), json!({"parameters": {"HOST": "a.example", "SITE": "us"}})).await.0,
        200
    );
    assert_eq!(
        w.call(&w.me, "PUT", &on(0), json!({"parameters": {"SITE": "us"}})).await.0,
        200,
        "it goes nowhere else"
    );

    // A version that went elsewhere comes back with its values entered again only.
    assert_eq!(w.call(&w.me, "PUT", &path, config("https://c.example/")).await.0, 200);
    let (status, refused) = w.call(&w.me, "POST", &format!("{path}/versions/1/restore"), Value::Null).await;
    assert_eq!((status, wrong(&refused)), (400, KEPT.map(str::to_owned).to_vec()), "{refused}");
    let without = json!({"event": "e", "url": "https://c.example/", "name": "bare"});
    assert_eq!(w.call(&w.me, "PUT", &path, without).await.0, 200);
    let elsewhere = json!({"event": "e", "url": "https://d.example/"});
    assert_eq!(w.call(&w.me, "PUT", &path, elsewhere).await.0, 200);
    let (status, back) = w.call(&w.me, "POST", &format!("{path}/versions/3/restore"), Value::Null).await;
    assert_eq!(status, 200, "nothing is stored in it: {back}");
}

#[tokio::test]
async fn overrides_that_a_template_only_refers_to_need_nothing_again() {
    let w = World::new().await;
    let refers = json!({
        "event": "e", "url": "https://{{{HOST}}}/", "headers": {"Authorization": "Bearer {{{KEY}}}"}, "parameters": {"HOST": "a.example"}
    });
    let (path, _) = w.share(refers, &[0]).await;
    let on = format!("{path}/products/{}", w.products[0]);
    assert_eq!(w.call(&w.me, "PUT", &on, json!({"parameters": {"HOST": "b.example"}})).await.0, 200);
}

/// What an API user with each of these scopes may do: everything else is 403.
#[tokio::test]
async fn each_thing_that_a_request_does_needs_its_scope() {
    let w = World::new().await;
    let plain = |name: &str| json!({"event": "e", "url": "https://a.example/", "name": name});
    let list = |at: &[usize]| at.iter().map(|at| w.products[*at].clone()).collect::<Value>();
    let put = |at: &[usize]| {
        let mut body = plain("n");
        body["product_ids"] = list(at);
        body
    };
    let (update, create, remove) = ("integrations:update", "integrations:create", "integrations:remove");
    let preview = format!("{}/integrations/preview", w.org);
    let mut previewed = json!({"integration": put(&[0]), "last": 5});
    let cases: Vec<(&str, &str, Value, Vec<&str>)> = vec![
        ("PUT", "", put(&[0, 1]), vec![update]),
        ("PUT", "", put(&[0, 1, 2]), vec![update, create]),
        ("PUT", "", put(&[0]), vec![update, remove]),
        ("PUT", "", put(&[1, 2]), vec![update, create, remove]),
        ("PUT", "/products/<third>", json!({}), vec![create]),
        ("DELETE", "/products/<second>", Value::Null, vec![remove]),
        ("POST", "/merge", json!({}), vec![update, remove]),
        ("POST", "/test", json!({}), vec!["integrations:test"]),
        ("POST", "/redeliver", json!({"dry_run": true}), vec![update]),
        ("GET", "", Value::Null, vec!["integrations:get"]),
        ("GET", "/versions", Value::Null, vec!["integrations:get"]),
        ("GET", "/history", Value::Null, vec!["integrations:get"]),
        ("DELETE", "", Value::Null, vec![remove]),
        ("preview", "", previewed.clone(), vec![update, "events:get"]),
        (
            "preview",
            "",
            {
                previewed["last"] = Value::Null;
                previewed["events"] = json!([{"name": "e"}]);
                previewed
            },
            vec![update],
        ),
    ];
    for (method, under, body, needed) in cases {
        let (path, made) = w.share(plain("one"), &[0, 1]).await;
        let (other, _) = w.share(plain("two"), &[2]).await;
        let under = under.replace("<second>", &w.products[1].to_string());
        let under = under.replace("<third>", &w.products[2].to_string());
        let body = if under == "/merge" { json!({"from": [&other[other.len() - 24..]]}) } else { body };
        let (method, path) = match method {
            "preview" => ("POST", preview.clone()),
            method => (method, format!("{path}{under}")),
        };
        for left_out in &needed {
            let scopes: Vec<&str> = needed.iter().filter(|scope| scope != &left_out).copied().collect();
            let scopes = if scopes.is_empty() { vec!["devices:list"] } else { scopes };
            let robot = w.app.api_user(&w.me, &w.org, &scopes).await;
            let (status, refused) = w.call(&robot, method, &path, body.clone()).await;
            assert_eq!(status, 403, "{method} {path} {body} without {left_out}: {refused}");
            assert!(refused["error_description"].as_str().unwrap().contains(left_out), "{refused}");
        }
        let robot = w.app.api_user(&w.me, &w.org, &needed).await;
        let (status, done) = w.call(&robot, method, &path, body.clone()).await;
        assert!(
            (200..300).contains(&status),
            "{method} {path} {body} with {needed:?}: {status} {done} {made}"
        );
    }
}

#[tokio::test]
async fn an_api_user_gives_no_role_that_may_do_more_than_look() {
    let w = World::new().await;
    let team = format!("{}/team", w.org);
    let everything: Vec<&str> =
        vec!["teams.users:*", "integrations:create", "integrations:update", "events:send"];
    for scopes in [vec!["teams.users:invite", "teams.users:update"], everything] {
        let robot = w.app.api_user(&w.me, &w.org, &scopes).await;
        for (role, status) in [
            ("View-only", 201),
            ("Support", 201),
            ("Developer", 403),
            ("Administrator", 403),
            ("Administrator (Owner)", 403),
        ] {
            let person = w.app.signed_up_user().await;
            let body = json!({"username": person.username, "role": role});
            let (got, answer) = w.call(&robot, "POST", &team, body).await;
            assert_eq!(got, status, "{role}: {answer}");
            let nobody = json!({"username": format!("nobody+{}", person.username), "role": role});
            assert_eq!(w.call(&robot, "POST", &team, nobody).await.0, status, "{role} by an invitation");
        }
        let person = w.app.signed_up_user().await;
        let (status, refused) = w.call(&robot, "POST", &team, json!({"username": person.username})).await;
        assert_eq!(status, 403, "without a role it would be Developer: {refused}");
    }
}

#[tokio::test]
async fn a_token_for_one_device_speaks_for_that_device_alone() {
    let w = World::new().await;
    let product = json!({"id": w.products[0]});
    let (mine, other) = (w.app.device(&w.me, &product).await, w.app.device(&w.me, &product).await);
    let path = format!("/v1/products/{}", w.products[0]);
    let scope = format!("events:send:{mine}");
    let robot = w.app.api_user(&w.me, &path, &[&scope]).await;
    let events = format!("{path}/events");
    for (body, expected) in [
        (json!({"name": "e", "as_device_id": mine}), 200),
        (json!({"name": "e", "as_device_id": mine.to_uppercase()}), 200),
        (json!({"name": "e", "as_device_id": other}), 403),
        (json!({"name": "e", "as_device_id": "nothing"}), 403),
        (json!({"name": "e"}), 403),
    ] {
        let (status, answer) = w.call(&robot, "POST", &events, body.clone()).await;
        assert_eq!(status, expected, "{body}: {answer}");
    }
    assert_eq!(w.call(&robot, "GET", &format!("{path}/devices"), Value::Null).await.0, 403);
    let body = json!({"friendly_name": "x", "scopes": ["events:send:xyz"]});
    assert_eq!(w.call(&w.me, "POST", &format!("{path}/team"), body).await.0, 400);
    // Who has the wider scope may grant the narrower one, and not the other way round.
    let giver = w.app.api_user(&w.me, &path, &["teams.users:invite", &scope]).await;
    let grant = |scope: &str| json!({"friendly_name": "y", "scopes": [scope]});
    assert_eq!(w.call(&giver, "POST", &format!("{path}/team"), grant(&scope)).await.0, 201);
    for wider in ["events:send".to_owned(), format!("events:send:{other}")] {
        assert_eq!(w.call(&giver, "POST", &format!("{path}/team"), grant(&wider)).await.0, 403, "{wider}");
    }
}
