//! Destinations that sleep, so that a restart does not wake them. Written with the pipeline's batches.

use std::collections::HashMap;

use sqlx::{Row as _, SqliteConnection};
use tributary_domain::{
    Timestamp,
    outcome::{Health, SCORE_MAX},
};

use crate::{Store, StoreError};

/// What changed of destinations' sleep: the health of one that sleeps, `None` for one that is awake again.
pub type SleepChanges = HashMap<String, Option<Health>>;

impl Store {
    /// The lanes whose destinations sleep. Those that last failed before `cutoff` are forgotten.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sleeping_lanes(&self, cutoff: Timestamp) -> Result<Vec<(String, Health)>, StoreError> {
        sqlx::query("DELETE FROM sleeping_lanes WHERE last_failure < $1")
            .bind(cutoff.0)
            .execute(&self.pool)
            .await?;
        let rows =
            sqlx::query("SELECT lane, score, last_failure FROM sleeping_lanes").fetch_all(&self.pool).await?;
        let read = |row: &sqlx::sqlite::SqliteRow| {
            let score = u32::try_from(row.get::<i64, _>(1)).unwrap_or(SCORE_MAX);
            let health = Health { score, last_failure: Timestamp(row.get(2)), probing_since: None };
            (row.get(0), health)
        };
        Ok(rows.iter().map(read).collect())
    }
}

pub(crate) async fn write(tx: &mut SqliteConnection, changes: &SleepChanges) -> Result<(), StoreError> {
    for (lane, health) in changes {
        let query = match health {
            None => sqlx::query("DELETE FROM sleeping_lanes WHERE lane = $1").bind(lane),
            Some(health) => sqlx::query(
                "INSERT INTO sleeping_lanes (lane, score, last_failure) VALUES ($1, $2, $3)
                 ON CONFLICT (lane) DO UPDATE SET score = excluded.score, last_failure = excluded.last_failure",
            )
            .bind(lane)
            .bind(i64::from(health.score))
            .bind(health.last_failure.0),
        };
        query.execute(&mut *tx).await?;
    }
    Ok(())
}
