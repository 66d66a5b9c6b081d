//! Products, and what goes with them when they are deleted.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{Owner, ProductId, Timestamp, UserId, account::Product, integration::Integration};

use crate::{
    Store, StoreError,
    audit::{self, By},
    device_products,
    integrations::{self, Which},
    lookup::load,
    members::end_waiting,
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
            (true, Ok(id)) => sqlx::query(
                "SELECT id, owner, slug, name, description, platform_id FROM products WHERE id = $1",
            )
            .bind(id),
            (false, _) => sqlx::query(
                "SELECT id, owner, slug, name, description, platform_id FROM products WHERE slug = $1",
            )
            .bind(key),
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
        by: By,
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
        .bind(by.at.0)
        .fetch_one(&mut *tx)
        .await
        .map_err(|error| taken(error, &["name", "slug"]))?;
        let product = Product {
            id: ProductId(row.get(0)),
            owner: new.owner,
            slug,
            name: new.name.clone(),
            description: new.description.clone(),
            platform_id: new.platform_id,
        };
        let change = [None, Some(shown(&product))];
        audit::write(&mut tx, by, new.owner, "product.create", &product.id.to_string(), change).await?;
        tx.commit().await?;
        Ok(product)
    }

    /// Deletes a product with all that is only its own: its members, integrations that have no member left, their
    /// counters, logs and waiting deliveries, and its team with its API users. Its devices stay, in no product. Says
    /// whether it was still there.
    ///
    /// # Errors
    /// When it could not be committed; nothing was deleted.
    pub async fn delete_product(&self, product: &Product, by: By) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = sqlx::query("SELECT 1 FROM products WHERE owner = $1 AND id = $2")
            .bind(product.owner.to_string())
            .bind(product.id.0)
            .fetch_optional(&mut *tx)
            .await?;
        if found.is_none() {
            return Ok(false);
        }
        let left = load(&mut tx, &self.vault, Which::In(product.owner, product.id)).await?;
        leave_integrations(&mut tx, product.id, by.at).await?;
        tell_of_leaving(&mut tx, product.id, &left, by).await?;
        device_products::leave(&mut tx, product.id, None).await?;
        for sql in ["DELETE FROM product_hours WHERE product_id = $1", "DELETE FROM products WHERE id = $1"] {
            sqlx::query(sql).bind(product.id.0).execute(&mut *tx).await?;
        }
        // An API user has no role and belongs to one team: it goes with it, and its token with it.
        for sql in [
            "DELETE FROM users WHERE id IN (SELECT user_id FROM team WHERE scope = $1 AND role IS NULL)",
            "DELETE FROM team WHERE scope = $1",
            "DELETE FROM invitations WHERE scope = $1",
        ] {
            sqlx::query(sql).bind(product_scope(product.id)).execute(&mut *tx).await?;
        }
        let change = [Some(shown(product)), None];
        audit::write(&mut tx, by, product.owner, "product.delete", &product.id.to_string(), change).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Takes the product out of all its integrations: its waiting deliveries end as skipped, and integrations that it leaves
/// without a member are deleted. What it did as a member of one that goes on stays counted there.
async fn leave_integrations(
    tx: &mut SqliteConnection,
    id: ProductId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let sql =
        "SELECT DISTINCT integration_id, member_id FROM pending WHERE product_id = $1 AND member_id <> ''";
    for row in sqlx::query(sql).bind(id.0).fetch_all(&mut *tx).await? {
        let (integration, member) = (parsed(row.get(0), "integration id")?, parsed(row.get(1), "member id")?);
        end_waiting(tx, integration, Some(member), at).await?;
    }
    let sql = "DELETE FROM members WHERE product_id = $1 RETURNING integration_id, id";
    for row in sqlx::query(sql).bind(id.0).fetch_all(&mut *tx).await? {
        let integration: String = row.get(0);
        for sql in ["DELETE FROM logs WHERE member_id = $1", "DELETE FROM kept WHERE member_id = $1"] {
            sqlx::query(sql).bind(row.get::<String, _>(1)).execute(&mut *tx).await?;
        }
        let left = sqlx::query("SELECT 1 FROM members WHERE integration_id = $1 LIMIT 1")
            .bind(&integration)
            .fetch_optional(&mut *tx)
            .await?;
        if left.is_none() {
            integrations::delete(tx, parsed(&integration, "integration id")?).await?;
        }
    }
    Ok(())
}

/// Writes what became of each integration that a product has left.
async fn tell_of_leaving(
    tx: &mut SqliteConnection,
    id: ProductId,
    left: &[Integration],
    by: By,
) -> Result<(), StoreError> {
    for old in left {
        let mut now = old.clone();
        now.members.retain(|member| member.product != id);
        let (action, after) = match now.members.is_empty() {
            true => ("integration.delete", None),
            false => ("integration.remove_product", Some(audit::shown(&now))),
        };
        let change = [Some(audit::shown(old)), after];
        audit::write(tx, by, old.owner, action, &old.id.to_string(), change).await?;
    }
    Ok(())
}

fn shown(product: &Product) -> Value {
    json!({
        "name": product.name,
        "slug": product.slug,
        "description": product.description,
        "platform_id": product.platform_id,
    })
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
