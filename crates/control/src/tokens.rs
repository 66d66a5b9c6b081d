//! Access tokens (contract 2.1).

use std::net::IpAddr;

use serde_json::{Map, Value};
use tributary_domain::{OrgId, Timestamp, UserId, access::Actor, time::DAY_MS};
use tributary_store::tokens::NewToken;

use crate::{Control, Error, access::hash_token, fields::Fields};

/// The clients that exist: id and secret. They are public knowledge and protect nothing.
const CLIENTS: [(&str, &str); 3] =
    [("particle", "particle"), ("particle-api", "particle-api"), ("particle-cli", "particle-cli")];
/// How long a token lives unless the caller says otherwise, in seconds: 90 days.
const DEFAULT_SECONDS: i64 = 90 * 86_400;
/// The longest lifetime that ends, in seconds: ten years.
const LONGEST_SECONDS: i64 = 3_650 * 86_400;
/// The client of the console's tokens: it has no secret, since nobody else can ask for one.
const CONSOLE_CLIENT: &str = "console";
/// How long a person stays signed in at the console, in seconds: 14 days.
pub const SESSION_SECONDS: i64 = 14 * 86_400;
/// Random bytes in a token; it is written as twice as many hexadecimal digits.
const TOKEN_BYTES: usize = 20;

/// A request for a token.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    client: &'static str,
    grant: Grant,
    expires_in: i64,
}

#[derive(Clone, Debug)]
enum Grant {
    Password { username: String, password: String },
    Refresh { token: String },
}

impl TokenRequest {
    /// Reads the form of `POST /oauth/token`. `basic` is the client's id and secret from the `Authorization` header.
    ///
    /// # Errors
    /// 400 with the codes of RFC 6749.
    pub fn read(basic: Option<(String, String)>, body: Map<String, Value>) -> Result<TokenRequest, Error> {
        let mut fields = Fields::of(body);
        let client = read_client(basic, &mut fields)?;
        let mut required = |field: &'static str| {
            let text = fields.text(field).filter(|text| !text.is_empty());
            text.ok_or_else(|| Error::refused("invalid_request", format!("{field}: is required")))
        };
        let grant = match required("grant_type")?.as_str() {
            "password" => {
                Grant::Password { username: required("username")?, password: required("password")? }
            }
            "refresh_token" => Grant::Refresh { token: required("refresh_token")? },
            other => {
                let text = format!("grant_type: {other} is not offered; use password or refresh_token");
                return Err(Error::refused("unsupported_grant_type", text));
            }
        };
        let expires_in = fields.number("expires_in").unwrap_or(DEFAULT_SECONDS);
        if !(0..=LONGEST_SECONDS).contains(&expires_in) {
            fields.wrong(
                "expires_in",
                format!("must be 0 (never) or a number of seconds up to {LONGEST_SECONDS}"),
            );
        }
        fields.finish()?;
        Ok(TokenRequest { client, grant, expires_in })
    }
}

fn read_client(basic: Option<(String, String)>, fields: &mut Fields) -> Result<&'static str, Error> {
    let (id, secret) = match basic {
        Some(pair) => pair,
        None => {
            (fields.text("client_id").unwrap_or_default(), fields.text("client_secret").unwrap_or_default())
        }
    };
    let client = CLIENTS.iter().find(|client| client.0 == id && client.1 == secret);
    client
        .map(|client| client.0)
        .ok_or_else(|| Error::refused("invalid_client", "Client credentials are invalid"))
}

/// A token that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// 40 hexadecimal digits.
    pub access_token: String,
    /// Its lifetime in seconds; 0 = it does not end.
    pub expires_in: i64,
    /// 40 hexadecimal digits.
    pub refresh_token: String,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// `None` = never.
    pub expires_at: Option<Timestamp>,
    /// The client that it was given to.
    pub client: String,
    /// What it is limited to; empty for a person's token, which is not limited.
    pub scopes: Vec<String>,
    /// The organizations on whose team its user is.
    pub orgs: Vec<(OrgId, String)>,
}

impl Control {
    /// Gives out a token for a password or a refresh token; the latter ends, with the access token it came with.
    ///
    /// # Errors
    /// 400 `invalid_grant`, [`Error::TooMany`].
    pub async fn grant_token(&self, request: TokenRequest, from: Option<IpAddr>) -> Result<Granted, Error> {
        let (access_token, refresh_token) = (self.new_token(), self.new_token());
        let expires_in = request.expires_in;
        let now = self.now();
        let new = |user: UserId| NewToken {
            hash: hash_token(&access_token),
            refresh_hash: Some(hash_token(&refresh_token)),
            user,
            client: request.client.to_owned(),
            scopes: None,
            created_at: now,
            expires_at: (expires_in > 0).then(|| now.plus_ms(expires_in.saturating_mul(1_000))),
        };
        match request.grant {
            Grant::Password { username, password } => {
                let user = self.sign_in(&username, &password, from).await?;
                self.store.insert_token(&new(user)).await?;
            }
            Grant::Refresh { token } => {
                let rotated = self.store.rotate_token(&hash_token(&token), request.client, new).await?;
                rotated.ok_or_else(|| Error::refused("invalid_grant", "Refresh token is invalid"))?;
            }
        }
        Ok(Granted { access_token, expires_in, refresh_token })
    }

