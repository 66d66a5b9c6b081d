//! Cloud secrets of a sandbox or an organization (contract 2.3).

use std::collections::HashMap;

use serde_json::{Map, Value};
use tributary_domain::{
    Owner, ProductId,
    access::{Action, Actor},
    integration::Integration,
};
use tributary_store::{
    integrations::Which,
    secrets::{SECRETS_PER_OWNER, SecretRow, SecretWrite, SecretWritten},
};
use tributary_targets::{kinds, variables::is_predefined};

use crate::{Control, Error, fields::Fields, place::PlaceKey};

/// Longest name, in characters.
pub(crate) const NAME_CHARS: usize = 64;
/// Longest value, in bytes of UTF-8.
const VALUE_BYTES: usize = 8 * 1024;
/// Integrations that a refusal names.
const NAMED: usize = 5;

/// An integration whose templates use a secret.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretUse {
    /// The integration.
    pub integration: Integration,
    /// The slug of its product where it has one alone.
    pub product_slug: Option<String>,
}

/// A secret as it is shown: everything but its value.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretView {
    /// What is stored of it.
    pub row: SecretRow,
    /// What uses it.
    pub uses: Vec<SecretUse>,
}

impl Control {
    /// The secrets of a sandbox or an organization, by name.
    ///
    /// # Errors
    /// When the place is not the caller's to look at.
    pub async fn list_secrets(&self, actor: &Actor, key: PlaceKey<'_>) -> Result<Vec<SecretView>, Error> {
        let owner = self.place(actor, key, Action::ListSecrets).await?.owner();
        let rows = self.store.secrets(owner).await?;
        let mut uses = self.uses_of_secrets(owner, &rows).await?;
        Ok(rows
            .into_iter()
            .map(|row| SecretView { uses: uses.remove(&row.name).unwrap_or_default(), row })
            .collect())
    }

    /// One secret.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's to look at.
    pub async fn get_secret(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        name: &str,
    ) -> Result<SecretView, Error> {
        let owner = self.place(actor, key, Action::ListSecrets).await?.owner();
        self.secret_of(owner, name).await
    }

    /// Creates a secret from a body `{"secret":{name, value}}`.
    ///
    /// # Errors
    /// Every wrong field at once; a name that is taken is one.
    pub async fn create_secret(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        body: Map<String, Value>,
    ) -> Result<SecretView, Error> {
        let owner = self.place(actor, key, Action::WriteSecrets).await?.owner();
        self.write_secret(actor, owner, None, body).await
    }

