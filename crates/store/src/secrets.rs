//! Cloud secrets: values under names, sealed at rest (contract 2.3).

use std::collections::{HashMap, HashSet};

use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{Owner, Timestamp};

use crate::{
    Store, StoreError, Vault,
    audit::{self, By},
};

/// Most secrets of one owner.
pub const SECRETS_PER_OWNER: i64 = 1_000;

/// What is told of a secret. Its value is not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// The user name of who created it; empty when that user is gone.
    pub created_by: String,
    /// The user name of who changed it last; empty when that user is gone.
    pub updated_by: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its value last changed.
    pub updated_at: Timestamp,
    /// When a delivery last used it.
    pub last_accessed_at: Option<Timestamp>,
}

/// How a secret may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretWrite {
    /// Only if there is none of that name.
    Create,
    /// Whether there is one or not.
    Put,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretWritten {
    /// There was none of that name; now there is.
    Created,
    /// It has another value now.
    Updated,
    /// There is one of that name already. Nothing was written.
    Exists,
    /// The owner has as many as one may have. Nothing was written.
    TooMany,
}

const SELECT: &str = "SELECT name, COALESCE(creator.username, ''), COALESCE(updater.username, ''),
        secrets.created_at, updated_at, last_accessed_at
    FROM secrets LEFT JOIN users AS creator ON creator.id = created_by
        LEFT JOIN users AS updater ON updater.id = updated_by WHERE owner = ";

/// The place that a value is sealed for.
fn place(owner: Owner, name: &str) -> String {
    place_of(&owner.to_string(), name)
}

/// The same of an owner as it is stored.
pub(crate) fn place_of(owner: &str, name: &str) -> String {
    format!("secret:{owner}:{name}")
}

impl Store {
    /// The secrets of an owner in the order of their names.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn secrets(&self, owner: Owner) -> Result<Vec<SecretRow>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        sql.push_bind(owner.to_string()).push(" ORDER BY name");
        Ok(sql.build().fetch_all(&self.pool).await?.iter().map(read).collect())
    }

    /// One secret of an owner.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn secret(&self, owner: Owner, name: &str) -> Result<Option<SecretRow>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        sql.push_bind(owner.to_string()).push(" AND name = ").push_bind(name.to_owned());
        Ok(sql.build().fetch_optional(&self.pool).await?.as_ref().map(read))
    }

    /// The names of secrets that an owner no longer has, and that it still had at this time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn secrets_gone_since(&self, owner: Owner, at: Timestamp) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT name FROM deleted_secrets WHERE owner = $1 AND deleted_at >= $2 ORDER BY name";
        let rows = sqlx::query(sql).bind(owner.to_string()).bind(at.0).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The values of an owner's secrets, in clear, for the data plane.
    ///
    /// # Errors
    /// When the database does not answer or a value cannot be opened.
    pub async fn secrets_of(&self, owner: Owner) -> Result<HashMap<String, String>, StoreError> {
        let rows = sqlx::query("SELECT name, sealed FROM secrets WHERE owner = $1")
            .bind(owner.to_string())
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let name: String = row.get(0);
                let value = open(&self.vault, owner, &name, row.get(1))?;
                Ok((name, value))
            })
            .collect()
    }

    /// Of these names, the secrets that an owner has, with their values in clear, for the data plane.
    ///
    /// # Errors
    /// When the database does not answer or a value cannot be opened.
    pub async fn secrets_named(
        &self,
        owner: Owner,
        names: &[String],
    ) -> Result<HashMap<String, String>, StoreError> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let sql =
            "SELECT name, sealed FROM secrets WHERE owner = $1 AND name IN (SELECT value FROM json_each($2))";
        let rows = sqlx::query(sql)
            .bind(owner.to_string())
            .bind(json!(names).to_string())
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| {
                let name: String = row.get(0);
                let value = open(&self.vault, owner, &name, row.get(1))?;
                Ok((name, value))
            })
            .collect()
    }

    /// Writes a secret's value.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn write_secret(
        &self,
        owner: Owner,
        name: &str,
        value: &str,
        how: SecretWrite,
        by: By,
    ) -> Result<SecretWritten, StoreError> {
        let sealed = self.vault.seal(&place(owner, name), value.as_bytes());
        let sealed =
            sealed.map_err(|error| StoreError::Unreadable { what: "secret", why: error.to_string() })?;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query("SELECT COUNT(*), COALESCE(SUM(name = $2), 0) FROM secrets WHERE owner = $1")
            .bind(owner.to_string())
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
        let (count, exists) = (row.get::<i64, _>(0), row.get::<i64, _>(1) > 0);
        if exists && how == SecretWrite::Create {
            return Ok(SecretWritten::Exists);
        }
        if !exists && count >= SECRETS_PER_OWNER {
            return Ok(SecretWritten::TooMany);
        }
        sqlx::query(
            "INSERT INTO secrets (owner, name, sealed, created_by, updated_by, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $4, $5, $5) ON CONFLICT (owner, name) DO UPDATE SET
                 sealed = excluded.sealed, updated_by = excluded.updated_by, updated_at = excluded.updated_at",
        )
        .bind(owner.to_string())
        .bind(name)
        .bind(sealed)
        .bind(by.user.to_string())
        .bind(by.at.0)
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM deleted_secrets WHERE owner = $1 AND name = $2")
            .bind(owner.to_string())
            .bind(name)
            .execute(&mut *tx)
            .await?;
        let shown = json!({"name": name});
        let (action, change, written) = match exists {
            false => ("secret.create", [None, Some(shown)], SecretWritten::Created),
            true => ("secret.update", [Some(shown.clone()), Some(shown)], SecretWritten::Updated),
        };
        audit::write(&mut tx, by, owner, action, name, change).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// Deletes a secret. Says whether there was one.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn delete_secret(&self, owner: Owner, name: &str, by: By) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let done = sqlx::query("DELETE FROM secrets WHERE owner = $1 AND name = $2")
            .bind(owner.to_string())
            .bind(name)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("INSERT OR REPLACE INTO deleted_secrets (owner, name, deleted_at) VALUES ($1, $2, $3)")
            .bind(owner.to_string())
            .bind(name)
            .bind(by.at.0)
            .execute(&mut *tx)
            .await?;
        let change = [Some(json!({"name": name})), None];
        audit::write(&mut tx, by, owner, "secret.delete", name, change).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// The value of a secret, in clear.
pub(crate) fn open(vault: &Vault, owner: Owner, name: &str, sealed: &[u8]) -> Result<String, StoreError> {
    let unreadable = |why: String| StoreError::Unreadable { what: "secret", why };
    let clear = vault.open(&place(owner, name), sealed).map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(clear).map_err(|error| unreadable(error.to_string()))
}

/// Notes that deliveries used these secrets at this time.
pub(crate) async fn touch(
    tx: &mut SqliteConnection,
    owner: Owner,
    names: &HashSet<String>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new("UPDATE secrets SET last_accessed_at = ");
    sql.push_bind(at.0).push(" WHERE owner = ").push_bind(owner.to_string()).push(" AND name IN (");
    let mut list = sql.separated(", ");
    for name in names {
        list.push_bind(name);
    }
    sql.push(")");
    sql.build().execute(tx).await?;
    Ok(())
}

fn read(row: &SqliteRow) -> SecretRow {
    SecretRow {
        name: row.get(0),
        created_by: row.get(1),
        updated_by: row.get(2),
        created_at: Timestamp(row.get(3)),
        updated_at: Timestamp(row.get(4)),
        last_accessed_at: row.get::<Option<i64>, _>(5).map(Timestamp),
    }
}
