//! Google Cloud Pub/Sub: each event as a message of a topic (contract 4.4), over the REST API.
//!
//! The server's own service account publishes; the topic's owner allows it to. An emulator needs no account.

use std::{fmt::Write as _, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};
use tributary_domain::{FieldError, integration::Config};

use super::{check_common, field, webhook::USER_AGENT};
use crate::{
    Attempt, BoxFuture, Clients, Endpoint, Field, Kind, Message, ResponseSettings, Settings, Shape, Target,
    Variables,
    fields::Reader,
    google_account::ServiceAccount,
    service::{Service, explained, google_error},
    settings::Clock,
};

/// The kind `GoogleCloudPubSub`.
pub struct GooglePubSubKind;

const FIELDS: &[Field] =
    &[Field { required: true, ..field("topic", Shape::Text, "The topic: projects/PROJECT/topics/TOPIC.") }];

const HOST: &str = "pubsub.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/pubsub";
const NO_ACCOUNT: &str = "this server has no Google service account: its operator can name one with targets.google_pubsub.credentials_file";

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
        check_common(&mut reader);
        let given = reader.required_text("topic").unwrap_or_default();
        let topic = topic(given.trim());
        if topic.is_none() && reader.given("topic").is_some() {
            reader.error("topic", "must be projects/PROJECT/topics/TOPIC");
        }
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let Some(topic) = topic else { return Err(vec![FieldError::new("topic", "is required")]) };
        let operator = settings.google_pubsub.endpoint.as_ref();
        let service = Service::new(operator, || Endpoint::of_host(HOST));
        let account = match &settings.google_pubsub.credentials {
            Some(account) => Account::Google(Arc::clone(account)),
            None if operator.is_some() => Account::Unneeded,
            None => Account::Missing,
        };
        let clock = settings.clock;
        Ok(Arc::new(GooglePubSub { topic, service, account, clock, response, variables }))
    }
}

/// Who publishes.
#[derive(Debug)]
enum Account {
    Google(Arc<ServiceAccount>),
    /// An emulator asks for none.
    Unneeded,
    Missing,
}

#[derive(Debug)]
struct GooglePubSub {
    /// `projects/P/topics/T`
    topic: String,
    service: Service,
    account: Account,
    clock: Clock,
    response: ResponseSettings,
    variables: Vec<String>,
}

impl Target for GooglePubSub {
    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        if matches!(self.account, Account::Missing) {
            return Err(NO_ACCOUNT.to_owned());
        }
        let event = variables.event;
        let mut attributes = Map::new();
        attributes.insert("device_id".to_owned(), (&*event.coreid).into());
        attributes.insert("event".to_owned(), (&*event.name).into());
        attributes.insert("published_at".to_owned(), event.published_at.to_string().into());
        if let Some(product) = variables.product.or(event.product) {
            // Attributes are texts.
            attributes.insert("product_id".to_owned(), product.to_string().into());
        }
        let body = json!({"messages": [{"data": BASE64.encode(variables.data()), "attributes": attributes}]});
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Ok(Message {
            destination: self.service.endpoint.destination().to_owned(),
            method: "POST".to_owned(),
            url: self.service.endpoint.at(&format!("/v1/{}:publish", self.topic)),
            headers: vec![header("Content-Type", "application/json"), header("User-Agent", USER_AGENT)],
            body: body.to_string().into(),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        let Account::Google(account) = &self.account else {
            return Box::pin(async {
                explained(clients.send(message, self.service.via).await, &[], google_error)
            });
        };
        Box::pin(clients.in_time(async move {
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
        }))
    }

    fn response(&self) -> &ResponseSettings {
        &self.response
    }

    fn variables(&self) -> Vec<String> {
        self.variables.clone()
    }

    fn sensitive_values(&self) -> &[String] {
        &[]
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

    #[test]
    fn an_event_becomes_a_message_with_attributes() {
        let target =
            compile(&json!({"event": "door", "topic": "projects/my-p/topics/doors"}), Some("localhost:8085"));
        let event = event("22.5");
        let target = target.unwrap();
        let request =
            |product| shown(&target.render(&Variables::new(&event, product, None, no_secrets())).unwrap());
        assert_snapshot!(request(Some(ProductId(7))), @r#"
        POST http://localhost:8085/v1/projects/my-p/topics/doors:publish
        Content-Type: application/json

        {"messages":[{"data":"MjIuNQ==","attributes":{"device_id":"d1","event":"door/front","published_at":"2024-01-02T03:04:05.678Z","product_id":"7"}}]}
        "#);
        assert!(!request(None).contains("product_id"));
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
    fn without_an_account_the_error_says_what_the_operator_can_do() {
        let target = compile(&json!({"event": "e", "topic": "p1/doors"}), None).unwrap();
        let event = event("");
        let error = target.render(&Variables::new(&event, None, None, no_secrets())).unwrap_err();
        assert!(error.contains("targets.google_pubsub.credentials_file"), "{error}");
    }

    #[test]
    fn it_is_called_after_the_last_part_of_the_topic() {
        let config = json!({"event": "door", "topic": "projects/p1/topics/doors"});
        assert_eq!(GooglePubSubKind.default_name(config.as_object().unwrap()), "door for doors");
    }
}
