//! Pages over HTTP: the rows stay a bare array, and where the next page begins is told in headers.

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tributary_control::{
    listing::ListParams,
    paged::{Listed, page},
};

use crate::{ApiError, AppState};

/// The cursor of the next page.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");
/// Parameters that the address of the next page does not repeat: it has its own cursor, and a token is no part of it.
const NOT_REPEATED: [&str; 2] = ["cursor", "access_token"];

/// `X-Next-Cursor` and `Link` for the page after this one; nothing after the last one.
pub(crate) fn next_headers(uri: &Uri, pairs: &[(String, String)], next: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(next) = next else { return headers };
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut address = format!("{}?cursor={next}", uri.path());
    for (name, value) in pairs.iter().filter(|(name, _)| !NOT_REPEATED.contains(&name.as_str())) {
        address += &format!("&{}={}", encoded(name), encoded(value));
    }
    let told = [(NEXT_CURSOR, next.to_owned()), (header::LINK, format!("<{address}>; rel=\"next\""))];
    headers
        .extend(told.into_iter().filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?))));
    headers
}

/// The parameters of a list that is cut into pages here: `search`, `limit` and `cursor`, all optional.
pub(crate) struct Paging {
    uri: Uri,
    pairs: Vec<(String, String)>,
}

impl FromRequestParts<AppState> for Paging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Paging, ApiError> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = pairs.map_err(|error| ApiError::bad_request(error.body_text()))?;
        Ok(Paging { uri: parts.uri.clone(), pairs })
    }
}

impl Paging {
    /// The rows of the page that is asked for, all where none is, and what the headers tell of the next page.
    pub(crate) fn cut<T: Listed>(&self, rows: Vec<T>) -> Result<(HeaderMap, Vec<T>), ApiError> {
        let (rows, next) = page(rows, &ListParams::of(self.pairs.clone()))?;
        Ok((next_headers(&self.uri, &self.pairs, next.as_deref()), rows))
    }
}
