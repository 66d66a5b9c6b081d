//! What can go wrong, as a caller needs to tell it apart.
//!
//! | error | what the caller does |
//! |---|---|
//! | `Full` | answer 503, try again later; nothing was stored |
//! | `Closed` | the process is stopping |
//! | `TooLarge` | the request is at fault |
//! | `Damaged` | report it, go on after `last_seq` |
//! | `Io` | answer 503, try again later |

use rusqlite::ErrorCode;

/// Why the log could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk or a quota is full. Nothing of that group was stored; the log recovers when space returns.
    #[error("the event log cannot grow: the disk or a quota is full")]
    Full,
    /// The log was closed, or its thread has ended.
    #[error("the event log is closed")]
    Closed,
    /// One append is larger than a frame may be. Nothing was stored.
    #[error("{bytes} bytes in one append are more than the {limit} that the event log takes")]
    TooLarge {
        /// Size of the append with its framing, in bytes.
        bytes: usize,
        /// [`Options::append_bytes`](crate::Options::append_bytes).
        limit: usize,
    },
    /// A stored frame is not what was written. Its records are lost; reading may go on after `last_seq`.
    #[error("records {first_seq} to {last_seq} of the event log are damaged: {reason}")]
    Damaged {
        /// The first record of the frame.
        first_seq: u64,
        /// The last record of the frame, as far as can be told: the next frame begins after it.
        last_seq: u64,
        /// What does not hold.
        reason: &'static str,
    },
    /// The file could not be read or written, for a reason other than missing space.
    #[error("event log: {0}")]
    Io(String),
}

impl LogError {
    /// The error of an SQL step; `doing` says which, for the operator.
    pub(crate) fn sql(doing: &str, error: &rusqlite::Error) -> LogError {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => LogError::Full,
            _ => LogError::Io(format!("{doing}: {error}")),
        }
    }

    pub(crate) fn file(doing: &str, error: &std::io::Error) -> LogError {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => LogError::Full,
            _ => LogError::Io(format!("{doing}: {error}")),
        }
    }
}
