//! Azure IoT Hub: each event as a device-to-cloud message of its device, over HTTPS (contract 4.4).
//!
//! Requests are signed with a shared access policy (module `signature`), which needs the permissions "device connect"
//! and "registry write". A device that the hub does not know is created there within the same attempt.

mod signature;

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};

use self::signature::Signer;
use super::{check_common, field, webhook::USER_AGENT};
use crate::{
    Attempt, BoxFuture, Clients, Endpoint, Field, Kind, Message, ResponseSettings, Settings, Shape, Target,
    Variables,
    fields::Reader,
    json::JsonTemplate,
    service::{Service, explained},
    text::{Text, percent},
};

/// The kind `AzureIotHub`.
pub struct AzureIotHubKind;

const FIELDS: &[Field] = &[
    Field {
        required: true,
        ..field("hub_name", Shape::Text, "The name of the hub, e.g. my-hub, or its whole host name.")
    },
    Field { required: true, ..field("policy_name", Shape::Text, "The name of a shared access policy.") },
    Field {
        required: true,
        sensitive: true,
        ..field("policy_key", Shape::Text, "A key of that policy, as the portal shows it; not shown again.")
    },
    field("json", Shape::ObjectOrText, "More members of the message, or others in place of the usual ones."),
];

/// What every request says.
const API_VERSION: &str = "api-version=2020-03-13";
/// Between the address of a device and that of its messages.
const MESSAGES: &str = "/messages/events?";
/// Domains of hubs: public, China, US government.
const DOMAINS: [&str; 3] = [".azure-devices.net", ".azure-devices.cn", ".azure-devices.us"];
/// Devices that are remembered as created by this target. When there are more, it starts afresh.
const CREATED_DEVICES: usize = 10_000;
/// The hub's answer to creating a device that is there.
const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

impl Kind for AzureIotHubKind {
    fn name(&self) -> &'static str {
        "AzureIotHub"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text = |field| config.get(field).and_then(Value::as_str).unwrap_or_default().trim();
        format!("{} for {}", text("event"), text("hub_name"))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        check_common(&mut reader);
        let host = read_host(&mut reader);
        let policy = reader.required_text("policy_name").unwrap_or_default().trim().to_owned();
        let key = reader.required_text("policy_key").unwrap_or_default().trim().to_owned();
        let signer = Signer::new(&host, &policy, &key, settings.clock);
        if signer.is_none() && !key.is_empty() {
            reader.error("policy_key", "must be base64, as the Azure portal shows it");
        }
        let json = Extension::read(&mut reader);
        let response = ResponseSettings::read(&mut reader);
        let variables = reader.finish()?;
        let Some(signer) = signer else { return Err(vec![FieldError::new("policy_key", "is required")]) };
        let operator = settings.azure_iot_hub.endpoint.as_ref();
        let service = Service::new(operator, || Endpoint::of_host(&host));
        let created = Mutex::default();
        Ok(Arc::new(AzureIotHub { service, signer, json, response, variables, sensitive: [key], created }))
    }
}

/// `hub_name` as the name of a host.
fn read_host(reader: &mut Reader<'_>) -> String {
    let given = reader.required_text("hub_name").unwrap_or_default().trim().to_ascii_lowercase();
    let domain = DOMAINS.into_iter().find(|domain| given.ends_with(domain));
    let name = domain.and_then(|domain| given.strip_suffix(domain)).unwrap_or(&given);
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !given.is_empty() && (name.is_empty() || !is_name || name.starts_with('-') || name.ends_with('-')) {
        reader.error("hub_name", "must be the name of a hub: letters, digits and dashes");
    }
    format!("{name}{}", domain.unwrap_or(DOMAINS[0]))
}

/// `json`
enum Extension {
    None,
    Object(JsonTemplate),
    Text(Text),
}

