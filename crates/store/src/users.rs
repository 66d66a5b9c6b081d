//! People and API users.

use sqlx::Row;
use tributary_domain::{Timestamp, UserId};

use crate::{
    Store, StoreError,
    read::{parsed, taken},
    tokens::TokenHash,
};

/// A person as stored for signing in.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// The person.
    pub id: UserId,
    /// Its user name, lower case.
    pub username: String,
    /// The argon2 hash of its password; `None` for API users, who cannot sign in.
    pub password_hash: Option<String>,
}

/// Which of a person's tokens end, with their refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndTokens {
    /// None.
    None,
    /// All but this one.
    AllBut(TokenHash),
    /// All.
    All,
}

impl Store {
    /// Creates a person; with `only_first` just if there is no person yet, which is judged in the same transaction.
    /// Says whether it was created.
    ///
    /// # Errors
    /// [`StoreError::Taken`] with `username`.
    pub async fn create_user(
        &self,
        id: UserId,
        username: &str,
        password_hash: &str,
        now: Timestamp,
        only_first: bool,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if only_first {
            let sql = "SELECT 1 FROM users WHERE password_hash IS NOT NULL LIMIT 1";
            if sqlx::query(sql).fetch_optional(&mut *tx).await?.is_some() {
                return Ok(false);
            }
        }
        sqlx::query("INSERT INTO users (id, username, password_hash, created_at) VALUES ($1, $2, $3, $4)")
            .bind(id.to_string())
            .bind(username)
            .bind(password_hash)
            .bind(now.0)
            .execute(&mut *tx)
            .await
            .map_err(|error| taken(error, &["username"]))?;
        tx.commit().await?;
        Ok(true)
    }

    /// Whether anybody has signed up.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM users WHERE password_hash IS NOT NULL LIMIT 1";
        Ok(sqlx::query(sql).fetch_optional(&self.pool).await?.is_some())
    }

    /// The user of this name (lower case).
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn user_by_name(&self, username: &str) -> Result<Option<UserRow>, StoreError> {
        let row = sqlx::query("SELECT id, username, password_hash FROM users WHERE username = $1")
            .bind(username)
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            Ok(UserRow {
                id: parsed(row.get(0), "user id")?,
                username: row.get(1),
                password_hash: row.get(2),
            })
        })
        .transpose()
    }

    /// The name of a user.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn username(&self, id: UserId) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT username FROM users WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Gives a person another password, and ends tokens.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_password(
        &self,
        id: UserId,
        password_hash: &str,
        end: EndTokens,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash IS NOT NULL")
            .bind(id.to_string())
            .bind(password_hash)
            .execute(&mut *tx)
            .await?;
        let spared = match &end {
            EndTokens::None => None,
            EndTokens::AllBut(token) => Some(&token[..]),
            EndTokens::All => Some(&[][..]),
        };
        if let Some(spared) = spared {
            sqlx::query("DELETE FROM tokens WHERE user_id = $1 AND hash <> $2")
                .bind(id.to_string())
                .bind(spared)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
