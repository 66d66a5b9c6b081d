//! Signing up, signing in and out, and what a token is (contract 2.1).

#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::{PASSWORD, TestApp, encode, pass, unique};
use tributary_control::accounts_settings::{AccountSettings, Signup};

const FORM_OF_REFRESH: &str = "grant_type=refresh_token&client_id=particle&client_secret=particle";
const FORM: &str = "grant_type=password&client_id=particle&client_secret=particle";
const BASIC: (&str, &str) = ("authorization", "Basic cGFydGljbGU6cGFydGljbGU=");

#[tokio::test]
async fn a_person_signs_up_signs_in_and_signs_out() {
    let app = TestApp::new().await;
    let username = format!("{}@Example.com", unique("Ada"));
    let (status, body) = app.post("", "/v1/users", json!({"username": username, "password": PASSWORD})).await;
    assert_eq!((status, body), (200, json!({"ok": true})));

    let answer = app.sign_in(&username.to_uppercase(), PASSWORD).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let granted = answer.json();
    for field in ["access_token", "refresh_token"] {
        let token = granted[field].as_str().unwrap();
        assert!(token.len() == 40 && token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
    }
    assert_eq!((&granted["token_type"], &granted["expires_in"]), (&json!("bearer"), &json!(7_776_000)));

    let token = granted["access_token"].as_str().unwrap();
    let (status, user) = app.get(token, "/v1/user").await;
    assert_eq!((status, &user["username"]), (200, &json!(username.to_lowercase())));
    assert_eq!((&user["account_info"], &user["mfa"]), (&json!({}), &json!({"enabled": false})));

    assert_eq!(app.delete("", &format!("/v1/access_tokens/{token}")).await, (200, json!({"ok": true})));
    assert_eq!(app.get(token, "/v1/user").await.0, 401);
    assert_eq!(app.delete("", &format!("/v1/access_tokens/{token}")).await.0, 200, "it has ended either way");
}

#[tokio::test]
async fn a_new_account_needs_a_name_that_is_free_and_a_password_of_some_length() {
    let app = TestApp::new().await;
    let taken = app.signed_up_user().await.username;
    let long = "x".repeat(201);
    for (body, field) in [
        (json!({"password": PASSWORD}), "username"),
        (json!({"username": "", "password": PASSWORD}), "username"),
        (json!({"username": ["a"], "password": PASSWORD}), "username"),
        (json!({"username": long, "password": PASSWORD}), "username"),
        (json!({"username": "a\nb", "password": PASSWORD}), "username"),
        (json!({"username": "x@api.tributary", "password": PASSWORD}), "username"),
        (json!({"username": taken, "password": PASSWORD}), "username"),
        (json!({"username": taken.to_uppercase(), "password": PASSWORD}), "username"),
        (json!({"username": "new"}), "password"),
        (json!({"username": "new", "password": "1234567"}), "password"),
        (json!({"username": "new", "password": 12345678}), "password"),
        (json!({"username": "new", "password": "x".repeat(1_025)}), "password"),
    ] {
        let (status, answer) = app.post("", "/v1/users", body.clone()).await;
        assert_eq!((status, &answer["errors"][0]["field"]), (400, &json!(field)), "{body}: {answer}");
    }
    assert_eq!(app.sign_in("new", PASSWORD).await.status, 400);
}

#[tokio::test]
async fn by_default_only_the_first_person_can_sign_up_even_when_several_try_at_once() {
    let app = TestApp::with(AccountSettings::default()).await;
    let sign_up =
        |n: usize| app.post("", "/v1/users", json!({"username": format!("p{n}"), "password": PASSWORD}));
    let answers = tokio::join!(sign_up(1), sign_up(2), sign_up(3), sign_up(4));
    let mut statuses = [answers.0.0, answers.1.0, answers.2.0, answers.3.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403, 403, 403]);
    assert_eq!(sign_up(5).await.0, 403);

    let closed =
        TestApp::with(AccountSettings { signup: Signup::Closed, ..AccountSettings::default() }).await;
    assert_eq!(closed.post("", "/v1/users", json!({"username": "a", "password": PASSWORD})).await.0, 403);
}

