//! Previews: what is shown is what delivery sends, and nothing else happens.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/receiver.rs"]
mod receiver;
mod support;

use std::collections::BTreeMap;

use receiver::{Arrived, Receiver};
use serde_json::{Value, json};
use support::{Person, TestApp};

const MASK: &str = "[[SENSITIVE]]";
/// A cloud secret with characters that every escaping changes.
const SECRET: &str = "hush & \"co\" <x>";
/// Data with numbers, flags, lists, and characters that must be escaped.
const DATA: &str = r#"{"t":21.50,"flag":true,"text":"a \"b\" & <c>'é/?#\n","list":[{"n":1},{"n":2}],"deep":{"er":[5]},"none":null,"kind":"humidity"}"#;

struct Scene {
    app: TestApp,
    me: Person,
    org: String,
    products: Vec<Value>,
}

impl Scene {
    async fn new(products: usize) -> Scene {
        let app = TestApp::new().await;
        let me = app.signed_up_user().await;
        let org = app.org(&me, "basic").await;
        let mut made = Vec::new();
        for _ in 0..products {
            made.push(app.product(&me, &org).await);
        }
        Scene { app, me, org: format!("/v1/orgs/{}", org["id"].as_str().unwrap()), products: made }
    }

    fn product(&self, at: usize) -> String {
        format!("/v1/products/{}", self.products[at]["id"])
    }

    async fn publish(&self, at: usize, name: &str, data: &str) {
        let path = format!("{}/events", self.product(at));
        let (status, body) = self.app.post(&self.me.token, &path, json!({"name": name, "data": data})).await;
        assert_eq!(status, 200, "{body}");
    }

    async fn created(&self, place: &str, config: &Value) -> Value {
        let path = format!("{place}/integrations");
        let (status, body) = self.app.post(&self.me.token, &path, config.clone()).await;
        assert_eq!(status, 201, "{body}");
        body
    }

