//! The versions of an integration: looking at them, and going back to one.

use serde_json::{Map, Value};
use tributary_domain::{
    FieldError, Owner, ProductId,
    access::{Action, Actor},
    changes::{Change, changes},
    integration::{Config, Integration},
    sensitive,
};
use tributary_store::integrations::{NotWritten, Seen};
pub use tributary_store::versions::VersionRow;
use tributary_targets::{Settings, kinds, variables::is_predefined};

use crate::{
    Control, Error,
    integrations::View,
    kept,
    newest::{Newest, Paged},
    place::{ATTEMPTS, Found, PlaceKey, changed_meanwhile, refusal, shared_integration},
};

/// A version beside the present one.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The version.
    pub row: VersionRow,
    /// From the present configuration to that of the version, sensitive values masked.
    pub changes: Vec<Change>,
    /// Products with parameters that they override and that the version does not declare.
    pub lost: Vec<(ProductId, Vec<String>)>,
}

impl Control {
    /// The versions of an integration, newest first.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's to look at; every wrong parameter.
    pub async fn list_versions(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        page: &Newest,
    ) -> Result<Paged<VersionRow>, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let found = self.find_integration(&place, id).await?.integration;
        let page = page.read()?;
        let rows = self.store.versions(place.owner(), found.id, page.before, page.asked()).await?;
        Ok(page.of(rows, |row| row.version))
    }

    /// One version of an integration with its configuration, sensitive values masked.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's to look at.
    pub async fn get_version(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        version: &str,
    ) -> Result<(VersionRow, Config), Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let found = self.find_integration(&place, id).await?.integration;
        let (row, config) = self.version_of(&found, version).await?;
        Ok((row, sensitive::mask(&config)))
    }

    /// Gives an integration the configuration that it had in one of its versions, sensitive values included. That makes a
    /// new version. Its products stay as they are.
    ///
    /// # Errors
    /// As [`Control::replace_integration`]; 400 that names each field which is no longer valid, or refers to a secret
    /// that is gone.
    pub async fn restore_version(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        version: &str,
    ) -> Result<View, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        for _ in 0..ATTEMPTS {
            let Found { integration: old, member } = self.find_integration(&place, id).await?;
            if member.is_some() && old.is_shared() {
                return Err(shared_integration(&old));
            }
            let (row, config) = self.version_of(&old, version).await?;
            kept::check_restored(&old, &config)?;
            self.must_still_be_valid(place.owner(), &row, &config).await?;
            let (seen, only) = (Seen::of(&old), member.map(|member| member.id));
            let chosen = (row.version, &config);
            let write = self.store.restore_integration(place.owner(), seen, chosen, only, self.by(actor));
            match write.await? {
                Ok(new) => {
                    return self.view_in(&place, Found { integration: new, member }).await;
                }
                Err(NotWritten::Changed | NotWritten::Gone | NotWritten::Shared) => {}
                Err(why) => return Err(refusal(why, id)),
            }
        }
        Err(changed_meanwhile())
    }

    /// What going back to a version would change: the fields, and the parameters whose values on products are then lost.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's to look at.
    pub async fn compare_version(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        version: &str,
    ) -> Result<Comparison, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let now = self.find_integration(&place, id).await?.integration;
        let (row, config) = self.version_of(&now, version).await?;
        let declared = tributary_domain::parameters::declared(&config);
        let lost = |member: &tributary_domain::integration::Member| {
            let own = now.overrides_of(member.id)?;
            let lost: Vec<String> =
                own.keys().filter(|name| !declared.contains_key(*name)).cloned().collect();
            (!lost.is_empty()).then_some((member.product, lost))
        };
        let lost = now.members.iter().filter_map(lost).collect();
        Ok(Comparison { row, changes: changes(&now.config, &config), lost })
    }

    async fn version_of(&self, of: &Integration, number: &str) -> Result<(VersionRow, Config), Error> {
        let found = match number.parse::<i64>() {
            Ok(number) => self.store.version(of.owner, of.id, number).await?,
            Err(_) => None,
        };
        found.ok_or_else(|| Error::not_found(format!("version {number} of the integration")))
    }

    /// What was right once may not be now: a limit or a rule has changed, or a secret was deleted.
    async fn must_still_be_valid(
        &self,
        owner: Owner,
        row: &VersionRow,
        config: &Config,
    ) -> Result<(), Error> {
        let errors = match used_names(config, &self.settings.targets) {
            Err(errors) => errors,
            Ok(used) => {
                let mut gone = self.store.secrets_gone_since(owner, row.at).await?;
                gone.retain(|secret| used.contains(secret) && !is_predefined(secret));
                gone.iter().map(|secret| secret_gone(config, secret)).collect()
            }
        };
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid { code: "invalid_integration", errors }),
        }
    }
}

