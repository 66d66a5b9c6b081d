//! When two configurations are equal (contract 1.2): after normalising, so that a default spelled out, the order of
//! keys, and an absent field given as `null` make no difference.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    draft::{FLAGS, flag},
    integration::Config,
};

/// Objects of texts, in which a number means the same as its text and an empty one the same as none.
const TEXTS: [&str; 4] = ["headers", "query", "auth", "parameters"];

/// A configuration in the one form that all its equals have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Normal(BTreeMap<String, String>);

/// Whether the name of an integration is part of what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameCounts {
    /// For separating: another name is a change.
    Yes,
    /// For merging: integrations may be equal under different names.
    No,
}

/// Normalises a configuration in clear. `defaults` are the values that its kind takes for absent fields.
pub fn normal(config: &Config, defaults: &[(&str, Value)], name: NameCounts) -> Normal {
    let mut fields = BTreeMap::new();
    for (field, value) in config {
        if let Some(value) = normal_field(field, value) {
            fields.insert(field.clone(), value);
        }
    }
    for (field, value) in defaults {
        if !fields.contains_key(*field)
            && let Some(value) = normal_field(field, value)
        {
            fields.insert((*field).to_owned(), value);
        }
    }
    if name == NameCounts::No {
        fields.remove("name");
    }
    Normal(fields.into_iter().map(|(field, value)| (field, value.to_string())).collect())
}

impl Normal {
    /// The fields in which two configurations differ, in alphabetical order.
    pub fn differences<'a>(&'a self, other: &'a Normal) -> Vec<&'a str> {
        let mut fields: Vec<&str> = self.0.keys().chain(other.0.keys()).map(String::as_str).collect();
        fields.sort_unstable();
        fields.dedup();
        fields.retain(|field| self.0.get(*field) != other.0.get(*field));
        fields
    }
}

/// The value of one field; `None` for one that means the same as none.
fn normal_field(field: &str, value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        // An empty field of a form is none.
        Value::String(text) if text.is_empty() => None,
        value if FLAGS.contains(&field) => Some(flag(value).map_or_else(|| sorted(value), Value::Bool)),
        Value::String(method) if field == "requestType" => Some(method.to_ascii_uppercase().into()),
        Value::Object(object) if TEXTS.contains(&field) => {
            let given = object.iter().filter(|(_, value)| !value.is_null());
            let texts: Map<String, Value> = given.map(|(key, value)| (key.clone(), text(value))).collect();
            if texts.is_empty() { None } else { Some(sorted(&Value::Object(texts))) }
        }
        value => Some(sorted(value)),
    }
}

/// A scalar as the text that is sent for it.
fn text(value: &Value) -> Value {
    match value {
        Value::Bool(_) | Value::Number(_) => value.to_string().into(),
        other => other.clone(),
    }
}

/// The same value with the keys of all its objects in alphabetical order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(sorted).collect(),
        Value::Object(object) => {
            let by_key: BTreeMap<&String, &Value> = object.iter().collect();
            by_key.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn defaults() -> Vec<(&'static str, Value)> {
        vec![("requestType", json!("POST")), ("rejectUnauthorized", json!(true)), ("disabled", json!(false))]
    }

    fn of(config: &Value, name: NameCounts) -> Normal {
        normal(config.as_object().unwrap(), &defaults(), name)
    }

    #[test]
    fn defaults_key_order_and_absent_fields_make_no_difference() {
        let base = json!({"event": "e", "url": "u"});
        for same in [
            json!({"url": "u", "event": "e"}),
            json!({"event": "e", "url": "u", "requestType": "POST"}),
            json!({"event": "e", "url": "u", "requestType": "post", "rejectUnauthorized": true}),
            json!({"event": "e", "url": "u", "rejectUnauthorized": "true", "disabled": "false"}),
            json!({"event": "e", "url": "u", "body": "", "json": null, "headers": {}, "query": {"a": null}}),
        ] {
            assert_eq!(of(&base, NameCounts::Yes), of(&same, NameCounts::Yes), "{same}");
        }
        let nested = |json: Value| of(&json!({"json": json, "query": {"n": 1}}), NameCounts::Yes);
        assert_eq!(
            nested(json!({"a": {"x": 1, "y": [{"p": 1, "q": 2}]}, "b": 2})),
            nested(json!({"b": 2, "a": {"y": [{"q": 2, "p": 1}], "x": 1}}))
        );
        assert_eq!(
            of(&json!({"query": {"n": 1}}), NameCounts::Yes),
            of(&json!({"query": {"n": "1"}}), NameCounts::Yes)
        );
    }

    #[test]
    fn every_other_change_is_a_difference_and_is_named() {
        let base = json!({"event": "e", "url": "u", "name": "n", "json": {"a": 1}, "list": [1, 2]});
        for (field, value) in [
            ("event", json!("E")),
            ("url", json!("u/")),
            ("name", json!("m")),
            ("json", json!({"a": "1"})),
            ("json", json!({"a": 1, "b": null})),
            ("list", json!([2, 1])),
            ("disabled", json!(true)),
            ("requestType", json!("GET")),
            ("mine", json!("x")),
        ] {
            let mut other = base.clone();
            other[field] = value.clone();
            let (one, other) = (of(&base, NameCounts::Yes), of(&other, NameCounts::Yes));
            assert_eq!(one.differences(&other), [field], "{value}");
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_name_counts_only_where_it_is_asked_for() {
        let (one, other) = (json!({"event": "e", "name": "a"}), json!({"event": "e", "name": "b"}));
        assert_ne!(of(&one, NameCounts::Yes), of(&other, NameCounts::Yes));
        assert_eq!(of(&one, NameCounts::No), of(&other, NameCounts::No));
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(fields in proptest::collection::btree_map("[a-z]{1,4}|headers|query|disabled|requestType", "[a-zA-Z0-9]{0,4}|true|POST", 0..6)) {
            let config: Config = fields.into_iter().map(|(k, v)| (k, v.into())).collect();
            let once = normal(&config, &defaults(), NameCounts::Yes);
            let parsed: Config = once.0.iter().map(|(k, v)| (k.clone(), serde_json::from_str(v).unwrap())).collect();
            prop_assert_eq!(normal(&parsed, &defaults(), NameCounts::Yes), once);
        }
    }
}
