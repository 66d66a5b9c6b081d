//! Google Maps: where a device is, from the Wi-Fi networks or the cells that it hears (contract 4.3, 4.4).
//!
//! The event's data is what Particle's locator library publishes: `{"w":{"a":[{"m","s","c"}]}}` with networks, or
//! `{"c":{"o","a":[{"i","l","c","n"}]}}` with the operator and cells.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tributary_domain::{FieldError, integration::Config, outcome::AttemptClass};

use super::{check_common, field, webhook::USER_AGENT};
use crate::{
    Attempt, BoxFuture, Clients, Endpoint, Field, Kind, Message, ResponseSettings, Settings, Shape, Target,
    Variables,
    fields::Reader,
    response::OwnResponse,
    service::{Secret, Service, explained, google_error},
    text::percent,
};

/// The kind `GoogleMaps`.
pub struct GoogleMapsKind;

const FIELDS: &[Field] = &[Field {
    required: true,
    sensitive: true,
    ..field("api_key", Shape::Text, "A key for Google's Geolocation API; it is not shown again.")
}];

const HOST: &str = "www.googleapis.com";
const PATH: &str = "/geolocation/v1/geolocate";
/// More networks or cells than this in one event are left out.
const OBSERVATIONS: usize = 64;

impl Kind for GoogleMapsKind {
    fn name(&self) -> &'static str {
        "GoogleMaps"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let event = config.get("event").and_then(Value::as_str).unwrap_or_default();
        format!("{} for Google Maps", event.trim())
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        check_common(&mut reader);
        let key = reader.required_text("api_key").unwrap_or_default().trim().to_owned();
        let response = ResponseSettings::read(&mut reader).with_own(OwnResponse { topic, data: located });
        let variables = reader.finish()?;
        let operator = settings.google_maps.endpoint.as_ref();
        let service = Service::new(operator, || Endpoint::of_host(HOST));
        let sensitive = [key.clone()];
        Ok(Arc::new(GoogleMaps { key: Secret(key), service, response, variables, sensitive }))
    }
}

/// Not `Debug`: it holds a credential as it is.
struct GoogleMaps {
    key: Secret,
    service: Service,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: [String; 1],
}

