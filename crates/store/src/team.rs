//! Teams of organizations and products, with their API users.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};
use tributary_domain::{OrgId, Owner, ProductId, Timestamp, UserId, access::Role, account::Product};

use crate::{
    Store, StoreError,
    audit::{self, By},
    invitations::drop_invitation,
    read::{parsed, parsed_option, taken},
    tokens::{NewToken, insert_token},
    users::UserRow,
};

/// A team: an organization's or a product's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeamOf {
    /// The organization's.
    Org(OrgId),
    /// The product's own, and who owns the product.
    Product(ProductId, Owner),
}

impl TeamOf {
    pub(crate) fn scope(self) -> String {
        match self {
            TeamOf::Org(id) => Owner::Org(id).to_string(),
            TeamOf::Product(id, _) => product_scope(id),
        }
    }

    fn owner(self) -> Owner {
        match self {
            TeamOf::Org(id) => Owner::Org(id),
            TeamOf::Product(_, owner) => owner,
        }
    }

    /// Writes the audit row of a change of one member.
    pub(crate) async fn audit(
        self,
        tx: &mut SqliteConnection,
        by: By,
        action: &'static str,
        username: &str,
        [before, after]: [Option<Value>; 2],
    ) -> Result<(), StoreError> {
        let placed = |value: Value| match self {
            TeamOf::Org(_) => value,
            TeamOf::Product(id, _) => json!({"product": id, "member": value}),
        };
        audit::write(tx, by, self.owner(), action, username, [before.map(placed), after.map(placed)]).await
    }
}

/// The text that names a product's own team.
pub(crate) fn product_scope(id: ProductId) -> String {
    format!("p:{id}")
}

/// A row of a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamMember {
    /// Who it is.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// `None` for an API user.
    pub role: Option<Role>,
    /// An API user's: what it is called.
    pub friendly_name: Option<String>,
    /// An API user's: what its token may do.
    pub scopes: Vec<String>,
}

/// What happened to a member that was to be changed or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was.
    Done,
    /// It is not on the team.
    NotThere,
    /// It is the last Administrator (Owner), and stays.
    LastOwner,
}

/// An API user to create.
#[derive(Clone, Debug)]
pub struct NewApiUser {
    /// Its id.
    pub id: UserId,
    /// Its user name, lower case.
    pub username: String,
    /// What it is called.
    pub friendly_name: String,
    /// Its only token.
    pub token: NewToken,
}

/// A change of an API user; what is `None` stays.
#[derive(Clone, Debug)]
pub struct ApiUserChange {
    /// What it is called from now on.
    pub friendly_name: Option<String>,
    /// Its new token.
    pub token: Option<NewToken>,
}

/// What a user is to a product: its row in the organization's team and in the product's own.
/// The outer `None` = no row; the inner = an API user's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProductRoles {
    /// In the organization that owns the product.
    pub org: Option<Option<Role>>,
    /// In the product's own team.
    pub product: Option<Option<Role>>,
}

