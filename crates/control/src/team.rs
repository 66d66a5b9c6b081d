//! Teams of organizations and products (contract 2.2).

use serde_json::{Map, Value, json};
use tributary_domain::{
    UserId,
    access::{Action, Actor, Role, Scope, Standing},
    account::Product,
};
pub use tributary_store::team::TeamMember;
use tributary_store::{
    team::{ApiUserChange, Changed, NewApiUser, TeamOf},
    tokens::NewToken,
};

use crate::{
    Control, Error,
    access::{decide, hash_token, standing_of},
    accounts::API_USER_DOMAIN,
    fields::Fields,
    invitations::InvitationLink,
};

/// The role of a person who is added without one: enough to build, not enough to manage the team.
const DEFAULT_ROLE: Role = Role::Developer;
/// Most members of one team.
const TEAM_MEMBERS: usize = 1_000;
/// Longest part of a friendly name that goes into the user name, in characters.
const FRIENDLY_CHARS: usize = 40;
/// Random characters that make the user name unique.
const RANDOM_CHARS: usize = 10;
/// The client of the tokens of API users.
const API_CLIENT: &str = "api-user";

/// A team, by the id or slug of what it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TeamKey {
    /// An organization's.
    Org(String),
    /// A product's own.
    Product(String),
}

/// Somebody to add to a team.
#[derive(Clone, Debug)]
pub enum NewMember {
    /// A person who has signed up.
    Person {
        /// Its user name.
        username: String,
        /// What it may do.
        role: Role,
    },
    /// An API user to create.
    ApiUser {
        /// What it is called.
        friendly_name: String,
        /// What it may do.
        scopes: Vec<Scope>,
    },
}

impl NewMember {
    /// Reads `{username, role?}` or `{friendly_name, scopes}`.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(body: Map<String, Value>) -> Result<NewMember, Error> {
        let mut fields = Fields::of(body);
        let api_user = fields.is_given("friendly_name") || fields.is_given("scopes");
        let new = if api_user {
            let friendly_name = fields.required_name("friendly_name");
            let scopes = read_scopes(&mut fields).unwrap_or_else(|| {
                fields.wrong("scopes", "list at least one scope");
                Vec::new()
            });
            NewMember::ApiUser { friendly_name, scopes }
        } else {
            let username = fields.required_name("username").to_lowercase();
            NewMember::Person { username, role: read_role(&mut fields).unwrap_or(DEFAULT_ROLE) }
        };
        fields.finish()?;
        Ok(new)
    }
}

/// A change of a member; what is `None` stays.
#[derive(Clone, Debug)]
pub struct MemberChange {
    role: Option<Role>,
    friendly_name: Option<String>,
    scopes: Option<Vec<Scope>>,
}

impl MemberChange {
    /// Reads `{role}` for a person, `{friendly_name?, scopes?}` for an API user.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(body: Map<String, Value>) -> Result<MemberChange, Error> {
        let mut fields = Fields::of(body);
        let role = read_role(&mut fields);
        let friendly_name = fields.name("friendly_name");
        let scopes = read_scopes(&mut fields);
        fields.finish()?;
        Ok(MemberChange { role, friendly_name, scopes })
    }
}

fn read_role(fields: &mut Fields) -> Option<Role> {
    // A role is read in the form in which the team's list shows it, too.
    let text = match fields.take("role")? {
        Value::Object(mut role) => role.remove("name"),
        other => Some(other),
    };
    let role = text.as_ref().and_then(Value::as_str).and_then(|text| text.parse().ok());
    if role.is_none() {
        fields.wrong("role", tributary_domain::access::UnknownRole.to_string());
    }
    role
}

fn read_scopes(fields: &mut Fields) -> Option<Vec<Scope>> {
    let list = match fields.take("scopes")? {
        Value::Array(list) => list,
        one @ Value::String(_) => vec![one],
        _ => {
            fields.wrong("scopes", "must be a list of scopes");
            return Some(Vec::new());
        }
    };
    if list.is_empty() {
        fields.wrong("scopes", "list at least one scope");
    }
    let mut scopes: Vec<Scope> = Vec::new();
    for value in list {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match text.parse::<Scope>() {
            Ok(scope) if scopes.contains(&scope) => {}
            Ok(scope) => scopes.push(scope),
            Err(error) => fields.wrong("scopes", error.to_string()),
        }
    }
    Some(scopes)
}

/// An API user's token, shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUserToken {
    /// The API user's name.
    pub username: String,
    /// 40 hexadecimal digits.
    pub token: String,
    /// What it may do.
    pub scopes: Vec<String>,
}

