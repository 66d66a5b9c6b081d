//! Values of a configuration that are never given back (contract 3.1): where they stand, how they are shown, and how
//! they are kept apart from the rest in the store.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::integration::{Config, FieldError};

/// What stands in an answer for a sensitive value; in a request it means the stored one.
pub const MASK: &str = "[[SENSITIVE]]";

/// Fields whose whole value is sensitive.
const FIELDS: [&str; 9] = [
    "policy_key",
    "api_key",
    "password",
    "token",
    "nkey",
    "creds",
    "secret_access_key",
    "session_token",
    "credentials",
];
/// Entries of `auth` that are sensitive.
const AUTH: [&str; 4] = ["password", "pass", "bearer", "token"];
/// Entries of `signing` that are sensitive.
const SIGNING: [&str; 2] = ["secret", "previous_secret"];

/// Sensitive values by place, as a JSON pointer (RFC 6901).
pub type Sealed = BTreeMap<String, Value>;

/// How the name of a header ends whose value is sensitive, without `-` and `_`.
const HEADER_ENDS: [&str; 20] = [
    "authorization",
    "authentication",
    "cookie",
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "credential",
    "credentials",
    "jwt",
    "apikey",
    "appkey",
    "accesskey",
    "accountkey",
    "authkey",
    "masterkey",
    "projectkey",
    "secretkey",
    "subscriptionkey",
];
/// The same for an entry of `query`. A `key` alone is as often the name of a measurement.
const QUERY_ENDS: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "credential",
    "jwt",
    "apikey",
    "appkey",
    "accesskey",
    "authkey",
    "functionskey",
    "secretkey",
    "subscriptionkey",
    "signature",
];

/// A name without what spellings differ in: `Api_Key`, `api-key` and `apiKey` are one.
fn folded(name: &str) -> String {
    let kept = name.trim().chars().filter(|c| !matches!(c, '-' | '_'));
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether the value of a header with this name is sensitive: `Authorization` and its like, `X-Auth`, `X-…-Key`,
/// `X-…-Token` or `X-…-Secret`, and the names that services use for their keys without `X-` (`DD-API-KEY`, `apikey`,
/// `Ocp-Apim-Subscription-Key`), in any case.
pub fn is_sensitive_header(name: &str) -> bool {
    let lower = name.trim().to_ascii_lowercase();
    let own = lower.starts_with("x-") && ["key", "-auth", "-pass"].iter().any(|end| lower.ends_with(end));
    let folded = folded(name);
    own || HEADER_ENDS.iter().any(|end| folded.ends_with(end))
}

/// Whether the value of a parameter of an address with this name is sensitive: `api_key`, `access_token` and their like.
pub fn is_sensitive_query(name: &str) -> bool {
    let folded = folded(name);
    folded == "sig" || QUERY_ENDS.iter().any(|end| folded.ends_with(end))
}

/// Whether a parameter of this name is sensitive.
pub fn is_sensitive_parameter(name: &str) -> bool {
    ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|end| name.ends_with(end))
}

/// Whether the entry `key` of the field `field` is sensitive; `key` is `None` for the field itself.
fn is_sensitive(field: &str, key: Option<&str>) -> bool {
    match (field, key) {
        (field, None) => FIELDS.contains(&field),
        ("auth", Some(key)) => AUTH.contains(&key),
        ("tls", Some(key)) => key == "key",
        ("signing", Some(key)) => SIGNING.contains(&key),
        ("headers", Some(key)) => is_sensitive_header(key),
        ("query", Some(key)) => is_sensitive_query(key),
        ("parameters", Some(key)) => is_sensitive_parameter(key),
        _ => false,
    }
}

/// Calls `visit` with the pointer and the value of every sensitive place.
fn visit(config: &mut Config, mut visit: impl FnMut(String, &mut Value)) {
    for (field, value) in config {
        if is_sensitive(field, None) {
            visit(pointer(&[field]), value);
        } else if let Value::Object(object) = value {
            for (key, value) in object {
                if is_sensitive(field, Some(key)) {
                    visit(pointer(&[field, key]), value);
                }
            }
        }
    }
}

