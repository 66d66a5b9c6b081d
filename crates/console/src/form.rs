//! What a form sent: fields in their order, only after its text against forged requests was checked.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::header,
};
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::{
    Console,
    error::PageError,
    session::{Session, is_same_origin},
};

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
        let headers = request.headers().clone();
        let path = request.uri().path().to_owned();
        let session = crate::session::find(console, &headers).await?;
        let bytes = Bytes::from_request(request, console).await.map_err(|_| PageError::too_large())?;
        let fields = Fields::read(&bytes);
        let Some(session) = session else {
            return Err(PageError::signed_out_while_writing(&headers, path, fields));
        };
        let header = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok());
        let given = header.unwrap_or_else(|| fields.text(CSRF));
        match given == session.csrf && is_same_origin(&headers) {
            true => Ok(Signed { session, fields }),
            false => Err(PageError::forged()),
        }
    }
}

/// Whether a script asked for a part of a page rather than a person for the whole.
pub(crate) fn is_part(headers: &header::HeaderMap) -> bool {
    headers.contains_key("hx-request") && !headers.contains_key("hx-boosted")
}