/// What adding somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// A person with an account is on the team.
    Person,
    /// A new API user is on the team.
    ApiUser(ApiUserToken),
    /// Nobody has that name yet: who gets the link joins.
    Invited(InvitationLink),
}

/// A team that the actor may act on, and what the actor is to it.
pub(crate) struct Team {
    pub(crate) of: TeamOf,
    /// Of a token that is limited to scopes: as an API user, whoever has it.
    pub(crate) standing: Standing,
}

impl Control {
    /// The members of a team.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn list_team(&self, actor: &Actor, key: &TeamKey) -> Result<Vec<TeamMember>, Error> {
        let team = self.team(actor, key, Action::ListTeam).await?;
        Ok(self.store.team(team.of).await?)
    }

    /// Adds a person, invites one who has not signed up, or creates an API user and gives its token.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], a field error for a person who is on it already.
    pub async fn add_to_team(&self, actor: &Actor, key: &TeamKey, new: NewMember) -> Result<Added, Error> {
        let team = self.team(actor, key, Action::InviteTeam).await?;
        self.has_room(team.of).await?;
        let added = match new {
            NewMember::Person { username, role } => {
                team.may_give(role)?;
                match self.store.user_by_name(&username).await? {
                    Some(user) if user.password_hash.is_some() => {
                        self.store.add_to_team(team.of, &user, role, self.by(actor)).await?;
                        Added::Person
                    }
                    Some(_) => {
                        return Err(Error::field("username", "is an API user, which has its one team"));
                    }
                    None => Added::Invited(self.invite(actor, team.of, username, role).await?),
                }
            }
            NewMember::ApiUser { friendly_name, scopes } => {
                may_grant(actor, &scopes)?;
                Added::ApiUser(self.create_api_user(actor, team.of, friendly_name, &scopes).await?)
            }
        };
        Ok(added)
    }

    /// Whether one more member fits on the team.
    pub(crate) async fn has_room(&self, team: TeamOf) -> Result<(), Error> {
        if self.store.team(team).await?.len() >= TEAM_MEMBERS {
            let text = format!("the team has {TEAM_MEMBERS} members, which is the limit");
            return Err(Error::conflict("limit_reached", text));
        }
        Ok(())
    }

    async fn create_api_user(
        &self,
        actor: &Actor,
        team: TeamOf,
        name: String,
        scopes: &[Scope],
    ) -> Result<ApiUserToken, Error> {
        let slug: String = tributary_domain::account::slug_of(&name).chars().take(FRIENDLY_CHARS).collect();
        let username = format!("{slug}+{}{API_USER_DOMAIN}", self.random_word(RANDOM_CHARS));
        let id = UserId(self.new_id());
        let (shown, token) = self.api_token(id, &username, scopes);
        let new = NewApiUser { id, username, friendly_name: name, token };
        self.store.create_api_user(team, &new, self.by(actor)).await?;
        Ok(shown)
    }

    /// A new token for an API user: as it is shown and as it is stored.
    fn api_token(&self, user: UserId, username: &str, scopes: &[Scope]) -> (ApiUserToken, NewToken) {
        let token = self.new_token();
        let scopes: Vec<String> = scopes.iter().map(|scope| scope.as_str().to_owned()).collect();
        let row = NewToken {
            hash: hash_token(&token),
            refresh_hash: None,
            user,
            client: API_CLIENT.to_owned(),
            scopes: Some(json!(scopes).to_string()),
            created_at: self.now(),
            expires_at: None,
        };
        (ApiUserToken { username: username.to_owned(), token, scopes }, row)
    }

    /// Changes a member: a person's role, or an API user's name and scopes. New scopes come with a new token; the old
    /// one ends.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Conflict`] when it is the last owner.
    pub async fn update_member(
        &self,
        actor: &Actor,
        key: &TeamKey,
        username: &str,
        change: MemberChange,
    ) -> Result<Option<ApiUserToken>, Error> {
        let team = self.team(actor, key, Action::UpdateTeam).await?;
        let member = self.member(&team, username).await?;
        let updated = match (member.role, change) {
            (Some(old), MemberChange { role: Some(new), .. }) => {
                team.may_take(old)?;
                team.may_give(new)?;
                check(self.store.set_role(team.of, &member, new, self.by(actor)).await?, username)?;
                None
            }
            (Some(_), _) => return Err(Error::field("role", "is required")),
            (None, MemberChange { role: Some(_), .. }) => {
                return Err(Error::field("role", "is for people; an API user has scopes"));
            }
            (None, MemberChange { friendly_name: None, scopes: None, .. }) => {
                return Err(Error::field("scopes", "is required"));
            }
            (None, MemberChange { friendly_name, scopes, .. }) => {
                may_grant(actor, scopes.as_deref().unwrap_or_default())?;
                let new = scopes.map(|scopes| self.api_token(member.user, &member.username, &scopes));
                let (shown, token) = new.unzip();
                let change = ApiUserChange { friendly_name, token };
                if !self.store.update_api_user(team.of, &member, &change, self.by(actor)).await? {
                    return Err(no_member(username));
                }
                shown
            }
        };
        Ok(updated)
    }

    /// Takes a member off a team; an API user is deleted with its token.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Conflict`] when it is the last owner.
    pub async fn remove_member(&self, actor: &Actor, key: &TeamKey, username: &str) -> Result<(), Error> {
        let team = self.team(actor, key, Action::RemoveTeam).await?;
        let member = self.member(&team, username).await?;
        if let Some(role) = member.role {
            team.may_take(role)?;
        }
        check(self.store.remove_from_team(team.of, &member, self.by(actor)).await?, username)?;
        Ok(())
    }

    pub(crate) async fn team(&self, actor: &Actor, key: &TeamKey, action: Action) -> Result<Team, Error> {
        let (of, standing) = match key {
            TeamKey::Org(key) => {
                let org = self.org(actor, key, action).await?;
                let of = TeamOf::Org(org.id);
                (of, standing_of(self.store.role_in(of, actor.user).await?))
            }
            TeamKey::Product(key) => {
                let (product, standing): (Product, Standing) = self.product_and_standing(actor, key).await?;
                decide(standing, actor, action, || format!("product {key}"))?;
                (TeamOf::Product(product.id, product.owner), standing)
            }
        };
        let standing = if actor.scopes.is_some() { Standing::ApiUser } else { standing };
        Ok(Team { of, standing })
    }

    pub(crate) async fn member(&self, team: &Team, username: &str) -> Result<TeamMember, Error> {
        let wanted = username.trim().to_lowercase();
        let members = self.store.team(team.of).await?;
        members.into_iter().find(|member| member.username == wanted).ok_or_else(|| no_member(username))
    }
}

