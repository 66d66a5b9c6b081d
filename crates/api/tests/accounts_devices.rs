//! Devices of products and of people (contract 2.2).

#![allow(clippy::unwrap_used)]

mod support;

use axum::{body::Body, http::Request};
use serde_json::{Value, json};
use support::{Answer, Person, TestApp, check};

fn id(n: u32) -> String {
    format!("e00fce68{n:016x}")
}

async fn upload(app: &TestApp, person: &Person, path: &str, file: &str) -> Answer {
    let body = format!(
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"ids.txt\"\r\n\
         Content-Type: text/plain\r\n\r\n{file}\r\n--x--\r\n"
    );
    let request = Request::post(path)
        .header("authorization", format!("Bearer {}", person.token))
        .header("content-type", "multipart/form-data; boundary=x")
        .body(Body::from(body))
        .unwrap();
    let answer = app.send(request).await;
    check("POST", path, &answer);
    answer
}

#[tokio::test]
async fn devices_are_added_by_id_by_list_and_by_file() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let (one, two) = (app.product(&me, &org).await, app.product(&me, &org).await);
    let path = |product: &Value| format!("/v1/products/{}/devices", product["id"]);

    let (status, added) = app.post(&me.token, &path(&one), json!({"id": id(1).to_uppercase()})).await;
    assert_eq!(
        (status, added),
        (
            200,
            json!({
                "updated": 1, "updatedDeviceIds": [id(1)], "existingDeviceIds": [],
                "nonmemberDeviceIds": [], "invalidDeviceIds": [],
            })
        )
    );
    let (_, added) =
        app.post(&me.token, &path(&two), json!({"ids": [id(1), id(2), id(2), "NonSense", 5]})).await;
    assert_eq!(
        added,
        json!({
            "updated": 1, "updatedDeviceIds": [id(2)], "existingDeviceIds": [],
            "nonmemberDeviceIds": [id(1)], "invalidDeviceIds": ["NonSense", "5"],
        })
    );
    let file = format!("{}\r\n\r\n{}\r\n  {}  \r\nwhat\r\n", id(1), id(3), id(4));
    let added = upload(&app, &me, &path(&one), &file).await.json();
    assert_eq!((&added["updated"], &added["existingDeviceIds"]), (&json!(2), &json!([id(1)])));
    assert_eq!(added["invalidDeviceIds"], json!(["what"]));

    for body in [json!({}), json!({"id": ""}), json!({"ids": []}), json!({"ids": {}}), json!({"id": 7})] {
        assert_eq!(app.post(&me.token, &path(&one), body.clone()).await.0, 400, "{body}");
    }
    assert_eq!(upload(&app, &me, &path(&one), "\n\n").await.status, 400);
    let many: Vec<String> = (0..10_001).map(id).collect();
    assert_eq!(upload(&app, &me, &path(&one), &many.join("\n")).await.status, 400);
    assert_eq!(upload(&app, &me, &path(&one), &many[..10_000].join("\n")).await.status, 200);
}

#[tokio::test]
async fn devices_are_listed_in_pages_and_searched() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let product = app.product(&me, &Value::Null).await;
    let path = format!("/v1/products/{}/devices", product["slug"].as_str().unwrap());
    let ids: Vec<String> = (0..30).map(id).collect();
    app.post(&me.token, &path, json!({"ids": ids})).await;
    app.put(&me.token, &format!("{path}/{}", id(7)), json!({"name": "North_50%", "notes": "roof"})).await;

    let page = async |query: &str| {
        let (status, body) = app.get(&me.token, &format!("{path}?{query}")).await;
        assert_eq!((status, &body["customers"]), (200, &json!([])), "{query}: {body}");
        (body["devices"].as_array().unwrap().len(), body["meta"]["total_pages"].as_i64().unwrap())
    };
    for (query, shown) in [
        ("", (25, 2)),
        ("page=2", (5, 2)),
        ("page=3", (0, 2)),
        ("per_page=10", (10, 3)),
        ("perPage=10&page=3", (10, 3)),
        ("perPage=1000000", (30, 1)),
        (&format!("deviceId={}", id(7)), (1, 1)),
        ("deviceId=E00FCE68", (25, 2)),
        ("deviceId=nothing", (0, 0)),
        ("deviceName=north", (1, 1)),
        ("deviceName=_50%25", (1, 1)),
        ("deviceName=%25", (1, 1)),
        ("sortAttr=x&groups=", (25, 2)),
    ] {
        assert_eq!(page(query).await, shown, "{query}");
    }
    for query in ["page=0", "page=-1", "page=x", "perPage=0", "per_page=many"] {
        assert_eq!(app.get(&me.token, &format!("{path}?{query}")).await.0, 400, "{query}");
    }
}

