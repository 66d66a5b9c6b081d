//! Reading what was counted: by integration, by member, by product.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::{Row, sqlite::SqliteRow};
use tributary_domain::{IntegrationId, MemberId, Owner, ProductId};

use crate::{Store, StoreError, read::parsed};

/// How many deliveries ended in each of the three ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// The destination answered 2xx.
    pub success: i64,
    /// The last attempt failed.
    pub error: i64,
    /// The last attempt was not made.
    pub skipped: i64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.success += other.success;
        self.error += other.error;
        self.skipped += other.skipped;
    }
}

/// What was counted for one product on one UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayRow {
    /// The product; `None` in a sandbox.
    pub product: Option<ProductId>,
    /// The day, counted from 1970-01-01 = 0.
    pub day: i64,
    /// The counts.
    pub counts: Counts,
}

/// Reads `success, error, skipped` from column `at` on.
fn counts(row: &SqliteRow, at: usize) -> Counts {
    Counts { success: row.get(at), error: row.get(at + 1), skipped: row.get(at + 2) }
}

fn day_row(row: &SqliteRow) -> DayRow {
    let product: i64 = row.get(0);
    DayRow { product: (product != 0).then_some(ProductId(product)), day: row.get(1), counts: counts(row, 2) }
}

impl Store {
    /// What ran as an integration on the days `from..=to`, by product and day; former members included.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn history_of_integration(
        &self,
        owner: Owner,
        id: IntegrationId,
        [from, to]: [i64; 2],
    ) -> Result<Vec<DayRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT product_id, day, SUM(success), SUM(error), SUM(skipped) FROM counters
             WHERE integration_id = (SELECT id FROM integrations WHERE id = $1 AND owner = $2)
             AND day BETWEEN $3 AND $4 GROUP BY product_id, day ORDER BY product_id, day",
        )
        .bind(id.to_string())
        .bind(owner.to_string())
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(day_row).collect())
    }

    /// What ran for a member on the days `from..=to`, by day; whatever integration it belonged to at the time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn history_of_member(
        &self,
        owner: Owner,
        member: MemberId,
        [from, to]: [i64; 2],
    ) -> Result<Vec<DayRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT MAX(product_id), day, SUM(success), SUM(error), SUM(skipped) FROM counters
             WHERE member_id = (SELECT members.id FROM members JOIN integrations ON integrations.id = integration_id
                                WHERE members.id = $1 AND owner = $2)
             AND day BETWEEN $3 AND $4 GROUP BY day ORDER BY day",
        )
        .bind(member.to_string())
        .bind(owner.to_string())
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(day_row).collect())
    }

    /// How redeliveries ended on the days `from..=to`: of an integration, or of one member whatever integration it belonged
    /// to at the time.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn redelivered(
        &self,
        owner: Owner,
        id: IntegrationId,
        member: Option<MemberId>,
        [from, to]: [i64; 2],
    ) -> Result<Counts, StoreError> {
        let which = if member.is_some() { "member_id = $5" } else { "integration_id = $1" };
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT COALESCE(SUM(redelivered_success), 0), COALESCE(SUM(redelivered_error), 0),
                 COALESCE(SUM(redelivered_skipped), 0) FROM counters
             WHERE {which} AND day BETWEEN $3 AND $4
                 AND EXISTS (SELECT 1 FROM integrations WHERE id = $1 AND owner = $2)
                 AND ($5 IS NULL OR EXISTS (SELECT 1 FROM members WHERE id = $5 AND integration_id = $1))"
        )))
        .bind(id.to_string())
        .bind(owner.to_string())
        .bind(from)
        .bind(to)
        .bind(member.map(|member| member.to_string()))
        .fetch_one(&self.pool)
        .await?;
        Ok(counts(&row, 0))
    }

    /// What was counted on one day for each integration of an owner, summed over its products. Those without traffic are
    /// left out.
    ///
    /// # Errors
    /// When the database does not answer or an id cannot be read.
    pub async fn day_of_owner(
        &self,
        owner: Owner,
        day: i64,
    ) -> Result<HashMap<IntegrationId, Counts>, StoreError> {
        let rows = sqlx::query(
            "SELECT integration_id, SUM(success), SUM(error), SUM(skipped) FROM counters
             WHERE day = $1 AND integration_id IN (SELECT id FROM integrations WHERE owner = $2)
             GROUP BY integration_id",
        )
        .bind(day)
        .bind(owner.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((parsed(row.get(0), "integration id")?, counts(row, 1)))).collect()
    }

    /// What was counted on one day for each member of a product, whatever integration it belonged to. Those without
    /// traffic are left out.
    ///
    /// # Errors
    /// When the database does not answer or an id cannot be read.
    pub async fn day_of_product(
        &self,
        owner: Owner,
        product: ProductId,
        day: i64,
    ) -> Result<HashMap<MemberId, Counts>, StoreError> {
        let rows = sqlx::query(
            "SELECT member_id, SUM(success), SUM(error), SUM(skipped) FROM counters
             WHERE day = $1 AND member_id IN (SELECT id FROM members WHERE product_id =
                 (SELECT id FROM products WHERE id = $2 AND owner = $3))
             GROUP BY member_id",
        )
        .bind(day)
        .bind(product.0)
        .bind(owner.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((parsed(row.get(0), "member id")?, counts(row, 1)))).collect()
    }

    /// What was counted in a product in the UTC hours `from..=to`, counted from 1970-01-01T00 = 0. Hours without traffic
    /// are left out.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn hours_of_product(
        &self,
        owner: Owner,
        product: ProductId,
        [from, to]: [i64; 2],
    ) -> Result<Vec<(i64, Counts)>, StoreError> {
        let rows = sqlx::query(
            "SELECT hour, success, error, skipped FROM product_hours
             WHERE product_id = (SELECT id FROM products WHERE id = $1 AND owner = $2)
             AND hour BETWEEN $3 AND $4 ORDER BY hour",
        )
        .bind(product.0)
        .bind(owner.to_string())
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(|row| (row.get(0), counts(row, 1))).collect())
    }
}
