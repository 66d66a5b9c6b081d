//! Failed and skipped deliveries are kept with their events, so that they can be made again.

use std::{collections::HashMap, sync::Arc};

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
    /// The event, encoded; those of one event share it.
    pub event: Arc<[u8]>,
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

    /// Drops kept deliveries that ended before `cutoff`, then, until the rest has at most `most_bytes`, the oldest ones of
    /// the owner that has the most: nobody's are pushed out by another one's. Those that are being made again stay. A
    /// transaction drops a bounded number of them.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn trim_kept(&self, cutoff: Timestamp, most_bytes: i64) -> Result<(), StoreError> {
        while self.drop_expired_kept(cutoff).await? == ROWS_PER_STATEMENT {}
        while self.drop_largest_kept(most_bytes).await? > 0 {}
        Ok(())
    }

    async fn drop_expired_kept(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let rows = sqlx::query(
            "SELECT id FROM kept WHERE redelivery_id IS NULL AND at < $1 ORDER BY at, id LIMIT $2",
        )
        .bind(cutoff.0)
        .bind(i64::try_from(ROWS_PER_STATEMENT).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        drop_kept(&mut tx, &ids).await?;
        tx.commit().await?;
        Ok(ids.len())
    }

    /// Drops some of the owner that has the most, where all have more than `most_bytes`. Gives how many.
    async fn drop_largest_kept(&self, most_bytes: i64) -> Result<usize, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let total: i64 = sqlx::query("SELECT bytes FROM kept_total").fetch_one(&mut *tx).await?.get(0);
        let mut over = total - most_bytes;
        if over <= 0 {
            return Ok(0);
        }
        let largest = sqlx::query("SELECT owner, bytes FROM kept_owners ORDER BY bytes DESC LIMIT 2")
            .fetch_all(&mut *tx)
            .await?;
        let bytes = |at: usize| largest.get(at).map_or(0, |row| row.get::<i64, _>(1));
        let Some(owner) = largest.first().map(|row| row.get::<String, _>(0)) else { return Ok(0) };
        // No further down than to where the next one has as much: then it is that one's turn.
        over = over.min((bytes(0) - bytes(1)).max(1));
        let rows = sqlx::query(
            "SELECT id, bytes FROM kept WHERE owner = $1 AND redelivery_id IS NULL ORDER BY at, id LIMIT $2",
        )
        .bind(owner)
        .bind(i64::try_from(ROWS_PER_STATEMENT).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        let mut ids: Vec<i64> = Vec::new();
        for row in rows {
            if over <= 0 {
                break;
            }
            over -= row.get::<i64, _>(1);
            ids.push(row.get(0));
        }
        drop_kept(&mut tx, &ids).await?;
        tx.commit().await?;
        Ok(ids.len())
    }
}

async fn drop_kept(tx: &mut SqliteConnection, ids: &[i64]) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM kept WHERE id IN (SELECT value FROM json_each($1))")
        .bind(serde_json::json!(ids).to_string())
        .execute(tx)
        .await?;
    Ok(())
}
