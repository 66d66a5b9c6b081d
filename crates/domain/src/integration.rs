//! Integrations: what a configuration is, and the rules of sharing (contract 1 and 3).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ids::{IntegrationId, MemberId, Owner, ProductId},
    parameters::Overrides,
    time::Timestamp,
};

/// Something wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's name as the caller wrote it, nested ones with dots.
    pub field: String,
    /// What is wrong and what would be right, without the field's name.
    pub message: String,
}

impl FieldError {
    /// An error on `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), message: message.into() }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The fields of a configuration as they were given, in their order: known ones under their present spelling, unknown
/// ones untouched, `null` ones left out. Sensitive values are in clear; faces mask them.
pub type Config = Map<String, Value>;

/// A product's membership in an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stays with the product through separating and merging.
    pub id: MemberId,
    /// The product on which the integration executes.
    pub product: ProductId,
}

/// One configuration and the products on which it executes.
#[derive(Clone, Debug, PartialEq)]
pub struct Integration {
    /// Its id in the organization's (and the sandbox's) paths.
    pub id: IntegrationId,
    /// Who owns it.
    pub owner: Owner,
    /// The configuration, with `event`, `integration_type` and `name` always present.
    pub config: Config,
    /// Empty for a sandbox integration, one for a product of a sandbox, one or more in an organization. In order of joining.
    pub members: Vec<Member>,
    /// Which declared parameters single members override.
    pub overrides: Overrides,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its configuration last changed.
    pub updated_at: Timestamp,
}

impl Integration {
    /// Whether it executes on more than one product.
    pub fn is_shared(&self) -> bool {
        self.members.len() > 1
    }

    /// The text of a configuration field, empty when it is absent.
    pub fn text(&self, field: &str) -> &str {
        self.config.get(field).and_then(Value::as_str).unwrap_or_default()
    }
}
