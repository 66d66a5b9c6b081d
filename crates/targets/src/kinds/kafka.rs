//! Kafka: each event as a record of a topic, stored by all replicas that are in sync.
//!
//! Modules in reading order: `codec` (the protocol's types), `records` (batches), `protocol` (requests and answers), `errors`,
//! `scram`, `connection` (what is said over one), `cluster` (who leads what), `partition`, `produce` (what becomes of each record).

mod cluster;
mod codec;
mod connection;
mod errors;
mod partition;
mod produce;
mod protocol;
mod records;
mod scram;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tributary_domain::{
    FieldError, integration::Config, limits::RENDERED_BYTES, sensitive::is_sensitive_header,
};

use self::{
    cluster::{Cluster, Way},
    connection::{Login, Mechanism},
    produce::produce,
    records::Compression,
};
use super::{check_common, field, flag, webhook::tls};
use crate::{
    AddressPolicy, Attempt, BoxFuture, Clients, Field, Kind, Message, ResponseSettings, Settings, Shape,
    Target, Variables,
    broker::{Credential, Place, Scheme, Tls, header, key, shown_host},
    fields::{Reader, scalar},
    gather::{self, Answer, Gather, Most, Together},
    net::Reached,
    text::Text,
};

/// The kind `Kafka`.
pub struct KafkaKind;

const FIELDS: &[Field] = &[
    Field {
        required: true,
        ..field("brokers", Shape::Text, "Brokers of the cluster: HOST:9092, several separated by commas.")
    },
    Field {
        required: true,
        ..field(
            "topic",
            Shape::Text,
            "The topic of the records; may hold variables, e.g. readings.{{{PRODUCT_ID}}}.",
        )
    },
    field(
        "key",
        Shape::Text,
        "Records with the same key are in the same partition; the device's id if absent.",
    ),
    field("payload", Shape::Text, "The record's value; the event's data if absent."),
    field(
        "headers",
        Shape::Object,
        "Headers of the record and their values, besides those that every record has; one without a value is left out.",
    ),
    Field {
        default: Some("\"none\""),
        ..field("compression", Shape::Text, "How records are compressed: none, gzip or snappy.")
    },
    field(
        "sasl",
        Shape::Text,
        "How the broker knows this server: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; by its certificate or not at all if absent.",
    ),
    field("username", Shape::Text, "The user name for sasl."),
    Field {
        sensitive: true,
        ..field("password", Shape::Text, "The password for sasl; it is not shown again.")
    },
    flag("ssl", "true", "Whether connections are encrypted; a broker that cannot is not spoken to."),
    flag("rejectUnauthorized", "true", "Whether the certificates of the brokers are checked."),
    tls::FIELD,
    gather::FIELD,
];

const SCHEMES: &[Scheme] = &[Scheme { name: "kafka", port: 9092, secure: false }];
/// Most brokers in a configuration.
const BROKERS: usize = 16;
/// Longest name of a topic, in bytes.
const TOPIC_BYTES: usize = 249;
/// Longest key, in bytes.
const KEY_BYTES: usize = 4 * 1024;
/// Longest user name, in bytes.
const USERNAME_BYTES: usize = 1024;
/// Most headers of a configuration, and the longest name and value of one, in bytes.
const HEADERS: usize = 20;
const HEADER_NAME_BYTES: usize = 128;
const HEADER_BYTES: usize = 4 * 1024;
/// A topic takes batches of 1,048,588 bytes unless it is set otherwise; keys and headers come on top of these.
const MOST: Most = Most { events: 1_000, bytes: 900_000 };

// Headers of a message that tell `send` what is no header of the record.
const TOPIC: &str = "Topic";
const KEY: &str = "Key";
const TIMESTAMP: &str = "Timestamp";
const USERNAME: &str = "Username";
const PASSWORD: &str = "Password";
const NOT_SENT: [&str; 5] = [TOPIC, KEY, TIMESTAMP, USERNAME, PASSWORD];
/// By which a consumer knows a record that comes twice.
const DELIVERY_ID: &str = "delivery_id";

