//! The difference of two configurations, field by field, as it may be shown.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{integration::Config, sensitive};

/// One field that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The field's name, nested ones with a dot: `headers.Authorization`.
    pub field: String,
    /// How it was; null for what is new. Sensitive values are masked.
    pub before: Value,
    /// How it is; null for what is gone.
    pub after: Value,
}

/// The fields in which two configurations differ, in the order of the later one, then those that are gone. A sensitive
/// value that changed is masked on both sides and still told of.
pub fn changes(before: &Config, after: &Config) -> Vec<Change> {
    let (shown_before, shown_after) = (sensitive::mask(before), sensitive::mask(after));
    let mut all = Vec::new();
    for field in keys(after, before) {
        let pair = [before.get(field), after.get(field)];
        let shown = [shown_before.get(field), shown_after.get(field)];
        if same(pair) {
            continue;
        }
        let found = all.len();
        if let ([Some(Value::Object(old)), Some(Value::Object(new))], [Some(a), Some(b)]) = (pair, shown) {
            for key in keys(new, old).filter(|key| !same([old.get(*key), new.get(*key)])) {
                all.push(change(format!("{field}.{key}"), [a.get(key), b.get(key)]));
            }
        }
        // Where only the order of the entries differs, the field as a whole did change: a body is sent in this order.
        if all.len() == found {
            all.push(change(field.clone(), shown));
        }
    }
    all
}

/// Whether two configurations are the same byte for byte, order included.
pub fn identical(one: &Config, other: &Config) -> bool {
    text(one) == text(other)
}

fn change(field: String, [before, after]: [Option<&Value>; 2]) -> Change {
    let value = |value: Option<&Value>| value.cloned().unwrap_or_default();
    Change { field, before: value(before), after: value(after) }
}

/// The keys of one object, then those that only the other one has.
fn keys<'a>(one: &'a Map<String, Value>, other: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
    one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)))
}

/// Values compare as text, since two objects are equal whatever the order of their entries.
fn same([one, other]: [Option<&Value>; 2]) -> bool {
    one.map(Value::to_string) == other.map(Value::to_string)
}

fn text(config: &Config) -> String {
    // Keys are text, so this cannot fail; an empty text would only make a version too many.
    serde_json::to_string(config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Value {
        let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
        json!(changes(before, after).iter().map(|c| json!([c.field, c.before, c.after])).collect::<Vec<_>>())
    }

    #[test]
    fn each_field_that_changed_is_told_with_both_values_and_no_other_one() {
        let before = json!({"event": "e", "url": "u", "query": {"a": "1", "b": "2"}, "body": "x"});
        let after = json!({"event": "e", "url": "v", "query": {"a": "1", "b": "3", "c": "4"}, "mine": [1]});
        let expected = json!([
            ["url", "u", "v"],
            ["query.b", "2", "3"],
            ["query.c", null, "4"],
            ["mine", null, [1]],
            ["body", "x", null],
        ]);
        assert_eq!(told(&before, &after), expected);
        assert_eq!(told(&before, &before), json!([]));
    }

    #[test]
    fn a_changed_secret_is_told_and_masked_on_both_sides() {
        let before = json!({"headers": {"Authorization": "hush", "Accept": "a"}, "api_key": "one"});
        let after =
            json!({"headers": {"Authorization": "whisper", "Accept": "a"}, "auth": {"password": "p"}});
        let mask = sensitive::MASK;
        let expected = json!([
            ["headers.Authorization", mask, mask],
            ["auth", null, {"password": mask}],
            ["api_key", mask, null],
        ]);
        assert_eq!(told(&before, &after), expected);
    }

    #[test]
    fn another_order_of_a_body_is_a_change() {
        let (before, after) = (json!({"json": {"a": 1, "b": 2}}), json!({"json": {"b": 2, "a": 1}}));
        assert_eq!(told(&before, &after), json!([["json", {"a": 1, "b": 2}, {"b": 2, "a": 1}]]));
        assert!(!identical(before.as_object().unwrap(), after.as_object().unwrap()));
    }

    proptest! {
        #[test]
        fn nothing_is_told_only_where_every_field_is_the_same(
            before in proptest::collection::btree_map("[a-c]", "[x-y]?", 0..3),
            after in proptest::collection::btree_map("[a-c]", "[x-y]?", 0..3),
        ) {
            let config = |map: &std::collections::BTreeMap<String, String>| -> Config {
                map.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect()
            };
            let told = changes(&config(&before), &config(&after));
            prop_assert_eq!(told.is_empty(), before == after);
            for change in told {
                prop_assert_ne!(change.before, change.after);
            }
        }
    }
}
