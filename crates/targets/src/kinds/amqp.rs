//! AMQP 0-9-1, as RabbitMQ speaks it: each event as a message that is published to an exchange, several before they are confirmed.
//!
//! Modules in reading order: `frame` (bytes), `confirms` (which messages the broker has taken), `connection` (what is said over
//! one).

mod confirms;
mod connection;
mod frame;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};

use self::{
    connection::{Connection, Login},
    frame::{Publish, SHORT_BYTES},
};
use super::{check_common, field, flag, webhook::tls};
use crate::{
    Attempt, BoxFuture, Clients, Field, Kind, Message, ResponseSettings, Settings, Shape, Target, Variables,
    broker::{Address, Credential, Place, Scheme, Tls, header, key, shown_host},
    fields::Reader,
    gather::{self, Answer, Gather, Most, Together},
    net::{Kept, Reached},
    service::final_error,
    text::Text,
};

/// The kind `Amqp`.
pub struct AmqpKind;

const FIELDS: &[Field] = &[
    Field {
        required: true,
        ..field("url", Shape::Text, "The broker: amqp://HOST:5672, or amqps://HOST:5671 with TLS.")
    },
    Field { default: Some("\"/\""), ..field("vhost", Shape::Text, "The broker's virtual host.") },
    field(
        "exchange",
        Shape::Text,
        "The exchange that the messages are published to; the broker's default exchange if absent.",
    ),
    field(
        "routing_key",
        Shape::Text,
        "By which the exchange finds queues; the event's name if absent. Of the default exchange it is a queue's name, and is needed.",
    ),
    field("payload", Shape::Text, "The message; the event's data if absent."),
    field("content_type", Shape::Text, "What the message is, e.g. application/json."),
    flag("persistent", "true", "Whether durable queues keep the message over a restart of the broker."),
    flag("mandatory", "true", "Whether a message that reaches no queue is an error."),
    field(
        "username",
        Shape::Text,
        "The user name for the broker; without one the certificate of tls says who connects (EXTERNAL).",
    ),
    Field {
        sensitive: true,
        ..field("password", Shape::Text, "The password for the broker; it is not shown again.")
    },
    flag("rejectUnauthorized", "true", "Whether the certificate of an amqps address is checked."),
    tls::FIELD,
    gather::FIELD,
];

/// Most connections of an integration: hosted brokers count them.
const CONNECTIONS: usize = 8;
/// What is published at most before all of it is confirmed.
const MOST: Most = Most { events: 500, bytes: RENDERED_BYTES };
const SCHEMES: &[Scheme] =
    &[Scheme { name: "amqp", port: 5672, secure: false }, Scheme { name: "amqps", port: 5671, secure: true }];
/// Longest user name, in bytes.
const USERNAME_BYTES: usize = 1024;

const VHOST: &str = "Vhost";
const EXCHANGE: &str = "Exchange";
const ROUTING_KEY: &str = "Routing-Key";
const MANDATORY: &str = "Mandatory";
const PERSISTENT: &str = "Persistent";
const CONTENT_TYPE: &str = "Content-Type";
/// By which a consumer knows a message that comes twice.
const MESSAGE_ID: &str = "Message-Id";
const TIMESTAMP: &str = "Timestamp";
const USERNAME: &str = "Username";
const PASSWORD: &str = "Password";
/// Headers of a message that are not in the table of headers.
const OWN_HEADERS: [&str; 10] = [
    VHOST,
    EXCHANGE,
    ROUTING_KEY,
    MANDATORY,
    PERSISTENT,
    CONTENT_TYPE,
    MESSAGE_ID,
    TIMESTAMP,
    USERNAME,
    PASSWORD,
];

