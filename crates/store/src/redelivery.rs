//! Runs that make kept deliveries again: from the kept rows through the pending table.

use serde_json::{Value, json};
use sqlx::{
    Row, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use tributary_domain::{IntegrationId, MemberId, Owner, ProductId, Timestamp, UserId, outcome::Outcome};

use crate::{
    Store, StoreError,
    audit::{self, By},
    read::parsed,
};

/// Runs of one integration that are shown and remembered.
pub const RUNS_SHOWN: i64 = 20;
/// Runs of one owner that may be under way at once.
pub const RUNS_AT_ONCE: i64 = 5;
/// Runs that are taken further in one turn; others have theirs once some of these have ended.
const RUNS_PER_TURN: i64 = 256;
/// Deliveries of one run that are in the pending table at once.
const UNDER_WAY: i64 = 1_000;

/// Which kept deliveries are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The integration as which their members run.
    pub integration: IntegrationId,
    /// Of this member alone.
    pub member: Option<MemberId>,
    /// These kept rows alone.
    pub kept: Option<Vec<i64>>,
    /// Ended at this time or later.
    pub from: Timestamp,
    /// Ended at this time or before.
    pub to: Timestamp,
    /// Ended in this way; `None` = in either.
    pub outcome: Option<Outcome>,
    /// Of these products; `None` = of all.
    pub products: Option<Vec<ProductId>>,
}

/// A run as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// 24 hexadecimal digits.
    pub id: String,
    /// When it was begun.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: UserId,
    /// `running`, `finished` or `cancelled`.
    pub state: String,
    /// How many it was to make again.
    pub total: i64,
    /// How many it has taken up.
    pub sent: i64,
    /// How they ended: success, error, skipped.
    pub ended: [i64; 3],
    /// When it finished or was cancelled.
    pub finished_at: Option<Timestamp>,
}

/// What came of beginning a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It runs.
    Yes,
    /// There is no such integration any more.
    Gone,
    /// The owner has as many runs under way as it may have.
    TooMany,
    /// Nothing is kept that was chosen.
    Nothing,
}

/// What a log row says of its delivery's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptRow {
    /// The row; `None` when it was delivered or dropped since, or never kept.
    pub kept: Option<i64>,
    /// Whether it is being made again.
    pub under_way: bool,
}

/// The filter; [`Chosen::bind`] gives it `$1` to `$7`.
const CHOSEN: &str = "integration_id = $1 AND ($2 IS NULL OR member_id = $2) AND ($3 IS NULL OR id IN (SELECT value FROM json_each($3)))
    AND at BETWEEN $4 AND $5 AND ($6 IS NULL OR outcome = $6)
    AND ($7 IS NULL OR product_id IN (SELECT value FROM json_each($7))) AND redelivery_id IS NULL";
const COLUMNS: &str = "id, created_at, created_by, state, total, sent, success, error, skipped, finished_at";

impl Chosen {
    /// Binds `$1` to `$7`.
    fn bind<'q>(&self, query: Query<'q, Sqlite, SqliteArguments>) -> Query<'q, Sqlite, SqliteArguments> {
        query
            .bind(self.integration.to_string())
            .bind(self.member.map(|member| member.to_string()))
            .bind(self.kept.as_ref().map(|ids| json!(ids).to_string()))
            .bind(self.from.0)
            .bind(self.to.0)
            .bind(self.outcome.map(|outcome| outcome.as_str()))
            .bind(self.products_json())
    }

    fn products_json(&self) -> Option<String> {
        self.products.as_ref().map(|list| json!(list.iter().map(|p| p.0).collect::<Vec<_>>()).to_string())
    }
}

fn read_run(row: &SqliteRow) -> Result<Run, StoreError> {
    Ok(Run {
        id: row.get(0),
        created_at: Timestamp(row.get(1)),
        created_by: parsed(row.get(2), "user id")?,
        state: row.get(3),
        total: row.get(4),
        sent: row.get(5),
        ended: [row.get(6), row.get(7), row.get(8)],
        finished_at: row.get::<Option<i64>, _>(9).map(Timestamp),
    })
}

/// How many are chosen of each product, and the last of their rows.
async fn count(
    tx: &mut SqliteConnection,
    chosen: &Chosen,
) -> Result<(Vec<(Option<ProductId>, i64)>, i64), StoreError> {
    let rows = chosen
        .bind(sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT product_id, COUNT(*), MAX(id) FROM kept WHERE {CHOSEN} GROUP BY product_id ORDER BY product_id"
        ))))
        .fetch_all(tx)
        .await?;
    let last = rows.iter().map(|row| row.get::<i64, _>(2)).max().unwrap_or(0);
    let product = |id: i64| (id != 0).then_some(ProductId(id));
    Ok((rows.iter().map(|row| (product(row.get(0)), row.get(1))).collect(), last))
}

