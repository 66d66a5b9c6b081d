//! Access tokens: kept as SHA-256, so that a copy of the database lets nobody in.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{OrgId, Owner, Timestamp, UserId, access::Actor};

use crate::{
    Store, StoreError,
    audit::{self, By},
    read::parsed,
};

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// Most tokens of one user; with one more its oldest is deleted.
const TOKENS_PER_USER: i64 = 1_000;
/// How long after its access token a refresh token can still be used, in milliseconds: a year.
const REFRESH_GRACE_MS: i64 = 365 * tributary_domain::time::DAY_MS;

/// Refresh tokens of one family that are remembered after their use; older ones are refused like unknown ones.
const SPENT_PER_FAMILY: i64 = 1_000;

/// A token to store.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// SHA-256 of its refresh token.
    pub refresh_hash: Option<TokenHash>,
    /// Whose it is.
    pub user: UserId,
    /// The client that it was given to.
    pub client: String,
    /// What it is limited to, as a JSON array of scopes; `None` for a person's token.
    pub scopes: Option<String>,
    /// When it is given out.
    pub created_at: Timestamp,
    /// When it expires; `None` = never.
    pub expires_at: Option<Timestamp>,
}

/// A stored token and whose it is.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Who calls with it.
    pub actor: Actor,
    /// The client that it was given to.
    pub client: String,
    /// When it expires; `None` = never.
    pub expires_at: Option<Timestamp>,
}

impl Store {
    /// The token with this hash, whether expired or not.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn token(&self, hash: &TokenHash) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query(
            "SELECT users.id, users.username, tokens.scopes, tokens.client, tokens.expires_at
             FROM tokens JOIN users ON users.id = tokens.user_id WHERE tokens.hash = $1",
        )
        .bind(&hash[..])
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| read_token(&row)).transpose()
    }

    /// Stores a token, and drops those of its user that are long expired or too many.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn insert_token(&self, token: &NewToken) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        insert_token(&mut tx, token).await?;
        drop_old_tokens(&mut tx, token.user, token.created_at).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Replaces the token that has this refresh token, and was given to this client, by a new one of the same user and
    /// scopes: `renew` makes it from the user's id. The old token and its refresh token end with it. `None` when there
    /// is no such token. When there was one, and it was used before, what came out of it ends too.
    ///
    /// # Errors
    /// When it could not be committed; the old token stays.
    pub async fn rotate_token(
        &self,
        refresh_hash: &TokenHash,
        client: &str,
        renew: impl FnOnce(UserId) -> NewToken + Send,
    ) -> Result<Option<NewToken>, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let sql = "DELETE FROM tokens WHERE refresh_hash = $1 AND client = $2
             RETURNING user_id, scopes, expires_at, COALESCE(family, hash)";
        let row = sqlx::query(sql).bind(&refresh_hash[..]).bind(client).fetch_optional(&mut *tx).await?;
        let Some(row) = row else {
            end_family(&mut tx, refresh_hash).await?;
            tx.commit().await?;
            return Ok(None);
        };
        let token = NewToken { scopes: row.get(1), ..renew(parsed(row.get(0), "user id")?) };
        let ended = row.get::<Option<i64>, _>(2).map(|at| at.saturating_add(REFRESH_GRACE_MS));
        if ended.is_some_and(|ended| ended <= token.created_at.0) {
            tx.commit().await?;
            return Ok(None);
        }
        let family: Vec<u8> = row.get(3);
        insert(&mut tx, &token, Some(&family)).await?;
        remember_spent(&mut tx, refresh_hash, &family, &token).await?;
        tx.commit().await?;
        Ok(Some(token))
    }

    /// Deletes a token. Says whether there was one. The end of an API user's token is told to the owners of its teams.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn delete_token(&self, hash: &TokenHash, at: Timestamp) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let row = sqlx::query("DELETE FROM tokens WHERE hash = $1 RETURNING user_id, scopes")
            .bind(&hash[..])
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else { return Ok(false) };
        if let Some(scopes) = row.get::<Option<String>, _>(1) {
            let by = By { user: parsed(row.get(0), "user id")?, at };
            tell_of_end(&mut tx, &scopes, by).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes all tokens of a user.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn delete_tokens_of(&self, user: UserId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM tokens WHERE user_id = $1")
            .bind(user.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The organizations of whose team a user is, as id and slug.
    ///
    /// # Errors
    /// When the database does not answer or an id cannot be read.
    pub async fn org_names_of(&self, user: UserId) -> Result<Vec<(OrgId, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT orgs.id, orgs.slug FROM team JOIN orgs ON team.scope = 'o:' || orgs.id
             WHERE team.user_id = $1 ORDER BY orgs.created_at, orgs.id",
        )
        .bind(user.to_string())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((parsed(row.get(0), "organization id")?, row.get(1)))).collect()
    }
}

