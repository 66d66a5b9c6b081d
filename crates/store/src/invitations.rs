//! Invitations to a team, for people who have no account yet.

use serde_json::json;
use sqlx::{Row, SqliteConnection};
use tributary_domain::{Owner, Timestamp, UserId, access::Role};

use crate::{
    Store, StoreError,
    audit::By,
    read::{parsed, taken},
    team::{TeamOf, add_member},
    tokens::TokenHash,
};

/// An invitation to write.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Who is invited, lower case.
    pub username: String,
    /// What it will be on the team.
    pub role: Role,
    /// What is stored of the token.
    pub hash: TokenHash,
    /// The time from which on it is worth nothing.
    pub expires_at: Timestamp,
}

/// An invitation as a team sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Who is invited.
    pub username: String,
    /// What it will be on the team.
    pub role: Role,
    /// The user name of who invited it.
    pub invited_by: String,
    /// When.
    pub created_at: Timestamp,
    /// The time from which on it is worth nothing.
    pub expires_at: Timestamp,
}

/// An invitation as its token finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundInvitation {
    /// To which team.
    pub team: TeamOf,
    /// Who is invited.
    pub username: String,
    /// What it will be on the team.
    pub role: Role,
    /// Who invited it.
    pub invited_by: UserId,
}

/// Who joins by an invitation.
#[derive(Clone, Debug)]
pub enum Joining {
    /// Somebody who has an account: its id and user name.
    Known(UserId, String),
    /// Somebody whose account is created under the invited name: its id and the hash of its password.
    New(UserId, String),
}

impl Store {
    /// Writes an invitation; one of the same name for the same team ends. Says `false`, and writes nothing, when the team
    /// has `most` open ones already.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn invite(
        &self,
        team: TeamOf,
        new: &NewInvitation,
        most: usize,
        by: By,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let scope = team.scope();
        drop_invitation(&mut tx, &scope, &new.username).await?;
        sqlx::query("DELETE FROM invitations WHERE scope = $1 AND expires_at <= $2")
            .bind(&scope)
            .bind(by.at.0)
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query("SELECT COUNT(*) FROM invitations WHERE scope = $1")
            .bind(&scope)
            .fetch_one(&mut *tx)
            .await?;
        if usize::try_from(row.get::<i64, _>(0)).is_ok_and(|count| count >= most) {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO invitations (scope, username, role, hash, invited_by, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&scope)
        .bind(&new.username)
        .bind(new.role.as_str())
        .bind(&new.hash[..])
        .bind(by.user.to_string())
        .bind(by.at.0)
        .bind(new.expires_at.0)
        .execute(&mut *tx)
        .await?;
        let change = [None, Some(json!({"role": new.role.as_str()}))];
        team.audit(&mut tx, by, "team.invite", &new.username, change).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The open invitations of a team, by user name.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn invitations(&self, team: TeamOf, now: Timestamp) -> Result<Vec<Invitation>, StoreError> {
        let rows = sqlx::query(
            "SELECT invitations.username, role, users.username, invitations.created_at, expires_at
             FROM invitations JOIN users ON users.id = invited_by
             WHERE scope = $1 AND expires_at > $2 ORDER BY invitations.username",
        )
        .bind(team.scope())
        .bind(now.0)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Invitation {
                    username: row.get(0),
                    role: parsed(row.get(1), "role")?,
                    invited_by: row.get(2),
                    created_at: Timestamp(row.get(3)),
                    expires_at: Timestamp(row.get(4)),
                })
            })
            .collect()
    }

    /// Ends an invitation. Says whether it was there.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn revoke_invitation(&self, team: TeamOf, username: &str, by: By) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if !drop_invitation(&mut tx, &team.scope(), username).await? {
            return Ok(false);
        }
        team.audit(&mut tx, by, "team.revoke", username, [Some(json!({})), None]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The invitation with this token, if it is still worth something.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn invitation(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<FoundInvitation>, StoreError> {
        let row = sqlx::query(
            "SELECT scope, username, role, invited_by, (SELECT owner FROM products WHERE 'p:' || id = scope)
             FROM invitations WHERE hash = $1 AND expires_at > $2",
        )
        .bind(&hash[..])
        .bind(now.0)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let scope: &str = row.get(0);
        let team = match (scope.strip_prefix("p:"), row.get::<Option<String>, _>(4)) {
            (Some(id), Some(owner)) => TeamOf::Product(
                tributary_domain::ProductId(parsed(id, "product id")?),
                parsed(&owner, "owner")?,
            ),
            _ => match parsed(scope, "team")? {
                Owner::Org(org) => TeamOf::Org(org),
                Owner::User(_) => return Ok(None),
            },
        };
        Ok(Some(FoundInvitation {
            team,
            username: row.get(1),
            role: parsed(row.get(2), "role")?,
            invited_by: parsed(row.get(3), "user id")?,
        }))
    }

    /// Uses an invitation up and puts who joins on its team. Says whether it was still there.
    ///
    /// # Errors
    /// [`StoreError::Taken`] with `username` when there is an account of the name already, or it is on the team already;
    /// the invitation stays.
    pub async fn join(
        &self,
        found: &FoundInvitation,
        hash: &TokenHash,
        who: &Joining,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let done = sqlx::query("DELETE FROM invitations WHERE hash = $1 AND expires_at > $2")
            .bind(&hash[..])
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let (user, username) = match who {
            Joining::Known(user, username) => (*user, username),
            Joining::New(user, password_hash) => {
                let sql =
                    "INSERT INTO users (id, username, password_hash, created_at) VALUES ($1, $2, $3, $4)";
                sqlx::query(sql)
                    .bind(user.to_string())
                    .bind(&found.username)
                    .bind(password_hash)
                    .bind(now.0)
                    .execute(&mut *tx)
                    .await
                    .map_err(|error| taken(error, &["username"]))?;
                (*user, &found.username)
            }
        };
        add_member(&mut tx, &found.team.scope(), user, Some(found.role), now).await?;
        let after = json!({"role": found.role.as_str(), "invited": found.username});
        found.team.audit(&mut tx, By { user, at: now }, "team.join", username, [None, Some(after)]).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Ends the invitation of this name for a team inside a transaction. Says whether there was one.
pub(crate) async fn drop_invitation(
    tx: &mut SqliteConnection,
    scope: &str,
    username: &str,
) -> Result<bool, StoreError> {
    let done = sqlx::query("DELETE FROM invitations WHERE scope = $1 AND username = $2")
        .bind(scope)
        .bind(username)
        .execute(tx)
        .await?;
    Ok(done.rows_affected() > 0)
}
