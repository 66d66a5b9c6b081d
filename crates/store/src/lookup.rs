//! Reading integrations with their members, in three statements however many they are.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId, Timestamp, UserId,
    integration::{Integration, Member},
    parameters::Overrides,
};

use crate::{
    Store, StoreError, Vault, parameters,
    read::parsed,
    stored::{self, Columns},
};

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
    /// Of an owner, those with these ids.
    These(Owner, &'a [IntegrationId]),
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
            Which::These(owner, ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                sql.push("id IN (SELECT value FROM json_each(");
                sql.push_bind(serde_json::json!(ids).to_string()).push(")) AND ");
                of(sql, owner);
            }
        }
    }
}

impl Store {
    /// Integrations with their members, oldest first, in three statements.
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
}

/// Reads integrations with their members.
pub(crate) async fn load(
    tx: &mut SqliteConnection,
    vault: &Vault,
    which: Which<'_>,
) -> Result<Vec<Integration>, StoreError> {
    let mut members = load_members(tx, which).await?;
    let mut overrides = load_overrides(tx, vault, which).await?;
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT id, owner, config, sealed, created_at, updated_at FROM integrations
         WHERE id IN (SELECT id FROM integrations WHERE ",
    );
    which.push(&mut sql);
    sql.push(") ORDER BY created_at, id");
    let rows = sql.build().fetch_all(&mut *tx).await?;
    rows.iter()
        .map(|row| {
            let id: &str = row.get(0);
            let members = members.remove(id).unwrap_or_default();
            read(vault, row, members, overrides.remove(id).unwrap_or_default())
        })
        .collect()
}

/// The members of integrations by the integration's id. They come as one text for each integration: a row for each
/// member takes several times as long to hand over as to find.
async fn load_members(
    tx: &mut SqliteConnection,
    which: Which<'_>,
) -> Result<HashMap<String, Vec<Member>>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT integration_id, group_concat(id || ' ' || product_id, ',' ORDER BY position, id) FROM members
         WHERE integration_id IN (SELECT id FROM integrations WHERE ",
    );
    which.push(&mut sql);
    sql.push(") GROUP BY integration_id");
    let rows = sql.build().fetch_all(tx).await?;
    rows.iter().map(|row| Ok((row.get(0), read_members(row.get(1))?))).collect()
}

fn read_members(listed: &str) -> Result<Vec<Member>, StoreError> {
    let member = |pair: &str| {
        let (id, product) = pair.split_once(' ').unwrap_or((pair, ""));
        Ok(Member { id: parsed(id, "member id")?, product: ProductId(parsed(product, "product id")?) })
    };
    listed.split(',').map(member).collect()
}

/// The overrides of the members of integrations. Few have any, so they are not read with the members, which come from an
/// index alone.
async fn load_overrides(
    tx: &mut SqliteConnection,
    vault: &Vault,
    which: Which<'_>,
) -> Result<HashMap<String, Overrides>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT integration_id, id, overrides FROM members
         WHERE overrides IS NOT NULL AND integration_id IN (SELECT id FROM integrations WHERE ",
    );
    which.push(&mut sql);
    sql.push(")");
    let mut overrides: HashMap<String, Overrides> = HashMap::new();
    for row in sql.build().fetch_all(tx).await? {
        let member = parsed(row.get(1), "member id")?;
        let opened = parameters::open(vault, member, row.get(2))?;
        overrides.entry(row.get(0)).or_default().insert(member, opened);
    }
    Ok(overrides)
}

fn read(
    vault: &Vault,
    row: &SqliteRow,
    members: Vec<Member>,
    overrides: Overrides,
) -> Result<Integration, StoreError> {
    let id = parsed(row.get(0), "integration id")?;
    Ok(Integration {
        id,
        owner: parsed(row.get(1), "owner")?,
        config: stored::decode(vault, id, &Columns { config: row.get(2), sealed: row.get(3) })?,
        members,
        overrides,
        created_at: Timestamp(row.get(4)),
        updated_at: Timestamp(row.get(5)),
    })
}