impl Store {
    /// How many kept deliveries of an owner's integration are chosen, by product; none in a sandbox.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_kept(
        &self,
        owner: Owner,
        chosen: &Chosen,
    ) -> Result<Vec<(Option<ProductId>, i64)>, StoreError> {
        let mut tx = self.pool.begin().await?;
        if !is_owned(&mut tx, owner, chosen.integration).await? {
            return Ok(Vec::new());
        }
        Ok(count(&mut tx, chosen).await?.0)
    }

    /// Begins a run.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn begin_redelivery(
        &self,
        owner: Owner,
        id: &str,
        chosen: &Chosen,
        by: By,
    ) -> Result<(Begun, Vec<(Option<ProductId>, i64)>), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if !is_owned(&mut tx, owner, chosen.integration).await? {
            return Ok((Begun::Gone, Vec::new()));
        }
        let running: i64 = sqlx::query(
            "SELECT COUNT(*) FROM redeliveries JOIN integrations ON integrations.id = integration_id
             WHERE state = 'running' AND owner = $1",
        )
        .bind(owner.to_string())
        .fetch_one(&mut *tx)
        .await?
        .get(0);
        if running >= RUNS_AT_ONCE {
            return Ok((Begun::TooMany, Vec::new()));
        }
        let (counts, last) = count(&mut tx, chosen).await?;
        let total: i64 = counts.iter().map(|(_, n)| n).sum();
        if total == 0 {
            return Ok((Begun::Nothing, counts));
        }
        let insert = sqlx::query(
            "INSERT INTO redeliveries (integration_id, member_id, kept_ids, from_at, to_at, outcome, products,
                 id, created_by, created_at, state, total, next_after, up_to)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'running', $11, 0, $12)",
        );
        chosen
            .bind(insert)
            .bind(id)
            .bind(by.user.to_string())
            .bind(by.at.0)
            .bind(total)
            .bind(last)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "DELETE FROM redeliveries WHERE integration_id = $1 AND state <> 'running' AND created_at < (
                 SELECT MIN(created_at) FROM (SELECT created_at FROM redeliveries WHERE integration_id = $1
                     ORDER BY created_at DESC LIMIT $2))",
        )
        .bind(chosen.integration.to_string())
        .bind(RUNS_SHOWN)
        .execute(&mut *tx)
        .await?;
        let after = json!({"redelivery": id, "total": total});
        let subject = chosen.integration.to_string();
        audit::write(&mut tx, by, owner, "integration.redeliver", &subject, [None, Some(after)]).await?;
        tx.commit().await?;
        Ok((Begun::Yes, counts))
    }

    /// The newest runs of an owner's integration, newest first; of one member those that are of it alone.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn redeliveries(
        &self,
        owner: Owner,
        integration: IntegrationId,
        member: Option<MemberId>,
        id: Option<&str>,
    ) -> Result<Vec<Run>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM redeliveries
             WHERE integration_id = (SELECT id FROM integrations WHERE id = $1 AND owner = $2)
                 AND ($3 IS NULL OR member_id = $3) AND ($4 IS NULL OR id = $4)
             ORDER BY created_at DESC, id LIMIT $5"
        )))
        .bind(integration.to_string())
        .bind(owner.to_string())
        .bind(member.map(|member| member.to_string()))
        .bind(id)
        .bind(RUNS_SHOWN)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_run).collect()
    }

    /// The runs that are under way.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn running_redeliveries(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM redeliveries WHERE state = 'running' ORDER BY created_at LIMIT $1";
        let rows = sqlx::query(sql).bind(RUNS_PER_TURN).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Lets at most `most` deliveries of a run wait, due now, in `lane`, with row ids from `first` on; ends the run when
    /// there is nothing more to come. Gives how many wait now.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn send_redelivery(
        &self,
        id: &str,
        lane: &str,
        [first, most]: [i64; 2],
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let under_way: i64 = sqlx::query("SELECT COUNT(*) FROM pending WHERE redelivery_id = $1")
            .bind(id)
            .fetch_one(&mut *tx)
            .await?
            .get(0);
        let room = most.min(UNDER_WAY - under_way).max(0);
        let ids = next_kept(&mut tx, id, room).await?;
        let sent = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        if !ids.is_empty() {
            take_up(&mut tx, id, lane, first, &ids, now).await?;
        }
        let at_end = sent < room;
        sqlx::query(
            "UPDATE redeliveries SET sent = sent + $2, next_after = CASE WHEN $3 THEN up_to ELSE MAX(next_after, $4) END
             WHERE id = $1 AND state = 'running'",
        )
        .bind(id)
        .bind(sent)
        .bind(at_end)
        .bind(ids.last().copied().unwrap_or(0))
        .execute(&mut *tx)
        .await?;
        if at_end && under_way == 0 && sent == 0 {
            sqlx::query(
                "UPDATE redeliveries SET finished_at = $2, state = CASE WHEN EXISTS (SELECT 1 FROM integrations
                     WHERE integrations.id = integration_id AND NOT disabled) THEN 'finished' ELSE 'cancelled' END
                 WHERE id = $1 AND state = 'running'",
            )
            .bind(id)
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(sent)
    }

    /// The waiting deliveries of a run.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pending_of_redelivery(&self, id: &str) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT id FROM pending WHERE redelivery_id = $1";
        let rows = sqlx::query(sql).bind(id).fetch_all(&self.pool).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Cancels a run of an owner's integration: what waits is kept again, but for those of these rows that are being sent,
    /// which end as usual. False when it was not running.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn cancel_redelivery(
        &self,
        owner: Owner,
        id: &str,
        busy: &[i64],
        by: By,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query(
            "UPDATE redeliveries SET state = 'cancelled', finished_at = $2 WHERE id = $1 AND state = 'running'
                 AND integration_id IN (SELECT id FROM integrations WHERE owner = $3)
             RETURNING integration_id",
        )
        .bind(id)
        .bind(by.at.0)
        .bind(owner.to_string())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(false) };
        for sql in [
            "UPDATE kept SET redelivery_id = NULL WHERE id IN (SELECT kept_id FROM pending
                 WHERE redelivery_id = $1 AND id NOT IN (SELECT value FROM json_each($2)))",
            "UPDATE redeliveries SET sent = sent - (SELECT COUNT(*) FROM pending
                 WHERE redelivery_id = $1 AND id NOT IN (SELECT value FROM json_each($2))) WHERE id = $1",
            "DELETE FROM pending WHERE redelivery_id = $1 AND id NOT IN (SELECT value FROM json_each($2))",
        ] {
            sqlx::query(sql).bind(id).bind(json!(busy).to_string()).execute(&mut *tx).await?;
        }
        let (subject, after) = (row.get::<String, _>(0), json!({"redelivery": id}));
        let change: [Option<Value>; 2] = [None, Some(after)];
        audit::write(&mut tx, by, owner, "integration.redeliver_cancel", &subject, change).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The event behind a log row of an owner's integration, or of a member of it. `None`: there is no such row.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn kept_of_log(
        &self,
        owner: Owner,
        integration: IntegrationId,
        member: Option<MemberId>,
        log: i64,
    ) -> Result<Option<KeptRow>, StoreError> {
        let row = sqlx::query(
            "SELECT kept.id, kept.redelivery_id IS NOT NULL FROM logs LEFT JOIN kept ON kept.id = logs.kept_id
             WHERE logs.id = $4 AND (($3 IS NULL AND logs.integration_id = $1) OR logs.member_id = $3)
                 AND EXISTS (SELECT 1 FROM integrations WHERE id = $1 AND owner = $2)",
        )
        .bind(integration.to_string())
        .bind(owner.to_string())
        .bind(member.map(|member| member.to_string()))
        .bind(log)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| KeptRow { kept: row.get(0), under_way: row.get(1) }))
    }
}

