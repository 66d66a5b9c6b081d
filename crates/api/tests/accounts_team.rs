//! Teams, roles and API users (contract 2.2).

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp, encode};

fn path_of(org: &Value) -> String {
    format!("/v1/orgs/{}", org["id"].as_str().unwrap())
}

fn member(team: &str, person: &Person) -> String {
    format!("{team}/{}", encode(&person.username))
}

#[tokio::test]
async fn a_team_lists_people_with_roles_and_api_users_with_scopes() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let viewer = app.member(&me, &org, "view-only").await;
    let robot = app.api_user(&me, &path_of(&org), &["devices:list", "events:send"]).await;
    assert!(robot.username.starts_with("robot+") && robot.username.ends_with("@api.tributary"));
    let (status, body) = app.get(&viewer.token, &format!("{}/team", path_of(&org))).await;
    assert_eq!((status, &body["ok"]), (200, &json!(true)));
    let mut team = body["team"].as_array().unwrap().clone();
    team.sort_by_key(|m| (m["role"]["name"].to_string(), m["username"].to_string()));
    assert_eq!(
        team,
        [
            json!({"username": me.username, "role": {"id": "000000000000000000000005", "name": "Administrator (Owner)"}}),
            json!({"username": viewer.username, "role": {"id": "000000000000000000000001", "name": "View-only"}}),
            json!({
                "username": robot.username, "friendly_name": "Robot", "is_programmatic": true,
                "scopes": ["devices:list", "events:send"],
            }),
        ]
    );
}

#[tokio::test]
async fn who_is_added_is_a_person_and_not_there_yet() {
    let app = TestApp::new().await;
    let (me, other) = (app.signed_up_user().await, app.signed_up_user().await);
    let org = app.org(&me, "basic").await;
    let team = format!("{}/team", path_of(&org));
    let robot = app.api_user(&me, &path_of(&org), &["devices:list"]).await;
    for (body, field) in [
        (json!({}), "username"),
        (json!({"username": "nobody@api.tributary"}), "username"),
        (json!({"username": robot.username}), "username"),
        (json!({"username": me.username}), "username"),
        (json!({"username": other.username, "role": "Boss"}), "role"),
        (json!({"username": other.username, "role": 5}), "role"),
        (json!({"friendly_name": "x"}), "scopes"),
        (json!({"friendly_name": "x", "scopes": []}), "scopes"),
        (json!({"friendly_name": "x", "scopes": ["devices:fly"]}), "scopes"),
        (json!({"scopes": ["devices:list"]}), "friendly_name"),
    ] {
        let (status, answer) = app.post(&me.token, &team, body.clone()).await;
        assert_eq!((status, &answer["errors"][0]["field"]), (400, &json!(field)), "{body}: {answer}");
    }
    let (_, answer) =
        app.post(&me.token, &team, json!({"friendly_name": "x", "scopes": ["devices:fly"]})).await;
    assert!(answer["error_description"].as_str().unwrap().contains("devices:fly"));
    assert_eq!(app.post(&me.token, &team, json!({"username": other.username.to_uppercase()})).await.0, 201);
    let (_, list) = app.get(&me.token, &team).await;
    let added =
        list["team"].as_array().unwrap().iter().find(|m| m["username"] == json!(other.username)).unwrap();
    assert_eq!(added["role"]["name"], json!("Developer"));
}

#[tokio::test]
async fn administrators_manage_the_team_but_only_owners_make_and_unmake_owners() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let team = format!("{}/team", path_of(&org));
    let admin = app.member(&me, &org, "Administrator").await;
    let (developer, viewer) =
        (app.member(&admin, &org, "Developer").await, app.member(&admin, &org, "View-only").await);
    let outsider = app.signed_up_user().await;

    assert_eq!(app.post(&developer.token, &team, json!({"username": outsider.username})).await.0, 403);
    assert_eq!(app.put(&developer.token, &member(&team, &viewer), json!({"role": "Support"})).await.0, 403);
    assert_eq!(app.delete(&developer.token, &member(&team, &viewer)).await.0, 403);

    let owner = json!({"role": "Administrator (Owner)"});
    assert_eq!(app.put(&admin.token, &member(&team, &viewer), owner.clone()).await.0, 403);
    assert_eq!(app.put(&admin.token, &member(&team, &me), json!({"role": "Developer"})).await.0, 403);
    assert_eq!(app.delete(&admin.token, &member(&team, &me)).await.0, 403);
    let invited = json!({"username": outsider.username, "role": "Administrator (Owner)"});
    assert_eq!(app.post(&admin.token, &team, invited).await.0, 403);
    assert_eq!(
        app.put(&admin.token, &member(&team, &viewer), json!({"role": {"name": "Developer"}})).await.0,
        200
    );

    for (method, body) in [("PUT", json!({"role": "Developer"})), ("DELETE", Value::Null)] {
        let (status, answer) = app.call(method, &me.token, &member(&team, &me), body).await;
        assert_eq!((status, &answer["error"]), (409, &json!("last_owner")), "{method}");
    }
    assert_eq!(app.put(&me.token, &member(&team, &admin), owner).await.0, 200);
    assert_eq!(app.delete(&admin.token, &member(&team, &me)).await.0, 204);
    assert_eq!(app.get(&me.token, &path_of(&org)).await.0, 404, "gone at once");
}