fn pointer(path: &[&str]) -> String {
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

/// The configuration as it is shown.
pub fn mask(config: &Config) -> Config {
    split(config).0
}

/// Takes the sensitive values out: the configuration as it is shown, and what [`join`] puts back.
pub fn split(config: &Config) -> (Config, Sealed) {
    let mut masked = config.clone();
    let mut sealed = Sealed::new();
    visit(&mut masked, |place, value| {
        sealed.insert(place, std::mem::replace(value, MASK.into()));
    });
    (masked, sealed)
}

/// Puts the sensitive values back where [`split`] took them from.
pub fn join(mut masked: Config, sealed: &Sealed) -> Config {
    visit(&mut masked, |place, value| {
        if let Some(clear) = sealed.get(&place) {
            *value = clear.clone();
        }
    });
    masked
}

/// Replaces each mask that a request sends in a sensitive place by the value stored there, if there is one. Header names
/// match in any case. Gives the places that have nothing to keep.
pub fn keep(config: &mut Config, stored: Option<&Config>) -> Vec<FieldError> {
    let stored: BTreeMap<String, Value> = stored.map(|stored| split(stored).1).unwrap_or_default();
    let find = |place: &str| {
        let same = |known: &&String| known.eq_ignore_ascii_case(place);
        stored.get(place).or_else(|| stored.get(stored.keys().find(same)?))
    };
    let mut errors = Vec::new();
    visit(config, |place, value| {
        if value.as_str() == Some(MASK) {
            match find(&place) {
                Some(kept) => *value = kept.clone(),
                None => errors.push(FieldError::new(
                    dotted(&place),
                    format!("{MASK} stands for the stored value, but none is stored; send the value itself"),
                )),
            }
        }
    });
    errors
}

/// An error for each of these places of which the stored value must not be kept: it was entered for another destination.
pub fn moved<'a>(places: impl IntoIterator<Item = &'a String>) -> Vec<FieldError> {
    let error = |place: &String| {
        let text = "the stored value is kept only while scheme, host and port stay the same; enter it again";
        FieldError::new(dotted(place), text)
    };
    places.into_iter().map(error).collect()
}

/// The places in which a request sends a mask.
pub fn masks(config: &Config) -> Vec<String> {
    let (_, sensitive) = split(config);
    let masks = sensitive.into_iter().filter(|(_, value)| value.as_str() == Some(MASK));
    masks.map(|(place, _)| place).collect()
}

/// Whether a sensitive value is no secret itself: it has none but tags, as in `Bearer {{{TOKEN}}}`.
pub fn only_refers(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return value.is_null() };
    let mut rest = text;
    let mut plain = String::new();
    while let Some((before, tag)) = rest.split_once("{{") {
        plain.push_str(before);
        rest = tag.split_once("}}").map_or("", |(_, after)| after).trim_start_matches('}');
    }
    plain.push_str(rest);
    ["", "bearer", "basic", "token", "apikey", "key"].contains(&&*plain.trim().to_ascii_lowercase())
}

