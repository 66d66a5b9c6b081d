//! Pages of the lists that are bounded by a named limit each (products, teams, secrets, organizations): with the parameters
//! `search`, `limit` and `cursor`, in the words of [`crate::listing`]. Without them a list is complete, in its usual order.
//!
//! Such a list is read as a whole and cut here: it has at most ten thousand short rows.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tributary_domain::{
    FieldError,
    account::{Org, Product},
    limits,
};
use tributary_store::{invitations::Invitation, team::TeamMember};

use crate::{Error, listing::ListParams, secrets::SecretView};

/// A row of such a list.
pub trait Listed {
    /// What pages are ordered by; no other row of the list has it.
    fn key(&self) -> String;

    /// What a search looks into.
    fn searched(&self) -> Vec<&str>;
}

impl Listed for Product {
    fn key(&self) -> String {
        // Ids are not negative, and with the same number of digits texts are ordered like numbers.
        format!("{:020}", self.id.0)
    }

    fn searched(&self) -> Vec<&str> {
        vec![&self.name, &self.slug]
    }
}

impl Listed for Org {
    fn key(&self) -> String {
        self.slug.clone()
    }

    fn searched(&self) -> Vec<&str> {
        vec![&self.name, &self.slug]
    }
}

impl Listed for TeamMember {
    fn key(&self) -> String {
        self.username.clone()
    }

    fn searched(&self) -> Vec<&str> {
        [Some(self.username.as_str()), self.friendly_name.as_deref()].into_iter().flatten().collect()
    }
}

impl Listed for Invitation {
    fn key(&self) -> String {
        self.username.clone()
    }

    fn searched(&self) -> Vec<&str> {
        vec![&self.username]
    }
}

impl Listed for SecretView {
    fn key(&self) -> String {
        self.row.name.clone()
    }

    fn searched(&self) -> Vec<&str> {
        vec![&self.row.name]
    }
}

/// Cuts a page out of a list. The second value is the cursor of the next page; `None` on the last one.
///
/// # Errors
/// Every wrong parameter at once.
pub fn page<T: Listed>(mut rows: Vec<T>, params: &ListParams) -> Result<(Vec<T>, Option<String>), Error> {
    let mut errors = Vec::new();
    let limit = match params.get("limit") {
        None => limits::PAGE_ROWS,
        Some(text) => text.parse().unwrap_or(0),
    };
    if !(1..=limits::PAGE_ROWS).contains(&limit) {
        errors.push(FieldError::new("limit", format!("must be a number from 1 to {}", limits::PAGE_ROWS)));
    }
    let after = params.filled("cursor").map(read_cursor);
    if after == Some(None) {
        errors.push(FieldError::new("cursor", "is not one that a list gave"));
    }
    if !errors.is_empty() {
        return Err(Error::Invalid { code: "invalid_request", errors });
    }
    if let Some(search) = params.filled("search").map(str::to_ascii_lowercase) {
        rows.retain(|row| row.searched().iter().any(|text| text.to_ascii_lowercase().contains(&search)));
    }
    if params.get("limit").is_none() && params.get("cursor").is_none() {
        return Ok((rows, None));
    }
    rows.sort_by_cached_key(Listed::key);
    if let Some(after) = after.flatten() {
        rows.retain(|row| row.key() > after);
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(last.key()));
    Ok((rows, next))
}

fn read_cursor(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}
