//! What is probably not meant, found by looking at what was rendered.

use std::{cell::RefCell, collections::BTreeMap};

use serde::de::IgnoredAny;
use serde_json::Value;
use tributary_domain::{ProductId, integration::Integration, limits::RENDERED_BYTES};
use tributary_pipeline::preview::{Mask, Rendered};
use tributary_targets::{AddressPolicy, Message, Used, Was};
use tributary_template::RenderError;

use super::ProductPreview;

/// Most warnings that are given.
const WARNINGS: usize = 100;

/// Something that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about, for programs.
    pub code: &'static str,
    /// What is odd, and what to do.
    pub message: String,
    /// The products on which it is so; none in a sandbox.
    pub products: Vec<ProductId>,
}

/// Gathers warnings, product by product.
pub(super) struct Warnings<'a> {
    integration: &'a Integration,
    addresses: &'a AddressPolicy,
    quoted: Vec<Quoted>,
    used: RefCell<Used>,
    product: Option<ProductId>,
    found: BTreeMap<(&'static str, String), Vec<ProductId>>,
}

impl<'a> Warnings<'a> {
    pub(super) fn new(integration: &'a Integration, addresses: &'a AddressPolicy) -> Warnings<'a> {
        let mut quoted = Vec::new();
        if let Some(json) = integration.config.get("json") {
            find_quoted(json, "json", true, &mut quoted);
        }
        let (used, found) = (RefCell::default(), BTreeMap::new());
        Warnings { integration, addresses, quoted, used, product: None, found }
    }

    /// The names that are needed on the present product.
    pub(super) fn used(&self) -> &RefCell<Used> {
        &self.used
    }

    pub(super) fn begin(&mut self, product: Option<ProductId>) {
        self.product = product;
        self.used = RefCell::default();
    }

    fn add(&mut self, code: &'static str, message: String) {
        let key = (code, message);
        if self.found.len() < WARNINGS || self.found.contains_key(&key) {
            let products = self.found.entry(key).or_default();
            if products.last() != self.product.as_ref() {
                products.extend(self.product);
            }
        }
    }

    /// Looks at one rendering.
    pub(super) fn look_at(&mut self, rendered: &Result<Rendered, String>) {
        match rendered {
            Ok(rendered) => {
                if let Some(why) = broken_json(self.integration, &rendered.message) {
                    self.add("invalid_json", format!("the rendered body is not JSON: {why}"));
                }
                // What the operator names is not checked.
                let names_it = !self.integration.text("url").is_empty();
                let refusal = self.addresses.refusal_of(&rendered.message.destination);
                if let Some(refusal) = refusal.filter(|_| names_it) {
                    self.add("address_refused", format!("url: {refusal}"));
                }
            }
            Err(error) if is_too_long(error) => self.add("too_large", error.clone()),
            // The event itself shows the error.
            Err(_) => {}
        }
    }

    /// Looks at what all events of a product have in common.
    pub(super) fn end(&mut self, product: &ProductPreview) {
        if product.looked_at == 0 {
            self.add("no_events", "no recent event is known here, so nothing can be shown".to_owned());
        } else if product.matched == 0 {
            let (prefix, device) = (self.integration.text("event"), self.integration.text("deviceID"));
            let of =
                if device.is_empty() { String::new() } else { format!(" and is of the device {device}") };
            self.add("no_match", format!("event: none of the events begins with {prefix:?}{of}"));
        }
        if self.integration.config.get("disabled") == Some(&Value::Bool(true)) {
            self.add("disabled", "disabled: nothing is sent while this is true".to_owned());
        }
        let used = std::mem::take(&mut self.used.borrow_mut().0);
        for (name, _) in used.iter().filter(|(_, was)| **was == Was::Missing) {
            let looks_secret =
                name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
            let or = if looks_secret { ", and there is no secret of this name" } else { "" };
            let message = format!("{name}: none of the events has this variable{or}; it is empty");
            self.add("missing_variable", message);
        }
        for quoted in std::mem::take(&mut self.quoted).into_iter() {
            if used.get(&quoted.name) == Some(&Was::Unquoted) {
                self.add("sent_as_text", quoted.warning());
            }
            self.quoted.push(quoted);
        }
    }

    pub(super) fn finish(self, mask: &Mask) -> Vec<Warning> {
        let all = self.found.into_iter();
        // What repeats the configuration's own words is no rendered value, in which a secret could be hidden.
        let shown =
            |code: &str, text: &str| if code == "no_match" { text.to_owned() } else { mask.text(text) };
        all.map(|((code, text), products)| Warning { code, message: shown(code, &text), products }).collect()
    }
}