/// A pointer as the name of a field: `/headers/Authorization` is `headers.Authorization`.
fn dotted(place: &str) -> String {
    place.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn config(value: Value) -> Config {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn credentials_are_masked_and_nothing_else_is() {
        for (given, shown) in [
            (json!({"policy_key": "k", "policy_name": "n"}), json!({"policy_key": MASK, "policy_name": "n"})),
            (json!({"api_key": "k"}), json!({"api_key": MASK})),
            (json!({"username": "u", "password": "p"}), json!({"username": "u", "password": MASK})),
            (
                json!({"token": "t", "nkey": "n", "creds": "c", "topic": "d"}),
                json!({"token": MASK, "nkey": MASK, "creds": MASK, "topic": "d"}),
            ),
            (json!({"credentials": {"client_email": "e", "private_key": "p"}}), json!({"credentials": MASK})),
            (
                json!({"parameters": {"SITE": "eu", "API_KEY": "k", "KEYS": "l"}}),
                json!({"parameters": {"SITE": "eu", "API_KEY": MASK, "KEYS": "l"}}),
            ),
            (
                json!({"auth": {"username": "u", "password": "p"}}),
                json!({"auth": {"username": "u", "password": MASK}}),
            ),
            (
                json!({"tls": {"ca": "a", "cert": "b", "key": "c"}}),
                json!({"tls": {"ca": "a", "cert": "b", "key": MASK}}),
            ),
            (
                json!({"signing": {"secret": "a", "previous_secret": "b", "other": "c"}}),
                json!({"signing": {"secret": MASK, "previous_secret": MASK, "other": "c"}}),
            ),
            (json!({"auth": {"bearer": "b"}}), json!({"auth": {"bearer": MASK}})),
            (
                json!({"headers": {"AUTHORIZATION": "Bearer x", "Accept": "y"}}),
                json!({"headers": {"AUTHORIZATION": MASK, "Accept": "y"}}),
            ),
            (
                json!({"headers": {"x-api-key": "a", "X-Auth-Token": "b", "X-Hub-Secret": "c"}}),
                json!({"headers": {"x-api-key": MASK, "X-Auth-Token": MASK, "X-Hub-Secret": MASK}}),
            ),
            (
                json!({"headers": {"Idempotency-Key": "a", "X-Keyboard": "b"}}),
                json!({"headers": {"Idempotency-Key": "a", "X-Keyboard": "b"}}),
            ),
            (
                json!({"json": {"api_key": "a"}, "form": {"token": "b"}}),
                json!({"json": {"api_key": "a"}, "form": {"token": "b"}}),
            ),
            (
                json!({"query": {"api_key": "a", "apiKey": "b", "access_token": "c", "sig": "d", "key": "e", "tokens": 1}}),
                json!({"query": {"api_key": MASK, "apiKey": MASK, "access_token": MASK, "sig": MASK, "key": "e", "tokens": 1}}),
            ),
            (
                json!({"headers": {
                    "Ocp-Apim-Subscription-Key": "a", "X-Auth": "b", "X-Authorization": "c", "X-Auth-Password": "d",
                    "DD_API_KEY": "e", "Proxy-Authorization": "f", "Authority": "g", "X-Author": "h", "Routing-Key": "i"
                }}),
                json!({"headers": {
                    "Ocp-Apim-Subscription-Key": MASK, "X-Auth": MASK, "X-Authorization": MASK, "X-Auth-Password": MASK,
                    "DD_API_KEY": MASK, "Proxy-Authorization": MASK, "Authority": "g", "X-Author": "h", "Routing-Key": "i"
                }}),
            ),
            (json!({"auth": "text", "headers": ["x"]}), json!({"auth": "text", "headers": ["x"]})),
            (json!({"headers": {"Authorization": {"odd": 1}}}), json!({"headers": {"Authorization": MASK}})),
        ] {
            assert_eq!(Value::Object(mask(&config(given.clone()))), shown, "{given}");
        }
    }

    #[test]
    fn a_mask_keeps_the_stored_value_and_is_refused_where_none_is_stored() {
        let stored = config(json!({"headers": {"Authorization": "Bearer hush"}, "api_key": 5, "url": "u"}));
        let mut new = config(json!({"headers": {"authorization": MASK}, "api_key": MASK, "url": MASK}));
        assert_eq!(keep(&mut new, Some(&stored)), []);
        let kept = json!({"headers": {"authorization": "Bearer hush"}, "api_key": 5, "url": MASK});
        assert_eq!(Value::Object(new), kept, "only sensitive places are kept");

        let mut new =
            config(json!({"headers": {"X-A/Key": MASK, "Authorization": MASK}, "policy_key": MASK}));
        let fields: Vec<String> = keep(&mut new, Some(&stored)).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["headers.X-A/Key", "policy_key"]);
        assert_eq!(keep(&mut config(json!({"api_key": MASK})), None).len(), 1);
    }

    fn any_config() -> impl Strategy<Value = Config> {
        let name =
            "[a-z/~.-]{0,6}|Authorization|X-My-Key|password|api_key|policy_key|auth|headers|x-~/secret";
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
            Just(MASK.into())
        ];
        let object = proptest::collection::btree_map(name, leaf.clone(), 0..5);
        let value = prop_oneof![leaf, object.prop_map(|map| Value::Object(map.into_iter().collect()))];
        proptest::collection::btree_map(name, value, 0..6).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_split_is_joined_again(config in any_config()) {
            let (masked, sealed) = split(&config);
            prop_assert_eq!(&mask(&masked), &masked, "masking again changes nothing");
            prop_assert_eq!(join(masked, &sealed), config);
        }

        #[test]
        fn sending_back_what_is_shown_keeps_everything(config in any_config()) {
            let mut sent = mask(&config);
            prop_assert_eq!(keep(&mut sent, Some(&config)), vec![]);
            prop_assert_eq!(sent, config);
        }
    }
}
