//! Failed and skipped deliveries are kept with their events, so that they can be made again.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use tributary_domain::{Timestamp, outcome::Outcome};

use crate::{
    Store, StoreError,
    delivery::{Batch, Counted, Removed},
    read::parsed,
};

/// Rows of one statement.
const ROWS_PER_STATEMENT: usize = 1_000;

/// The event of an ended delivery of a batch that failed or was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// Which one of the batch's ended deliveries.
    pub ended: usize,
    /// The event, encoded.
    pub event: Vec<u8>,
    /// The event's name.
    pub name: String,
    /// The event's device.
    pub device: String,
    /// The status of the last reply; `None` when there was none.
    pub status: Option<u16>,
    /// What went wrong, secrets masked.
    pub error: String,
}

/// What the log row of an ended delivery refers to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    /// The kept row.
    pub(crate) kept: Option<i64>,
    /// Whether the delivery was a redelivery.
    pub(crate) redelivered: bool,
}

/// By place among the batch's ended deliveries.
pub(crate) type Links = HashMap<usize, Link>;

/// Keeps what failed, and ends redeliveries: one that succeeded is no longer kept, another one may be made again.
pub(crate) async fn write(
    tx: &mut SqliteConnection,
    batch: &Batch,
    removed: &HashMap<i64, Removed>,
) -> Result<Links, StoreError> {
    let mut links = end_redelivered(tx, batch, removed).await?;
    let mut places: HashMap<Counted, Option<Counted>> = HashMap::new();
    let mut rows: Vec<(usize, Counted, &KeptEvent)> = Vec::new();
    for event in &batch.kept {
        let at = &event.ended;
        let Some(ended) = batch.ended.get(*at) else { continue };
        let counted = match ended.pending.map(|id| removed.get(&id)) {
            None => ended.counted,
            Some(Some(Removed { counted, redelivered: None })) => *counted,
            // Ended by someone else, or kept already.
            Some(_) => continue,
        };
        let place = match places.get(&counted) {
            Some(place) => *place,
            None => {
                let place = place_of(tx, counted).await?;
                places.insert(counted, place);
                place
            }
        };
        rows.extend(place.map(|place| (*at, place, event)));
    }
    if rows.is_empty() {
        return Ok(links);
    }
    let sql = "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'kept'";
    let first = sqlx::query(sql).fetch_one(&mut *tx).await?.get::<i64, _>(0) + 1;
    let rows: Vec<_> = (first..).zip(rows).collect();
    for part in rows.chunks(ROWS_PER_STATEMENT) {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "INSERT INTO kept (id, integration_id, member_id, product_id, outcome, at, bytes, event,
                 event_name, device, status, error) ",
        );
        sql.push_values(part, |mut values, (id, (at, place, event))| {
            let ended = &batch.ended[*at];
            values
                .push_bind(*id)
                .push_bind(place.integration.to_string())
                .push_bind(place.member_text())
                .push_bind(place.product_number())
                .push_bind(ended.outcome.as_str())
                .push_bind(ended.at.0)
                .push_bind(i64::try_from(event.event.len()).unwrap_or(i64::MAX))
                .push_bind(&event.event[..])
                .push_bind(event.name.as_str())
                .push_bind(event.device.as_str())
                .push_bind(event.status.map(i64::from))
                .push_bind(event.error.as_str());
        });
        sql.build().execute(&mut *tx).await?;
    }
    links.extend(rows.iter().map(|(id, (at, ..))| (*at, Link { kept: Some(*id), redelivered: false })));
    Ok(links)
}

