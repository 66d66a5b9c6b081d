//! The change feed: what routes and caches are made from, as it changes.
//!
//! Triggers write it, so no statement that changes something can forget to. Rows of one transaction appear together with
//! what it changed, in the order of their ids.

use sqlx::Row;
use tributary_domain::{DeviceId, IntegrationId, Owner, ProductId, UserId};

use crate::{Store, StoreError, read::parsed, tokens::TokenHash};

/// How long rows are kept, in milliseconds.
const KEPT_MS: i64 = 3_600_000;

/// What has changed. What is named may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The configuration of an integration, or whose it is.
    Integration(IntegrationId),
    /// Which integrations execute on a product, or with which parameters.
    RoutesOf(ProductId),
    /// Which integrations listen to a person's devices.
    Sandbox(UserId),
    /// The secrets of an owner.
    Secrets(Owner),
    /// A token ended, or is another one.
    Token(TokenHash),
    /// A user is gone, or has another name.
    User(UserId),
    /// What a user is to an organization, or to a product: its own team.
    Team(UserId, TeamChanged),
    /// A product: its names, whose it is, or that it is.
    Product(ProductId),
    /// A device that is, or was, in a product.
    Device(ProductId, DeviceId),
    /// A person no longer has a device that it had.
    Claims(UserId),
    /// Something that this version does not know.
    Unknown,
}

/// Which team has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeamChanged {
    /// An organization's.
    Org(Owner),
    /// A product's own.
    Product,
}

/// Where an integration listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    /// To a product.
    Product(ProductId),
    /// To a person's devices.
    Sandbox(UserId),
}

impl Change {
    fn read(what: &str) -> Option<Change> {
        let mut words = what.split(' ');
        let (word, first) = (words.next()?, words.next()?);
        let product = |text: &str| text.parse().ok().map(ProductId);
        Some(match word {
            "integration" => Change::Integration(first.parse().ok()?),
            "routes" => Change::RoutesOf(product(first)?),
            "sandbox" => match first.parse().ok()? {
                Owner::User(user) => Change::Sandbox(user),
                Owner::Org(_) => return None,
            },
            "secrets" => Change::Secrets(first.parse().ok()?),
            "token" => Change::Token(read_hash(first)?),
            "user" => Change::User(first.parse().ok()?),
            "team" => {
                let scope = words.next()?;
                let team = scope.parse().map_or(TeamChanged::Product, TeamChanged::Org);
                Change::Team(first.parse().ok()?, team)
            }
            "product" => Change::Product(product(first)?),
            "device" => Change::Device(product(words.next()?)?, first.parse().ok()?),
            "claims" => Change::Claims(first.parse().ok()?),
            _ => return None,
        })
    }
}

fn read_hash(hex: &str) -> Option<TokenHash> {
    let mut hash = TokenHash::default();
    if hex.len() != hash.len() * 2 {
        return None;
    }
    for (n, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(n * 2..n * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

impl Store {
    /// The id of the last change.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_change(&self) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'changes'";
        Ok(sqlx::query(sql).fetch_one(&self.pool).await?.get(0))
    }

    /// The next `limit` changes after this id, each with its own.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn changes_after(&self, id: i64, limit: usize) -> Result<Vec<(i64, Change)>, StoreError> {
        let rows = sqlx::query("SELECT id, what FROM changes WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(id)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), Change::read(row.get(1)).unwrap_or(Change::Unknown))).collect())
    }

    /// Drops changes up to this id that are older than an hour.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn drop_changes(&self, up_to: i64) -> Result<(), StoreError> {
        let sql =
            "DELETE FROM changes WHERE id <= $1 AND at < CAST(strftime('%s', 'now') AS INTEGER) * 1000 - $2";
        sqlx::query(sql).bind(up_to).bind(KEPT_MS).execute(&self.pool).await?;
        Ok(())
    }

    /// Where these integrations listen.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn where_listening(&self, ids: &[IntegrationId]) -> Result<Vec<Listens>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(
            "SELECT product_id, NULL FROM members WHERE integration_id IN (SELECT value FROM json_each($1))
             UNION SELECT NULL, owner FROM integrations WHERE sandbox AND id IN (SELECT value FROM json_each($1))",
        )
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(&self.pool)
        .await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            match (row.get::<Option<i64>, _>(0), row.get::<Option<&str>, _>(1)) {
                (Some(product), _) => all.push(Listens::Product(ProductId(product))),
                (None, Some(owner)) => {
                    if let Owner::User(user) = parsed(owner, "owner")? {
                        all.push(Listens::Sandbox(user));
                    }
                }
                (None, None) => {}
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_told_apart() {
        let user = UserId([0xab; 12]);
        for (what, change) in [
            ("routes 7".to_owned(), Some(Change::RoutesOf(ProductId(7)))),
            (format!("sandbox u:{user}"), Some(Change::Sandbox(user))),
            (format!("team {user} p:7"), Some(Change::Team(user, TeamChanged::Product))),
            (format!("token {}", "0f".repeat(32)), Some(Change::Token([15; 32]))),
            (format!("token {}", "0f".repeat(31)), None),
            ("routes".to_owned(), None),
            ("routes x".to_owned(), None),
            ("weather 7".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Change::read(&what), change, "{what}");
        }
    }
}
