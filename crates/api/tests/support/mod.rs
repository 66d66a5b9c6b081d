//! The real router over a store in a temporary folder, and what most tests need in it.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part of it")]

pub(crate) mod destination;

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use tributary_api::{OpenStreams, Parts, RequestLimit, router};
use tributary_control::accounts_settings::{AccountSettings, Signup};
use tributary_domain::Timestamp;

/// The time at which tests begin.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000);
/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse";

static NOW: AtomicI64 = AtomicI64::new(START.0);
static NAMES: AtomicU32 = AtomicU32::new(1);

/// Lets time pass for all use-cases of this process.
pub(crate) fn pass(seconds: i64) {
    NOW.fetch_add(seconds * 1_000, Ordering::SeqCst);
}

fn now() -> Timestamp {
    Timestamp(NOW.load(Ordering::SeqCst))
}

/// A word that no other one of this process equals.
pub(crate) fn unique(word: &str) -> String {
    format!("{word}-{}", NAMES.fetch_add(1, Ordering::SeqCst))
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is empty.
    pub(crate) fn json(&self) -> Value {
        if self.bytes.is_empty() { Value::Null } else { serde_json::from_slice(&self.bytes).unwrap() }
    }
}

/// Somebody with an account.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) username: String,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

/// The application under test.
pub(crate) struct TestApp {
    router: Router,
    // Deleted with the application.
    _folder: TempDir,
}

impl TestApp {
    /// An empty one in which anybody may sign up.
    pub(crate) async fn new() -> TestApp {
        TestApp::with(AccountSettings { signup: Signup::Open, ..AccountSettings::default() }).await
    }

