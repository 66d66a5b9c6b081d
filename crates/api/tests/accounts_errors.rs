//! How requests are refused, whoever refuses them (contract 2.1 and 3.2).

#![allow(clippy::unwrap_used)]

mod support;

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use support::{TestApp, check};

#[tokio::test]
async fn a_missing_token_is_400_a_bad_one_401_and_two_at_once_400() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let bearer = format!("Bearer {}", me.token);
    let query = format!("/v1/orgs?access_token={}", me.token);
    for (path, header, status, error, description) in [
        ("/v1/orgs", None, 400, "invalid_request", "The access token was not found"),
        ("/v1/orgs?access_token=", None, 400, "invalid_request", "The access token was not found"),
        ("/v1/orgs", Some("Basic eDp5"), 400, "invalid_request", "The access token was not found"),
        ("/v1/orgs", Some("Bearer "), 400, "invalid_request", "The access token was not found"),
        ("/v1/orgs", Some("Bearer x"), 401, "invalid_token", "The access token provided is invalid."),
        ("/v1/orgs?access_token=x", None, 401, "invalid_token", "The access token provided is invalid."),
        (query.as_str(), Some(bearer.as_str()), 400, "invalid_request", "more than one"),
    ] {
        let mut request = Request::get(path);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let answer = app.send(request.body(Body::empty()).unwrap()).await;
        check("GET", path, &answer);
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), &body["error"]), (status, &json!(error)), "{path} {header:?}");
        assert!(body["error_description"].as_str().unwrap().contains(description), "{body}");
    }
}

#[tokio::test]
async fn a_token_is_taken_from_the_header_the_query_or_a_form() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let get = Request::get(format!("/v1/orgs?access_token={}", me.token)).body(Body::empty()).unwrap();
    assert_eq!(app.send(get).await.status, 200);
    let lower = Request::get("/v1/orgs").header("authorization", format!("bearer {}", me.token));
    assert_eq!(app.send(lower.body(Body::empty()).unwrap()).await.status, 200);

    let answer = app.form("/v1/orgs", &[], &format!("name=By+form&access_token={}", me.token)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["organization"]["name"]), (201, &json!("By form")));
    let bearer = format!("Bearer {}", me.token);
    let both = format!("name=Twice&access_token={}", me.token);
    assert_eq!(app.form("/v1/orgs", &[("authorization", &bearer)], &both).await.status, 400);
    let form = "product[name]=Nested&product[platform_id]=32";
    let answer = app.form("/v1/user/products", &[("authorization", &bearer)], form).await;
    let product = answer.json()["product"].clone();
    assert_eq!((&product["name"], &product["platform_id"]), (&json!("Nested"), &json!(32)));
}

#[tokio::test]
async fn no_other_answer_is_401_or_speaks_of_access_tokens() {
    let app = TestApp::new().await;
    let (me, stranger) = (app.signed_up_user().await, app.signed_up_user().await);
    let org = app.org(&me, "basic").await;
    let viewer = app.member(&me, &org, "View-only").await;
    let org = format!("/v1/orgs/{}", org["id"].as_str().unwrap());
    // `call` checks the wording of each of these.
    for (method, token, path, body, status) in [
        ("GET", &me.token, "/v1/orgs/access%20token", Value::Null, 404),
        ("GET", &me.token, "/v1/products/Access%20Token", Value::Null, 404),
        ("GET", &stranger.token, org.as_str(), Value::Null, 404),
        ("PUT", &viewer.token, org.as_str(), json!({"name": "x"}), 403),
        ("POST", &me.token, "/v1/orgs", json!({"name": "x", "plan": "access token"}), 400),
        ("POST", &me.token, "/v1/orgs", json!({"access token": 1}), 400),
        ("PATCH", &me.token, "/v1/orgs", json!({}), 405),
        ("GET", &me.token, "/v1/access%20token", Value::Null, 404),
    ] {
        let (got, answer) = app.call(method, token, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn what_the_framework_refuses_is_json_too() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let bearer = format!("Bearer {}", me.token);
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(1024 * 1024));
    let (json_type, text_type) = ("application/json", "text/plain");
    let (multipart, unbounded) = ("multipart/form-data; boundary=x", "multipart/form-data");
    let devices = format!("/v1/products/{}/devices", app.product(&me, &Value::Null).await["id"]);
    for (method, path, kind, body, status, error) in [
        ("GET", "/nowhere", json_type, "", 404, "not_found"),
        ("GET", "/v1/orgs/%FF", json_type, "", 400, "invalid_request"),
        ("PATCH", "/v1/orgs", json_type, "{}", 405, "method_not_allowed"),
        ("DELETE", "/oauth/token", json_type, "", 405, "method_not_allowed"),
        ("POST", "/v1/orgs", json_type, "{", 400, "invalid_request"),
        ("POST", "/v1/orgs", json_type, "[]", 400, "invalid_request"),
        ("POST", "/v1/orgs", json_type, &large, 413, "payload_too_large"),
        ("POST", "/v1/orgs", text_type, "name=x", 415, "unsupported_media_type"),
        ("POST", "/v1/orgs", "application/x-www-form-urlencoded", "name=%FF", 400, "invalid_request"),
        ("POST", &devices, multipart, "--x\r\nnonsense", 400, "invalid_request"),
        ("POST", &devices, multipart, "--x--\r\n", 400, "invalid_request"),
        ("POST", &devices, unbounded, "", 400, "invalid_request"),
        ("GET", &format!("{devices}?page=%FF"), json_type, "", 400, "invalid_request"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", &bearer)
            .header("content-type", kind)
            .header("content-length", body.len())
            .body(Body::from(body.to_owned()))
            .unwrap();
        let answer = app.send(request).await;
        check(method, path, &answer);
        let json = answer.json();
        assert_eq!(
            (answer.status.as_u16(), &json["error"], &json["ok"]),
            (status, &json!(error), &json!(false)),
            "{method} {path} {body:.20}"
        );
    }
}

#[tokio::test]
async fn a_body_of_unannounced_length_is_bounded_as_well() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let chunks = (0..40).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 64 * 1024])));
    let request = Request::post("/v1/orgs")
        .header("authorization", format!("Bearer {}", me.token))
        .header("content-type", "application/json")
        .body(Body::from_stream(futures_util::stream::iter(chunks)))
        .unwrap();
    let answer = app.send(request).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (413, &json!("payload_too_large")));
}

#[tokio::test]
async fn a_general_limit_of_requests_can_be_set() {
    let app = TestApp::limited(2).await;
    for status in [400, 400, 429] {
        assert_eq!(app.get("", "/v1/orgs").await.0, status);
    }
    let answer = app.send(Request::get("/v1/orgs").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (&answer.json()["error"], &answer.headers["retry-after"]),
        (&json!("too_many_requests"), &"60".parse().unwrap())
    );
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_does_not_count() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    assert_eq!(app.get(&me.token, "/v1/orgs/").await, (200, json!({"organizations": []})));
    assert_eq!(app.get(&me.token, "/v1/nowhere/").await.0, 404);
}