#[tokio::test]
async fn a_refused_sign_in_says_which_part_is_wrong() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let (name, password) = (encode(&me.username), encode(PASSWORD));
    for (form, error, description) in [
        (format!("{FORM}&username={name}&password=wrong"), "invalid_grant", "User credentials are invalid"),
        (
            format!("{FORM}&username=nobody&password={password}"),
            "invalid_grant",
            "User credentials are invalid",
        ),
        (format!("{FORM}&username={name}"), "invalid_request", "password"),
        (format!("grant_type=password&username={name}&password={password}"), "invalid_client", "Client"),
        (format!("{FORM}x&username={name}&password={password}"), "invalid_client", "Client"),
        (
            format!("client_id=particle&client_secret=particle&username={name}"),
            "invalid_request",
            "grant_type",
        ),
        (FORM.replace("=password", "=magic"), "unsupported_grant_type", "magic"),
        (
            format!("{FORM}&username={name}&password={password}&expires_in=soon"),
            "invalid_request",
            "expires_in",
        ),
        (
            format!("{FORM}&username={name}&password={password}&expires_in=-1"),
            "invalid_request",
            "expires_in",
        ),
        (
            "grant_type=refresh_token&client_id=particle&client_secret=particle&refresh_token=x".to_owned(),
            "invalid_grant",
            "Refresh",
        ),
    ] {
        let answer = app.form("/oauth/token", &[], &form).await;
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), &body["error"]), (400, &json!(error)), "{form}");
        assert!(body["error_description"].as_str().unwrap().contains(description), "{body}");
    }
}

#[tokio::test]
async fn the_client_is_known_by_its_basic_header_too() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let form = format!("grant_type=password&username={}&password={}", encode(&me.username), encode(PASSWORD));
    for (header, status) in [
        (BASIC, 200),
        (("authorization", "basic cGFydGljbGU6cGFydGljbGU="), 200),
        (("authorization", "Basic cGFydGljbGU6d3Jvbmc="), 400),
        (("authorization", "Basic !!"), 400),
        (("x-other", "1"), 400),
    ] {
        assert_eq!(app.form("/oauth/token", &[header], &form).await.status, status, "{header:?}");
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_was_asked() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let form = format!("{FORM}&username={}&password={}", encode(&me.username), encode(PASSWORD));
    let grant = async |more: &str| app.form("/oauth/token", &[], &format!("{form}{more}")).await.json();
    let (short, endless) = (grant("&expires_in=60").await, grant("&expires_in=0").await);
    assert_eq!((&short["expires_in"], &endless["expires_in"]), (&json!(60), &json!(0)));
    let token = |granted: &Value| granted["access_token"].as_str().unwrap().to_owned();

    let (_, info) = app.get(&token(&short), "/v1/access_tokens/current").await;
    assert_eq!(info["expires_at"], json!("2023-11-14T22:14:20.000Z"));
    let (_, info) = app.get(&token(&endless), "/v1/access_tokens/current").await;
    assert_eq!(
        (&info["expires_at"], &info["client"], &info["scopes"]),
        (&Value::Null, &json!("particle"), &json!([]))
    );

    assert_eq!(app.get(&token(&short), "/v1/user").await.0, 200);
    pass(60);
    assert_eq!(app.get(&token(&short), "/v1/user").await.0, 401);
    assert_eq!(app.get(&token(&short), "/v1/access_tokens/current").await.0, 401);
    pass(100 * 365 * 86_400);
    assert_eq!(app.get(&token(&endless), "/v1/user").await.0, 200);
}

