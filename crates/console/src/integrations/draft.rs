//! A configuration as the fields of a form, and back: the builder and the JSON tab are two views of the same thing, so
//! switching between them keeps everything, also what the builder has no field for.

use serde_json::{Map, Value};
use tributary_control::kinds::{self, Field, Shape};
use tributary_domain::FieldError;

use super::shown::text_of;
use crate::form::Fields;

/// How the builder shows a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A text.
    Text,
    /// May hold a structure: JSON where it begins with a brace or bracket, else text.
    Structure,
    /// An object of texts, one `name: value` a line.
    Lines,
    /// An object of texts of several lines, an area for each of [`PEM_PARTS`].
    Pem,
    /// A text of several lines.
    Long,
    /// A box that is off unless ticked.
    Switch,
    /// The box that is ticked unless somebody takes the tick away.
    Certificate,
}

/// The parts of a certificate of one's own, and their labels.
pub(crate) const PEM_PARTS: [(&str, &str); 3] =
    [("ca", "Authorities (PEM)"), ("cert", "Certificate (PEM)"), ("key", "Private key (PEM)")];

/// What every kind has.
const COMMON: [(&str, Part); 12] = [
    ("integration_type", Part::Text),
    ("name", Part::Text),
    ("event", Part::Text),
    ("requestType", Part::Text),
    ("deviceID", Part::Text),
    ("responseTopic", Part::Text),
    ("errorResponseTopic", Part::Text),
    ("responseTemplate", Part::Structure),
    ("disabled", Part::Switch),
    ("unchunked", Part::Switch),
    ("dataUrlResponseEvent", Part::Switch),
    (CHECK_CERTIFICATE, Part::Certificate),
];
/// What webhooks have besides; their bodies, headers and credentials are shown in a way of their own.
const OF_WEBHOOKS: [(&str, Part); 6] = [
    ("url", Part::Text),
    ("json", Part::Structure),
    ("form", Part::Lines),
    ("query", Part::Lines),
    ("headers", Part::Lines),
    ("noDefaults", Part::Switch),
];
const CHECK_CERTIFICATE: &str = "rejectUnauthorized";

/// How the builder shows the fields of another kind than a webhook, in the kind's order. A flag that is on by default is left to
/// the text of all other fields.
pub(crate) fn own_parts(kind: &str) -> Vec<(&'static Field, Part)> {
    let part = |field: &'static Field| {
        let part = match field.shape {
            // Pasted as the file that it is.
            Shape::Text if field.name == "creds" => Part::Long,
            Shape::Text => Part::Text,
            Shape::ObjectOrText => Part::Structure,
            Shape::Object if field.name == "tls" => Part::Pem,
            Shape::Object => Part::Lines,
            Shape::Flag if field.name == CHECK_CERTIFICATE => Part::Certificate,
            Shape::Flag if field.default == Some("true") => return None,
            Shape::Flag => Part::Switch,
        };
        Some((field, part))
    };
    kinds::own_fields(kind).iter().filter_map(part).collect()
}

/// Every field that the builder has for a kind.
fn parts(kind: &str) -> Vec<(&'static str, Part)> {
    let mut parts = COMMON.to_vec();
    match kind {
        "" | kinds::DEFAULT => parts.extend(OF_WEBHOOKS),
        other => parts.extend(own_parts(other).iter().map(|(field, part)| (field.name, *part))),
    }
    parts
}

/// The field of everything that the builder has no field for.
const MORE: &str = "more";

/// The two ways to write a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    Builder,
    Json,
}

/// What stands in the form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// The builder's fields by the name of the API; `auth.username` and `auth.password` are two.
    fields: Vec<(String, String)>,
}

impl Draft {
    /// The fields of a configuration.
    pub(crate) fn of(config: &Map<String, Value>) -> Draft {
        let mut draft = Draft::default();
        let mut more = Map::new();
        let kind = config.get("integration_type").and_then(Value::as_str).unwrap_or_default();
        let parts = parts(kind);
        for (name, value) in config {
            let part = parts.iter().find(|(known, _)| known == name).map(|(_, part)| *part);
            match (part, value) {
                (Some(Part::Text | Part::Long | Part::Structure), Value::String(text)) => {
                    draft.set(name, text.clone());
                }
                (Some(Part::Structure), Value::Object(_)) => draft.set(name, text_of(value)),
                (Some(Part::Lines), Value::Object(object)) => draft.set(name, lines_of(object)),
                (Some(Part::Pem), Value::Object(object)) if is_pem(object) => {
                    for (part, value) in object {
                        draft.set(&format!("{name}.{part}"), text_of(value));
                    }
                }
                (Some(Part::Switch | Part::Certificate), Value::Bool(on)) => {
                    draft.set(name, if *on { "on" } else { "" }.to_owned());
                }
                (None, Value::String(text)) if is_webhook(kind) && name == "body" => {
                    draft.set(name, text.clone());
                }
                (None, Value::Object(auth)) if is_webhook(kind) && name == "auth" && is_plain_auth(auth) => {
                    for (part, value) in auth {
                        draft.set(&format!("auth.{part}"), text_of(value));
                    }
                }
                _ => {
                    more.insert(name.clone(), value.clone());
                }
            }
        }
        if !config.contains_key(CHECK_CERTIFICATE) {
            draft.set(CHECK_CERTIFICATE, "on".to_owned());
        }
        if !more.is_empty() {
            draft.set(MORE, text_of(&Value::Object(more)));
        }
        draft
    }