impl Team {
    /// Whether the actor may make somebody this.
    pub(crate) fn may_give(&self, role: Role) -> Result<(), Error> {
        match (role, self.of, self.standing) {
            (Role::Owner, TeamOf::Product(..), _) => Err(Error::field(
                "role",
                "a product's team has no owner; its owner is who the product belongs to",
            )),
            // From Developer on a role may do what no scope lets an API user do, such as writing secrets.
            (role, _, Standing::ApiUser) if !role.only_looks() => Err(Error::Forbidden(format!(
                "an API user gives no role that may do more than look, such as {}",
                role.as_str()
            ))),
            (role, _, Standing::Member(own)) if role > own => {
                Err(Error::Forbidden(format!("your role is {}; you cannot give a higher one", own.as_str())))
            }
            (_, _, Standing::Stranger) => Err(Error::not_found("team")),
            _ => Ok(()),
        }
    }

    /// Whether the actor may change or remove somebody who is this.
    pub(crate) fn may_take(&self, role: Role) -> Result<(), Error> {
        match (role, self.standing) {
            (Role::Administrator | Role::Owner, Standing::ApiUser) => {
                Err(Error::Forbidden("an API user cannot change or remove an administrator".to_owned()))
            }
            (Role::Owner, standing) => only_owners(standing),
            _ => Ok(()),
        }
    }
}

fn only_owners(standing: Standing) -> Result<(), Error> {
    match standing {
        Standing::Member(Role::Owner) => Ok(()),
        _ => Err(Error::Forbidden(format!("this needs the role {}", Role::Owner.as_str()))),
    }
}

/// An API user that manages a team gives no more than it has.
fn may_grant(actor: &Actor, scopes: &[Scope]) -> Result<(), Error> {
    let Some(own) = &actor.scopes else { return Ok(()) };
    let covered = |wanted: &Scope| own.iter().any(|scope| scope.includes(wanted));
    match scopes.iter().find(|scope| !covered(scope)) {
        None => Ok(()),
        Some(scope) => Err(Error::Forbidden(format!("this needs the scope {} itself", scope.as_str()))),
    }
}

fn check(changed: Changed, username: &str) -> Result<(), Error> {
    match changed {
        Changed::Done => Ok(()),
        Changed::NotThere => Err(no_member(username)),
        Changed::LastOwner => Err(Error::conflict(
            "last_owner",
            format!("\"{username}\" is the only {}; make somebody else one first", Role::Owner.as_str()),
        )),
    }
}

fn no_member(username: &str) -> Error {
    Error::not_found(format!("team member {username}"))
}
