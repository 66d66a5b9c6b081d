//! MQTT: each event as a message of a topic, over MQTT 3.1.1 or 5.0.
//!
//! Modules in reading order: `packet` (bytes), `connection` (what is said over one).

mod connection;
mod packet;

use std::sync::Arc;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};

use self::{
    connection::{Connection, Login},
    packet::{Publish, Version},
};
use super::{check_common, field, flag, webhook::tls};
use crate::{
    Attempt, BoxFuture, Clients, Field, Kind, Message, ResponseSettings, Settings, Shape, Target, Variables,
    broker::{Address, Credential, Place, Scheme, Tls, header, key, shown_host},
    fields::Reader,
    net::{Kept, Reached},
    service::final_error,
    text::Text,
};

/// The kind `Mqtt`.
pub struct MqttKind;

const FIELDS: &[Field] = &[
    Field {
        required: true,
        ..field("url", Shape::Text, "The broker: mqtt://HOST:1883, or mqtts://HOST:8883 with TLS.")
    },
    Field {
        required: true,
        ..field(
            "topic",
            Shape::Text,
            "The topic of the messages; may hold variables, e.g. sensors/{{{PARTICLE_DEVICE_ID}}}.",
        )
    },
    field("payload", Shape::Text, "The message; the event's data if absent."),
    Field {
        default: Some("\"1\""),
        ..field("qos", Shape::Text, "1: a success is what the broker has acknowledged. 0: what it has read.")
    },
    flag("retain", "false", "Whether the broker keeps the message for later subscribers."),
    Field { default: Some("\"3.1.1\""), ..field("protocol", Shape::Text, "3.1.1 or 5.") },
    field("username", Shape::Text, "The user name for the broker."),
    Field {
        sensitive: true,
        ..field("password", Shape::Text, "The password for the broker; it is not shown again.")
    },
    Field {
        default: Some("\"tributary\""),
        ..field(
            "client_id",
            Shape::Text,
            "How client ids begin; each connection adds a dash and 12 characters.",
        )
    },
    flag("rejectUnauthorized", "true", "Whether the certificate of an mqtts address is checked."),
    tls::FIELD,
];

/// Most connections of an integration: hosted brokers count them.
const CONNECTIONS: usize = 16;
const SCHEMES: &[Scheme] =
    &[Scheme { name: "mqtt", port: 1883, secure: false }, Scheme { name: "mqtts", port: 8883, secure: true }];
/// Longest topic, in bytes: what MQTT allows.
const TOPIC_BYTES: usize = 65_535;
/// Longest beginning of client ids, in bytes.
const CLIENT_ID_BYTES: usize = 64;
/// Longest user name, in bytes.
const USERNAME_BYTES: usize = 1024;
/// Random bytes in a client id: with the usual beginning it has 22 characters, and every broker takes 23.
const CLIENT_ID_RANDOM: usize = 6;

const TOPIC: &str = "Topic";
const QOS: &str = "QoS";
const RETAIN: &str = "Retain";
const USERNAME: &str = "Username";
const PASSWORD: &str = "Password";
/// Headers of a message that are no user properties.
const OWN_HEADERS: [&str; 5] = [TOPIC, QOS, RETAIN, USERNAME, PASSWORD];

impl Kind for MqttKind {
    fn name(&self) -> &'static str {
        "Mqtt"
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
        let topic = read_topic(&mut reader);
        let payload = reader.text_template("payload");
        let acknowledged = one_of(&mut reader, "qos", ["1", "0"], "must be 0 or 1") == 0;
        let retain = reader.flag("retain", false);
        let versions = ["3.1.1", "5", "5.0", "3", "4"];
        let version = match one_of(&mut reader, "protocol", versions, "must be 3.1.1 or 5") {
            1 | 2 => Version::V5,
            _ => Version::V3,
        };
        let username = reader.text_template("username");
        let password = Credential::read(&mut reader, "password", &mut sensitive);
        if password.is_given() && username.is_none() {
            reader.error("username", "is required with password");
        }
        let client_id = read_client_id(&mut reader);
        let tls = Tls::read(&mut reader, &mut sensitive);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let (Some(address), Some(topic)) = (address, topic) else {
            return Err(vec![FieldError::new("url", "is required")]);
        };
        let kept = Kept::new(CONNECTIONS);
        Ok(Arc::new(Mqtt {
            address,
            topic,
            payload,
            acknowledged,
            retain,
            version,
            username,
            password,
            client_id,
            tls,
            response,
            variables,
            sensitive,
            kept,
        }))
    }
}

/// The place of a field's value among the known ones, 0 when there is none.
fn one_of<const N: usize>(reader: &mut Reader<'_>, field: &str, known: [&str; N], message: &str) -> usize {
    let Some(given) = reader.text(field) else { return 0 };
    known.iter().position(|known| *known == given.trim()).unwrap_or_else(|| {
        reader.error(field, message);
        0
    })
}

