//! Amazon SQS: each event as a message of a queue.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};
use url::Url;

use super::{check_common, field};
use crate::{
    AddressPolicy, Attempt, BoxFuture, Clients, Endpoint, Field, Kind, Message, ResponseSettings, Settings,
    Shape, Target, Variables,
    aws::{
        ACCESS_KEY_ID, Api, Aws, SECRET_ACCESS_KEY, SESSION_TOKEN, Verdict, check_region, checked_template,
        delivery_id, rendered,
    },
    fields::{Reader, scalar},
    gather::{self, Gather, Most},
    text::Text,
};

/// The kind `AwsSqs`.
pub struct AwsSqsKind;

const FIELDS: &[Field] = &[
    Field {
        required: true,
        ..field("queue_url", Shape::Text, "The queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME.")
    },
    field("region", Shape::Text, "The queue's region; needed only where its address does not tell."),
    field("payload", Shape::Text, "The message; the event's data if absent."),
    field(
        "attributes",
        Shape::Object,
        "Attributes of the message beside device_id, event, published_at and product_id; at most 6.",
    ),
    field(
        "group_id",
        Shape::Text,
        "The message's group, for a queue whose name ends in .fifo; the device's id if absent.",
    ),
    field(
        "deduplication_id",
        Shape::Text,
        "By which such a queue knows a message that comes twice; the delivery's id if absent.",
    ),
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    gather::FIELD,
];

static API: Api = Api {
    service: "sqs",
    target: "AmazonSQS.SendMessageBatch",
    content_type: "application/x-amz-json-1.0",
    list: "Entries",
    verdict,
};
/// What a request of `SendMessageBatch` can have.
const MOST: Most = Most { events: 10, bytes: 1_048_576 };
/// Attributes of a configuration's own: a message has ten in all.
const ATTRIBUTES: usize = 6;
/// Longest name of an attribute, in bytes.
const ATTRIBUTE_BYTES: usize = 256;
/// Longest id of a group or for deduplication, in bytes.
const ID_BYTES: usize = 128;
const QUEUE: &str = "queue_url";
const QUEUE_FORM: &str = "must be the address of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";

impl Kind for AwsSqsKind {
    fn name(&self) -> &'static str {
        "AwsSqs"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        let queue = text(QUEUE).trim_end_matches('/');
        format!("{} for {}", text("event"), queue.rsplit('/').next().unwrap_or(queue))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        check_common(&mut reader);
        if reader.given(QUEUE).is_none() {
            reader.error(QUEUE, "is required");
        }
        let queue = checked_template(&mut reader, QUEUE, |text| Queue::parse(text).map(drop));
        let region = checked_template(&mut reader, "region", check_region);
        let payload = reader.text_template("payload");
        let attributes = read_attributes(&mut reader);
        let group_id = reader.text_template("group_id");
        let deduplication_id = reader.text_template("deduplication_id");
        let gather = Gather::read(&mut reader, MOST);
        let aws = Aws::read(&mut reader, settings, &API, gather);
        let fixed = queue.as_ref().and_then(|queue| Queue::parse(queue.literal()?).ok());
        if let (Some(queue), Some(aws)) = (fixed, &aws) {
            if region.is_none() && queue.region.is_none() {
                reader.error("region", "is required: the queue's address does not tell it");
            }
            if let Err(error) = allowed(&queue, aws, &settings.addresses) {
                reader.error(QUEUE, error);
            }
        }
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let (Some(queue), Some(aws)) = (queue, aws) else {
            return Err(vec![FieldError::new(QUEUE, "is required")]);
        };
        let addresses = Arc::clone(&settings.addresses);
        Ok(Arc::new(AwsSqs {
            queue,
            region,
            payload,
            attributes,
            group_id,
            deduplication_id,
            aws,
            addresses,
            response,
            variables,
        }))
    }
}

/// A queue's address.
struct Queue {
    url: String,
    endpoint: Endpoint,
    host: String,
    /// As the host's name tells it.
    region: Option<String>,
    is_fifo: bool,
}

