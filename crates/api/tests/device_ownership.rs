//! Whose a device is: what a stranger who knows an id learns and changes, which is nothing (contract 2.2).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::{Value, json};
use support::{Person, TestApp, destination::Destination};

fn devices(product: &Value) -> String {
    format!("/v1/products/{}/devices", product["id"])
}

async fn claim(app: &TestApp, person: &Person, id: &str) -> (u16, Value) {
    app.post(&person.token, "/v1/devices", json!({"id": id})).await
}

fn id(n: u32) -> String {
    format!("e00fce68{n:016x}")
}

async fn leave(app: &TestApp, owner: &Person, org: &Value, person: &Person) {
    let path = format!("/v1/orgs/{}/team/{}", org["id"].as_str().unwrap(), person.username);
    assert_eq!(app.delete(&owner.token, &path).await.0, 204);
}

/// A sandbox integration of a person, and what it sends.
async fn sandbox_of(app: &TestApp, person: &Person) -> Destination {
    let destination = Destination::new(Some(200)).await;
    let body = json!({"event": "e", "url": destination.url});
    assert_eq!(app.post(&person.token, "/v1/integrations", body).await.0, 201);
    destination
}

async fn publish_as(app: &TestApp, person: &Person, product: &Value, device: &str, name: &str) {
    let path = format!("/v1/products/{}/events", product["id"]);
    let body = json!({"name": name, "data": "x", "as_device_id": device});
    assert_eq!(app.post(&person.token, &path, body).await.0, 200);
}

#[tokio::test]
async fn a_stranger_gets_one_answer_whoever_has_the_device_and_changes_nothing() {
    let app = TestApp::new().await;
    let (owner, victim, stranger) =
        (app.signed_up_user().await, app.signed_up_user().await, app.signed_up_user().await);
    let org = app.org(&owner, "basic").await;
    let (of_org, of_sandbox) = (app.product(&owner, &org).await, app.product(&victim, &Value::Null).await);
    let (one, two) = (app.device(&owner, &of_org).await, app.device(&victim, &of_sandbox).await);
    assert_eq!(claim(&app, &victim, &id(1)).await.0, 200);
    assert_eq!(claim(&app, &victim, &two).await.0, 200);
    let three = app.device(&owner, &of_org).await;
    assert_eq!(claim(&app, &owner, &three).await.0, 200);

    let answers = [
        claim(&app, &stranger, &one).await,
        claim(&app, &stranger, &two).await,
        claim(&app, &stranger, &id(1)).await,
        claim(&app, &stranger, &three).await,
        app.post(&stranger.token, "/v1/devices", json!({"id": one, "claim_code": "guessed"})).await,
        app.post(&stranger.token, "/v1/devices", json!({"id": id(99), "claim_code": "guessed"})).await,
    ];
    assert_eq!(answers[0].0, 403);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    for device in [one.as_str(), &two, &id(1), &three] {
        let path = format!("/v1/devices/{device}");
        assert_eq!(app.get(&stranger.token, &path).await.0, 404);
        assert_eq!(app.put(&stranger.token, &path, json!({"name": "mine"})).await.0, 404);
        assert_eq!(app.delete(&stranger.token, &path).await.0, 404);
        let agreement = json!({"product_id": of_org["id"]});
        assert_eq!(app.put(&stranger.token, &format!("{path}/agreement"), agreement).await.0, 404);
    }

    let own = app.product(&stranger, &Value::Null).await;
    let wanted = json!({"ids": [one, two, id(1), three, id(5)]});
    let (status, added) = app.post(&stranger.token, &devices(&own), wanted).await;
    assert_eq!((status, &added["updatedDeviceIds"]), (200, &json!([id(5)])));
    assert_eq!(added["nonmemberDeviceIds"], json!([one, two, id(1), three]));
    let body = json!({"name": "e", "as_device_id": id(1)});
    let (status, _) = app.post(&stranger.token, &format!("/v1/products/{}/events", own["id"]), body).await;
    assert_eq!(status, 400, "no event is forged");
    assert_eq!(app.delete(&stranger.token, &format!("{}/{}/owner", devices(&own), id(1))).await.0, 404);
    assert_eq!(app.get(&victim.token, &format!("/v1/devices/{}", id(1))).await.0, 200);
}

