//! Backlogs: owners whose events are read apart from the rest of the log. Written with the pipeline's batches.

use std::collections::HashMap;

use sqlx::{Row as _, SqliteConnection};

use crate::{Store, StoreError};

/// A backlog as it was last committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBacklog {
    /// Its number.
    pub id: i64,
    /// How far its own events have been dealt with.
    pub cursor: u64,
    /// Its last event; `None` = all that are still to come.
    pub until: Option<u64>,
    /// Whose events these are, each from behind a place of the log on.
    pub sources: Vec<(String, u64)>,
}

/// How far a backlog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BacklogPlace {
    /// The shard of the log.
    pub shard: i64,
    /// How far its own events have been dealt with.
    pub cursor: u64,
    /// Its last event; `None` = all that are still to come.
    pub until: Option<u64>,
}

/// What a batch changes of backlogs.
#[derive(Debug, Default)]
pub struct BacklogChanges {
    /// Those that began or moved, by number.
    pub moved: HashMap<i64, BacklogPlace>,
    /// Sources that joined a backlog, with the place of the log behind which their events are in it.
    pub joined: Vec<(i64, String, u64)>,
    /// Those that are dealt with.
    pub ended: Vec<i64>,
}

impl BacklogChanges {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.joined.is_empty() && self.ended.is_empty()
    }
}

impl Store {
    /// The backlogs of a shard.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn backlogs(&self, shard: i64) -> Result<Vec<StoredBacklog>, StoreError> {
        let rows = sqlx::query(
            "SELECT b.id, b.seq, b.until, s.source, s.after FROM backlogs AS b
             LEFT JOIN backlog_sources AS s ON s.backlog = b.id WHERE b.shard = $1 ORDER BY b.id, s.source",
        )
        .bind(shard)
        .fetch_all(&self.pool)
        .await?;
        let mut backlogs: Vec<StoredBacklog> = Vec::new();
        for row in rows {
            let id: i64 = row.get(0);
            if backlogs.last().is_none_or(|last| last.id != id) {
                let until = row.get::<Option<i64>, _>(2).map(number);
                backlogs.push(StoredBacklog { id, cursor: number(row.get(1)), until, sources: Vec::new() });
            }
            let source = row.get::<Option<String>, _>(3).zip(row.get::<Option<i64>, _>(4));
            if let (Some(backlog), Some((source, after))) = (backlogs.last_mut(), source) {
                backlog.sources.push((source, number(after)));
            }
        }
        Ok(backlogs)
    }

    /// Forgets the backlogs of a shard: its log is another one.
    ///
    /// # Errors
    /// When it could not be committed; nothing was.
    pub async fn drop_backlogs(&self, shard: i64) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for sql in [
            "DELETE FROM backlog_sources WHERE backlog IN (SELECT id FROM backlogs WHERE shard = $1)",
            "DELETE FROM backlogs WHERE shard = $1",
        ] {
            sqlx::query(sql).bind(shard).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}

fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) async fn write(tx: &mut SqliteConnection, changes: &BacklogChanges) -> Result<(), StoreError> {
    for (id, place) in &changes.moved {
        sqlx::query(
            "INSERT INTO backlogs (id, shard, seq, until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, until = excluded.until",
        )
        .bind(id)
        .bind(place.shard)
        .bind(stored(place.cursor))
        .bind(place.until.map(stored))
        .execute(&mut *tx)
        .await?;
    }
    for (id, source, after) in &changes.joined {
        sqlx::query("INSERT INTO backlog_sources (backlog, source, after) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(source)
            .bind(stored(*after))
            .execute(&mut *tx)
            .await?;
    }
    for id in &changes.ended {
        for sql in ["DELETE FROM backlogs WHERE id = $1", "DELETE FROM backlog_sources WHERE backlog = $1"] {
            sqlx::query(sql).bind(id).execute(&mut *tx).await?;
        }
    }
    Ok(())
}