impl Queue {
    fn parse(text: &str) -> Result<Queue, String> {
        let url = Url::parse(text.trim()).map_err(|_| QUEUE_FORM.to_owned())?;
        let origin =
            Endpoint::parse(&url.origin().ascii_serialization()).map_err(|_| QUEUE_FORM.to_owned())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must have no credentials in it; they have fields of their own".to_owned());
        }
        let (Some(host), None, None, true) =
            (url.host_str(), url.query(), url.fragment(), url.path().len() > 1)
        else {
            return Err(QUEUE_FORM.to_owned());
        };
        let region = match host.split('.').collect::<Vec<_>>()[..] {
            ["sqs", region, "amazonaws", "com"] | ["sqs", region, "amazonaws", "com", "cn"] => Some(region),
            [region, "queue", "amazonaws", "com"] => Some(region),
            ["queue", "amazonaws", "com"] => Some("us-east-1"),
            _ => None,
        };
        Ok(Queue {
            region: region.map(str::to_owned),
            is_fifo: url.path().ends_with(".fifo"),
            host: host.to_owned(),
            endpoint: origin,
            url: url.to_string(),
        })
    }
}

/// Whether a queue may be written to.
fn allowed(queue: &Queue, aws: &Aws, policy: &AddressPolicy) -> Result<(), String> {
    // What the server may do at AWS is nobody else's business, also not that of others who have a host there.
    if aws.is_server_s() && queue.region.is_none() {
        return Err("must be at sqs.REGION.amazonaws.com, where the server's own key is used".to_owned());
    }
    match queue.host.trim_matches(['[', ']']).parse() {
        Ok(ip) => policy.refusal(ip).map_or(Ok(()), Err),
        Err(_) => Ok(()),
    }
}

/// `attributes`
fn read_attributes(reader: &mut Reader<'_>) -> Vec<(String, Text)> {
    const FIELD: &str = "attributes";
    let Some(object) = reader.object(FIELD) else { return Vec::new() };
    if object.len() > ATTRIBUTES {
        reader.error(FIELD, format!("must have at most {ATTRIBUTES} attributes"));
    }
    let mut attributes = Vec::new();
    for (name, value) in object {
        let path = format!("{FIELD}.{name}");
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if !(1..=ATTRIBUTE_BYTES).contains(&name.len()) || !name.bytes().all(is_name) {
            reader.error(&*path, "must have a name of letters, digits, dots, dashes and underscores");
        }
        match scalar(value) {
            None => reader.error(path, "must be a text"),
            Some(source) => {
                attributes.extend(reader.template(&path, &source).map(|text| (name.clone(), text)));
            }
        }
    }
    attributes
}

/// What a reply says of an entry, which it names by its id.
fn verdict(reply: &Value, entry: &Value, _: usize) -> (Verdict, Value) {
    let find = |list: &str| {
        let mut parts = reply.get(list)?.as_array()?.iter();
        parts.find(|part| part.get("Id").is_some_and(|id| Some(id) == entry.get("Id")))
    };
    if let Some(part) = find("Successful") {
        return (Verdict::Taken, part.clone());
    }
    let Some(part) = find("Failed") else { return (Verdict::Unknown, Value::Null) };
    let text = |name| part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    (Verdict::Refused { code: text("Code"), message: text("Message") }, part.clone())
}

/// Not `Debug`: it holds a credential as it is.
struct AwsSqs {
    queue: Text,
    region: Option<Text>,
    payload: Option<Text>,
    attributes: Vec<(String, Text)>,
    group_id: Option<Text>,
    deduplication_id: Option<Text>,
    aws: Aws,
    addresses: Arc<AddressPolicy>,
    response: ResponseSettings,
    variables: Vec<String>,
}

