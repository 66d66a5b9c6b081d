//! `[quotas]`: what one owner, a person or an organization, may have at most.

use serde::{Deserialize, Serialize};

/// `[quotas]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Quotas {
    /// Devices in the products of an owner, or claimed by a person and in no product.
    pub(crate) devices: u64,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas { devices: tributary_control::quotas::Quotas::default().devices }
    }
}

impl Quotas {
    /// What the control plane is told.
    pub(crate) fn control(&self) -> tributary_control::quotas::Quotas {
        tributary_control::quotas::Quotas { devices: self.devices }
    }
}
