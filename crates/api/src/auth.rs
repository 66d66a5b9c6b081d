//! Who is calling: the token of a request (contract 2.1).
//!
//! A token may stand in the `Authorization` header, in the query, or in a form body. The body can be read only once, so
//! `find_token` reads the beginning of a form before the handlers, where the token stands nowhere else, and leaves what it
//! found in the request. Nobody's bytes are kept beyond that before it is known whose they are.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Request},
    http::{Extensions, HeaderMap, header, request::Parts},
};
use tributary_control::addressed::Addressed;
use tributary_domain::access::Actor;

use crate::{
    AppState,
    body::{FORM, First, UNPROVEN_BYTES, beginning_with, drain, first_part, media_type},
    error::{ApiError, TWO_TOKENS},
    form::pairs,
};

/// The name of the token's parameter in a query or form.
pub(crate) const PARAMETER: &str = "access_token";

/// The tokens that a request came with, found by [`find_token`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Presented {
    tokens: Vec<String>,
    /// How many of them stand outside of the body.
    outside: usize,
}

impl Presented {
    /// Whether a form that has been read to its end shows that there is more than one token.
    pub(crate) fn is_one_too_many(&self, form: &[u8]) -> bool {
        let more = parameter(form).count();
        more > 0 && self.outside + more > 1
    }
}

/// The caller's token was a good one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proven;

/// A form that is longer than what is read of one that brings no token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TooLong;

/// The bytes of a form body that has been read already.
#[derive(Clone, Debug)]
pub(crate) struct FormBytes(pub(crate) Bytes);

/// The caller, by its token. Answers 400 without one and 401 for one that is not valid.
#[derive(Clone, Debug)]
pub struct Caller(pub Actor);

/// The token as it was sent, unjudged, for endpoints that can do without.
#[derive(Clone, Debug)]
pub struct MaybeToken(pub Option<String>);

/// By whom the server was addressed, and how.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the server's connections tell it; nothing is known when it was started without.
    pub addressed: Addressed,
    host: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Source, Infallible> {
        let host = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
        Ok(Source { addressed: addressed(&parts.extensions), host: host.map(str::to_owned) })
    }
}

impl Source {
    /// What links begin with.
    pub(crate) fn base(&self) -> String {
        self.addressed.base(self.host.as_deref())
    }
}

/// By whom the request of these extensions came.
pub(crate) fn addressed(extensions: &Extensions) -> Addressed {
    extensions.get::<Addressed>().cloned().unwrap_or_default()
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Caller, ApiError> {
        let token = presented(parts)?.ok_or_else(ApiError::no_token)?;
        let actor = state.control.authenticate(&token).await?;
        parts.extensions.insert(Proven);
        Ok(Caller(actor))
    }
}

impl FromRequestParts<AppState> for MaybeToken {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<MaybeToken, ApiError> {
        Ok(MaybeToken(presented(parts)?))
    }
}

fn presented(parts: &Parts) -> Result<Option<String>, ApiError> {
    match parts.extensions.get::<Presented>().map(|found| &found.tokens[..]) {
        None | Some([]) => Ok(None),
        Some([token]) => Ok(Some(token.clone())),
        Some(_) => Err(ApiError::bad_request(TWO_TOKENS)),
    }
}

/// Looks for tokens in all three places.
///
/// # Errors
/// When a form cannot be read.
pub(crate) async fn find_token(request: Request) -> Result<Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let mut tokens: Vec<String> = bearer_tokens(&parts.headers).collect();
    if let Some(query) = parts.uri.query() {
        tokens.extend(parameter(query.as_bytes()));
    }
    let outside = tokens.len();
    let is_form = media_type(&parts.headers).as_deref() == Some(FORM);
    let body = if is_form && tokens.is_empty() {
        match first_part(&parts.headers, body).await? {
            First::Whole(bytes) => {
                tokens.extend(parameter(&bytes));
                parts.extensions.insert(FormBytes(bytes));
                Body::empty()
            }
            First::Beginning(beginning, rest) => {
                let looked_at = &beginning[..beginning.len().min(UNPROVEN_BYTES)];
                let whole = looked_at.iter().rposition(|byte| *byte == b'&').unwrap_or_default();
                tokens.extend(parameter(&beginning[..whole]));
                if tokens.is_empty() {
                    drain(rest).await;
                    parts.extensions.insert(TooLong);
                    Body::empty()
                } else {
                    beginning_with(beginning, rest)
                }
            }
        }
    } else {
        body
    };
    parts.extensions.insert(Presented { tokens, outside });
    Ok(Request::from_parts(parts, body))
}

/// The tokens of `Authorization: Bearer` headers. A header of another scheme, or without a token, is none.
fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
    })
}

/// The values of the token's parameter in a query or form, empty ones left out.
fn parameter(encoded: &[u8]) -> impl Iterator<Item = String> {
    pairs(encoded).filter_map(|pair| match pair {
        Ok((key, value)) if key == PARAMETER && !value.is_empty() => Some(value.into_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case_and_other_schemes_are_no_token() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("BEARER abc", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header value"));
            assert_eq!(bearer_tokens(&headers).next().as_deref(), token, "{value}");
        }
    }

    #[test]
    fn the_parameter_is_found_wherever_it_stands() {
        for (query, tokens) in [
            ("access_token=a", vec!["a"]),
            ("x=1&access_token=a&y=%20", vec!["a"]),
            ("access%5Ftoken=a&access_token=b", vec!["a", "b"]),
            ("access_token=&x", vec![]),
            ("my_access_token=a", vec![]),
        ] {
            assert_eq!(parameter(query.as_bytes()).collect::<Vec<_>>(), tokens, "{query}");
        }
    }
}
