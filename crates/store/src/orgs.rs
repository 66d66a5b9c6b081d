//! Organizations.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{OrgId, Owner, UserId, access::Role, account::Org};

use crate::{
    Store, StoreError,
    audit::{self, By},
    read::{parsed, taken},
    team::add_member,
};

impl Store {
    /// The organization with this id, or else this slug.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn org(&self, key: &str) -> Result<Option<Org>, StoreError> {
        let (sql, key) = match key.parse::<OrgId>() {
            Ok(id) => ("SELECT id, slug, name, plan FROM orgs WHERE id = $1", id.to_string()),
            Err(_) => ("SELECT id, slug, name, plan FROM orgs WHERE slug = $1", key.to_owned()),
        };
        let row = sqlx::query(sql).bind(key).fetch_optional(&self.pool).await?;
        row.map(|row| read_org(&row)).transpose()
    }

    /// The organizations of whose team a user is, oldest first.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn orgs_of(&self, user: UserId) -> Result<Vec<Org>, StoreError> {
        let rows = sqlx::query(
            "SELECT orgs.id, slug, name, plan FROM team JOIN orgs ON team.scope = 'o:' || orgs.id
             WHERE team.user_id = $1 ORDER BY orgs.created_at, orgs.id",
        )
        .bind(user.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(read_org).collect()
    }

    /// Creates an organization under the first of `slugs` that is free, with the one who creates it as its owner.
    ///
    /// # Errors
    /// [`StoreError::Taken`] with `slug` when none of them is free.
    pub async fn create_org(&self, mut org: Org, slugs: &[String], by: By) -> Result<Org, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        org.slug = free_slug(&mut tx, "SELECT 1 FROM orgs WHERE slug = $1", slugs).await?;
        sqlx::query("INSERT INTO orgs (id, slug, name, plan, created_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(org.id.to_string())
            .bind(&org.slug)
            .bind(&org.name)
            .bind(org.plan.as_str())
            .bind(by.at.0)
            .execute(&mut *tx)
            .await
            .map_err(|error| taken(error, &["slug"]))?;
        let owner = Owner::Org(org.id);
        add_member(&mut tx, &owner.to_string(), by.user, Some(Role::Owner), by.at).await?;
        let change = [None, Some(shown(&org))];
        audit::write(&mut tx, by, owner, "organization.create", &org.id.to_string(), change).await?;
        tx.commit().await?;
        Ok(org)
    }

    /// Writes name and plan of an organization, which was `old` before.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn update_org(&self, old: &Org, new: &Org, by: By) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE orgs SET name = $2, plan = $3 WHERE id = $1")
            .bind(new.id.to_string())
            .bind(&new.name)
            .bind(new.plan.as_str())
            .execute(&mut *tx)
            .await?;
        let (owner, change) = (Owner::Org(new.id), [Some(shown(old)), Some(shown(new))]);
        audit::write(&mut tx, by, owner, "organization.update", &new.id.to_string(), change).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn shown(org: &Org) -> Value {
    json!({"name": org.name, "slug": org.slug, "plan": org.plan.as_str()})
}

/// The first of the slugs for which `query` finds nothing.
pub(crate) async fn free_slug(
    tx: &mut SqliteConnection,
    query: &'static str,
    slugs: &[String],
) -> Result<String, StoreError> {
    for slug in slugs {
        if sqlx::query(query).bind(slug).fetch_optional(&mut *tx).await?.is_none() {
            return Ok(slug.clone());
        }
    }
    Err(StoreError::Taken("slug"))
}

fn read_org(row: &SqliteRow) -> Result<Org, StoreError> {
    Ok(Org {
        id: parsed(row.get(0), "organization id")?,
        slug: row.get(1),
        name: row.get(2),
        plan: parsed(row.get(3), "plan")?,
    })
}