    /// What a form sent from the builder.
    pub(crate) fn sent(fields: &Fields) -> Draft {
        let mut draft = Draft { fields: fields.0.clone() };
        let kind = draft.body_kind().to_owned();
        // Only the chosen kind of body counts; the others keep what was typed for as long as the page stands.
        for other in ["json", "form", "body"] {
            if is_webhook(draft.text("integration_type")) && other != kind {
                draft.set(other, String::new());
            }
        }
        draft
    }

    /// The kind of body: `default`, `json`, `form` or `body`.
    pub(crate) fn body_kind(&self) -> &str {
        if !self.text("body_kind").is_empty() {
            return self.text("body_kind");
        }
        ["json", "form", "body"].into_iter().find(|kind| !self.text(kind).is_empty()).unwrap_or("default")
    }

    /// A field's text; empty when it has none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.fields.iter().find(|(given, _)| given == name).map_or("", |(_, value)| value.as_str())
    }

    /// Whether a box is ticked.
    pub(crate) fn on(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    fn set(&mut self, name: &str, text: String) {
        match self.fields.iter_mut().find(|(given, _)| given == name) {
            Some((_, value)) => *value = text,
            None => self.fields.push((name.to_owned(), text)),
        }
    }

    /// The configuration; the fields that cannot be read beside it.
    pub(crate) fn config(&self) -> (Map<String, Value>, Vec<FieldError>) {
        let (mut config, mut errors) = (Map::new(), Vec::new());
        let kind = self.text("integration_type");
        for (name, part) in parts(kind) {
            let text = self.text(name);
            match part {
                Part::Text | Part::Long => insert(&mut config, name, text),
                Part::Pem => {
                    let mut parts = Map::new();
                    for (part, _) in PEM_PARTS {
                        insert(&mut parts, part, self.text(&format!("{name}.{part}")));
                    }
                    if !parts.is_empty() {
                        config.insert(name.to_owned(), Value::Object(parts));
                    }
                }
                Part::Structure => match serde_json::from_str::<Value>(text) {
                    Ok(value @ (Value::Object(_) | Value::Array(_))) => {
                        config.insert(name.to_owned(), value);
                    }
                    // What is no JSON may be after rendering, so it is kept as a text; the preview tells.
                    _ => insert(&mut config, name, text),
                },
                Part::Lines => match read_lines(text) {
                    Ok(object) if object.is_empty() => {}
                    Ok(object) => {
                        config.insert(name.to_owned(), Value::Object(object));
                    }
                    Err(why) => errors.push(FieldError::new(name, why)),
                },
                Part::Switch if self.on(name) => {
                    config.insert(name.to_owned(), Value::Bool(true));
                }
                Part::Certificate if !self.on(name) => {
                    config.insert(name.to_owned(), Value::Bool(false));
                }
                Part::Switch | Part::Certificate => {}
            }
        }
        if is_webhook(kind) {
            if self.body_kind() == "body" {
                insert(&mut config, "body", self.text("body"));
            }
            self.insert_auth(&mut config);
        }
        match read_object(self.text(MORE)) {
            Ok(more) => {
                for (name, value) in more {
                    match config.get(&name) {
                        // The same once more says nothing else.
                        Some(own) if *own != value => {
                            let label = super::shown::label_of(&name);
                            let why = format!(
                                "{name} has a field of its own above ({label}); write it there alone"
                            );
                            errors.push(FieldError::new(MORE, why));
                        }
                        Some(_) => {}
                        None => {
                            config.insert(name, value);
                        }
                    }
                }
            }
            Err(why) => errors.push(FieldError::new(MORE, why)),
        }
        (config, errors)
    }

    fn insert_auth(&self, config: &mut Map<String, Value>) {
        let auth: Map<String, Value> = ["username", "password"]
            .into_iter()
            .map(|part| (part.to_owned(), Value::from(self.text(&format!("auth.{part}")))))
            .filter(|(_, value)| value.as_str() != Some(""))
            .collect();
        if !auth.is_empty() {
            config.insert("auth".to_owned(), Value::Object(auth));
        }
    }
}