impl Extension {
    fn read(reader: &mut Reader<'_>) -> Extension {
        match reader.given("json") {
            None => Extension::None,
            Some(Value::Object(object)) => Extension::Object(JsonTemplate::compile(reader, "json", object)),
            Some(Value::String(source)) => {
                reader.template("json", source).map_or(Extension::None, Extension::Text)
            }
            Some(_) => {
                reader.error("json", "must be an object or a text");
                Extension::None
            }
        }
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Map<String, Value>, String> {
        let mut out = String::new();
        let rendered = match self {
            Extension::None => return Ok(Map::new()),
            Extension::Object(template) => {
                out.push('{');
                let pushed = template.push_members(variables, &mut out, RENDERED_BYTES - 1);
                out.push('}');
                pushed
            }
            Extension::Text(text) => text.push(variables, &mut out, RENDERED_BYTES),
        };
        rendered.map_err(|error| format!("json: {error}"))?;
        match tributary_template::json::parse(&out) {
            Some(Value::Object(members)) => Ok(members),
            _ => Err("json: does not render to a JSON object".to_owned()),
        }
    }
}

/// Not `Debug`: it holds a credential as it is.
struct AzureIotHub {
    service: Service,
    signer: Signer,
    json: Extension,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: [String; 1],
    created: Mutex<HashSet<String>>,
}

impl Target for AzureIotHub {
    fn fixed_destination(&self) -> Option<String> {
        Some(self.service.endpoint.destination().to_owned())
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let event = variables.event;
        let mut body = json!({
            "data": variables.data(), "device_id": event.coreid, "event": event.name,
            "published_at": event.published_at,
        });
        if let Some(version) = event.version {
            body["fw_version"] = version.into();
        }
        if let Value::Object(members) = &mut body {
            members.extend(self.json.render(variables)?);
        }
        let mut url = self.service.endpoint.at("/devices/");
        percent(&mut url, &event.coreid);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Ok(Message {
            destination: self.service.endpoint.destination().to_owned(),
            method: "POST".to_owned(),
            url: url + MESSAGES + API_VERSION,
            headers: vec![
                header("Content-Type", "application/json"),
                header("IoTHub-MessageId", &event.id.to_string()),
                header("User-Agent", USER_AGENT),
            ],
            body: tributary_template::json::text(&body).into(),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(clients.in_time(async move {
            let first = self.signed(message, clients).await;
            let Some((url, device)) = device(&message.url).filter(|_| status(&first) == Some(NOT_FOUND))
            else {
                return first;
            };
            // Another event of the device may have created it meanwhile.
            if !self.created.lock().contains(&device) {
                let created = self.create(url, &device, clients).await;
                if created.error.is_some() && status(&created) != Some(CONFLICT) {
                    return created;
                }
                self.remember(device.clone());
            }
            let again = self.signed(message, clients).await;
            if status(&again) == Some(NOT_FOUND) {
                // It was taken out of the hub: the next event creates it anew.
                self.created.lock().remove(&device);
            }
            again
        }))
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

impl AzureIotHub {
    async fn signed(&self, message: &Message, clients: &Clients) -> Attempt {
        let token = self.signer.token();
        let message = message.with_header("Authorization", token.clone());
        let attempt = clients.send(&message, self.service.via).await;
        explained(attempt, &[&token], |json| {
            ["Message", "message"].iter().find_map(|key| json.get(key)?.as_str()).map(str::to_owned)
        })
    }

    /// Creates a device in the hub's registry, which makes keys for it by itself.
    async fn create(&self, url: String, device: &str, clients: &Clients) -> Attempt {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let message = Message {
            destination: self.service.endpoint.destination().to_owned(),
            method: "PUT".to_owned(),
            url,
            headers: vec![header("Content-Type", "application/json"), header("User-Agent", USER_AGENT)],
            body: json!({"deviceId": device}).to_string().into(),
        };
        let mut attempt = self.signed(&message, clients).await;
        // Errors of the network keep their names.
        if let (Some(error), Some(_)) = (&mut attempt.error, &attempt.reply) {
            *error = format!("{error} (while creating the device in the hub)");
        }
        attempt
    }

    fn remember(&self, device: String) {
        let mut created = self.created.lock();
        if created.len() >= CREATED_DEVICES {
            created.clear();
        }
        created.insert(device);
    }
}

fn status(attempt: &Attempt) -> Option<u16> {
    attempt.reply.as_ref().map(|reply| reply.status)
}

/// The address of the device in the hub's registry, and its id, from the address of its messages.
fn device(url: &str) -> Option<(String, String)> {
    let (address, version) = url.split_once(MESSAGES)?;
    let id = percent_decode_str(address.rsplit('/').next()?).decode_utf8().ok()?;
    Some((format!("{address}?{version}"), id.into_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use insta::assert_snapshot;

    use super::*;
    use crate::test_support::{event, no_secrets, shown};

    fn compile(mut config: Value) -> Result<Arc<dyn Target>, String> {
        let config = config.as_object_mut().unwrap();
        for (field, value) in [
            ("event", "door"),
            ("hub_name", "my-hub"),
            ("policy_name", "iothubowner"),
            ("policy_key", "c2VjcmV0"),
        ] {
            config.entry(field).or_insert(value.into());
        }
        let compiled = AzureIotHubKind.compile(config, &Settings::default());
        compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn request(config: Value, data: &str) -> Result<String, String> {
        let event = event(data);
        let rendered = compile(config).unwrap().render(&Variables::new(&event, None, None, no_secrets()));
        rendered.map(|message| shown(&message))
    }

    #[test]
    fn an_event_becomes_a_message_of_its_device_without_the_signature_in_it() {
        assert_snapshot!(request(json!({}), "22.5").unwrap(), @r#"
        POST https://my-hub.azure-devices.net/devices/d1/messages/events?api-version=2020-03-13
        Content-Type: application/json
        IoTHub-MessageId: 07070707-0707-0707-0707-070707070707

        {"data":"22.5","device_id":"d1","event":"door/front","published_at":"2024-01-02T03:04:05.678Z","fw_version":3}
        "#);
    }

    #[test]
    fn json_extends_the_message_and_wins() {
        assert_snapshot!(request(json!({"json": {"room": "{{room}}", "data": 1}}), r#"{"room":"a \"b\""}"#).unwrap(), @r#"
        POST https://my-hub.azure-devices.net/devices/d1/messages/events?api-version=2020-03-13
        Content-Type: application/json
        IoTHub-MessageId: 07070707-0707-0707-0707-070707070707

        {"data":1,"device_id":"d1","event":"door/front","published_at":"2024-01-02T03:04:05.678Z","fw_version":3,"room":"a &quot;b&quot;"}
        "#);
        assert_snapshot!(request(json!({"json": "{\"t\": {{t}} }"}), r#"{"t":4}"#).unwrap(), @r#"
        POST https://my-hub.azure-devices.net/devices/d1/messages/events?api-version=2020-03-13
        Content-Type: application/json
        IoTHub-MessageId: 07070707-0707-0707-0707-070707070707

        {"data":"{\"t\":4}","device_id":"d1","event":"door/front","published_at":"2024-01-02T03:04:05.678Z","fw_version":3,"t":4}
        "#);
        assert_snapshot!(request(json!({"json": "[{{t}}]"}), r#"{"t":4}"#).unwrap_err(), @"json: does not render to a JSON object");
    }

    #[test]
    fn a_hub_is_named_by_its_name_or_its_host() {
        let url = |hub: &str| {
            let request = request(json!({"hub_name": hub}), "").unwrap();
            request.split("/devices").next().unwrap().to_owned()
        };
        assert_eq!(url("My-Hub1"), "POST https://my-hub1.azure-devices.net");
        assert_eq!(url("my-hub.azure-devices.cn"), "POST https://my-hub.azure-devices.cn");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(compile(json!({
            "hub_name": "evil.example/x", "policy_name": "", "policy_key": "not base64!", "json": ["{{"]
        })).err().unwrap(), @"
        hub_name: must be the name of a hub: letters, digits and dashes
        policy_name: is required
        policy_key: must be base64, as the Azure portal shows it
        json: must be an object or a text
        ");
        for hub in ["a.b", "-a", ".azure-devices.net", "a@b", "10.0.0.1", "a.b.azure-devices.net"] {
            assert!(compile(json!({"hub_name": hub})).is_err(), "{hub}");
        }
    }

    #[test]
    fn the_address_of_a_device_is_that_of_its_messages_without_their_part() {
        let url = "https://h/devices/a%20b/messages/events?api-version=1";
        let expected = ("https://h/devices/a%20b?api-version=1".to_owned(), "a b".to_owned());
        assert_eq!(device(url), Some(expected));
    }
}