#[tokio::test]
async fn a_device_in_a_product_is_claimed_by_who_may_change_its_devices() {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, "basic").await;
    let product = app.product(&owner, &org).await;
    for (role, status) in [("View-only", 403), ("Support", 403), ("Developer", 200), ("Administrator", 200)] {
        let device = app.device(&owner, &product).await;
        let person = app.member(&owner, &org, role).await;
        assert_eq!(claim(&app, &person, &device).await.0, status, "{role}");
        let (_, shown) = app.get(&owner.token, &format!("{}/{device}", devices(&product))).await;
        let claimer = if status == 200 { json!(person.username) } else { Value::Null };
        assert_eq!(shown["owner"], claimer, "{role}");
    }
    let base = format!("/v1/products/{}", product["id"]);
    let device = app.device(&owner, &product).await;
    for scopes in [&["devices:update"][..], &["devices:get", "devices:import"]] {
        let robot = app.api_user(&owner, &base, scopes).await;
        assert_eq!(claim(&app, &robot, &device).await.0, 403, "an API user has no sandbox");
        let (status, _) = app.post(&robot.token, &format!("{base}/device_claims"), json!({})).await;
        assert_eq!(status, if scopes == ["devices:update"] { 200 } else { 403 });
    }
}

#[tokio::test]
async fn a_claim_code_is_good_once_in_its_product_and_within_a_day() {
    let app = TestApp::new().await;
    let (owner, customer) = (app.signed_up_user().await, app.signed_up_user().await);
    let org = app.org(&owner, "basic").await;
    let [product, other] = [app.product(&owner, &org).await, app.product(&owner, &org).await];
    let [one, two, elsewhere] = [
        app.device(&owner, &product).await,
        app.device(&owner, &product).await,
        app.device(&owner, &other).await,
    ];
    let path = |product: &Value| format!("/v1/products/{}/device_claims", product["id"]);
    let code = async |person: &Person| {
        let (status, body) = app.post(&person.token, &path(&product), json!({})).await;
        assert_eq!((status, &body["device_ids"]), (200, &json!([])), "{body}");
        body["claim_code"].as_str().unwrap().to_owned()
    };
    let claim = async |device: &str, code: &str| {
        app.post(&customer.token, "/v1/devices", json!({"id": device, "claim_code": code})).await.0
    };
    assert_eq!(app.post(&customer.token, &path(&product), json!({})).await.0, 404);
    let first = code(&owner).await;
    assert_eq!(claim(&elsewhere, &first).await, 403);
    assert_eq!(claim(&id(1), &first).await, 403, "not known");
    assert_eq!(claim(&one, &first).await, 200);
    assert_eq!(claim(&two, &first).await, 403, "used");
    let developer = app.member(&owner, &org, "Developer").await;
    let of_leaver = code(&developer).await;
    leave(&app, &owner, &org, &developer).await;
    assert_eq!(claim(&two, &of_leaver).await, 403, "its giver has left");

    app.put(&owner.token, &format!("{}/{one}", devices(&product)), json!({"name": "N", "notes": "hush"}))
        .await;
    let own = format!("/v1/devices/{one}");
    let (status, shown) = app.get(&customer.token, &own).await;
    assert_eq!((status, &shown["owner"]), (200, &json!(customer.username)));
    for hidden in ["name", "notes", "product_id", "platform_id"] {
        assert_eq!(shown[hidden], Value::Null, "{hidden}");
    }
    assert_eq!(app.get(&customer.token, "/v1/devices/N").await.0, 404, "a name is not to be guessed");
    assert_eq!(app.put(&customer.token, &own, json!({"name": "Mine"})).await.0, 403);
    let mut sandbox = sandbox_of(&app, &customer).await;
    publish_as(&app, &owner, &product, &one, "e-product").await;
    app.post(&customer.token, "/v1/devices/events", json!({"name": "e-own", "data": "x"})).await;
    let request = sandbox.requests.recv().await.unwrap();
    assert!(request.contains("e-own"), "{request}");
    assert_eq!(app.delete(&customer.token, &own).await.0, 200);
    let late = code(&owner).await;
    support::pass(24 * 3_600);
    assert_eq!(claim(&two, &late).await, 403, "expired");
}

