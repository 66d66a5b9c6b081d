//! Pages of other origins may call the API (contract 3.2): the public client is a library for browsers too. No answer allows
//! credentials, so a browser sends such a page's token, if it has one, and never the console's cookie.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};

/// The methods that the API knows.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS");
/// Allowed where a preflight names no header.
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type");
/// What scripts may read besides what browsers always let them.
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, link, retry-after, x-next-cursor");
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Whether other origins may call this path.
pub(crate) fn covers(path: &str) -> bool {
    ["/v1", "/oauth"]
        .iter()
        .any(|begins| path.strip_prefix(begins).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// The answer to a browser that asks before it sends; `None` for every other request.
///
/// Whether the path exists is told by the request itself. The headers asked for are repeated: a `*` would leave out
/// `Authorization`, and clients send headers of their own.
pub(crate) fn preflight(request: &Request) -> Option<Response> {
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method() != Method::OPTIONS || !asks {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.cloned().unwrap_or(HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.insert(header::VARY, HeaderValue::from_static("access-control-request-headers"));
    Some(response)
}

/// Lets pages of other origins read an answer.
pub(crate) fn allow(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_covered_and_the_pages_are_not() {
        for (path, covered) in [
            ("/v1/devices", true),
            ("/v1", true),
            ("/oauth/token", true),
            ("/v1x", false),
            ("/oauthor", false),
            ("/sign-in", false),
            ("/metrics", false),
            ("/", false),
        ] {
            assert_eq!(covers(path), covered, "{path}");
        }
    }
}
