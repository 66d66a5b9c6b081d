//! A refusal as a page: what happened and what to do.

use askama::Template;
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tributary_control::Error;

use crate::{
    form::{Fields, is_part},
    sign_in::SignIn,
};

/// Why a page is not shown.
#[derive(Debug)]
pub(crate) enum PageError {
    /// Nobody is signed in; the page that was asked for is shown after signing in.
    SignedOut(String),
    /// Nobody is signed in any more, and a form was sent: what was written is kept.
    SignedOutWhileWriting(String, Fields),
    /// A script asked for a part of a page, and nobody is signed in any more.
    SignedOutPart,
    /// The form does not come from one of our pages.
    Forged,
    /// A use-case refused or failed.
    Control(Error),
    /// A body over the limit.
    TooLarge,
    /// A page could not be rendered.
    Render(askama::Error),
}

impl PageError {
    pub(crate) fn signed_out(parts: &Parts) -> PageError {
        if is_part(&parts.headers) {
            return PageError::SignedOutPart;
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        PageError::SignedOut(path.to_owned())
    }

    pub(crate) fn signed_out_while_writing(headers: &HeaderMap, path: String, fields: Fields) -> PageError {
        match is_part(headers) {
            true => PageError::SignedOutPart,
            false => PageError::SignedOutWhileWriting(path, fields),
        }
    }

    /// Of an address at which there is nothing.
    pub(crate) fn nowhere() -> PageError {
        Error::not_found("page").into()
    }

    pub(crate) fn forged() -> PageError {
        PageError::Forged
    }

    pub(crate) fn too_large() -> PageError {
        PageError::TooLarge
    }
}

impl From<Error> for PageError {
    fn from(error: Error) -> PageError {
        PageError::Control(error)
    }
}

impl From<askama::Error> for PageError {
    fn from(error: askama::Error) -> PageError {
        PageError::Render(error)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    title: &'static str,
    what: String,
    advice: &'static str,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            PageError::SignedOut(next) => {
                let next = utf8_percent_encode(&next, NON_ALPHANUMERIC);
                Redirect::to(&format!("/sign-in?next={next}")).into_response()
            }
            PageError::SignedOutPart => {
                let mut response = StatusCode::UNAUTHORIZED.into_response();
                // What is typed on the page stays there: the script shows a notice instead of leaving.
                response.headers_mut().insert("x-signed-out", HeaderValue::from_static("1"));
                response
            }
            PageError::SignedOutWhileWriting(next, fields) => {
                let page = SignIn::while_writing(next, fields);
                with_status(StatusCode::UNAUTHORIZED, page.render())
            }
            PageError::Forged => shown(
                StatusCode::FORBIDDEN,
                "This form is out of date",
                "The form was not sent by a page of this sign-in.".to_owned(),
                "Go back, reload the page and send it again.",
            ),
            PageError::TooLarge => shown(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Too large",
                "The form is larger than 1 MiB.".to_owned(),
                "Go back and shorten it.",
            ),
            PageError::Control(error) => refused(error),
            PageError::Render(error) => {
                tracing::error!(%error, "a page could not be rendered");
                broken()
            }
        }
    }
}

fn refused(error: Error) -> Response {
    let text = sentence(&error.to_string());
    match error {
        Error::InvalidToken => Redirect::to("/sign-in").into_response(),
        Error::NotFound(_) => shown(
            StatusCode::NOT_FOUND,
            "Not found",
            text,
            "It may have been deleted, or your account is not on the team that has it.",
        ),
        Error::Forbidden(_) => {
            shown(StatusCode::FORBIDDEN, "Not allowed", text, "Ask an administrator of the team to do it.")
        }
        Error::PlanRequired(_) => shown(
            StatusCode::FORBIDDEN,
            "Not in this plan",
            text,
            "The organization's owner can change the plan under Settings.",
        ),
        Error::Invalid { .. } | Error::Refused { .. } => {
            shown(StatusCode::BAD_REQUEST, "That did not work", text, "Go back, change it and try again.")
        }
        Error::Conflict { .. } => {
            shown(StatusCode::CONFLICT, "That did not work", text, "Go back and reload the page.")
        }
        Error::TooMany { .. } => {
            shown(StatusCode::TOO_MANY_REQUESTS, "Wait a moment", text, "Then try again.")
        }
        Error::Unavailable => shown(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not available at the moment",
            text,
            "Look whether it was done, and try again in a few seconds.",
        ),
        Error::Internal(cause) => {
            tracing::error!(%cause, "a use-case failed");
            broken()
        }
    }
}

fn broken() -> Response {
    shown(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something went wrong",
        "The server could not do this; the cause is in its log.".to_owned(),
        "Try again, and tell who runs the server if it stays so.",
    )
}

fn shown(status: StatusCode, title: &'static str, what: String, advice: &'static str) -> Response {
    with_status(status, ErrorPage { title, what, advice }.render())
}

fn with_status(status: StatusCode, page: askama::Result<String>) -> Response {
    match page {
        Ok(page) => (status, Html(page)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
            (StatusCode::INTERNAL_SERVER_ERROR, kind, "Something went wrong.").into_response()
        }
    }
}

/// A text of the use-cases as a sentence.
pub(crate) fn sentence(text: &str) -> String {
    // What is no plain word is somebody's data, which is shown as it is.
    let word = text.split(' ').next().unwrap_or_default().trim_end_matches([':', ',', ';', '.']);
    let is_word = word.chars().all(|c| c.is_ascii_lowercase() || c == '\'');
    let mut chars = text.chars();
    let first = match chars.next() {
        Some(first) if is_word => first.to_ascii_uppercase().to_string(),
        first => first.map(String::from).unwrap_or_default(),
    };
    let rest = chars.as_str();
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{rest}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_begins_with_a_capital_unless_it_begins_with_data() {
        for (text, shown) in [
            ("must be a number", "Must be a number."),
            ("event: is required", "Event: is required."),
            ("dana@example.com is the only one", "dana@example.com is the only one."),
            ("127.0.0.1 is a loopback address", "127.0.0.1 is a loopback address."),
            ("\"dana\" is the only one.", "\"dana\" is the only one."),
            ("LAKE_KEY is used", "LAKE_KEY is used."),
            ("product-1 is not a product", "product-1 is not a product."),
            ("", "."),
        ] {
            assert_eq!(sentence(text), shown);
        }
    }
}
