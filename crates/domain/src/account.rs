//! People, organizations, products and devices (contract 2.2).

use std::str::FromStr;

use crate::{
    ids::{DeviceId, OrgId, Owner, ProductId, UserId},
    time::Timestamp,
};

/// What an organization has booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// No organization integrations.
    Free,
    /// Formerly `growth`.
    Basic,
    /// Everything.
    Enterprise,
}

impl Plan {
    /// The name used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Plan::Free => "free",
            Plan::Basic => "basic",
            Plan::Enterprise => "enterprise",
        }
    }

    /// Whether it includes writes in organization scope (contract 1, rule 2).
    pub fn has_org_integrations(self) -> bool {
        self != Plan::Free
    }
}

/// A word that names no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of free, basic, enterprise")]
pub struct UnknownPlan;

impl FromStr for Plan {
    type Err = UnknownPlan;
    fn from_str(text: &str) -> Result<Plan, UnknownPlan> {
        match text {
            "free" => Ok(Plan::Free),
            "basic" | "growth" => Ok(Plan::Basic),
            "enterprise" => Ok(Plan::Enterprise),
            _ => Err(UnknownPlan),
        }
    }
}

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Unique, used in paths.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// What it has booked.
    pub plan: Plan,
}

/// A product: a fleet of devices of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Its id.
    pub id: ProductId,
    /// A person's sandbox or an organization.
    pub owner: Owner,
    /// Unique, used in paths.
    pub slug: String,
    /// Unique for its owner.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The hardware platform's number.
    pub platform_id: i64,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// What its owner calls it.
    pub name: Option<String>,
    /// Free text.
    pub notes: Option<String>,
    /// Who claimed it.
    pub user: Option<UserId>,
    /// The product that it belongs to.
    pub product: Option<ProductId>,
    /// When it became known.
    pub created_at: Timestamp,
}

/// The slug of a name: lower case, runs of other characters than letters and digits become one `-`.
pub fn slug_of(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => slug.push(c),
            _ if !slug.ends_with('-') && !slug.is_empty() => slug.push('-'),
            _ => {}
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_lower_case_words_joined_by_dashes() {
        for (name, slug) in
            [("Acme Sensors", "acme-sensors"), (" Pump  mk2!", "pump-mk2"), ("é", ""), ("a--b", "a-b")]
        {
            assert_eq!(slug_of(name), slug, "{name}");
        }
    }

    #[test]
    fn growth_is_the_old_word_for_basic() {
        assert_eq!("growth".parse(), Ok(Plan::Basic));
        assert_eq!("gold".parse::<Plan>(), Err(UnknownPlan));
    }
}
