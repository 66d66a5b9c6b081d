//! Integrations and their members: reading them, creating, changing and deleting them.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId, Timestamp, UserId,
    integration::{Config, Integration, Member},
    limits,
};

use crate::{
    Store, StoreError, Vault,
    audit::{self, By},
    members,
    read::parsed,
    stored::{self, Columns},
};

/// Ids of one statement; SQLite takes 32,766 parameters.
const IDS_PER_STATEMENT: usize = 1_000;

/// Why a write was not made. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// The owner has no such integration or member (any more).
    Gone,
    /// It was changed since it was read: read it again and judge anew.
    Changed,
    /// It executes on more than one product.
    Shared,
    /// It executes on one product only.
    NotShared,
    /// The owner has no such product (any more).
    NoProduct(ProductId),
    /// The owner has as many integrations as one may have.
    TooMany,
    /// It would execute on more products than one may.
    TooManyProducts,
}

/// What a write gives: its result, or why it was not made, or that the store broke.
pub type Written<T> = Result<Result<T, NotWritten>, StoreError>;

/// An integration as it was read: a write that was judged by it is made only if its configuration is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which one.
    pub id: IntegrationId,
    /// When it was last changed, as read.
    pub updated_at: Timestamp,
}

impl Seen {
    /// An integration as it was read.
    pub fn of(integration: &Integration) -> Seen {
        Seen { id: integration.id, updated_at: integration.updated_at }
    }
}

/// Which integrations to read.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// One of an owner.
    One(Owner, IntegrationId),
    /// The one of an owner that has this member.
    WithMember(Owner, MemberId),
    /// All of an owner.
    Of(Owner),
    /// Those of a person that listen to its devices.
    Sandbox(UserId),
    /// Those of an owner that execute on a product.
    In(Owner, ProductId),
    /// Those that execute on any of these products, whoever owns them. For the data plane.
    OnAny(&'a [ProductId]),
    /// The next ones in the order of their ids, whoever owns them, and at most how many. For the data plane.
    After(Option<IntegrationId>, usize),
}

impl Which<'_> {
    /// The condition after `SELECT id FROM integrations WHERE`.
    fn push(&self, sql: &mut QueryBuilder<Sqlite>) {
        let of = |sql: &mut QueryBuilder<Sqlite>, owner: &Owner| {
            sql.push("owner = ").push_bind(owner.to_string());
        };
        match self {
            Which::One(owner, id) => {
                of(sql, owner);
                sql.push(" AND id = ").push_bind(id.to_string());
            }
            Which::WithMember(owner, member) => {
                of(sql, owner);
                sql.push(" AND id = (SELECT integration_id FROM members WHERE id = ");
                sql.push_bind(member.to_string()).push(")");
            }
            Which::Of(owner) => of(sql, owner),
            Which::Sandbox(user) => {
                of(sql, &Owner::User(*user));
                sql.push(" AND sandbox");
            }
            Which::In(owner, product) => {
                of(sql, owner);
                sql.push(" AND id IN (SELECT integration_id FROM members WHERE product_id = ");
                sql.push_bind(product.0).push(")");
            }
            Which::OnAny(products) => {
                sql.push("id IN (SELECT integration_id FROM members WHERE product_id IN (");
                let mut list = sql.separated(", ");
                for product in *products {
                    list.push_bind(product.0);
                }
                sql.push("))");
            }
            Which::After(id, limit) => {
                let after = id.map(|id| id.to_string()).unwrap_or_default();
                sql.push("id > ").push_bind(after).push(" ORDER BY id LIMIT ");
                sql.push_bind(i64::try_from(*limit).unwrap_or(i64::MAX));
            }
        }
    }
}