    /// Creates a secret under this name, or gives it another value, from a body `{"secret":{value}}`.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub async fn put_secret(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        name: &str,
        body: Map<String, Value>,
    ) -> Result<SecretView, Error> {
        let owner = self.place(actor, key, Action::WriteSecrets).await?.owner();
        self.write_secret(actor, owner, Some(name), body).await
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// When there is none; 409 `secret_in_use` while an integration uses it.
    pub async fn delete_secret(&self, actor: &Actor, key: PlaceKey<'_>, name: &str) -> Result<(), Error> {
        let owner = self.place(actor, key, Action::WriteSecrets).await?.owner();
        let secret = self.secret_of(owner, name).await?;
        if !secret.uses.is_empty() {
            let named: Vec<String> = secret
                .uses
                .iter()
                .take(NAMED)
                .map(|using| format!("\"{}\"", using.integration.text("name")))
                .collect();
            let more = if secret.uses.len() > NAMED { ", …" } else { "" };
            let text =
                format!("{name} is used by {}{more}; change those integrations first", named.join(", "));
            return Err(Error::conflict("secret_in_use", text));
        }
        if !self.store.delete_secret(owner, name, self.by(actor)).await? {
            return Err(no_secret(name));
        }
        Ok(())
    }

    async fn write_secret(
        &self,
        actor: &Actor,
        owner: Owner,
        name: Option<&str>,
        body: Map<String, Value>,
    ) -> Result<SecretView, Error> {
        let how = if name.is_some() { SecretWrite::Put } else { SecretWrite::Create };
        let (name, value) = read_secret(name, body)?;
        match self.store.write_secret(owner, &name, &value, how, self.by(actor)).await? {
            SecretWritten::Created | SecretWritten::Updated => {}
            SecretWritten::Exists => return Err(Error::field("name", format!("{name} is already taken"))),
            SecretWritten::TooMany => {
                let text = format!("there are {SECRETS_PER_OWNER} secrets already, which is the limit");
                return Err(Error::conflict("limit_reached", text));
            }
        }
        self.secret_of(owner, &name).await
    }

    async fn secret_of(&self, owner: Owner, name: &str) -> Result<SecretView, Error> {
        let row = self.store.secret(owner, name).await?.ok_or_else(|| no_secret(name))?;
        let uses = self.uses_of_secrets(owner, std::slice::from_ref(&row)).await?.remove(name);
        Ok(SecretView { row, uses: uses.unwrap_or_default() })
    }

    /// The integrations of an owner whose templates use these secrets, by the secret's name.
    async fn uses_of_secrets(
        &self,
        owner: Owner,
        secrets: &[SecretRow],
    ) -> Result<HashMap<String, Vec<SecretUse>>, Error> {
        let mut uses: HashMap<String, Vec<SecretUse>> = HashMap::new();
        if secrets.is_empty() {
            return Ok(uses);
        }
        let slugs = self.product_names(owner).await?;
        let slug = |product: ProductId| slugs.get(&product).map(|(slug, _)| slug.clone());
        for integration in self.store.integrations(Which::Of(owner)).await? {
            let names = self.names_in(&integration);
            for secret in secrets.iter().filter(|secret| names.contains(&secret.name)) {
                let product_slug = match &integration.members[..] {
                    [member] => slug(member.product),
                    _ => None,
                };
                let using = SecretUse { integration: integration.clone(), product_slug };
                uses.entry(secret.name.clone()).or_default().push(using);
            }
        }
        Ok(uses)
    }

    /// Every name that an integration's templates look up. One that no longer compiles uses none: it does not run.
    pub(crate) fn names_in(&self, integration: &Integration) -> Vec<String> {
        let kind = kinds::find(integration.text("integration_type"));
        let target = kind.and_then(|kind| kind.compile(&integration.config, &self.settings.targets).ok());
        target.map(|target| target.variables()).unwrap_or_default()
    }
}

fn no_secret(name: &str) -> Error {
    Error::not_found(format!("secret {name}"))
}

/// Name and value of a secret; `name` is the one of the path, else it stands in the body.
fn read_secret(name: Option<&str>, mut body: Map<String, Value>) -> Result<(String, String), Error> {
    let inner = match body.remove("secret") {
        Some(Value::Object(inner)) => inner,
        Some(_) => return Err(Error::field("secret", "must be an object with a value")),
        None => body,
    };
    let mut fields = Fields::of(inner);
    let name = name.map(str::to_owned).or_else(|| fields.text("name"));
    match name.as_deref() {
        Some(name) if !is_name(name) => {
            let rule = "must be capital letters, digits and underscores, not begin with a digit, and";
            fields.wrong("name", format!("{rule} have at most {NAME_CHARS} characters"));
        }
        Some(name) if is_predefined(name) => {
            fields.wrong("name", format!("{name} is the name of a variable of events; choose another"));
        }
        Some(_) => {}
        None => fields.wrong("name", "is required"),
    }
    let value = fields.text("value");
    match value.as_deref() {
        None | Some("") => fields.wrong("value", "is required"),
        Some(value) if value.len() > VALUE_BYTES => {
            fields.wrong("value", format!("must be at most {VALUE_BYTES} bytes long"));
        }
        Some(_) => {}
    }
    fields.finish()?;
    Ok((name.unwrap_or_default(), value.unwrap_or_default()))
}

pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_uppercase() || b == b'_');
    first
        && name.len() <= NAME_CHARS
        && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_capital_words() {
        for good in ["A", "_", "API_KEY", "_A1"] {
            assert!(is_name(good), "{good}");
        }
        for wrong in ["", "1A", "a", "API-KEY", "ÄPI", &"A".repeat(65)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
