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
    /// Failed sign-ins in a row, for one address and user name, after which they are refused for a window. 0 = no limit.
    pub failures_per_user: u32,
    /// Failed sign-ins of one address within a window. 0 = no limit.
    pub failures_per_address: u32,
    /// The length of that window, in milliseconds.
    pub failure_window_ms: i64,
}

impl Default for AccountSettings {
    fn default() -> AccountSettings {
        AccountSettings {
            signup: Signup::First,
            default_plan: Plan::Basic,
            failures_per_user: 10,
            failures_per_address: 100,
            failure_window_ms: 300_000,
        }
    }
}
