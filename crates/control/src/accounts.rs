//! People: signing up, signing in, passwords.

use std::net::IpAddr;

use serde_json::{Map, Value};
use tributary_domain::{UserId, access::Actor};
use tributary_store::users::EndTokens;

use crate::{Control, Error, access::hash_token, accounts_settings::Signup, fields::Fields};

/// Shortest password, in characters.
const PASSWORD_LEAST_CHARS: usize = 8;
/// Longest password, in bytes.
const PASSWORD_MOST_BYTES: usize = 1_024;
/// What the user names of API users end in, which nobody can sign up with.
pub(crate) const API_USER_DOMAIN: &str = "@api.tributary";

/// Somebody who wants to sign up.
#[derive(Clone, Debug)]
pub struct NewUser {
    username: String,
    password: String,
}

impl NewUser {
    /// Reads `{username, password}`. User names do not depend on case.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(body: Map<String, Value>) -> Result<NewUser, Error> {
        let mut fields = Fields::of(body);
        let username = fields.required_name("username").to_lowercase();
        if username.ends_with(API_USER_DOMAIN) {
            fields.wrong("username", format!("must not end in {API_USER_DOMAIN}, which is for API users"));
        }
        let password = read_password(&mut fields);
        fields.finish()?;
        Ok(NewUser { username, password })
    }
}

pub(crate) fn read_password(fields: &mut Fields) -> String {
    let given = fields.is_given("password");
    let password = fields.text("password");
    match &password {
        None if !given => fields.wrong("password", "is required"),
        Some(text) if text.chars().count() < PASSWORD_LEAST_CHARS => {
            fields.wrong("password", format!("must have at least {PASSWORD_LEAST_CHARS} characters"));
        }
        Some(text) if text.len() > PASSWORD_MOST_BYTES => {
            fields.wrong("password", format!("must have at most {PASSWORD_MOST_BYTES} bytes"));
        }
        _ => {}
    }
    password.unwrap_or_default()
}

/// A new password.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    current: String,
    new: String,
    end: End,
}

/// Which tokens a change of the password ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All but the one that it is asked with, unless the caller says something else.
    Others,
    All,
    None,
}

impl PasswordChange {
    /// Reads `{current_password, password, invalidate_tokens?}`. Other tokens and sessions end, also the caller's own with
    /// `invalidate_tokens`, and none when that is false.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(body: Map<String, Value>) -> Result<PasswordChange, Error> {
        let mut fields = Fields::of(body);
        if fields.is_given("username") {
            fields.wrong("username", "cannot be changed");
        }
        let new = read_password(&mut fields);
        if !fields.is_given("current_password") {
            fields.wrong("current_password", "is required");
        }
        let current = fields.text("current_password").unwrap_or_default();
        let end = match fields.switch("invalidate_tokens") {
            None => End::Others,
            Some(true) => End::All,
            Some(false) => End::None,
        };
        fields.finish()?;
        Ok(PasswordChange { current, new, end })
    }
}

impl Control {
    /// Signs somebody up, if the server lets anybody (contract 2.2: open, first or closed).
    ///
    /// # Errors
    /// [`Error::Forbidden`] when signing up is closed, a field error when the name is taken.
    pub async fn sign_up(&self, new: NewUser) -> Result<UserId, Error> {
        let closed = || Error::Forbidden("signing up is closed on this server; ask who runs it".to_owned());
        let only_first = match self.settings.accounts.signup {
            Signup::Open => false,
            Signup::First => true,
            Signup::Closed => return Err(closed()),
        };
        // Asked before the hashing for the sake of work, and once more by the transaction that writes.
        if only_first && self.store.has_users().await? {
            return Err(closed());
        }
        let hash = self.passwords.hash(&new.password).await?;
        let id = UserId(self.new_id());
        match self.store.create_user(id, &new.username, &hash, self.now(), only_first).await? {
            true => Ok(id),
            false => Err(closed()),
        }
    }

    /// Whether anybody has signed up yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn has_users(&self) -> Result<bool, Error> {
        Ok(self.store.has_users().await?)
    }

    /// Who has this user name and password. `from` is the caller's address, by which failures are counted.
    ///
    /// # Errors
    /// 400 `invalid_grant` when they do not belong together, [`Error::TooMany`] after too many failures.
    pub async fn sign_in(
        &self,
        username: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<UserId, Error> {
        let username = username.trim().to_lowercase();
        let (settings, origin) = (&self.settings.accounts, from.into());
        self.sign_in_limits.check(settings, origin, &username, self.now())?;
        let user = self.store.user_by_name(&username).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.clone());
        let right = self.passwords.matches(password, hash).await?;
        self.sign_in_limits.note(settings, origin, &username, self.now(), right)?;
        match user {
            Some(user) if right => Ok(user.id),
            _ => Err(Error::refused("invalid_grant", "User credentials are invalid")),
        }
    }

    /// Changes the caller's own password, asked for with this token.
    ///
    /// # Errors
    /// A field error when the current password is wrong, [`Error::TooMany`] after too many failures.
    pub async fn change_password(
        &self,
        actor: &Actor,
        token: &str,
        change: PasswordChange,
        from: Option<IpAddr>,
    ) -> Result<(), Error> {
        self.person(actor)?;
        self.sign_in(&actor.username, &change.current, from).await.map_err(|error| match error {
            Error::Refused { .. } => Error::field("current_password", "is not the current password"),
            other => other,
        })?;
        let hash = self.passwords.hash(&change.new).await?;
        let end = match change.end {
            End::Others => EndTokens::AllBut(hash_token(token)),
            End::All => EndTokens::All,
            End::None => EndTokens::None,
        };
        self.store.set_password(actor.user, &hash, end).await?;
        Ok(())
    }
}
