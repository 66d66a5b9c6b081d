//! Devices: who claimed them and which product they are in.

use sqlx::{Row, sqlite::SqliteRow};
use tributary_domain::{DeviceId, ProductId, Timestamp, UserId, account::Device};

use crate::{
    Store, StoreError,
    read::{parsed, parsed_option},
};

/// Whether whoever claimed a device may see what is known of it: it is in no product, or they are on the product's team.
macro_rules! claimer_sees {
    () => {
        "(devices.user_id IS NOT NULL AND (products.id IS NULL OR products.owner = 'u:' || devices.user_id
          OR EXISTS (SELECT 1 FROM team WHERE team.user_id = devices.user_id
                     AND team.scope IN (products.owner, 'p:' || products.id))))"
    };
}
pub(crate) use claimer_sees;

/// Devices with what lists show of them; `$tail` says which.
macro_rules! select_devices {
    ($tail:expr) => {
        concat!(
            "SELECT devices.id, devices.name, notes, devices.user_id, product_id, devices.created_at,
                    users.username, products.platform_id, ",
            claimer_sees!(),
            " FROM devices LEFT JOIN users ON users.id = devices.user_id
                           LEFT JOIN products ON products.id = devices.product_id ",
            $tail
        )
    };
}

/// A device as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// The device.
    pub device: Device,
    /// The user name of who claimed it.
    pub owner: Option<String>,
    /// The platform of its product.
    pub platform_id: Option<i64>,
    /// Whether who claimed it may see it: it is in no product, or that person is on the product's team.
    pub claimer_sees: bool,
}

/// Which devices of a product a list is about.
#[derive(Clone, Debug, Default)]
pub struct DeviceFilter {
    /// Part of the id.
    pub id: Option<String>,
    /// Part of the name, case of ASCII letters does not count.
    pub name: Option<String>,
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
        let row = sqlx::query(select_devices!("WHERE devices.product_id = $1 AND devices.id = $2"))
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
        let row = sqlx::query(select_devices!(
            "WHERE devices.product_id = $1 AND devices.name = $2 ORDER BY devices.id LIMIT 1"
        ))
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
        let rows = sqlx::query(select_devices!(
            "WHERE devices.product_id = $1 AND devices.id LIKE $2 ESCAPE '\\'
                   AND ($3 = '%' OR devices.name LIKE $3 ESCAPE '\\')
             ORDER BY devices.id LIMIT $4 OFFSET $5"
        ))
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
        let rows = sqlx::query(select_devices!("WHERE devices.user_id = $1 ORDER BY devices.id LIMIT $2"))
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
        let row = sqlx::query(select_devices!(concat!(
            "WHERE devices.user_id = $1 AND (devices.id = $2 OR (devices.name = $3 AND ",
            claimer_sees!(),
            "))
             ORDER BY devices.id = $2 DESC, devices.id LIMIT 1"
        )))
        .bind(user.to_string())
        .bind(key.to_ascii_lowercase())
        .bind(key)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| read_device(&row)).transpose()
    }

    /// Sets name and notes of a device as long as it is where it was read: in the same product, with the same claimer. Says
    /// whether it was.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn update_device(&self, device: &Device) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE devices SET name = $2, notes = $3 WHERE id = $1 AND product_id IS $4 AND user_id IS $5",
        )
        .bind(device.id.to_string())
        .bind(&device.name)
        .bind(&device.notes)
        .bind(device.product.map(|product| product.0))
        .bind(device.user.map(|user| user.to_string()))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }
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
    Ok(DeviceRow { device, owner: row.get(6), platform_id: row.get(7), claimer_sees: row.get(8) })
}
