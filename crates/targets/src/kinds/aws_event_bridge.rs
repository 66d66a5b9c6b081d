//! Amazon EventBridge: each event as an event of a bus.

use std::sync::Arc;

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
    json::JsonTemplate,
    text::Text,
};

/// The kind `AwsEventBridge`.
pub struct AwsEventBridgeKind;

const FIELDS: &[Field] = &[
    Field { required: true, ..field("region", Shape::Text, "The bus's region, e.g. eu-west-1.") },
    Field {
        default: Some("\"default\""),
        ..field("event_bus", Shape::Text, "The bus's name or ARN; the account's default bus if absent.")
    },
    Field {
        default: Some("\"tributary\""),
        ..field("source", Shape::Text, "The source of the events, by which rules choose them.")
    },
    field(
        "detail_type",
        Shape::Text,
        "The type of the events, by which rules choose them; the event's name if absent.",
    ),
    field("detail", Shape::ObjectOrText, "A JSON object; one with the event in it if absent."),
    ACCESS_KEY_ID,
    SECRET_ACCESS_KEY,
    SESSION_TOKEN,
    gather::FIELD,
];

static API: Api = Api {
    service: "events",
    target: "AWSEvents.PutEvents",
    content_type: "application/x-amz-json-1.1",
    list: "Entries",
    verdict: |reply, _, n| verdict_by_number(reply, "Entries", n),
};
/// What a request of `PutEvents` can have.
const MOST: Most = Most { events: 10, bytes: 256 * 1024 };
/// Longest name of a bus, with its ARN.
const BUS_CHARS: usize = 1_600;
/// Longest source and type.
const NAME_CHARS: usize = 256;
const DETAIL: &str = "detail";
const DEFAULT_BUS: &str = "default";
const DEFAULT_SOURCE: &str = "tributary";

impl Kind for AwsEventBridgeKind {
    fn name(&self) -> &'static str {
        "AwsEventBridge"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        let bus = text("event_bus").rsplit('/').next().filter(|bus| !bus.is_empty()).unwrap_or(DEFAULT_BUS);
        format!("{} for {bus}", text("event"))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        check_common(&mut reader);
        if reader.given("region").is_none() {
            reader.error("region", "is required");
        }
        let region = checked_template(&mut reader, "region", check_region);
        let event_bus = checked_template(&mut reader, "event_bus", check_bus);
        let source = checked_template(&mut reader, "source", check_source);
        let detail_type = checked_template(&mut reader, "detail_type", check_type);
        let detail = Detail::read(&mut reader);
        let gather = Gather::read(&mut reader, MOST);
        let aws = Aws::read(&mut reader, settings, &API, gather);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let (Some(region), Some(aws)) = (region, aws) else {
            return Err(vec![FieldError::new("region", "is required")]);
        };
        Ok(Arc::new(AwsEventBridge {
            region,
            event_bus,
            source,
            detail_type,
            detail,
            aws,
            response,
            variables,
        }))
    }
}

fn check_bus(text: &str) -> Result<(), String> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_.-/:".contains(&b);
    if (1..=BUS_CHARS).contains(&text.len()) && text.bytes().all(is_name) {
        return Ok(());
    }
    Err("must be the name of an event bus, or its ARN".to_owned())
}

fn check_source(text: &str) -> Result<(), String> {
    if text.starts_with("aws.") {
        return Err("must not begin with aws., which is for Amazon's own services".to_owned());
    }
    check_type(text)
}

fn check_type(text: &str) -> Result<(), String> {
    let fits = (1..=NAME_CHARS).contains(&text.chars().count());
    if fits { Ok(()) } else { Err(format!("must have 1 to {NAME_CHARS} characters")) }
}

/// `detail`
enum Detail {
    Event,
    Object(JsonTemplate),
    Text(Text),
}

impl Detail {
    fn read(reader: &mut Reader<'_>) -> Detail {
        match reader.given(DETAIL) {
            None => Detail::Event,
            Some(Value::Object(object)) => Detail::Object(JsonTemplate::compile(reader, DETAIL, object)),
            Some(Value::String(source)) => {
                reader.template(DETAIL, source).map_or(Detail::Event, Detail::Text)
            }
            Some(_) => {
                reader.error(DETAIL, "must be an object or a text");
                Detail::Event
            }
        }
    }

    fn render(&self, variables: &Variables<'_>) -> Result<String, String> {
        let mut out = String::new();
        let rendered = match self {
            Detail::Event => return Ok(event_json(variables).to_string()),
            Detail::Object(template) => {
                out.push('{');
                let pushed = template.push_members(variables, &mut out, RENDERED_BYTES - 1);
                out.push('}');
                pushed
            }
            Detail::Text(text) => text.push(variables, &mut out, RENDERED_BYTES),
        };
        rendered.map_err(|error| format!("{DETAIL}: {error}"))?;
        match serde_json::from_str(&out) {
            Ok(Value::Object(_)) => Ok(out),
            _ => Err(format!("{DETAIL}: does not render to a JSON object")),
        }
    }
}

