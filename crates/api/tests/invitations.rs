//! Invitations by a link, changing roles, and the hand-over of an organization (contract 2.2).
#![allow(clippy::unwrap_used)]

mod support;

use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::{Value, json};
use support::{PASSWORD, Person, TestApp, encode, unique};
use tributary_control::accounts_settings::{AccountSettings, Signup};

const WEEK_S: i64 = 7 * 86_400;

struct World {
    app: TestApp,
    me: Person,
    org: Value,
    team: String,
}

async fn world() -> World {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let team = format!("/v1/orgs/{}/team", org["id"].as_str().unwrap());
    World { app, me, org, team }
}

fn new_name() -> String {
    format!("{}@example.com", unique("new"))
}

impl World {
    async fn invite(&self, by: &Person, username: &str, role: &str) -> Value {
        let body = json!({"username": username, "role": role});
        let (status, body) = self.app.post(&by.token, &self.team, body).await;
        assert_eq!(status, 201, "{body}");
        body["invitation"].clone()
    }

    async fn accept(&self, who: &str, invitation: &Value, body: Value) -> (u16, Value) {
        let path = format!("/v1/invitations/{}", invitation["token"].as_str().unwrap());
        self.app.post(who, &path, body).await
    }

    async fn open(&self) -> Value {
        self.app.get(&self.me.token, &format!("{}/invitations", self.team)).await.1["invitations"].clone()
    }

    async fn role_of(&self, username: &str) -> Value {
        let (_, body) = self.app.get(&self.me.token, &self.team).await;
        let found = body["team"].as_array().unwrap().iter().find(|one| one["username"] == json!(username));
        found.map(|one| one["role"]["name"].clone()).unwrap_or_default()
    }
}

fn password() -> Value {
    json!({"password": PASSWORD})
}

#[tokio::test]
async fn who_has_no_account_gets_one_under_the_invited_name_by_the_link_and_only_once() {
    let w = world().await;
    let name = new_name();
    let invitation = w.invite(&w.me, &name.to_uppercase(), "Support").await;
    assert_eq!(invitation["username"], json!(name));
    let token = invitation["token"].as_str().unwrap();
    assert_eq!(invitation["url"], json!(format!("/v1/invitations/{token}")), "relative without a Host");
    let open = w.open().await;
    assert_eq!((&open[0]["username"], &open[0]["invited_by"]), (&json!(name), &json!(w.me.username)));
    assert_eq!(open[0]["role"]["name"], json!("Support"));
    assert!(!open.to_string().contains(token), "the token is shown once");
    assert_eq!(w.role_of(&name).await, Value::Null, "not on the team yet");

    for wrong in [json!({}), json!({"password": "short"})] {
        let (status, body) = w.accept("", &invitation, wrong).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("password")));
    }
    let (status, body) = w.accept("", &invitation, password()).await;
    assert_eq!((status, &body["username"], &body["created"]), (200, &json!(name), &json!(true)), "{body}");
    assert_eq!(body["organization"]["id"], w.org["id"]);
    assert_eq!(w.role_of(&name).await, json!("Support"));
    assert_eq!(w.app.sign_in(&name, PASSWORD).await.status, 200);
    assert_eq!(w.open().await, json!([]));
    let other = w.app.signed_up_user().await;
    assert_eq!(w.accept(&other.token, &invitation, json!({})).await.0, 404);
}

#[tokio::test]
async fn the_link_has_the_host_that_the_inviter_asked_and_no_scheme_of_an_unknown_proxy() {
    let w = world().await;
    let request = Request::post(&w.team)
        .header(header::HOST, "fleet.example:8080")
        .header("x-forwarded-proto", "https")
        .header(header::AUTHORIZATION, format!("Bearer {}", w.me.token))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(json!({"username": new_name()}).to_string()));
    let answer = w.app.send(request.unwrap()).await.json();
    let url = answer["invitation"]["url"].as_str().unwrap();
    assert!(url.starts_with("http://fleet.example:8080/v1/invitations/"), "{url}");
}