/// Whether a kind is that of webhooks, which an integration that names none is.
pub(crate) fn is_webhook(kind: &str) -> bool {
    matches!(kind, "" | kinds::DEFAULT)
}

fn insert(config: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        // A browser ends the lines of a text with CR LF; what is sent on should not depend on it.
        config.insert(name.to_owned(), text.replace("\r\n", "\n").into());
    }
}

/// A JSON object, or nothing.
pub(crate) fn read_object(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("must be a JSON object: { … }".to_owned()),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

/// Whether an object has an area for everything in it.
fn is_pem(object: &Map<String, Value>) -> bool {
    object.iter().all(|(part, value)| PEM_PARTS.iter().any(|(known, _)| known == part) && value.is_string())
}

fn is_plain_auth(auth: &Map<String, Value>) -> bool {
    auth.iter().all(|(part, value)| ["username", "password"].contains(&part.as_str()) && value.is_string())
}

/// An object of texts as lines; as JSON where a line could not say it.
fn lines_of(object: &Map<String, Value>) -> String {
    let plain = |(name, value): (&String, &Value)| match value {
        Value::String(text) => {
            !text.contains(['\n', '\r']) && text.trim() == text && !name.contains([':', '\n', '{'])
        }
        _ => false,
    };
    match object.iter().all(plain) {
        true => object.iter().map(|(name, value)| format!("{name}: {}\n", text_of(value))).collect(),
        false => text_of(&Value::Object(object.clone())),
    }
}

fn read_lines(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim_start().starts_with('{') && !text.trim_start().starts_with("{{") {
        return read_object(text);
    }
    let mut object = Map::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.trim().is_empty()) else {
            return Err(format!("line {}: write name: value", at + 1));
        };
        if object.insert(name.trim().to_owned(), value.trim().into()).is_some() {
            return Err(format!("line {}: {} is there already; each name counts once", at + 1, name.trim()));
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_configuration_survives_the_builder_with_everything_that_it_has_no_field_for() {
        for config in [
            json!({"event": "e", "url": "https://a.example", "json": {"t": "{{{t}}}", "n": [1, {"x": null}]}}),
            json!({"event": "e", "url": "u", "json": "{\"t\": {{{t}}}}", "headers": {"X-Key": "[[SENSITIVE]]"}}),
            json!({"event": "e", "url": "u", "form": {"a": "1", "b": " spaced "}, "rejectUnauthorized": false}),
            json!({"event": "e", "url": "u", "body": "{{{PARTICLE_EVENT_VALUE}}}\nend", "noDefaults": true}),
            json!({"event": "e", "url": "u", "auth": {"username": "u", "password": "[[SENSITIVE]]"}}),
            json!({"event": "e", "url": "u", "auth": {"bearer": "[[SENSITIVE]]"}, "my": {"own": [1]}, "n": 1}),
            json!({"event": "e", "integration_type": "AzureIotHub", "hub_name": "h", "policy_name": "p",
                "policy_key": "[[SENSITIVE]]", "json": {"a": "b"}}),
            json!({"event": "e", "integration_type": "GoogleCloudPubSub", "topic": "projects/p/topics/t", "url": "kept"}),
            json!({"event": "e", "url": "u", "query": {"a": "{{{b}}}", "c": 5}, "responseTemplate": "{{{x}}}"}),
        ] {
            let config = object(config);
            let draft = Draft::of(&config);
            assert_eq!(draft.config(), (config.clone(), vec![]));
            // And the way over a browser, which sends every field that the page has.
            let sent = Draft::sent(&Fields(draft.fields.clone()));
            assert_eq!(sent.config(), (config, vec![]));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
        let fields = [("event", "e"), ("headers", "no colon"), ("more", "[1]"), ("rejectUnauthorized", "on")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let (config, errors) = Draft::sent(&Fields(fields)).config();
        assert_eq!(config, object(json!({"event": "e"})));
        let named: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(named, ["headers", "more"]);
        assert_eq!(errors[0].message, "line 1: write name: value");
    }

    #[test]
    fn only_the_chosen_kind_of_body_counts() {
        let fields =
            [("event", "e"), ("body_kind", "form"), ("json", "{}"), ("form", "a: b:c"), ("body", "x")];
        let mut fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        fields.push(("rejectUnauthorized".to_owned(), "on".to_owned()));
        let (config, errors) = Draft::sent(&Fields(fields)).config();
        assert_eq!(config, object(json!({"event": "e", "form": {"a": "b:c"}})));
        assert!(errors.is_empty());
    }
}