#[tokio::test]
async fn a_changed_or_removed_member_feels_it_at_the_next_request() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let product = app.product(&me, &org).await;
    let devices = format!("/v1/products/{}/devices", product["id"]);
    let team = format!("{}/team", path_of(&org));
    let person = app.member(&me, &org, "Developer").await;
    let add = json!({"id": "0123456789abcdef01234567"});
    assert_eq!(app.post(&person.token, &devices, add.clone()).await.0, 200);
    assert_eq!(app.put(&me.token, &member(&team, &person), json!({"role": "View-only"})).await.0, 200);
    assert_eq!(app.post(&person.token, &devices, add).await.0, 403);
    assert_eq!(app.get(&person.token, &devices).await.0, 200);
    assert_eq!(app.delete(&me.token, &member(&team, &person)).await.0, 204);
    assert_eq!(app.get(&person.token, &devices).await.0, 404);
    assert_eq!(app.delete(&me.token, &member(&team, &person)).await.0, 404);
    assert_eq!(app.put(&me.token, &member(&team, &person), json!({"role": "Support"})).await.0, 404);
}

#[tokio::test]
async fn a_product_has_a_team_of_its_own_and_the_higher_role_counts() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let (product, other, own) =
        (app.product(&me, &org).await, app.product(&me, &org).await, app.product(&me, &Value::Null).await);
    let path = |product: &Value| format!("/v1/products/{}", product["id"]);
    let devices = |product: &Value| format!("{}/devices", path(product));
    let add = json!({"id": "0123456789abcdef01234567"});

    let guest = app.signed_up_user().await;
    let invite = |person: &Person, role: &str| json!({"username": person.username, "role": role});
    assert_eq!(
        app.post(&me.token, &format!("{}/team", path(&product)), invite(&guest, "Developer")).await.0,
        201
    );
    assert_eq!(app.post(&guest.token, &devices(&product), add.clone()).await.0, 200);
    assert_eq!(app.get(&guest.token, &path(&other)).await.0, 404);
    assert_eq!(app.get(&guest.token, &path_of(&org)).await.0, 404);
    assert_eq!(app.get(&guest.token, "/v1/products").await.1["products"][0]["id"], product["id"]);

    let viewer = app.member(&me, &org, "View-only").await;
    assert_eq!(app.post(&viewer.token, &devices(&product), add.clone()).await.0, 403);
    assert_eq!(
        app.post(&me.token, &format!("{}/team", path(&product)), invite(&viewer, "Developer")).await.0,
        201
    );
    assert_eq!(app.post(&viewer.token, &devices(&product), add.clone()).await.0, 200);
    assert_eq!(app.post(&viewer.token, &devices(&other), add).await.0, 403);

    let team = format!("{}/team", path(&own));
    assert_eq!(app.post(&me.token, &team, invite(&guest, "Administrator")).await.0, 201);
    assert_eq!(app.post(&me.token, &team, invite(&viewer, "Administrator (Owner)")).await.0, 400);
    assert_eq!(app.delete(&guest.token, &member(&team, &guest)).await.0, 204, "who manages may leave");
    assert_eq!(app.get(&guest.token, &path(&own)).await.0, 404);
}

