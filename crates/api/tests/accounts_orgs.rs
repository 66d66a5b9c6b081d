//! Organizations and products (contract 2.2).

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{TestApp, unique};

#[tokio::test]
async fn an_organization_is_found_by_id_and_slug_and_changed_by_its_owner() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let (status, body) = app.post(&me.token, "/v1/orgs", json!({"name": "Acme Sensors"})).await;
    let org = &body["organization"];
    assert_eq!(
        (status, &body["ok"], &org["slug"], &org["plan"]),
        (201, &json!(true), &json!("acme-sensors"), &json!("basic"))
    );
    for key in [&org["id"], &org["slug"]] {
        let (status, shown) = app.get(&me.token, &format!("/v1/orgs/{}", key.as_str().unwrap())).await;
        assert_eq!((status, &shown["organization"]), (200, org));
    }
    assert_eq!(app.get(&me.token, "/v1/orgs").await.1, json!({"organizations": [org]}));

    let (status, body) =
        app.put(&me.token, "/v1/orgs/acme-sensors", json!({"plan": "growth", "name": "Acme"})).await;
    assert_eq!(
        (status, &body["organization"]["plan"], &body["organization"]["name"]),
        (200, &json!("basic"), &json!("Acme"))
    );
    assert_eq!(app.put(&me.token, "/v1/orgs/acme-sensors", json!({"plan": "free"})).await.0, 200);
    let (_, shown) = app.get(&me.token, "/v1/orgs/acme-sensors").await;
    assert_eq!(
        (&shown["organization"]["plan"], &shown["organization"]["name"]),
        (&json!("free"), &json!("Acme"))
    );
}

#[tokio::test]
async fn slugs_are_unique_and_never_read_as_an_id() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let mut slugs = Vec::new();
    for name in ["Pump", "Pump", "pump!", "2024", "0123456789abcdef01234567", "温度"] {
        let (_, body) = app.post(&me.token, "/v1/orgs", json!({"name": name})).await;
        slugs.push(body["organization"]["slug"].as_str().unwrap().to_owned());
    }
    assert_eq!(slugs, ["pump", "pump-2", "pump-3", "org-2024", "org-0123456789abcdef01234567", "org"]);
    let (status, body) = app.post(&me.token, "/v1/orgs", json!({"name": "x", "slug": "my-own"})).await;
    assert_eq!((status, &body["organization"]["slug"]), (201, &json!("my-own")));
    for slug in ["my-own", "Not A Slug", "12", "0123456789abcdef01234567"] {
        let (status, body) = app.post(&me.token, "/v1/orgs", json!({"name": "x", "slug": slug})).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("slug")), "{slug}");
    }
}

#[tokio::test]
async fn wrong_fields_of_an_organization_are_all_named() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    for (body, fields) in [
        (json!({}), vec!["name"]),
        (json!({"name": " "}), vec!["name"]),
        (json!({"name": 5, "plan": "gold", "slug": []}), vec!["name", "slug", "plan"]),
    ] {
        let (status, answer) = app.post(&me.token, "/v1/orgs", body.clone()).await;
        let named: Vec<&str> =
            answer["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
        assert_eq!((status, named), (400, fields), "{body}");
    }
}

#[tokio::test]
async fn a_product_belongs_to_a_sandbox_or_an_organization_and_is_found_by_id_and_slug() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let id = org["id"].as_str().unwrap();
    let body = json!({"product": {"name": "Pump mk2", "description": "pumps", "platform_id": "13"}});
    let (status, answer) = app.post(&me.token, &format!("/v1/orgs/{id}/products"), body).await;
    let product = &answer["product"];
    let number = product["id"].as_i64().unwrap();
    assert_eq!((status, &answer["ok"]), (201, &json!(true)));
    assert_eq!(
        product,
        &json!({
            "id": number, "platform_id": 13, "name": "Pump mk2", "slug": "pump-mk2", "description": "pumps",
            "organization_id": id, "groups": [], "settings": {},
        })
    );
    for key in [number.to_string(), "pump-mk2".to_owned()] {
        assert_eq!(
            app.get(&me.token, &format!("/v1/products/{key}")).await,
            (200, json!({"product": product}))
        );
    }

    let (status, own) = app.post(&me.token, "/v1/user/products", json!({"name": "Flat"})).await;
    let own = &own["product"];
    assert_eq!((status, &own["platform_id"], &own["description"]), (201, &json!(6), &json!("")));
    assert!(own["user"].is_string() && own.get("organization_id").is_none());
    assert_eq!(app.get(&me.token, "/v1/user/products").await.1, json!({"products": [own]}));
    assert_eq!(
        app.get(&me.token, &format!("/v1/orgs/{id}/products")).await.1,
        json!({"products": [product]})
    );
    assert_eq!(app.get(&me.token, "/v1/products").await.1, json!({"products": [product, own]}));
}

