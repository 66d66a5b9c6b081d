//! The kinds of destinations. A new one is a file here, a `mod` line, and a line in [`ALL`].

pub mod amqp;
pub mod aws_event_bridge;
pub mod aws_kinesis;
pub mod aws_sqs;
pub mod azure_iot_hub;
pub mod google_maps;
pub mod google_pubsub;
pub mod kafka;
pub mod mqtt;
pub mod nats;
pub mod postgres;
pub mod webhook;

use serde_json::Value;

use crate::{Field, Kind, Shape, fields::Reader, sending::Sending};

/// Every kind, in the order in which they are offered.
pub const ALL: &[&'static dyn Kind] = &[
    &webhook::WebhookKind,
    &google_maps::GoogleMapsKind,
    &azure_iot_hub::AzureIotHubKind,
    &google_pubsub::GooglePubSubKind,
    &mqtt::MqttKind,
    &nats::NatsKind,
    &postgres::PostgresKind,
    &kafka::KafkaKind,
    &amqp::AmqpKind,
    &aws_sqs::AwsSqsKind,
    &aws_kinesis::AwsKinesisKind,
    &aws_event_bridge::AwsEventBridgeKind,
];

/// The kind of an integration that names none.
pub const DEFAULT: &str = "Webhook";

/// The fields that every kind has (contract 3.1).
pub const COMMON: &[Field] = &[
    Field {
        default: Some("\"Webhook\""),
        ..field("integration_type", Shape::Text, "The kind of destination.")
    },
    Field {
        required: true,
        ..field("event", Shape::Text, "Events whose name begins so are sent; case counts.")
    },
    field(
        "name",
        Shape::Text,
        "What the integration is called; made from the event and the destination if absent.",
    ),
    field("deviceID", Shape::Text, "In a sandbox: only events of this device are sent."),
    flag("disabled", "false", "Whether nothing is sent for now."),
    field("responseTopic", Shape::Text, "Name of the events that carry the destination's reply."),
    field("errorResponseTopic", Shape::Text, "Name of the events that tell of an error."),
    field("responseTemplate", Shape::ObjectOrText, "Made of a JSON reply and published in its place."),
    flag("unchunked", "false", "Whether a reply is one event instead of pieces of 512 bytes."),
    flag(
        "dataUrlResponseEvent",
        "false",
        "Whether a reply is published as a data URL, which carries any bytes.",
    ),
    field(
        "rate",
        Shape::Object,
        "per_second: most deliveries that start in a second, from 0.01; burst: how many of them together after a pause. The others wait.",
    ),
    field("concurrency", Shape::Text, "Most deliveries that run at once, from 1 to 1000; the others wait."),
    field(
        "retry",
        Shape::Object,
        "delays: the waits before further attempts, at most 8, each from 1s to 1h; an empty list means one attempt. The server's if absent.",
    ),
];

/// The kind of this `integration_type`, in exactly this spelling.
pub fn find(name: &str) -> Option<&'static dyn Kind> {
    ALL.iter().copied().find(|kind| kind.name() == name)
}

/// The names of all kinds, for the error about an unknown one.
pub fn known_names() -> Vec<&'static str> {
    ALL.iter().map(|kind| kind.name()).collect()
}

/// All fields of a kind, those in common first.
pub fn fields(kind: &dyn Kind) -> impl Iterator<Item = &'static Field> {
    COMMON.iter().chain(kind.fields())
}

/// What absent fields mean, for comparing configurations after normalising (contract 1.2). `integration_type` is that
/// of the kind itself.
pub fn defaults(kind: &dyn Kind) -> Vec<(&'static str, Value)> {
    let value = |field: &Field| match field.name {
        "integration_type" => Some(kind.name().into()),
        _ => field.default.and_then(|json| serde_json::from_str(json).ok()),
    };
    fields(kind).filter_map(|field| Some((field.name, value(field)?))).collect()
}

/// Checks the fields in common that [`crate::ResponseSettings`] does not read; those of [`Sending`] are the lanes'. Where a field may be used (`deviceID`)
/// is not looked at here.
pub(crate) fn check_common(reader: &mut Reader<'_>) {
    reader.required_text("event");
    reader.text("name");
    reader.text("deviceID");
    reader.flag("disabled", false);
    Sending::read(reader);
}

/// A field that is optional, has no default and may be shown.
pub(crate) const fn field(name: &'static str, shape: Shape, help: &'static str) -> Field {
    Field { name, shape, required: false, default: None, sensitive: false, help }
}

/// A flag with the JSON text of its default.
pub(crate) const fn flag(name: &'static str, default: &'static str, help: &'static str) -> Field {
    Field { default: Some(default), ..field(name, Shape::Flag, help) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn kinds_are_found_by_name_and_no_field_is_described_twice() {
        assert_eq!(find(DEFAULT).map(Kind::name), Some("Webhook"));
        assert!(find("webhook").is_none());
        for kind in ALL {
            let mut seen = HashSet::new();
            for field in fields(*kind) {
                assert!(seen.insert(field.name), "{}: {}", kind.name(), field.name);
                assert!(field.help.ends_with('.'), "{}", field.name);
                assert!(
                    field.default.is_none_or(|json| serde_json::from_str::<Value>(json).is_ok()),
                    "{}",
                    field.name
                );
            }
            assert!(known_names().contains(&kind.name()));
        }
    }

    #[test]
    fn defaults_name_the_kind_itself() {
        let defaults = defaults(&webhook::WebhookKind);
        assert!(defaults.contains(&("integration_type", "Webhook".into())));
        assert!(defaults.contains(&("requestType", "POST".into())));
        assert!(defaults.contains(&("rejectUnauthorized", true.into())));
    }
}