#[tokio::test]
async fn a_device_of_a_product_is_shown_changed_and_removed() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let product = app.product(&me, &Value::Null).await;
    let device = app.device(&me, &product).await;
    let path = format!("/v1/products/{}/devices", product["id"]);
    let (status, shown) = app.get(&me.token, &format!("{path}/{}", device.to_uppercase())).await;
    assert_eq!(
        (status, shown),
        (
            200,
            json!({
                "id": device, "name": null, "owner": null, "product_id": product["id"], "platform_id": 6,
                "notes": null, "groups": [], "online": false, "connected": false, "cellular": false,
                "last_heard": null, "last_handshake_at": null, "denied": false, "development": false,
                "quarantined": false, "serial_number": null, "firmware_product_id": null,
                "last_ip_address": null, "system_firmware_version": null,
                "targeted_firmware_release_version": null, "functions": [], "variables": [],
                "mobile_secret": null, "current_build_target": null, "default_build_target": null,
                "firmware_updates_enabled": false, "firmware_updates_forced": false,
            })
        )
    );
    let change = json!({"name": "North", "notes": "on the roof", "development": true});
    let (status, shown) = app.put(&me.token, &format!("{path}/{device}"), change).await;
    assert_eq!((status, &shown["name"], &shown["notes"]), (200, &json!("North"), &json!("on the roof")));
    let (_, shown) = app.put(&me.token, &format!("{path}/North"), json!({"notes": null})).await;
    assert_eq!((&shown["name"], &shown["notes"]), (&json!("North"), &Value::Null));
    for wrong in
        [json!({"name": ""}), json!({"name": 5}), json!({"notes": []}), json!({"name": "x".repeat(201)})]
    {
        assert_eq!(app.put(&me.token, &format!("{path}/{device}"), wrong.clone()).await.0, 400, "{wrong}");
    }
    assert_eq!(app.delete(&me.token, &format!("{path}/{device}")).await, (204, Value::Null));
    for method in ["GET", "DELETE"] {
        assert_eq!(app.call(method, &me.token, &format!("{path}/{device}"), Value::Null).await.0, 404);
    }
    assert_eq!(app.put(&me.token, &format!("{path}/{device}"), json!({"name": "x"})).await.0, 404);
}

#[tokio::test]
async fn a_device_is_claimed_by_one_person_at_a_time() {
    let app = TestApp::new().await;
    let (me, other) = (app.signed_up_user().await, app.signed_up_user().await);
    let product = app.product(&me, &Value::Null).await;
    let device = app.device(&me, &product).await;
    let own = format!("/v1/devices/{device}");
    assert_eq!(app.get(&me.token, &own).await.0, 404, "not claimed yet");
    let (status, claimed) = app.post(&me.token, "/v1/devices", json!({"id": device})).await;
    assert_eq!((status, &claimed["ok"], &claimed["id"]), (200, &json!(true), &json!(device)));
    assert_eq!(app.post(&me.token, "/v1/devices", json!({"id": device})).await.0, 200, "once more");
    assert_eq!(app.post(&other.token, "/v1/devices", json!({"id": device})).await.0, 403);
    for wrong in [json!({}), json!({"id": "nonsense"})] {
        assert_eq!(app.post(&me.token, "/v1/devices", wrong).await.0, 400);
    }

    app.put(&me.token, &own, json!({"name": "Kitchen"})).await;
    let (_, list) = app.get(&me.token, "/v1/devices").await;
    assert_eq!((&list[0]["id"], &list[0]["owner"]), (&json!(device), &json!(me.username)));
    assert_eq!(list[0]["product_id"], product["id"]);
    assert_eq!(app.get(&me.token, "/v1/devices/Kitchen").await.1["id"], json!(device));
    assert_eq!(app.get(&other.token, "/v1/devices").await.1, json!([]));
    for path in [own.as_str(), "/v1/devices/Kitchen"] {
        assert_eq!(app.get(&other.token, path).await.0, 404);
        assert_eq!(app.delete(&other.token, path).await.0, 404);
    }

    assert_eq!(app.delete(&me.token, &own).await, (200, json!({"ok": true})));
    assert_eq!(app.delete(&me.token, &own).await.0, 404);
    assert_eq!(app.post(&other.token, "/v1/devices", json!({"id": device})).await.0, 403, "not on the team");
    assert_eq!(app.post(&me.token, "/v1/devices", json!({"id": device})).await.0, 200);
    let owner = format!("/v1/products/{}/devices/{device}/owner", product["id"]);
    assert_eq!(app.delete(&me.token, &owner).await.0, 204);
    assert_eq!(app.get(&me.token, &own).await.0, 404);
}

#[tokio::test]
async fn what_one_may_do_with_devices_follows_the_role() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let product = app.product(&me, &org).await;
    let device = app.device(&me, &product).await;
    let devices = format!("/v1/products/{}/devices", product["id"]);
    let one = format!("{devices}/{device}");
    for (role, may_write) in
        [("View-only", false), ("Support", false), ("Developer", true), ("Administrator", true)]
    {
        let person = app.member(&me, &org, role).await;
        assert_eq!(app.get(&person.token, &devices).await.0, 200, "{role}");
        assert_eq!(app.get(&person.token, &one).await.0, 200, "{role}");
        let expected = |fine: u16| if may_write { fine } else { 403 };
        assert_eq!(app.post(&person.token, &devices, json!({"id": device})).await.0, expected(200), "{role}");
        assert_eq!(app.put(&person.token, &one, json!({"name": "x"})).await.0, expected(200), "{role}");
        assert_eq!(app.delete(&person.token, &one).await.0, expected(204), "{role}");
        app.post(&me.token, &devices, json!({"id": device})).await;
    }
}
