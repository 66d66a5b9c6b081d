//! Google Cloud Pub/Sub: each event as a message of a topic (contract 4.4), over the REST API.
//!
//! The integration's service account publishes, or the server's own; the topic's owner allows it to. An emulator needs no
//! account. Events that wait at the same time go as one request.
//!
//! Modules: `account` (who publishes), `contents` (what of an event goes into a message).

mod account;
mod contents;

use std::{fmt::Write as _, sync::Arc};

use serde_json::{Value, json};
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES, outcome::AttemptClass};

use self::{account::Account, contents::Contents};
use super::{check_common, field, webhook::USER_AGENT};
use crate::{
    Attempt, BoxFuture, Clients, Endpoint, Field, Kind, Message, Reply, ResponseSettings, Settings, Shape,
    Target, Variables,
    broker::{header, key},
    fields::Reader,
    gather::{self, Answer, Gather, Most, Together, joined},
    net::passing,
    service::{Service, explained, final_error, google_error},
    settings::Clock,
};

/// The kind `GoogleCloudPubSub`.
pub struct GooglePubSubKind;

const FIELDS: &[Field] = &[
    Field { required: true, ..field("topic", Shape::Text, "The topic: projects/PROJECT/topics/TOPIC.") },
    Field {
        sensitive: true,
        ..field(
            account::FIELD,
            Shape::ObjectOrText,
            "The JSON key of the service account that publishes; the server's own account if absent. It is not shown again.",
        )
    },
    field("payload", Shape::Text, "The message's data; the event's if absent."),
    field(
        "attributes",
        Shape::Object,
        "Attributes of the message beside device_id, event, published_at and product_id; at most 96.",
    ),
    field(
        "ordering_key",
        Shape::Text,
        "Messages with the same key are received in the order in which they are sent; only with concurrency 1 events are sent one after another.",
    ),
    gather::FIELD,
];

/// A request takes 1,000 messages and 10 MB.
const MOST: Most = Most { events: 500, bytes: 5_000_000 };
/// The list of a request that has the messages in it.
const MESSAGES: &str = "messages";
/// The list of an answer that has their ids.
const IDS: &str = "messageIds";
/// Statuses that one message may have brought upon all of a request; others are the topic's or the account's.
const OF_A_MESSAGE: [u16; 2] = [400, 413];

const HOST: &str = "pubsub.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";

impl Kind for GooglePubSubKind {
    fn name(&self) -> &'static str {
        "GoogleCloudPubSub"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        let topic = text("topic");
        format!("{} for {}", text("event"), topic.rsplit('/').next().unwrap_or(topic))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        let mut sensitive = Vec::new();
        check_common(&mut reader);
        let given = reader.required_text("topic").unwrap_or_default();
        let topic = topic(given.trim());
        if topic.is_none() && reader.given("topic").is_some() {
            reader.error("topic", "must be projects/PROJECT/topics/TOPIC");
        }
        let account = Account::read(&mut reader, settings, &mut sensitive);
        let contents = Contents::read(&mut reader);
        let gather = Gather::read(&mut reader, MOST);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let Some(topic) = topic else { return Err(vec![FieldError::new("topic", "is required")]) };
        let operator = settings.google_pubsub.endpoint.as_ref();
        let service = Service::new(operator, || Endpoint::of_host(HOST));
        let clock = settings.clock;
        Ok(Arc::new(GooglePubSub {
            topic,
            service,
            account,
            contents,
            gather,
            clock,
            response,
            variables,
            sensitive,
        }))
    }
}

/// Not `Debug`: it holds a credential as it is.
struct GooglePubSub {
    /// `projects/P/topics/T`
    topic: String,
    service: Service,
    account: Account,
    contents: Contents,
    gather: Gather,
    clock: Clock,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: Vec<String>,
}