#[tokio::test]
async fn a_former_member_hears_and_sees_no_more_of_a_claimed_device() {
    let app = TestApp::new().await;
    let owner = app.signed_up_user().await;
    let org = app.org(&owner, "basic").await;
    let product = app.product(&owner, &org).await;
    let device = app.device(&owner, &product).await;
    let member = app.member(&owner, &org, "Developer").await;
    assert_eq!(claim(&app, &member, &device).await.0, 200);
    let own = format!("/v1/devices/{device}");
    app.put(&member.token, &own, json!({"name": "North"})).await;
    let mut sandbox = sandbox_of(&app, &member).await;
    publish_as(&app, &owner, &product, &device, "e-while").await;
    assert!(sandbox.requests.recv().await.unwrap().contains("e-while"));

    leave(&app, &owner, &org, &member).await;
    publish_as(&app, &owner, &product, &device, "e-after").await;
    app.post(&member.token, "/v1/devices/events", json!({"name": "e-own", "data": "x"})).await;
    let request = sandbox.requests.recv().await.unwrap();
    assert!(request.contains("e-own"), "{request}");
    let (_, shown) = app.get(&member.token, &own).await;
    assert_eq!((&shown["name"], &shown["product_id"]), (&Value::Null, &Value::Null));
    assert_eq!(app.put(&member.token, &own, json!({"name": "x"})).await.0, 403);

    // Out of the product, the name that its team gave does not come along.
    assert_eq!(app.delete(&owner.token, &format!("{}/{device}", devices(&product))).await.0, 204);
    assert_eq!(app.get(&member.token, &own).await.1["name"], Value::Null);
}

#[tokio::test]
async fn a_claimed_device_enters_a_product_of_its_claimers_team_or_by_agreement() {
    let app = TestApp::new().await;
    let (owner, outsider) = (app.signed_up_user().await, app.signed_up_user().await);
    let org = app.org(&owner, "basic").await;
    let product = app.product(&owner, &org).await;
    let member = app.member(&owner, &org, "Support").await;
    assert_eq!(claim(&app, &member, &id(1)).await.0, 200);
    assert_eq!(claim(&app, &outsider, &id(2)).await.0, 200);
    let add = async |device: &str| {
        let (_, added) = app.post(&owner.token, &devices(&product), json!({"id": device})).await;
        added["updated"].as_u64().unwrap()
    };
    assert_eq!((add(&id(1)).await, add(&id(2)).await), (1, 0));
    let agreement = format!("/v1/devices/{}/agreement", id(2));
    let number = product["id"].as_i64().unwrap();
    let agree = async |to: Value| app.put(&outsider.token, &agreement, json!({"product_id": to})).await.0;
    assert_eq!((agree(json!(number + 1)).await, add(&id(2)).await), (200, 0), "another product");
    assert_eq!((agree(json!(number)).await, agree(Value::Null).await, add(&id(2)).await), (200, 200, 0));
    assert_eq!(agree(json!("x")).await, 400);
    assert_eq!((agree(json!(number)).await, add(&id(2)).await), (200, 1));
    let path = format!("/v1/orgs/{}/audit", org["id"].as_str().unwrap());
    let (_, audit) = app.get(&owner.token, &path).await;
    let told = |device: String| {
        let rows = audit["audit"].as_array().unwrap();
        rows.iter().any(|row| row["action"] == "device.add" && row["subject"]["id"] == json!(device))
    };
    assert!(told(id(1)) && told(id(2)), "{audit}");
}

#[tokio::test]
async fn who_squats_on_an_id_hears_nothing_and_one_of_two_callers_gets_it() {
    let app = TestApp::new().await;
    let (owner, squatter) = (app.signed_up_user().await, app.signed_up_user().await);
    let product = app.product(&owner, &Value::Null).await;
    assert_eq!(claim(&app, &squatter, &id(7)).await.0, 200);
    let ids: Vec<String> = (0..10_000).map(id).collect();
    let (status, added) = app.post(&owner.token, &devices(&product), json!({"ids": ids})).await;
    assert_eq!((status, &added["updated"]), (200, &json!(9_999)));
    assert_eq!(added["nonmemberDeviceIds"], json!([id(7)]));

    let device = id(20_000);
    let (one, two) = tokio::join!(claim(&app, &owner, &device), claim(&app, &squatter, &device));
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}
