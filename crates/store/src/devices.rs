//! Devices: who claimed them and which product they are in.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{DeviceId, ProductId, Timestamp, UserId, account::Device};

use crate::{
    Store, StoreError,
    read::{parsed, parsed_option},
};

/// A device as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// The device.
    pub device: Device,
    /// The user name of who claimed it.
    pub owner: Option<String>,
    /// The platform of its product.
    pub platform_id: Option<i64>,
}

/// Which devices of a product a list is about.
#[derive(Clone, Debug, Default)]
pub struct DeviceFilter {
    /// Part of the id.
    pub id: Option<String>,
    /// Part of the name, case of ASCII letters does not count.
    pub name: Option<String>,
}

/// What became of devices that were to be added to a product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// They are now in the product.
    pub updated: Vec<DeviceId>,
    /// They were before.
    pub existing: Vec<DeviceId>,
    /// They belong to another product and stay there.
    pub elsewhere: Vec<DeviceId>,
}

/// What became of a device that was to be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is the caller's now, or was before.
    Yes,
    /// It is somebody else's.
    Taken,
}

impl Store {
    /// A device of a product.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn device_of_product(
        &self,
        product: ProductId,
        id: DeviceId,
    ) -> Result<Option<DeviceRow>, StoreError> {
        let row = sqlx::query(
            "SELECT devices.id, devices.name, notes, devices.user_id, product_id, devices.created_at,
                    users.username, products.platform_id
             FROM devices LEFT JOIN users ON users.id = devices.user_id
                          LEFT JOIN products ON products.id = devices.product_id
             WHERE devices.product_id = $1 AND devices.id = $2",
        )
        .bind(product.0)
        .bind(id.to_string())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| read_device(&row)).transpose()
    }

    /// The first device of a product that has this name.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn device_of_product_named(
        &self,
        product: ProductId,
        name: &str,
    ) -> Result<Option<DeviceRow>, StoreError> {
        let row = sqlx::query(
            "SELECT devices.id, devices.name, notes, devices.user_id, product_id, devices.created_at,
                    users.username, products.platform_id
             FROM devices LEFT JOIN users ON users.id = devices.user_id
                          LEFT JOIN products ON products.id = devices.product_id
             WHERE devices.product_id = $1 AND devices.name = $2 ORDER BY devices.id LIMIT 1",
        )
        .bind(product.0)
        .bind(name)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| read_device(&row)).transpose()
    }

    /// A page of a product's devices in the order of their ids, and how many there are on all pages. Pages count from 1.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn devices_of_product(
        &self,
        product: ProductId,
        filter: &DeviceFilter,
        page: i64,
        per_page: i64,
    ) -> Result<(Vec<DeviceRow>, i64), StoreError> {
        let (id, name) = (like(filter.id.as_deref()), like(filter.name.as_deref()));
        let total: i64 = sqlx::query(
            "SELECT COUNT(*) FROM devices WHERE product_id = $1
             AND id LIKE $2 ESCAPE '\\' AND ($3 = '%' OR name LIKE $3 ESCAPE '\\')",
        )
        .bind(product.0)
        .bind(&id)
        .bind(&name)
        .fetch_one(&self.pool)
        .await?
        .get(0);
        let rows = sqlx::query(
            "SELECT devices.id, devices.name, notes, devices.user_id, product_id, devices.created_at,
                    users.username, products.platform_id
             FROM devices LEFT JOIN users ON users.id = devices.user_id
                          LEFT JOIN products ON products.id = devices.product_id
             WHERE devices.product_id = $1 AND devices.id LIKE $2 ESCAPE '\\'
                   AND ($3 = '%' OR devices.name LIKE $3 ESCAPE '\\')
             ORDER BY devices.id LIMIT $4 OFFSET $5",
        )
        .bind(product.0)
        .bind(&id)
        .bind(&name)
        .bind(per_page)
        .bind(page.saturating_sub(1).saturating_mul(per_page))
        .fetch_all(&self.pool)
        .await?;
        Ok((rows.iter().map(read_device).collect::<Result<_, _>>()?, total))
    }

    /// The devices that a user has claimed, at most `limit` of them, in the order of their ids.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn devices_of_user(&self, user: UserId, limit: i64) -> Result<Vec<DeviceRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT devices.id, devices.name, notes, devices.user_id, product_id, devices.created_at,
                    users.username, products.platform_id
             FROM devices LEFT JOIN users ON users.id = devices.user_id
                          LEFT JOIN products ON products.id = devices.product_id
             WHERE devices.user_id = $1 ORDER BY devices.id LIMIT $2",
        )
        .bind(user.to_string())
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_device).collect()
    }

    /// A device that a user has claimed, by its id or else its name.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn device_of_user(&self, user: UserId, key: &str) -> Result<Option<DeviceRow>, StoreError> {
        let row = sqlx::query(
            "SELECT devices.id, devices.name, notes, devices.user_id, product_id, devices.created_at,
                    users.username, products.platform_id
             FROM devices LEFT JOIN users ON users.id = devices.user_id
                          LEFT JOIN products ON products.id = devices.product_id
             WHERE devices.user_id = $1 AND (devices.id = $2 OR devices.name = $3)
             ORDER BY devices.id = $2 DESC, devices.id LIMIT 1",
        )
        .bind(user.to_string())
        .bind(key.to_ascii_lowercase())
        .bind(key)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| read_device(&row)).transpose()
    }

    /// Puts devices into a product; those not known yet are created. One that belongs to another product stays there.
    ///
    /// # Errors
    /// When it could not be committed; no device was changed.
    pub async fn add_devices(
        &self,
        product: ProductId,
        ids: &[DeviceId],
        now: Timestamp,
    ) -> Result<Added, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut added = Added::default();
        for id in ids {
            let changed = sqlx::query(
                "INSERT INTO devices (id, product_id, created_at) VALUES ($1, $2, $3)
                 ON CONFLICT (id) DO UPDATE SET product_id = excluded.product_id WHERE devices.product_id IS NULL",
            )
            .bind(id.to_string())
            .bind(product.0)
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
            if changed.rows_affected() > 0 {
                added.updated.push(*id);
            } else if in_product(&mut tx, product, *id).await? {
                added.existing.push(*id);
            } else {
                added.elsewhere.push(*id);
            }
        }
        tx.commit().await?;
        Ok(added)
    }

    /// Takes a device out of a product. Says whether it was in it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn remove_device(&self, product: ProductId, id: DeviceId) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE devices SET product_id = NULL WHERE product_id = $1 AND id = $2")
            .bind(product.0)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes a device of a product away from whoever claimed it. Says whether it is in the product.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn remove_device_owner(&self, product: ProductId, id: DeviceId) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE devices SET user_id = NULL WHERE product_id = $1 AND id = $2")
            .bind(product.0)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Sets name and notes of a device that the caller has found under its owner or product before.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn update_device(&self, device: &Device) -> Result<(), StoreError> {
        sqlx::query("UPDATE devices SET name = $2, notes = $3 WHERE id = $1")
            .bind(device.id.to_string())
            .bind(&device.name)
            .bind(&device.notes)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Claims a device for a user; one that is not known yet is created.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn claim_device(
        &self,
        user: UserId,
        id: DeviceId,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let done = sqlx::query(
            "INSERT INTO devices (id, user_id, created_at) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id
             WHERE devices.user_id IS NULL OR devices.user_id = excluded.user_id",
        )
        .bind(id.to_string())
        .bind(user.to_string())
        .bind(now.0)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(if done.rows_affected() > 0 { Claimed::Yes } else { Claimed::Taken })
    }

    /// Gives a claimed device up. Says whether the user had it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unclaim_device(&self, user: UserId, id: DeviceId) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE devices SET user_id = NULL WHERE user_id = $1 AND id = $2")
            .bind(user.to_string())
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

async fn in_product(tx: &mut SqliteConnection, product: ProductId, id: DeviceId) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM devices WHERE id = $1 AND product_id = $2")
        .bind(id.to_string())
        .bind(product.0)
        .fetch_optional(tx)
        .await?;
    Ok(row.is_some())
}

/// The pattern for `LIKE` that finds a text anywhere; `%` alone when there is none.
fn like(part: Option<&str>) -> String {
    match part {
        None | Some("") => "%".to_owned(),
        Some(part) => format!("%{}%", part.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")),
    }
}

fn read_device(row: &SqliteRow) -> Result<DeviceRow, StoreError> {
    let device = Device {
        id: parsed(row.get(0), "device id")?,
        name: row.get(1),
        notes: row.get(2),
        user: parsed_option(row.get(3), "user id")?,
        product: row.get::<Option<i64>, _>(4).map(ProductId),
        created_at: Timestamp(row.get(5)),
    };
    Ok(DeviceRow { device, owner: row.get(6), platform_id: row.get(7) })
}