impl AwsSqs {
    fn attributes(&self, variables: &Variables<'_>) -> Result<Map<String, Value>, String> {
        let event = variables.event;
        let product = variables.product.or(event.product).map(|product| product.to_string());
        let mut attributes = vec![
            ("device_id", event.coreid.to_string()),
            ("event", event.name.to_string()),
            ("published_at", event.published_at.to_string()),
            ("product_id", product.unwrap_or_default()),
        ];
        for (name, text) in &self.attributes {
            let value = text
                .render(variables, RENDERED_BYTES)
                .map_err(|error| format!("attributes.{name}: {error}"))?;
            attributes.push((name, value));
        }
        // Later ones replace earlier ones; an attribute without a value is refused by the service.
        let given = attributes.into_iter().filter(|(_, value)| !value.is_empty());
        let typed = |value: String| json!({"DataType": "String", "StringValue": value});
        Ok(given.map(|(name, value)| (name.to_owned(), typed(value))).collect())
    }

    fn entry(&self, queue: &Queue, variables: &Variables<'_>) -> Result<Value, String> {
        let payload = match &self.payload {
            Some(text) => {
                text.render(variables, RENDERED_BYTES).map_err(|error| format!("payload: {error}"))?
            }
            None => variables.data().to_owned(),
        };
        if payload.is_empty() {
            return Err("payload: must not be empty, SQS takes no message without a text".to_owned());
        }
        let delivery = delivery_id(variables);
        let mut entry =
            json!({"Id": delivery, "MessageBody": payload, "MessageAttributes": self.attributes(variables)?});
        let id = |field: &str, text: &Option<Text>, absent: &str| match text {
            None => Ok(absent.to_owned()),
            Some(text) => rendered(field, text, variables, check_id),
        };
        if queue.is_fifo || self.group_id.is_some() {
            entry["MessageGroupId"] = id("group_id", &self.group_id, &variables.event.coreid)?.into();
        }
        if queue.is_fifo {
            let given = id("deduplication_id", &self.deduplication_id, &delivery)?;
            entry["MessageDeduplicationId"] = given.into();
        }
        Ok(entry)
    }
}

/// An id of a group or for deduplication.
fn check_id(id: &str) -> Result<(), String> {
    if (1..=ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!("must have 1 to {ID_BYTES} letters, digits and signs without spaces"))
}