#[tokio::test]
async fn a_refresh_token_works_once_and_ends_the_token_it_came_with() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    assert_eq!(app.get(&me.token, "/v1/user").await.0, 200);
    let refresh = async |client: &str, token: &str| {
        let form = format!(
            "grant_type=refresh_token&client_id={client}&client_secret={client}&refresh_token={token}"
        );
        app.form("/oauth/token", &[], &form).await
    };
    assert_eq!(
        refresh("particle-cli", &me.refresh_token).await.status,
        400,
        "it was given to another client"
    );
    let granted = refresh("particle", &me.refresh_token).await.json();
    let fresh = granted["access_token"].as_str().unwrap();
    assert_eq!(app.get(fresh, "/v1/user").await.1["username"], json!(me.username));
    assert_eq!(app.get(&me.token, "/v1/user").await.0, 401);
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_what_came_out_of_it_and_nothing_else() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let other = app.sign_in(&me.username, PASSWORD).await.json();
    let refresh = async |client: &str, token: &str| {
        let form = format!(
            "grant_type=refresh_token&client_id={client}&client_secret={client}&refresh_token={token}"
        );
        app.form("/oauth/token", &[], &form).await
    };
    let text = |granted: &Value, field: &str| granted[field].as_str().unwrap().to_owned();
    for reused in 0..3 {
        let mut spent = vec![text(&app.sign_in(&me.username, PASSWORD).await.json(), "refresh_token")];
        let mut access = String::new();
        for _ in 0..3 {
            let granted = refresh("particle", spent.last().unwrap()).await.json();
            spent.push(text(&granted, "refresh_token"));
            access = text(&granted, "access_token");
        }
        assert_eq!(app.get(&access, "/v1/user").await.0, 200);
        // Whoever uses it, and as whichever client.
        let client = if reused == 1 { "particle-cli" } else { "particle" };
        let again = refresh(client, &spent[reused]).await;
        assert_eq!(again.json()["error"], json!("invalid_grant"), "the one of {reused}");
        assert_eq!(app.get(&access, "/v1/user").await.0, 401, "the newest access token has ended");
        assert_eq!(
            refresh("particle", spent.last().unwrap()).await.status,
            400,
            "and the newest refresh token"
        );
    }
    assert_eq!(app.get(&me.token, "/v1/user").await.0, 200, "another sign-in is another family");
    assert_eq!(refresh("particle", &text(&other, "refresh_token")).await.status, 200);
    assert_eq!(refresh("particle", "never given out").await.status, 400);
}

#[tokio::test]
async fn the_current_token_tells_its_organizations_and_can_end_itself_or_all() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let org = app.org(&me, "basic").await;
    let (status, info) = app.get(&me.token, "/v1/access_tokens/current").await;
    assert_eq!((status, &info["orgs"]), (200, &json!([{"id": org["id"], "slug": org["slug"]}])));

    let other = app.sign_in(&me.username, PASSWORD).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(app.delete(&me.token, "/v1/access_tokens/current").await, (200, json!({"ok": true})));
    assert_eq!(app.delete(&me.token, "/v1/access_tokens/current").await.0, 401);
    assert_eq!(app.get(&other, "/v1/user").await.0, 200);
    let third = app.sign_in(&me.username, PASSWORD).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(app.delete(&other, "/v1/access_tokens").await.0, 200);
    for token in [&other, &third] {
        assert_eq!(app.get(token, "/v1/user").await.0, 401);
    }
}

#[tokio::test]
async fn a_password_changes_for_who_knows_the_present_one() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    for (body, field) in [
        (json!({"current_password": "wrong", "password": "battery staple"}), "current_password"),
        (json!({"password": "battery staple"}), "current_password"),
        (json!({"current_password": PASSWORD, "password": "short"}), "password"),
        (json!({"current_password": PASSWORD, "password": "battery staple", "username": "x"}), "username"),
    ] {
        let (status, answer) = app.put(&me.token, "/v1/user", body.clone()).await;
        assert_eq!((status, &answer["errors"][0]["field"]), (400, &json!(field)), "{body}: {answer}");
    }
    let change =
        json!({"current_password": PASSWORD, "password": "battery staple", "invalidate_tokens": true});
    assert_eq!(app.put(&me.token, "/v1/user", change).await.0, 200);
    assert_eq!(app.get(&me.token, "/v1/user").await.0, 401);
    assert_eq!(app.sign_in(&me.username, PASSWORD).await.status, 400);
    assert_eq!(app.sign_in(&me.username, "battery staple").await.status, 200);
}

