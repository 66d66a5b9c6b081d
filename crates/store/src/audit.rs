//! Who changed what: one row for every write, in the transaction of the write.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};
use tributary_domain::{
    Owner, Timestamp, UserId, integration::Integration, parameters::masked, sensitive, time::DAY_MS,
};

use crate::{Store, StoreError, read::parsed};

/// Who makes a change, and when.
#[derive(Clone, Copy, Debug)]
pub struct By {
    /// The person or API user.
    pub user: UserId,
    /// The present time.
    pub at: Timestamp,
}

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The person or API user.
    pub user: UserId,
    /// Its user name at that time; `None` where nobody knows it any more.
    pub username: Option<String>,
}

/// Days for which the audit is kept.
pub const AUDIT_DAYS: i64 = 400;
/// Rows of the audit that are kept of one owner; the oldest ones go first.
pub const AUDIT_ROWS: i64 = 100_000;

/// Bytes of the audit that are kept of one owner; the oldest rows go first.
pub const AUDIT_BYTES: i64 = 64 << 20;
/// Length of a field of a configuration, as JSON, up to which the audit keeps it; a longer one is in the versions alone.
const FIELD_BYTES: usize = 1_024;

/// A change as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Its number, rising with time.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: UserId,
    /// The user name of who it was, as it was then.
    pub actor_name: Option<String>,
    /// What was done, e.g. `integration.separate`.
    pub action: String,
    /// To what: an integration's id, a secret's name.
    pub subject: String,
    /// How it was; `None` for what is new. Sensitive values are masked.
    pub before: Option<Value>,
    /// How it is; `None` for what is gone.
    pub after: Option<Value>,
}

/// An integration as the audit shows it. What is long is told by its length: an edit of one field would keep all others
/// twice.
pub(crate) fn shown(integration: &Integration) -> Value {
    let mut config = sensitive::mask(&integration.config);
    for value in config.values_mut() {
        let bytes = value.to_string().len();
        if bytes > FIELD_BYTES {
            *value = json!({"left_out_bytes": bytes});
        }
    }
    let products: Vec<i64> = integration.members.iter().map(|member| member.product.0).collect();
    let mut shown = json!({"config": config, "product_ids": products});
    let overrides = integration.members.iter().filter_map(|member| {
        let own = integration.overrides_of(member.id)?;
        Some((member.product.to_string(), json!(masked(own))))
    });
    let overrides: serde_json::Map<String, Value> = overrides.collect();
    if !overrides.is_empty() {
        shown["parameter_overrides"] = overrides.into();
    }
    shown
}

/// The length of a row that can be long, as SQL.
macro_rules! row_bytes {
    () => {
        "COALESCE(octet_length(before), 0) + COALESCE(octet_length(after), 0) + 200"
    };
}

/// Adds a row.
pub(crate) async fn write(
    tx: &mut SqliteConnection,
    by: By,
    owner: Owner,
    action: &'static str,
    subject: &str,
    [before, after]: [Option<Value>; 2],
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (owner, at, actor, actor_name, action, subject, before, after)
         VALUES ($1, $2, $3, (SELECT username FROM users WHERE id = $3), $4, $5, $6, $7)",
    )
    .bind(owner.to_string())
    .bind(by.at.0)
    .bind(by.user.to_string())
    .bind(action)
    .bind(subject)
    .bind(before.map(|value| value.to_string()))
    .bind(after.map(|value| value.to_string()))
    .execute(tx)
    .await?;
    Ok(())
}

impl Store {
    /// The last `limit` changes of an owner, newest first.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn audit_of(&self, owner: Owner, limit: usize) -> Result<Vec<AuditRow>, StoreError> {
        self.audit_page(owner, None, limit).await
    }

    /// The changes of an owner below this number, newest first, and at most so many.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn audit_page(
        &self,
        owner: Owner,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT at, actor, action, subject, before, after, id, actor_name FROM audit
             WHERE owner = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(owner.to_string())
        .bind(before.unwrap_or(i64::MAX))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        let value = |text: Option<String>| text.map(|text| parsed(&text, "audit row")).transpose();
        rows.into_iter()
            .map(|row| {
                Ok(AuditRow {
                    id: row.get(6),
                    actor_name: row.get(7),
                    at: Timestamp(row.get(0)),
                    actor: parsed(row.get(1), "user id")?,
                    action: row.get(2),
                    subject: row.get(3),
                    before: value(row.get(4))?,
                    after: value(row.get(5))?,
                })
            })
            .collect()
    }

    /// Drops what is older than the audit is kept, and of each owner what is too much.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_audit(&self, now: Timestamp, rows: i64) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM audit WHERE at < $1")
            .bind(now.plus_ms(-AUDIT_DAYS * DAY_MS).0)
            .execute(&mut *tx)
            .await?;
        let full = sqlx::query("SELECT owner FROM audit GROUP BY owner HAVING COUNT(*) > $1")
            .bind(rows)
            .fetch_all(&mut *tx)
            .await?;
        for row in full {
            sqlx::query(
                "DELETE FROM audit WHERE owner = $1
                 AND id <= (SELECT id FROM audit WHERE owner = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
            )
            .bind(row.get::<String, _>(0))
            .bind(rows)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Drops the oldest rows of each owner who has more than so many bytes of the audit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_audit_bytes(&self, most_bytes: i64) -> Result<(), StoreError> {
        let full = sqlx::query(concat!(
            "SELECT owner FROM audit GROUP BY owner HAVING SUM(",
            row_bytes!(),
            ") > $1"
        ))
        .bind(most_bytes)
        .fetch_all(&self.pool)
        .await?;
        for row in full {
            sqlx::query(concat!(
                "DELETE FROM audit WHERE owner = $1 AND id <= (SELECT MAX(id) FROM (
                     SELECT id, SUM(",
                row_bytes!(),
                ") OVER (ORDER BY id DESC) AS total FROM audit WHERE owner = $1) WHERE total > $2)"
            ))
            .bind(row.get::<String, _>(0))
            .bind(most_bytes)
            .execute(&self.pool)
            .await?;
        }
        Ok(())
    }
}