impl Kind for AmqpKind {
    fn name(&self) -> &'static str {
        "Amqp"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        format!("{} for {}", text("event"), shown_host(text("url")))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        let mut sensitive = Vec::new();
        check_common(&mut reader);
        let address = Address::read(&mut reader, SCHEMES, &settings.addresses);
        let vhost = read_short(&mut reader, "vhost");
        let exchange = read_short(&mut reader, "exchange");
        let routing_key = read_short(&mut reader, "routing_key");
        if reader.given("exchange").is_none() && reader.given("routing_key").is_none() {
            reader.error("routing_key", "is required without exchange: it is the name of a queue then");
        }
        let payload = reader.text_template("payload");
        let content_type = read_short(&mut reader, "content_type");
        let persistent = reader.flag("persistent", true);
        let mandatory = reader.flag("mandatory", true);
        let username = reader.text_template("username");
        let password = Credential::read(&mut reader, "password", &mut sensitive);
        check_login(&mut reader);
        let tls = Tls::read(&mut reader, &mut sensitive);
        let gather = Gather::read(&mut reader, MOST);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let Some(address) = address else { return Err(vec![FieldError::new("url", "is required")]) };
        let kept = Kept::new(CONNECTIONS);
        Ok(Arc::new(Amqp {
            address,
            vhost,
            exchange,
            routing_key,
            payload,
            content_type,
            persistent,
            mandatory,
            username,
            password,
            tls,
            gather,
            response,
            variables,
            sensitive,
            kept,
        }))
    }
}

/// A user name, or a certificate that says who connects.
fn check_login(reader: &mut Reader<'_>) {
    let certificate = reader.given("tls").and_then(|tls| tls.get("cert")).and_then(Value::as_str);
    if reader.given("username").is_some() {
        return;
    }
    if reader.given("password").is_some() {
        reader.error("username", "is required with password");
    } else if certificate.is_none_or(str::is_empty) {
        reader.error("username", "is required unless tls has a certificate that says who connects");
    }
}

/// A template of a text that AMQP allows 255 bytes.
fn read_short(reader: &mut Reader<'_>, field: &str) -> Option<Text> {
    let text = reader.text_template(field)?;
    if let Some(Err(error)) = text.literal().map(check_short) {
        reader.error(field, error);
    }
    Some(text)
}

fn rendered(field: &str, text: &Text, variables: &Variables<'_>, limit: usize) -> Result<String, String> {
    text.render(variables, limit).map_err(|error| format!("{field}: {error}"))
}

/// The rendering of what [`read_short`] has read.
fn short(field: &str, text: Option<&Text>, variables: &Variables<'_>) -> Result<Option<String>, String> {
    let Some(text) = text else { return Ok(None) };
    let text = rendered(field, text, variables, RENDERED_BYTES)?;
    check_short(&text).map_err(|error| format!("{field}: {error}"))?;
    Ok(Some(text))
}

fn check_short(text: &str) -> Result<(), String> {
    if text.len() > SHORT_BYTES {
        Err(format!("must have at most {SHORT_BYTES} bytes"))
    } else if text.contains(char::is_control) {
        Err("must not have line breaks or other control characters".to_owned())
    } else {
        Ok(())
    }
}

/// Not `Debug`: it holds a credential as it is.
struct Amqp {
    address: Address,
    vhost: Option<Text>,
    exchange: Option<Text>,
    routing_key: Option<Text>,
    payload: Option<Text>,
    content_type: Option<Text>,
    persistent: bool,
    mandatory: bool,
    username: Option<Text>,
    password: Credential,
    tls: Tls,
    gather: Gather,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: Vec<String>,
    kept: Kept<Connection>,
}

impl Target for Amqp {
    fn fixed_destination(&self) -> Option<String> {
        self.address.fixed().map(Place::destination)
    }