impl Target for AwsSqs {
    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let queue = rendered(QUEUE, &self.queue, variables, |_| Ok(()))?;
        let queue = Queue::parse(&queue)
            .and_then(|queue| allowed(&queue, &self.aws, &self.addresses).map(|()| queue))
            .map_err(|error| format!("{QUEUE}: {error}"))?;
        let region = match &self.region {
            Some(region) => rendered("region", region, variables, check_region)?,
            None => {
                queue.region.clone().ok_or("region: is required: the queue's address does not tell it")?
            }
        };
        let body = json!({"QueueUrl": queue.url, "Entries": [self.entry(&queue, variables)?]});
        self.aws.request(&queue.endpoint, region, &body, variables)
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            // Queues of one region have one address to send to: a request is for one of them.
            let body: Option<Value> = match self.queue.literal() {
                Some(_) => None,
                None => serde_json::from_slice(&message.body).ok(),
            };
            let queue = body.as_ref().and_then(|body| body.get("QueueUrl")?.as_str());
            self.aws.send(message, clients, queue.unwrap_or_default()).await
        })
    }

    fn together(&self) -> usize {
        self.aws.together()
    }

    fn response(&self) -> &ResponseSettings {
        &self.response
    }

    fn variables(&self) -> Vec<String> {
        self.variables.clone()
    }

    fn sensitive_values(&self) -> &[String] {
        self.aws.sensitive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use insta::assert_snapshot;
    use tributary_domain::ProductId;

    use super::*;
    use crate::{
        Secrets,
        aws::AwsKey,
        settings::AwsSettings,
        test_support::{event, no_secrets, shown},
    };

    fn settings(key: bool) -> Settings {
        let key = key.then(|| Arc::new(AwsKey::new("AKIASERVER".to_owned(), "server-s".to_owned(), None)));
        Settings { aws: AwsSettings { endpoint: None, key }, ..Settings::default() }
    }

    fn compile_with(mut config: Value, settings: &Settings) -> Result<Arc<dyn Target>, String> {
        let config = config.as_object_mut().unwrap();
        for (field, value) in [
            ("event", "door"),
            ("queue_url", "https://sqs.eu-west-1.amazonaws.com/1234/doors"),
            ("access_key_id", "AKIAX"),
            ("secret_access_key", "hush"),
        ] {
            config.entry(field).or_insert(value.into());
        }
        let compiled = AwsSqsKind.compile(config, settings);
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn compile(config: Value) -> Result<Arc<dyn Target>, String> {
        compile_with(config, &settings(false))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let variables = Variables::new(&event, Some(ProductId(7)), None, no_secrets());
        compile(config).unwrap().render(&variables).map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_message_with_attributes_and_without_the_secret() {
        assert_snapshot!(request(json!({"session_token": "hush-hush"}), "22.5").unwrap(), @r#"
        POST https://sqs.eu-west-1.amazonaws.com/
        Content-Type: application/x-amz-json-1.0
        X-Amz-Target: AmazonSQS.SendMessageBatch
        Region: eu-west-1
        Access-Key-Id: AKIAX

        {"QueueUrl":"https://sqs.eu-west-1.amazonaws.com/1234/doors","Entries":[{"Id":"07070707-0707-0707-0707-070707070707","MessageBody":"22.5","MessageAttributes":{"device_id":{"DataType":"String","StringValue":"d1"},"event":{"DataType":"String","StringValue":"door/front"},"published_at":{"DataType":"String","StringValue":"2024-01-02T03:04:05.678Z"},"product_id":{"DataType":"String","StringValue":"7"}}}]}
        "#);
    }

    #[test]
    fn a_fifo_queue_gets_a_group_and_an_id_that_is_the_same_each_time() {
        let config = json!({
            "queue_url": "https://sqs.{{{r}}}.amazonaws.com/1234/doors.fifo", "payload": "{\"t\": {{t}}}",
            "attributes": {"site": "{{{r}}}", "event": "door", "none": "{{none}}"}
        });
        assert_snapshot!(request(config, r#"{"t":4,"r":"us-east-2"}"#).unwrap(), @r#"
        POST https://sqs.us-east-2.amazonaws.com/
        Content-Type: application/x-amz-json-1.0
        X-Amz-Target: AmazonSQS.SendMessageBatch
        Region: us-east-2
        Access-Key-Id: AKIAX

        {"QueueUrl":"https://sqs.us-east-2.amazonaws.com/1234/doors.fifo","Entries":[{"Id":"07070707-0707-0707-0707-070707070707","MessageBody":"{\"t\": 4}","MessageAttributes":{"device_id":{"DataType":"String","StringValue":"d1"},"event":{"DataType":"String","StringValue":"door"},"published_at":{"DataType":"String","StringValue":"2024-01-02T03:04:05.678Z"},"product_id":{"DataType":"String","StringValue":"7"},"site":{"DataType":"String","StringValue":"us-east-2"}},"MessageGroupId":"d1","MessageDeduplicationId":"07070707-0707-0707-0707-070707070707"}]}
        "#);
        let config = json!({"queue_url": "https://sqs.eu-west-1.amazonaws.com/1234/d.fifo", "group_id": "g-{{t}}", "deduplication_id": "d{{t}}"});
        let given = request(config, r#"{"t":4}"#).unwrap();
        assert!(
            given.contains(r#""MessageDeduplicationId":"d4""#) && given.contains(r#""MessageGroupId":"g-4""#),
            "{given}"
        );
    }

    #[test]
    fn what_cannot_be_sent_is_a_final_error() {
        assert_snapshot!(request(json!({}), "").unwrap_err(), @"payload: must not be empty, SQS takes no message without a text");
        assert_snapshot!(request(json!({"queue_url": "{{{q}}}"}), r#"{"q":"https://127.0.0.1/1/q"}"#).unwrap_err(), @"queue_url: 127.0.0.1 is a loopback address; the operator can allow it with delivery.allowed_targets");
        assert_snapshot!(request(json!({"queue_url": "{{{q}}}"}), r#"{"q":"nothing"}"#).unwrap_err(), @"queue_url: must be the address of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME");
        assert_snapshot!(request(json!({"region": "{{{q}}}"}), r#"{"q":"../x"}"#).unwrap_err(), @"region: must be the name of a region, e.g. eu-west-1");
        assert_snapshot!(request(json!({"group_id": "{{none}}"}), "{}").unwrap_err(), @"group_id: must have 1 to 128 letters, digits and signs without spaces");
        let quotes = json!({"x": "\"".repeat(8_000)}).to_string();
        assert_snapshot!(request(json!({"payload": "{{{x}}}".repeat(100)}), &quotes).unwrap_err(), @"the request is longer than 1048576 bytes");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "queue_url": "https://sqs.eu-west-1.amazonaws.com", "region": "Ireland", "payload": "{{", "access_key_id": null,
            "attributes": {"a b": "x", "c": []}, "batch": {"max_events": 11}, "secret_access_key": ""
        })).err().unwrap(), @r#"
        queue_url: must be the address of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME
        region: must be the name of a region, e.g. eu-west-1
        payload: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        attributes.a b: must have a name of letters, digits, dots, dashes and underscores
        attributes.c: must be a text
        batch.max_events: must be a whole number from 1 to 10
        access_key_id: is required: this server has no key of its own
        secret_access_key: is required with access_key_id
        "#);
        assert_snapshot!(compile(json!({"queue_url": "http://127.0.0.1:9324/queue/q"})).err().unwrap(), @r#"
        region: is required: the queue's address does not tell it
        queue_url: 127.0.0.1 is a loopback address; the operator can allow it with delivery.allowed_targets
        "#);
        assert_snapshot!(compile(json!({"queue_url": "https://u:p@sqs.eu-west-1.amazonaws.com/1/q"})).err().unwrap(), @"queue_url: must have no credentials in it; they have fields of their own");
    }

    #[test]
    fn the_server_s_own_key_signs_only_for_amazon_and_only_where_no_other_is_given() {
        let without = json!({"access_key_id": null, "secret_access_key": null});
        let with = |queue: &str| {
            let mut config = without.clone();
            config["queue_url"] = queue.into();
            compile_with(config, &settings(true))
        };
        assert!(with("https://sqs.eu-west-1.amazonaws.com/1234/doors").is_ok());
        for elsewhere in ["sqs.eu-west-1.amazonaws.com.evil.example", "x.execute-api.eu-west-1.amazonaws.com"]
        {
            let errors = with(&format!("https://{elsewhere}/1/q")).err().unwrap();
            let refused =
                "queue_url: must be at sqs.REGION.amazonaws.com, where the server's own key is used";
            assert!(errors.lines().any(|line| line == refused), "{errors}");
        }
        assert_snapshot!(compile_with(json!({"secret_access_key": null}), &settings(true)).err().unwrap(), @"secret_access_key: is required with access_key_id");
        let target = compile_with(without, &settings(true)).unwrap();
        let event = event("x");
        let message = target.render(&Variables::new(&event, None, None, no_secrets())).unwrap();
        assert!(!format!("{message:?}").contains("server-s"));
    }

    #[test]
    fn credentials_may_be_cloud_secrets_and_are_then_headers_that_logs_hide() {
        let secrets = Secrets([("AWS_SECRET".into(), "hush".into())].into());
        let event = event("x");
        let config = json!({"secret_access_key": "{{{AWS_SECRET}}}", "session_token": "{{{AWS_SECRET}}}"});
        let message = compile(config).unwrap().render(&Variables::new(&event, None, None, &secrets)).unwrap();
        let hidden: Vec<_> = message.headers.iter().filter(|(_, value)| value == "hush").collect();
        assert_eq!(hidden.len(), 2);
        for (name, _) in hidden {
            assert!(tributary_domain::sensitive::is_sensitive_header(name), "{name}");
        }
    }

    #[test]
    fn it_is_called_after_its_event_and_queue() {
        let config = json!({"event": "door", "queue_url": "https://sqs.eu-west-1.amazonaws.com/1234/doors"});
        assert_eq!(AwsSqsKind.default_name(config.as_object().unwrap()), "door for doors");
    }
}
