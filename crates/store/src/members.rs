//! The products on which an integration executes: adding and removing them.

use sqlx::{Row, SqliteConnection};
use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId, Timestamp,
    integration::{Integration, Member},
    limits,
};

use crate::{
    Store, StoreError,
    audit::{self, By},
    integrations::{NotWritten, Which, Written, delete},
    lookup::load,
};

/// A member, named from one of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKey {
    /// By its own id, wherever it is now: the product's side.
    Id(MemberId),
    /// By integration and product: the organization's side.
    Of(IntegrationId, ProductId),
}

impl Store {
    /// Adds a product to an integration. Adding one that is a member already changes nothing. Gives the integration as it
    /// is then.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn add_member(
        &self,
        owner: Owner,
        id: IntegrationId,
        new: Member,
        by: By,
    ) -> Written<Integration> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let Some(old) = load(&mut tx, &self.vault, Which::One(owner, id)).await?.pop() else {
            return Ok(Err(NotWritten::Gone));
        };
        if old.members.iter().any(|member| member.product == new.product) {
            return Ok(Ok(old));
        }
        let position = next_position(&mut tx, id).await?;
        if let Err(why) = insert(&mut tx, &old, new, position).await? {
            return Ok(Err(why));
        }
        let mut now = old.clone();
        now.members.push(new);
        if now.members.len() > limits::MEMBERS {
            return Ok(Err(NotWritten::TooManyProducts));
        }
        let change = [Some(audit::shown(&old)), Some(audit::shown(&now))];
        audit::write(&mut tx, by, owner, "integration.add_product", &id.to_string(), change).await?;
        tx.commit().await?;
        Ok(Ok(now))
    }

    /// Takes a product out of its integration: its waiting deliveries end as skipped. The integration is deleted when it
    /// was the last one. Gives the integration as it was.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn remove_member(&self, owner: Owner, key: MemberKey, by: By) -> Written<Integration> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let which = match key {
            MemberKey::Id(member) => Which::WithMember(owner, member),
            MemberKey::Of(integration, _) => Which::One(owner, integration),
        };
        let Some(old) = load(&mut tx, &self.vault, which).await?.pop() else {
            return Ok(Err(NotWritten::Gone));
        };
        let meant = |member: &&Member| match key {
            MemberKey::Id(id) => member.id == id,
            MemberKey::Of(_, product) => member.product == product,
        };
        let Some(member) = old.members.iter().find(meant).copied() else {
            return Ok(Err(NotWritten::Gone));
        };
        let mut now = old.clone();
        now.members.retain(|other| other.id != member.id);
        let action = if now.members.is_empty() {
            delete(&mut tx, old.id).await?;
            "integration.delete"
        } else {
            remove(&mut tx, old.id, member.id, by.at).await?;
            "integration.remove_product"
        };
        let after = if now.members.is_empty() { None } else { Some(audit::shown(&now)) };
        let change = [Some(audit::shown(&old)), after];
        audit::write(&mut tx, by, owner, action, &old.id.to_string(), change).await?;
        tx.commit().await?;
        Ok(Ok(old))
    }
}

/// Inserts a member, if the product belongs to the integration's owner.
pub(crate) async fn insert(
    tx: &mut SqliteConnection,
    integration: &Integration,
    member: Member,
    position: usize,
) -> Written<()> {
    let done = sqlx::query(
        "INSERT INTO members (id, integration_id, product_id, position)
         SELECT $1, $2, id, $4 FROM products WHERE id = $3 AND owner = $5",
    )
    .bind(member.id.to_string())
    .bind(integration.id.to_string())
    .bind(member.product.0)
    .bind(i64::try_from(position).unwrap_or(i64::MAX))
    .bind(integration.owner.to_string())
    .execute(tx)
    .await?;
    Ok(if done.rows_affected() == 1 { Ok(()) } else { Err(NotWritten::NoProduct(member.product)) })
}