fn read_topic(reader: &mut Reader<'_>) -> Option<Text> {
    let source = reader.required_text("topic")?;
    let text = reader.template("topic", &source)?;
    if let Some(Err(error)) = text.literal().map(check_topic) {
        reader.error("topic", error);
    }
    Some(text)
}

fn check_topic(topic: &str) -> Result<(), String> {
    if topic.trim().is_empty() {
        Err("must not be empty".to_owned())
    } else if topic.contains(['+', '#']) {
        Err("must not have + or # in it: these are for subscribers".to_owned())
    } else if topic.contains(char::is_control) {
        Err("must not have line breaks or other control characters".to_owned())
    } else if topic.len() > TOPIC_BYTES {
        Err(format!("must have at most {TOPIC_BYTES} bytes"))
    } else {
        Ok(())
    }
}

fn read_client_id(reader: &mut Reader<'_>) -> String {
    let given = reader.text("client_id").unwrap_or("tributary".into()).trim().to_owned();
    if given.len() > CLIENT_ID_BYTES || given.contains(char::is_control) {
        reader.error("client_id", format!("must have at most {CLIENT_ID_BYTES} bytes, on one line"));
    }
    given
}

/// Not `Debug`: it holds a credential as it is.
struct Mqtt {
    address: Address,
    topic: Text,
    payload: Option<Text>,
    /// QoS 1
    acknowledged: bool,
    retain: bool,
    version: Version,
    username: Option<Text>,
    password: Credential,
    client_id: String,
    tls: Tls,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: Vec<String>,
    kept: Kept<Connection>,
}

impl Target for Mqtt {
    fn fixed_destination(&self) -> Option<String> {
        self.address.fixed().map(Place::destination)
    }

    fn destination(&self, variables: &Variables<'_>) -> Result<String, String> {
        self.address.render(variables).map(|place| place.destination())
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let rendered = |field: &str, text: &Text, limit| {
            text.render(variables, limit).map_err(|error| format!("{field}: {error}"))
        };
        let place = self.address.render(variables)?;
        let topic = rendered("topic", &self.topic, TOPIC_BYTES)?;
        check_topic(&topic).map_err(|error| format!("topic: {error}"))?;
        let payload = match &self.payload {
            Some(text) => rendered("payload", text, RENDERED_BYTES)?,
            None => variables.data().to_owned(),
        };
        let qos = if self.acknowledged { "1" } else { "0" };
        let mut headers = vec![(TOPIC.to_owned(), topic), (QOS.to_owned(), qos.to_owned())];
        if self.retain {
            headers.push((RETAIN.to_owned(), "true".to_owned()));
        }
        if let Some(username) = &self.username {
            headers.push((USERNAME.to_owned(), rendered("username", username, USERNAME_BYTES)?));
        }
        headers.extend(self.password.render(PASSWORD, variables)?);
        if self.version == Version::V5 {
            let event = variables.event;
            let property = |name: &str, value: String| (name.to_owned(), value);
            headers.push(property("event_id", event.id.to_string()));
            headers.push(property("event", event.name.to_string()));
            headers.push(property("device_id", event.coreid.to_string()));
            headers.push(property("published_at", event.published_at.to_string()));
        }
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
            let reached = Reached::default();
            let attempt = async { self.attempt(message, clients, &reached).await.unwrap_or_else(|e| e) };
            clients.in_time_by(&reached, attempt).await
        })
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

impl Mqtt {
    async fn attempt(
        &self,
        message: &Message,
        clients: &Clients,
        reached: &Reached,
    ) -> Result<Attempt, Attempt> {
        let place = Place::parse(&message.url, SCHEMES).map_err(final_error)?;
        let (username, password) = (header(message, USERNAME), self.password.of(PASSWORD, message));
        let client_id = self.new_client_id()?;
        let login =
            Login { version: self.version, client_id: &client_id, username, password, host: &place.host };
        let key = key(&[Some(&place.url), username, password]);
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
        let named = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let properties: Vec<_> = named.filter(|(name, _)| !OWN_HEADERS.contains(name)).collect();
        let publish = Publish {
            version: self.version,
            topic: header(message, TOPIC).unwrap_or_default(),
            id: (header(message, QOS) == Some("1")).then_some(0),
            retain: header(message, RETAIN).is_some(),
            properties: &properties,
            payload: &message.body,
        };
        let attempt = connection.publish(publish, &login).await?;
        self.kept.put(&key, connection);
        Ok(attempt)
    }