/// Not `Debug`: it holds a credential as it is.
struct AwsEventBridge {
    region: Text,
    event_bus: Option<Text>,
    source: Option<Text>,
    detail_type: Option<Text>,
    detail: Detail,
    aws: Aws,
    response: ResponseSettings,
    variables: Vec<String>,
}

impl Target for AwsEventBridge {
    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let event = variables.event;
        let region = rendered("region", &self.region, variables, check_region)?;
        let given = |field: &str, text: &Option<Text>, absent: &str, check| match text {
            Some(text) => rendered(field, text, variables, check),
            None => Ok(absent.to_owned()),
        };
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era are exact")]
        let time = event.published_at.0 as f64 / 1_000.0;
        let entry = json!({
            "EventBusName": given("event_bus", &self.event_bus, DEFAULT_BUS, check_bus)?,
            "Source": given("source", &self.source, DEFAULT_SOURCE, check_source)?,
            "DetailType": given("detail_type", &self.detail_type, &event.name, check_type)?,
            "Time": time,
            "Detail": self.detail.render(variables)?,
        });
        let body = json!({"Entries": [entry]});
        self.aws.request(&endpoint(API.service, &region), region, &body, variables)
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        // Each entry names its bus.
        Box::pin(self.aws.send(message, clients, ""))
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
            ("region", "eu-west-1"),
            ("access_key_id", "AKIAX"),
            ("secret_access_key", "hush"),
        ] {
            config.entry(field).or_insert(value.into());
        }
        let compiled = AwsEventBridgeKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let variables = Variables::new(&event, Some(ProductId(7)), None, no_secrets());
        compile(config).unwrap().render(&variables).map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_an_event_of_the_default_bus() {
        assert_snapshot!(request(json!({}), "22.5").unwrap(), @r#"
        POST https://events.eu-west-1.amazonaws.com/
        Content-Type: application/x-amz-json-1.1
        X-Amz-Target: AWSEvents.PutEvents
        Region: eu-west-1
        Access-Key-Id: AKIAX

        {"Entries":[{"EventBusName":"default","Source":"tributary","DetailType":"door/front","Time":1704164645.678,"Detail":"{\"event\":\"door/front\",\"data\":\"22.5\",\"coreid\":\"d1\",\"published_at\":\"2024-01-02T03:04:05.678Z\",\"product_id\":7}"}]}
        "#);
    }

    #[test]
    fn bus_source_type_and_detail_are_templates() {
        let config = json!({
            "event_bus": "arn:aws:events:eu-west-1:1234:event-bus/{{{b}}}", "source": "fleet.{{{b}}}",
            "detail_type": "reading", "detail": {"t": "{{t}}", "nested": {"at": "{{PARTICLE_PUBLISHED_AT}}"}}
        });
        assert_snapshot!(request(config, r#"{"t":4,"b":"plant"}"#).unwrap(), @r#"
        POST https://events.eu-west-1.amazonaws.com/
        Content-Type: application/x-amz-json-1.1
        X-Amz-Target: AWSEvents.PutEvents
        Region: eu-west-1
        Access-Key-Id: AKIAX

        {"Entries":[{"EventBusName":"arn:aws:events:eu-west-1:1234:event-bus/plant","Source":"fleet.plant","DetailType":"reading","Time":1704164645.678,"Detail":"{\"t\":\"4\",\"nested\":{\"at\":\"2024-01-02T03:04:05.678Z\"}}"}]}
        "#);
        let text = request(json!({"detail": "{\"t\": {{t}}}"}), r#"{"t":4}"#).unwrap();
        assert!(text.contains(r#""Detail":"{\"t\": 4}""#), "{text}");
    }

    #[test]
    fn what_cannot_be_sent_is_a_final_error() {
        assert_snapshot!(request(json!({"detail": "[{{t}}]"}), r#"{"t":4}"#).unwrap_err(), @"detail: does not render to a JSON object");
        assert_snapshot!(request(json!({"source": "{{{t}}}"}), r#"{"t":"aws.ec2"}"#).unwrap_err(), @"source: must not begin with aws., which is for Amazon's own services");
        assert_snapshot!(request(json!({"detail_type": "{{none}}"}), "").unwrap_err(), @"detail_type: must have 1 to 256 characters");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "region": "x.y", "event_bus": "a b", "source": "aws.x", "detail_type": "x".repeat(257), "detail": [],
            "session_token": "{{", "batch": {"max_bytes": 300_000}
        })).err().unwrap(), @r#"
        region: must be the name of a region, e.g. eu-west-1
        event_bus: must be the name of an event bus, or its ARN
        source: must not begin with aws., which is for Amazon's own services
        detail_type: must have 1 to 256 characters
        detail: must be an object or a text
        batch.max_bytes: must be a whole number from 1024 to 262144
        session_token: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        "#);
    }

    #[test]
    fn it_is_called_after_its_event_and_bus() {
        let name = |config: Value| AwsEventBridgeKind.default_name(config.as_object().unwrap());
        assert_eq!(name(json!({"event": "door"})), "door for default");
        assert_eq!(name(json!({"event": "door", "event_bus": "a:event-bus/plant"})), "door for plant");
    }
}
