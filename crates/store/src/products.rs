//! Products, and what goes with them when they are deleted.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{
    Owner, ProductId, Timestamp, UserId,
    account::Product,
};

use crate::{
    Store, StoreError,
    orgs::free_slug,
    read::{parsed, taken},
    team::product_scope,
};

/// A product to create.
#[derive(Clone, Debug)]
pub struct NewProduct {
    /// Who owns it.
    pub owner: Owner,
    /// Its name, unique for the owner.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The hardware platform's number.
    pub platform_id: i64,
}

impl Store {
    /// The product with this id (a text of digits only), or else this slug.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn product(&self, key: &str) -> Result<Option<Product>, StoreError> {
        let digits = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
        let query = match (digits, key.parse::<i64>()) {
            (true, Err(_)) => return Ok(None), // an id beyond all bounds
            (true, Ok(id)) => {
                sqlx::query("SELECT id, owner, slug, name, description, platform_id FROM products WHERE id = $1").bind(id)
            }
            (false, _) => {
                sqlx::query("SELECT id, owner, slug, name, description, platform_id FROM products WHERE slug = $1")
                    .bind(key)
            }
        };
        let row = query.fetch_optional(&self.pool).await?;
        row.map(|row| read_product(&row)).transpose()
    }

    /// The products of an owner, oldest first.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn products_of_owner(&self, owner: Owner) -> Result<Vec<Product>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, owner, slug, name, description, platform_id FROM products WHERE owner = $1 ORDER BY id",
        )
        .bind(owner.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_product).collect()
    }

    /// All products that a user has to do with: of its sandbox, of the organizations on whose team it is, and those on
    /// whose own team it is. Oldest first.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn products_of_user(&self, user: UserId) -> Result<Vec<Product>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, owner, slug, name, description, platform_id FROM products WHERE owner = $1
             OR owner IN (SELECT scope FROM team WHERE user_id = $2)
             OR 'p:' || id IN (SELECT scope FROM team WHERE user_id = $2) ORDER BY id",
        )
        .bind(Owner::User(user).to_string())
        .bind(user.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_product).collect()
    }

    /// Creates a product under the first of `slugs` that is free.
    ///
    /// # Errors
    /// [`StoreError::Taken`] with `name` when the owner has one of that name, with `slug` when no slug is free.
    pub async fn create_product(
        &self,
        new: &NewProduct,
        slugs: &[String],
        now: Timestamp,
    ) -> Result<Product, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let slug = free_slug(&mut tx, "SELECT 1 FROM products WHERE slug = $1", slugs).await?;
        let row = sqlx::query(
            "INSERT INTO products (owner, slug, name, description, platform_id, created_at)
             VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        )
        .bind(new.owner.to_string())
        .bind(&slug)
        .bind(&new.name)
        .bind(&new.description)
        .bind(new.platform_id)
        .bind(now.0)
        .fetch_one(&mut *tx)
        .await
        .map_err(|error| taken(error, &["name", "slug"]))?;
        tx.commit().await?;
        Ok(Product {
            id: ProductId(row.get(0)),
            owner: new.owner,
            slug,
            name: new.name.clone(),
            description: new.description.clone(),
            platform_id: new.platform_id,
        })
    }

    /// Deletes a product of this owner with all that is only its own: its members, integrations that have no member
    /// left, their counters, logs and waiting deliveries, and its team with its API users. Its devices stay, in no
    /// product. Says whether there was one.
    ///
    /// # Errors
    /// When it could not be committed; nothing was deleted.
    pub async fn delete_product(&self, owner: Owner, id: ProductId) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = sqlx::query("SELECT 1 FROM products WHERE owner = $1 AND id = $2")
            .bind(owner.to_string())
            .bind(id.0)
            .fetch_optional(&mut *tx)
            .await?;
        if found.is_none() {
            return Ok(false);
        }
        delete_members(&mut tx, id).await?;
        for sql in [
            "DELETE FROM product_hours WHERE product_id = $1",
            "UPDATE devices SET product_id = NULL WHERE product_id = $1",
            "DELETE FROM products WHERE id = $1",
        ] {
            sqlx::query(sql).bind(id.0).execute(&mut *tx).await?;
        }
        // An API user has no role and belongs to one team: it goes with it, and its token with it.
        for sql in [
            "DELETE FROM users WHERE id IN (SELECT user_id FROM team WHERE scope = $1 AND role IS NULL)",
            "DELETE FROM team WHERE scope = $1",
        ] {
            sqlx::query(sql).bind(product_scope(id)).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

/// Takes the product out of all its integrations and deletes those that it leaves without a member.
async fn delete_members(tx: &mut SqliteConnection, id: ProductId) -> Result<(), StoreError> {
    let rows = sqlx::query("SELECT DISTINCT integration_id FROM members WHERE product_id = $1")
        .bind(id.0)
        .fetch_all(&mut *tx)
        .await?;
    for sql in [
        "DELETE FROM pending WHERE member_id IN (SELECT id FROM members WHERE product_id = $1)",
        "DELETE FROM logs WHERE member_id IN (SELECT id FROM members WHERE product_id = $1)",
        "DELETE FROM members WHERE product_id = $1",
    ] {
        sqlx::query(sql).bind(id.0).execute(&mut *tx).await?;
    }
    for row in rows {
        let integration: String = row.get(0);
        let left = sqlx::query("SELECT 1 FROM members WHERE integration_id = $1 LIMIT 1")
            .bind(&integration)
            .fetch_optional(&mut *tx)
            .await?;
        // The counters of a former member stay with an integration that goes on (contract 1, the model).
        if left.is_some() {
            continue;
        }
        for sql in [
            "DELETE FROM counters WHERE integration_id = $1",
            "DELETE FROM logs WHERE integration_id = $1",
            "DELETE FROM pending WHERE integration_id = $1",
            "DELETE FROM integrations WHERE id = $1",
        ] {
            sqlx::query(sql).bind(&integration).execute(&mut *tx).await?;
        }
    }
    Ok(())
}

fn read_product(row: &SqliteRow) -> Result<Product, StoreError> {
    Ok(Product {
        id: ProductId(row.get(0)),
        owner: parsed(row.get(1), "owner")?,
        slug: row.get(2),
        name: row.get(3),
        description: row.get(4),
        platform_id: row.get(5),
    })
}