async fn is_owned(tx: &mut SqliteConnection, owner: Owner, id: IntegrationId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM integrations WHERE id = $1 AND owner = $2")
        .bind(id.to_string())
        .bind(owner.to_string())
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// The kept rows that a run takes next; none of a run that has ended or whose integration is disabled.
async fn next_kept(tx: &mut SqliteConnection, id: &str, room: i64) -> Result<Vec<i64>, StoreError> {
    let rows = sqlx::query(
        "WITH run AS (SELECT redeliveries.* FROM redeliveries JOIN integrations ON integrations.id = integration_id
             WHERE redeliveries.id = $1 AND state = 'running' AND NOT disabled)
         SELECT kept.id FROM run JOIN kept ON kept.integration_id = run.integration_id
             AND kept.id > run.next_after AND kept.id <= run.up_to
         WHERE (run.member_id IS NULL OR kept.member_id = run.member_id)
             AND (run.kept_id IS NULL OR kept.id = run.kept_id)
             AND (run.kept_ids IS NULL OR kept.id IN (SELECT value FROM json_each(run.kept_ids))) AND at BETWEEN from_at AND to_at
             AND (run.outcome IS NULL OR kept.outcome = run.outcome)
             AND (products IS NULL OR product_id IN (SELECT value FROM json_each(products)))
             AND redelivery_id IS NULL
         ORDER BY kept.id LIMIT $2",
    )
    .bind(id)
    .bind(room)
    .fetch_all(tx)
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Makes waiting rows of kept ones and marks these.
async fn take_up(
    tx: &mut SqliteConnection,
    run: &str,
    lane: &str,
    first: i64,
    ids: &[i64],
    now: Timestamp,
) -> Result<(), StoreError> {
    let ids = json!(ids).to_string();
    sqlx::query(
        "INSERT INTO pending (id, lane, due_at, integration_id, member_id, product_id, attempt, event, kept_id, redelivery_id)
         SELECT $2 + chosen.key, $3, $4, integration_id, member_id, product_id, 1, event, kept.id, $5
         FROM json_each($1) AS chosen JOIN kept ON kept.id = chosen.value",
    )
    .bind(&ids)
    .bind(first)
    .bind(lane)
    .bind(now.0)
    .bind(run)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE kept SET redelivery_id = $2 WHERE id IN (SELECT value FROM json_each($1))")
        .bind(&ids)
        .bind(run)
        .execute(tx)
        .await?;
    Ok(())
}
