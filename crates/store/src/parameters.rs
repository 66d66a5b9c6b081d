//! Which parameters of an integration its members override. Values may be keys and tokens, so they are kept encrypted.

use serde_json::json;
use sqlx::SqliteConnection;
use tributary_domain::{
    MemberId, Owner, ProductId,
    integration::{Config, Integration, Member},
    limits,
    parameters::{Parameters, declared, masked},
};

use crate::{
    Store, StoreError, Vault,
    audit::{self, By},
    integrations::{NotWritten, Seen, Which, Written, after, unchanged},
    lookup::load,
    members::{insert, next_position},
};

impl Store {
    /// Makes these the overrides of a product in an integration that was judged as seen. A product that is no member
    /// yet is added with the given membership. Gives the integration as it is then.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn override_parameters(
        &self,
        owner: Owner,
        seen: Seen,
        new: Member,
        overrides: &Parameters,
        by: By,
    ) -> Written<Integration> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let old = match unchanged(&mut tx, &self.vault, owner, seen).await? {
            Ok(old) => old,
            Err(why) => return Ok(Err(why)),
        };
        let known = old.members.iter().find(|member| member.product == new.product);
        let member = known.copied().unwrap_or(new);
        let subject = old.id.to_string();
        let mut now = old.clone();
        if known.is_none() {
            let position = next_position(&mut tx, old.id).await?;
            if let Err(why) = insert(&mut tx, &old, new, position).await? {
                return Ok(Err(why));
            }
            now.members.push(new);
            if now.members.len() > limits::MEMBERS {
                return Ok(Err(NotWritten::TooManyProducts));
            }
            let change = [Some(audit::shown(&old)), Some(audit::shown(&now))];
            audit::write(&mut tx, by, owner, "integration.add_product", &subject, change).await?;
        }
        let before = old.overrides_of(member.id).cloned().unwrap_or_default();
        if before != *overrides {
            write(&mut tx, &self.vault, member.id, overrides).await?;
            sqlx::query("UPDATE integrations SET updated_at = $2 WHERE id = $1")
                .bind(&subject)
                .bind(after(&old, by).0)
                .execute(&mut *tx)
                .await?;
            let change = [&before, overrides].map(|own| Some(shown(member.product, own)));
            audit::write(&mut tx, by, owner, "integration.override_parameters", &subject, change).await?;
        }
        let Some(now) = load(&mut tx, &self.vault, Which::One(owner, old.id)).await?.pop() else {
            return Ok(Err(NotWritten::Gone));
        };
        tx.commit().await?;
        Ok(Ok(now))
    }
}

/// A member's overrides as the audit shows them.
fn shown(product: ProductId, overrides: &Parameters) -> serde_json::Value {
    json!({"product_id": product, "parameters": masked(overrides)})
}

/// Drops the overrides of parameters that a new configuration no longer declares.
pub(crate) async fn drop_undeclared(
    tx: &mut SqliteConnection,
    vault: &Vault,
    old: &Integration,
    config: &Config,
) -> Result<(), StoreError> {
    let declared = declared(config);
    for (member, overrides) in &old.overrides {
        let mut kept = overrides.clone();
        kept.retain(|name, _| declared.contains_key(name));
        if kept.len() < overrides.len() {
            write(tx, vault, *member, &kept).await?;
        }
    }
    Ok(())
}

async fn write(
    tx: &mut SqliteConnection,
    vault: &Vault,
    member: MemberId,
    overrides: &Parameters,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE members SET overrides = $2 WHERE id = $1")
        .bind(member.to_string())
        .bind(seal(vault, member, overrides)?)
        .execute(tx)
        .await?;
    Ok(())
}

/// What a sealed column is bound to. Members keep their id when they are separated or merged.
fn place(member: MemberId) -> String {
    format!("overrides of {member}")
}

fn unreadable(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unreadable { what: "overrides", why: why.to_string() }
}

fn seal(vault: &Vault, member: MemberId, overrides: &Parameters) -> Result<Option<Vec<u8>>, StoreError> {
    if overrides.is_empty() {
        return Ok(None);
    }
    let clear = serde_json::to_vec(overrides).map_err(|error| unreadable(&error))?;
    vault.seal(&place(member), &clear).map(Some).map_err(|error| unreadable(&error))
}

/// Reads the column `overrides`.
pub(crate) fn open(vault: &Vault, member: MemberId, sealed: &[u8]) -> Result<Parameters, StoreError> {
    let clear = vault.open(&place(member), sealed).map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&clear).map_err(|error| unreadable(&error))
}
