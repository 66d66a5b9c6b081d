#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};
use tributary_control::testing::targets::{Endpoint, Message, Secrets, Settings, Variables, kinds};
use tributary_domain::{Event, EventId, ProductId, Timestamp, draft};

use super::*;

/// A value that the field takes; a text has what JSON and HTML escape.
fn sample(field: &CardField) -> String {
    if let Some(value) = field.example.as_ref().or(field.default.as_ref()) {
        return value.clone();
    }
    let start = field.start.clone();
    match field.format {
        Format::Text => start.unwrap_or_default() + r#"a"b\c <&> d"#,
        Format::Url => start.unwrap_or_else(|| "https://in.example.com/".to_owned()) + "T01/x?y=1",
        Format::Host => "in.example.com".to_owned(),
        Format::Name => start.unwrap_or_default() + "x_1",
        Format::Number => "12345".to_owned(),
        Format::Email => "ops@example.com".to_owned(),
    }
}

fn samples(card: &Card) -> BTreeMap<String, String> {
    card.fields.iter().map(|field| (field.name.clone(), sample(field))).collect()
}

fn placeholders(mut text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    while let Some((_, name, after)) = next_placeholder(text) {
        names.insert(name);
        text = after;
    }
    names
}

/// An emulator of Pub/Sub needs no service account.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.google_pubsub.endpoint = Some(Endpoint::parse("https://pubsub.example.com").unwrap());
    settings
}

/// What the console and the API do with a configuration, and then what an event makes of it.
fn request(card: &Card, data: &str) -> Message {
    let filled = card.fill(&samples(card)).unwrap();
    let draft = draft::read(filled, draft::Level::Product, kinds::DEFAULT, &kinds::known_names());
    assert!(draft.errors.is_empty(), "{}: {:?}", card.id, draft.errors);
    let kind = kinds::find(draft.config["integration_type"].as_str().unwrap()).unwrap();
    let target = kind.compile(&draft.config, &settings());
    let target = target.unwrap_or_else(|errors| panic!("{}: {errors:?}", card.id));
    let event = Event {
        id: EventId([7; 16]),
        product: Some(ProductId(7)),
        user: None,
        coreid: "e00fce68d3c2a1b0e00fce68".into(),
        name: "temperature".into(),
        data: Some(data.into()),
        ttl: 60,
        published_at: Timestamp(1_704_164_645_678),
        version: None,
    };
    let secrets = Secrets::default();
    target.render(&Variables::new(&event, event.product, None, &secrets)).unwrap()
}

fn services() -> impl Iterator<Item = &'static Card> {
    cards().iter().skip(1)
}

fn body(card: &str, data: &str) -> Value {
    serde_json::from_slice(&request(super::card(card).unwrap(), data).body).unwrap()
}

#[test]
fn every_file_of_the_folder_is_a_card_and_has_the_name_of_its_id() {
    let mut ids = HashSet::new();
    for (id, file) in FILES {
        let card: Card = toml::from_str(file).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert_eq!(card.id, *id);
        assert!(ids.insert(format!("{id}.toml")), "{id} is listed twice");
    }
    assert_eq!(cards().len(), FILES.len());
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/gallery")).unwrap();
    let files: HashSet<_> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, ids, "every file of gallery/ has a line in FILES");
}

#[test]
fn the_custom_webhook_is_first_and_leaves_everything_open() {
    let first = &cards()[0];
    assert_eq!(first.id, "webhook");
    assert!(first.fields.is_empty());
    let filled = first.fill(&BTreeMap::new()).unwrap();
    assert_eq!(
        Value::Object(filled),
        json!({"integration_type": "Webhook", "event": "", "url": "", "requestType": "POST"})
    );
    assert!(cards().len() >= 36);
}

#[test]
fn every_kind_of_destination_is_offered() {
    let filled = services().map(|card| card.fill(&samples(card)).unwrap());
    let offered: HashSet<_> =
        filled.map(|config| config["integration_type"].as_str().unwrap().to_owned()).collect();
    for kind in kinds::known_names() {
        assert!(offered.contains(kind), "{kind}");
    }
}

