//! What a clock that was set back leaves behind.

use tributary_domain::Timestamp;

use crate::{Store, StoreError};

impl Store {
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
