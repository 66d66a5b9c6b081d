//! Google service accounts: a signed statement (JWT, RS256) is exchanged for a token, which is kept until shortly before
//! it expires ("Using OAuth 2.0 for Server to Server Applications").

use std::fmt;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    AddressPolicy, Attempt, Clients, Endpoint, Message,
    net::Via,
    service::{explained, final_error},
    settings::Clock,
    text::percent,
};

/// How long a statement is valid, in seconds; Google takes no more.
const STATEMENT_S: i64 = 3_600;
/// How long before its end a token is replaced, in milliseconds.
const RENEW_BEFORE_MS: i64 = 300_000;
/// Longest lifetime of a token that is believed, in seconds.
const TOKEN_MAX_S: i64 = 86_400;
/// Longest token, in bytes: Google's have at most 2,048.
const TOKEN_BYTES: usize = 16 * 1024;
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A service account with the tokens that it has got.
pub struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    token_uri: String,
    endpoint: Endpoint,
    via: Via,
    token: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    renew_at_ms: i64,
}

/// What a key file says, as far as it is used.
#[derive(Deserialize)]
struct KeyFile {
    client_email: String,
    private_key: String,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("email", &self.email).finish_non_exhaustive()
    }
}

impl ServiceAccount {
    /// Reads the text of a key file of the operator's: tokens are fetched wherever it says.
    ///
    /// # Errors
    /// What is wrong with it, without anything secret.
    pub fn parse(text: &str) -> Result<ServiceAccount, String> {
        ServiceAccount::read(&key_file(text)?, Via::Operator)
    }

    /// Reads the text of a key file of a customer's: tokens are fetched only where `addresses` allows it. Gives the private
    /// key's text too, which logs must not show.
    ///
    /// # Errors
    /// As [`ServiceAccount::parse`].
    pub(crate) fn of_customer(
        text: &str,
        addresses: &AddressPolicy,
    ) -> Result<(ServiceAccount, String), String> {
        let file = key_file(text)?;
        let account = ServiceAccount::read(&file, Via::Checked)?;
        // Names are checked when they are connected to.
        let host = account.endpoint.destination().rsplit_once(':').map_or("", |(host, _)| host);
        let refusal = host.trim_matches(['[', ']']).parse().ok().and_then(|ip| addresses.refusal(ip));
        refusal.map_or(Ok((account, file.private_key)), |refusal| Err(format!("token_uri: {refusal}")))
    }

    fn read(file: &KeyFile, via: Via) -> Result<ServiceAccount, String> {
        let key = pkcs8(&file.private_key).and_then(|der| RsaKeyPair::from_pkcs8(&der).ok());
        let token_uri = file.token_uri.as_deref().unwrap_or("https://oauth2.googleapis.com/token");
        Ok(ServiceAccount {
            email: file.client_email.clone(),
            key_id: file.private_key_id.clone(),
            key: key.ok_or("private_key: must be an RSA key in PEM (BEGIN PRIVATE KEY)")?,
            endpoint: Endpoint::parse(token_uri).map_err(|error| format!("token_uri: {error}"))?,
            token_uri: token_uri.to_owned(),
            via,
            token: Mutex::new(None),
        })
    }

    /// The present token for `scope`, or a new one; the failed attempt when there is none to be had.
    ///
    /// Whoever comes while one is fetched waits for it. An account is used with one scope only.
    pub(crate) async fn token(
        &self,
        scope: &str,
        clock: Clock,
        clients: &Clients,
    ) -> Result<String, Attempt> {
        let mut token = self.token.lock().await;
        if let Some(token) = token.as_ref().filter(|token| clock.now().0 < token.renew_at_ms) {
            return Ok(token.text.clone());
        }
        let fetched = self.fetch(scope, clock, clients).await?;
        Ok(token.insert(fetched).text.clone())
    }

    /// Forgets a token that was refused.
    pub(crate) async fn forget(&self, refused: &str) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.text == refused) {
            *token = None;
        }
    }

    async fn fetch(&self, scope: &str, clock: Clock, clients: &Clients) -> Result<Token, Attempt> {
        let now_ms = clock.now().0;
        let statement = self
            .statement(scope, now_ms.div_euclid(1_000))
            .ok_or_else(|| final_error("the service account's key cannot sign"))?;
        let mut body = String::from("grant_type=");
        percent(&mut body, GRANT);
        body.push_str("&assertion=");
        percent(&mut body, &statement);
        let message = Message {
            destination: self.endpoint.destination().to_owned(),
            method: "POST".to_owned(),
            url: self.endpoint.itself_or("/"),
            headers: vec![("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned())],
            body: body.into(),
        };
        let attempt = explained(clients.send(&message, self.via).await, &[&statement], oauth_error);
        if attempt.error.is_some() {
            // Not the destination's reply: the log would show it as such.
            return Err(Attempt { reply: None, ..attempt });
        }
        let reply = attempt.reply.and_then(|reply| serde_json::from_slice::<Value>(&reply.body).ok());
        let text = reply.as_ref().and_then(|reply| reply.get("access_token")?.as_str());
        let is_token = |text: &&str| text.len() <= TOKEN_BYTES && text.bytes().all(|b| b.is_ascii_graphic());
        let text = text.filter(is_token);
        let text = text.ok_or_else(|| final_error("the token endpoint answered without a token"))?;
        let lifetime_s = reply.as_ref().and_then(|reply| reply.get("expires_in")?.as_i64());
        let lifetime_ms = lifetime_s.unwrap_or_default().clamp(0, TOKEN_MAX_S) * 1_000;
        // A token that lives no longer than this is used once.
        Ok(Token { text: text.to_owned(), renew_at_ms: now_ms + lifetime_ms - RENEW_BEFORE_MS })
    }

    fn statement(&self, scope: &str, now_s: i64) -> Option<String> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.email, "scope": scope, "aud": self.token_uri, "iat": now_s, "exp": now_s + STATEMENT_S,
        });
        let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut text);
        Some(text)
    }
}

fn key_file(text: &str) -> Result<KeyFile, String> {
    let wrong = |error: serde_json::Error| {
        // The text of serde_json's error may have a value in it.
        format!("is not the JSON key of a service account (line {}, column {})", error.line(), error.column())
    };
    serde_json::from_str(text).map_err(wrong)
}

/// The bytes inside a PEM text of a private key.
fn pkcs8(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (inside, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let inside: String = inside.chars().filter(|c| !c.is_whitespace()).collect();
    BASE64.decode(inside).ok()
}

/// `invalid_grant: Invalid JWT Signature.`
fn oauth_error(json: &Value) -> Option<String> {
    let error = json.get("error")?.as_str()?;
    let more = json.get("error_description").and_then(Value::as_str);
    Some(more.map_or_else(|| error.to_owned(), |more| format!("{error}: {more}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_cannot_be_used_is_explained_without_what_is_in_it() {
        let error = |text: &str| ServiceAccount::parse(text).err().unwrap_or_default();
        assert!(error("k3y").starts_with("is not the JSON key of a service account"), "{}", error("k3y"));
        assert!(!error(r#"{"client_email": 5, "private_key": "k3y"}"#).contains("k3y"));
        let no_key = r#"{"client_email":"a@b","private_key":"k3y"}"#;
        assert_eq!(error(no_key), "private_key: must be an RSA key in PEM (BEGIN PRIVATE KEY)");
    }
}