#[test]
fn every_card_says_what_it_does_and_where_its_documentation_is() {
    for card in services() {
        let id = &card.id;
        assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{id}");
        assert!(card.docs.starts_with("https://") && !card.docs.contains(char::is_whitespace), "{id}");
        assert!(card.summary.ends_with('.') && !card.summary.contains('\n'), "{id}");
        assert!(!card.prepare.is_empty() && !card.category.is_empty(), "{id}");
        let accent = card.accent.as_ref().unwrap().strip_prefix('#').unwrap();
        assert!(accent.len() == 6 && u32::from_str_radix(accent, 16).is_ok(), "{id}");
    }
}

#[test]
fn placeholders_and_fields_are_the_same_names() {
    for card in cards() {
        let fields: BTreeSet<_> = card.fields.iter().map(|field| &*field.name).collect();
        assert_eq!(fields.len(), card.fields.len(), "{}: a field is there twice", card.id);
        assert_eq!(placeholders(&card.integration), fields, "{}", card.id);
        for field in &card.fields {
            assert!(
                !field.label.is_empty() && field.hint.ends_with(['.', '…']),
                "{}: {}",
                card.id,
                field.name
            );
            let begins = field.start.as_deref().unwrap_or_default();
            assert!(field.default.as_ref().is_none_or(|default| default.starts_with(begins)), "{}", card.id);
            assert!(field.read(&sample(field)).is_ok(), "{}: {}", card.id, field.name);
        }
    }
}

#[test]
fn a_value_inside_a_url_or_a_text_body_needs_no_escaping_there() {
    for card in services() {
        let config: Value = serde_json::from_str(&card.integration).unwrap();
        for place in ["url", "body", "json", "topic"] {
            let Some(text) = config[place].as_str() else { continue };
            for name in placeholders(text) {
                let format = card.fields.iter().find(|field| field.name == name).unwrap().format;
                let begins =
                    place == "url" && format == Format::Url && text.starts_with(&format!("${{{name}}}"));
                assert!(begins || format.is_plain(), "{}: {name} in {place}", card.id);
            }
        }
    }
}

#[test]
fn a_filled_card_passes_validation_and_makes_a_request_with_a_body_of_its_type() {
    for card in services() {
        let locator = r#"{"w":{"a":[{"m":"00:11:22:33:44:55","s":-60,"c":11}]}}"#;
        let data = if card.category == "maps" { locator } else { "22.5" };
        let message = request(card, data);
        let encrypted = ["https://", "mqtts://", "amqps://", "tls://", "postgres://", "kafka://"]
            .iter()
            .any(|scheme| message.url.starts_with(scheme));
        assert!(encrypted, "{}: {}", card.id, message.url);
        let shown =
            format!("{} {:?} {}", message.url, message.headers, String::from_utf8_lossy(&message.body));
        assert!(!shown.contains("${"), "{}: {shown}", card.id);
        let is_json = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("content-type") && value.starts_with("application/json")
        };
        if message.headers.iter().any(is_json) {
            let parsed = serde_json::from_slice::<Value>(&message.body);
            assert!(parsed.is_ok_and(|value| value.is_object()), "{}: {shown}", card.id);
        }
    }
}

#[test]
fn cards_that_send_texts_take_any_text_of_a_device() {
    let data = "say \"hi\" \\ <b> & 'x'\nnew";
    assert_eq!(
        body("discord", data)["content"],
        format!("temperature from e00fce68d3c2a1b0e00fce68: {data}")
    );
    assert_eq!(body("pagerduty", data)["payload"]["custom_details"]["data"], data);
    assert_eq!(body("supabase", data)["data"], data);
}

