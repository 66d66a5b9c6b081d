//! Secrets for signing that the server makes (`signing` of a webhook): filled in before a configuration is checked, and
//! told once, in the answer to the request that asked for one.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use tributary_domain::{integration::Config, sensitive};

use crate::integrations::View;

/// Length of a secret, in bytes before base64.
const SECRET_BYTES: usize = 32;
/// The text that asks for a new secret.
const GENERATE: &str = "generate";

/// Completes `signing` in a request. Without a secret the stored one stays, and if there is none, one is made. The word
/// `generate` makes one in any case; the stored one then goes on signing as `previous_secret`, unless the request names
/// another. Gives the secret that was made.
pub(crate) fn complete(
    config: &mut Config,
    stored: Option<&Config>,
    random: fn(&mut [u8]),
) -> Option<String> {
    let Some(Value::Object(signing)) = config.get_mut("signing") else { return None };
    let absent = |value: Option<&Value>| value.is_none_or(|v| v.is_null() || v.as_str() == Some(""));
    let asked = signing.get("secret").and_then(Value::as_str) == Some(GENERATE);
    if !asked && !absent(signing.get("secret")) {
        return None;
    }
    let kept = stored.and_then(|stored| stored.get("signing")?.get("secret")).filter(|kept| kept.is_string());
    match kept {
        Some(kept) if !asked => {
            signing.insert("secret".to_owned(), kept.clone());
            return None;
        }
        Some(kept) if absent(signing.get("previous_secret")) => {
            signing.insert("previous_secret".to_owned(), kept.clone());
        }
        _ => {}
    }
    let mut bytes = [0; SECRET_BYTES];
    random(&mut bytes);
    let secret = format!("whsec_{}", BASE64.encode(bytes));
    signing.insert("secret".to_owned(), secret.clone().into());
    Some(secret)
}

/// Shows the secret that was made in place of its mask.
pub(crate) fn tell(mut view: View, made: Option<String>) -> View {
    if let Some(made) = made
        && let Some(shown) = view.integration.config.get_mut("signing").and_then(|s| s.get_mut("secret"))
        && shown.as_str() == Some(sensitive::MASK)
    {
        *shown = made.into();
    }
    view
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_made_when_asked_for_or_when_there_is_none() {
        const MADE: &str = "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        for (given, stored, becomes, made) in [
            (json!({}), json!(null), json!({"secret": MADE}), true),
            (json!({"secret": ""}), json!(null), json!({"secret": MADE}), true),
            (json!({"secret": "generate"}), json!(null), json!({"secret": MADE}), true),
            (json!({}), json!({"secret": "old"}), json!({"secret": "old"}), false),
            (json!({"secret": "mine"}), json!({"secret": "old"}), json!({"secret": "mine"}), false),
            (
                json!({"secret": "generate"}),
                json!({"secret": "old", "previous_secret": "older"}),
                json!({"secret": MADE, "previous_secret": "old"}),
                true,
            ),
            (
                json!({"secret": "generate", "previous_secret": "other"}),
                json!({"secret": "old"}),
                json!({"secret": MADE, "previous_secret": "other"}),
                true,
            ),
            (json!("text"), json!(null), json!("text"), false),
        ] {
            let mut config = Config::from_iter([("signing".to_owned(), given.clone())]);
            let stored = Config::from_iter([("signing".to_owned(), stored)]);
            let told = complete(&mut config, Some(&stored), |bytes| bytes.fill(7));
            assert_eq!(config["signing"], becomes, "{given}");
            assert_eq!(told.as_deref(), made.then_some(MADE), "{given}");
        }
        assert_eq!(complete(&mut Config::new(), None, |_| {}), None);
    }
}