impl Target for GoogleMaps {
    fn fixed_destination(&self) -> Option<String> {
        Some(self.service.endpoint.destination().to_owned())
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let seen = variables.object().and_then(observations);
        let body = seen.ok_or(
            r#"the event's data is not from a device locator: it must be {"w":{"a":[{"m","s","c"}]}} or {"c":{"o","a":[{"i","l","c","n"}]}}"#,
        )?;
        let endpoint = &self.service.endpoint;
        Ok(Message {
            destination: endpoint.destination().to_owned(),
            method: "POST".to_owned(),
            url: endpoint.itself_or(PATH),
            headers: vec![
                ("Content-Type".to_owned(), "application/json".to_owned()),
                ("User-Agent".to_owned(), USER_AGENT.to_owned()),
            ],
            body: body.to_string().into(),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let mut keyed = message.clone();
            keyed.url.push_str("?key=");
            percent(&mut keyed.url, &self.key.0);
            let attempt = clients.send(&keyed, self.service.via).await;
            let attempt = explained(attempt, &[&self.key.0], google_error);
            match &attempt.reply {
                Some(reply) if attempt.error.is_none() && located(&reply.body).is_none() => Attempt {
                    class: AttemptClass::Final,
                    error: Some("the Geolocation API answered without a location".to_owned()),
                    ..attempt
                },
                _ => attempt,
            }
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

/// What the device hears, in the words of the Geolocation API; `None` when that is nothing.
fn observations(data: &Value) -> Option<Value> {
    let list = |pointer| data.pointer(pointer).and_then(Value::as_array);
    let (mut networks, mut cells) = (Vec::new(), Vec::new());
    if let Some(list) = list("/w/a") {
        networks.extend(list.iter().filter_map(network).take(OBSERVATIONS));
    }
    if let Some(list) = list("/c/a") {
        cells.extend(list.iter().filter_map(cell).take(OBSERVATIONS));
    }
    if networks.is_empty() && cells.is_empty() {
        return None;
    }
    // The request comes from this server, whose own address says nothing about the device.
    let mut body = Map::from_iter([("considerIp".to_owned(), false.into())]);
    if !networks.is_empty() {
        body.insert("wifiAccessPoints".to_owned(), networks.into());
    }
    if !cells.is_empty() {
        if let Some(operator) = data.pointer("/c/o").and_then(Value::as_str).filter(|o| !o.is_empty()) {
            body.insert("carrier".to_owned(), operator.into());
        }
        body.insert("cellTowers".to_owned(), cells.into());
    }
    Some(body.into())
}

fn network(seen: &Value) -> Option<Value> {
    let mut network = json!({"macAddress": seen.get("m")?.as_str()?});
    for (key, name) in [("s", "signalStrength"), ("c", "channel")] {
        if let Some(number) = seen.get(key).filter(|value| value.is_number()) {
            network[name] = number.clone();
        }
    }
    Some(network)
}

fn cell(seen: &Value) -> Option<Value> {
    let number = |key| seen.get(key).filter(|value| value.is_number());
    Some(json!({
        "cellId": number("i")?, "locationAreaCode": number("l")?,
        "mobileCountryCode": number("c")?, "mobileNetworkCode": number("n")?,
    }))
}

/// Where Particle's locator library listens.
fn topic(device: &str, event: &str) -> String {
    format!("hook-response/{event}/{device}")
}

/// `lat,lng,accuracy` of a reply.
fn located(reply: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(reply).ok()?;
    let number =
        |pointer| json.pointer(pointer).filter(|value| value.is_number()).map(tributary_template::json::text);
    Some(format!("{},{},{}", number("/location/lat")?, number("/location/lng")?, number("/accuracy")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use insta::assert_snapshot;

    use super::*;
    use crate::{
        Reply,
        test_support::{event, no_secrets, shown},
    };

    fn compile(config: &Value) -> Arc<dyn Target> {
        GoogleMapsKind.compile(config.as_object().unwrap(), &Settings::default()).unwrap()
    }

    fn request(data: &str) -> Result<String, String> {
        let target = compile(&json!({"event": "deviceLocator", "api_key": "k3y"}));
        let event = event(data);
        target.render(&Variables::new(&event, None, None, no_secrets())).map(|message| shown(&message))
    }

    #[test]
    fn networks_become_a_request_without_the_key_in_it() {
        let data = r#"{"w":{"a":[{"m":"00:11:22:33:44:55","s":-60,"c":11},{"m":"66:77:88:99:aa:bb","s":-71}, {"s":1}]}}"#;
        assert_snapshot!(request(data).unwrap(), @r#"
        POST https://www.googleapis.com/geolocation/v1/geolocate
        Content-Type: application/json

        {"considerIp":false,"wifiAccessPoints":[{"macAddress":"00:11:22:33:44:55","signalStrength":-60,"channel":11},{"macAddress":"66:77:88:99:aa:bb","signalStrength":-71}]}
        "#);
    }

    #[test]
    fn cells_become_a_request() {
        let data = r#"{"c":{"o":"AT&T","a":[{"i":187,"l":9000,"c":310,"n":410}]}}"#;
        assert_snapshot!(request(data).unwrap(), @r#"
        POST https://www.googleapis.com/geolocation/v1/geolocate
        Content-Type: application/json

        {"considerIp":false,"carrier":"AT&T","cellTowers":[{"cellId":187,"locationAreaCode":9000,"mobileCountryCode":310,"mobileNetworkCode":410}]}
        "#);
    }

    #[test]
    fn other_data_is_a_final_error_that_says_what_is_expected() {
        for data in
            ["", "22", "{}", r#"{"w":{"a":[]}}"#, r#"{"w":{"a":[{"m":5}]}}"#, r#"{"c":{"a":[{"i":1}]}}"#]
        {
            let error = request(data).unwrap_err();
            assert!(error.starts_with("the event's data is not from a device locator"), "{error}");
        }
    }

    #[test]
    fn the_reply_is_published_where_the_locator_library_listens() {
        let event = event("{}");
        let variables = Variables::new(&event, None, None, no_secrets());
        let body = br#"{"location":{"lat":51.5,"lng":-0.12},"accuracy":1200.25}"#;
        let reply =
            Reply { status: 200, headers: Vec::new(), body: Bytes::from_static(body), ..Reply::default() };
        let target = compile(&json!({"event": "door", "api_key": "k3y"}));
        let expected = |name: &str, data: &str| vec![(name.to_owned(), data.to_owned())];
        for sandbox in [true, false] {
            let events = target.response().events(&variables, sandbox, &reply, &|text, _| text.to_owned());
            assert_eq!(events, expected("hook-response/door/front/d1/0", "51.5,-0.12,1200.25"));
        }
        let named = compile(&json!({
            "event": "door", "api_key": "k3y", "responseTopic": "at", "responseTemplate": "{{location.lat}}"
        }));
        assert_eq!(
            named.response().events(&variables, true, &reply, &|text, _| text.to_owned()),
            expected("at/0", "51.5")
        );
    }

    #[test]
    fn it_is_called_after_its_event() {
        let config = json!({"event": "deviceLocator"});
        let name = GoogleMapsKind.default_name(config.as_object().unwrap());
        assert_eq!(name, "deviceLocator for Google Maps");
    }
}