/// Where a delivery belongs now: its member may have moved, or been merged into another one. `None`: it is gone.
async fn place_of(tx: &mut SqliteConnection, counted: Counted) -> Result<Option<Counted>, StoreError> {
    let row = sqlx::query(
        "SELECT integration_id, id, 1 AS choice FROM members WHERE id = $2
         UNION ALL SELECT m.integration_id, m.id, 2 FROM merged_members AS old
             JOIN members AS m ON m.id = old.into_id WHERE old.member_id = $2
         UNION ALL SELECT id, '', 3 FROM integrations WHERE id = $1 AND $2 = ''
         ORDER BY choice LIMIT 1",
    )
    .bind(counted.integration.to_string())
    .bind(counted.member_text())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let member: &str = row.get(1);
    Ok(Some(Counted {
        integration: parsed(row.get(0), "integration id")?,
        member: if member.is_empty() { None } else { Some(parsed(member, "member id")?) },
        product: counted.product,
    }))
}

async fn end_redelivered(
    tx: &mut SqliteConnection,
    batch: &Batch,
    removed: &HashMap<i64, Removed>,
) -> Result<Links, StoreError> {
    let mut links = Links::new();
    let mut runs: HashMap<&str, [i64; 3]> = HashMap::new();
    let (mut done, mut open) = (Vec::new(), Vec::new());
    for (at, ended) in batch.ended.iter().enumerate() {
        let Some(Removed { redelivered: Some(redelivered), .. }) =
            ended.pending.and_then(|id| removed.get(&id))
        else {
            continue;
        };
        let figures = runs.entry(redelivered.run.as_str()).or_default();
        let kept = match ended.outcome {
            Outcome::Success => {
                figures[0] += 1;
                done.push(redelivered.kept);
                None
            }
            outcome => {
                figures[if outcome == Outcome::Error { 1 } else { 2 }] += 1;
                open.push(redelivered.kept);
                Some(redelivered.kept)
            }
        };
        links.insert(at, Link { kept, redelivered: true });
    }
    for (ids, sql) in [
        (done, "DELETE FROM kept WHERE id IN (SELECT value FROM json_each($1))"),
        (open, "UPDATE kept SET redelivery_id = NULL WHERE id IN (SELECT value FROM json_each($1))"),
    ] {
        if !ids.is_empty() {
            sqlx::query(sql).bind(serde_json::json!(ids).to_string()).execute(&mut *tx).await?;
        }
    }
    for (run, [success, error, skipped]) in runs {
        sqlx::query(
            "UPDATE redeliveries SET success = success + $2, error = error + $3, skipped = skipped + $4 WHERE id = $1",
        )
        .bind(run)
        .bind(success)
        .bind(error)
        .bind(skipped)
        .execute(&mut *tx)
        .await?;
    }
    Ok(links)
}

impl Store {
    /// The bytes of the events of all kept deliveries.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn kept_bytes(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query("SELECT bytes FROM kept_total").fetch_one(&self.pool).await?.get(0))
    }

    /// Drops kept deliveries that ended before `cutoff`, then the oldest ones until the rest has at most `most_bytes`.
    /// Those that are being made again stay. A transaction drops a bounded number of them.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_kept(&self, cutoff: Timestamp, most_bytes: i64) -> Result<(), StoreError> {
        loop {
            let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let total: i64 = sqlx::query("SELECT bytes FROM kept_total").fetch_one(&mut *tx).await?.get(0);
            let rows = sqlx::query(
                "SELECT at, id, bytes FROM kept WHERE redelivery_id IS NULL ORDER BY at, id LIMIT $1",
            )
            .bind(i64::try_from(ROWS_PER_STATEMENT).unwrap_or(i64::MAX))
            .fetch_all(&mut *tx)
            .await?;
            let mut left = total;
            let mut drop: Vec<i64> = Vec::new();
            for row in &rows {
                if row.get::<i64, _>(0) >= cutoff.0 && left <= most_bytes {
                    break;
                }
                left -= row.get::<i64, _>(2);
                drop.push(row.get(1));
            }
            if drop.is_empty() {
                return Ok(());
            }
            sqlx::query("DELETE FROM kept WHERE id IN (SELECT value FROM json_each($1))")
                .bind(serde_json::json!(drop).to_string())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            if drop.len() < ROWS_PER_STATEMENT {
                return Ok(());
            }
        }
    }
}
