//! Amazon Kinesis Data Streams: each event as a record of a stream.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};

use super::{check_common, field};
use crate::{
    Attempt, BoxFuture, Clients, Field, Kind, Message, ResponseSettings, Settings, Shape, Target, Variables,
    aws::{
        ACCESS_KEY_ID, Api, Aws, SECRET_ACCESS_KEY, SESSION_TOKEN, check_region, checked_template, endpoint,
        event_json, rendered, verdict_by_number,
    },
    fields::Reader,
    gather::{self, Gather, Most},
    text::Text,
};

/// The kind `AwsKinesis`.
pub struct AwsKinesisKind;

const FIELDS: &[Field] = &[
    Field { required: true, ..field("stream", Shape::Text, "The stream's name or ARN.") },
    Field { required: true, ..field("region", Shape::Text, "The stream's region, e.g. eu-west-1.") },
    field(
        "partition_key",
        Shape::Text,
        "Records with the same key are in the same shard; the device's id if absent.",
    ),
    field("payload", Shape::Text, "The record; a JSON object with the event in it if absent."),
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    gather::FIELD,
];

static API: Api = Api {
    service: "kinesis",
    target: "Kinesis_20131202.PutRecords",
    content_type: "application/x-amz-json-1.1",
    list: "Records",
    verdict: |reply, _, n| verdict_by_number(reply, "Records", n),
};
/// What a request of `PutRecords` can have, with the bytes of base64.
const MOST: Most = Most { events: 500, bytes: 5_000_000 };
/// Longest partition key, in characters.
const KEY_CHARS: usize = 256;
const STREAM_CHARS: usize = 128;

impl Kind for AwsKinesisKind {
    fn name(&self) -> &'static str {
        "AwsKinesis"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        let stream = text("stream");
        format!("{} for {}", text("event"), stream.rsplit('/').next().unwrap_or(stream))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        check_common(&mut reader);
        for name in ["stream", "region"] {
            if reader.given(name).is_none() {
                reader.error(name, "is required");
            }
        }
        let stream = checked_template(&mut reader, "stream", check_stream);
        let region = checked_template(&mut reader, "region", check_region);
        let partition_key = reader.text_template("partition_key");
        let payload = reader.text_template("payload");
        let gather = Gather::read(&mut reader, MOST);
        let aws = Aws::read(&mut reader, settings, &API, gather);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let (Some(stream), Some(region), Some(aws)) = (stream, region, aws) else {
            return Err(vec![FieldError::new("stream", "is required")]);
        };
        Ok(Arc::new(AwsKinesis { stream, region, partition_key, payload, aws, response, variables }))
    }
}

/// A stream's name or ARN.
fn check_stream(text: &str) -> Result<(), String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let name = match text.split_once(":stream/") {
        Some((arn, name)) if arn.starts_with("arn:") && !arn.contains(char::is_whitespace) => name,
        _ => text,
    };
    if (1..=STREAM_CHARS).contains(&name.len()) && name.bytes().all(is_name) {
        return Ok(());
    }
    Err("must be the name of a stream, or its ARN".to_owned())
}

/// Not `Debug`: it holds a credential as it is.
struct AwsKinesis {
    stream: Text,
    region: Text,
    partition_key: Option<Text>,
    payload: Option<Text>,
    aws: Aws,
    response: ResponseSettings,
    variables: Vec<String>,
}

impl Target for AwsKinesis {
    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let stream = rendered("stream", &self.stream, variables, check_stream)?;
        let region = rendered("region", &self.region, variables, check_region)?;
        let key = match &self.partition_key {
            Some(text) => rendered("partition_key", text, variables, |key| {
                let fits = (1..=KEY_CHARS).contains(&key.chars().count());
                if fits { Ok(()) } else { Err(format!("must have 1 to {KEY_CHARS} characters")) }
            })?,
            None => variables.event.coreid.to_string(),
        };
        let payload = match &self.payload {
            Some(text) => {
                text.render(variables, RENDERED_BYTES).map_err(|error| format!("payload: {error}"))?
            }
            None => event_json(variables).to_string(),
        };
        let named = if stream.starts_with("arn:") { "StreamARN" } else { "StreamName" };
        let body = json!({named: stream, "Records": [{"Data": BASE64.encode(payload), "PartitionKey": key}]});
        self.aws.request(&endpoint(API.service, &region), region, &body, variables)
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let body: Option<Value> = match self.stream.literal() {
                Some(_) => None,
                None => serde_json::from_slice(&message.body).ok(),
            };
            let named = |name| body.as_ref().and_then(|body| body.get(name)?.as_str());
            let stream = named("StreamName").or(named("StreamARN"));
            self.aws.send(message, clients, stream.unwrap_or_default()).await
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
    use crate::test_support::{event, no_secrets, shown};

