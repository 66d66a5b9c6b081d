//! From the body of a request to a configuration (contract 3.1): what is the same for every kind of destination.

use serde_json::{Map, Value};

use crate::{
    ids::DeviceId,
    integration::{Config, FieldError},
    limits,
};

/// The kind of an integration that names none.
pub const DEFAULT_TYPE: &str = "Webhook";
/// Deepest nesting of a configuration, in levels of objects and lists.
pub const CONFIG_DEPTH: usize = 32;
/// Fields that are true or false.
pub const FLAGS: [&str; 5] =
    ["disabled", "noDefaults", "rejectUnauthorized", "unchunked", "dataUrlResponseEvent"];

/// Keys that answers carry and that nobody configures. They are dropped, so that what was read can be sent back.
const READ_ONLY: [&str; 15] = [
    "id",
    "created_at",
    "updated_at",
    "today",
    "version",
    "logs",
    "ok",
    "hookUrl",
    "integrationUrl",
    "products",
    "product_ids",
    "org_integration_id",
    "shared",
    "parameter_overrides",
    // Some callers send their token in the body; it must not be stored.
    "access_token",
];

/// Objects in which an entry of `null` is one that was not given.
const PLAIN_OBJECTS: [&str; 5] = ["headers", "query", "auth", "form", "parameters"];

/// From where an integration is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A person's sandbox.
    Sandbox,
    /// One product.
    Product,
    /// An organization.
    Org,
}

/// What a request asks for, as far as it could be understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The fields under their present spelling. `integration_type` is always there; `event` is if it was right.
    pub config: Config,
    /// The entries of the product list as they were given; `None` when there was no list. Organizations only.
    pub product_ids: Option<Vec<Value>>,
    /// Everything that is wrong so far.
    pub errors: Vec<FieldError>,
}

/// Reads a body at this level. `default_type` is the kind of a body that names none, `known_types` are all kinds.
pub fn read(mut body: Map<String, Value>, level: Level, default_type: &str, known_types: &[&str]) -> Draft {
    let product_ids = if level == Level::Org { take_product_ids(&mut body) } else { None };
    let mut draft = Draft { config: present_spelling(&body), product_ids, errors: Vec::new() };
    draft.check_type(default_type, known_types);
    draft.check_event();
    draft.check_name();
    draft.check_device(level);
    draft.check_flags();
    draft.check_size();
    draft
}

/// The product list: absent, one entry, or several.
fn take_product_ids(body: &mut Map<String, Value>) -> Option<Vec<Value>> {
    let given = body.remove("product_ids").or_else(|| body.remove("product_ids[]"))?;
    match given {
        Value::Null => None,
        Value::Array(entries) => Some(entries),
        // An empty field of a form is an empty list.
        Value::String(text) if text.is_empty() => Some(Vec::new()),
        single => Some(vec![single]),
    }
}

/// Renames older spellings, and leaves out `null` and what is not configured.
fn present_spelling(body: &Map<String, Value>) -> Config {
    let given = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    let mut config = Config::with_capacity(body.len());
    for (key, value) in body {
        let name = match key.as_str() {
            "eventName" => "event",
            "deviceid" | "deviceId" => "deviceID",
            other => other,
        };
        let overruled = name != key && (given(name) || config.contains_key(name));
        if value.is_null() || overruled || READ_ONLY.contains(&name) {
            continue;
        }
        config.insert(name.to_owned(), value.clone());
    }
    for name in PLAIN_OBJECTS {
        if let Some(Value::Object(object)) = config.get_mut(name) {
            object.retain(|_, value| !value.is_null());
        }
    }
    if let Some(Value::Object(auth)) = config.get_mut("auth") {
        // The spelling that the older webhook call documents.
        for (old, new) in [("user", "username"), ("pass", "password")] {
            if !auth.contains_key(new)
                && let Some(value) = auth.shift_remove(old)
            {
                auth.insert(new.to_owned(), value);
            }
        }
    }
    config
}

impl Draft {
    fn wrong(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, message));
    }

    fn check_type(&mut self, default_type: &str, known_types: &[&str]) {
        let given = self.config.get("integration_type");
        match given.map(|value| (value, value.as_str())) {
            None => {
                self.config.insert("integration_type".to_owned(), default_type.into());
            }
            Some((_, Some(name))) if known_types.contains(&name) => {}
            Some((value, _)) => {
                let message = format!("{value} is not known; must be one of {}", known_types.join(", "));
                self.wrong("integration_type", message);
            }
        }
    }

    fn check_event(&mut self) {
        match self.config.get("event") {
            None => self.wrong("event", "is required: the beginning of the names of the events to react to"),
            Some(Value::String(event)) if event.is_empty() => self.wrong("event", "must not be empty"),
            Some(Value::String(event)) if event.len() > limits::EVENT_NAME_BYTES => {
                self.wrong("event", format!("must be at most {} bytes long", limits::EVENT_NAME_BYTES));
            }
            Some(Value::String(_)) => {}
            Some(_) => self.wrong("event", "must be a text"),
        }
    }

    fn check_name(&mut self) {
        match self.config.get("name") {
            None => {}
            Some(Value::String(name)) if name.trim().is_empty() => {
                self.config.shift_remove("name");
            }
            Some(Value::String(name)) if name.chars().count() > limits::NAME_CHARS => {
                self.wrong("name", format!("must be at most {} characters long", limits::NAME_CHARS));
            }
            Some(Value::String(_)) => {}
            Some(_) => self.wrong("name", "must be a text"),
        }
    }

    fn check_device(&mut self, level: Level) {
        let Some(device) = self.config.get("deviceID") else { return };
        if device.as_str().is_some_and(str::is_empty) {
            self.config.shift_remove("deviceID");
            return;
        }
        if level != Level::Sandbox {
            return self.wrong(
                "deviceID",
                "is for integrations of a sandbox; here every device of the product counts",
            );
        }
        match device.as_str().and_then(|text| text.parse::<DeviceId>().ok()) {
            Some(id) => {
                self.config.insert("deviceID".to_owned(), id.to_string().into());
            }
            None => self.wrong("deviceID", "must be the id of a device: 24 hexadecimal digits"),
        }
    }

    fn check_flags(&mut self) {
        for name in FLAGS {
            let Some(value) = self.config.get_mut(name) else { continue };
            if value.as_str() == Some("") {
                // An empty field of a form.
                self.config.shift_remove(name);
                continue;
            }
            match flag(value) {
                Some(flag) => *value = Value::Bool(flag),
                None => self.wrong(name, "must be true or false"),
            }
        }
    }

    fn check_size(&mut self) {
        let too_deep = |value: &Value| depth(value) > CONFIG_DEPTH;
        let deep: Vec<String> =
            self.config.iter().filter(|(_, v)| too_deep(v)).map(|(k, _)| k.clone()).collect();
        for name in deep {
            self.wrong(&name, format!("must not be nested deeper than {CONFIG_DEPTH} levels"));
        }
        let sizes = self.config.iter().map(|(name, value)| (name.len() + value.to_string().len(), name));
        let total: usize = sizes.clone().map(|(size, _)| size).sum();
        if total > limits::CONFIG_BYTES
            && let Some((_, largest)) = sizes.max()
        {
            let message =
                format!("makes the configuration larger than {} bytes of JSON", limits::CONFIG_BYTES);
            self.wrong(&largest.clone(), message);
        }
    }
}

/// A flag as forms and older callers write it.
pub fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") || text == "1" => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") || text == "0" => Some(false),
        _ => None,
    }
}

/// Levels of objects and lists. Request bodies are bounded far above [`CONFIG_DEPTH`] already, so this ends.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
