//! What one owner, a person or an organization, may have at most.

/// Bounds for each owner; what is over one is refused, and the refusal names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Devices: those in the owner's products, and those that a person has claimed and that are in no product.
    pub devices: u64,
}

impl Default for Quotas {
    fn default() -> Quotas {
        Quotas { devices: 1_000_000 }
    }
}
