//! Where a configuration sends: what may not change while stored credentials are kept (contract 3.1).
//!
//! Read from the text of the fields that name the destination, with the parameters put in. What else stands in tags is
//! compared as it is written: a device's data may choose a host, but nobody gets a credential by writing another tag.

use std::collections::BTreeSet;

use serde_json::Value;
use tributary_domain::{integration::Config, parameters::Parameters};
use url::Url;

/// The fields that name a destination, of all kinds. Of an address the scheme, host and port count.
const ADDRESSES: [&str; 3] = ["url", "brokers", "queue_url"];
const NAMES: [&str; 2] = ["hub_name", "region"];
/// Ports of schemes that a URL's own rules do not know.
const PORTS: [(&str, u16); 9] = [
    ("nats", 4222),
    ("tls", 4222),
    ("mqtt", 1883),
    ("mqtts", 8883),
    ("amqp", 5672),
    ("amqps", 5671),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("kafka", 9092),
];

/// The places to which a configuration sends with these parameters, each in one spelling.
pub fn places(config: &Config, parameters: &Parameters) -> BTreeSet<String> {
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default();
    let kind = text("integration_type");
    let mut places = BTreeSet::new();
    for field in ADDRESSES {
        let parts = text(field).split(if field == "brokers" { ',' } else { '\0' });
        for part in parts.filter(|part| !part.trim().is_empty()) {
            places.insert(format!("{kind} {field} {}", place(part, field == "brokers", parameters)));
        }
    }
    // Where Amazon's address is given, a region is only signed.
    for field in NAMES.iter().filter(|field| !text(field).is_empty() && config.get("queue_url").is_none()) {
        let written = substituted(text(field), parameters);
        let name = if written.contains("{{") { written } else { written.trim().to_ascii_lowercase() };
        let name = name.strip_suffix(".azure-devices.net").unwrap_or(&name).to_owned();
        places.insert(format!("{kind} {field} {name}"));
    }
    places
}

/// Scheme, host and port of an address in one spelling; the whole text where they cannot be told apart from the rest.
fn place(source: &str, broker: bool, parameters: &Parameters) -> String {
    let source = source.trim();
    if has_sections(source) {
        // A section decides by what it looks up, so each parameter may change the place.
        return format!("{source} {parameters:?}");
    }
    let written = substituted(source, parameters);
    let written = if broker && !written.contains("://") { format!("kafka://{written}") } else { written };
    let Some((scheme, rest)) = written.split_once("://").filter(|(scheme, _)| !scheme.contains("{{")) else {
        return written;
    };
    let scheme = scheme.to_ascii_lowercase();
    if written.contains("{{") {
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        if authority.contains("{{") {
            return format!("{scheme}://{}", authority.rsplit('@').next().unwrap_or_default());
        }
        return plain(&scheme, authority);
    }
    plain(&scheme, rest)
}

/// The place of an address without tags.
fn plain(scheme: &str, rest: &str) -> String {
    let own = PORTS.iter().find(|(name, _)| *name == scheme);
    // The rules for hosts are those of the schemes that `Url` knows.
    let parsed = match own {
        Some(_) => Url::parse(&format!("ftp://{rest}")),
        None => Url::parse(&format!("{scheme}://{rest}")),
    };
    let Ok(url) = parsed else { return format!("{scheme}://{rest}") };
    let port = match own {
        Some((_, known)) => url.port().unwrap_or(*known),
        None => url.port_or_known_default().unwrap_or(0),
    };
    format!("{scheme}://{}:{port}", url.host_str().unwrap_or_default())
}

fn has_sections(source: &str) -> bool {
    source.split("{{").skip(1).any(|tag| tag.trim_start().starts_with(['#', '^', '/', '!', '=', '>']))
}

/// The text with each tag of a parameter replaced by its value.
fn substituted(source: &str, parameters: &Parameters) -> String {
    let mut out = String::new();
    let mut rest = source;
    while let Some((before, tag)) = rest.split_once("{{") {
        let (tag, close) = match tag.strip_prefix('{') {
            Some(tag) => (tag, "}}}"),
            None => (tag, "}}"),
        };
        let Some((name, after)) = tag.split_once(close) else { break };
        out.push_str(before);
        match parameters.get(name.trim().trim_start_matches('&').trim()) {
            Some(value) => out.push_str(value),
            None => out.push_str(&format!("{{{{{{{}}}}}}}", name.trim().trim_start_matches('&').trim())),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn of(config: &Value, host: &str) -> BTreeSet<String> {
        let parameters = Parameters::from([("HOST".into(), host.into()), ("PATH".into(), "p".into())]);
        places(config.as_object().unwrap(), &parameters)
    }

    fn url(url: &str) -> BTreeSet<String> {
        of(&json!({"integration_type": "Webhook", "url": url}), "a.example")
    }

    #[test]
    fn spellings_of_one_place_are_one() {
        for same in [
            "https://a.example/x?y#z",
            "HTTPS://A.Example:443",
            " https://u:p@a.example/",
            "https://{{{HOST}}}/",
            "https://{{HOST}}:443/{{{data}}}",
            "https://{{& HOST }}/{{PATH}}",
            "https://a.example/{{c.0.d}}?{{{x}}}",
            "https://a.example\\x",
        ] {
            assert_eq!(url(same), url("https://a.example/"), "{same}");
        }
        let own = |kind: &str, url: &str| of(&json!({"integration_type": kind, "url": url}), "");
        assert_eq!(own("Mqtt", "mqtt://B.example"), own("Mqtt", "MQTT://b.example:1883/"));
        let hub = |name: &str| of(&json!({"integration_type": "AzureIotHub", "hub_name": name}), "");
        assert_eq!(hub("My-Hub"), hub("my-hub.azure-devices.net"));
        let brokers = |list: &str| of(&json!({"integration_type": "Kafka", "brokers": list}), "");
        assert_eq!(brokers("b:9092, A"), brokers("a:9092,b"));
        assert!(brokers("a").is_subset(&brokers("b,a")));
    }

    #[test]
    fn another_place_is_never_taken_for_the_same() {
        for other in [
            "http://a.example/",
            "https://a.example:8443/",
            "https://b.example/",
            "https://a.example@b.example/",
            "https://a.example.b.example/",
            "https://{{{HOST}}}.b.example/",
            "https://{{{OTHER}}}/",
            "https://a.example{{{x}}}/",
            "https://a.example:{{port}}/",
            "https://u{{x}}@b.example/",
            "{{{BASE}}}/x",
            "{{{HOST}}}",
            "https://{{#HOST}}b{{/HOST}}.example/",
            "https://{{=<% %>=}}<%HOST%>/",
            "https://{{host}}/",
        ] {
            assert_ne!(url(other), url("https://a.example/"), "{other}");
        }
        let at = |host: &str| {
            of(&json!({"integration_type": "Webhook", "url": "https://{{#HOST}}b{{/HOST}}.x/"}), host)
        };
        assert_ne!(at(""), at("1"), "a section decides by a parameter");
        assert_ne!(url("https://{{{A}}}/"), url("https://{{{a}}}/"), "names are told apart by case");
        let azure = of(&json!({"integration_type": "AzureIotHub", "hub_name": "h"}), "");
        let hook = of(&json!({"integration_type": "Webhook", "url": "https://h.azure-devices.net/"}), "");
        assert!(azure.is_disjoint(&hook));
        let region = |name: &str| of(&json!({"integration_type": "AwsKinesis", "region": name}), "");
        assert_ne!(region("eu-west-1"), region("eu-west-1.evil.example/"));
    }
}
