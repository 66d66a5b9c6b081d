//! Reading stored values back into their types, and telling which unique name a write ran into.

use std::str::FromStr;

use crate::StoreError;

/// Parses a stored text.
pub(crate) fn parsed<T>(text: &str, what: &'static str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|why: T::Err| StoreError::Unreadable { what, why: why.to_string() })
}

/// As [`parsed`] for a column that may be empty.
pub(crate) fn parsed_option<T>(text: Option<String>, what: &'static str) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.map(|text| parsed(&text, what)).transpose()
}

/// A violated uniqueness as [`StoreError::Taken`], named by the first of `columns` that the database complains about.
pub(crate) fn taken(error: sqlx::Error, columns: &[&'static str]) -> StoreError {
    let violated =
        error.as_database_error().filter(|e| e.is_unique_violation()).map(|e| e.message().to_owned());
    match violated {
        Some(message) => match columns.iter().find(|column| message.contains(*column)) {
            Some(column) => StoreError::Taken(column),
            None => StoreError::Database(error),
        },
        None => StoreError::Database(error),
    }
}
