//! Who looks: a cookie that holds a token of its own, which the store knows by its hash like every other one.
//!
//! Every form carries a second text, made of the token in one direction (a page of another origin knows neither).

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};
use sha2::{Digest, Sha256};
use tributary_control::Error;
use tributary_domain::access::Actor;

use crate::{Console, error::PageError};

/// The cookie.
const COOKIE: &str = "tributary_session";
/// What the text in forms is made of besides the token.
const CSRF_PURPOSE: &[u8] = b"tributary console form";

/// The person who looks at a page.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Who.
    pub(crate) actor: Actor,
    /// The token of the cookie.
    pub(crate) token: String,
    /// What every form has to carry.
    pub(crate) csrf: String,
}

impl FromRequestParts<Console> for Session {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Session, PageError> {
        find(console, &parts.headers).await?.ok_or_else(|| PageError::signed_out(parts))
    }
}

/// The session of a request, if it has one that is still good.
pub(crate) async fn find(console: &Console, headers: &HeaderMap) -> Result<Option<Session>, PageError> {
    let Some(token) = cookie(headers) else { return Ok(None) };
    match console.authenticate(token).await {
        // An API user's token is for programs; pages are for people.
        Ok(actor) if actor.scopes.is_some() => Ok(None),
        Ok(actor) => Ok(Some(Session { actor, csrf: csrf_of(token), token: token.to_owned() })),
        Err(Error::InvalidToken) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty())
}

pub(crate) fn csrf_of(token: &str) -> String {
    let digest = Sha256::new().chain_update(CSRF_PURPOSE).chain_update(token.as_bytes()).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The header that sets the cookie for `seconds`, or ends it with 0.
pub(crate) fn set_cookie(headers: &HeaderMap, token: &str, seconds: i64) -> Option<HeaderValue> {
    let proxied = headers.get("x-forwarded-proto").is_some_and(|value| value.as_bytes() == b"https");
    let secure = if proxied { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::try_from(text).ok()
}

/// Whether a request that writes comes from a page of ours, as far as the browser tells.
pub(crate) fn is_same_origin(headers: &HeaderMap) -> bool {
    told_origin(headers).unwrap_or(true)
}

/// Whether the browser tells that a request comes from a page of ours.
pub(crate) fn is_ours(headers: &HeaderMap) -> bool {
    told_origin(headers).unwrap_or(false)
}

/// `None` when the browser tells nothing, as old ones and programs do.
fn told_origin(headers: &HeaderMap) -> Option<bool> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let site = text("sec-fetch-site").map(|site| site == "same-origin");
    let (origin, host) = (text("origin"), text("host").unwrap_or_default());
    let origin = origin.map(|origin| origin.split_once("://").is_some_and(|(_, told)| told == host));
    match (site, origin) {
        (Some(site), Some(origin)) => Some(site && origin),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(cookie(&headers), None);
        headers.insert(header::COOKIE, "a=1; tributary_session=abc; b=2".parse().unwrap());
        assert_eq!(cookie(&headers), Some("abc"));
        headers.insert(header::COOKIE, "not_tributary_session=abc; tributary_session=".parse().unwrap());
        assert_eq!(cookie(&headers), None);
    }

    #[test]
    fn a_page_of_another_origin_is_told_apart() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "tributary.example:8080".parse().unwrap());
        assert!(is_same_origin(&headers));
        assert!(!is_ours(&headers), "nothing is told");
        headers.insert(header::ORIGIN, "https://tributary.example:8080".parse().unwrap());
        assert!(is_same_origin(&headers) && is_ours(&headers));
        for (site, same) in
            [("same-origin", true), ("same-site", false), ("cross-site", false), ("none", false)]
        {
            headers.insert("sec-fetch-site", site.parse().unwrap());
            assert_eq!((is_same_origin(&headers), is_ours(&headers)), (same, same), "{site}");
        }
        headers.remove("sec-fetch-site");
        for other in ["https://evil.example", "null", "http://tributary.example"] {
            headers.insert(header::ORIGIN, other.parse().unwrap());
            assert!(!is_same_origin(&headers) && !is_ours(&headers), "{other}");
        }
    }

    #[test]
    fn the_text_of_forms_does_not_tell_the_token() {
        let csrf = csrf_of("0123456789");
        assert_eq!(csrf.len(), 64);
        assert!(!csrf.contains("0123456789"));
        assert_ne!(csrf, csrf_of("0123456788"));
    }
}
