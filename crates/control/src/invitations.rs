//! Invitations to a team by a link (contract 2.2). No mail is sent: who invites gets the link and hands it on.

use serde_json::{Map, Value};
use tributary_domain::{
    Timestamp, UserId,
    access::{Action, Actor, Role, Standing},
    account::{Org, Product},
    time::DAY_MS,
};
pub use tributary_store::invitations::Invitation;
use tributary_store::{
    StoreError,
    invitations::{FoundInvitation, Joining, NewInvitation},
    team::TeamOf,
};

use crate::{
    Control, Error,
    access::{hash_token, standing_in_product, standing_of},
    accounts::{API_USER_DOMAIN, read_password},
    fields::Fields,
    team::{Team, TeamKey},
};

/// Days for which an invitation can be accepted.
const INVITATION_DAYS: i64 = 7;
/// Most open invitations of one team.
const INVITATIONS_PER_TEAM: usize = 100;

/// An invitation as it is given to who invites, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationLink {
    /// Who is invited.
    pub username: String,
    /// What it will be on the team.
    pub role: Role,
    /// 40 hexadecimal digits.
    pub token: String,
    /// The time from which on it is worth nothing.
    pub expires_at: Timestamp,
}

/// Who joined what by an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The user name of who joined.
    pub username: String,
    /// Whether its account was created.
    pub is_new: bool,
    /// What it is on the team.
    pub role: Role,
    /// What the team belongs to.
    pub place: JoinedPlace,
}

/// What a joined team belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinedPlace {
    /// An organization.
    Org(Org),
    /// A product.
    Product(Product),
}

fn no_invitation() -> Error {
    Error::not_found("an invitation that can still be accepted was")
}

impl Control {
    /// Invites somebody who has no account. The caller has asked for access.
    pub(crate) async fn invite(
        &self,
        actor: &Actor,
        team: TeamOf,
        username: String,
        role: Role,
    ) -> Result<InvitationLink, Error> {
        if username.ends_with(API_USER_DOMAIN) {
            return Err(Error::field(
                "username",
                "no such API user; create one with friendly_name and scopes",
            ));
        }
        let (token, expires_at) = (self.new_token(), self.now().plus_ms(INVITATION_DAYS * DAY_MS));
        let new = NewInvitation { username: username.clone(), role, hash: hash_token(&token), expires_at };
        if !self.store.invite(team, &new, INVITATIONS_PER_TEAM, self.by(actor)).await? {
            let text = format!("the team has {INVITATIONS_PER_TEAM} open invitations, which is the limit");
            return Err(Error::conflict("limit_reached", text));
        }
        Ok(InvitationLink { username, role, token, expires_at })
    }