/// Makes the list of products this one.
pub(crate) async fn replace(
    tx: &mut SqliteConnection,
    old: &Integration,
    wanted: &[Member],
    at: Timestamp,
) -> Written<()> {
    let is_in = |list: &[Member], product: ProductId| list.iter().any(|member| member.product == product);
    for member in &old.members {
        if !is_in(wanted, member.product) {
            remove(tx, old.id, member.id, at).await?;
        }
    }
    let first = next_position(tx, old.id).await?;
    let new = wanted.iter().filter(|member| !is_in(&old.members, member.product));
    for (position, member) in (first..).zip(new) {
        if let Err(why) = insert(tx, old, *member, position).await? {
            return Ok(Err(why));
        }
    }
    Ok(Ok(()))
}

/// The position after the last member.
pub(crate) async fn next_position(tx: &mut SqliteConnection, id: IntegrationId) -> Result<usize, StoreError> {
    let row = sqlx::query("SELECT COALESCE(MAX(position) + 1, 0) FROM members WHERE integration_id = $1")
        .bind(id.to_string())
        .fetch_one(tx)
        .await?;
    Ok(usize::try_from(row.get::<i64, _>(0)).unwrap_or(0))
}

async fn remove(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    member: MemberId,
    at: Timestamp,
) -> Result<(), StoreError> {
    end_waiting(tx, integration, Some(member), at).await?;
    for sql in ["DELETE FROM kept WHERE member_id = $1", "DELETE FROM members WHERE id = $1"] {
        sqlx::query(sql).bind(member.to_string()).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Ends the waiting deliveries of an integration, or of one of its members, as skipped: each is counted and kept, now,
/// and no longer waits. Those that are redeliveries are counted as such and stay kept.
/// The data plane counts an ended delivery only while its row is there, so none is counted twice.
pub(crate) async fn end_waiting(
    tx: &mut SqliteConnection,
    integration: IntegrationId,
    member: Option<MemberId>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let member = member.map(|member| member.to_string());
    sqlx::query(
        "INSERT INTO counters (integration_id, member_id, product_id, day, success, error, skipped, redelivered_skipped)
         SELECT integration_id, member_id, product_id, $3, 0, 0, SUM(kept_id IS NULL), SUM(kept_id IS NOT NULL)
         FROM pending
         WHERE integration_id = $1 AND ($2 IS NULL OR member_id = $2) GROUP BY integration_id, member_id, product_id
         ON CONFLICT (integration_id, member_id, day) DO UPDATE SET skipped = skipped + excluded.skipped,
             redelivered_skipped = redelivered_skipped + excluded.redelivered_skipped",
    )
    .bind(integration.to_string())
    .bind(&member)
    .bind(at.day())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO product_hours (product_id, hour, success, error, skipped)
         SELECT product_id, $3, 0, 0, COUNT(*) FROM pending
         WHERE integration_id = $1 AND ($2 IS NULL OR member_id = $2) AND product_id <> 0 AND kept_id IS NULL
         GROUP BY product_id
         ON CONFLICT (product_id, hour) DO UPDATE SET skipped = skipped + excluded.skipped",
    )
    .bind(integration.to_string())
    .bind(&member)
    .bind(at.hour())
    .execute(&mut *tx)
    .await?;
    for sql in [
        "INSERT INTO kept (integration_id, member_id, product_id, outcome, at, bytes, event)
         SELECT integration_id, member_id, product_id, 'skipped', $3, LENGTH(event), event FROM pending
         WHERE integration_id = $1 AND ($2 IS NULL OR member_id = $2) AND kept_id IS NULL",
        "UPDATE redeliveries SET skipped = skipped + (SELECT COUNT(*) FROM pending
             WHERE integration_id = $1 AND ($2 IS NULL OR member_id = $2) AND redelivery_id = redeliveries.id)
         WHERE id IN (SELECT redelivery_id FROM pending
             WHERE integration_id = $1 AND ($2 IS NULL OR member_id = $2) AND redelivery_id IS NOT NULL)",
        "UPDATE kept SET redelivery_id = NULL WHERE id IN (SELECT kept_id FROM pending
             WHERE integration_id = $1 AND ($2 IS NULL OR member_id = $2) AND kept_id IS NOT NULL)",
        "DELETE FROM pending WHERE integration_id = $1 AND ($2 IS NULL OR member_id = $2)",
    ] {
        sqlx::query(sql).bind(integration.to_string()).bind(&member).bind(at.0).execute(&mut *tx).await?;
    }
    Ok(())
}
