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

use crate::{Console, error::PageError, request_head::RequestHead};

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
pub(crate) fn set_cookie(head: &RequestHead, token: &str, seconds: i64) -> Option<HeaderValue> {
    let secure = if head.addressed.is_secure() { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    HeaderValue::try_from(text).ok()
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
    fn the_text_of_forms_does_not_tell_the_token() {
        let csrf = csrf_of("0123456789");
        assert_eq!(csrf.len(), 64);
        assert!(!csrf.contains("0123456789"));
        assert_ne!(csrf, csrf_of("0123456788"));
    }
}