#[tokio::test]
async fn an_api_user_acts_within_its_scopes_and_nowhere_else() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let (product, other) = (app.product(&me, &org).await, app.product(&me, &org).await);
    let path = format!("/v1/products/{}", product["id"]);
    let robot = app.api_user(&me, &path, &["devices:list", "products:list", "devices:import"]).await;
    let foreign = format!("/v1/products/{}", other["id"]);
    let devices = format!("{path}/devices");
    for (method, path, body, status) in [
        ("GET", devices.as_str(), Value::Null, 200),
        ("POST", &devices, json!({"id": "0123456789abcdef01234567"}), 200),
        ("GET", &format!("{devices}/0123456789abcdef01234567"), Value::Null, 403),
        ("GET", &path, Value::Null, 403),
        ("DELETE", &path, Value::Null, 403),
        ("GET", &format!("{path}/team"), Value::Null, 403),
        ("GET", &foreign, Value::Null, 404),
        ("GET", &path_of(&org), Value::Null, 404),
        ("GET", "/v1/products", Value::Null, 200),
        ("GET", "/v1/orgs", Value::Null, 403),
        ("POST", "/v1/orgs", json!({"name": "x"}), 403),
        ("POST", "/v1/user/products", json!({"name": "x"}), 403),
        ("GET", "/v1/devices", Value::Null, 403),
        ("POST", "/v1/devices", json!({"id": "0123456789abcdef01234567"}), 403),
        ("PUT", "/v1/user", json!({"current_password": "12345678", "password": "12345678"}), 403),
        ("GET", "/v1/user", Value::Null, 200),
    ] {
        let (got, answer) = app.call(method, &robot.token, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
    }
    let (_, info) = app.get(&robot.token, "/v1/access_tokens/current").await;
    assert_eq!(
        (&info["expires_at"], &info["scopes"]),
        (&Value::Null, &json!(["devices:list", "products:list", "devices:import"]))
    );
    assert_eq!(app.sign_in(&robot.username, "").await.status, 400);
    assert_eq!(app.sign_in(&robot.username, "anything").await.status, 400);
}

#[tokio::test]
async fn new_scopes_come_with_a_new_token_and_a_removed_api_user_has_none() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let team = format!("{}/team", path_of(&org));
    let robot = app.api_user(&me, &path_of(&org), &["products:list"]).await;
    let products = format!("{}/products", path_of(&org));
    assert_eq!(app.get(&robot.token, &products).await.0, 200);

    let one = member(&team, &robot);
    for wrong in [json!({}), json!({"role": "Developer"}), json!({"scopes": []}), json!({"scopes": ["x"]})] {
        assert_eq!(app.put(&me.token, &one, wrong.clone()).await.0, 400, "{wrong}");
    }
    assert_eq!(
        app.put(&me.token, &one, json!({"friendly_name": "Renamed"})).await,
        (200, json!({"ok": true}))
    );
    assert_eq!(app.get(&robot.token, &products).await.0, 200, "a new name changes no token");
    let (status, body) = app.put(&me.token, &one, json!({"scopes": ["organization:get"]})).await;
    let token = body["updated"]["tokens"][0]["token"].as_str().unwrap();
    assert_eq!((status, &body["updated"]["scopes"]), (200, &json!(["organization:get"])));
    assert_eq!(app.get(&robot.token, &products).await.0, 401);
    assert_eq!(app.get(token, &products).await.0, 403);
    assert_eq!(app.get(token, &path_of(&org)).await.0, 200);
    let (_, list) = app.get(&me.token, &team).await;
    let shown =
        list["team"].as_array().unwrap().iter().find(|m| m["is_programmatic"] == json!(true)).unwrap();
    assert_eq!(
        (&shown["friendly_name"], &shown["scopes"]),
        (&json!("Renamed"), &json!(["organization:get"]))
    );

    assert_eq!(app.delete(&me.token, &one).await.0, 204);
    assert_eq!(app.get(token, &path_of(&org)).await.0, 401);
}

#[tokio::test]
async fn an_api_user_that_manages_the_team_gives_no_more_than_it_has() {
    let app = TestApp::new().await;
    let (me, person) = (app.signed_up_user().await, app.signed_up_user().await);
    let org = app.org(&me, "basic").await;
    let admin = app.member(&me, &org, "Administrator").await;
    let team = format!("{}/team", path_of(&org));
    let robot = app.api_user(&me, &path_of(&org), &["teams.users:*", "devices:list"]).await;
    for (body, status) in [
        (json!({"username": person.username, "role": "Administrator"}), 403),
        (json!({"friendly_name": "x", "scopes": ["devices:import"]}), 403),
        (json!({"friendly_name": "x", "scopes": ["devices:list", "teams.users:list"]}), 201),
        (json!({"username": person.username, "role": "Developer"}), 403),
        (json!({"username": person.username, "role": "View-only"}), 201),
    ] {
        assert_eq!(app.post(&robot.token, &team, body.clone()).await.0, status, "{body}");
    }
    assert_eq!(app.delete(&robot.token, &member(&team, &admin)).await.0, 403);
    assert_eq!(app.put(&robot.token, &member(&team, &admin), json!({"role": "Developer"})).await.0, 403);
    assert_eq!(app.delete(&robot.token, &member(&team, &person)).await.0, 204);
}
