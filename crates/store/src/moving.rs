//! Moving a product from a sandbox to an organization, with all that is its own.
//!
//! Counters, logs and waiting deliveries are kept by integration and member. Neither id changes here, so the history goes
//! on, and what is under way is counted where it would have been.

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};
use tributary_domain::{Owner, account::Product, limits};

use crate::{
    Store, StoreError,
    audit::{self, By},
    integrations::{Seen, Which},
    lookup::load,
    read::taken,
};

/// What became of a move. Nothing was written unless it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moved {
    /// The product with its integrations belongs to the new owner.
    Done,
    /// The old owner has no such product (any more).
    Gone,
    /// Its integrations were changed since they were read: read them again and judge anew.
    Changed,
    /// The new owner lacks these secrets, which the integrations use, by name.
    LacksSecrets(Vec<String>),
    /// The new owner would have more integrations than one may.
    TooManyIntegrations,
    /// The new owner would have more products than this.
    TooManyProducts(usize),
}

/// What a move was judged by.
#[derive(Clone, Debug)]
pub struct Move<'a> {
    /// The product, with the owner that it leaves.
    pub product: &'a Product,
    /// Who owns it then.
    pub to: Owner,
    /// Its integrations as they were read.
    pub seen: &'a [Seen],
    /// Every name that their templates look up.
    pub names: &'a [String],
    /// Most products of one owner.
    pub most_products: usize,
}

impl Store {
    /// Gives a product another owner, and its integrations with it. Ids, slug, devices, team, counters, logs and waiting
    /// deliveries stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Taken`] with `name` when the new owner has a product of that name.
    pub async fn move_product(&self, wanted: &Move<'_>, by: By) -> Result<Moved, StoreError> {
        let Move { product, to, .. } = *wanted;
        let from = product.owner;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let now = load(&mut tx, &self.vault, Which::In(from, product.id)).await?;
        let seen: HashSet<_> = wanted.seen.iter().map(|seen| (seen.id, seen.updated_at)).collect();
        if now.len() != seen.len() || now.iter().any(|one| !seen.contains(&(one.id, one.updated_at))) {
            return Ok(Moved::Changed);
        }
        let lacking = lacking_secrets(&mut tx, wanted).await?;
        if !lacking.is_empty() {
            return Ok(Moved::LacksSecrets(lacking));
        }
        let integrations = count(&mut tx, "SELECT COUNT(*) FROM integrations WHERE owner = $1", to).await?;
        if integrations + now.len() > limits::INTEGRATIONS_PER_OWNER {
            return Ok(Moved::TooManyIntegrations);
        }
        if count(&mut tx, "SELECT COUNT(*) FROM products WHERE owner = $1", to).await? >= wanted.most_products
        {
            return Ok(Moved::TooManyProducts(wanted.most_products));
        }
        let done = sqlx::query("UPDATE products SET owner = $1 WHERE id = $2 AND owner = $3")
            .bind(to.to_string())
            .bind(product.id.0)
            .bind(from.to_string())
            .execute(&mut *tx)
            .await
            .map_err(|error| taken(error, &["name"]))?;
        if done.rows_affected() == 0 {
            return Ok(Moved::Gone);
        }
        sqlx::query(
            "UPDATE integrations SET owner = $1 WHERE owner = $3
             AND id IN (SELECT integration_id FROM members WHERE product_id = $2)",
        )
        .bind(to.to_string())
        .bind(product.id.0)
        .bind(from.to_string())
        .execute(&mut *tx)
        .await?;
        // Both sides can read in their own log that it left, and that it came.
        let ids: Vec<_> = now.iter().map(|one| one.id).collect();
        let change = [from, to].map(|owner| Some(shown(product, owner, &ids)));
        for owner in [from, to] {
            audit::write(&mut tx, by, owner, "product.move", &product.id.to_string(), change.clone()).await?;
        }
        tx.commit().await?;
        Ok(Moved::Done)
    }
}

fn shown(product: &Product, owner: Owner, integrations: &[tributary_domain::IntegrationId]) -> Value {
    json!({
        "name": product.name,
        "slug": product.slug,
        "owner": owner.to_string(),
        "integrations": integrations,
    })
}

async fn count(tx: &mut SqliteConnection, sql: &'static str, owner: Owner) -> Result<usize, StoreError> {
    let row = sqlx::query(sql).bind(owner.to_string()).fetch_one(tx).await?;
    Ok(usize::try_from(row.get::<i64, _>(0)).unwrap_or(usize::MAX))
}

/// The secrets of the old owner that are looked up and that the new owner has none of that name of.
async fn lacking_secrets(tx: &mut SqliteConnection, wanted: &Move<'_>) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query(
        "SELECT name FROM secrets WHERE owner = $1 AND name IN (SELECT value FROM json_each($3))
         AND name NOT IN (SELECT name FROM secrets WHERE owner = $2) ORDER BY name",
    )
    .bind(wanted.product.owner.to_string())
    .bind(wanted.to.to_string())
    .bind(json!(wanted.names).to_string())
    .fetch_all(tx)
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
