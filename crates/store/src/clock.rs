//! What a clock that was set back leaves behind, and what the store knows of the time.

use sqlx::Row;
use tributary_domain::{Timestamp, time::DAY_MS};

use crate::{Store, StoreError};

impl Store {
    /// The newest time in the history and the audit; of a day in the history its beginning. `None` when both are empty.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn newest_time(&self) -> Result<Option<Timestamp>, StoreError> {
        let row = sqlx::query("SELECT (SELECT MAX(day) FROM counters), (SELECT MAX(at) FROM audit)")
            .fetch_one(&self.pool)
            .await?;
        let day = row.get::<Option<i64>, _>(0).map(|day| day.saturating_mul(DAY_MS));
        Ok(day.max(row.get(1)).map(Timestamp))
    }

    /// Makes waiting deliveries that are due after `latest` due at `at`, and gives how many there were: no wait is that
    /// long, so their time was told by a clock that has been set back since.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn bring_forward(&self, latest: Timestamp, at: Timestamp) -> Result<u64, StoreError> {
        // The inner select reads the index alone, not the rows with their events.
        let done = sqlx::query(
            "UPDATE pending SET due_at = $2 WHERE id IN (SELECT id FROM pending INDEXED BY pending_by_lane
                 WHERE due_at > $1)",
        )
        .bind(latest.0)
        .bind(at.0)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}