impl Store {
    /// Integrations with their members, oldest first, in two statements. [`Which::After`] gives them by id instead.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn integrations(&self, which: Which<'_>) -> Result<Vec<Integration>, StoreError> {
        let mut tx = self.pool.begin().await?;
        load(&mut tx, &self.vault, which).await
    }

    /// The one integration that is meant, if it is there.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn integration(&self, which: Which<'_>) -> Result<Option<Integration>, StoreError> {
        Ok(self.integrations(which).await?.pop())
    }

    /// Every integration that executes on any of these products, with all its members.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn routes_of_products(&self, ids: &[ProductId]) -> Result<Vec<Integration>, StoreError> {
        let mut found: HashMap<IntegrationId, Integration> = HashMap::new();
        for part in ids.chunks(IDS_PER_STATEMENT) {
            let some = self.integrations(Which::OnAny(part)).await?;
            found.extend(some.into_iter().map(|integration| (integration.id, integration)));
        }
        let mut all: Vec<Integration> = found.into_values().collect();
        all.sort_by_key(|integration| (integration.created_at, integration.id));
        Ok(all)
    }

    /// The integrations that listen to a person's devices.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn routes_of_sandbox(&self, user: UserId) -> Result<Vec<Integration>, StoreError> {
        self.integrations(Which::Sandbox(user)).await
    }

    /// The next `limit` integrations of everybody after this one in the order of their ids, for loading all of them.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn all_integrations(
        &self,
        after: Option<IntegrationId>,
        limit: usize,
    ) -> Result<Vec<Integration>, StoreError> {
        self.integrations(Which::After(after, limit)).await
    }

    /// Creates an integration with its members.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn create_integration(&self, new: &Integration, by: By) -> Written<()> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if let Err(why) = insert(&mut tx, &self.vault, new).await? {
            return Ok(Err(why));
        }
        for (position, member) in new.members.iter().enumerate() {
            if let Err(why) = members::insert(&mut tx, new, *member, position).await? {
                return Ok(Err(why));
            }
        }
        let after = [None, Some(audit::shown(new))];
        audit::write(&mut tx, by, new.owner, "integration.create", &new.id.to_string(), after).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Replaces the configuration of an integration and, where `members` are given, its list of products: a product that
    /// is a member already keeps its member id, the others get the given ones. With `only`, it must be the only member.
    /// Gives the integration as it is then.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn replace_integration(
        &self,
        owner: Owner,
        seen: Seen,
        config: &Config,
        members: Option<&[Member]>,
        only: Option<MemberId>,
        by: By,
    ) -> Written<Integration> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let old = match unchanged(&mut tx, &self.vault, owner, seen).await? {
            Ok(old) => old,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(only) = only {
            match &old.members[..] {
                [member] if member.id == only => {}
                members if members.iter().any(|member| member.id == only) => {
                    return Ok(Err(NotWritten::Shared));
                }
                _ => return Ok(Err(NotWritten::Gone)),
            }
        }
        let updated_at = Timestamp(by.at.0.max(old.updated_at.0.saturating_add(1)));
        update(&mut tx, &self.vault, seen.id, config, updated_at).await?;
        if let Some(wanted) = members
            && let Err(why) = members::replace(&mut tx, &old, wanted, by.at).await?
        {
            return Ok(Err(why));
        }
        if is_disabled(config) && !is_disabled(&old.config) {
            members::end_waiting(&mut tx, seen.id, None, by.at).await?;
        }
        let Some(new) = load(&mut tx, &self.vault, Which::One(owner, seen.id)).await?.pop() else {
            return Ok(Err(NotWritten::Gone));
        };
        let change = [Some(audit::shown(&old)), Some(audit::shown(&new))];
        audit::write(&mut tx, by, owner, "integration.update", &seen.id.to_string(), change).await?;
        tx.commit().await?;
        Ok(Ok(new))
    }

    /// Deletes an integration with its members, counters, log and waiting deliveries. Gives it as it was.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn delete_integration(&self, owner: Owner, id: IntegrationId, by: By) -> Written<Integration> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let Some(old) = load(&mut tx, &self.vault, Which::One(owner, id)).await?.pop() else {
            return Ok(Err(NotWritten::Gone));
        };
        delete(&mut tx, id).await?;
        let change = [Some(audit::shown(&old)), None];
        audit::write(&mut tx, by, owner, "integration.delete", &id.to_string(), change).await?;
        tx.commit().await?;
        Ok(Ok(old))
    }
}

/// Reads integrations with their members.
pub(crate) async fn load(
    tx: &mut SqliteConnection,
    vault: &Vault,
    which: Which<'_>,
) -> Result<Vec<Integration>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT integration_id, id, product_id FROM members
         WHERE integration_id IN (SELECT id FROM integrations WHERE ",
    );
    which.push(&mut sql);
    sql.push(") ORDER BY integration_id, position, id");
    let mut members: HashMap<String, Vec<Member>> = HashMap::new();
    for row in sql.build().fetch_all(&mut *tx).await? {
        let member = Member { id: parsed(row.get(1), "member id")?, product: ProductId(row.get(2)) };
        members.entry(row.get(0)).or_default().push(member);
    }
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT id, owner, config, sealed, created_at, updated_at FROM integrations
         WHERE id IN (SELECT id FROM integrations WHERE ",
    );
    which.push(&mut sql);
    sql.push(match which {
        Which::After(..) => ") ORDER BY id",
        _ => ") ORDER BY created_at, id",
    });
    let rows = sql.build().fetch_all(&mut *tx).await?;
    rows.iter()
        .map(|row| read(vault, row, members.remove(row.get::<&str, _>(0)).unwrap_or_default()))
        .collect()
}