#[test]
fn cards_that_send_numbers_send_them_as_numbers() {
    assert_eq!(body("ubidots", "22.5")["temperature"]["value"], 22.5);
    assert_eq!(body("azure-iot-central", "22.5")["measurements"]["temperature"], 22.5);
    let line = request(card("influxdb").unwrap(), "22.5").body;
    assert_eq!(line, "temperature,device_id=e00fce68d3c2a1b0e00fce68 value=22.5".as_bytes());
}

#[test]
fn services_get_credentials_where_they_look_for_them() {
    let header = |id: &str, name: &str| {
        let headers = request(card(id).unwrap(), "1").headers;
        headers.into_iter().find(|(other, _)| other == name).map(|(_, value)| value).unwrap_or_default()
    };
    assert!(header("sendgrid", "Authorization").starts_with("Bearer "));
    assert!(header("opsgenie", "Authorization").starts_with("GenieKey "));
    assert!(header("splunk", "Authorization").starts_with("Splunk "));
    assert!(header("twilio", "Authorization").starts_with("Basic "));
    let blynk = request(card("blynk").unwrap(), "22.5");
    assert_eq!(blynk.method, "GET");
    assert!(blynk.url.starts_with("https://blynk.cloud/external/api/update?token="), "{}", blynk.url);
    assert!(blynk.url.ends_with("&V0=22.5"), "{}", blynk.url);
    let telegram = request(card("telegram").unwrap(), "1").url;
    assert_eq!(telegram, "https://api.telegram.org/bot123456:ABC-def/sendMessage");
}

#[test]
fn a_value_is_put_in_as_it_is_and_never_read_as_structure_or_placeholder() {
    let card = card("sendgrid").unwrap();
    let mut values = samples(card);
    values.insert("API_KEY".to_owned(), r#"k", "x": "${FROM}"#.to_owned());
    let filled = card.fill(&values).unwrap();
    assert_eq!(filled["headers"], json!({"Authorization": r#"Bearer k", "x": "${FROM}"#}));
}

#[test]
fn every_wrong_value_is_named_at_once_and_defaults_fill_what_is_empty() {
    let card = card("mailgun").unwrap();
    let values =
        [("DOMAIN", "https://x"), ("FROM", "nobody"), ("TO", " to@example.com "), ("API_KEY", "a\nb")];
    let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let errors = card.fill(&BTreeMap::from(values)).unwrap_err();
    assert_eq!(errors.iter().map(|error| &*error.field).collect::<Vec<_>>(), ["DOMAIN", "API_KEY", "FROM"]);
    let filled = card.fill(&samples(card)).unwrap();
    assert_eq!(filled["url"], "https://api.mailgun.net/v3/in.example.com/messages");
}

#[test]
fn an_address_of_another_service_is_refused_and_a_cloud_secret_is_taken() {
    let card = card("slack").unwrap();
    let fill = |value: &str| card.fill(&BTreeMap::from([("WEBHOOK_URL".to_owned(), value.to_owned())]));
    let errors = fill("https://example.com/").unwrap_err();
    assert_eq!(errors[0].to_string(), "WEBHOOK_URL: must begin with https://hooks.slack.com/");
    assert_eq!(fill("").unwrap_err()[0].message, "is required");
    assert_eq!(fill("{{{SLACK_URL}}}").unwrap()["url"], "{{{SLACK_URL}}}");
    assert!(fill("{{{slack}}}").is_err());
}

#[test]
fn cards_are_found_by_name_summary_and_category() {
    let found = |search: &str| {
        cards().iter().filter(|card| card.fits(search)).map(|card| &*card.id).collect::<Vec<_>>()
    };
    assert_eq!(found("DISCORD"), ["discord"]);
    assert!(found("e-mail").contains(&"sendgrid"));
    assert!(found("alerts phones").contains(&"pushover"));
    assert_eq!(found("").len(), cards().len());
    assert!(found("no such service").is_empty());
    assert_eq!(categories()[0], "general");
    assert!(categories().len() < 12);
    assert!(card("nothing").is_none());
}
