//! What of an event goes into a message: its data, attributes, and a key for the order.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};
use tributary_domain::limits::RENDERED_BYTES;

use crate::{
    Variables,
    fields::{Reader, scalar},
    text::Text,
};

const ATTRIBUTES: &str = "attributes";
/// Attributes of a configuration's own: a message has 100 in all.
const ATTRIBUTES_MAX: usize = 96;
/// Longest name of an attribute, in bytes.
const NAME_BYTES: usize = 256;
/// Longest value of an attribute, in bytes.
const VALUE_BYTES: usize = 1024;
/// Longest ordering key, in bytes.
const KEY_BYTES: usize = 1024;
/// Names of attributes that Google keeps for itself begin so.
const RESERVED: &str = "goog";

/// `payload`, `attributes` and `ordering_key`
pub(super) struct Contents {
    payload: Option<Text>,
    attributes: Vec<(String, Text)>,
    ordering_key: Option<Text>,
}

impl Contents {
    /// Reads the fields.
    pub(super) fn read(reader: &mut Reader<'_>) -> Contents {
        Contents {
            payload: reader.text_template("payload"),
            attributes: read_attributes(reader),
            ordering_key: reader.text_template("ordering_key"),
        }
    }

    /// Whether messages may have an ordering key.
    pub(super) fn is_ordered(&self) -> bool {
        self.ordering_key.is_some()
    }

    /// The message for an event; the error is the text of a final error outcome.
    pub(super) fn message(&self, variables: &Variables<'_>) -> Result<Value, String> {
        let render = |field: &str, text: &Text, limit| {
            text.render(variables, limit).map_err(|error| format!("{field}: {error}"))
        };
        let data = match &self.payload {
            Some(text) => BASE64.encode(render("payload", text, RENDERED_BYTES)?),
            None => BASE64.encode(variables.data()),
        };
        let event = variables.event;
        let product = variables.product.or(event.product);
        let mut attributes = Map::new();
        // Attributes are texts.
        for (name, value) in [
            ("device_id", event.coreid.to_string()),
            ("event", event.name.to_string()),
            ("published_at", event.published_at.to_string()),
            ("product_id", product.map(|product| product.to_string()).unwrap_or_default()),
        ] {
            attributes.insert(name.to_owned(), value.into());
        }
        for (name, text) in &self.attributes {
            let value = render(&format!("{ATTRIBUTES}.{name}"), text, VALUE_BYTES)?;
            attributes.insert(name.clone(), value.into());
        }
        // An empty one is left out: so can those be that every message has.
        attributes.retain(|_, value| value.as_str() != Some(""));
        let mut message = json!({"data": data, ATTRIBUTES: attributes});
        if let Some(text) = &self.ordering_key {
            let key = render("ordering_key", text, KEY_BYTES)?;
            if !key.is_empty() {
                message["orderingKey"] = key.into();
            }
        }
        Ok(message)
    }
}

fn read_attributes(reader: &mut Reader<'_>) -> Vec<(String, Text)> {
    let Some(object) = reader.object(ATTRIBUTES) else { return Vec::new() };
    if object.len() > ATTRIBUTES_MAX {
        reader.error(ATTRIBUTES, format!("must have at most {ATTRIBUTES_MAX} attributes"));
    }
    let mut attributes = Vec::new();
    for (name, value) in object {
        let path = format!("{ATTRIBUTES}.{name}");
        if !(1..=NAME_BYTES).contains(&name.len()) || name.starts_with(RESERVED) {
            let error =
                format!("must have a name of 1 to {NAME_BYTES} bytes that does not begin with {RESERVED}");
            reader.error(&*path, error);
        }
        match scalar(value) {
            None => reader.error(path, "must be a text"),
            Some(source) => {
                attributes.extend(reader.template(&path, &source).map(|text| (name.clone(), text)));
            }
        }
    }
    attributes
}