fn read(vault: &Vault, row: &SqliteRow, members: Vec<Member>) -> Result<Integration, StoreError> {
    let id = parsed(row.get(0), "integration id")?;
    Ok(Integration {
        id,
        owner: parsed(row.get(1), "owner")?,
        config: stored::decode(vault, id, &Columns { config: row.get(2), sealed: row.get(3) })?,
        members,
        created_at: Timestamp(row.get(4)),
        updated_at: Timestamp(row.get(5)),
    })
}

/// The integration if nobody changed its configuration since it was seen.
pub(crate) async fn unchanged(
    tx: &mut SqliteConnection,
    vault: &Vault,
    owner: Owner,
    seen: Seen,
) -> Written<Integration> {
    Ok(match load(tx, vault, Which::One(owner, seen.id)).await?.pop() {
        None => Err(NotWritten::Gone),
        Some(now) if now.updated_at != seen.updated_at => Err(NotWritten::Changed),
        Some(now) => Ok(now),
    })
}

/// Inserts the row of an integration, without its members.
pub(crate) async fn insert(tx: &mut SqliteConnection, vault: &Vault, new: &Integration) -> Written<()> {
    let count: i64 = sqlx::query("SELECT COUNT(*) FROM integrations WHERE owner = $1")
        .bind(new.owner.to_string())
        .fetch_one(&mut *tx)
        .await?
        .get(0);
    if usize::try_from(count).is_ok_and(|count| count >= limits::INTEGRATIONS_PER_OWNER) {
        return Ok(Err(NotWritten::TooMany));
    }
    let columns = stored::encode(vault, new.id, &new.config)?;
    sqlx::query(
        "INSERT INTO integrations
             (id, owner, integration_type, event, disabled, sandbox, config, sealed, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(new.id.to_string())
    .bind(new.owner.to_string())
    .bind(new.text("integration_type"))
    .bind(new.text("event"))
    .bind(is_disabled(&new.config))
    .bind(new.members.is_empty())
    .bind(columns.config)
    .bind(columns.sealed)
    .bind(new.created_at.0)
    .bind(new.updated_at.0)
    .execute(&mut *tx)
    .await?;
    Ok(Ok(()))
}

async fn update(
    tx: &mut SqliteConnection,
    vault: &Vault,
    id: IntegrationId,
    config: &Config,
    updated_at: Timestamp,
) -> Result<(), StoreError> {
    let columns = stored::encode(vault, id, config)?;
    let text = |field: &str| config.get(field).and_then(|value| value.as_str()).unwrap_or_default();
    sqlx::query(
        "UPDATE integrations SET integration_type = $2, event = $3, disabled = $4, config = $5, sealed = $6,
             updated_at = $7 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(text("integration_type"))
    .bind(text("event"))
    .bind(is_disabled(config))
    .bind(columns.config)
    .bind(columns.sealed)
    .bind(updated_at.0)
    .execute(tx)
    .await?;
    Ok(())
}

fn is_disabled(config: &Config) -> bool {
    config.get("disabled").and_then(|value| value.as_bool()).unwrap_or_default()
}

/// Deletes an integration with all that is only its own. What former members did as it stays in their history.
pub(crate) async fn delete(tx: &mut SqliteConnection, id: IntegrationId) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM members WHERE integration_id = $1",
        "DELETE FROM pending WHERE integration_id = $1",
        "DELETE FROM counters WHERE integration_id = $1
             AND NOT EXISTS (SELECT 1 FROM members WHERE members.id = counters.member_id)",
        "DELETE FROM logs WHERE integration_id = $1
             AND NOT EXISTS (SELECT 1 FROM members WHERE members.id = logs.member_id)",
        "DELETE FROM integrations WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.to_string()).execute(&mut *tx).await?;
    }
    Ok(())
}
