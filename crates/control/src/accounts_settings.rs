//! What the configuration says about accounts: the section `accounts`.

use std::str::FromStr;

use tributary_domain::account::Plan;

/// Who may sign up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signup {
    /// Anybody.
    Open,
    /// One person, while there is none.
    First,
    /// Nobody.
    Closed,
}

/// A word that says nothing about signing up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of open, first, closed")]
pub struct UnknownSignup;

impl FromStr for Signup {
    type Err = UnknownSignup;
    fn from_str(text: &str) -> Result<Signup, UnknownSignup> {
        match text {
            "open" => Ok(Signup::Open),
            "first" => Ok(Signup::First),
            "closed" => Ok(Signup::Closed),
            _ => Err(UnknownSignup),
        }
    }
}

/// How accounts come about and how often a sign-in may fail (contract 2.1 and 2.2).
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Who may sign up.
    pub signup: Signup,
    /// The plan of an organization that is created without one.
    pub default_plan: Plan,
    /// Failed sign-ins in a row, for one address and user name, after which they are refused for a while. 0 = no limit.
    pub failed_in_a_row: u32,
    /// For how long that is, and how long a row is remembered, in seconds.
    pub failed_in_a_row_seconds: u64,
    /// Failed sign-ins of one address within [`AccountSettings::failed_per_address_seconds`]. 0 = no limit.
    pub failed_per_address: u32,
    /// The length of that window, in seconds.
    pub failed_per_address_seconds: u64,
    /// Memory for hashing one password, in KiB. What was hashed with another value still signs in.
    pub password_hash_kib: u32,
}

impl Default for AccountSettings {
    fn default() -> AccountSettings {
        AccountSettings {
            signup: Signup::First,
            default_plan: Plan::Basic,
            failed_in_a_row: 10,
            failed_in_a_row_seconds: 300,
            failed_per_address: 100,
            failed_per_address_seconds: 300,
            password_hash_kib: 19_456,
        }
    }
}
