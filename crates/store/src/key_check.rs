//! Whether the key is the one that the store was written with. A sealed value of its own tells it at once, also where
//! nothing that is read at a start is sealed.

use sqlx::{Row, SqlitePool};

use crate::{StoreError, Vault, secrets};

/// Where the value is sealed, and the value.
const PLACE: &str = "key check";
const CLEAR: &[u8] = b"tributary";

/// Checks the key, and writes the value that tells it where there is none.
pub(crate) async fn check(pool: &SqlitePool, vault: &Vault) -> Result<(), StoreError> {
    let wrong =
        |error: crate::vault::SealBroken| StoreError::Unreadable { what: "values", why: error.to_string() };
    if let Some(row) = sqlx::query("SELECT sealed FROM key_check").fetch_optional(pool).await? {
        return vault.open(PLACE, row.get(0)).map(drop).map_err(wrong);
    }
    // A store from before: what it has sealed tells it.
    if let Some((place, sealed)) = any_sealed(pool).await? {
        vault.open(&place, &sealed).map_err(wrong)?;
    }
    let sealed = vault.seal(PLACE, CLEAR).map_err(wrong)?;
    sqlx::query("INSERT INTO key_check (id, sealed) VALUES (1, $1)").bind(sealed).execute(pool).await?;
    Ok(())
}

/// Some value that is sealed, with its place.
async fn any_sealed(pool: &SqlitePool) -> Result<Option<(String, Vec<u8>)>, StoreError> {
    let integration = sqlx::query("SELECT id, sealed FROM integrations WHERE sealed IS NOT NULL LIMIT 1");
    if let Some(row) = integration.fetch_optional(pool).await? {
        return Ok(Some((row.get(0), row.get(1))));
    }
    let row = sqlx::query("SELECT owner, name, sealed FROM secrets LIMIT 1").fetch_optional(pool).await?;
    Ok(row.map(|row| (secrets::place_of(row.get(0), row.get(1)), row.get(2))))
}