/// A tag that stands alone in quotes.
struct Quoted {
    field: String,
    tag: String,
    name: String,
    in_object: bool,
}

impl Quoted {
    fn warning(&self) -> String {
        let Quoted { field, tag, name, in_object } = self;
        let instead = if *in_object { "write json as a text and leave" } else { "leave" };
        format!(
            "{field}: \"{tag}\" is sent as a text though {name} is a number or a flag; {instead} out the quotes around \
             the tag to send it as it is"
        )
    }
}

/// Finds the tags that stand alone in quotes, in a text or in the texts of an object.
fn find_quoted(json: &Value, path: &str, outermost: bool, found: &mut Vec<Quoted>) {
    match json {
        Value::String(text) if outermost => {
            for (at, _) in text.match_indices("\"{{") {
                let inside = &text[at + 1..];
                let tag = inside.split('"').next().unwrap_or_default();
                found.extend(quoted(path, tag, false));
            }
        }
        Value::String(text) => found.extend(quoted(path, text, true)),
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| find_quoted(value, &format!("{path}.{key}"), false, found));
        }
        Value::Array(list) => {
            let all = list.iter().enumerate();
            all.for_each(|(at, value)| find_quoted(value, &format!("{path}.{at}"), false, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn quoted(field: &str, tag: &str, in_object: bool) -> Option<Quoted> {
    let inside = |open: &str, close: &str| tag.strip_prefix(open)?.strip_suffix(close);
    let name = inside("{{{", "}}}").or_else(|| inside("{{&", "}}")).or_else(|| inside("{{", "}}"))?.trim();
    let is_name = !name.is_empty() && !name.contains(['{', '}', '#', '^', '/', '!', '=', '>']);
    is_name.then(|| Quoted { field: field.to_owned(), tag: tag.to_owned(), name: name.to_owned(), in_object })
}

/// Why a body that should be JSON is none.
fn broken_json(integration: &Integration, message: &Message) -> Option<String> {
    let typed = |(name, value): &(String, String)| {
        name.eq_ignore_ascii_case("content-type") && value.to_ascii_lowercase().contains("json")
    };
    let should_be = integration.config.contains_key("json") || message.headers.iter().any(typed);
    if !should_be || message.body.is_empty() {
        return None;
    }
    serde_json::from_slice::<IgnoredAny>(&message.body).err().map(|error| error.to_string())
}

/// Whether a rendering ended at the limit of what a request may be.
fn is_too_long(error: &str) -> bool {
    let at = |limit| error.ends_with(&RenderError::TooLong { limit }.to_string());
    at(RENDERED_BYTES) || at(RENDERED_BYTES - 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_that_stand_alone_in_quotes_are_found() {
        let names = |json: Value| {
            let mut found = Vec::new();
            find_quoted(&json, "json", true, &mut found);
            found.into_iter().map(|one| (one.field, one.name)).collect::<Vec<_>>()
        };
        let row = |field: &str, name: &str| (field.to_owned(), name.to_owned());
        assert_eq!(
            names(
                json!({"a": "{{{t}}}", "b": ["{{ x.y }}", "{{& z}}"], "c": "{{t}} C", "d": "{{#t}}", "e": 1})
            ),
            [row("json.a", "t"), row("json.b.0", "x.y"), row("json.b.1", "z")]
        );
        assert_eq!(
            names(json!(r#"{"a": "{{{t}}}", "b": {{t}}, "c": "{{t}} C", "d": "{{n}}"}"#)),
            [row("json", "t"), row("json", "n")]
        );
    }
}