impl Kind for KafkaKind {
    fn name(&self) -> &'static str {
        "Kafka"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        let first = text("brokers").split(',').next().unwrap_or_default();
        format!("{} for {} on {}", text("event"), text("topic"), shown_host(first))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        let mut sensitive = Vec::new();
        check_common(&mut reader);
        let brokers = read_brokers(&mut reader, &settings.addresses);
        let topic = read_topic(&mut reader);
        let key = reader.text_template("key");
        let payload = reader.text_template("payload");
        let headers = read_headers(&mut reader, &mut sensitive);
        let compression = one_of(&mut reader, "compression", Compression::ALL);
        let account = Account::read(&mut reader, &mut sensitive);
        let ssl = reader.flag("ssl", true);
        if !ssl && account.mechanism == Some(Mechanism::Plain) {
            reader.error("sasl", "PLAIN sends the password as it is, and needs ssl; SCRAM-SHA-256 does not");
        }
        let tls = Tls::read(&mut reader, &mut sensitive);
        let gather = Gather::read(&mut reader, MOST);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let (Some(first), Some(topic)) = (brokers.first().cloned(), topic) else {
            return Err(vec![FieldError::new("brokers", "is required")]);
        };
        Ok(Arc::new(Kafka {
            first,
            cluster: Cluster::new(brokers),
            topic,
            key,
            payload,
            headers,
            compression: compression.unwrap_or(Compression::None),
            account,
            ssl,
            tls,
            gather,
            response,
            variables,
            sensitive,
        }))
    }
}

/// `brokers`; a host that is written as a number is checked against `policy` at once.
fn read_brokers(reader: &mut Reader<'_>, policy: &AddressPolicy) -> Vec<Place> {
    const FIELD: &str = "brokers";
    const WRONG: &str = "must be HOST:9092, several of them separated by commas";
    let mut places = Vec::new();
    for text in reader.required_text(FIELD).as_deref().unwrap_or_default().split_terminator(',') {
        let place = Place::parse(&format!("kafka://{}", text.trim()), SCHEMES).map_err(|_| WRONG.to_owned());
        let allowed = place.and_then(|place| match place.host.trim_matches(['[', ']']).parse() {
            Ok(ip) => policy.refusal(ip).map_or(Ok(place), Err),
            Err(_) => Ok(place),
        });
        match allowed {
            Ok(place) => places.push(place),
            Err(error) => {
                reader.error(FIELD, error);
                return places;
            }
        }
    }
    if places.len() > BROKERS {
        reader.error(FIELD, format!("must be at most {BROKERS}; they name the others"));
    }
    places
}

fn read_topic(reader: &mut Reader<'_>) -> Option<Text> {
    let source = reader.required_text("topic")?;
    let text = reader.template("topic", source.trim())?;
    if let Some(Err(error)) = text.literal().map(check_topic) {
        reader.error("topic", error);
    }
    Some(text)
}

fn check_topic(topic: &str) -> Result<(), String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if topic.is_empty() || [".", ".."].contains(&topic) || !topic.bytes().all(is_name) {
        return Err("must be letters, digits, dots, dashes and underscores".to_owned());
    }
    if topic.len() > TOPIC_BYTES { Err(format!("must have at most {TOPIC_BYTES} bytes")) } else { Ok(()) }
}

/// A field that is one of some names.
fn one_of<T: Copy>(reader: &mut Reader<'_>, field: &str, all: [(&str, T); 3]) -> Option<T> {
    let given = reader.text(field)?;
    let found = all.iter().find(|(name, _)| *name == given.trim());
    if found.is_none() {
        let [a, b, c] = all.map(|(name, _)| name);
        reader.error(field, format!("must be {a}, {b} or {c}"));
    }
    found.map(|(_, one)| *one)
}

