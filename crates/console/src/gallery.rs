//! The gallery: services to which events can be sent, each a file in `gallery/` (docs/gallery.md says how to add one).
//!
//! A card's configuration has placeholders `${NAME}`, which mean nothing in Mustache. They are replaced inside the
//! texts of the parsed configuration, so that a value can never change its structure.

mod format;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, collections::BTreeMap, sync::OnceLock};

use serde::Deserialize;
use serde_json::{Map, Value};
use tributary_domain::FieldError;

pub use format::Format;

/// One file of the folder `gallery/`.
macro_rules! card_file {
    ($id:literal) => {
        ($id, include_str!(concat!("../gallery/", $id, ".toml")))
    };
}

/// Every card, in the order in which they are shown. A new one needs a line here.
const FILES: &[(&str, &str)] = &[
    card_file!("webhook"),
    card_file!("slack"),
    card_file!("discord"),
    card_file!("microsoft-teams"),
    card_file!("twilio"),
    card_file!("sendgrid"),
    card_file!("mailgun"),
    card_file!("pagerduty"),
    card_file!("opsgenie"),
    card_file!("pushover"),
    card_file!("telegram"),
    card_file!("ifttt"),
    card_file!("zapier"),
    card_file!("make"),
    card_file!("n8n"),
    card_file!("thingspeak"),
    card_file!("ubidots"),
    card_file!("losant"),
    card_file!("datacake"),
    card_file!("blynk"),
    card_file!("influxdb"),
    card_file!("grafana-cloud"),
    card_file!("datadog"),
    card_file!("new-relic"),
    card_file!("splunk"),
    card_file!("elastic"),
    card_file!("aws-api-gateway"),
    card_file!("aws-lambda-url"),
    card_file!("aws-sqs"),
    card_file!("aws-kinesis"),
    card_file!("aws-event-bridge"),
    card_file!("azure-functions"),
    card_file!("azure-iot-central"),
    card_file!("mqtt"),
    card_file!("nats"),
    card_file!("kafka"),
    card_file!("amqp"),
    card_file!("google-apps-script"),
    card_file!("firebase"),
    card_file!("airtable"),
    card_file!("notion"),
    card_file!("supabase"),
    card_file!("postgres"),
    card_file!("memfault"),
    card_file!("google-cloud-pubsub"),
    card_file!("azure-iot-hub"),
    card_file!("google-maps"),
];

/// The longest value that a field takes, in bytes.
const VALUE_BYTES: usize = 4_096;

/// A service, and how events are sent to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Its name in addresses and of its file: lower-case letters, digits and `-`.
    pub id: String,
    /// The service's name.
    pub name: String,
    /// What it is for, e.g. `messaging`.
    pub category: String,
    /// What happens with an event, in one sentence.
    pub summary: String,
    /// The service's own documentation; empty for the custom webhook.
    pub docs: String,
    /// The colour of its letter mark, `#rrggbb`.
    pub accent: Option<String>,
    /// What to have ready, in order.
    #[serde(default)]
    pub prepare: Vec<String>,
    /// What to fill in, in order.
    #[serde(default)]
    pub fields: Vec<CardField>,
    /// The configuration as JSON, with placeholders.
    integration: String,
}

/// A placeholder of a configuration, as a field of a form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardField {
    /// The placeholder: `API_KEY` stands in the configuration as `${API_KEY}`.
    pub name: String,
    /// What the field is called.
    pub label: String,
    /// Where the value is found, or what it looks like.
    pub hint: String,
    /// Whether the value is a credential. Such a value is better kept as a cloud secret: `{{{NAME}}}` is taken too.
    #[serde(default)]
    pub sensitive: bool,
    /// What is filled in at first, and what an empty field means.
    pub default: Option<String>,
    /// An example of a value.
    pub example: Option<String>,
    /// How a value must begin.
    pub start: Option<String>,
    /// What a value must look like.
    #[serde(default)]
    pub format: Format,
}

