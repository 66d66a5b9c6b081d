//! Kept deliveries as they are looked for, and what waits.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};
use tributary_domain::{Event, IntegrationId, MemberId, Owner, ProductId, Timestamp, outcome::Outcome};

use crate::{Store, StoreError, read::parsed};

/// Which kept deliveries of an owner are shown. What is `None` does not narrow them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedQuery {
    /// Of this integration.
    pub integration: Option<IntegrationId>,
    /// Of this product.
    pub product: Option<ProductId>,
    /// Of a sandbox alone.
    pub sandbox: bool,
    /// Ended in this way.
    pub outcome: Option<Outcome>,
    /// Ended at this time or later.
    pub from: Option<Timestamp>,
    /// Ended at this time or before.
    pub to: Option<Timestamp>,
    /// Of devices whose id has this part.
    pub device: Option<String>,
    /// Of events whose name begins so.
    pub event: Option<String>,
    /// With a reply of this class: 4 for 400 to 499; 0 for no reply.
    pub status_class: Option<i64>,
    /// With this part in what went wrong.
    pub text: Option<String>,
    /// Below this row.
    pub before: Option<i64>,
    /// Most rows.
    pub rows: usize,
}

/// A kept delivery as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedRow {
    /// The row.
    pub id: i64,
    /// Whose it is.
    pub integration: IntegrationId,
    /// Its membership; `None` in a sandbox.
    pub member: Option<MemberId>,
    /// Its product; `None` in a sandbox.
    pub product: Option<ProductId>,
    /// `error` or `skipped`.
    pub outcome: String,
    /// When it ended.
    pub at: Timestamp,
    /// The event, if it can be read.
    pub event: Option<Event>,
    /// The status of the last reply.
    pub status: Option<i64>,
    /// What went wrong, secrets masked.
    pub error: String,
    /// Whether it is being made again.
    pub under_way: bool,
}

/// A delivery that waits for an attempt, or whose attempt is under way.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingRow {
    /// When the attempt is due.
    pub due_at: Timestamp,
    /// Its number.
    pub attempt: i64,
    /// The product; `None` in a sandbox.
    pub product: Option<ProductId>,
    /// The event, if it can be read.
    pub event: Option<Event>,
}

impl Store {
    /// The kept deliveries of an owner, newest first.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn failed(&self, owner: Owner, query: &FailedQuery) -> Result<Vec<FailedRow>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT k.id, k.integration_id, k.member_id, k.product_id, k.outcome, k.at, k.event, k.status, k.error,
                 k.redelivery_id IS NOT NULL
             FROM kept k JOIN integrations i ON i.id = k.integration_id WHERE i.owner = ",
        );
        sql.push_bind(owner.to_string());
        push_filters(&mut sql, query);
        sql.push(" ORDER BY k.id DESC LIMIT ").push_bind(i64::try_from(query.rows).unwrap_or(i64::MAX));
        sql.build().fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// The integrations of kept rows of an owner, each with its rows.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn integrations_of_kept(
        &self,
        owner: Owner,
        ids: &[i64],
    ) -> Result<Vec<(IntegrationId, Option<MemberId>, Option<ProductId>, i64)>, StoreError> {
        let rows = sqlx::query(
            "SELECT k.integration_id, k.member_id, k.product_id, k.id FROM kept k
                 JOIN integrations i ON i.id = k.integration_id
             WHERE i.owner = $1 AND k.id IN (SELECT value FROM json_each($2)) AND k.redelivery_id IS NULL ORDER BY k.id",
        )
        .bind(owner.to_string())
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(&self.pool)
        .await?;
        let row = |row: &SqliteRow| {
            let integration = parsed(row.get(0), "integration id")?;
            Ok((integration, member(row.get(1))?, product(row.get(2)), row.get(3)))
        };
        rows.iter().map(row).collect()
    }

    /// How many deliveries of these integrations wait, of one product or of all.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn waiting_counts(
        &self,
        ids: &[IntegrationId],
        product: Option<ProductId>,
    ) -> Result<HashMap<IntegrationId, i64>, StoreError> {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(
            "SELECT integration_id, COUNT(*) FROM pending WHERE integration_id IN (SELECT value FROM json_each($1))
                 AND ($2 IS NULL OR product_id = $2) GROUP BY integration_id",
        )
        .bind(serde_json::json!(ids).to_string())
        .bind(product.map(|product| product.0))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((parsed(row.get(0), "integration id")?, row.get(1)))).collect()
    }

    /// The waiting deliveries of an integration that are due first, of one product or of all.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn waiting(
        &self,
        id: IntegrationId,
        of: Option<ProductId>,
        rows: usize,
    ) -> Result<Vec<WaitingRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT due_at, attempt, product_id, event FROM pending WHERE integration_id = $1
                 AND ($2 IS NULL OR product_id = $2) ORDER BY due_at, id LIMIT $3",
        )
        .bind(id.to_string())
        .bind(of.map(|product| product.0))
        .bind(i64::try_from(rows).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        let row = |row: &SqliteRow| WaitingRow {
            due_at: Timestamp(row.get(0)),
            attempt: row.get(1),
            product: product(row.get(2)),
            event: Event::decode(row.get(3)).ok(),
        };
        Ok(rows.iter().map(row).collect())
    }
}

fn push_filters(sql: &mut QueryBuilder<Sqlite>, query: &FailedQuery) {
    if let Some(id) = query.integration {
        sql.push(" AND k.integration_id = ").push_bind(id.to_string());
    }
    if query.sandbox {
        sql.push(" AND i.sandbox");
    }
    if let Some(product) = query.product {
        sql.push(" AND k.product_id = ").push_bind(product.0);
    }
    if let Some(outcome) = query.outcome {
        sql.push(" AND k.outcome = ").push_bind(outcome.as_str());
    }
    if let Some(from) = query.from {
        sql.push(" AND k.at >= ").push_bind(from.0);
    }
    if let Some(to) = query.to {
        sql.push(" AND k.at <= ").push_bind(to.0);
    }
    if let Some(device) = &query.device {
        sql.push(" AND INSTR(LOWER(k.device), LOWER(").push_bind(device.clone()).push(")) > 0");
    }
    if let Some(event) = &query.event {
        sql.push(" AND SUBSTR(k.event_name, 1, LENGTH(").push_bind(event.clone()).push(")) = ");
        sql.push_bind(event.clone());
    }
    match query.status_class {
        Some(0) => drop(sql.push(" AND k.status IS NULL")),
        Some(class) => drop(sql.push(" AND k.status / 100 = ").push_bind(class)),
        None => {}
    }
    if let Some(text) = &query.text {
        sql.push(" AND INSTR(LOWER(k.error), LOWER(").push_bind(text.clone()).push(")) > 0");
    }
    if let Some(before) = query.before {
        sql.push(" AND k.id < ").push_bind(before);
    }
}

fn member(text: &str) -> Result<Option<MemberId>, StoreError> {
    if text.is_empty() { Ok(None) } else { parsed(text, "member id").map(Some) }
}

fn product(id: i64) -> Option<ProductId> {
    (id != 0).then_some(ProductId(id))
}

fn read(row: &SqliteRow) -> Result<FailedRow, StoreError> {
    Ok(FailedRow {
        id: row.get(0),
        integration: parsed(row.get(1), "integration id")?,
        member: member(row.get(2))?,
        product: product(row.get(3)),
        outcome: row.get(4),
        at: Timestamp(row.get(5)),
        event: Event::decode(row.get(6)).ok(),
        status: row.get(7),
        error: row.get(8),
        under_way: row.get(9),
    })
}