    /// The open invitations of a team.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn list_invitations(&self, actor: &Actor, key: &TeamKey) -> Result<Vec<Invitation>, Error> {
        let team = self.team(actor, key, Action::ListTeam).await?;
        Ok(self.store.invitations(team.of, self.now()).await?)
    }

    /// Ends an invitation before it is accepted.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn revoke_invitation(&self, actor: &Actor, key: &TeamKey, username: &str) -> Result<(), Error> {
        let team = self.team(actor, key, Action::InviteTeam).await?;
        let wanted = username.trim().to_lowercase();
        let open = self.store.invitations(team.of, self.now()).await?;
        let missing = || Error::not_found(format!("invitation of {username}"));
        let invitation = open.into_iter().find(|one| one.username == wanted).ok_or_else(missing)?;
        team.may_take(invitation.role)?;
        match self.store.revoke_invitation(team.of, &wanted, self.by(actor)).await? {
            true => Ok(()),
            false => Err(missing()),
        }
    }

    /// Accepts an invitation: as the person who is signed in, or else by a new account under the invited name, with the
    /// password of the body, also where signing up is closed.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it was used or revoked, has expired, or who gave it could not give it any more; 409
    /// `sign_in_first` when there is an account of the invited name, `already_member`.
    pub async fn accept_invitation(
        &self,
        actor: Option<&Actor>,
        token: &str,
        body: Map<String, Value>,
    ) -> Result<Joined, Error> {
        if let Some(actor) = actor {
            self.person(actor)?;
        }
        let hash = hash_token(token);
        let found = self.store.invitation(&hash, self.now()).await?.ok_or_else(no_invitation)?;
        let place = self.still_given(&found).await?;
        self.has_room(found.team).await?;
        let (who, username) = match actor {
            Some(actor) => (Joining::Known(actor.user, actor.username.clone()), actor.username.clone()),
            None => (self.new_account(&found, body).await?, found.username.clone()),
        };
        let joined = self.store.join(&found, &hash, &who, self.now()).await;
        let is_new = actor.is_none();
        match joined {
            Ok(true) => {}
            Ok(false) => return Err(no_invitation()),
            Err(StoreError::Taken(_)) if is_new => return Err(sign_in_first(&found.username)),
            Err(StoreError::Taken(_)) => {
                return Err(Error::conflict("already_member", "you are on this team already"));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Joined { username, is_new, role: found.role, place })
    }

    async fn new_account(&self, found: &FoundInvitation, body: Map<String, Value>) -> Result<Joining, Error> {
        if self.store.user_by_name(&found.username).await?.is_some() {
            return Err(sign_in_first(&found.username));
        }
        let mut fields = Fields::of(body);
        let password = read_password(&mut fields);
        fields.finish()?;
        let hash = self.passwords.hash(&password).await?;
        Ok(Joining::New(UserId(self.new_id()), hash))
    }

    /// What an invitation leads to, if who gave it could give it today: nobody comes back by a link of their own after
    /// they were taken off the team.
    async fn still_given(&self, found: &FoundInvitation) -> Result<JoinedPlace, Error> {
        let (standing, place) = match found.team {
            TeamOf::Org(id) => {
                let org = self.store.org(&id.to_string()).await?.ok_or_else(no_invitation)?;
                let row = self.store.role_in(found.team, found.invited_by).await?;
                (standing_of(row), JoinedPlace::Org(org))
            }
            TeamOf::Product(id, _) => {
                let product = self.store.product(&id.to_string()).await?.ok_or_else(no_invitation)?;
                let roles = self.store.roles_in_product(&product, found.invited_by).await?;
                let standing = standing_in_product(&product, roles, found.invited_by);
                (standing, JoinedPlace::Product(product))
            }
        };
        let may_invite = match standing {
            Standing::Member(role) => role >= Action::InviteTeam.role(),
            Standing::ApiUser => true,
            Standing::Stranger => false,
        };
        let team = Team { of: found.team, standing };
        match may_invite && team.may_give(found.role).is_ok() {
            true => Ok(place),
            false => Err(no_invitation()),
        }
    }

    /// Hands an organization over: the person under `username` in the body becomes its owner, the actor an
    /// Administrator.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for everybody but the owner, a field error for who is not on the team.
    pub async fn transfer_org(
        &self,
        actor: &Actor,
        key: &str,
        body: Map<String, Value>,
    ) -> Result<String, Error> {
        let org = self.org(actor, key, Action::UpdateOrg).await?;
        let mut fields = Fields::of(body);
        let username = fields.required_name("username").to_lowercase();
        fields.finish()?;
        let members = self.store.team(TeamOf::Org(org.id)).await?;
        let wrong = |text: &str| Error::field("username", text);
        let member = members.into_iter().find(|member| member.username == username);
        let member = member.ok_or_else(|| wrong("is not on the team of the organization; add them first"))?;
        if member.role.is_none() {
            return Err(wrong("is an API user; an owner is a person"));
        }
        if member.user == actor.user {
            return Err(wrong("is the owner already"));
        }
        if !self.store.transfer_ownership(org.id, actor.user, &member, self.by(actor)).await? {
            let text = "the team was changed at the same moment; look at it again and repeat";
            return Err(Error::conflict("changed_meanwhile", text));
        }
        Ok(member.username)
    }
}

fn sign_in_first(username: &str) -> Error {
    Error::conflict(
        "sign_in_first",
        format!("there is an account {username} already; sign in to it and accept the invitation then"),
    )
}