/// Every card; the custom webhook is the first.
pub fn cards() -> &'static [Card] {
    static CARDS: OnceLock<Vec<Card>> = OnceLock::new();
    // That every file parses is a test's business: one that does not is not worth a server that does not start.
    CARDS.get_or_init(|| FILES.iter().filter_map(|(_, file)| toml::from_str(file).ok()).collect())
}

/// The card of this id.
pub fn card(id: &str) -> Option<&'static Card> {
    cards().iter().find(|card| card.id == id)
}

/// Every category, in the order of their first cards.
pub fn categories() -> Vec<&'static str> {
    let mut categories: Vec<&str> = Vec::new();
    for card in cards() {
        if !categories.contains(&&*card.category) {
            categories.push(&card.category);
        }
    }
    categories
}

impl Card {
    /// Whether every word of `search` is in the name, the summary or the category, in any case of letters.
    pub fn fits(&self, search: &str) -> bool {
        let text = format!("{} {} {}", self.name, self.summary, self.category).to_lowercase();
        search.to_lowercase().split_whitespace().all(|word| text.contains(word))
    }

    /// The letter of its mark.
    pub fn letter(&self) -> char {
        self.name.chars().next().unwrap_or('·')
    }

    /// The configuration with the values by name of their placeholders; what is empty gets the field's default.
    ///
    /// # Errors
    /// Every wrong value at once, under the name of its placeholder.
    pub fn fill(&self, values: &BTreeMap<String, String>) -> Result<Map<String, Value>, Vec<FieldError>> {
        let mut filled = BTreeMap::new();
        let mut errors = Vec::new();
        for field in &self.fields {
            match field.read(values.get(&field.name).map_or("", String::as_str)) {
                Ok(value) => _ = filled.insert(&*field.name, value),
                Err(message) => errors.push(FieldError::new(&field.name, message)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let parsed: Map<String, Value> = serde_json::from_str(&self.integration).map_err(|error| {
            vec![FieldError::new("integration", format!("the card itself is wrong: {error}"))]
        })?;
        Ok(object(parsed, &filled))
    }
}

impl CardField {
    /// What an `<input>` of HTML takes as its `pattern`.
    pub fn pattern(&self) -> Option<&'static str> {
        self.format.pattern()
    }

    /// The value that is put in, or what is wrong with it.
    fn read<'v>(&'v self, given: &'v str) -> Result<&'v str, String> {
        let value = match (given.trim(), &self.default) {
            ("", Some(default)) => default,
            ("", None) => return Err("is required".to_owned()),
            (value, _) => value,
        };
        if value.len() > VALUE_BYTES {
            return Err(format!("must be at most {VALUE_BYTES} bytes long"));
        }
        if value.chars().any(char::is_control) {
            return Err("must be one line without control characters".to_owned());
        }
        if format::is_secret(value) {
            return Ok(value);
        }
        if let Some(start) = self.start.as_ref().filter(|start| !value.starts_with(start.as_str())) {
            return Err(format!("must begin with {start}"));
        }
        self.format.check(value).map(|()| value)
    }
}

fn object(members: Map<String, Value>, values: &BTreeMap<&str, &str>) -> Map<String, Value> {
    let filled = |(key, value): (String, Value)| (text(&key, values).into_owned(), filled(value, values));
    members.into_iter().map(filled).collect()
}

/// The value with its placeholders replaced, in texts and keys.
fn filled(value: Value, values: &BTreeMap<&str, &str>) -> Value {
    match value {
        Value::String(source) => Value::String(text(&source, values).into_owned()),
        Value::Array(list) => list.into_iter().map(|element| filled(element, values)).collect(),
        Value::Object(members) => Value::Object(object(members, values)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// One pass from left to right: a `${` in a value is never looked at.
fn text<'t>(source: &'t str, values: &BTreeMap<&str, &str>) -> Cow<'t, str> {
    if !source.contains("${") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len() + 64);
    let mut rest = source;
    while let Some((before, name, after)) = next_placeholder(rest) {
        out.push_str(before);
        match values.get(name) {
            Some(value) => out.push_str(value),
            None => out.extend(["${", name, "}"]),
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// What is before the first placeholder, its name, and what is after it.
fn next_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once("${")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}