    async fn preview(&self, place: &str, body: Value) -> Value {
        let (status, body) =
            self.app.post(&self.me.token, &format!("{place}/integrations/preview"), body).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// The codes of the warnings, in order.
fn codes(preview: &Value) -> Vec<&str> {
    preview["warnings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect()
}

/// Every field of a webhook, in each of the ways in which it can be used. `url` is the path at the receiver.
fn every_way() -> Vec<(&'static str, Value)> {
    let text = "{{text}} {{{text}}} {{&text}}";
    vec![
        ("nothing but the url", json!({})),
        ("no defaults", json!({"noDefaults": true})),
        ("get", json!({"requestType": "GET"})),
        ("get without defaults", json!({"requestType": "GET", "noDefaults": true})),
        (
            "get with form and query",
            json!({"requestType": "GET", "form": {"f": text}, "query": {"q {{kind}}": text, "event": "mine"}}),
        ),
        ("put", json!({"requestType": "PUT"})),
        ("put nothing", json!({"requestType": "PUT", "noDefaults": true})),
        ("delete", json!({"requestType": "DELETE", "query": {"a": ["x", "{{t}}"]}})),
        ("delete with a body", json!({"requestType": "DELETE", "noDefaults": true, "body": text})),
        ("url with values", json!({"url": "/{{{text}}}/{{t}}?q={{{text}}}&f={{flag}}#cut"})),
        ("url with a query", json!({"url": "?a=1", "query": {"b": "{{{PRODUCT_ID}}}"}})),
        ("credentials in the url", json!({"credentials": "user:in-url"})),
        (
            "query",
            json!({"query": {"id": "{{PARTICLE_EVENT_ID}}", "n": 5, "flag": true, "deep": {"x": "{{deep.er.0}}"}}}),
        ),
        (
            "headers",
            json!({"headers": {"X-Text": "{{{kind}}} {{t}}", "x-N": 5, "Content-Type": "text/x", "User-Agent": "mine", "Accept": "*/*", "X-{{kind}}": "1"}, "body": text}),
        ),
        (
            "the same header twice",
            json!({"headers": {"X-humidity": "1", "X-{{kind}}": "2", "x-{{kind}}": "3"}}),
        ),
        (
            "hidden headers",
            json!({"headers": {"Authorization": "Bearer {{{KEY}}}", "X-Api-Key": "k-{{kind}}"}}),
        ),
        ("auth", json!({"auth": {"username": "{{kind}}", "password": "pa ss"}})),
        (
            "json object",
            json!({"json": {"{{kind}}": "{{t}}", "n": 1.50, "text": text, "list": ["{{#list}}{{n}};{{/list}}", null, {"a": "{{^none}}no{{/none}}"}], "event": "mine"}}),
        ),
        ("json object without defaults", json!({"json": {"a": "{{{text}}}"}, "noDefaults": true})),
        ("json text", json!({"json": "{\"t\": {{t}}, \"flag\": {{flag}}, \"list\": {{{list}}}}"})),
        ("json text without defaults", json!({"json": "[{{t}}, \"{{kind}}\"]", "noDefaults": true})),
        ("json that is none", json!({"json": "{ {{kind}} "})),
        (
            "form",
            json!({"form": {"a": text, "{{kind}}": "{{deep.er.0}}", "data": "mine", "l": [1, "{{t}}"]}}),
        ),
        ("form with put", json!({"requestType": "PUT", "form": {"a": text}, "noDefaults": true})),
        (
            "body",
            json!({"body": "{{PARTICLE_EVENT_JSON}}\n{{{PARTICLE_EVENT_JSON}}}\r\n{{PARTICLE_EVENT_BASE64}}é"}),
        ),
        ("body with other delimiters", json!({"body": "{{=<% %>=}}<% t %> {{t}} <%& text %>"})),
        (
            "every predefined name",
            json!({"json": {"a": "{{PARTICLE_DEVICE_ID}} {{PARTICLE_EVENT_NAME}} {{{PARTICLE_EVENT_VALUE}}} {{PARTICLE_PUBLISHED_AT}} {{PARTICLE_EVENT_ID}} {{PRODUCT_ID}} {{PRODUCT_USER_ID}} {{PRODUCT_VERSION}}"}}),
        ),
        ("a secret in the body", json!({"body": "{{{KEY}}}"})),
        ("a secret in the url", json!({"url": "/{{{KEY}}}", "query": {"k": "{{{KEY}}}"}})),
        ("an escaped secret in json", json!({"json": {"k": "{{KEY}} {{{KEY}}}"}})),
        ("an escaped secret in a form", json!({"form": {"k": "{{KEY}}"}})),
        ("a large body", json!({"body": format!("{{{{kind}}}}{}", "x".repeat(90_000))})),
    ]
}

/// Puts the receiver's address in front of the path.
fn addressed(config: &Value, receiver: &Receiver, at: usize) -> Value {
    let mut config = config.clone();
    let object = config.as_object_mut().unwrap();
    let path = object.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut url = receiver.url(&format!("/c{at}-{path}"));
    if let Some(credentials) = object.remove("credentials") {
        url = url.replace("http://", &format!("http://{}@", credentials.as_str().unwrap()));
    }
    object.insert("url".to_owned(), url.into());
    object.insert("event".to_owned(), "reading".into());
    config
}

/// What a preview shows, in the form in which things arrive.
fn as_arrived(request: &Value, receiver: &Receiver) -> Arrived {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let url = text(&request["url"]);
    let mut headers = BTreeMap::<String, String>::new();
    for group in [&request["headers"], &request["added_by_http"]] {
        for (name, value) in group.as_object().unwrap() {
            let known = headers.entry(name.to_ascii_lowercase()).or_default();
            *known = if known.is_empty() { text(value) } else { format!("{known}, {}", text(value)) };
        }
    }
    Arrived {
        method: text(&request["method"]),
        target: url.strip_prefix(&format!("http://{}", receiver.address)).unwrap().to_owned(),
        headers,
        body: text(&request["body"]),
    }
}

/// Puts the mask where what arrived has the secret.
fn masked(mut arrived: Arrived) -> Arrived {
    let html = "hush &amp; &quot;co&quot; &lt;x&gt;";
    let json = SECRET.replace('"', "\\\"");
    let percent = |text: &str| support::encode(text).replace("%2D", "-").replace("%2E", ".");
    for spelling in [&json, html, SECRET, &percent(SECRET), &percent(html)] {
        arrived.target = arrived.target.replace(spelling, MASK);
        arrived.body = arrived.body.replace(spelling, MASK);
    }
    for name in ["authorization", "x-api-key"] {
        if let Some(value) = arrived.headers.get_mut(name) {
            assert!(!value.contains(MASK), "the real one is sent");
            *value = MASK.to_owned();
        }
    }
    arrived
}

#[tokio::test]
async fn a_preview_shows_every_byte_that_delivery_then_sends() {
    let scene = Scene::new(1).await;
    let receiver = Receiver::start().await;
    let secret = json!({"secret": {"name": "KEY", "value": SECRET}});
    assert_eq!(scene.app.post(&scene.me.token, &format!("{}/secrets", scene.org), secret).await.0, 201);
    let ways = every_way();
    for (at, (_, config)) in ways.iter().enumerate() {
        scene.created(&scene.product(0), &addressed(config, &receiver, at)).await;
    }
    scene.publish(0, "reading/1", DATA).await;
    for (at, (what, config)) in ways.iter().enumerate() {
        let config = addressed(config, &receiver, at);
        let arrived = receiver.first(&format!("/c{at}-")).await;
        let preview = scene.preview(&scene.product(0), json!({"integration": config, "last": 1})).await;
        let product = &preview["products"][0];
        assert_eq!((&product["looked_at"], &product["matched"]), (&json!(1), &json!(1)), "{what}");
        let event = &product["events"][0];
        assert_eq!(event["error"], Value::Null, "{what}");
        let request = &event["request"];
        assert_eq!(request["body_bytes"], json!(arrived.body.len()), "{what}");
        let (shown, sent) = (as_arrived(request, &receiver), masked(arrived));
        assert_eq!((&shown.method, &shown.target), (&sent.method, &sent.target), "{what}");
        assert_eq!(shown.headers, sent.headers, "{what}");
        assert_eq!(shown.body, sent.body, "{what}");
        for hidden in ["hush", "in-url", "pa ss"] {
            assert!(!preview.to_string().contains(hidden), "{what}: {preview}");
        }
    }
    assert_eq!(receiver.all().len(), ways.len(), "previews send nothing");
}

#[tokio::test]
async fn what_cannot_be_rendered_shows_the_error_that_delivery_would_end_with() {
    let scene = Scene::new(1).await;
    let place = scene.product(0);
    for (field, value, says) in [
        ("headers", json!({"X-A": "{{{text}}}"}), "headers.X-A: must not have line breaks"),
        ("url", json!("https://{{{text}}}/"), "url: a value in the host"),
        ("body", json!("{{{text}}}".repeat(80)), "body: the rendered text is longer than 1048576 bytes"),
    ] {
        let mut config = json!({"event": "reading", "url": "https://example.com/"});
        config[field] = value;
        let data = json!({"text": format!("a\n{}", "x".repeat(16_000))}).to_string();
        let created = scene.created(&place, &config).await;
        let id = created["id"].as_str().unwrap();
        let test = format!("{place}/integrations/{id}/test");
        let (_, tested) = scene.app.post(&scene.me.token, &test, json!({"data": data})).await;
        let events = json!([{"data": data}]);
        let preview = scene.preview(&place, json!({"integration": config, "events": events})).await;
        let event = &preview["products"][0]["events"][0];
        assert_eq!(event["request"], Value::Null);
        assert_eq!(event["error"], tested["error"], "as a delivery ends");
        assert!(event["error"].as_str().unwrap().starts_with(says), "{event}");
        let too_large = codes(&preview).contains(&"too_large");
        assert_eq!(too_large, field == "body", "{preview}");
    }
}

#[tokio::test]
async fn an_organization_sees_for_each_product_which_of_its_last_events_match() {
    let scene = Scene::new(3).await;
    let receiver = Receiver::start().await;
    for (product, name, count) in [(0, "reading", 3), (0, "other", 2), (1, "other", 1), (0, "reading", 9)] {
        for n in 0..count {
            scene.publish(product, name, &n.to_string()).await;
        }
    }
    let ids: Vec<Value> = scene.products.iter().map(|product| product["id"].clone()).collect();
    let config = json!({"event": "read", "url": receiver.url("/"), "product_ids": ids});
    let preview = scene.preview(&scene.org, json!({"integration": config, "last": 12})).await;
    let seen: Vec<_> = preview["products"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["product_id"].clone(), one["looked_at"].clone(), one["matched"].clone()))
        .collect();
    let row =
        |at: usize, looked_at: usize, matched: usize| (ids[at].clone(), json!(looked_at), json!(matched));
    assert_eq!(seen, [row(0, 12, 10), row(1, 1, 0), row(2, 0, 0)]);
    assert_eq!(preview["products"][0]["slug"], scene.products[0]["slug"]);
    let data: Vec<_> = preview["products"][0]["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["event"]["data"].as_str().unwrap())
        .collect();
    assert_eq!(data, ["2", "0", "1", "2", "3", "4", "5", "6", "7", "8"], "oldest first");
    let about = |code: &str| {
        let found = preview["warnings"].as_array().unwrap().iter().find(|one| one["code"] == code);
        found.unwrap_or_else(|| panic!("{code}: {preview}"))["product_ids"].clone()
    };
    assert_eq!((about("no_match"), about("no_events")), (json!([ids[1]]), json!([ids[2]])));

    // Neither stored, nor counted, nor sent.
    let (_, list) = scene.app.get(&scene.me.token, &format!("{}/integrations", scene.org)).await;
    assert_eq!(list, json!([]));
    assert!(receiver.all().is_empty());

    // The list may stand beside the configuration, and limits one that has its own.
    let mut config = config;
    let body = json!({"integration": config, "product_ids": [ids[1]]});
    assert_eq!(scene.preview(&scene.org, body).await["products"].as_array().unwrap().len(), 1);
    config.as_object_mut().unwrap().remove("product_ids");
    let body = json!({"integration": config, "product_ids": [ids[2], ids[0]]});
    let preview = scene.preview(&scene.org, body).await;
    assert_eq!(preview["products"][0]["product_id"], ids[2]);
    assert_eq!(preview["products"][1]["looked_at"], 10, "ten when nobody says how many");
}

#[tokio::test]
async fn a_change_shows_what_the_present_version_sends_and_what_differs() {
    let scene = Scene::new(2).await;
    let receiver = Receiver::start().await;
    let ids: Vec<Value> = scene.products.iter().map(|product| product["id"].clone()).collect();
    let old = json!({
        "event": "reading", "url": receiver.url("/old"), "headers": {"X-A": "1", "Authorization": "Bearer stored"},
        "auth": {"password": "stored-password"}, "body": "{{t}}", "product_ids": [ids[0]]
    });
    let created = scene.created(&scene.org, &old).await;
    let path = format!("{}/integrations/{}", scene.org, created["id"].as_str().unwrap());
    let (_, before) = scene.app.get(&scene.me.token, &path).await;
    let mut config = before["integration"].clone();
    assert_eq!(config["headers"]["Authorization"], MASK);
    let events = json!([{"name": "reading/1", "data": "{\"t\":1}"}, {"name": "read", "data": "{}"}]);
    let body = |config: &Value| json!({"integration": config, "id": created["id"], "events": events});

    let preview = scene.preview(&scene.org, body(&config)).await;
    assert_eq!(preview["products"].as_array().unwrap().len(), 1, "the members of the present version");
    let event = &preview["products"][0]["events"][0];
    assert_eq!((&event["changed"], &event["before"]["request"]), (&json!([]), &event["request"]));

    config["url"] = json!(receiver.url("/new"));
    config["headers"] = json!({"Authorization": "Bearer other", "x-a": "1", "X-B": "2"});
    config["body"] = json!("{{t}}!");
    config["event"] = json!("read");
    config["product_ids"] = json!(ids);
    let preview = scene.preview(&scene.org, body(&config)).await;
    let events = &preview["products"][0]["events"];
    let changed = json!(["url", "headers.authorization", "headers.x-b", "body"]);
    assert_eq!(events[0]["changed"], changed, "also a masked value");
    assert_eq!(events[0]["before"]["request"]["url"], receiver.url("/old"));
    assert_eq!(events[0]["request"]["headers"]["Authorization"], MASK);
    assert_eq!(events[1]["changed"], json!(["sent"]), "the present version does not fire");
    assert_eq!(events[1]["before"], json!({"request": null, "error": null}));
    let elsewhere = &preview["products"][1]["events"][0];
    assert_eq!(elsewhere["changed"], json!(["sent"]), "it does not execute there yet: {elsewhere}");
    for hidden in ["stored", "other"] {
        assert!(!preview.to_string().contains(hidden), "{preview}");
    }
    let (_, after) = scene.app.get(&scene.me.token, &path).await;
    assert_eq!(after, before, "nothing was stored");
    assert!(receiver.all().is_empty());

    // In a product: by its own id, and also where a change would need a separation first.
    scene.app.put(&scene.me.token, &format!("{path}/products/{}", ids[1]), Value::Null).await;
    let (_, list) = scene.app.get(&scene.me.token, &format!("{}/integrations", scene.product(1))).await;
    let body = json!({"integration": {"event": "reading", "url": receiver.url("/")}, "id": list[0]["id"], "events": [{}]});
    let preview = scene.preview(&scene.product(1), body).await;
    assert_eq!(preview["products"][0]["product_id"], ids[1]);
    assert_eq!(
        preview["products"][0]["events"][0]["event"]["name"], "reading",
        "a sample is called as the prefix"
    );
}

#[tokio::test]
async fn what_is_probably_not_meant_is_warned_of() {
    let scene = Scene::new(1).await;
    let place = scene.product(0);
    scene.publish(0, "reading", DATA).await;
    let warned = async |change: Value| {
        let mut config = json!({"event": "reading", "url": "https://example.com/"});
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        scene.preview(&place, json!({"integration": config})).await
    };
    let cases = [
        (json!({"body": "{{t}} {{deep.er.0}} {{#list}}{{n}}{{/list}} {{none}} {{PRODUCT_VERSION}}"}), vec![]),
        (json!({"body": "{{tt}} {{deep.other}}"}), vec!["missing_variable", "missing_variable"]),
        (json!({"json": {"t": "{{{t}}}"}}), vec!["sent_as_text"]),
        (json!({"json": "{\"flag\": \"{{flag}}\"}"}), vec!["sent_as_text"]),
        (json!({"json": "{\"t\": {{{t}}}}"}), vec![]),
        (json!({"json": {"t": "{{{text}}} {{t}}"}}), vec![]),
        (json!({"json": "{\"t\": {{{text}}}}"}), vec!["invalid_json"]),
        (json!({"body": "{", "headers": {"Content-Type": "application/json"}}), vec!["invalid_json"]),
        (json!({"body": "{{{text}}}", "headers": {"Content-Type": "text/plain"}}), vec![]),
        (json!({"disabled": true}), vec!["disabled"]),
        (json!({"event": "Reading"}), vec!["no_match"]),
    ];
    for (change, expected) in cases {
        let preview = warned(change.clone()).await;
        assert_eq!(codes(&preview), expected, "{change}: {}", preview["warnings"]);
    }
    let preview = warned(json!({"body": "{{tt}}"})).await;
    let warning = &preview["warnings"][0];
    assert!(warning["message"].as_str().unwrap().starts_with("tt: "), "{warning}");
    assert_eq!(warning["product_ids"], json!([scene.products[0]["id"]]));
}

#[tokio::test]
async fn a_sandbox_sees_the_events_of_its_owner_alone() {
    let scene = Scene::new(1).await;
    let other = scene.app.signed_up_user().await;
    for (person, data) in [(&scene.me, "mine"), (&other, "theirs")] {
        let event = json!({"name": "reading", "data": data});
        assert_eq!(scene.app.post(&person.token, "/v1/devices/events", event).await.0, 200);
    }
    scene.publish(0, "reading", "of the product").await;
    let device = scene.app.device(&scene.me, &scene.products[0]).await;
    assert_eq!(scene.app.post(&scene.me.token, "/v1/devices", json!({"id": device})).await.0, 200);
    let path = format!("{}/events", scene.product(0));
    let event = json!({"name": "reading", "data": "of my device", "as_device_id": device});
    assert_eq!(scene.app.post(&scene.me.token, &path, event).await.0, 200);

    let config = json!({"event": "reading", "url": "https://example.com/"});
    let preview = scene.preview("/v1", json!({"integration": config})).await;
    let product = &preview["products"][0];
    assert_eq!(product.get("product_id"), None);
    let data: Vec<_> =
        product["events"].as_array().unwrap().iter().map(|one| &one["event"]["data"]).collect();
    assert_eq!(data, ["mine", "of my device"]);

    let config = json!({"event": "reading", "url": "https://example.com/", "deviceID": device});
    let preview = scene.preview("/v1", json!({"integration": config})).await;
    assert_eq!(preview["products"][0]["matched"], 1, "that of the device: {preview}");
}

#[tokio::test]
async fn other_kinds_show_the_request_that_their_log_would_show() {
    let scene = Scene::new(1).await;
    let place = scene.product(0);
    let maps = r#"{"w":{"a":[{"m":"aa:bb:cc:dd:ee:ff","s":-50,"c":1}]}}"#;
    for (config, data, url) in [
        (
            json!({"integration_type": "AzureIotHub", "hub_name": "hub", "policy_name": "p", "policy_key": "aHVzaA=="}),
            "x",
            "https://hub.azure-devices.net/devices/",
        ),
        (
            json!({"integration_type": "GoogleMaps", "api_key": "hushhush"}),
            maps,
            "https://www.googleapis.com/geolocation/v1/geolocate",
        ),
    ] {
        let mut config = config;
        config["event"] = json!("reading");
        let events = json!([{"data": data, "coreid": "d1"}]);
        let preview = scene.preview(&place, json!({"integration": config, "events": events})).await;
        let event = &preview["products"][0]["events"][0];
        let shown = event["request"]["url"].as_str().unwrap_or_else(|| panic!("{event}"));
        assert!(shown.starts_with(url), "{shown}");
        assert_eq!(codes(&preview), Vec::<&str>::new());
        assert!(!preview.to_string().contains("hushhush") && !preview.to_string().contains("aHVzaA"));
    }
}

#[tokio::test]
async fn a_preview_shows_no_more_than_its_bounds_and_says_how_much_it_left_out() {
    let scene = Scene::new(1).await;
    let data = json!({"text": "x".repeat(16_000)}).to_string();
    let config = json!({"event": "a", "url": "https://example.com", "body": "{{text}}".repeat(60)});
    let events = vec![json!({"data": data}); 20];
    let preview = scene.preview(&scene.product(0), json!({"integration": config, "events": events})).await;
    let product = &preview["products"][0];
    assert_eq!((&product["looked_at"], &product["matched"]), (&json!(20), &json!(20)));
    assert_eq!(product["events"].as_array().unwrap().len(), 9, "more than 8 MiB");
    assert_eq!(product["left_out"], 11);
    let request = &product["events"][0]["request"];
    assert_eq!(request["body_bytes"], 960_000);
    assert_eq!(request["body"].as_str().unwrap().len(), 102_400, "as the log cuts it");
}

#[tokio::test]
async fn of_an_address_that_is_a_secret_nothing_but_the_host_is_shown() {
    let scene = Scene::new(1).await;
    let secret =
        json!({"secret": {"name": "BASE", "value": "https://user:hush-1@Hush-2.example/hush-3?key=hush-4"}});
    assert_eq!(scene.app.post(&scene.me.token, &format!("{}/secrets", scene.org), secret).await.0, 201);
    let config = json!({"event": "a", "url": "{{{BASE}}}", "query": {"t": "{{t}}"}, "noDefaults": true});
    let events = json!([{"data": "{\"t\":1}"}]);
    let preview = scene.preview(&scene.product(0), json!({"integration": config, "events": events})).await;
    let request = &preview["products"][0]["events"][0]["request"];
    assert_eq!(request["url"], format!("https://{MASK}&t=1"));
    for hidden in ["hush-1", "hush-3", "hush-4"] {
        assert!(!preview.to_string().contains(hidden), "{preview}");
    }
}

#[tokio::test]
async fn what_a_create_refuses_a_preview_refuses_alike() {
    let scene = Scene::new(1).await;
    for (place, config) in [
        (scene.org.clone(), json!({"event": "", "url": "gopher://x", "json": {"a": "{{#x}}"}, "body": "x"})),
        (scene.org.clone(), json!({"event": "a", "url": "https://example.com", "product_ids": ["*"]})),
        (
            scene.product(0),
            json!({"event": "a", "url": "https://example.com", "deviceID": "0123456789abcdef01234567"}),
        ),
        ("/v1".to_owned(), json!({"event": "a", "integration_type": "Nothing"})),
    ] {
        let create = scene.app.post(&scene.me.token, &format!("{place}/integrations"), config.clone()).await;
        let path = format!("{place}/integrations/preview");
        let preview = scene.app.post(&scene.me.token, &path, json!({"integration": config})).await;
        assert_eq!(create.0, 400, "{config}");
        assert_eq!(preview, create, "{config}");
    }
    let config = json!({"event": "a", "url": "https://example.com"});
    let path = format!("{}/integrations/preview", scene.product(0));
    for (change, field) in [
        (json!({"integration": "x"}), "integration"),
        (json!({"events": []}), "events"),
        (json!({"events": vec![json!({}); 21]}), "events"),
        (json!({"events": [{}, {"name": "spark"}]}), "events.1.name"),
        (json!({"events": [{"data": 5}]}), "events.0.data"),
        (json!({"events": [{"published_at": "soon"}]}), "events.0.published_at"),
        (json!({"last": 51}), "last"),
        (json!({"last": 1, "events": [{}]}), "last"),
        (json!({"id": 5}), "id"),
    ] {
        let mut body = json!({"integration": config});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let (status, refused) = scene.app.post(&scene.me.token, &path, body).await;
        assert_eq!((status, &refused["errors"][0]["field"]), (400, &json!(field)), "{change}");
    }
    let body = json!({"integration": config, "id": "0123456789abcdef01234567"});
    assert_eq!(scene.app.post(&scene.me.token, &path, body).await.0, 404);
}

#[tokio::test]
async fn who_may_change_integrations_may_preview_them() {
    let scene = Scene::new(1).await;
    let org = scene.app.get(&scene.me.token, &scene.org).await.1["organization"].clone();
    let path = format!("{}/integrations/preview", scene.product(0));
    let body = json!({"integration": {"event": "a", "url": "https://example.com"}});
    for (role, expected) in [("Developer", 200), ("Support", 403), ("View-only", 403)] {
        let member = scene.app.member(&scene.me, &org, role).await;
        let (status, answer) = scene.app.post(&member.token, &path, body.clone()).await;
        assert_eq!(status, expected, "{role}: {answer}");
    }
    let stranger = scene.app.signed_up_user().await;
    assert_eq!(scene.app.post(&stranger.token, &path, body.clone()).await.0, 404);
    let mut sample = body.clone();
    sample["events"] = json!([{"data": "x"}]);
    for (scopes, last, own) in [
        (&["integrations:update", "events:get"][..], 200, 200),
        (&["integrations:update"], 403, 200),
        (&["integrations:test"], 403, 403),
    ] {
        let robot = scene.app.api_user(&scene.me, &scene.product(0), scopes).await;
        let answers = [&body, &sample].map(|body| scene.app.post(&robot.token, &path, body.clone()));
        let [of_last, of_own] = answers;
        assert_eq!((of_last.await.0, of_own.await.0), (last, own), "{scopes:?}");
    }
    let free = scene.app.org(&scene.me, "free").await;
    let path = format!("/v1/orgs/{}/integrations/preview", free["id"].as_str().unwrap());
    assert_eq!(scene.app.post(&scene.me.token, &path, body).await.0, 403, "as creating it would be");
}
