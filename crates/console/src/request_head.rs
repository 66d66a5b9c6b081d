//! How a page was asked for: the headers of the request, and by whom and under which address the server was reached.

use std::{convert::Infallible, ops::Deref};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderMap, header, request::Parts},
};
use tributary_control::addressed::Addressed;

/// The headers of a request, with what is known of its caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestHead {
    headers: HeaderMap,
    /// By whom, and how.
    pub(crate) addressed: Addressed,
}

impl RequestHead {
    /// Of a request in its parts.
    pub(crate) fn new(headers: &HeaderMap, extensions: &Extensions) -> RequestHead {
        let addressed = extensions.get::<Addressed>().cloned().unwrap_or_default();
        RequestHead { headers: headers.clone(), addressed }
    }

    fn text(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What links to this server begin with.
    pub(crate) fn base(&self) -> String {
        match self.addressed.base(self.text(header::HOST)) {
            base if base.is_empty() => "http://localhost".to_owned(),
            base => base,
        }
    }

    /// Whether a request that writes comes from a page of ours, as far as the browser tells.
    pub(crate) fn is_same_origin(&self) -> bool {
        self.told_origin().unwrap_or(true)
    }

    /// Whether the browser tells that a request comes from a page of ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.told_origin().unwrap_or(false)
    }

    /// `None` when the browser tells nothing, as old ones and programs do.
    fn told_origin(&self) -> Option<bool> {
        let site = self.headers.get("sec-fetch-site").map(|site| site == "same-origin");
        let own = |origin| self.addressed.is_own_page(Some(origin), self.text(header::HOST));
        // One that cannot be read is none of ours.
        let origin = self.headers.get(header::ORIGIN).map(|told| told.to_str().is_ok_and(own));
        match (site, origin) {
            (Some(site), Some(origin)) => Some(site && origin),
            (one, other) => one.or(other),
        }
    }
}

impl Deref for RequestHead {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        &self.headers
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestHead {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<RequestHead, Infallible> {
        Ok(RequestHead::new(&parts.headers, &parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_page_of_another_origin_is_told_apart() {
        let mut head = RequestHead::default();
        head.headers.insert(header::HOST, "tributary.example:8080".parse().unwrap());
        assert!(head.is_same_origin());
        assert!(!head.is_ours(), "nothing is told");
        head.headers.insert(header::ORIGIN, "https://tributary.example:8080".parse().unwrap());
        assert!(head.is_same_origin() && head.is_ours());
        for (site, same) in
            [("same-origin", true), ("same-site", false), ("cross-site", false), ("none", false)]
        {
            head.headers.insert("sec-fetch-site", site.parse().unwrap());
            assert_eq!((head.is_same_origin(), head.is_ours()), (same, same), "{site}");
        }
        head.headers.remove("sec-fetch-site");
        for other in ["https://evil.example", "null", "http://tributary.example"] {
            head.headers.insert(header::ORIGIN, other.parse().unwrap());
            assert!(!head.is_same_origin() && !head.is_ours(), "{other}");
        }
    }
}
