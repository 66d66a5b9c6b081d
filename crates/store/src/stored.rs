//! The form in which a configuration is kept: JSON `{"v":1,"config":{…}}` with sensitive values masked, and beside it
//! those values as JSON, sealed by the vault for this integration's id.

use serde::{Deserialize, Serialize};
use tributary_domain::{IntegrationId, integration::Config, sensitive};

use crate::{StoreError, Vault};

/// The version that is written. Older ones stay readable.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Form {
    v: u32,
    config: Config,
}

/// A configuration as its two columns.
pub(crate) struct Columns {
    /// The column `config`.
    pub(crate) config: String,
    /// The column `sealed`; `None` when nothing in it is sensitive.
    pub(crate) sealed: Option<Vec<u8>>,
}

fn unreadable(why: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unreadable { what: "configuration", why: why.to_string() }
}

pub(crate) fn encode(vault: &Vault, id: IntegrationId, config: &Config) -> Result<Columns, StoreError> {
    let (masked, clear) = sensitive::split(config);
    let text =
        serde_json::to_string(&Form { v: VERSION, config: masked }).map_err(|error| unreadable(&error))?;
    let sealed = if clear.is_empty() {
        None
    } else {
        let clear = serde_json::to_vec(&clear).map_err(|error| unreadable(&error))?;
        Some(vault.seal(&id.to_string(), &clear).map_err(|error| unreadable(&error))?)
    };
    Ok(Columns { config: text, sealed })
}

pub(crate) fn decode(vault: &Vault, id: IntegrationId, columns: &Columns) -> Result<Config, StoreError> {
    let form: Form = serde_json::from_str(&columns.config).map_err(|error| unreadable(&error))?;
    if form.v != VERSION {
        return Err(unreadable(&format!("version {} is not known", form.v)));
    }
    let Some(sealed) = &columns.sealed else { return Ok(form.config) };
    let clear = vault.open(&id.to_string(), sealed).map_err(|error| unreadable(&error))?;
    Ok(sensitive::join(form.config, &serde_json::from_slice(&clear).map_err(|error| unreadable(&error))?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::vault::KEY_BYTES;

    const ID: IntegrationId = IntegrationId([7; 12]);

    /// What version 1 wrote, under a key of 32 times 7. It must stay readable.
    const V1: &str = r#"{"v":1,"config":{"event":"e","headers":{"Authorization":"[[SENSITIVE]]"},"mine":{"z":1,"a":[true]}}}"#;

    fn vault() -> Vault {
        Vault::new(&[7; KEY_BYTES])
    }

    fn config() -> Config {
        let config =
            json!({"event": "e", "headers": {"Authorization": "hush"}, "mine": {"z": 1, "a": [true]}});
        config.as_object().unwrap().clone()
    }

    #[test]
    fn version_1_is_written_and_read() {
        let written = encode(&vault(), ID, &config()).unwrap();
        assert_eq!(written.config, V1);
        let sealed = vault().seal(&ID.to_string(), br#"{"/headers/Authorization":"hush"}"#).unwrap();
        let read = decode(&vault(), ID, &Columns { config: V1.to_owned(), sealed: Some(sealed) }).unwrap();
        assert_eq!(read, config());
        assert_eq!(decode(&vault(), ID, &written).unwrap(), config());
    }

    #[test]
    fn another_version_another_integration_and_damage_are_told() {
        let read = |text: &str| decode(&vault(), ID, &Columns { config: text.to_owned(), sealed: None });
        assert!(read(r#"{"v":2,"config":{}}"#).unwrap_err().to_string().contains("version 2"));
        assert!(read("{}").is_err());
        let written = encode(&vault(), ID, &config()).unwrap();
        assert!(decode(&vault(), IntegrationId([8; 12]), &written).is_err());
        assert!(encode(&vault(), ID, &Config::new()).unwrap().sealed.is_none());
    }
}
