//! Pages of integrations: filtered, ordered and cut in SQL, in a constant number of statements.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{IntegrationId, Owner, ProductId, UserId, integration::Integration};

use crate::{
    Store, StoreError,
    history::Counts,
    lookup::{Which, load},
    read::parsed,
};

/// Whose integrations are listed.
#[derive(Clone, Copy, Debug)]
pub enum ListOf {
    /// A person's sandbox.
    Sandbox(UserId),
    /// A product of an owner; counts are its own.
    Product(Owner, ProductId),
    /// All of an owner; counts are summed over products.
    Owner(Owner),
}

/// What a list is ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderBy {
    /// The name, lower case.
    Name,
    /// The event prefix.
    Event,
    /// When it was created.
    CreatedAt,
    /// When it was last changed.
    UpdatedAt,
    /// The address or whatever else says where it sends to, lower case.
    Address,
    /// On how many products it executes.
    Products,
    /// Enabled ones before disabled ones.
    State,
    /// Today's successes.
    Success,
    /// Today's errors.
    Error,
    /// Today's skipped ones.
    Skipped,
}

/// The value that a row is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortKey {
    /// A name or event.
    Text(String),
    /// A time or count.
    Number(i64),
}

/// Which integrations a page shows, in which order.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Part of the name, event or address, or the whole id of the integration or of a membership; lower case.
    pub search: Option<String>,
    /// The whole event prefix.
    pub event: Option<String>,
    /// The kind.
    pub integration_type: Option<String>,
    /// A product on which it executes.
    pub product: Option<ProductId>,
    /// Whether it is disabled.
    pub disabled: Option<bool>,
    /// What it is ordered by; equal ones by id.
    pub order: OrderBy,
    /// Largest first.
    pub descending: bool,
    /// Where the page before ended.
    pub after: Option<(SortKey, IntegrationId)>,
    /// Most rows.
    pub rows: usize,
    /// The UTC day whose traffic is counted.
    pub day: i64,
}

/// A row of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The integration, its configuration in clear.
    pub integration: Integration,
    /// What it is ordered by.
    pub key: SortKey,
    /// What was counted on the day.
    pub today: Counts,
}

impl Store {
    /// A page of integrations with the counts of one day.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn list_page(&self, of: ListOf, query: &ListQuery) -> Result<Vec<Listed>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let keys = page_keys(&mut tx, of, query).await?;
        let ids: Vec<IntegrationId> = keys.iter().map(|(id, _)| *id).collect();
        let owner = owner_of(of);
        let found = load(&mut tx, &self.vault, Which::These(owner, &ids)).await?;
        let mut found: HashMap<_, _> = found.into_iter().map(|one| (one.id, one)).collect();
        let counts = page_counts(&mut tx, of, &ids, query.day).await?;
        let listed = |(id, key): (IntegrationId, SortKey)| {
            let today = counts.get(&id).copied().unwrap_or_default();
            found.remove(&id).map(|integration| Listed { integration, key, today })
        };
        Ok(keys.into_iter().filter_map(listed).collect())
    }

    /// Slug and name of these products of an owner.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn names_of_products(
        &self,
        owner: Owner,
        ids: &[ProductId],
    ) -> Result<HashMap<ProductId, (String, String)>, StoreError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let rows = sqlx::query(
            "SELECT id, slug, name FROM products
             WHERE id IN (SELECT value FROM json_each($1)) AND owner = $2",
        )
        .bind(serde_json::json!(ids).to_string())
        .bind(owner.to_string())
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.iter().map(|row| (ProductId(row.get(0)), (row.get(1), row.get(2)))).collect())
    }
}

