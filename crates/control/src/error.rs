//! Why a use-case was refused or failed. Faces turn it into their answer; the texts are for the caller.

use tributary_domain::FieldError;
use tributary_store::StoreError;

/// A refused or failed use-case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's credentials are not (or no longer) valid. The only 401.
    #[error("the access token is invalid or has expired")]
    InvalidToken,
    /// There is no such thing, or the caller may not know of it. Says what was looked for, e.g. "product 12".
    #[error("{0} not found")]
    NotFound(String),
    /// The caller is on the team but lacks the right; says which role or scope has it.
    #[error("{0}")]
    Forbidden(String),
    /// The organization's plan does not include it (contract 1, rule 2).
    #[error("{0}")]
    PlanRequired(String),
    /// Fields of the request are wrong; nothing was stored. `code` is the `error` of the answer, e.g. `invalid_integration`.
    #[error("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// The `error` of the answer.
        code: &'static str,
        /// Every wrong field.
        errors: Vec<FieldError>,
    },
    /// A 400 that is not about one field, e.g. `nothing_changed`, `invalid_grant`.
    #[error("{message}")]
    Refused {
        /// The `error` of the answer.
        code: &'static str,
        /// What to do instead.
        message: String,
    },
    /// The present state does not allow it, e.g. `shared_integration`, `not_shared`. 409.
    #[error("{message}")]
    Conflict {
        /// The `error` of the answer.
        code: &'static str,
        /// What to do instead.
        message: String,
    },
    /// Too many tries; 429 with `Retry-After`.
    #[error("too many failed tries; wait {retry_after_s} seconds and try again")]
    TooMany {
        /// When to try again, in seconds.
        retry_after_s: u64,
    },
    /// It cannot be done now. 503. A write that was answered so was not committed unless it says otherwise; what was
    /// committed comes into force.
    #[error("it cannot be stored at the moment, try again shortly")]
    Unavailable,
    /// We broke. The cause is logged, not told.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// One wrong field.
    pub fn field(field: &str, message: impl Into<String>) -> Error {
        Error::Invalid { code: "invalid_request", errors: vec![FieldError::new(field, message)] }
    }

    /// A 409.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Error {
        Error::Conflict { code, message: message.into() }
    }

    /// A 400 that is not about a field.
    pub fn refused(code: &'static str, message: impl Into<String>) -> Error {
        Error::Refused { code, message: message.into() }
    }

    /// Nothing of that name, or none that the caller may see.
    pub fn not_found(what: impl Into<String>) -> Error {
        Error::NotFound(what.into())
    }
}

impl From<StoreError> for Error {
    /// A taken name is a wrong field, so that a form can say so beside it; a store that may recover is a 503.
    fn from(error: StoreError) -> Error {
        match error {
            StoreError::Taken(field) => Error::field(field, "is already taken"),
            error if error.is_passing() => {
                tracing::warn!(%error, "the store cannot be used at the moment");
                Error::Unavailable
            }
            error => Error::Internal(Box::new(error)),
        }
    }
}
