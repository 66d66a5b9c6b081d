//! What the data plane reads and writes: the one commit per batch, and the deliveries that wait.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId, Timestamp, UserId, access::Role, ids::InvalidId, limits,
    outcome::Outcome,
};

use crate::{
    Store, StoreError,
    backlogs::{self, BacklogChanges},
    kept::{self, KeptEvent, Links},
    secrets,
    sleeping::{self, SleepChanges},
};

/// Rows of one multi-row statement; SQLite takes 32,766 parameters.
const ROWS_PER_STATEMENT: usize = 1_000;

/// Whose delivery it is: what counters and logs are kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Counted {
    /// The integration as which it ran.
    pub integration: IntegrationId,
    /// The member; `None` in a sandbox.
    pub member: Option<MemberId>,
    /// The product; `None` in a sandbox.
    pub product: Option<ProductId>,
}

impl Counted {
    pub(crate) fn member_text(&self) -> String {
        self.member.map(|m| m.to_string()).unwrap_or_default()
    }

    pub(crate) fn product_number(&self) -> i64 {
        self.product.map_or(0, |p| p.0)
    }
}

/// A delivery that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its row in the pending table, if it has one. It counts only if that row is still there: a row that is gone was
    /// ended by someone else (its member was removed).
    pub pending: Option<i64>,
    /// Whose it is.
    pub counted: Counted,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// A log row. Only the newest of a batch need to be given.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// Whose it is.
    pub counted: Counted,
    /// Whether it stands among the successes or among the errors.
    pub success: bool,
    /// When the delivery ended.
    pub at: Timestamp,
    /// The entry as the API shows it, as JSON, secrets masked.
    pub entry: String,
}

/// A delivery that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRow {
    /// Given out by the pipeline, never used twice while the row exists.
    pub id: i64,
    /// The lane that it waits for.
    pub lane: String,
    /// Not before this time.
    pub due_at: Timestamp,
    /// Whose it is.
    pub counted: Counted,
    /// The number of the attempt that is due, from 1.
    pub attempt: u32,
    /// The event, encoded; the rows of one event share it.
    pub event: Arc<[u8]>,
}

/// Everything that one batch changes.
#[derive(Debug, Default)]
pub struct Batch {
    /// The shard and how far its log has been dealt with.
    pub cursor: Option<(i64, u64)>,
    /// Deliveries that ended.
    pub ended: Vec<Ended>,
    /// The events of those that failed or were skipped.
    pub kept: Vec<KeptEvent>,
    /// Log rows.
    pub logs: Vec<LogRow>,
    /// Which of the log rows are of which of the ended deliveries, by their places.
    pub logged: Vec<(usize, usize)>,
    /// Secrets that deliveries used, by owner, and when.
    pub accessed: HashMap<Owner, (Timestamp, HashSet<String>)>,
    /// New waiting deliveries.
    pub pending: Vec<PendingRow>,
    /// Waiting deliveries that wait again: the lane, time and attempt of these rows change if they are still there.
    pub postponed: Vec<PendingRow>,
    /// Destinations that fell asleep or woke up.
    pub sleeping: SleepChanges,
    /// What changed of the backlogs that are read apart from the rest of the log.
    pub backlogs: BacklogChanges,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.cursor.is_none()
            && self.ended.is_empty()
            && self.logs.is_empty()
            && self.pending.is_empty()
            && self.postponed.is_empty()
            && self.sleeping.is_empty()
            && self.backlogs.is_empty()
    }
}

impl Store {
    /// Writes a batch in one transaction: after it either all of it is there or nothing.
    ///
    /// # Errors
    /// When it could not be committed; nothing of it was written.
    pub async fn commit_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let removed = remove_ended_pending(&mut tx, batch).await?;
        let (days, hours) = sum(batch, &removed);
        add_counters(&mut tx, days, hours).await?;
        let links = kept::write(&mut tx, batch, &removed).await?;
        add_logs(&mut tx, batch, &links).await?;
        for (owner, (at, names)) in &batch.accessed {
            secrets::touch(&mut tx, *owner, names, *at).await?;
        }
        insert_pending(&mut tx, &batch.pending).await?;
        postpone(&mut tx, &batch.postponed).await?;
        sleeping::write(&mut tx, &batch.sleeping).await?;
        backlogs::write(&mut tx, &batch.backlogs).await?;
        if let Some((shard, seq)) = batch.cursor {
            sqlx::query(
                "INSERT INTO cursors (shard, seq) VALUES ($1, $2) ON CONFLICT (shard) DO UPDATE SET seq = excluded.seq",
            )
            .bind(shard)
            .bind(i64::try_from(seq).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// How far a shard's log has been dealt with; 0 before the first commit.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn cursor(&self, shard: i64) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT seq FROM cursors WHERE shard = $1")
            .bind(shard)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map_or(0, |row| u64::try_from(row.get::<i64, _>(0)).unwrap_or(0)))
    }