    fn compile(mut config: Value) -> Result<Arc<dyn Target>, String> {
        let config = config.as_object_mut().unwrap();
        for (field, value) in [
            ("event", "door"),
            ("stream", "doors"),
            ("region", "eu-west-1"),
            ("access_key_id", "AKIAX"),
            ("secret_access_key", "hush"),
        ] {
            config.entry(field).or_insert(value.into());
        }
        let compiled = AwsKinesisKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let variables = Variables::new(&event, Some(ProductId(7)), None, no_secrets());
        compile(config).unwrap().render(&variables).map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_record_without_the_secret_in_it() {
        assert_snapshot!(request(json!({}), "22.5").unwrap(), @r#"
        POST https://kinesis.eu-west-1.amazonaws.com/
        Content-Type: application/x-amz-json-1.1
        X-Amz-Target: Kinesis_20131202.PutRecords
        Region: eu-west-1
        Access-Key-Id: AKIAX

        {"StreamName":"doors","Records":[{"Data":"eyJldmVudCI6ImRvb3IvZnJvbnQiLCJkYXRhIjoiMjIuNSIsImNvcmVpZCI6ImQxIiwicHVibGlzaGVkX2F0IjoiMjAyNC0wMS0wMlQwMzowNDowNS42NzhaIiwicHJvZHVjdF9pZCI6N30=","PartitionKey":"d1"}]}
        "#);
        let data = r#"{"event":"door/front","data":"22.5","coreid":"d1","published_at":"2024-01-02T03:04:05.678Z","product_id":7}"#;
        let shown = request(json!({}), "22.5").unwrap();
        let body: Value = serde_json::from_str(shown.rsplit('\n').next().unwrap()).unwrap();
        let sent = BASE64.decode(body["Records"][0]["Data"].as_str().unwrap()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&sent).unwrap(),
            serde_json::from_str::<Value>(data).unwrap()
        );
    }

    #[test]
    fn stream_key_and_record_are_templates() {
        let config = json!({
            "stream": "arn:aws-cn:kinesis:cn-north-1:1234:stream/{{{s}}}", "region": "cn-north-1",
            "partition_key": "{{{s}}}-{{t}}", "payload": "{{t}}"
        });
        assert_snapshot!(request(config, r#"{"t":4,"s":"doors"}"#).unwrap(), @r#"
        POST https://kinesis.cn-north-1.amazonaws.com.cn/
        Content-Type: application/x-amz-json-1.1
        X-Amz-Target: Kinesis_20131202.PutRecords
        Region: cn-north-1
        Access-Key-Id: AKIAX

        {"StreamARN":"arn:aws-cn:kinesis:cn-north-1:1234:stream/doors","Records":[{"Data":"NA==","PartitionKey":"doors-4"}]}
        "#);
    }

    #[test]
    fn what_cannot_be_sent_is_a_final_error() {
        assert_snapshot!(request(json!({"stream": "{{none}}"}), "").unwrap_err(), @"stream: must be the name of a stream, or its ARN");
        assert_snapshot!(request(json!({"partition_key": "{{none}}"}), "").unwrap_err(), @"partition_key: must have 1 to 256 characters");
        let long = json!({"x": "x".repeat(10_000)}).to_string();
        assert_snapshot!(request(json!({"payload": "{{x}}".repeat(90)}), &long).unwrap_err(), @"the request is longer than 1048576 bytes");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "stream": "a b", "region": "Ireland", "partition_key": "{{", "payload": "{{", "access_key_id": "{{",
            "batch": {"max_events": 501}
        })).err().unwrap(), @r#"
        stream: must be the name of a stream, or its ARN
        region: must be the name of a region, e.g. eu-west-1
        partition_key: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        payload: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        batch.max_events: must be a whole number from 1 to 500
        access_key_id: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        "#);
    }

    #[test]
    fn it_is_called_after_its_event_and_stream() {
        let config = json!({"event": "door", "stream": "arn:aws:kinesis:eu-west-1:1234:stream/doors"});
        assert_eq!(AwsKinesisKind.default_name(config.as_object().unwrap()), "door for doors");
    }
}
