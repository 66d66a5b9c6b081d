//! What a form sent: fields in their order, only after its text against forged requests was checked.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value};
use tributary_control::Error;
use tributary_domain::limits;
use url::form_urlencoded;

use crate::{
    Console,
    error::{PageError, sentence},
    request_head::RequestHead,
    session::Session,
};

/// Longest form of somebody who is not signed in (any more), in bytes.
pub(crate) const UNPROVEN_BYTES: usize = 64 * 1024;
/// The field, and the header of requests that a script makes, with the text against forged requests.
pub(crate) const CSRF: &str = "csrf";
const CSRF_HEADER: &str = "x-csrf";

/// The fields of a form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    /// Reads the encoded body of a form.
    pub(crate) fn read(bytes: &[u8]) -> Fields {
        Fields(form_urlencoded::parse(bytes).map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }

    /// The value of a field; empty when it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value.as_str())
    }

    /// Whether a box is ticked, or a field has a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// All values of a field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// These fields, where they are filled, as the body of a use-case.
    pub(crate) fn body(&self, names: &[&str]) -> Map<String, Value> {
        let filled = names.iter().filter(|name| self.has(name));
        filled.map(|name| ((*name).to_owned(), Value::from(self.text(name)))).collect()
    }
}

/// A form that was refused: what is wrong, and what was typed, which stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused {
    wrong: Vec<(String, String)>,
    fields: Fields,
}

impl Refused {
    /// What a use-case said of a form; an error that is about none of its fields stands above the form.
    ///
    /// # Errors
    /// When the answer is a page of its own.
    pub(crate) fn new(error: Error, fields: Fields) -> Result<Refused, PageError> {
        let wrong = match error {
            Error::Invalid { errors, .. } => {
                errors.into_iter().map(|error| (error.field, sentence(&error.message))).collect()
            }
            error @ (Error::Refused { .. } | Error::Conflict { .. } | Error::TooMany { .. }) => {
                vec![(String::new(), sentence(&error.to_string()))]
            }
            error => return Err(error.into()),
        };
        Ok(Refused { wrong, fields })
    }

    /// What is wrong with a field; empty when nothing is.
    pub(crate) fn of(&self, field: &str) -> String {
        let found = self.wrong.iter().filter(|(place, _)| place == field).map(|(_, text)| text.as_str());
        found.collect::<Vec<_>>().join(" ")
    }

    /// What is wrong besides these fields.
    pub(crate) fn besides(&self, fields: &[&str]) -> String {
        let other = self.wrong.iter().filter(|(place, _)| !fields.contains(&place.as_str()));
        let text = other.map(|(place, text)| match place.is_empty() {
            true => text.clone(),
            false => format!("{place}: {text}"),
        });
        text.collect::<Vec<_>>().join(" ")
    }

    /// What was typed into a field.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.fields.text(field)
    }

    /// Whether a box of a group was ticked.
    pub(crate) fn ticked(&self, field: &str, value: &str) -> bool {
        self.fields.all(field).any(|given| given == value)
    }

    /// The status of a page with this on it.
    pub(crate) fn status(&self) -> StatusCode {
        if self.wrong.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY }
    }
}

/// A form that was sent by one of our pages, and by whom.
pub(crate) struct Signed {
    /// Who.
    pub(crate) session: Session,
    /// What.
    pub(crate) fields: Fields,
}

impl FromRequest<Console> for Signed {
    type Rejection = PageError;

    async fn from_request(request: Request, console: &Console) -> Result<Signed, PageError> {
        let headers = RequestHead::new(request.headers(), request.extensions());
        let path = request.uri().path().to_owned();
        let session = crate::session::find(console, &headers).await?;
        let most = if session.is_some() { limits::BODY_BYTES } else { UNPROVEN_BYTES };
        let bytes = to_bytes(request.into_body(), most).await.map_err(|_| PageError::too_large())?;
        let fields = Fields::read(&bytes);
        let Some(session) = session else {
            // A form of another site comes without the cookie: it must not wait for somebody to sign in and send it.
            if !headers.is_ours() {
                return Err(PageError::forged());
            }
            return Err(PageError::signed_out_while_writing(&headers, path, fields));
        };
        let header = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        let given = header.unwrap_or_else(|| fields.text(CSRF));
        match given == session.csrf && headers.is_same_origin() {
            true => Ok(Signed { session, fields }),
            false => Err(PageError::forged()),
        }
    }
}

/// Whether a script asked for a part of a page rather than a person for the whole. Going back asks for the whole.
pub(crate) fn is_part(headers: &header::HeaderMap) -> bool {
    let has = |name| headers.contains_key(name);
    has("hx-request") && !has("hx-boosted") && !has("hx-history-restore-request")
}

/// The way to another page after a form was done: a redirect, which a script follows as the browser would.
pub(crate) fn go_to(part: bool, address: &str) -> Response {
    match (part, HeaderValue::try_from(address)) {
        (true, Ok(address)) => [(HeaderName::from_static("hx-redirect"), address)].into_response(),
        _ => Redirect::to(address).into_response(),
    }
}
