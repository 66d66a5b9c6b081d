//! Who changed what: one row for every write, in the transaction of the write.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};
use tributary_domain::{Owner, Timestamp, UserId, integration::Integration, parameters::masked, sensitive};

use crate::{Store, StoreError, read::parsed};

/// Who makes a change, and when.
#[derive(Clone, Copy, Debug)]
pub struct By {
    /// The person or API user.
    pub user: UserId,
    /// The present time.
    pub at: Timestamp,
}

/// A change as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: UserId,
    /// What was done, e.g. `integration.separate`.
    pub action: String,
    /// To what: an integration's id, a secret's name.
    pub subject: String,
    /// How it was; `None` for what is new. Sensitive values are masked.
    pub before: Option<Value>,
    /// How it is; `None` for what is gone.
    pub after: Option<Value>,
}

/// An integration as the audit shows it.
pub(crate) fn shown(integration: &Integration) -> Value {
    let products: Vec<i64> = integration.members.iter().map(|member| member.product.0).collect();
    let mut shown = json!({"config": sensitive::mask(&integration.config), "product_ids": products});
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
        "INSERT INTO audit (owner, at, actor, action, subject, before, after) VALUES ($1, $2, $3, $4, $5, $6, $7)",
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
        let rows = sqlx::query(
            "SELECT at, actor, action, subject, before, after FROM audit WHERE owner = $1 ORDER BY id DESC LIMIT $2",
        )
        .bind(owner.to_string())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        let value = |text: Option<String>| text.map(|text| parsed(&text, "audit row")).transpose();
        rows.into_iter()
            .map(|row| {
                Ok(AuditRow {
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
}
