//! Devices that enter and leave products.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Row, SqliteConnection};
use tributary_domain::{DeviceId, Owner, ProductId, Timestamp};

use crate::{
    Store, StoreError,
    audit::{self, By},
    device_claims::{Claim, audit_claim},
    devices::claimer_sees,
    read::parsed_option,
};

/// Devices that one transaction adds. There is one writer: whoever else waits for it waits for so many.
const IN_ONE_TRANSACTION: usize = 500;
/// The pause between two of them, at least and at most; in between it is as long as the transaction was. SQLite asks
/// again rather than queues, so one who came straight back would hardly ever meet another.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// What became of devices that were to be added to a product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// They are now in the product.
    pub updated: Vec<DeviceId>,
    /// They were before.
    pub existing: Vec<DeviceId>,
    /// They are in another product, or somebody claimed them who is not on the team and has not agreed; they stay there.
    pub elsewhere: Vec<DeviceId>,
}

/// The end of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Import {
    /// All were looked at.
    Done(Added),
    /// The owner would have more devices than it may. So many of these were added before: none, unless others were added
    /// at the same time.
    TooMany {
        /// Devices of this import that are in the product now.
        added: usize,
    },
    /// The product is gone.
    Gone,
}

/// Whether a device that is in no product may enter that of `$owner`: nobody claimed it, or its claimer is on the team or has agreed.
macro_rules! may_enter {
    ($product:literal, $owner:literal) => {
        concat!(
            "(devices.product_id IS NULL AND (devices.user_id IS NULL OR devices.agreed_product = ",
            $product,
            " OR 'u:' || devices.user_id = ",
            $owner,
            " OR EXISTS (SELECT 1 FROM team WHERE team.user_id = devices.user_id AND team.scope IN (",
            $owner,
            ", 'p:' || ",
            $product,
            "))))"
        )
    };
}

impl Store {
    /// Puts devices into a product, as long as its owner then has at most `most`; those not known yet are created. Written
    /// in parts, so that others can write in between, and by one import at a time.
    ///
    /// # Errors
    /// When it could not be committed; parts before it may be.
    pub async fn add_devices(
        &self,
        product: ProductId,
        ids: &[DeviceId],
        most: i64,
        by: By,
    ) -> Result<Import, StoreError> {
        if !self.has_room(product, ids, most).await? {
            return Ok(Import::TooMany { added: 0 });
        }
        let mut added = Added::default();
        for part in ids.chunks(IN_ONE_TRANSACTION) {
            let turn = self.imports.lock().await;
            let begun = Instant::now();
            match self.add_part(product, part, most, by).await? {
                Import::Done(part) => {
                    added.updated.extend(part.updated);
                    added.existing.extend(part.existing);
                    added.elsewhere.extend(part.elsewhere);
                }
                Import::TooMany { .. } => return Ok(Import::TooMany { added: added.updated.len() }),
                Import::Gone => return Ok(Import::Gone),
            }
            if ids.len() > IN_ONE_TRANSACTION {
                tokio::time::sleep(begun.elapsed().clamp(PAUSE.0, PAUSE.1)).await;
            }
            drop(turn);
        }
        Ok(Import::Done(added))
    }

