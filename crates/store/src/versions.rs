//! The versions of an integration's configuration: one for every change of it, in the transaction of the change.

use serde_json::{Map, Value, json};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{
    IntegrationId, MemberId, Owner, Timestamp,
    changes::{Change, changes},
    integration::{Config, Integration},
};

use crate::{
    Store, StoreError, Vault,
    audit::{By, Who},
    integrations::{Rewrite, Seen, Written},
    read::parsed,
    stored::{self, Columns},
};

/// Versions that are kept of one integration; the oldest ones go first.
pub const VERSIONS_KEPT: i64 = 200;

/// Bytes of versions that are kept of one integration, but for the present one; the oldest ones go first.
pub const VERSIONS_BYTES: i64 = 2 << 20;
/// Bytes of versions that are kept of all integrations of an owner, but for the present ones.
pub const OWNER_VERSIONS_BYTES: i64 = 256 << 20;

/// The length of a version, as SQL.
macro_rules! row_bytes {
    () => {
        "octet_length(versions.config) + COALESCE(octet_length(versions.sealed), 0) + octet_length(changes)"
    };
}

/// What made a version.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Made {
    /// The integration was created.
    Created,
    /// Its configuration was replaced.
    Updated,
    /// It was separated from this one.
    Separated(Value),
    /// These were merged into it.
    Merged(Vec<Value>),
    /// It got the configuration of this version back.
    Restored(i64),
}

impl Made {
    fn action(&self) -> &'static str {
        match self {
            Made::Created => "create",
            Made::Updated => "update",
            Made::Separated(_) => "separate",
            Made::Merged(_) => "merge",
            Made::Restored(_) => "restore",
        }
    }

    fn note(&self) -> Value {
        match self {
            Made::Created | Made::Updated => json!({}),
            Made::Separated(from) => json!({"separated_from": from}),
            Made::Merged(from) => json!({"merged": from}),
            Made::Restored(version) => json!({"restored_from": version}),
        }
    }
}

/// An integration as a note names it.
pub(crate) fn named(integration: &Integration) -> Value {
    json!({"id": integration.id, "name": integration.text("name")})
}

/// A version without its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionRow {
    /// Its number, from 1.
    pub version: i64,
    /// When it was made.
    pub at: Timestamp,
    /// Who made it; `None` for what was there before versions were kept.
    pub by: Option<Who>,
    /// `create`, `update`, `separate`, `merge` or `restore`.
    pub action: String,
    /// What else is known of it, e.g. `restored_from`.
    pub note: Map<String, Value>,
    /// What it changed, sensitive values masked.
    pub changes: Vec<Change>,
}

/// The versions of one integration of an owner.
fn select(owner: Owner, id: IntegrationId) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT version, at, actor, actor_name, action, note, changes, versions.config, versions.sealed
         FROM versions JOIN integrations ON integrations.id = integration_id WHERE owner = ",
    );
    sql.push_bind(owner.to_string()).push(" AND integration_id = ").push_bind(id.to_string());
    sql
}

impl Store {
    /// The versions of an integration below this number, newest first, and at most so many.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn versions(
        &self,
        owner: Owner,
        id: IntegrationId,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<VersionRow>, StoreError> {
        let mut sql = select(owner, id);
        sql.push(" AND version < ").push_bind(before.unwrap_or(i64::MAX));
        sql.push(" ORDER BY version DESC LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        sql.build().fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// One version of an integration with its configuration in clear.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn version(
        &self,
        owner: Owner,
        id: IntegrationId,
        version: i64,
    ) -> Result<Option<(VersionRow, Config)>, StoreError> {
        let mut sql = select(owner, id);
        sql.push(" AND version = ").push_bind(version);
        let Some(row) = sql.build().fetch_optional(&self.pool).await? else { return Ok(None) };
        let config = stored::decode(&self.vault, id, &Columns { config: row.get(7), sealed: row.get(8) })?;
        Ok(Some((read(&row)?, config)))
    }

    /// Drops the oldest versions of each owner who has more than so many bytes of them, but never a present one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_versions(&self, most_bytes: i64) -> Result<(), StoreError> {
        let full = sqlx::query(concat!(
            "SELECT owner FROM versions JOIN integrations ON integrations.id = integration_id
             GROUP BY owner HAVING SUM(",
            row_bytes!(),
            ") > $1"
        ));
        for row in full.bind(most_bytes).fetch_all(&self.pool).await? {
            sqlx::query(concat!(
                "DELETE FROM versions WHERE (integration_id, version) IN (
                     SELECT integration_id, version FROM (
                         SELECT integration_id, version, SUM(",
                row_bytes!(),
                ") OVER (ORDER BY at DESC, integration_id, version DESC) AS total,
                             version = MAX(version) OVER (PARTITION BY integration_id) AS present
                         FROM versions JOIN integrations ON integrations.id = integration_id WHERE owner = $1)
                     WHERE total > $2 AND NOT present)"
            ))
            .bind(row.get::<String, _>(0))
            .bind(most_bytes)
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }

    /// The number of the present version of an integration.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_version(&self, owner: Owner, id: IntegrationId) -> Result<Option<i64>, StoreError> {
        let row = sqlx::query(
            "SELECT MAX(version) FROM versions JOIN integrations ON integrations.id = integration_id
             WHERE owner = $1 AND integration_id = $2",
        )
        .bind(owner.to_string())
        .bind(id.to_string())
        .fetch_one(&self.pool)
        .await?;
        Ok(row.get(0))
    }

    /// Gives an integration the configuration of one of its versions, which makes a new version. With `only`, that must
    /// be the only member. Gives the integration as it is then.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn restore_integration(
        &self,
        owner: Owner,
        seen: Seen,
        (version, config): (i64, &Config),
        only: Option<MemberId>,
        by: By,
    ) -> Written<Integration> {
        let how = Made::Restored(version);
        self.rewrite(Rewrite { owner, seen, config, members: None, only, by, how }).await
    }
}

