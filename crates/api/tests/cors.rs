//! Calls of pages that come from elsewhere, and the headers of every answer.

#![allow(clippy::unwrap_used)]

mod support;

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use support::TestApp;

const ORIGIN: &str = "https://dash.example";

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn assert_open(headers: &HeaderMap, what: &str) {
    assert_eq!(text(headers, "access-control-allow-origin"), "*", "{what}");
    assert!(!headers.contains_key("access-control-allow-credentials"), "{what}");
}

#[tokio::test]
async fn a_browser_that_asks_first_may_call_with_every_method_and_the_headers_it_names() {
    let app = TestApp::new().await;
    for (path, method, asked) in [
        ("/v1/products/1/events", "POST", "authorization,content-type"),
        ("/oauth/token", "POST", "authorization"),
        ("/v1/products/1/events/temp", "GET", "authorization,cache-control"),
        ("/v1/orgs/o/integrations/i", "PUT", "authorization,x-particle-tool,x-particle-project"),
        ("/v1/access_tokens/x", "DELETE", ""),
        ("/v1/nowhere/", "GET", "authorization"),
    ] {
        let mut request = Request::builder()
            .method("OPTIONS")
            .uri(path)
            .header(header::ORIGIN, ORIGIN)
            .header("access-control-request-method", method);
        if !asked.is_empty() {
            request = request.header("access-control-request-headers", asked);
        }
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_open(&answer.headers, path);
        let methods = text(&answer.headers, "access-control-allow-methods");
        assert!(methods.split(", ").any(|allowed| allowed == method), "{path}: {methods}");
        let allowed = text(&answer.headers, "access-control-allow-headers");
        assert!(
            allowed.contains(if asked.is_empty() { "authorization" } else { asked }),
            "{path}: {allowed}"
        );
    }
}

#[tokio::test]
async fn every_answer_under_v1_and_oauth_can_be_read_from_elsewhere_and_is_kept_nowhere() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let bearer = format!("Bearer {}", me.token);
    for (method, path, token, status) in [
        ("GET", "/v1/user", bearer.as_str(), 200),
        ("GET", "/v1/user", "Bearer wrong", 401),
        ("GET", "/v1/user", "", 400),
        ("GET", "/v1/products/none", bearer.as_str(), 404),
        ("GET", "/v1/nowhere", "", 404),
        ("PATCH", "/v1/user", bearer.as_str(), 405),
        ("OPTIONS", "/v1/user", bearer.as_str(), 405),
        ("POST", "/oauth/token", "", 400),
        ("GET", "/v1/events/x", bearer.as_str(), 200),
        ("GET", "/health", "", 200),
        ("GET", "/nowhere", "", 404),
    ] {
        let mut request = Request::builder().method(method).uri(path).header(header::ORIGIN, ORIGIN);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, token);
        }
        let answer = app.raw(request.body(Body::empty()).unwrap()).await;
        let what = format!("{method} {path}");
        assert_eq!(answer.status().as_u16(), status, "{what}");
        if path.starts_with("/v1") || path.starts_with("/oauth") {
            assert_open(answer.headers(), &what);
        } else {
            assert!(!answer.headers().contains_key("access-control-allow-origin"), "{what}");
        }
        assert!(text(answer.headers(), "cache-control").contains("no-store"), "{what}");
        assert_eq!(text(answer.headers(), "x-content-type-options"), "nosniff", "{what}");
    }
}

#[tokio::test]
async fn the_stream_of_everything_needs_a_prefix() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    for path in ["/v1/events", "/v1/events/", "/v1/events?access_token="] {
        let (status, answer) = app.get(&me.token, path).await;
        assert_eq!(status, 400, "{path}");
        assert_eq!(answer["error_description"], "event prefix filter is required", "{path}");
    }
}