/// Writes that the token of an API user has ended, by whoever held it.
async fn tell_of_end(tx: &mut SqliteConnection, scopes: &str, by: By) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "SELECT users.username, COALESCE(products.owner, team.scope), products.id FROM team
             JOIN users ON users.id = team.user_id LEFT JOIN products ON team.scope = 'p:' || products.id
         WHERE team.user_id = $1",
    )
    .bind(by.user.to_string())
    .fetch_all(&mut *tx)
    .await?;
    let scopes: Value = scopes.parse().unwrap_or_default();
    for row in rows {
        let mut before = json!({"scopes": scopes});
        if let Some(product) = row.get::<Option<i64>, _>(2) {
            before = json!({"product": product, "member": before});
        }
        let owner: Owner = parsed(row.get(1), "owner")?;
        audit::write(tx, by, owner, "token.end", row.get(0), [Some(before), None]).await?;
    }
    Ok(())
}

fn read_token(row: &SqliteRow) -> Result<TokenRow, StoreError> {
    let scopes: Option<String> = row.get(2);
    let unreadable = |why: String| StoreError::Unreadable { what: "scopes", why };
    let scopes = match scopes {
        None => None,
        Some(json) => {
            let words: Vec<String> = serde_json::from_str(&json).map_err(|e| unreadable(e.to_string()))?;
            // A scope that this version does not know grants nothing.
            Some(words.iter().filter_map(|word| word.parse().ok()).collect())
        }
    };
    Ok(TokenRow {
        actor: Actor { user: parsed(row.get(0), "user id")?, username: row.get(1), scopes },
        client: row.get(3),
        expires_at: row.get::<Option<i64>, _>(4).map(Timestamp),
    })
}

/// Stores a token that begins a family of its own.
pub(crate) async fn insert_token(tx: &mut SqliteConnection, token: &NewToken) -> Result<(), StoreError> {
    insert(tx, token, token.refresh_hash.is_some().then_some(&token.hash[..])).await
}

async fn insert(
    tx: &mut SqliteConnection,
    token: &NewToken,
    family: Option<&[u8]>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens (hash, refresh_hash, user_id, client, scopes, created_at, expires_at, family)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&token.hash[..])
    .bind(token.refresh_hash.map(|hash| hash.to_vec()))
    .bind(token.user.to_string())
    .bind(&token.client)
    .bind(&token.scopes)
    .bind(token.created_at.0)
    .bind(token.expires_at.map(|at| at.0))
    .bind(family)
    .execute(tx)
    .await?;
    Ok(())
}

/// Remembers a refresh token that was used, and forgets the oldest of its family and those of families that ended.
async fn remember_spent(
    tx: &mut SqliteConnection,
    refresh_hash: &TokenHash,
    family: &[u8],
    token: &NewToken,
) -> Result<(), StoreError> {
    let user = token.user.to_string();
    sqlx::query("INSERT INTO spent_refresh_tokens (hash, family, user_id, at) VALUES ($1, $2, $3, $4)")
        .bind(&refresh_hash[..])
        .bind(family)
        .bind(&user)
        .bind(token.created_at.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "DELETE FROM spent_refresh_tokens WHERE user_id = $1 AND family = $2 AND hash NOT IN (
             SELECT hash FROM spent_refresh_tokens WHERE user_id = $1 AND family = $2
             ORDER BY at DESC, hash LIMIT $3)",
    )
    .bind(&user)
    .bind(family)
    .bind(SPENT_PER_FAMILY)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "DELETE FROM spent_refresh_tokens WHERE user_id = $1 AND family NOT IN (
             SELECT family FROM tokens WHERE user_id = $1 AND family IS NOT NULL)",
    )
    .bind(&user)
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends what came out of a refresh token that is used again.
async fn end_family(tx: &mut SqliteConnection, refresh_hash: &TokenHash) -> Result<(), StoreError> {
    let sql = "DELETE FROM tokens WHERE family = (SELECT family FROM spent_refresh_tokens WHERE hash = $1)";
    sqlx::query(sql).bind(&refresh_hash[..]).execute(tx).await?;
    Ok(())
}

async fn drop_old_tokens(tx: &mut SqliteConnection, user: UserId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM tokens WHERE user_id = $1 AND expires_at < $2")
        .bind(user.to_string())
        .bind(now.0.saturating_sub(REFRESH_GRACE_MS))
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "DELETE FROM tokens WHERE user_id = $1 AND hash NOT IN (
             SELECT hash FROM tokens WHERE user_id = $1 ORDER BY created_at DESC, hash LIMIT $2)",
    )
    .bind(user.to_string())
    .bind(TOKENS_PER_USER)
    .execute(tx)
    .await?;
    Ok(())
}
