//! The one error of this face. Every answer that is not 2xx is JSON with `error` and `error_description` (contract 3.2).

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tributary_control::Error;
use tributary_domain::FieldError;

/// A refusal, or a failure of ours, as the caller sees it.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    description: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
}

impl ApiError {
    /// An answer with this status, `error` and `error_description`.
    pub fn new(status: StatusCode, code: &'static str, description: impl Into<String>) -> ApiError {
        ApiError { status, code, description: description.into(), errors: Vec::new(), retry_after_s: None }
    }

    /// The same with a `Retry-After` header, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> ApiError {
        self.retry_after_s = Some(seconds);
        self
    }

    /// 400 `invalid_request`.
    pub fn bad_request(description: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", description)
    }

    /// No token was sent: not a 401, which clients take for a lost login.
    pub(crate) fn no_token() -> ApiError {
        ApiError::bad_request(NO_TOKEN)
    }

    /// The answer for a status that was not given by one of our handlers, such as an unknown path.
    pub(crate) fn of_status(status: StatusCode, detail: Option<String>) -> ApiError {
        let (code, text) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this address does not take this method")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("payload_too_large", "the body is larger than 1 MiB"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "unsupported_media_type",
                "send JSON (application/json) or a form (application/x-www-form-urlencoded)",
            ),
            StatusCode::TOO_MANY_REQUESTS => ("too_many_requests", "too many requests; wait and try again"),
            StatusCode::SERVICE_UNAVAILABLE => {
                ("unavailable", "this cannot be done at the moment, try again shortly")
            }
            status if status.is_server_error() => ("internal_error", "something went wrong on the server"),
            _ => ("invalid_request", "the request cannot be read"),
        };
        let detail = detail.filter(|_| status.is_client_error());
        ApiError::new(status, code, detail.unwrap_or_else(|| text.to_owned()))
    }

    /// The body of the answer; also what stands for one line of a batch.
    pub fn to_json(&self) -> Value {
        let told = |text: &str| match self.code {
            "invalid_token" => text.to_owned(),
            _ if self.description == NO_TOKEN || self.description == TWO_TOKENS => text.to_owned(),
            _ => without_the_words(text),
        };
        let mut body = json!({"ok": false, "error": self.code, "error_description": told(&self.description)});
        if !self.errors.is_empty() {
            let shown = |e: &FieldError| json!({"error": told(&e.to_string()), "field": told(&e.field)});
            body["errors"] = self.errors.iter().map(shown).collect();
        }
        body
    }
}

const NO_TOKEN: &str = "The access token was not found";
pub(crate) const TWO_TOKENS: &str = "The access token was sent in more than one way; send it in one";

/// Clients take the words "access token" in any error for a lost login, so a description never repeats them, not even
/// when they are part of a name that the caller chose.
fn without_the_words(text: &str) -> String {
    const WORDS: &str = "access token";
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find(WORDS) {
        let (before, words) = rest.split_at(at);
        let (first, after) = words.split_at("access".len());
        shown.extend([before, first, "-"]);
        rest = &after[1..];
    }
    shown + rest
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Lets the last layer tell our answers from the bare ones of the framework.
        response.extensions_mut().insert(Told);
        response
    }
}

/// Marks a response that says what is wrong in our way.
#[derive(Clone, Copy)]
pub(crate) struct Told;

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        let text = error.to_string();
        match error {
            Error::InvalidToken => ApiError::new(
                StatusCode::UNAUTHORIZED,
                "invalid_token",
                "The access token provided is invalid.",
            ),
            Error::NotFound(_) => ApiError::new(StatusCode::NOT_FOUND, "not_found", text),
            Error::Forbidden(_) => ApiError::new(StatusCode::FORBIDDEN, "forbidden", text),
            Error::PlanRequired(_) => ApiError::new(StatusCode::FORBIDDEN, "plan_required", text),
            Error::Invalid { code, errors } => {
                ApiError { errors, ..ApiError::new(StatusCode::BAD_REQUEST, code, text) }
            }
            Error::Refused { code, .. } => ApiError::new(StatusCode::BAD_REQUEST, code, text),
            Error::Conflict { code, .. } => ApiError::new(StatusCode::CONFLICT, code, text),
            Error::TooMany { retry_after_s } => {
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text)
                    .retry_after(retry_after_s)
            }
            Error::Unavailable => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text).retry_after(1)
            }
            Error::Internal(cause) => {
                tracing::error!(%cause, "a use-case failed");
                ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bad_token_is_a_401_and_only_token_errors_speak_of_access_tokens() {
        let text = || "my Access Token, access token".to_owned();
        let errors = [
            Error::NotFound(text()),
            Error::Forbidden(text()),
            Error::PlanRequired(text()),
            Error::field("access token", text()),
            Error::refused("invalid_grant", text()),
            Error::conflict("not_shared", text()),
            Error::TooMany { retry_after_s: 3 },
            Error::Unavailable,
            Error::Internal(text().into()),
        ];
        for error in errors {
            let shown = ApiError::from(error);
            assert_ne!(shown.status, StatusCode::UNAUTHORIZED, "{shown:?}");
            let json = shown.to_json().to_string();
            assert!(!json.to_lowercase().contains("access token"), "{json}");
        }
        let lost = ApiError::from(Error::InvalidToken);
        assert_eq!((lost.status, lost.code), (StatusCode::UNAUTHORIZED, "invalid_token"));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let errors =
            vec![FieldError::new("event", "is required"), FieldError::new("url", "must be an address")];
        let shown = ApiError::from(Error::Invalid { code: "invalid_integration", errors });
        assert_eq!(
            shown.to_json(),
            json!({
                "ok": false,
                "error": "invalid_integration",
                "error_description": "event: is required; url: must be an address",
                "errors": [
                    {"error": "event: is required", "field": "event"},
                    {"error": "url: must be an address", "field": "url"},
                ],
            })
        );
    }
}
