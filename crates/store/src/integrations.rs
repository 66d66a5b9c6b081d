//! Creating, changing and deleting integrations with their members.

use sqlx::{Row, SqliteConnection};
use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId, Timestamp,
    changes::identical,
    integration::{Config, Integration, Member},
    limits,
};

pub use crate::lookup::Which;
use crate::{
    Store, StoreError, Vault,
    audit::{self, By},
    lookup::load,
    members, parameters, stored,
    versions::{self, Made},
};

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

/// A replacement of a configuration.
pub(crate) struct Rewrite<'a> {
    /// Whose integration it is.
    pub(crate) owner: Owner,
    /// As it was judged.
    pub(crate) seen: Seen,
    /// The new configuration.
    pub(crate) config: &'a Config,
    /// The new list of products; `None` when it stays.
    pub(crate) members: Option<&'a [Member]>,
    /// The member that must be the only one.
    pub(crate) only: Option<MemberId>,
    /// Who does it.
    pub(crate) by: By,
    /// Why.
    pub(crate) how: Made,
}

impl Store {
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
        versions::write(&mut tx, &self.vault, by, &Made::Created, None, new).await?;
        let after = [None, Some(audit::shown(new))];
        audit::write(&mut tx, by, new.owner, "integration.create", &new.id.to_string(), after).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Replaces the configuration of an integration and, where `members` are given, its list of products: a product that
    /// is a member already keeps its member id, the others get the given ones. With `only`, it must be the only member.
    /// Overrides of parameters that it no longer declares are dropped. Gives the integration as it is then.
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
        self.rewrite(Rewrite { owner, seen, config, members, only, by, how: Made::Updated }).await
    }

    /// Replaces the configuration of an integration, for whatever reason.
    pub(crate) async fn rewrite(&self, change: Rewrite<'_>) -> Written<Integration> {
        let Rewrite { owner, seen, config, members, only, by, how } = change;
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
        update(&mut tx, &self.vault, seen.id, config, after(&old, by)).await?;
        parameters::drop_undeclared(&mut tx, &self.vault, &old, config).await?;
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
        // A version is one of the configuration: another list of products alone makes none.
        if how != Made::Updated || !identical(&old.config, &new.config) {
            versions::write(&mut tx, &self.vault, by, &how, Some(&old), &new).await?;
        }
        let action = if how == Made::Updated { "integration.update" } else { "integration.restore" };
        let change = [Some(audit::shown(&old)), Some(audit::shown(&new))];
        audit::write(&mut tx, by, owner, action, &seen.id.to_string(), change).await?;
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

/// When a change of this integration is made: later than its last one, however clocks run.
pub(crate) fn after(old: &Integration, by: By) -> Timestamp {
    Timestamp(by.at.0.max(old.updated_at.0.saturating_add(1)))
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
        "DELETE FROM kept WHERE integration_id = $1",
        "DELETE FROM redeliveries WHERE integration_id = $1",
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
