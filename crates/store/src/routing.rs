//! What the index of the data plane needs of integrations: all but their configurations.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use sqlx::{QueryBuilder, Row, Sqlite, sqlite::SqliteRow};
use tributary_domain::{IntegrationId, MemberId, Owner, ProductId, Timestamp, UserId, integration::Config};

use crate::{
    Store, StoreError, parameters,
    read::parsed,
    secrets,
    stored::{self, Columns},
};

/// An integration in one of its products, or in a sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteRow {
    /// The integration.
    pub integration: IntegrationId,
    /// Its owner.
    pub owner: Owner,
    /// The prefix of the names of events that it fires for.
    pub event: String,
    /// Fires only for this device.
    pub device: Option<String>,
    /// Whether it fires for nothing.
    pub disabled: bool,
    /// The fields of the configuration that say how it wants to be sent, if it has any of them.
    pub sending: Option<Config>,
    /// When its configuration last changed; later at each change.
    pub updated_at: Timestamp,
    /// The length of its configuration, in bytes.
    pub bytes: usize,
    /// The product; `None` in a sandbox.
    pub member: Option<RouteMember>,
}

/// A product on which an integration executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteMember {
    /// The member.
    pub id: MemberId,
    /// The product.
    pub product: ProductId,
    /// 0 when it overrides no parameter, else a number that changes with its overrides.
    pub overrides: u64,
}

const COLUMNS: &str = "i.id, i.owner, i.event, i.disabled, i.device, i.sending, i.updated_at, i.bytes, m.id, m.product_id, m.overrides";

impl Store {
    /// The routes of these products, whoever owns the integrations.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn route_rows_of_products(&self, products: &[ProductId]) -> Result<Vec<RouteRow>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(format!(
            "SELECT {COLUMNS} FROM members AS m CROSS JOIN integrations AS i INDEXED BY integrations_routed
             ON i.id = m.integration_id WHERE m.product_id IN (SELECT value FROM json_each("
        ));
        let ids: Vec<i64> = products.iter().map(|product| product.0).collect();
        sql.push_bind(serde_json::json!(ids).to_string()).push(")) ORDER BY i.id, m.position, m.id");
        sql.build().fetch_all(&self.pool).await?.iter().map(read).collect()
    }

    /// The routes of a person's sandbox.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn route_rows_of_sandbox(&self, user: UserId) -> Result<Vec<RouteRow>, StoreError> {
        let sql = "SELECT id, owner, event, disabled, device, sending, updated_at, bytes, NULL, NULL, NULL
             FROM integrations WHERE owner = $1 AND sandbox ORDER BY id";
        let rows = sqlx::query(sql).bind(Owner::User(user).to_string()).fetch_all(&self.pool).await?;
        rows.iter().map(read).collect()
    }

    /// The routes of the next `limit` integrations of everybody after this one, in the order of their ids.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn all_route_rows(
        &self,
        after: Option<IntegrationId>,
        limit: usize,
    ) -> Result<Vec<RouteRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM (SELECT id, owner, event, disabled, device, sending, updated_at, bytes
                 FROM integrations INDEXED BY integrations_routed WHERE id > $1 ORDER BY id LIMIT $2) AS i
             LEFT JOIN members AS m ON m.integration_id = i.id ORDER BY i.id, m.position, m.id"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(after.map(|id| id.to_string()).unwrap_or_default())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Whether this store's key opens what is sealed in it: one value of each kind is tried.
    ///
    /// # Errors
    /// When one does not open, or the database does not answer.
    pub async fn check_key(&self) -> Result<(), StoreError> {
        let sql = "SELECT id, config, sealed FROM integrations WHERE sealed IS NOT NULL LIMIT 1";
        if let Some(row) = sqlx::query(sql).fetch_optional(&self.pool).await? {
            let columns = Columns { config: row.get(1), sealed: row.get(2) };
            stored::decode(&self.vault, parsed(row.get(0), "integration id")?, &columns)?;
        }
        let sql = "SELECT owner, name, sealed FROM secrets LIMIT 1";
        if let Some(row) = sqlx::query(sql).fetch_optional(&self.pool).await? {
            secrets::open(&self.vault, parsed(row.get(0), "owner")?, row.get(1), row.get(2))?;
        }
        let sql = "SELECT id, overrides FROM members WHERE overrides IS NOT NULL LIMIT 1";
        if let Some(row) = sqlx::query(sql).fetch_optional(&self.pool).await? {
            parameters::open(&self.vault, parsed(row.get(0), "member id")?, row.get(1))?;
        }
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<RouteRow, StoreError> {
    let member = match row.get::<Option<&str>, _>(8) {
        None => None,
        Some(id) => {
            let sealed: Option<&[u8]> = row.get(10);
            Some(RouteMember {
                id: parsed(id, "member id")?,
                product: ProductId(row.get(9)),
                overrides: sealed.map_or(0, fingerprint),
            })
        }
    };
    let sending: Option<&str> = row.get(5);
    Ok(RouteRow {
        integration: parsed(row.get(0), "integration id")?,
        owner: parsed(row.get(1), "owner")?,
        event: row.get(2),
        device: row.get::<Option<String>, _>(4).filter(|device| !device.is_empty()),
        disabled: row.get(3),
        sending: sending.and_then(|sending| serde_json::from_str(sending).ok()),
        updated_at: Timestamp(row.get(6)),
        bytes: usize::try_from(row.get::<i64, _>(7)).unwrap_or(0),
        member,
    })
}

/// Of a sealed value: it is sealed anew, and so looks different, whenever it is written.
fn fingerprint(sealed: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    sealed.hash(&mut hasher);
    hasher.finish().max(1)
}