    /// Signs a person in at the console: a token without a refresh token, for [`SESSION_SECONDS`].
    ///
    /// # Errors
    /// As [`Control::sign_in`].
    pub async fn start_session(
        &self,
        username: &str,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<String, Error> {
        let user = self.sign_in(username, password, from).await?;
        let (token, now) = (self.new_token(), self.now());
        let new = NewToken {
            hash: hash_token(&token),
            refresh_hash: None,
            user,
            client: CONSOLE_CLIENT.to_owned(),
            scopes: None,
            created_at: now,
            expires_at: Some(now.plus_ms(SESSION_SECONDS * 1_000)),
        };
        self.store.insert_token(&new).await?;
        Ok(token)
    }

    /// A token for the person's own use with a client, for so many days.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user.
    pub async fn issue_token(&self, actor: &Actor, days: i64) -> Result<String, Error> {
        self.person(actor)?;
        let (token, now) = (self.new_token(), self.now());
        let new = NewToken {
            hash: hash_token(&token),
            refresh_hash: None,
            user: actor.user,
            client: CLIENTS[0].0.to_owned(),
            scopes: None,
            created_at: now,
            expires_at: Some(now.plus_ms(days.saturating_mul(DAY_MS))),
        };
        self.store.insert_token(&new).await?;
        Ok(token)
    }

    /// What the caller's token is.
    ///
    /// # Errors
    /// [`Error::InvalidToken`].
    pub async fn token_info(&self, token: &str) -> Result<TokenInfo, Error> {
        let actor = self.authenticate(token).await?;
        let row = self.store.token(&hash_token(token)).await?.ok_or(Error::InvalidToken)?;
        let orgs = self.store.org_names_of(actor.user).await?;
        let scopes = actor.scopes.unwrap_or_default().iter().map(|scope| scope.as_str().to_owned()).collect();
        Ok(TokenInfo { expires_at: row.expires_at, client: row.client, scopes, orgs })
    }

    /// Ends a token. Holding it is right enough, and one that is unknown has ended already.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn end_token(&self, token: &str) -> Result<(), Error> {
        let hash = hash_token(token);
        // Anybody may ask: a text that is no token must not cost a turn of the only writer.
        if self.store.token(&hash).await?.is_some() {
            self.store.delete_token(&hash, self.now()).await?;
        }
        Ok(())
    }

    /// Ends all tokens of the caller, this one too.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user: its token ends with it.
    pub async fn end_all_tokens(&self, actor: &Actor) -> Result<(), Error> {
        self.person(actor)?;
        self.store.delete_tokens_of(actor.user).await?;
        Ok(())
    }

    /// A new token: 40 hexadecimal digits.
    pub(crate) fn new_token(&self) -> String {
        let mut bytes = [0; TOKEN_BYTES];
        (self.sources.random)(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn read(basic: Option<(&str, &str)>, body: Value) -> Result<TokenRequest, Error> {
        let Value::Object(map) = body else { panic!("an object") };
        TokenRequest::read(basic.map(|(id, secret)| (id.to_owned(), secret.to_owned())), map)
    }

    #[test]
    fn requests_that_cannot_be_granted_say_which_part_is_wrong() {
        let client = Some(("particle", "particle"));
        let fine = json!({"grant_type": "password", "username": "a", "password": "b"});
        for (basic, change, code) in [
            (None, json!({}), "invalid_client"),
            (Some(("particle", "wrong")), json!({}), "invalid_client"),
            (Some(("particle-api", "particle")), json!({}), "invalid_client"),
            (client, json!({"grant_type": null}), "invalid_request"),
            (client, json!({"grant_type": "magic"}), "unsupported_grant_type"),
            (client, json!({"username": ""}), "invalid_request"),
            (client, json!({"password": null}), "invalid_request"),
            (client, json!({"grant_type": "refresh_token"}), "invalid_request"),
            (client, json!({"expires_in": "soon"}), "invalid_request"),
            (client, json!({"expires_in": -1}), "invalid_request"),
            (client, json!({"expires_in": 315_360_001}), "invalid_request"),
        ] {
            let mut body = fine.clone();
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            match read(basic, body.clone()).unwrap_err() {
                Error::Refused { code: got, .. } | Error::Invalid { code: got, .. } => {
                    assert_eq!(got, code, "{body}");
                }
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn the_client_may_stand_in_the_body_and_a_lifetime_may_be_text() {
        let body = json!({
            "grant_type": "password", "username": "a", "password": "b",
            "client_id": "particle-cli", "client_secret": "particle-cli", "expires_in": "60",
        });
        let request = read(None, body).unwrap();
        assert_eq!((request.client, request.expires_in), ("particle-cli", 60));
    }
}