/// `headers`; what logs must not show goes to `hidden`.
fn read_headers(reader: &mut Reader<'_>, hidden: &mut Vec<String>) -> Vec<(String, Text)> {
    const FIELD: &str = "headers";
    let Some(object) = reader.object(FIELD) else { return Vec::new() };
    if object.len() > HEADERS {
        reader.error(FIELD, format!("must have at most {HEADERS} headers"));
    }
    let mut headers = Vec::new();
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let path = format!("{FIELD}.{name}");
        if name.is_empty() || name.len() > HEADER_NAME_BYTES || name.contains(char::is_control) {
            reader.error(&*path, format!("must have a name of 1 to {HEADER_NAME_BYTES} bytes"));
        }
        if NOT_SENT.contains(&&**name) {
            reader.error(&*path, "must have another name: this one is shown for what is no header");
        }
        let Some(source) = scalar(value) else {
            reader.error(path, "must be a text");
            continue;
        };
        let Some(text) = reader.template(&path, &source) else { continue };
        if let Some(literal) = text.literal().filter(|_| is_sensitive_header(name)) {
            hidden.push(literal.to_owned());
        }
        headers.push((name.clone(), text));
    }
    headers
}

/// `sasl`, `username` and `password`. Not `Debug`: it holds a credential as it is.
struct Account {
    mechanism: Option<Mechanism>,
    username: Option<Text>,
    password: Credential,
}

impl Account {
    fn read(reader: &mut Reader<'_>, hidden: &mut Vec<String>) -> Account {
        let mechanism = one_of(reader, "sasl", Mechanism::ALL);
        let username = reader.text_template("username");
        let password = Credential::read(reader, "password", hidden);
        if mechanism.is_some() && reader.given("username").is_none() {
            reader.error("username", "is required with sasl");
        }
        if mechanism.is_some() && !password.is_given() {
            reader.error("password", "is required with sasl");
        }
        if reader.given("sasl").is_none() && (username.is_some() || password.is_given()) {
            reader.error("sasl", "is required with username and password");
        }
        Account { mechanism, username, password }
    }
}

/// Not `Debug`: it holds a credential as it is.
struct Kafka {
    /// The broker that names the lane.
    first: Place,
    cluster: Cluster,
    topic: Text,
    key: Option<Text>,
    payload: Option<Text>,
    headers: Vec<(String, Text)>,
    compression: Compression,
    account: Account,
    ssl: bool,
    tls: Tls,
    gather: Gather,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: Vec<String>,
}

impl Target for Kafka {
    fn fixed_destination(&self) -> Option<String> {
        Some(self.first.destination())
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let topic = rendered("topic", &self.topic, variables, TOPIC_BYTES)?;
        check_topic(&topic).map_err(|error| format!("topic: {error}"))?;
        let key = match &self.key {
            Some(text) => rendered("key", text, variables, KEY_BYTES)?,
            None => variables.event.coreid.to_string(),
        };
        let body = match &self.payload {
            Some(text) => rendered("payload", text, variables, RENDERED_BYTES)?,
            None => variables.data().to_owned(),
        };
        let mut headers = vec![(TOPIC.to_owned(), topic)];
        if !key.is_empty() {
            headers.push((KEY.to_owned(), key));
        }
        headers.push((TIMESTAMP.to_owned(), variables.event.published_at.0.to_string()));
        if let Some(username) = &self.account.username {
            headers.push((USERNAME.to_owned(), rendered("username", username, variables, USERNAME_BYTES)?));
        }
        headers.extend(self.account.password.render(PASSWORD, variables)?);
        headers.extend(self.record_headers(variables)?);
        Ok(Message {
            destination: self.first.destination(),
            method: "PRODUCE".to_owned(),
            url: self.first.url.clone(),
            headers,
            body: Bytes::from(body),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let reached = Arc::new(Reached::default());
            let storing = Storing { kafka: self, reached: &reached };
            let key = key(&[header(message, USERNAME), self.account.password.of(PASSWORD, message)]);
            self.gather.send_by(&storing, &key, message, clients, &reached).await
        })
    }

    fn together(&self) -> usize {
        self.gather.most_events()
    }

    fn response(&self) -> &ResponseSettings {
        &self.response
    }

    fn variables(&self) -> Vec<String> {
        self.variables.clone()
    }

    fn sensitive_values(&self) -> &[String] {
        &self.sensitive
    }
}

fn rendered(field: &str, text: &Text, variables: &Variables<'_>, limit: usize) -> Result<String, String> {
    text.render(variables, limit).map_err(|error| format!("{field}: {error}"))
}

