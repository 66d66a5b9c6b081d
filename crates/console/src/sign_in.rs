//! Signing in and out, the first account, and the way to the first page.

use askama::Template;
use axum::{
    Router,
    extract::{Query, RawForm, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tributary_control::{Error, accounts::NewUser, tokens::SESSION_SECONDS};
use url::Url;

use crate::{
    Console,
    error::{PageError, sentence},
    form::{CSRF, Fields, Signed},
    page::render,
    request_head::RequestHead,
    session::{self, Session, set_cookie},
};

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/", get(home))
        .route("/sign-in", get(show).post(sign_in))
        .route("/welcome", get(welcome).post(create_first))
        .route("/sign-out", post(sign_out))
}

/// The page to sign in on.
#[derive(Template, Default)]
#[template(path = "sign_in.html")]
pub(crate) struct SignIn {
    username: String,
    wrong: String,
    next: String,
    /// The form that was sent when the sign-in had ended.
    kept: Vec<(String, String)>,
}

impl SignIn {
    /// The page in the place of a form's answer: what was written goes on after signing in.
    pub(crate) fn while_writing(next: String, fields: Fields) -> SignIn {
        SignIn { next, kept: fields.0, ..SignIn::default() }
    }
}

/// After signing in again: the form that was sent before, to send it now.
#[derive(Template)]
#[template(path = "go_on.html")]
struct GoOn {
    next: String,
    csrf: String,
    kept: Vec<(String, String)>,
    /// The fields as they are shown.
    shown: Vec<(String, String)>,
}

impl GoOn {
    fn new(next: String, csrf: String, kept: Vec<(String, String)>) -> GoOn {
        let filled = kept.iter().filter(|(_, value)| !value.is_empty());
        let shown = filled.map(|(name, value)| (name.clone(), Self::shown(name, value))).collect();
        GoOn { next, csrf, kept, shown }
    }

    /// A value as far as a screen may show it: enough to see what is about to be sent.
    fn shown(name: &str, value: &str) -> String {
        /// Characters of one value.
        const CHARS: usize = 2_000;
        let name = name.to_ascii_lowercase();
        if ["value", "password", "secret", "token", "key"].iter().any(|end| name.ends_with(end)) {
            return "••••••".to_owned();
        }
        let more = if value.chars().nth(CHARS).is_some() { "…" } else { "" };
        value.chars().take(CHARS).collect::<String>() + more
    }
}

/// The first page of a new server.
#[derive(Template)]
#[template(path = "welcome.html")]
struct Welcome {
    username: String,
    wrong: String,
}

#[derive(Deserialize)]
struct NextPage {
    #[serde(default)]
    next: String,
}

/// Stands for our own address, which does not matter here.
const OURS: &str = "http://tributary.invalid";
/// Names of kept fields begin with this, so that they cannot be taken for the sign-in's own.
const KEPT: &str = "kept.";

async fn home(State(console): State<Console>, headers: RequestHead) -> Result<Redirect, PageError> {
    let Some(session) = session::find(&console, &headers).await? else {
        return Ok(Redirect::to(if console.has_users().await? { "/sign-in" } else { "/welcome" }));
    };
    let orgs = console.list_orgs(&session.actor).await?;
    Ok(match orgs.first() {
        Some(org) => Redirect::to(&format!("/orgs/{}/integrations", org.slug)),
        None => Redirect::to("/sandbox/integrations"),
    })
}

async fn show(Query(query): Query<NextPage>) -> Result<Html<String>, PageError> {
    render(&SignIn { next: query.next, ..SignIn::default() })
}

/// Only a path of ours: never another server, however it is written. Browsers leave out tabs and line breaks, and read a
/// backslash as a slash.
fn own_path(next: &str) -> &str {
    let plain = next.starts_with('/') && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let parsed = OURS.parse::<Url>().and_then(|ours| Ok((ours.join(next)?, ours)));
    let stays =
        parsed.is_ok_and(|(there, ours)| there.origin() == ours.origin() && !there.path().starts_with("//"));
    if plain && stays { next } else { "/" }
}

async fn sign_in(
    State(console): State<Console>,
    headers: RequestHead,
    RawForm(bytes): RawForm,
) -> Result<Response, PageError> {
    if !headers.is_same_origin() {
        return Err(PageError::forged());
    }
    let fields = Fields::read(&bytes);
    let next = own_path(fields.text("next")).to_owned();
    let kept: Vec<(String, String)> = fields
        .0
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(KEPT)?.to_owned(), value.clone())))
        .filter(|(name, _)| name != CSRF)
        .collect();
    let (username, password) = (fields.text("username"), fields.text("password"));
    let from = headers.addressed.from();
    match console.start_session(username, password, from).await {
        Ok(token) if kept.is_empty() => signed_in(&headers, &token, Redirect::to(&next).into_response()),
        Ok(token) => {
            let page = GoOn::new(next, session::csrf_of(&token), kept);
            signed_in(&headers, &token, render(&page)?.into_response())
        }
        Err(error @ (Error::Refused { .. } | Error::TooMany { .. } | Error::Invalid { .. })) => {
            let status = match error {
                Error::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            let wrong = match error {
                Error::Refused { .. } => "User name and password do not belong together.".to_owned(),
                other => sentence(&other.to_string()),
            };
            let page = SignIn { username: username.to_owned(), wrong, next, kept };
            Ok((status, render(&page)?).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn signed_in(headers: &RequestHead, token: &str, mut response: Response) -> Result<Response, PageError> {
    if let Some(cookie) = set_cookie(headers, token, SESSION_SECONDS) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn welcome(State(console): State<Console>) -> Result<Response, PageError> {
    if console.has_users().await? {
        return Ok(Redirect::to("/sign-in").into_response());
    }
    Ok(render(&Welcome { username: String::new(), wrong: String::new() })?.into_response())
}

async fn create_first(
    State(console): State<Console>,
    headers: RequestHead,
    RawForm(bytes): RawForm,
) -> Result<Response, PageError> {
    if !headers.is_same_origin() {
        return Err(PageError::forged());
    }
    let fields = Fields::read(&bytes);
    let created = async {
        console.sign_up(NewUser::read(fields.body(&["username", "password"]))?).await?;
        let from = headers.addressed.from();
        console.start_session(fields.text("username"), fields.text("password"), from).await
    };
    match created.await {
        Ok(token) => signed_in(&headers, &token, Redirect::to("/sandbox/settings?new=1").into_response()),
        Err(error @ (Error::Invalid { .. } | Error::Forbidden(_))) => {
            let wrong = sentence(&error.to_string());
            let page = Welcome { username: fields.text("username").to_owned(), wrong };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&page)?).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn sign_out(
    State(console): State<Console>,
    headers: RequestHead,
    Signed { session, .. }: Signed,
) -> Result<Response, PageError> {
    let Session { token, .. } = session;
    console.end_token(&token).await?;
    let mut response = Redirect::to("/sign-in").into_response();
    if let Some(cookie) = set_cookie(&headers, "", 0) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_after_signing_in_is_shown_first() {
        let kept = [("username", "mallory"), ("role", "Administrator"), ("value", "hush"), ("empty", "")];
        let kept = kept.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let page = GoOn::new("/orgs/acme/team".to_owned(), String::new(), kept).render().unwrap_or_default();
        let visible: String = page.lines().filter(|line| !line.contains("hidden")).collect();
        for word in ["/orgs/acme/team", "mallory", "Administrator"] {
            assert!(visible.contains(word), "{word}");
        }
        assert!(!visible.contains("hush") && !visible.contains("empty"));
    }

    #[test]
    fn after_signing_in_nobody_is_sent_to_another_server() {
        assert_eq!(own_path("/orgs/acme?x=1"), "/orgs/acme?x=1");
        assert_eq!(
            own_path("/sandbox/events?prefix=a%2Fb&x=%0A#there"),
            "/sandbox/events?prefix=a%2Fb&x=%0A#there"
        );
        for elsewhere in [
            "",
            "//evil.example",
            "///evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\\evil.example",
            "\\\\evil.example",
            "orgs",
            " //evil.example",
            "/./\\evil.example",
            "/.//evil.example",
            "/a/..//evil.example",
            "/ü",
            "/a b",
        ] {
            assert_eq!(own_path(elsewhere), "/", "{elsewhere:?}");
        }
        for control in (0..0x21).chain([0x7f]).map(char::from) {
            for elsewhere in [
                format!("/{control}/evil.example"),
                format!("{control}//evil.example"),
                format!("/x{control}"),
            ] {
                assert_eq!(own_path(&elsewhere), "/", "{elsewhere:?}");
            }
        }
    }
}