    /// A client id that no other connection has: a broker ends the older one of two.
    fn new_client_id(&self) -> Result<String, Attempt> {
        let mut random = [0; CLIENT_ID_RANDOM];
        SystemRandom::new().fill(&mut random).map_err(|_| final_error("no random numbers"))?;
        let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{}-{hex}", self.client_id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::{
        Secrets,
        test_support::{event, no_secrets, shown},
    };

    fn compile(mut config: Value) -> Result<Arc<dyn Target>, String> {
        let config = config.as_object_mut().unwrap();
        for (field, value) in [("event", "door"), ("url", "mqtt://broker.example"), ("topic", "doors")] {
            config.entry(field).or_insert(value.into());
        }
        let compiled = MqttKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let rendered = compile(config).unwrap().render(&Variables::new(&event, None, None, no_secrets()));
        rendered.map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_message_without_the_password_in_it() {
        assert_snapshot!(request(json!({"username": "u", "password": "hush"}), "22.5").unwrap(), @"
        PUBLISH mqtt://broker.example:1883
        Topic: doors
        QoS: 1
        Username: u

        22.5
        ");
    }

    #[test]
    fn topic_and_payload_are_templates_and_mqtt_5_carries_what_the_event_is() {
        let config = json!({
            "url": "mqtts://{{{site}}}.example:443", "topic": "{{{PARTICLE_EVENT_NAME}}}/{{{PARTICLE_DEVICE_ID}}}",
            "payload": "{\"t\": {{t}}}", "protocol": 5, "qos": 0, "retain": "true"
        });
        assert_snapshot!(request(config, r#"{"t":4,"site":"eu"}"#).unwrap(), @r#"
        PUBLISH mqtts://eu.example:443
        Topic: door/front/d1
        QoS: 0
        Retain: true
        event_id: 07070707-0707-0707-0707-070707070707
        event: door/front
        device_id: d1
        published_at: 2024-01-02T03:04:05.678Z

        {"t": 4}
        "#);
    }

    #[test]
    fn a_password_may_be_a_cloud_secret_and_is_then_a_header_that_logs_hide() {
        let target = compile(json!({"username": "{{{NAME}}}", "password": "{{{MQTT_PASSWORD}}}"})).unwrap();
        let secrets = Secrets([("MQTT_PASSWORD".into(), "hush".into())].into());
        let event = event("{}");
        let message = target.render(&Variables::new(&event, None, None, &secrets)).unwrap();
        assert!(message.headers.contains(&("Password".into(), "hush".into())), "{message:?}");
        assert!(tributary_domain::sensitive::is_sensitive_header("Password"));
        assert_eq!(target.variables(), ["MQTT_PASSWORD", "NAME"]);
    }

    #[test]
    fn what_cannot_be_published_is_a_final_error() {
        let error = |config| request(config, r#"{"a":"x#","b":"x\ny","c":""}"#).unwrap_err();
        assert_snapshot!(error(json!({"topic": "{{{a}}}"})), @"topic: must not have + or # in it: these are for subscribers");
        assert_snapshot!(error(json!({"topic": "t/{{{b}}}"})), @"topic: must not have line breaks or other control characters");
        assert_snapshot!(error(json!({"topic": "{{{c}}}"})), @"topic: must not be empty");
        assert_snapshot!(error(json!({"url": "mqtt://{{{c}}}"})), @"url: must be mqtt://HOST:1883 or mqtts://HOST:8883");
        assert_snapshot!(error(json!({"url": "mqtt://{{{a}}}.example"})), @"url: must be mqtt://HOST:1883 or mqtts://HOST:8883, with nothing after the port");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "url": "http://b", "topic": "a/#", "payload": "{{", "qos": 2, "retain": "maybe", "protocol": "3.1",
            "password": "p", "client_id": "x".repeat(65), "rejectUnauthorized": 5, "tls": {"ca": "x"}
        })).err().unwrap(), @"
        url: must be mqtt://HOST:1883 or mqtts://HOST:8883
        topic: must not have + or # in it: these are for subscribers
        payload: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        qos: must be 0 or 1
        retain: must be true or false
        protocol: must be 3.1.1 or 5
        username: is required with password
        client_id: must have at most 64 bytes, on one line
        rejectUnauthorized: must be true or false
        tls.ca: must be one or more certificates in PEM form
        ");
        assert_snapshot!(compile(json!({"url": "mqtt://u:p@b"})).err().unwrap(), @"url: must have no credentials in it; they have fields of their own");
        assert_snapshot!(compile(json!({"url": "mqtt://10.1.2.3"})).err().unwrap(), @"url: 10.1.2.3 is in a private range; the operator can allow it with delivery.allowed_targets");
    }

    #[test]
    fn it_is_called_after_its_event_and_broker() {
        let config = json!({"event": "door", "url": "mqtts://b.example:8883"});
        assert_eq!(MqttKind.default_name(config.as_object().unwrap()), "door for b.example");
    }
}