#[tokio::test]
async fn a_product_name_is_unique_for_its_owner_and_its_slug_everywhere() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let (one, two) = (app.org(&me, "basic").await, app.org(&me, "basic").await);
    let create = async |org: &Value, name: &str| {
        let path = format!("/v1/orgs/{}/products", org["slug"].as_str().unwrap());
        app.post(&me.token, &path, json!({"product": {"name": name}})).await
    };
    assert_eq!(create(&one, "Pump").await.1["product"]["slug"], json!("pump"));
    let (status, body) = create(&one, "Pump").await;
    assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("name")));
    assert_eq!(create(&two, "Pump").await.1["product"]["slug"], json!("pump-2"));
    assert_eq!(create(&two, "123").await.1["product"]["slug"], json!("product-123"));
    for body in [
        json!({"product": {}}),
        json!({"product": "Pump"}),
        json!({"product": {"name": "a", "platform_id": "many"}}),
        json!({"product": {"name": "a", "platform_id": -1}}),
        json!({"product": {"name": "a", "platform_id": 1.5}}),
        json!({"product": {"name": "a", "description": {}}}),
        json!({}),
    ] {
        assert_eq!(app.post(&me.token, "/v1/user/products", body.clone()).await.0, 400, "{body}");
    }
}

#[tokio::test]
async fn strangers_see_neither_organizations_nor_products() {
    let app = TestApp::new().await;
    let (me, stranger) = (app.signed_up_user().await, app.signed_up_user().await);
    let org = app.org(&me, "basic").await;
    let (shared, own) = (app.product(&me, &org).await, app.product(&me, &Value::Null).await);
    let org = format!("/v1/orgs/{}", org["slug"].as_str().unwrap());
    let product = json!({"product": {"name": unique("Product")}});
    for (method, path, body) in [
        ("GET", org.clone(), Value::Null),
        ("PUT", org.clone(), json!({"name": "x"})),
        ("GET", format!("{org}/products"), Value::Null),
        ("POST", format!("{org}/products"), product),
        ("GET", format!("{org}/team"), Value::Null),
        ("GET", format!("/v1/products/{}", shared["id"]), Value::Null),
        ("DELETE", format!("/v1/products/{}", shared["id"]), Value::Null),
        ("GET", format!("/v1/products/{}", own["id"]), Value::Null),
        ("GET", format!("/v1/products/{}/devices", own["id"]), Value::Null),
        ("GET", format!("/v1/products/{}/team", own["id"]), Value::Null),
        ("GET", "/v1/products/987654321".to_owned(), Value::Null),
        ("GET", "/v1/products/99999999999999999999".to_owned(), Value::Null),
        ("GET", "/v1/products/-1".to_owned(), Value::Null),
    ] {
        let (status, answer) = app.call(method, &stranger.token, &path, body).await;
        assert_eq!((status, &answer["error"]), (404, &json!("not_found")), "{method} {path}");
    }
    for path in ["/v1/orgs", "/v1/products", "/v1/user/products"] {
        let (_, list) = app.get(&stranger.token, path).await;
        assert!(list.as_object().unwrap().values().all(|value| value == &json!([])), "{path}: {list}");
    }
}

#[tokio::test]
async fn a_deleted_product_is_gone_and_its_devices_and_team_with_it() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let product = app.product(&me, &org).await;
    let device = app.device(&me, &product).await;
    let path = format!("/v1/products/{}", product["id"]);
    let robot = app.api_user(&me, &path, &["devices:list"]).await;
    let developer = app.member(&me, &org, "Developer").await;
    assert_eq!(app.get(&robot.token, &format!("{path}/devices")).await.0, 200);

    assert_eq!(app.delete(&developer.token, &path).await.0, 403);
    assert_eq!(app.delete(&me.token, &path).await, (204, Value::Null));
    for gone in [path.clone(), format!("{path}/devices"), format!("{path}/team")] {
        assert_eq!(app.get(&me.token, &gone).await.0, 404, "{gone}");
    }
    assert_eq!(app.delete(&me.token, &path).await.0, 404);
    assert_eq!(app.get(&robot.token, "/v1/user").await.0, 401, "its API users are gone");
    let other = app.product(&me, &org).await;
    let (_, added) =
        app.post(&me.token, &format!("/v1/products/{}/devices", other["id"]), json!({"id": device})).await;
    assert_eq!(added["updatedDeviceIds"], json!([device]), "its devices are free");
}