/// Every name that the templates of a configuration look up, or what its kind no longer accepts.
fn used_names(config: &Config, settings: &Settings) -> Result<Vec<String>, Vec<FieldError>> {
    let name = config.get("integration_type").and_then(Value::as_str).unwrap_or_default();
    let unknown = || vec![FieldError::new("integration_type", format!("{name} is no longer known"))];
    let kind = kinds::find(name).ok_or_else(unknown)?;
    Ok(kind.compile(config, settings)?.variables())
}

fn secret_gone(config: &Config, secret: &str) -> FieldError {
    let message = format!("version refers to the secret {secret}, which is gone; create it again first");
    FieldError::new(field_with(config, secret).unwrap_or_else(|| "secrets".to_owned()), message)
}

/// The first field whose template looks a name up, nested ones with a dot.
fn field_with(config: &Map<String, Value>, name: &str) -> Option<String> {
    config.iter().find_map(|(field, value)| match value {
        Value::Object(entries) if !looks_up(field, name) => {
            field_with(entries, name).map(|inner| format!("{field}.{inner}"))
        }
        value => (looks_up(field, name) || holds(value, name)).then(|| field.clone()),
    })
}

fn holds(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => looks_up(text, name),
        Value::Array(list) => list.iter().any(|value| holds(value, name)),
        Value::Object(map) => map.iter().any(|(key, value)| looks_up(key, name) || holds(value, name)),
        _ => false,
    }
}

/// Whether a template that is known to parse has this name between braces.
fn looks_up(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split("{{").skip(1).any(|rest| {
        let tag = rest.split("}}").next().unwrap_or_default();
        tag.split(|c: char| !is_part(c)).any(|word| word == name)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn what_its_kind_no_longer_accepts_is_named() {
        let wrong = |config: Value| -> Vec<String> {
            let errors = used_names(config.as_object().unwrap(), &Settings::default()).unwrap_err();
            errors.into_iter().map(|error| error.field).collect()
        };
        let webhook = |url: &str| json!({"integration_type": "Webhook", "event": "e", "url": url});
        assert_eq!(wrong(webhook("http://127.0.0.1/in")), ["url"], "an operator has forbidden it since");
        assert_eq!(wrong(json!({"integration_type": "Gone", "event": "e"})), ["integration_type"]);
        let fine = webhook("https://example.com/{{{KEY}}}");
        assert_eq!(used_names(fine.as_object().unwrap(), &Settings::default()).unwrap(), ["KEY"]);
    }

    #[test]
    fn the_field_that_looks_a_name_up_is_found_wherever_it_stands() {
        for (config, field) in [
            (json!({"url": "https://example.com/{{{KEY}}}"}), Some("url")),
            (
                json!({"name": "KEY", "headers": {"Accept": "KEY", "X-Api-Key": "{{ KEY }}"}}),
                Some("headers.X-Api-Key"),
            ),
            (json!({"json": {"a": {"b": ["{{&KEY}}"]}}}), Some("json.a.b")),
            (json!({"query": {"{{KEY}}": "1"}}), Some("query.{{KEY}}")),
            (json!({"body": "{{#KEY}}x{{/KEY}}"}), Some("body")),
            (json!({"body": "{{KEYS}} KEY {{A_KEY}}"}), None),
        ] {
            let found = field_with(config.as_object().unwrap(), "KEY");
            assert_eq!(found.as_deref(), field, "{config}");
        }
    }
}