/// Adds a version: `new` as it is after the change, `old` as it was before. Drops what is too old to be kept.
pub(crate) async fn write(
    tx: &mut SqliteConnection,
    vault: &Vault,
    by: By,
    how: &Made,
    old: Option<&Integration>,
    new: &Integration,
) -> Result<(), StoreError> {
    let none = Config::new();
    let mut told = changes(old.map_or(&none, |old| &old.config), &new.config);
    let products = |one: &Integration| json!(one.members.iter().map(|m| m.product).collect::<Vec<_>>());
    // A separated one always has other products than the one that it comes from.
    if let (Some(old), Made::Updated | Made::Merged(_)) = (old, how) {
        let (before, after) = (products(old), products(new));
        if before != after {
            told.push(Change { field: "product_ids".to_owned(), before, after });
        }
    }
    let unreadable =
        |error: serde_json::Error| StoreError::Unreadable { what: "version", why: error.to_string() };
    let columns = stored::encode(vault, new.id, &new.config)?;
    let row = sqlx::query(
        "INSERT INTO versions (integration_id, version, at, actor, actor_name, action, note, changes, config, sealed)
         SELECT $1, COALESCE((SELECT MAX(version) FROM versions WHERE integration_id = $1), 0) + 1, $2, $3,
             (SELECT username FROM users WHERE id = $3), $4, $5, $6, $7, $8
         RETURNING version",
    )
    .bind(new.id.to_string())
    .bind(by.at.0)
    .bind(by.user.to_string())
    .bind(how.action())
    .bind(how.note().to_string())
    .bind(serde_json::to_string(&told).map_err(unreadable)?)
    .bind(columns.config)
    .bind(columns.sealed)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM versions WHERE integration_id = $1 AND version <= $2")
        .bind(new.id.to_string())
        .bind(row.get::<i64, _>(0).saturating_sub(VERSIONS_KEPT))
        .execute(&mut *tx)
        .await?;
    sqlx::query(concat!(
        "DELETE FROM versions WHERE integration_id = $1 AND version < $2 AND version <= (SELECT MAX(version) FROM (
             SELECT version, SUM(",
        row_bytes!(),
        ") OVER (ORDER BY version DESC) AS total FROM versions WHERE integration_id = $1) WHERE total > $3)"
    ))
    .bind(new.id.to_string())
    .bind(row.get::<i64, _>(0))
    .bind(VERSIONS_BYTES)
    .execute(tx)
    .await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<VersionRow, StoreError> {
    let unreadable =
        |error: serde_json::Error| StoreError::Unreadable { what: "version", why: error.to_string() };
    let by = match row.get::<Option<String>, _>(2) {
        None => None,
        Some(id) => Some(Who { user: parsed(&id, "user id")?, username: row.get(3) }),
    };
    Ok(VersionRow {
        version: row.get(0),
        at: Timestamp(row.get(1)),
        by,
        action: row.get(4),
        note: serde_json::from_str(row.get(5)).map_err(unreadable)?,
        changes: serde_json::from_str(row.get(6)).map_err(unreadable)?,
    })
}