    /// The lanes that have waiting deliveries, each with the time at which its first one is due.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn waiting_lanes(&self) -> Result<Vec<(String, Timestamp)>, StoreError> {
        let rows =
            sqlx::query("SELECT lane, MIN(due_at) FROM pending GROUP BY lane").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(|row| (row.get(0), Timestamp(row.get(1)))).collect())
    }

    /// The largest id in the pending table, 0 when it is empty.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_pending_id(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query("SELECT COALESCE(MAX(id), 0) FROM pending").fetch_one(&self.pool).await?.get(0))
    }

    /// How many deliveries wait.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pending_count(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query("SELECT COUNT(*) FROM pending").fetch_one(&self.pool).await?.get(0))
    }

    /// The first `limit` waiting deliveries of a lane in the order in which they are due, also those not due yet;
    /// `after` = behind this one.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn pending_of_lane(
        &self,
        lane: &str,
        after: Option<(Timestamp, i64)>,
        limit: usize,
    ) -> Result<Vec<PendingRow>, StoreError> {
        let (due_at, id) = after.map_or((i64::MIN, i64::MIN), |(at, id)| (at.0, id));
        let rows = sqlx::query(
            "SELECT id, due_at, integration_id, member_id, product_id, attempt, event FROM pending
             WHERE lane = $1 AND (due_at, id) > ($2, $3) ORDER BY due_at, id LIMIT $4",
        )
        .bind(lane)
        .bind(due_at)
        .bind(id)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| read_pending(lane, row)).collect()
    }

    /// The person behind an owner: of a sandbox its user, of an organization its (first) Administrator (Owner).
    ///
    /// # Errors
    /// When the database does not answer or an id cannot be read.
    pub async fn owning_user(&self, owner: Owner) -> Result<Option<UserId>, StoreError> {
        let org = match owner {
            Owner::User(user) => return Ok(Some(user)),
            Owner::Org(org) => org,
        };
        let row = sqlx::query(
            "SELECT user_id FROM team WHERE scope = $1 AND role = $2 ORDER BY created_at LIMIT 1",
        )
        .bind(Owner::Org(org).to_string())
        .bind(Role::Owner.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| row.get::<String, _>(0).parse().map_err(unreadable)).transpose()
    }

    /// The products of an owner.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn product_ids_of(&self, owner: Owner) -> Result<Vec<ProductId>, StoreError> {
        let rows = sqlx::query("SELECT id FROM products WHERE owner = $1 ORDER BY id")
            .bind(owner.to_string())
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.iter().map(|row| ProductId(row.get(0))).collect())
    }

    /// Drops what is older than the history keeps: counters, hours and log rows.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn drop_older_than(&self, cutoff: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for (sql, bound) in [
            ("DELETE FROM counters WHERE day < $1", cutoff.day()),
            ("DELETE FROM product_hours WHERE hour < $1", cutoff.hour()),
            ("DELETE FROM logs WHERE at < $1", cutoff.0),
            ("DELETE FROM merged_members WHERE at < $1", cutoff.0),
        ] {
            sqlx::query(sql).bind(bound).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

fn unreadable(error: InvalidId) -> StoreError {
    StoreError::Unreadable { what: "id", why: error.to_string() }
}

fn read_pending(lane: &str, row: &SqliteRow) -> Result<PendingRow, StoreError> {
    Ok(PendingRow {
        id: row.get(0),
        lane: lane.to_owned(),
        due_at: Timestamp(row.get(1)),
        counted: read_counted(row, 2)?,
        attempt: u32::try_from(row.get::<i64, _>(5)).unwrap_or(1),
        event: row.get::<&[u8], _>(6).into(),
    })
}

/// Reads integration, member and product from three columns.
fn read_counted(row: &SqliteRow, first: usize) -> Result<Counted, StoreError> {
    let member: String = row.get(first + 1);
    let product: i64 = row.get(first + 2);
    Ok(Counted {
        integration: row.get::<String, _>(first).parse().map_err(unreadable)?,
        member: if member.is_empty() { None } else { Some(member.parse().map_err(unreadable)?) },
        product: (product != 0).then_some(ProductId(product)),
    })
}

/// A waiting delivery that has ended.
pub(crate) struct Removed {
    /// Whose it is now.
    pub(crate) counted: Counted,
    /// What it was made again for, if it was.
    pub(crate) redelivered: Option<Redelivered>,
}

/// A kept delivery that a run made again.
pub(crate) struct Redelivered {
    /// Its row.
    pub(crate) kept: i64,
    /// The run.
    pub(crate) run: String,
}

fn read_redelivered(row: &SqliteRow, first: usize) -> Option<Redelivered> {
    let kept: Option<i64> = row.get(first);
    let run: Option<String> = row.get(first + 1);
    kept.zip(run).map(|(kept, run)| Redelivered { kept, run })
}

/// Deletes the rows of the ended deliveries. Gives those that were still there, with whose they are now: their member may
/// have moved to another integration meanwhile.
async fn remove_ended_pending(
    tx: &mut SqliteConnection,
    batch: &Batch,
) -> Result<HashMap<i64, Removed>, StoreError> {
    let ids: Vec<i64> = batch.ended.iter().filter_map(|ended| ended.pending).collect();
    let mut removed = HashMap::with_capacity(ids.len());
    for part in ids.chunks(ROWS_PER_STATEMENT) {
        let mut sql = QueryBuilder::<Sqlite>::new("DELETE FROM pending WHERE id IN (");
        let mut list = sql.separated(", ");
        for id in part {
            list.push_bind(*id);
        }
        sql.push(") RETURNING id, integration_id, member_id, product_id, kept_id, redelivery_id");
        for row in sql.build().fetch_all(&mut *tx).await? {
            let ended = Removed { counted: read_counted(&row, 1)?, redelivered: read_redelivered(&row, 4) };
            removed.insert(row.get(0), ended);
        }
    }
    Ok(removed)
}

/// By outcome: first those of events, then those of redeliveries.
#[derive(Clone, Copy, Default)]
struct Sums([i64; 6]);

impl Sums {
    fn add(&mut self, outcome: Outcome, redelivered: bool) {
        let at = match outcome {
            Outcome::Success => 0,
            Outcome::Error => 1,
            Outcome::Skipped => 2,
        };
        self.0[at + if redelivered { 3 } else { 0 }] += 1;
    }
}

/// Sums by whom and by day or hour.
type SumsBy<T> = HashMap<(T, i64), Sums>;

/// Adds up what a batch counts, so that the number of statements grows with the integrations and not with the events.
fn sum(batch: &Batch, removed: &HashMap<i64, Removed>) -> (SumsBy<Counted>, SumsBy<ProductId>) {
    let mut days: SumsBy<Counted> = HashMap::new();
    let mut hours: SumsBy<ProductId> = HashMap::new();
    for ended in &batch.ended {
        let (counted, redelivered) = match ended.pending {
            None => (ended.counted, false),
            Some(id) => match removed.get(&id) {
                Some(removed) => (removed.counted, removed.redelivered.is_some()),
                None => continue,
            },
        };
        days.entry((counted, ended.at.day())).or_default().add(ended.outcome, redelivered);
        // What happened to an event stays true: a redelivery is counted beside it, and not in the product's metrics.
        if let Some(product) = counted.product.filter(|_| !redelivered) {
            hours.entry((product, ended.at.hour())).or_default().add(ended.outcome, false);
        }
    }
    (days, hours)
}

async fn add_counters(
    tx: &mut SqliteConnection,
    days: SumsBy<Counted>,
    hours: SumsBy<ProductId>,
) -> Result<(), StoreError> {
    for ((counted, day), Sums(sums)) in days {
        // Merged away meanwhile: it counts where its member is now. Deleted: there is nothing left to count for.
        let mut query = sqlx::query(
            "INSERT INTO counters (integration_id, member_id, product_id, day, success, error, skipped,
                 redelivered_success, redelivered_error, redelivered_skipped)
             SELECT now.integration_id, now.member_id, $3, $4, $5, $6, $7, $8, $9, $10 FROM (
                 SELECT id AS integration_id, $2 AS member_id, 1 AS choice FROM integrations WHERE id = $1
                 UNION ALL SELECT integration_id, id, 2 FROM members WHERE id = $2
                 UNION ALL SELECT m.integration_id, m.id, 3 FROM merged_members AS old
                     JOIN members AS m ON m.id = old.into_id WHERE old.member_id = $2
                 ORDER BY choice LIMIT 1) AS now
             WHERE true
             ON CONFLICT (integration_id, member_id, day) DO UPDATE SET
                 success = success + excluded.success, error = error + excluded.error,
                 skipped = skipped + excluded.skipped,
                 redelivered_success = redelivered_success + excluded.redelivered_success,
                 redelivered_error = redelivered_error + excluded.redelivered_error,
                 redelivered_skipped = redelivered_skipped + excluded.redelivered_skipped",
        )
        .bind(counted.integration.to_string())
        .bind(counted.member_text())
        .bind(counted.product_number())
        .bind(day);
        for sum in sums {
            query = query.bind(sum);
        }
        query.execute(&mut *tx).await?;
    }
    for ((product, hour), Sums([success, error, skipped, ..])) in hours {
        sqlx::query(
            "INSERT INTO product_hours (product_id, hour, success, error, skipped) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (product_id, hour) DO UPDATE SET
                 success = success + excluded.success, error = error + excluded.error,
                 skipped = skipped + excluded.skipped",
        )
        .bind(product.0)
        .bind(hour)
        .bind(success)
        .bind(error)
        .bind(skipped)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn add_logs(tx: &mut SqliteConnection, batch: &Batch, links: &Links) -> Result<(), StoreError> {
    let mut grown: HashSet<(Counted, bool)> = HashSet::new();
    let logged: HashMap<usize, usize> = batch.logged.iter().copied().collect();
    for (at, row) in batch.logs.iter().enumerate() {
        let link = logged.get(&at).and_then(|ended| links.get(ended)).copied().unwrap_or_default();
        sqlx::query(
            "INSERT INTO logs (integration_id, member_id, success, at, entry, kept_id, redelivered)
             SELECT $1, $2, $3, $4, $5, $6, $7 WHERE EXISTS (SELECT 1 FROM integrations WHERE id = $1)",
        )
        .bind(row.counted.integration.to_string())
        .bind(row.counted.member_text())
        .bind(row.success)
        .bind(row.at.0)
        .bind(&row.entry)
        .bind(link.kept)
        .bind(link.redelivered)
        .execute(&mut *tx)
        .await?;
        grown.insert((row.counted, row.success));
    }
    for (counted, success) in grown {
        let keep = if success { limits::LOG_SUCCESSES } else { limits::LOG_ERRORS };
        sqlx::query(
            "DELETE FROM logs WHERE integration_id = $1 AND member_id = $2 AND success = $3 AND id <= (
                 SELECT id FROM logs WHERE integration_id = $1 AND member_id = $2 AND success = $3
                 ORDER BY id DESC LIMIT 1 OFFSET $4)",
        )
        .bind(counted.integration.to_string())
        .bind(counted.member_text())
        .bind(success)
        .bind(i64::try_from(keep).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn insert_pending(tx: &mut SqliteConnection, rows: &[PendingRow]) -> Result<(), StoreError> {
    for part in rows.chunks(ROWS_PER_STATEMENT) {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "INSERT INTO pending (id, lane, due_at, integration_id, member_id, product_id, attempt, event) ",
        );
        sql.push_values(part, |mut values, row| {
            values
                .push_bind(row.id)
                .push_bind(&row.lane)
                .push_bind(row.due_at.0)
                .push_bind(row.counted.integration.to_string())
                .push_bind(row.counted.member_text())
                .push_bind(row.counted.product_number())
                .push_bind(i64::from(row.attempt))
                .push_bind(&row.event[..]);
        });
        sql.build().execute(&mut *tx).await?;
    }
    Ok(())
}

async fn postpone(tx: &mut SqliteConnection, rows: &[PendingRow]) -> Result<(), StoreError> {
    for row in rows {
        sqlx::query("UPDATE pending SET lane = $2, due_at = $3, attempt = $4 WHERE id = $1")
            .bind(row.id)
            .bind(&row.lane)
            .bind(row.due_at.0)
            .bind(i64::from(row.attempt))
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}
