//! The rules of request bodies as tables.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

const TYPES: [&str; 2] = ["Webhook", "GoogleMaps"];

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn read_at(level: Level, body: Value) -> Draft {
    read(object(body), level, DEFAULT_TYPE, &TYPES)
}

#[test]
fn older_spellings_absent_fields_and_flags_of_forms_become_what_is_meant_today() {
    for (body, config) in [
        (json!({"eventName": "a"}), json!({"event": "a"})),
        (json!({"eventName": "old", "event": "new"}), json!({"event": "new"})),
        (json!({"event": null, "eventName": "a"}), json!({"event": "a"})),
        (
            json!({"event": "a", "deviceid": "ABCDEF0123456789abcdef01"}),
            json!({"event": "a", "deviceID": "abcdef0123456789abcdef01"}),
        ),
        (
            json!({"event": "a", "deviceId": "abcdef0123456789abcdef01"}),
            json!({"event": "a", "deviceID": "abcdef0123456789abcdef01"}),
        ),
        (json!({"event": "a", "deviceid": "", "name": " "}), json!({"event": "a"})),
        (json!({"event": "a", "form": null, "json": null, "auth": null}), json!({"event": "a"})),
        (
            json!({"event": "a", "rejectUnauthorized": "false", "noDefaults": "TRUE", "disabled": "0"}),
            json!({"event": "a", "rejectUnauthorized": false, "noDefaults": true, "disabled": false}),
        ),
        (
            json!({"event": "a", "headers": {"X": null, "Y": "1"}}),
            json!({"event": "a", "headers": {"Y": "1"}}),
        ),
        (json!({"event": "a", "json": {"kept": null}}), json!({"event": "a", "json": {"kept": null}})),
        (
            json!({"event": "a", "auth": {"user": "u", "pass": "p"}}),
            json!({"event": "a", "auth": {"username": "u", "password": "p"}}),
        ),
        (
            json!({"event": "a", "auth": {"user": "u", "username": "v"}}),
            json!({"event": "a", "auth": {"user": "u", "username": "v"}}),
        ),
        (
            json!({"event": "a", "_": "the following are optional", "mine": {"b": [1]}}),
            json!({"event": "a", "_": "the following are optional", "mine": {"b": [1]}}),
        ),
        (json!({"event": "a", "disabled": "", "body": ""}), json!({"event": "a", "body": ""})),
        (json!({"event": "a", "access_token": "x"}), json!({"event": "a"})),
    ] {
        let draft = read_at(Level::Sandbox, body.clone());
        assert_eq!(draft.errors, [], "{body}");
        let mut expected = object(config);
        expected.insert("integration_type".into(), "Webhook".into());
        assert_eq!(draft.config, expected, "{body}");
    }
}

#[test]
fn what_an_answer_carries_can_be_sent_back() {
    let answer = json!({
        "ok": true, "id": "x", "event": "a", "url": "https://example.com", "created_at": "t", "updated_at": "t",
        "integration_type": "Webhook", "today": {"success": 1}, "logs": [], "hookUrl": "u", "integrationUrl": "u",
        "products": [{"id": 1}], "org_integration_id": "y", "shared": true, "product_ids": [1],
    });
    for level in [Level::Sandbox, Level::Product, Level::Org] {
        let draft = read_at(level, answer.clone());
        assert_eq!(draft.errors, []);
        assert_eq!(
            Value::Object(draft.config),
            json!({"event": "a", "url": "https://example.com", "integration_type": "Webhook"})
        );
        assert_eq!(draft.product_ids.is_some(), level == Level::Org);
    }
}

#[test]
fn the_product_list_may_be_absent_one_entry_or_several() {
    for (body, list) in [
        (json!({}), None),
        (json!({"product_ids": null}), None),
        (json!({"product_ids": []}), Some(vec![])),
        (json!({"product_ids": ""}), Some(vec![])),
        (json!({"product_ids": 7}), Some(vec![json!(7)])),
        (json!({"product_ids": "acme"}), Some(vec![json!("acme")])),
        (json!({"product_ids[]": "acme"}), Some(vec![json!("acme")])),
        (json!({"product_ids": [7, "acme"]}), Some(vec![json!(7), json!("acme")])),
        (json!({"product_ids": {"a": 1}}), Some(vec![json!({"a": 1})])),
    ] {
        assert_eq!(read_at(Level::Org, body.clone()).product_ids, list, "{body}");
    }
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    for (level, body, fields) in [
        (Level::Sandbox, json!({}), vec!["event"]),
        (Level::Sandbox, json!({"event": ""}), vec!["event"]),
        (Level::Sandbox, json!({"event": 5}), vec!["event"]),
        (Level::Sandbox, json!({"event": ["a"]}), vec!["event"]),
        (Level::Sandbox, json!({"event": "é".repeat(33)}), vec!["event"]),
        (Level::Sandbox, json!({"event": "a", "name": 5}), vec!["name"]),
        (Level::Sandbox, json!({"event": "a", "name": "n".repeat(201)}), vec!["name"]),
        (Level::Sandbox, json!({"event": "a", "deviceID": "mine"}), vec!["deviceID"]),
        (Level::Sandbox, json!({"event": "a", "deviceID": 5}), vec!["deviceID"]),
        (Level::Product, json!({"event": "a", "deviceid": "abcdef0123456789abcdef01"}), vec!["deviceID"]),
        (Level::Org, json!({"event": "a", "deviceId": "abcdef0123456789abcdef01"}), vec!["deviceID"]),
        (
            Level::Sandbox,
            json!({"event": "a", "disabled": {}, "unchunked": "perhaps"}),
            vec!["disabled", "unchunked"],
        ),
        (Level::Sandbox, json!({"event": "a", "integration_type": "Pigeon"}), vec!["integration_type"]),
        (Level::Sandbox, json!({"event": "a", "integration_type": ["Webhook"]}), vec!["integration_type"]),
        (Level::Sandbox, json!({"event": "a", "json": deep}), vec!["json"]),
        (Level::Sandbox, json!({"event": "a", "body": "x".repeat(limits::CONFIG_BYTES)}), vec!["body"]),
        (
            Level::Sandbox,
            json!({"integration_type": 1, "name": [], "disabled": 7}),
            vec!["integration_type", "event", "name", "disabled"],
        ),
    ] {
        let draft = read_at(level, body.clone());
        let named: Vec<&str> = draft.errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(named, fields, "{body:.100}");
    }
}

#[test]
fn an_unknown_kind_is_told_the_known_ones() {
    let draft = read_at(Level::Sandbox, json!({"event": "a", "integration_type": "Pigeon"}));
    assert_eq!(draft.errors[0].message, "\"Pigeon\" is not known; must be one of Webhook, GoogleMaps");
}

proptest! {
    #[test]
    fn reading_what_was_read_changes_nothing(body in proptest::collection::btree_map("[a-zA-Z_]{1,12}|event|eventName|deviceid|auth|headers|disabled", "[a-f0-9]{0,24}|true|0", 0..8)) {
        let body: Map<String, Value> = body.into_iter().map(|(k, v)| (k, v.into())).collect();
        let once = read(body, Level::Sandbox, DEFAULT_TYPE, &TYPES);
        let twice = read(once.config.clone(), Level::Sandbox, DEFAULT_TYPE, &TYPES);
        prop_assert_eq!(once, twice);
    }
}