#[tokio::test]
async fn another_password_ends_other_sessions_and_their_refresh_tokens_unless_asked_not_to() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let other = app.sign_in(&me.username, PASSWORD).await.json();
    let other = |field: &str| other[field].as_str().unwrap().to_owned();
    let change = |from: &str, to: &str, more: Value| {
        let mut body = json!({"current_password": from, "password": to});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let kept = change(PASSWORD, "battery staple", json!({"invalidate_tokens": false}));
    assert_eq!(app.put(&me.token, "/v1/user", kept).await.0, 200);
    assert_eq!(app.get(&other("access_token"), "/v1/user").await.0, 200);
    let usual = change("battery staple", PASSWORD, json!({}));
    assert_eq!(app.put(&me.token, "/v1/user", usual).await.0, 200);
    assert_eq!(app.get(&me.token, "/v1/user").await.0, 200, "who changes it stays signed in");
    assert_eq!(app.get(&other("access_token"), "/v1/user").await.0, 401);
    let form = format!("{FORM_OF_REFRESH}&refresh_token={}", other("refresh_token"));
    assert_eq!(app.form("/oauth/token", &[], &form).await.status, 400);
}

#[tokio::test]
async fn too_many_failed_sign_ins_have_to_wait() {
    let app = TestApp::new().await;
    let (me, other) = (app.signed_up_user().await, app.signed_up_user().await);
    for _ in 0..10 {
        assert_eq!(app.sign_in(&me.username, "wrong").await.status, 400);
    }
    for password in ["wrong", PASSWORD] {
        let answer = app.sign_in(&me.username, password).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (429, &json!("too_many_requests")));
        assert_eq!(answer.headers["retry-after"], "300");
    }
    assert_eq!(app.get(&me.token, "/v1/user").await.0, 200, "who is signed in stays so");
    assert_eq!(app.sign_in(&other.username, PASSWORD).await.status, 200);
    pass(300);
    assert_eq!(app.sign_in(&me.username, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn a_form_of_nobody_is_read_only_so_far_and_one_with_a_token_in_its_beginning_to_its_end() {
    let app = TestApp::new().await;
    let me = app.signed_up_user().await;
    let filling = |bytes: usize| format!("data={}", "x".repeat(bytes));
    let publish = |form: String| {
        let app = &app;
        async move { app.form("/v1/devices/events", &[], &form).await }
    };
    let token = format!("access_token={}", me.token);
    let short = publish(format!("name=a&{}&{token}", filling(16_000))).await;
    assert_eq!(short.status, 200, "{short:?}");
    // Too long for an event, so its data is refused and not its length or its token.
    let long = publish(format!("name=a&{token}&{}", filling(200_000))).await;
    assert_eq!((long.status.as_u16(), &long.json()["errors"][0]["field"]), (400, &json!("data")), "{long:?}");
    for form in [format!("name=a&{}&{token}", filling(200_000)), filling(1_000_000), filling(100_000)] {
        let answer = publish(form).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error_description"], "The access token was not found");
    }
    let twice = publish(format!("name=a&{token}&{}&{token}", filling(200_000))).await;
    let bearer = format!("Bearer {}", me.token);
    let both =
        app.form("/v1/devices/events", &[("authorization", &bearer)], &format!("name=a&{token}")).await;
    for answer in [twice, both] {
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (400, &json!("invalid_request")));
        assert!(answer.json()["error_description"].as_str().unwrap().contains("more than one way"));
    }
    for path in ["/oauth/token", "/v1/users"] {
        for (headers, form) in
            [(vec![], filling(100_000)), (vec![("authorization", "Bearer made-up")], filling(100_000))]
        {
            assert_eq!(app.form(path, &headers, &form).await.status, 413, "{path} {headers:?}");
        }
    }
}
