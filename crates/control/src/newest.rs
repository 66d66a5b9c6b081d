//! Lists that are read from the newest row backwards: `before` a number, and at most `limit` rows.

use tributary_domain::{FieldError, limits};

use crate::Error;

/// Rows of a page where the caller does not say.
const ROWS: usize = 50;

/// The parameters of a page, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The number below which rows are wanted.
    pub before: Option<String>,
    /// Most rows.
    pub limit: Option<String>,
}

/// A page of rows, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Paged<T> {
    /// Its rows.
    pub rows: Vec<T>,
    /// What to give as `before` for the next page; `None` on the last one.
    pub next: Option<i64>,
}

/// The parameters of a page as they are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) before: Option<i64>,
    limit: usize,
}

impl Newest {
    /// Reads the parameters; an empty one is an absent one.
    pub(crate) fn read(&self) -> Result<Window, Error> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (before, limit) = (given(&self.before), given(&self.limit));
        let mut errors = Vec::new();
        let before = before.and_then(|text| {
            let number = text.parse::<i64>().ok().filter(|number| *number > 0);
            if number.is_none() {
                errors
                    .push(FieldError::new("before", "must be the number that the page before named as next"));
            }
            number
        });
        let limit = limit.map_or(Some(ROWS), |text| {
            text.parse::<usize>().ok().filter(|limit| (1..=limits::PAGE_ROWS).contains(limit))
        });
        match limit {
            Some(limit) if errors.is_empty() => Ok(Window { before, limit }),
            limit => {
                if limit.is_none() {
                    errors.push(FieldError::new("limit", format!("must be 1 to {}", limits::PAGE_ROWS)));
                }
                Err(Error::Invalid { code: "invalid_request", errors })
            }
        }
    }
}

impl Window {
    /// How many rows to ask for: one more than is shown tells whether there is a next page.
    pub(crate) fn asked(self) -> usize {
        self.limit + 1
    }

    /// The page that these rows make.
    pub(crate) fn of<T>(self, mut rows: Vec<T>, number: impl Fn(&T) -> i64) -> Paged<T> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = rows.last().filter(|_| more).map(number);
        Paged { rows, next }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn page(before: &str, limit: &str) -> Result<Window, Error> {
        Newest { before: Some(before.to_owned()), limit: Some(limit.to_owned()) }.read()
    }

    #[test]
    fn wrong_parameters_are_named_together() {
        assert_eq!(page("", "").unwrap(), Window { before: None, limit: ROWS });
        assert_eq!(page("7", "100").unwrap(), Window { before: Some(7), limit: 100 });
        for (before, limit, fields) in
            [("x", "1", vec!["before"]), ("0", "101", vec!["before", "limit"]), ("1", "0", vec!["limit"])]
        {
            match page(before, limit) {
                Err(Error::Invalid { errors, .. }) => {
                    assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), fields);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