impl Target for GooglePubSub {
    fn fixed_destination(&self) -> Option<String> {
        Some(self.service.endpoint.destination().to_owned())
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let credentials = self.account.render(variables)?;
        let body = json!({MESSAGES: [self.contents.message(variables)?]}).to_string();
        if body.len() > RENDERED_BYTES {
            return Err(format!("the request is longer than {RENDERED_BYTES} bytes"));
        }
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut headers = vec![header("Content-Type", "application/json"), header("User-Agent", USER_AGENT)];
        headers.extend(credentials);
        Ok(Message {
            destination: self.service.endpoint.destination().to_owned(),
            method: "POST".to_owned(),
            url: self.service.endpoint.at(&format!("/v1/{}:publish", self.topic)),
            headers,
            body: body.into(),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            // All messages of a request must have the same ordering key.
            let body: Option<Value> = match self.contents.is_ordered() {
                true => serde_json::from_slice(&message.body).ok(),
                false => None,
            };
            let ordering = body.as_ref().and_then(|body| body.pointer("/messages/0/orderingKey")?.as_str());
            let key = key(&[header(message, account::HEADER), ordering]);
            self.gather.send(self, &key, message, clients).await
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

impl GooglePubSub {
    async fn post(&self, mut message: Message, clients: &Clients) -> Attempt {
        let account = match self.account.of(&message) {
            Ok(account) => account,
            Err(error) => return final_error(error),
        };
        message.headers.retain(|(name, _)| name != account::HEADER);
        let Some(account) = account else {
            return explained(clients.send(&message, self.service.via).await, &[], google_error);
        };
        let token = match account.token(SCOPE, self.clock, clients).await {
            Ok(token) => token,
            Err(failed) => return failed,
        };
        let authorized = message.with_header("Authorization", format!("Bearer {token}"));
        let attempt = clients.send(&authorized, self.service.via).await;
        if attempt.reply.as_ref().is_some_and(|reply| reply.status == 401) {
            account.forget(&token).await;
        }
        explained(attempt, &[&token], google_error)
    }

    /// What an answer of 2xx says of each of `count` messages.
    fn each(&self, reply: &Reply, count: usize) -> Vec<Attempt> {
        let json: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let id = |n: usize| json.get(IDS)?.get(n)?.as_str();
        let told = |n: usize| {
            let Some(id) = id(n) else {
                let host = self.service.endpoint.destination();
                let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
                let error = format!("the answer of {host} does not tell of the event");
                return Attempt { reply: Some(reply.clone()), ..passing(error) };
            };
            let own = || json!({IDS: [id]}).to_string().into();
            let body = if count == 1 { reply.body.clone() } else { own() };
            let reply = Some(Reply { body, ..reply.clone() });
            Attempt { class: AttemptClass::Success, error: None, reply }
        };
        (0..count).map(told).collect()
    }
}

impl Together for GooglePubSub {
    fn send_together<'a>(&'a self, messages: &'a [Message], clients: &'a Clients) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let Some(request) = joined(messages, MESSAGES) else {
                return Answer::Whole(final_error("the events cannot be put into one request"));
            };
            let attempt = self.post(request, clients).await;
            match &attempt.reply {
                Some(reply) if attempt.class == AttemptClass::Success => {
                    Answer::Each(self.each(reply, messages.len()))
                }
                Some(reply) if OF_A_MESSAGE.contains(&reply.status) => Answer::Whole(attempt),
                // It would be no different for each by itself.
                _ => Answer::Each(vec![attempt; messages.len()]),
            }
        })
    }
}

