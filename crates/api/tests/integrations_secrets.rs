//! Cloud secrets over HTTP (contract 2.3).
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::TestApp;

#[tokio::test]
async fn a_secret_is_created_updated_listed_and_deleted_and_its_value_never_shown() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "free").await;
    let in_org = format!("/v1/orgs/{}/secrets", org["slug"].as_str().unwrap());
    for path in ["/v1/secrets", &in_org] {
        assert_eq!(app.get(&me.token, path).await, (200, json!({"secrets": []})));
        let new = json!({"secret": {"name": "KEY", "value": "whisper"}});
        let (status, made) = app.post(&me.token, path, new.clone()).await;
        assert_eq!(status, 201, "{made}");
        let secret = &made["secret"];
        assert_eq!((&secret["name"], &secret["created_by"]), (&json!("KEY"), &json!(me.username)));
        assert_eq!((&secret["integrations"], &secret["logic_functions"]), (&json!([]), &json!([])));
        assert_eq!(secret["last_accessed_at"], Value::Null);
        let (status, taken) = app.post(&me.token, path, new).await;
        assert_eq!((status, &taken["errors"][0]["field"]), (400, &json!("name")));

        support::pass(1);
        let one = format!("{path}/KEY");
        let (status, changed) = app.put(&me.token, &one, json!({"secret": {"value": "other-whisper"}})).await;
        assert_eq!(status, 200);
        assert_eq!(changed["secret"]["created_at"], secret["created_at"]);
        assert_ne!(changed["secret"]["updated_at"], secret["updated_at"]);
        assert_eq!(
            app.put(&me.token, &format!("{path}/NEW"), json!({"secret": {"value": "v"}})).await.0,
            200
        );
        let (_, list) = app.get(&me.token, path).await;
        assert_eq!(
            (&list["secrets"][0]["name"], &list["secrets"][1]["name"]),
            (&json!("KEY"), &json!("NEW"))
        );
        for shown in [
            made.to_string(),
            changed.to_string(),
            list.to_string(),
            app.get(&me.token, &one).await.1.to_string(),
        ] {
            assert!(!shown.contains("whisper"), "{shown}");
        }
        assert_eq!(app.delete(&me.token, &one).await, (204, Value::Null));
        assert_eq!(app.delete(&me.token, &one).await.0, 404);
        assert_eq!(app.get(&me.token, &one).await.0, 404);
    }
}

#[tokio::test]
async fn wrong_names_and_values_are_named_and_nothing_is_stored() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    for (secret, fields) in [
        (json!({}), vec!["name", "value"]),
        (json!({"name": "lower", "value": "x"}), vec!["name"]),
        (json!({"name": "1A", "value": "x"}), vec!["name"]),
        (json!({"name": "A".repeat(65), "value": "x"}), vec!["name"]),
        (json!({"name": "PARTICLE_DEVICE_ID", "value": "x"}), vec!["name"]),
        (json!({"name": "PRODUCT_ID", "value": "x"}), vec!["name"]),
        (json!({"name": "KEY"}), vec!["value"]),
        (json!({"name": "KEY", "value": ""}), vec!["value"]),
        (json!({"name": "KEY", "value": {"a": 1}}), vec!["value"]),
        (json!({"name": "KEY", "value": "x".repeat(8_193)}), vec!["value"]),
    ] {
        let (status, answer) = app.post(&me.token, "/v1/secrets", json!({"secret": secret})).await;
        let errors = answer["errors"].as_array().unwrap();
        let mut named: Vec<&str> = errors.iter().map(|e| e["field"].as_str().unwrap()).collect();
        named.dedup();
        assert_eq!((status, named), (400, fields), "{secret:.80}");
    }
    assert_eq!(app.post(&me.token, "/v1/secrets", json!({"secret": "KEY"})).await.0, 400);
    assert_eq!(app.put(&me.token, "/v1/secrets/lower", json!({"secret": {"value": "x"}})).await.0, 400);
    assert_eq!(app.get(&me.token, "/v1/secrets").await.1, json!({"secrets": []}));
}

#[tokio::test]
async fn a_secret_in_use_tells_where_and_is_not_deleted() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let products = [app.product(&me, &org).await, app.product(&me, &org).await];
    let base = format!("/v1/orgs/{}", org["id"].as_str().unwrap());
    let secrets = format!("{base}/secrets");
    app.post(&me.token, &secrets, json!({"secret": {"name": "KEY", "value": "whisper"}})).await;
    let hook = json!({
        "event": "e", "name": "uses it", "url": "https://example.com", "body": "{{{KEY}}} {{other}}",
        "product_ids": [products[0]["id"], products[1]["id"]],
    });
    let (_, shared) = app.post(&me.token, &format!("{base}/integrations"), hook.clone()).await;
    let own_path = format!("/v1/products/{}/integrations", products[1]["id"]);
    let mut own = hook.clone();
    own["name"] = json!("alone");
    support::pass(1);
    let (_, own) = app.post(&me.token, &own_path, own).await;
    // The same name in the caller's own sandbox is another secret.
    app.post(&me.token, "/v1/integrations", hook).await;

    let (_, body) = app.get(&me.token, &format!("{secrets}/KEY")).await;
    assert_eq!(
        body["secret"]["integrations"],
        json!([
            {"name": "uses it", "org_integration_id": shared["id"]},
            {"name": "alone", "id": own["id"], "org_integration_id": own["org_integration_id"], "product_slug": products[1]["slug"]},
        ])
    );
    let (status, body) = app.delete(&me.token, &format!("{secrets}/KEY")).await;
    assert_eq!((status, &body["error"]), (409, &json!("secret_in_use")));
    let text = body["error_description"].as_str().unwrap();
    assert!(text.contains("\"uses it\", \"alone\""), "{text}");
    app.delete(&me.token, &format!("{own_path}/{}", own["id"].as_str().unwrap())).await;
    app.delete(&me.token, &format!("{base}/integrations/{}", shared["id"].as_str().unwrap())).await;
    assert_eq!(app.delete(&me.token, &format!("{secrets}/KEY")).await.0, 204);
}

#[tokio::test]
async fn view_only_may_list_secrets_and_a_stranger_sees_none() {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, "basic").await;
    let path = format!("/v1/orgs/{}/secrets", org["id"].as_str().unwrap());
    let new = json!({"secret": {"name": "KEY", "value": "v"}});
    let viewer = app.member(&owner, &org, "View-only").await;
    let developer = app.member(&owner, &org, "Developer").await;
    let stranger = app.signed_up_user().await;
    assert_eq!(app.post(&viewer.token, &path, new.clone()).await.0, 403);
    assert_eq!(app.post(&developer.token, &path, new.clone()).await.0, 201);
    assert_eq!(app.get(&viewer.token, &format!("{path}/KEY")).await.0, 200);
    for method in ["PUT", "DELETE"] {
        assert_eq!(app.call(method, &viewer.token, &format!("{path}/KEY"), new.clone()).await.0, 403);
    }
    assert_eq!(app.get(&stranger.token, &path).await.0, 404);
    assert_eq!(app.post(&stranger.token, &path, new).await.0, 404);
}
