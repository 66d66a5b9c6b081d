//! An integration in the words of pages.

use serde_json::Value;
use tributary_control::{integrations::View, kinds};
use tributary_domain::integration::Integration;

use crate::format::host_of;

/// Its name.
pub(crate) fn name(integration: &Integration) -> String {
    integration.text("name").to_owned()
}

/// Its id in the place: of a product, the membership's.
pub(crate) fn id(view: &View) -> String {
    view.member.map_or_else(|| view.integration.id.to_string(), |member| member.id.to_string())
}

/// A kind in words.
pub(crate) fn kind_name(kind: &str) -> &str {
    match kind {
        "GoogleCloudPubSub" => "Google Pub/Sub",
        "AzureIotHub" => "Azure IoT Hub",
        "GoogleMaps" => "Google Maps",
        "AwsSqs" => "Amazon SQS",
        "AwsKinesis" => "Amazon Kinesis",
        "AwsEventBridge" => "Amazon EventBridge",
        "Mqtt" => "MQTT",
        "Amqp" => "AMQP (RabbitMQ)",
        "Nats" => "NATS",
        "Postgres" => "PostgreSQL",
        other => other,
    }
}

/// A field of a configuration in words.
pub(crate) fn words_of(field: &str) -> String {
    match field {
        "url" => "address".to_owned(),
        "product_ids" => "products".to_owned(),
        other => other.replace('_', " "),
    }
}

/// A field of a configuration as the label of a form.
pub(crate) fn label_of(field: &str) -> String {
    // Abbreviations and what a field's name says too little about.
    let known = match field {
        "tls" => Some("Certificate of one's own (TLS)"),
        "sasl" => Some("Authentication (SASL)"),
        "qos" => Some("Quality of service (QoS)"),
        "vhost" => Some("Virtual host"),
        "nkey" => Some("NKey seed"),
        "creds" => Some("Credentials file (.creds)"),
        "api_key" => Some("API key"),
        "queue_url" => Some("Address of the queue"),
        "requestType" => Some("Method"),
        "responseTopic" => Some("Response topic"),
        "errorResponseTopic" => Some("Error topic"),
        "responseTemplate" => Some("Response template"),
        "deviceID" => Some("Device"),
        _ => None,
    };
    if let Some(known) = known {
        return known.to_owned();
    }
    let words = words_of(field);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Where it sends to, in short: the host of its address, or what its kind asks for first.
pub(crate) fn destination(integration: &Integration) -> String {
    let kind = integration.text("integration_type");
    let required = kinds::own_fields(kind).iter().find(|field| field.required && !field.sensitive);
    let text = integration.text(required.map_or("url", |field| field.name));
    match text {
        "" => kind_name(kind).to_owned(),
        text if text.contains("://") => host_of(text).to_owned(),
        text => text.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// Whether its destination is among those that sleep (`host:port`). One whose host is a template is not known.
pub(crate) fn sleeps(integration: &Integration, sleeping: &[String]) -> bool {
    let url = url::Url::parse(integration.text("url")).ok();
    let destination =
        url.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
    destination.is_some_and(|destination| sleeping.contains(&destination))
}

/// Whether it is switched off.
pub(crate) fn is_disabled(integration: &Integration) -> bool {
    integration.config.get("disabled") == Some(&Value::Bool(true))
}

/// A value of a configuration as text: a string as it is, everything else as JSON over several lines.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    }
}