    fn destination(&self, variables: &Variables<'_>) -> Result<String, String> {
        self.address.render(variables).map(|place| place.destination())
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let event = variables.event;
        let place = self.address.render(variables)?;
        let exchange = short("exchange", self.exchange.as_ref(), variables)?.unwrap_or_default();
        let routing_key = match short("routing_key", self.routing_key.as_ref(), variables)? {
            Some(key) => key,
            None if exchange.is_empty() => {
                return Err("routing_key: is required with the default exchange".to_owned());
            }
            None => event.name.to_string(),
        };
        let payload = match &self.payload {
            Some(text) => rendered("payload", text, variables, RENDERED_BYTES)?,
            None => variables.data().to_owned(),
        };
        let id = event.id;
        let id = variables.recipient.map_or(id.to_string(), |recipient| format!("{id}_{recipient}"));
        let mut headers = Vec::with_capacity(14);
        let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
        add(VHOST, short("vhost", self.vhost.as_ref(), variables)?.unwrap_or("/".to_owned()));
        if !exchange.is_empty() {
            add(EXCHANGE, exchange);
        }
        add(ROUTING_KEY, routing_key);
        add(MANDATORY, self.mandatory.to_string());
        add(PERSISTENT, self.persistent.to_string());
        if let Some(content_type) = short("content_type", self.content_type.as_ref(), variables)? {
            add(CONTENT_TYPE, content_type);
        }
        add(MESSAGE_ID, id);
        add(TIMESTAMP, event.published_at.0.div_euclid(1_000).max(0).to_string());
        add("event", event.name.to_string());
        add("device_id", event.coreid.to_string());
        add("published_at", event.published_at.to_string());
        if let Some(product) = variables.product.or(event.product) {
            add("product_id", product.to_string());
        }
        if let Some(username) = &self.username {
            add(USERNAME, rendered("username", username, variables, USERNAME_BYTES)?);
        }
        headers.extend(self.password.render(PASSWORD, variables)?);
        Ok(Message {
            destination: place.destination(),
            method: "PUBLISH".to_owned(),
            url: place.url,
            headers,
            body: Bytes::from(payload),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let reached = Arc::new(Reached::default());
            let publisher = Publisher { amqp: self, reached: &reached };
            // One exchange alone: where it is not there, no other's messages go down with it.
            let key = key(&[Some(&self.key(message)), header(message, EXCHANGE)]);
            self.gather.send_by(&publisher, &key, message, clients, &reached).await
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

/// What publishes for an attempt, and for those that it leads.
struct Publisher<'a> {
    amqp: &'a Amqp,
    reached: &'a Reached,
}

impl Together for Publisher<'_> {
    fn send_together<'a>(&'a self, messages: &'a [Message], clients: &'a Clients) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let published = self.amqp.publish(messages, clients, self.reached).await;
            Answer::Some(published.unwrap_or_else(|attempt| vec![Some(attempt); messages.len()]))
        })
    }
}

impl Amqp {
    /// The key of a connection that a message can go over.
    fn key(&self, message: &Message) -> String {
        let of = |name| header(message, name);
        key(&[Some(&message.url), of(VHOST), of(USERNAME), self.password.of(PASSWORD, message)])
    }

    async fn publish(
        &self,
        messages: &[Message],
        clients: &Clients,
        reached: &Reached,
    ) -> Result<Vec<Option<Attempt>>, Attempt> {
        let Some(first) = messages.first() else { return Ok(Vec::new()) };
        let place = Place::parse(&first.url, SCHEMES).map_err(final_error)?;
        let login = Login {
            vhost: header(first, VHOST).unwrap_or_default(),
            username: header(first, USERNAME),
            password: self.password.of(PASSWORD, first),
            host: &place.host,
        };
        let key = self.key(first);
        let _turn = self.kept.turn().await;
        let mut connection = match self.kept.take(&key) {
            Some(connection) => {
                reached.note();
                connection
            }
            None => {
                let wire = place.connect(clients, reached, &self.tls).await?;
                let wire = if place.secure { wire.encrypted().await? } else { wire };
                Connection::open(wire, &login).await?
            }
        };
        let publishes: Vec<Publish<'_>> = messages.iter().map(publish_of).collect();
        let (each, is_of_use) = connection.publish(&publishes, &login).await;
        if is_of_use {
            self.kept.put(&key, connection);
        }
        Ok(each)
    }
}