/// A topic in any of its spellings as `projects/P/topics/T`: so, `P/T`, or Particle's `projects/P/topic/T`.
fn topic(given: &str) -> Option<String> {
    let parts: Vec<&str> = given.trim_start_matches('/').split('/').collect();
    let (project, topic) = match parts[..] {
        ["projects", project, "topics" | "topic", topic] | [project, topic] => (project, topic),
        _ => return None,
    };
    let mut path = String::from("projects/");
    // `domain.com:project` is a project of old domains.
    let is_project = |b: u8| b.is_ascii_alphanumeric() || b"-.:".contains(&b);
    let project_ok = (1..=100).contains(&project.len()) && project.bytes().all(is_project);
    // Of a topic's characters only `%` and `+` are not taken as they are in a path.
    let is_topic = |b: u8| b.is_ascii_alphanumeric() || b"-_.~+%".contains(&b);
    let begins = topic.starts_with(|c: char| c.is_ascii_alphabetic());
    let topic_ok = (3..=255).contains(&topic.len()) && begins && topic.bytes().all(is_topic);
    if !project_ok || !project.starts_with(|c: char| c.is_ascii_alphanumeric()) || !topic_ok {
        return None;
    }
    let encoded = topic.replace('%', "%25").replace('+', "%2B");
    write!(path, "{project}/topics/{encoded}").ok()?;
    Some(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use insta::assert_snapshot;
    use tributary_domain::ProductId;

    use super::*;
    use crate::{
        settings::GooglePubSubSettings,
        test_support::{event, no_secrets, shown},
    };

    fn compile(config: &Value, endpoint: Option<&str>) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let endpoint = endpoint.map(|text| Endpoint::parse(text).unwrap());
        let google_pubsub = GooglePubSubSettings { endpoint, credentials: None };
        let settings = Settings { google_pubsub, ..Settings::default() };
        GooglePubSubKind.compile(config.as_object().unwrap(), &settings)
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let mut config = config;
        config["event"] = "door".into();
        config["topic"] = "projects/my-p/topics/doors".into();
        let target = compile(&config, Some("localhost:8085")).map_err(|errors| format!("{errors:?}"))?;
        let event = event(data);
        let message = target.render(&Variables::new(&event, Some(ProductId(7)), None, no_secrets()))?;
        Ok(shown(&message))
    }

    #[test]
    fn an_event_becomes_a_message_with_attributes() {
        assert_snapshot!(request(json!({}), "22.5").unwrap(), @r#"
        POST http://localhost:8085/v1/projects/my-p/topics/doors:publish
        Content-Type: application/json

        {"messages":[{"data":"MjIuNQ==","attributes":{"device_id":"d1","event":"door/front","published_at":"2024-01-02T03:04:05.678Z","product_id":"7"}}]}
        "#);
        let target = compile(&json!({"event": "door", "topic": "p1/doors"}), Some("localhost:8085")).unwrap();
        let event = event("22.5");
        let sandbox = shown(&target.render(&Variables::new(&event, None, None, no_secrets())).unwrap());
        assert!(!sandbox.contains("product_id"));
    }

    #[test]
    fn payload_attributes_and_ordering_key_are_templates() {
        let config = json!({
            "payload": "{\"t\": {{t}}}", "ordering_key": "{{{PARTICLE_DEVICE_ID}}}",
            "attributes": {"room": "r-{{t}}", "event": "door", "published_at": "", "n": 5}
        });
        assert_snapshot!(request(config, r#"{"t":4}"#).unwrap(), @r#"
        POST http://localhost:8085/v1/projects/my-p/topics/doors:publish
        Content-Type: application/json

        {"messages":[{"data":"eyJ0IjogNH0=","attributes":{"device_id":"d1","event":"door","product_id":"7","room":"r-4","n":"5"},"orderingKey":"d1"}]}
        "#);
        let no_key = request(json!({"ordering_key": "{{none}}"}), "{}").unwrap();
        assert!(!no_key.contains("orderingKey"), "an empty key is none: {no_key}");
    }

    #[test]
    fn what_cannot_be_sent_is_a_final_error() {
        let long = json!({"x": "x".repeat(1_025)}).to_string();
        assert_snapshot!(request(json!({"ordering_key": "{{x}}"}), &long).unwrap_err(), @"ordering_key: the rendered text is longer than 1024 bytes");
        assert_snapshot!(request(json!({"attributes": {"a": "{{x}}"}}), &long).unwrap_err(), @"attributes.a: the rendered text is longer than 1024 bytes");
        assert_snapshot!(request(json!({"payload": "{{x}}".repeat(900)}), &long).unwrap_err(), @"the request is longer than 1048576 bytes");
    }

    #[test]
    fn every_wrong_field_is_named() {
        let config = json!({
            "credentials": "k3y", "payload": "{{", "attributes": {"": "x", "googclient": "x", "c": []},
            "ordering_key": "{{#x}}", "batch": {"max_events": 501}, "topic": "x", "event": "e"
        });
        let errors = compile(&config, None).err().unwrap();
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_snapshot!(errors.join("\n"), @r#"
        topic: must be projects/PROJECT/topics/TOPIC
        credentials: is not the JSON key of a service account (line 1, column 1)
        payload: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        attributes.: must have a name of 1 to 256 bytes that does not begin with goog
        attributes.googclient: must have a name of 1 to 256 bytes that does not begin with goog
        attributes.c: must be a text
        ordering_key: line 1, column 1: the section `x` is not closed; add `{{/x}}` where it ends
        batch.max_events: must be a whole number from 1 to 500
        "#);
        assert!(!errors.join("").contains("k3y"));
    }

    #[test]
    fn a_topic_has_three_spellings() {
        for given in ["projects/p1/topics/doors", "projects/p1/topic/doors", "p1/doors"] {
            assert_eq!(topic(given).as_deref(), Some("projects/p1/topics/doors"), "{given}");
        }
        assert_eq!(topic("p1/a+b%c").as_deref(), Some("projects/p1/topics/a%2Bb%25c"));
        for wrong in [
            "doors",
            "a/b/c",
            "projects/p1/subscriptions/doors",
            "p1/..",
            "../doors",
            "p1/d?x",
            "p1/",
            "/",
            "p1/1ab",
        ] {
            assert_eq!(topic(wrong), None, "{wrong}");
        }
        let refused = |config| compile(&config, None).err().unwrap()[0].to_string();
        assert_eq!(
            refused(json!({"event": "e", "topic": "x"})),
            "topic: must be projects/PROJECT/topics/TOPIC"
        );
        assert_eq!(refused(json!({"event": "e"})), "topic: is required");
    }

    #[test]
    fn without_an_account_the_error_says_what_can_be_done() {
        let target = compile(&json!({"event": "e", "topic": "p1/doors"}), None).unwrap();
        let event = event("");
        let error = target.render(&Variables::new(&event, None, None, no_secrets())).unwrap_err();
        assert_snapshot!(error, @"there is no service account: credentials can hold the key of one, and this server's operator can name one with targets.google_pubsub.credentials_file");
    }

    #[test]
    fn it_is_called_after_the_last_part_of_the_topic() {
        let config = json!({"event": "door", "topic": "projects/p1/topics/doors"});
        assert_eq!(GooglePubSubKind.default_name(config.as_object().unwrap()), "door for doors");
    }
}
