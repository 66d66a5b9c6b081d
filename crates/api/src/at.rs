//! Where a request points: the same endpoints stand under the sandbox, under products, and under organizations.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use tributary_control::place::PlaceKey;

use crate::{ApiError, AppState};

/// The three beginnings of a path.
pub(crate) const SANDBOX: &str = "/v1";
/// As [`SANDBOX`].
pub(crate) const PRODUCT: &str = "/v1/products/{product}";
/// As [`SANDBOX`].
pub(crate) const ORG: &str = "/v1/orgs/{org}";

#[derive(Clone, Debug)]
enum Named {
    Sandbox,
    Product(String),
    Org(String),
}

/// The place that a path names, and the `{id}` or `{name}` in it.
#[derive(Clone, Debug)]
pub(crate) struct At {
    place: Named,
    /// The id or name; empty when the path has none.
    pub(crate) id: String,
    /// The number of a version; empty when the path has none.
    pub(crate) version: String,
    /// The id of a redelivery; empty when the path has none.
    pub(crate) redelivery: String,
    /// The id of a log row; empty when the path has none.
    pub(crate) log: String,
}

impl At {
    /// The place.
    pub(crate) fn key(&self) -> PlaceKey<'_> {
        match &self.place {
            Named::Sandbox => PlaceKey::Sandbox,
            Named::Product(product) => PlaceKey::Product(product),
            Named::Org(org) => PlaceKey::Org(org),
        }
    }
}

impl FromRequestParts<AppState> for At {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<At, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::bad_request("the path is not UTF-8"))?;
        let mut at = At {
            place: Named::Sandbox,
            id: String::new(),
            version: String::new(),
            redelivery: String::new(),
            log: String::new(),
        };
        for (name, value) in &params {
            match name {
                "org" => at.place = Named::Org(value.to_owned()),
                "product" => at.place = Named::Product(value.to_owned()),
                "version" => at.version = value.to_owned(),
                "redelivery" => at.redelivery = value.to_owned(),
                "log" => at.log = value.to_owned(),
                _ => at.id = value.to_owned(),
            }
        }
        Ok(at)
    }
}