/// The ids and sort keys of a page, in its order.
async fn page_keys(
    tx: &mut SqliteConnection,
    of: ListOf,
    query: &ListQuery,
) -> Result<Vec<(IntegrationId, SortKey)>, StoreError> {
    let folded = folded(tx, of, query).await?;
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT id, k FROM (SELECT i.id AS id, ");
    push_key(&mut sql, of, query);
    sql.push(" AS k FROM integrations i WHERE ");
    push_filters(&mut sql, of, query, folded.as_deref());
    sql.push(")");
    let (beyond, direction) = if query.descending { ("<", " DESC") } else { (">", "") };
    if let Some((key, id)) = &query.after {
        sql.push(" WHERE (k, id) ").push(beyond).push(" (");
        match key {
            SortKey::Text(text) => sql.push_bind(text.clone()),
            SortKey::Number(number) => sql.push_bind(*number),
        };
        sql.push(", ").push_bind(id.to_string()).push(")");
    }
    sql.push(" ORDER BY k").push(direction).push(", id").push(direction).push(" LIMIT ");
    sql.push_bind(i64::try_from(query.rows).unwrap_or(i64::MAX));
    let rows = sql.build().fetch_all(tx).await?;
    let is_text = matches!(query.order, OrderBy::Name | OrderBy::Event | OrderBy::Address);
    rows.iter()
        .map(|row| {
            let key = if is_text { SortKey::Text(row.get(1)) } else { SortKey::Number(row.get(1)) };
            Ok((parsed(row.get(0), "integration id")?, key))
        })
        .collect()
}

fn push_key(sql: &mut QueryBuilder<Sqlite>, of: ListOf, query: &ListQuery) {
    let (column, is_counted) = match query.order {
        OrderBy::Name => ("i.name", false),
        OrderBy::Event => ("i.event", false),
        OrderBy::Address => ("i.address", false),
        OrderBy::Products => ("(SELECT COUNT(*) FROM members m WHERE m.integration_id = i.id)", false),
        OrderBy::State => ("i.disabled", false),
        OrderBy::CreatedAt => ("i.created_at", false),
        OrderBy::UpdatedAt => ("i.updated_at", false),
        OrderBy::Success => ("c.success", true),
        OrderBy::Error => ("c.error", true),
        OrderBy::Skipped => ("c.skipped", true),
    };
    if !is_counted {
        sql.push(column);
        return;
    }
    sql.push("(SELECT COALESCE(SUM(").push(column).push("), 0) FROM counters c WHERE c.day = ");
    sql.push_bind(query.day);
    if let ListOf::Product(_, product) = of {
        sql.push(" AND c.member_id = (SELECT m.id FROM members m WHERE m.integration_id = i.id");
        sql.push(" AND m.product_id = ").push_bind(product.0).push("))");
    } else {
        sql.push(" AND c.integration_id = i.id)");
    }
}

/// The integrations in which a search that is not ASCII is found: the database folds the case of ASCII alone. `None` for every
/// other search.
async fn folded(
    tx: &mut SqliteConnection,
    of: ListOf,
    query: &ListQuery,
) -> Result<Option<Vec<String>>, StoreError> {
    let Some(search) = query.search.as_ref().filter(|search| !search.is_ascii()) else { return Ok(None) };
    let rows = sqlx::query("SELECT id, name, event, address FROM integrations WHERE owner = $1")
        .bind(owner_of(of).to_string())
        .fetch_all(tx)
        .await?;
    let has = |row: &SqliteRow| {
        (1..=3).any(|column| row.get::<String, _>(column).to_lowercase().contains(search.as_str()))
    };
    Ok(Some(rows.iter().filter(|row| has(row)).map(|row| row.get(0)).collect()))
}

fn owner_of(of: ListOf) -> Owner {
    match of {
        ListOf::Sandbox(user) => Owner::User(user),
        ListOf::Product(owner, _) | ListOf::Owner(owner) => owner,
    }
}

fn push_filters(sql: &mut QueryBuilder<Sqlite>, of: ListOf, query: &ListQuery, folded: Option<&[String]>) {
    let owner = owner_of(of);
    sql.push("i.owner = ").push_bind(owner.to_string());
    if matches!(of, ListOf::Sandbox(_)) {
        sql.push(" AND i.sandbox");
    }
    let place = if let ListOf::Product(_, product) = of { Some(product) } else { None };
    for product in [place, query.product].into_iter().flatten() {
        sql.push(" AND i.id IN (SELECT integration_id FROM members WHERE product_id = ");
        sql.push_bind(product.0).push(")");
    }
    if let Some(search) = &query.search {
        sql.push(" AND (INSTR(i.name, ").push_bind(search.clone());
        sql.push(") OR INSTR(LOWER(i.event), ").push_bind(search.clone());
        sql.push(") OR INSTR(i.address, ").push_bind(search.clone());
        sql.push(") OR i.id = ").push_bind(search.clone());
        sql.push(" OR i.id IN (SELECT integration_id FROM members WHERE id = ").push_bind(search.clone());
        sql.push(")");
        if let Some(folded) = folded {
            sql.push(" OR i.id IN (SELECT value FROM json_each(");
            sql.push_bind(serde_json::json!(folded).to_string()).push("))");
        }
        sql.push(")");
    }
    if let Some(event) = &query.event {
        sql.push(" AND i.event = ").push_bind(event.clone());
    }
    if let Some(kind) = &query.integration_type {
        sql.push(" AND i.integration_type = ").push_bind(kind.clone());
    }
    if let Some(disabled) = query.disabled {
        sql.push(" AND i.disabled = ").push_bind(disabled);
    }
}

/// What was counted on the day for each integration of a page; those without traffic are left out.
async fn page_counts(
    tx: &mut SqliteConnection,
    of: ListOf,
    ids: &[IntegrationId],
    day: i64,
) -> Result<HashMap<IntegrationId, Counts>, StoreError> {
    let sql = match of {
        ListOf::Product(..) => {
            "SELECT m.integration_id, SUM(success), SUM(error), SUM(skipped)
             FROM members m JOIN counters c ON c.member_id = m.id AND c.day = $1
             WHERE m.integration_id IN (SELECT value FROM json_each($2)) AND m.product_id = $3
             GROUP BY m.integration_id"
        }
        ListOf::Sandbox(_) | ListOf::Owner(_) => {
            "SELECT integration_id, SUM(success), SUM(error), SUM(skipped) FROM counters
             WHERE day = $1 AND integration_id IN (SELECT value FROM json_each($2)) AND $3 = $3
             GROUP BY integration_id"
        }
    };
    let product = if let ListOf::Product(_, product) = of { product.0 } else { 0 };
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let rows = sqlx::query(sql)
        .bind(day)
        .bind(serde_json::json!(ids).to_string())
        .bind(product)
        .fetch_all(tx)
        .await?;
    rows.iter()
        .map(|row| {
            let counts = Counts { success: row.get(1), error: row.get(2), skipped: row.get(3) };
            Ok((parsed(row.get(0), "integration id")?, counts))
        })
        .collect()
}