impl Store {
    /// A user's row in a team: `None` = not on it, `Some(None)` = an API user.
    ///
    /// # Errors
    /// When the database does not answer or the row cannot be read.
    pub async fn role_in(&self, team: TeamOf, user: UserId) -> Result<Option<Option<Role>>, StoreError> {
        let row = sqlx::query("SELECT role FROM team WHERE scope = $1 AND user_id = $2")
            .bind(team.scope())
            .bind(user.to_string())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| parsed_option(row.get(0), "role")).transpose()
    }

    /// A user's rows in the teams that count for a product.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn roles_in_product(
        &self,
        product: &Product,
        user: UserId,
    ) -> Result<ProductRoles, StoreError> {
        let org = match product.owner {
            Owner::Org(id) => self.role_in(TeamOf::Org(id), user).await?,
            Owner::User(_) => None,
        };
        Ok(ProductRoles {
            org,
            product: self.role_in(TeamOf::Product(product.id, product.owner), user).await?,
        })
    }

    /// The members of a team in the order of their joining.
    ///
    /// # Errors
    /// When the database does not answer or a row cannot be read.
    pub async fn team(&self, team: TeamOf) -> Result<Vec<TeamMember>, StoreError> {
        let rows = sqlx::query(
            "SELECT users.id, users.username, team.role, users.friendly_name,
                    (SELECT scopes FROM tokens WHERE user_id = users.id AND team.role IS NULL LIMIT 1)
             FROM team JOIN users ON users.id = team.user_id WHERE team.scope = $1
             ORDER BY team.created_at, users.username",
        )
        .bind(team.scope())
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let scopes: Option<String> = row.get(4);
                let scopes = serde_json::from_str(scopes.as_deref().unwrap_or("[]"))
                    .map_err(|e| StoreError::Unreadable { what: "scopes", why: e.to_string() })?;
                Ok(TeamMember {
                    user: parsed(row.get(0), "user id")?,
                    username: row.get(1),
                    role: parsed_option(row.get(2), "role")?,
                    friendly_name: row.get(3),
                    scopes,
                })
            })
            .collect()
    }

    /// Puts a person on a team.
    ///
    /// # Errors
    /// [`StoreError::Taken`] with `username` when it is on it already.
    pub async fn add_to_team(
        &self,
        team: TeamOf,
        user: &UserRow,
        role: Role,
        by: By,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        add_member(&mut tx, &team.scope(), user.id, Some(role), by.at).await?;
        drop_invitation(&mut tx, &team.scope(), &user.username).await?;
        let change = [None, Some(json!({"role": role.as_str()}))];
        team.audit(&mut tx, by, "team.add", &user.username, change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Creates an API user with its one token on a team.
    ///
    /// # Errors
    /// [`StoreError::Taken`] with `username`.
    pub async fn create_api_user(&self, team: TeamOf, new: &NewApiUser, by: By) -> Result<(), StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("INSERT INTO users (id, username, friendly_name, created_at) VALUES ($1, $2, $3, $4)")
            .bind(new.id.to_string())
            .bind(&new.username)
            .bind(&new.friendly_name)
            .bind(by.at.0)
            .execute(&mut *tx)
            .await
            .map_err(|error| taken(error, &["username"]))?;
        add_member(&mut tx, &team.scope(), new.id, None, by.at).await?;
        insert_token(&mut tx, &new.token).await?;
        let change =
            [None, Some(json!({"friendly_name": new.friendly_name, "scopes": scopes_of(&new.token)}))];
        team.audit(&mut tx, by, "team.add", &new.username, change).await?;
        let change = [None, Some(json!({"scopes": scopes_of(&new.token)}))];
        team.audit(&mut tx, by, "token.create", &new.username, change).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Changes an API user of this team. A new token takes the place of the old one, and with it its scopes. Says
    /// whether it is still there.
    ///
    /// # Errors
    /// When it could not be committed; the old token stays.
    pub async fn update_api_user(
        &self,
        team: TeamOf,
        member: &TeamMember,
        change: &ApiUserChange,
        by: By,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let user = member.user.to_string();
        let found = sqlx::query("SELECT 1 FROM team WHERE scope = $1 AND user_id = $2 AND role IS NULL")
            .bind(team.scope())
            .bind(&user)
            .fetch_optional(&mut *tx)
            .await?;
        if found.is_none() {
            return Ok(false);
        }
        if let Some(name) = &change.friendly_name {
            let sql = "UPDATE users SET friendly_name = $2 WHERE id = $1";
            sqlx::query(sql).bind(&user).bind(name).execute(&mut *tx).await?;
        }
        if let Some(token) = &change.token {
            // What it handed out under its old scopes ends with them.
            for sql in
                ["DELETE FROM tokens WHERE user_id = $1", "DELETE FROM invitations WHERE invited_by = $1"]
            {
                sqlx::query(sql).bind(&user).execute(&mut *tx).await?;
            }
            insert_token(&mut tx, token).await?;
        }
        let before = json!({"friendly_name": member.friendly_name, "scopes": member.scopes});
        let scopes = change.token.as_ref().map_or_else(|| json!(member.scopes), scopes_of);
        let friendly_name = change.friendly_name.as_ref().or(member.friendly_name.as_ref());
        let after = json!({"friendly_name": friendly_name, "scopes": scopes});
        team.audit(&mut tx, by, "team.update", &member.username, [Some(before), Some(after)]).await?;
        if change.token.is_some() {
            let change = [json!(member.scopes), scopes].map(|scopes| Some(json!({"scopes": scopes})));
            team.audit(&mut tx, by, "token.replace", &member.username, change).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a person on a team another role, unless that leaves the organization without an owner.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn set_role(
        &self,
        team: TeamOf,
        member: &TeamMember,
        role: Role,
        by: By,
    ) -> Result<Changed, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if role != Role::Owner && is_last_owner(&mut tx, team, member.user).await? {
            return Ok(Changed::LastOwner);
        }
        // The role must still be the one that the caller was allowed to change.
        let done = sqlx::query("UPDATE team SET role = $3 WHERE scope = $1 AND user_id = $2 AND role = $4")
            .bind(team.scope())
            .bind(member.user.to_string())
            .bind(role.as_str())
            .bind(member.role.map(Role::as_str))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(Changed::NotThere);
        }
        let change = [member.role, Some(role)].map(|role| role.map(|role| json!({"role": role.as_str()})));
        team.audit(&mut tx, by, "team.update", &member.username, change).await?;
        tx.commit().await?;
        Ok(Changed::Done)
    }

    /// Takes a member off a team, unless it is the organization's last owner. An API user is deleted with its token.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn remove_from_team(
        &self,
        team: TeamOf,
        member: &TeamMember,
        by: By,
    ) -> Result<Changed, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if is_last_owner(&mut tx, team, member.user).await? {
            return Ok(Changed::LastOwner);
        }
        // The role must still be the one that the caller was allowed to take away.
        let sql = "DELETE FROM team WHERE scope = $1 AND user_id = $2 AND COALESCE(role, '') = $3";
        let done = sqlx::query(sql)
            .bind(team.scope())
            .bind(member.user.to_string())
            .bind(member.role.map_or("", Role::as_str))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(Changed::NotThere);
        }
        if member.role.is_none() {
            let before = Some(json!({"scopes": member.scopes}));
            team.audit(&mut tx, by, "token.end", &member.username, [before, None]).await?;
            sqlx::query("DELETE FROM users WHERE id = $1")
                .bind(member.user.to_string())
                .execute(&mut *tx)
                .await?;
        }
        let before = match member.role {
            Some(role) => json!({"role": role.as_str()}),
            None => json!({"friendly_name": member.friendly_name, "scopes": member.scopes}),
        };
        team.audit(&mut tx, by, "team.remove", &member.username, [Some(before), None]).await?;
        tx.commit().await?;
        Ok(Changed::Done)
    }
}

/// Puts a user on a team inside a transaction.
pub(crate) async fn add_member(
    tx: &mut SqliteConnection,
    scope: &str,
    user: UserId,
    role: Option<Role>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "INSERT INTO team (scope, user_id, role, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(scope)
    .bind(user.to_string())
    .bind(role.map(Role::as_str))
    .bind(now.0)
    .execute(tx)
    .await?;
    if done.rows_affected() == 0 { Err(StoreError::Taken("username")) } else { Ok(()) }
}

fn scopes_of(token: &NewToken) -> Value {
    token.scopes.as_deref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

async fn is_last_owner(tx: &mut SqliteConnection, team: TeamOf, user: UserId) -> Result<bool, StoreError> {
    let owners = sqlx::query("SELECT user_id FROM team WHERE scope = $1 AND role = $2 LIMIT 2")
        .bind(team.scope())
        .bind(Role::Owner.as_str())
        .fetch_all(tx)
        .await?;
    let user = user.to_string();
    Ok(matches!(&owners[..], [only] if only.get::<String, _>(0) == user))
}