impl Kafka {
    /// The headers of the record: those that every one has, and those of the configuration, which replace them.
    fn record_headers(&self, variables: &Variables<'_>) -> Result<Vec<(String, String)>, String> {
        let event = variables.event;
        let id = event.id.to_string();
        // Of two integrations that one event fires, the second record is not the first once more.
        let delivery =
            variables.recipient.map_or_else(|| id.clone(), |recipient| format!("{id}_{recipient}"));
        let product = variables.product.or(event.product).map(|product| product.to_string());
        let mut headers = vec![
            ("event_id", id),
            (DELIVERY_ID, delivery),
            ("device_id", event.coreid.to_string()),
            ("event", event.name.to_string()),
            ("published_at", event.published_at.to_string()),
            ("product_id", product.unwrap_or_default()),
        ];
        for (name, text) in &self.headers {
            let value = rendered(&format!("headers.{name}"), text, variables, HEADER_BYTES)?;
            headers.retain(|(known, _)| known != name);
            headers.push((name, value));
        }
        let given = headers.into_iter().filter(|(_, value)| !value.is_empty());
        Ok(given.map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// Stores records, and notes that there is a connection.
struct Storing<'a> {
    kafka: &'a Kafka,
    reached: &'a Reached,
}

impl Together for Storing<'_> {
    fn send_together<'a>(&'a self, messages: &'a [Message], clients: &'a Clients) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let Some(first) = messages.first() else { return Answer::Each(Vec::new()) };
            let Kafka { account, cluster, ssl, tls, compression, .. } = self.kafka;
            let login = Login {
                mechanism: account.mechanism,
                // The same for all of them: it is part of what they meet by.
                username: header(first, USERNAME).unwrap_or_default(),
                password: account.password.of(PASSWORD, first).unwrap_or_default(),
                secure: *ssl,
            };
            let way = Way { clients, reached: self.reached, tls, login };
            Answer::Each(produce(cluster, &way, messages, *compression).await)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use insta::assert_snapshot;
    use serde_json::json;
    use tributary_domain::{MemberId, ProductId};

    use super::*;
    use crate::{
        Secrets,
        test_support::{event, no_secrets, shown},
    };