#[tokio::test]
async fn an_invitation_creates_an_account_also_where_signing_up_is_closed() {
    let app = TestApp::with(AccountSettings { signup: Signup::First, ..AccountSettings::default() }).await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let team = format!("/v1/orgs/{}/team", org["id"].as_str().unwrap());
    let w = World { app, me, org, team };
    let name = new_name();
    let sign_up = json!({"username": name, "password": PASSWORD});
    assert_eq!(w.app.post("", "/v1/users", sign_up).await.0, 403);
    let invitation = w.invite(&w.me, &name, "Developer").await;
    assert_eq!(w.accept("", &invitation, password()).await.0, 200);
    assert_eq!(w.app.sign_in(&name, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn who_is_signed_in_joins_under_their_own_name() {
    let w = world().await;
    let person = w.app.signed_up_user().await;
    let invitation = w.invite(&w.me, &new_name(), "Developer").await;
    let robot = w.app.api_user(&w.me, w.team.strip_suffix("/team").unwrap(), &["organization:get"]).await;
    assert_eq!(w.accept(&robot.token, &invitation, json!({})).await.0, 403);
    let (status, body) = w.accept(&w.me.token, &invitation, json!({})).await;
    assert_eq!((status, &body["error"]), (409, &json!("already_member")));
    let (status, body) = w.accept(&person.token, &invitation, json!({})).await;
    assert_eq!((status, &body["username"], &body["created"]), (200, &json!(person.username), &json!(false)));
    assert_eq!(w.role_of(&person.username).await, json!("Developer"));
}

#[tokio::test]
async fn who_signed_up_meanwhile_signs_in_first() {
    let w = world().await;
    let name = new_name();
    let invitation = w.invite(&w.me, &name, "Developer").await;
    assert_eq!(w.app.post("", "/v1/users", json!({"username": name, "password": PASSWORD})).await.0, 200);
    let (status, body) = w.accept("", &invitation, json!({"password": "another one"})).await;
    assert_eq!((status, &body["error"]), (409, &json!("sign_in_first")));
    let token = w.app.sign_in(&name, PASSWORD).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(w.accept(&token, &invitation, json!({})).await.0, 200);
}

#[tokio::test]
async fn an_invitation_ends_after_a_week_when_revoked_and_when_another_takes_its_place() {
    let w = world().await;
    let old = w.invite(&w.me, &new_name(), "Developer").await;
    support::pass(WEEK_S);
    assert_eq!(w.open().await, json!([]));
    // Tokens of people live longer than an invitation.
    assert_eq!(w.accept("", &old, password()).await.0, 404);

    let name = new_name();
    let (first, second) =
        (w.invite(&w.me, &name, "Developer").await, w.invite(&w.me, &name, "Support").await);
    assert_eq!(w.accept("", &first, password()).await.0, 404);
    let path = format!("{}/invitations/{}", w.team, encode(&name));
    assert_eq!(w.app.delete(&w.me.token, &path).await.0, 204);
    assert_eq!(w.app.delete(&w.me.token, &path).await.0, 404);
    assert_eq!(w.accept("", &second, password()).await.0, 404);

    let third = w.invite(&w.me, &name, "Developer").await;
    assert_eq!(w.app.post("", "/v1/users", json!({"username": name, "password": PASSWORD})).await.0, 200);
    assert_eq!(w.app.post(&w.me.token, &w.team, json!({"username": name})).await.0, 201);
    let other = w.app.signed_up_user().await;
    assert_eq!(w.accept(&other.token, &third, json!({})).await.0, 404, "the invited one is on the team");
}

#[tokio::test]
async fn an_invitation_is_worth_no_more_than_who_gave_it() {
    let w = world().await;
    let admin = w.app.member(&w.me, &w.org, "Administrator").await;
    let product = w.app.product(&w.me, &w.org).await;
    let own_team = format!("/v1/products/{}/team", product["id"]);
    let to_org = w.invite(&admin, &new_name(), "Developer").await;
    let (_, body) = w.app.post(&admin.token, &own_team, json!({"username": new_name()})).await;
    let to_product = body["invitation"].clone();
    let gone = format!("{}/{}", w.team, encode(&admin.username));
    assert_eq!(w.app.delete(&w.me.token, &gone).await.0, 204);
    for invitation in [to_org, to_product] {
        assert_eq!(w.accept(&admin.token, &invitation, json!({})).await.0, 404, "nobody lets themselves in");
        assert_eq!(w.accept("", &invitation, password()).await.0, 404);
    }
}

#[tokio::test]
async fn a_team_has_a_bounded_number_of_open_invitations() {
    let w = world().await;
    for _ in 0..100 {
        w.invite(&w.me, &new_name(), "View-only").await;
    }
    let (status, body) = w.app.post(&w.me.token, &w.team, json!({"username": new_name()})).await;
    assert_eq!((status, &body["error"]), (409, &json!("limit_reached")));
    support::pass(WEEK_S);
    w.invite(&w.me, &new_name(), "View-only").await;
}

#[tokio::test]
async fn who_may_not_invite_is_told_the_role_that_may_and_a_stranger_sees_nothing() {
    let w = world().await;
    let developer = w.app.member(&w.me, &w.org, "Developer").await;
    let admin = w.app.member(&w.me, &w.org, "Administrator").await;
    let stranger = w.app.signed_up_user().await;
    let body = json!({"username": new_name()});
    let (status, answer) = w.app.post(&developer.token, &w.team, body.clone()).await;
    assert_eq!(status, 403);
    assert!(answer["error_description"].as_str().unwrap().contains("needs the role Administrator"));
    let as_owner = json!({"username": new_name(), "role": "Administrator (Owner)"});
    assert_eq!(w.app.post(&admin.token, &w.team, as_owner.clone()).await.0, 403);
    assert_eq!(w.app.post(&stranger.token, &w.team, body).await.0, 404);
    let open = format!("{}/invitations", w.team);
    assert_eq!(w.app.get(&stranger.token, &open).await.0, 404);

    let invited = w.invite(&w.me, as_owner["username"].as_str().unwrap(), "Administrator (Owner)").await;
    let one = format!("{open}/{}", encode(invited["username"].as_str().unwrap()));
    assert_eq!(w.app.delete(&stranger.token, &one).await.0, 404);
    assert_eq!(w.app.delete(&developer.token, &one).await.0, 403);
    assert_eq!(w.app.delete(&admin.token, &one).await.0, 403, "an owner's invitation is for owners");
    assert_eq!(w.app.delete(&w.me.token, &one).await.0, 204);
}

#[tokio::test]
async fn the_owner_hands_the_organization_to_somebody_on_the_team_and_stays_an_administrator() {
    let w = world().await;
    let admin = w.app.member(&w.me, &w.org, "Administrator").await;
    let developer = w.app.member(&w.me, &w.org, "Developer").await;
    let stranger = w.app.signed_up_user().await;
    let org = w.team.strip_suffix("/team").unwrap();
    let robot = w.app.api_user(&w.me, org, &["teams.users:*"]).await;
    let owner = format!("{org}/owner");
    let to = |person: &Person| json!({"username": person.username});

    let (status, body) = w.app.post(&admin.token, &owner, to(&admin)).await;
    assert_eq!(status, 403);
    assert!(body["error_description"].as_str().unwrap().contains("Administrator (Owner)"), "{body}");
    assert_eq!(w.app.post(&robot.token, &owner, to(&admin)).await.0, 403);
    assert_eq!(w.app.post(&stranger.token, &owner, to(&stranger)).await.0, 404);
    for wrong in [to(&stranger), to(&robot), to(&w.me), json!({})] {
        let (status, body) = w.app.post(&w.me.token, &owner, wrong.clone()).await;
        assert_eq!((status, &body["errors"][0]["field"]), (400, &json!("username")), "{wrong}");
    }

    let (status, body) = w.app.post(&w.me.token, &owner, to(&developer)).await;
    assert_eq!((status, &body["owner"]), (200, &json!(developer.username)), "{body}");
    assert_eq!(w.role_of(&developer.username).await, json!("Administrator (Owner)"));
    assert_eq!(w.role_of(&w.me.username).await, json!("Administrator"));
    assert_eq!(w.app.post(&w.me.token, &owner, to(&admin)).await.0, 403, "at once");
    assert_eq!(w.app.put(&developer.token, org, json!({"name": "Theirs"})).await.0, 200);
}

#[tokio::test]
async fn two_hand_overs_at_the_same_moment_leave_one_owner() {
    let w = world().await;
    let (one, two) =
        (w.app.member(&w.me, &w.org, "Developer").await, w.app.member(&w.me, &w.org, "Developer").await);
    let owner = format!("{}/owner", w.team.strip_suffix("/team").unwrap());
    let give = |person: &Person| w.app.post(&w.me.token, &owner, json!({"username": person.username}));
    let (first, second) = tokio::join!(give(&one), give(&two));
    let statuses = [first.0, second.0];
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    let (_, body) = w.app.get(&one.token, &w.team).await;
    let owners = body["team"].as_array().unwrap().iter();
    assert_eq!(owners.filter(|m| m["role"]["name"] == json!("Administrator (Owner)")).count(), 1, "{body}");
}
