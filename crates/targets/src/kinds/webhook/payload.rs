//! `json`, `form` and `body`: what is sent, and where the default fields go (contract 4.3).

use std::fmt;

use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;
use tributary_domain::limits::RENDERED_BYTES;

use super::{defaults::Defaults, pairs::Pairs};
use crate::{Variables, fields::Reader, json::JsonTemplate, text::Text};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// The body of a request.
#[derive(Debug)]
pub(super) enum Payload {
    /// `form`, or nothing.
    Form(Pairs),
    /// `json` as an object.
    Json(JsonTemplate),
    /// `json` as a text.
    JsonText(Text),
    /// `body`.
    Body(Text),
}

/// A rendered body and the type that goes with it, unless the user names another.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub(super) body: String,
    pub(super) content_type: Option<&'static str>,
    pub(super) accept: Option<&'static str>,
}

impl Payload {
    /// Reads the three fields, of which one may be given.
    pub(super) fn read(reader: &mut Reader<'_>) -> Payload {
        let mut given = ["json", "form", "body"].into_iter().filter(|field| reader.given(field).is_some());
        let first = given.next();
        let others: Vec<_> = given.collect();
        let json = Payload::read_json(reader);
        let form = Pairs::read(reader, "form").map(Payload::Form);
        let body = reader.text_template("body").map(Payload::Body);
        for other in others {
            reader.error(other, format!("cannot be used together with {}", first.unwrap_or_default()));
        }
        json.or(form).or(body).unwrap_or_else(|| Payload::Form(Pairs::default()))
    }

    fn read_json(reader: &mut Reader<'_>) -> Option<Payload> {
        match reader.given("json")? {
            Value::Object(object) => Some(Payload::Json(JsonTemplate::compile(reader, "json", object))),
            Value::String(_) => reader.text_template("json").map(Payload::JsonText),
            _ => {
                reader.error("json", "must be an object or a text; a text can also be that of a list");
                None
            }
        }
    }

    /// The form's pairs, which a request without a body puts into the query.
    pub(super) fn form(&self) -> Option<&Pairs> {
        match self {
            Payload::Form(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Renders the body; `defaults` are those that belong into it.
    pub(super) fn render(&self, variables: &Variables<'_>, defaults: Defaults) -> Result<Rendered, String> {
        let named = |field: &'static str| move |error| format!("{field}: {error}");
        let mut body = String::new();
        let (content_type, accept) = match self {
            Payload::Form(pairs) => {
                let rest =
                    defaults.without_keys(pairs.names(), variables, RENDERED_BYTES).map_err(named("form"))?;
                rest.push_pairs(&mut body, 0, variables);
                pairs.push(variables, &mut body, 0, RENDERED_BYTES).map_err(named("form"))?;
                (Some(FORM), None)
            }
            Payload::Json(json) => {
                let rest =
                    defaults.without_keys(json.keys(), variables, RENDERED_BYTES).map_err(named("json"))?;
                body.push('{');
                rest.push_members(&mut body, variables);
                body.push_str(if rest.is_none() || json.is_empty() { "" } else { "," });
                json.push_members(variables, &mut body, RENDERED_BYTES - 1).map_err(named("json"))?;
                body.push('}');
                (Some(JSON), Some(JSON))
            }
            Payload::JsonText(text) => {
                text.push(variables, &mut body, RENDERED_BYTES).map_err(named("json"))?;
                merge_defaults(&mut body, variables, defaults);
                (Some(JSON), Some(JSON))
            }
            Payload::Body(text) => {
                text.push(variables, &mut body, RENDERED_BYTES).map_err(named("body"))?;
                (None, None)
            }
        };
        let content_type = content_type.filter(|_| !body.is_empty());
        Ok(Rendered { body, content_type, accept })
    }
}

/// Puts the defaults that are not there yet at the beginning of a text that is a JSON object. The rest of the text
/// stays as it is, to the digit; a text that is no JSON object stays as a whole.
fn merge_defaults(text: &mut String, variables: &Variables<'_>, defaults: Defaults) {
    if defaults.is_none() {
        return;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Ok((defaults, members)) = deserializer.deserialize_map(Keys(defaults)) else { return };
    if deserializer.end().is_err() || defaults.is_none() {
        return;
    }
    let Some(brace) = text.find('{') else { return };
    let mut merged = String::with_capacity(text.len() + 256);
    merged.push_str(&text[..=brace]);
    let begins = merged.len();
    let mut inserted = String::new();
    defaults.push_members(&mut inserted, variables);
    merged.push_str(&inserted);
    merged.push_str(if members > 0 && merged.len() > begins { "," } else { "" });
    merged.push_str(&text[brace + 1..]);
    *text = merged;
}

/// Counts the members of an object and takes away the defaults that they replace.
struct Keys(Defaults);

impl<'de> Visitor<'de> for Keys {
    type Value = (Defaults, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(Defaults, usize), M::Error> {
        let (mut defaults, mut members) = (self.0, 0);
        while let Some((key, IgnoredAny)) = map.next_entry::<std::borrow::Cow<'de, str>, IgnoredAny>()? {
            defaults = defaults.without(&key);
            members += 1;
        }
        Ok((defaults, members))
    }
}