    /// An empty one with these settings.
    pub(crate) async fn with(accounts: AccountSettings) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let control = tributary_control::testing::open(folder.path(), accounts, now).await.unwrap();
        let state = Parts {
            control,
            request_limit: RequestLimit::default(),
            open_streams: OpenStreams::new(100, 150),
        };
        TestApp { router: router(state.into()), _folder: folder }
    }

    /// An empty one that takes so many requests a minute from one address.
    pub(crate) async fn limited(per_minute: u32) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let accounts = AccountSettings::default();
        let control = tributary_control::testing::open(folder.path(), accounts, now).await.unwrap();
        let request_limit = RequestLimit::new(per_minute);
        let state = Parts { control, request_limit, open_streams: OpenStreams::new(100, 150) };
        TestApp { router: router(state.into()), _folder: folder }
    }

    /// Sends any request and gives the answer before its body, which may never end.
    pub(crate) async fn raw(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends any request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.raw(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// Sends JSON; `Value::Null` sends no body. Checks what holds for every answer, and gives status and JSON.
    pub(crate) async fn call(&self, method: &str, token: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = match body {
            Value::Null => request.body(Body::empty()),
            body => {
                request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))
            }
        };
        let answer = self.send(request.unwrap()).await;
        check(method, path, &answer);
        (answer.status.as_u16(), answer.json())
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.call("GET", token, path, Value::Null).await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: Value) -> (u16, Value) {
        self.call("POST", token, path, body).await
    }

    pub(crate) async fn put(&self, token: &str, path: &str, body: Value) -> (u16, Value) {
        self.call("PUT", token, path, body).await
    }

    pub(crate) async fn delete(&self, token: &str, path: &str) -> (u16, Value) {
        self.call("DELETE", token, path, Value::Null).await
    }

    /// Sends a form, with these headers besides.
    pub(crate) async fn form(&self, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
        let mut request = Request::builder()
            .method("POST")
            .uri(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.send(request.body(Body::from(form.to_owned())).unwrap()).await;
        check("POST", path, &answer);
        answer
    }

    /// Signs in with a form, as clients do.
    pub(crate) async fn sign_in(&self, username: &str, password: &str) -> Answer {
        let (username, password) = (encode(username), encode(password));
        let form = format!(
            "grant_type=password&client_id=particle&client_secret=particle&username={username}&password={password}"
        );
        self.form("/oauth/token", &[], &form).await
    }

    /// Somebody who has signed up and signed in.
    pub(crate) async fn signed_up_user(&self) -> Person {
        let username = format!("{}@example.com", unique("person"));
        let (status, body) =
            self.post("", "/v1/users", json!({"username": username, "password": PASSWORD})).await;
        assert_eq!(status, 200, "{body}");
        let granted = self.sign_in(&username, PASSWORD).await.json();
        let text = |key: &str| granted[key].as_str().unwrap().to_owned();
        Person { username, token: text("access_token"), refresh_token: text("refresh_token") }
    }

    /// A new organization of this person, as JSON.
    pub(crate) async fn org(&self, owner: &Person, plan: &str) -> Value {
        let (status, body) =
            self.post(&owner.token, "/v1/orgs", json!({"name": unique("Org"), "plan": plan})).await;
        assert_eq!(status, 201, "{body}");
        body["organization"].clone()
    }

    /// A new product of this organization (its JSON), or of the sandbox when that is null; as JSON.
    pub(crate) async fn product(&self, person: &Person, org: &Value) -> Value {
        let path = match org["id"].as_str() {
            Some(id) => format!("/v1/orgs/{id}/products"),
            None => "/v1/user/products".to_owned(),
        };
        let (status, body) =
            self.post(&person.token, &path, json!({"product": {"name": unique("Product")}})).await;
        assert_eq!(status, 201, "{body}");
        body["product"].clone()
    }

    /// A new device of this product; its id.
    pub(crate) async fn device(&self, person: &Person, product: &Value) -> String {
        let id = format!("{:024x}", NAMES.fetch_add(1, Ordering::SeqCst));
        let path = format!("/v1/products/{}/devices", product["id"]);
        let (status, body) = self.post(&person.token, &path, json!({"id": id})).await;
        assert_eq!((status, &body["updated"]), (200, &json!(1)), "{body}");
        id
    }

    /// Somebody with this role in an organization.
    pub(crate) async fn member(&self, owner: &Person, org: &Value, role: &str) -> Person {
        let person = self.signed_up_user().await;
        let path = format!("/v1/orgs/{}/team", org["id"].as_str().unwrap());
        let (status, body) =
            self.post(&owner.token, &path, json!({"username": person.username, "role": role})).await;
        assert_eq!(status, 201, "{body}");
        person
    }

    /// An API user with these scopes on the team under `path`: its name and token.
    pub(crate) async fn api_user(&self, manager: &Person, path: &str, scopes: &[&str]) -> Person {
        let body = json!({"friendly_name": "Robot", "scopes": scopes});
        let (status, body) = self.post(&manager.token, &format!("{path}/team"), body).await;
        assert_eq!(status, 201, "{body}");
        let created = &body["created"];
        Person {
            username: created["username"].as_str().unwrap().to_owned(),
            token: created["tokens"][0]["token"].as_str().unwrap().to_owned(),
            refresh_token: String::new(),
        }
    }
}

/// Percent-encodes a form value or path segment.
pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// What holds for every answer (contract 2.1 and 3.2).
pub(crate) fn check(method: &str, path: &str, answer: &Answer) {
    let text = String::from_utf8_lossy(&answer.bytes);
    let what = format!("{method} {path}: {} {text}", answer.status);
    if answer.status == StatusCode::NO_CONTENT {
        assert!(answer.bytes.is_empty(), "{what}");
        return;
    }
    let body = answer.json();
    if answer.status.is_success() {
        return;
    }
    assert!(body["error"].is_string() && body["error_description"].is_string(), "{what}");
    let (status, error) = (answer.status.as_u16(), body["error"].as_str().unwrap());
    assert_eq!(status == 401, error == "invalid_token", "{what}");
    if text.to_lowercase().contains("access token") {
        assert!(error == "invalid_token" || (status == 400 && error == "invalid_request"), "{what}");
    }
    assert!(status < 500 || status == 503, "{what}");
}