/// A message in the protocol's terms.
fn publish_of(message: &Message) -> Publish<'_> {
    let text = |name| header(message, name).unwrap_or_default();
    let named = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Publish {
        exchange: text(EXCHANGE),
        routing_key: text(ROUTING_KEY),
        mandatory: text(MANDATORY) == "true",
        persistent: text(PERSISTENT) == "true",
        content_type: header(message, CONTENT_TYPE),
        message_id: text(MESSAGE_ID),
        timestamp: text(TIMESTAMP).parse().unwrap_or(0),
        headers: named.filter(|(name, _)| !OWN_HEADERS.contains(name)).collect(),
        payload: &message.body,
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
            [("event", "door"), ("url", "amqp://broker.example"), ("exchange", "doors"), ("username", "u")]
        {
            config.entry(field).or_insert(value.into());
        }
        let compiled = AmqpKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let rendered = compile(config).unwrap().render(&Variables::new(&event, None, None, no_secrets()));
        rendered.map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_message_without_the_password_in_it() {
        assert_snapshot!(request(json!({"password": "hush"}), "22.5").unwrap(), @"
        PUBLISH amqp://broker.example:5672
        Vhost: /
        Exchange: doors
        Routing-Key: door/front
        Mandatory: true
        Persistent: true
        Message-Id: 07070707-0707-0707-0707-070707070707
        Timestamp: 1704164645
        event: door/front
        device_id: d1
        published_at: 2024-01-02T03:04:05.678Z
        Username: u

        22.5
        ");
    }

    #[test]
    fn where_it_goes_and_what_is_in_it_are_templates() {
        let config = json!({
            "url": "amqps://{{{site}}}.example:443", "vhost": "{{{site}}}", "exchange": null,
            "routing_key": "{{{PARTICLE_DEVICE_ID}}}.{{t}}", "payload": "{\"t\": {{t}}}",
            "content_type": "application/json", "persistent": "false", "mandatory": false
        });
        assert_snapshot!(request(config, r#"{"t":4,"site":"eu"}"#).unwrap(), @r#"
        PUBLISH amqps://eu.example:443
        Vhost: eu
        Routing-Key: d1.4
        Mandatory: false
        Persistent: false
        Content-Type: application/json
        Message-Id: 07070707-0707-0707-0707-070707070707
        Timestamp: 1704164645
        event: door/front
        device_id: d1
        published_at: 2024-01-02T03:04:05.678Z
        Username: u

        {"t": 4}
        "#);
    }

    #[test]
    fn a_message_s_id_is_that_of_the_delivery_and_it_tells_of_the_product() {
        let event = event("{}");
        let rendered = |recipient: u8| {
            let variables = Variables::new(&event, Some(ProductId(7)), None, no_secrets());
            compile(json!({})).unwrap().render(&variables.received_by(MemberId([recipient; 12]))).unwrap()
        };
        let id = |recipient| header(&rendered(recipient), MESSAGE_ID).unwrap().to_owned();
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2), "two integrations of one event");
        let message = rendered(1);
        let names: Vec<_> = publish_of(&message).headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["event", "device_id", "published_at", "product_id"]);
    }

    #[test]
    fn a_password_may_be_a_cloud_secret_and_is_then_a_header_that_logs_hide() {
        let target = compile(json!({"password": "{{{AMQP_PASSWORD}}}"})).unwrap();
        let secrets = Secrets([("AMQP_PASSWORD".into(), "hush".into())].into());
        let event = event("{}");
        let message = target.render(&Variables::new(&event, None, None, &secrets)).unwrap();
        assert!(message.headers.contains(&("Password".into(), "hush".into())), "{message:?}");
        assert_eq!(target.variables(), ["AMQP_PASSWORD"]);
    }

    #[test]
    fn what_cannot_be_published_is_a_final_error() {
        let error = |config| request(config, r#"{"a":"x\ny","b":""}"#).unwrap_err();
        assert_snapshot!(error(json!({"exchange": "{{{a}}}"})), @"exchange: must not have line breaks or other control characters");
        assert_snapshot!(error(json!({"exchange": "{{{b}}}"})), @"routing_key: is required with the default exchange");
        assert_snapshot!(error(json!({"routing_key": "{{{a}}}"})), @"routing_key: must not have line breaks or other control characters");
        assert_snapshot!(error(json!({"vhost": "{{{b}}}x".repeat(256)})), @"vhost: must have at most 255 bytes");
        assert_snapshot!(error(json!({"url": "amqp://{{{b}}}"})), @"url: must be amqp://HOST:5672 or amqps://HOST:5671");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "url": "http://b", "vhost": "a\nb", "exchange": "", "routing_key": null, "payload": "{{", "content_type": "x".repeat(256),
            "persistent": "maybe", "mandatory": 1, "username": "", "password": "p", "rejectUnauthorized": 5, "tls": {"ca": "x"},
            "batch": {"max_events": 501}
        })).err().unwrap(), @"
        url: must be amqp://HOST:5672 or amqps://HOST:5671
        vhost: must not have line breaks or other control characters
        routing_key: is required without exchange: it is the name of a queue then
        payload: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        content_type: must have at most 255 bytes
        persistent: must be true or false
        mandatory: must be true or false
        username: is required with password
        rejectUnauthorized: must be true or false
        tls.ca: must be one or more certificates in PEM form
        batch.max_events: must be a whole number from 1 to 500
        ");
        assert_snapshot!(compile(json!({"username": null})).err().unwrap(), @"username: is required unless tls has a certificate that says who connects");
    }

    #[test]
    fn it_is_called_after_its_event_and_broker() {
        let config = json!({"event": "door", "url": "amqps://b.example:5671"});
        assert_eq!(AmqpKind.default_name(config.as_object().unwrap()), "door for b.example");
    }
}