    fn compile(mut config: Value) -> Result<Arc<dyn Target>, String> {
        let config = config.as_object_mut().unwrap();
        for (field, value) in
            [("event", "door"), ("brokers", "k1.example:9093, k2.example"), ("topic", "doors")]
        {
            config.entry(field).or_insert(value.into());
        }
        let compiled = KafkaKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let variables = Variables::new(&event, Some(ProductId(7)), None, no_secrets());
        compile(config).unwrap().render(&variables).map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_record_without_the_password_in_it() {
        let config = json!({"sasl": "PLAIN", "username": "u", "password": "hush"});
        assert_snapshot!(request(config, "22.5").unwrap(), @"
        PRODUCE kafka://k1.example:9093
        Topic: doors
        Key: d1
        Timestamp: 1704164645678
        Username: u
        event_id: 07070707-0707-0707-0707-070707070707
        delivery_id: 07070707-0707-0707-0707-070707070707
        device_id: d1
        event: door/front
        published_at: 2024-01-02T03:04:05.678Z
        product_id: 7

        22.5
        ");
    }

    #[test]
    fn topic_key_headers_and_value_are_templates() {
        let config = json!({
            "topic": "doors.{{{site}}}", "key": "{{{site}}}-{{t}}", "payload": "{\"t\": {{t}}}",
            "headers": {"site": "{{{site}}}", "event": "door", "none": "{{none}}", "null": null}
        });
        assert_snapshot!(request(config, r#"{"t":4,"site":"eu"}"#).unwrap(), @r#"
        PRODUCE kafka://k1.example:9093
        Topic: doors.eu
        Key: eu-4
        Timestamp: 1704164645678
        event_id: 07070707-0707-0707-0707-070707070707
        delivery_id: 07070707-0707-0707-0707-070707070707
        device_id: d1
        published_at: 2024-01-02T03:04:05.678Z
        product_id: 7
        site: eu
        event: door

        {"t": 4}
        "#);
        assert!(
            !request(json!({"key": "{{none}}"}), "").unwrap().contains("\nKey: "),
            "a record may have none"
        );
    }

    #[test]
    fn a_record_has_the_id_of_its_delivery() {
        let event = event("{}");
        let id = |recipient: u8| {
            let variables = Variables::new(&event, None, None, no_secrets());
            let variables = variables.received_by(MemberId([recipient; 12]));
            let message = compile(json!({})).unwrap().render(&variables).unwrap();
            header(&message, DELIVERY_ID).unwrap().to_owned()
        };
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2), "two integrations of one event");
    }

    #[test]
    fn a_password_may_be_a_cloud_secret_and_is_then_a_header_that_logs_hide() {
        let secrets = Secrets([("KAFKA_SECRET".into(), "hush".into())].into());
        let event = event("{}");
        let config = json!({"sasl": "SCRAM-SHA-512", "username": "u", "password": "{{{KAFKA_SECRET}}}"});
        let message = compile(config).unwrap().render(&Variables::new(&event, None, None, &secrets)).unwrap();
        assert_eq!(header(&message, PASSWORD), Some("hush"));
        assert!(is_sensitive_header(PASSWORD));
    }

    #[test]
    fn what_cannot_be_stored_is_a_final_error() {
        let error = |config| request(config, r#"{"a":"a b"}"#).unwrap_err();
        assert_snapshot!(error(json!({"topic": "t.{{{a}}}"})), @"topic: must be letters, digits, dots, dashes and underscores");
        assert_snapshot!(error(json!({"topic": "{{none}}"})), @"topic: must be letters, digits, dots, dashes and underscores");
        assert_snapshot!(error(json!({"key": "{{{a}}}".repeat(2_000)})), @"key: the rendered text is longer than 4096 bytes");
        assert_snapshot!(error(json!({"headers": {"h": "{{{a}}}".repeat(2_000)}})), @"headers.h: the rendered text is longer than 4096 bytes");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "brokers": "kafka://b", "topic": "a b", "key": "{{", "payload": "{{", "compression": "zstd", "sasl": "GSSAPI",
            "headers": {"": "x", "Key": "x", "a": "{{", "b": []}, "ssl": "maybe", "rejectUnauthorized": 5,
            "tls": {"ca": "x"}, "batch": {"max_events": 1_001}
        })).err().unwrap(), @"
        brokers: must be HOST:9092, several of them separated by commas
        topic: must be letters, digits, dots, dashes and underscores
        key: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        payload: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        headers.: must have a name of 1 to 128 bytes
        headers.Key: must have another name: this one is shown for what is no header
        headers.a: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        headers.b: must be a text
        compression: must be none, gzip or snappy
        sasl: must be PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
        ssl: must be true or false
        rejectUnauthorized: must be true or false
        tls.ca: must be one or more certificates in PEM form
        batch.max_events: must be a whole number from 1 to 1000
        ");
        assert_snapshot!(compile(json!({"brokers": "a,,b", "sasl": "PLAIN", "ssl": false})).err().unwrap(), @"
        brokers: must be HOST:9092, several of them separated by commas
        username: is required with sasl
        password: is required with sasl
        sasl: PLAIN sends the password as it is, and needs ssl; SCRAM-SHA-256 does not
        ");
        assert_snapshot!(compile(json!({"brokers": "k,10.0.0.1:9092", "username": "u"})).err().unwrap(), @"
        brokers: 10.0.0.1 is in a private range; the operator can allow it with delivery.allowed_targets
        sasl: is required with username and password
        ");
        let many = ["k"; 17].join(",");
        assert_snapshot!(compile(json!({"brokers": many, "topic": ".."})).err().unwrap(), @"
        brokers: must be at most 16; they name the others
        topic: must be letters, digits, dots, dashes and underscores
        ");
    }

    #[test]
    fn headers_that_name_a_secret_are_sensitive() {
        let target = compile(json!({"headers": {"X-Api-Key": "hush", "site": "eu"}})).unwrap();
        assert_eq!(target.sensitive_values(), ["hush"]);
    }

    #[test]
    fn it_is_called_after_its_event_topic_and_first_broker() {
        let config = json!({"event": "door", "topic": "doors", "brokers": "k1.example:9092,k2.example"});
        assert_eq!(KafkaKind.default_name(config.as_object().unwrap()), "door for doors on k1.example");
    }
}