    /// Whether the owner has room for those of the devices that it does not have yet.
    async fn has_room(&self, product: ProductId, ids: &[DeviceId], most: i64) -> Result<bool, StoreError> {
        let fits: Option<bool> = sqlx::query(concat!(
            "SELECT (SELECT COUNT(*) FROM json_each($2) LEFT JOIN devices ON devices.id = value
                     WHERE devices.id IS NULL OR (",
            may_enter!("$1", "products.owner"),
            "        AND 'u:' || devices.user_id IS NOT products.owner))
                  + COALESCE((SELECT devices FROM device_counts WHERE device_counts.owner = products.owner), 0) <= $3
             FROM products WHERE id = $1",
        ))
        .bind(product.0)
        .bind(json!(ids).to_string())
        .bind(most)
        .fetch_optional(&self.pool)
        .await?
        .map(|row| row.get(0));
        // A product that is gone is told of later.
        Ok(fits.unwrap_or(true))
    }

    async fn add_part(
        &self,
        product: ProductId,
        ids: &[DeviceId],
        most: i64,
        by: By,
    ) -> Result<Import, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let Some(owner) = owner_of(&mut tx, product).await? else { return Ok(Import::Gone) };
        let mut added = Added::default();
        for id in ids {
            match add(&mut tx, product, owner, *id, by.at).await? {
                Some(claimer) => {
                    if let Some(user) = claimer {
                        let claim = Claim { device: *id, user, product: Some((product, owner)) };
                        audit_claim(&mut tx, by, "device.add", claim, [false, true]).await?;
                    }
                    added.updated.push(*id);
                }
                None if in_product(&mut tx, product, *id).await? => added.existing.push(*id),
                None => added.elsewhere.push(*id),
            }
        }
        if !added.updated.is_empty() && count_of(&mut tx, owner).await? > most {
            return Ok(Import::TooMany { added: 0 });
        }
        tx.commit().await?;
        Ok(Import::Done(added))
    }

    /// Takes a device out of a product. It stays with who claimed it: with name and notes if that person may see them,
    /// without them otherwise. One that nobody claimed is forgotten. Says whether it was in the product.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn remove_device(&self, product: ProductId, id: DeviceId, by: By) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let Some(owner) = owner_of(&mut tx, product).await? else { return Ok(false) };
        if !in_product(&mut tx, product, id).await? {
            return Ok(false);
        }
        leave(&mut tx, product, Some(id)).await?;
        let change = [Some(json!({"name": id, "product_id": product})), None];
        audit::write(&mut tx, by, owner, "device.remove", &id.to_string(), change).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Devices leave a product, this one or all.
pub(crate) async fn leave(
    tx: &mut SqliteConnection,
    product: ProductId,
    only: Option<DeviceId>,
) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM devices WHERE product_id = $1 AND ($2 IS NULL OR id = $2) AND user_id IS NULL",
        concat!(
            "UPDATE devices SET name = NULL, notes = NULL WHERE product_id = $1 AND ($2 IS NULL OR id = $2)
             AND NOT (SELECT ",
            claimer_sees!(),
            " FROM products WHERE products.id = $1)"
        ),
        "UPDATE devices SET product_id = NULL WHERE product_id = $1 AND ($2 IS NULL OR id = $2)",
    ] {
        sqlx::query(sql).bind(product.0).bind(only.map(|id| id.to_string())).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Adds one; `None` when it is in a product or may not enter this one, otherwise who has claimed it.
async fn add(
    tx: &mut SqliteConnection,
    product: ProductId,
    owner: Owner,
    id: DeviceId,
    now: Timestamp,
) -> Result<Option<Option<tributary_domain::UserId>>, StoreError> {
    let row = sqlx::query(concat!(
        "INSERT INTO devices (id, product_id, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (id) DO UPDATE SET product_id = excluded.product_id, agreed_product = NULL WHERE ",
        may_enter!("$2", "$4"),
        " RETURNING user_id"
    ))
    .bind(id.to_string())
    .bind(product.0)
    .bind(now.0)
    .bind(owner.to_string())
    .fetch_optional(tx)
    .await?;
    row.map(|row| parsed_option(row.get(0), "user id")).transpose()
}

async fn owner_of(tx: &mut SqliteConnection, product: ProductId) -> Result<Option<Owner>, StoreError> {
    let row =
        sqlx::query("SELECT owner FROM products WHERE id = $1").bind(product.0).fetch_optional(tx).await?;
    parsed_option(row.map(|row| row.get(0)), "owner")
}

async fn in_product(tx: &mut SqliteConnection, product: ProductId, id: DeviceId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM devices WHERE id = $1 AND product_id = $2")
        .bind(id.to_string())
        .bind(product.0)
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// How many devices an owner has.
pub(crate) async fn count_of(tx: &mut SqliteConnection, owner: Owner) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT devices FROM device_counts WHERE owner = $1")
        .bind(owner.to_string())
        .fetch_optional(tx)
        .await?;
    Ok(row.map_or(0, |row| row.get(0)))
}
