//! What the kinds of message brokers have in common: the address, and credentials that may be cloud secrets.

use tributary_domain::limits::RENDERED_BYTES;
use url::Url;

use crate::{
    AddressPolicy, Clients, Message, Variables,
    fields::Reader,
    kinds::webhook::tls,
    net::{OwnTls, Reached, Via, Wire},
    service::{MASK, Secret},
    text::Text,
};

/// Longest credential, in bytes: that of a secret.
const CREDENTIAL_BYTES: usize = 8 * 1024;
/// Longest text of a broker that is passed on, in bytes.
const SAID_BYTES: usize = 300;
const URL: &str = "url";

/// A beginning of addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheme {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
    /// Whether connections are encrypted.
    pub(crate) secure: bool,
}

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address as it is shown, with its port.
    pub(crate) url: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) secure: bool,
}

impl Place {
    /// Reads an address.
    pub(crate) fn parse(text: &str, schemes: &'static [Scheme]) -> Result<Place, String> {
        let wrong = || {
            let known: Vec<_> = schemes.iter().map(|s| format!("{}://HOST:{}", s.name, s.port)).collect();
            format!("must be {}", known.join(" or "))
        };
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(wrong)?;
        let scheme =
            schemes.iter().find(|known| known.name.eq_ignore_ascii_case(scheme)).ok_or_else(wrong)?;
        // The rules for hosts are those of the schemes that `Url` knows; this one's own port is not a broker's.
        let url = Url::parse(&format!("ftp://{rest}")).map_err(|_| wrong())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must have no credentials in it; they have fields of their own".to_owned());
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{}, with nothing after the port", wrong()));
        }
        let port = match url.port() {
            Some(port) => port,
            None if rest.trim_end_matches('/').ends_with(":21") => 21,
            None => scheme.port,
        };
        let host = url.host().ok_or_else(wrong)?.to_string();
        Ok(Place { url: format!("{}://{host}:{port}", scheme.name), host, port, secure: scheme.secure })
    }

    /// `host:port`
    pub(crate) fn destination(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A new connection there, not encrypted yet.
    pub(crate) async fn connect(
        &self,
        clients: &Clients,
        reached: &Reached,
        tls: &Tls,
    ) -> Result<Wire, crate::Attempt> {
        let host = self.host.trim_matches(['[', ']']);
        let wire = clients.wire((host, self.port), tls.via, tls.own.as_deref()).await?;
        reached.note();
        Ok(wire)
    }
}

/// `url`: a template of the address.
#[derive(Debug)]
pub(crate) enum Address {
    /// Has no tag.
    Fixed(Place),
    /// Rendered for each event.
    Rendered(Text, &'static [Scheme]),
}

impl Address {
    /// Reads the field; a host that is written as a number is checked against `policy` at once.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        schemes: &'static [Scheme],
        policy: &AddressPolicy,
    ) -> Option<Address> {
        let source = reader.required_text(URL)?;
        let text = reader.template(URL, source.trim())?;
        let Some(literal) = text.literal() else { return Some(Address::Rendered(text, schemes)) };
        let place = Place::parse(literal, schemes).and_then(|place| {
            let refusal = match place.host.trim_matches(['[', ']']).parse() {
                Ok(ip) => policy.refusal(ip),
                Err(_) => None,
            };
            refusal.map_or(Ok(place), Err)
        });
        place.map(Address::Fixed).map_err(|error| reader.error(URL, error)).ok()
    }

    /// The address, where it is the same for all events.
    pub(crate) fn fixed(&self) -> Option<&Place> {
        match self {
            Address::Fixed(place) => Some(place),
            Address::Rendered(..) => None,
        }
    }

    /// The address for an event; the error is the text of a final error outcome.
    pub(crate) fn render(&self, variables: &Variables<'_>) -> Result<Place, String> {
        let wrong = |error: String| format!("{URL}: {error}");
        match self {
            Address::Fixed(place) => Ok(place.clone()),
            Address::Rendered(text, schemes) => {
                let rendered =
                    text.render(variables, RENDERED_BYTES).map_err(|error| wrong(error.to_string()))?;
                Place::parse(&rendered, schemes).map_err(wrong)
            }
        }
    }
}

/// The host of an address as a default name shows it, also of one that is a template.
pub(crate) fn shown_host(url: &str) -> &str {
    let rest = url.trim().split_once("://").map_or(url.trim(), |(_, rest)| rest);
    let port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    rest.rsplit_once(':').filter(|(_, last)| port(last)).map_or(rest, |(host, _)| host)
}

/// A text that proves who connects. What is written in the configuration is added when a message is sent; what a template
/// makes of a cloud secret is a header of the message that the log does not show.
pub(crate) enum Credential {
    Absent,
    Fixed(Secret),
    Rendered(Text),
}

impl Credential {
    /// Reads a field; what logs must not show goes to `hidden`.
    pub(crate) fn read(reader: &mut Reader<'_>, field: &str, hidden: &mut Vec<String>) -> Credential {
        let Some(text) = reader.text_template(field) else { return Credential::Absent };
        match text.literal() {
            Some(literal) => {
                if literal.len() > CREDENTIAL_BYTES {
                    reader.error(field, format!("must have at most {CREDENTIAL_BYTES} bytes"));
                }
                hidden.push(literal.to_owned());
                Credential::Fixed(Secret(literal.to_owned()))
            }
            None => Credential::Rendered(text),
        }
    }

    /// Whether the field is there.
    pub(crate) fn is_given(&self) -> bool {
        !matches!(self, Credential::Absent)
    }

    /// The header that carries it, where it is a template.
    pub(crate) fn render(
        &self,
        name: &str,
        variables: &Variables<'_>,
    ) -> Result<Option<(String, String)>, String> {
        let Credential::Rendered(text) = self else { return Ok(None) };
        let value = text.render(variables, CREDENTIAL_BYTES).map_err(|error| format!("{name}: {error}"))?;
        Ok(Some((name.to_owned(), value)))
    }

    /// Its value for a message.
    pub(crate) fn of<'a>(&'a self, name: &str, message: &'a Message) -> Option<&'a str> {
        match self {
            Credential::Absent => None,
            Credential::Fixed(secret) => Some(&secret.0),
            Credential::Rendered(_) => header(message, name),
        }
    }
}

/// `tls` and `rejectUnauthorized`, as webhooks have them.
pub(crate) struct Tls {
    via: Via,
    own: Option<Box<OwnTls>>,
}

impl Tls {
    /// Reads the two fields.
    pub(crate) fn read(reader: &mut Reader<'_>, hidden: &mut Vec<String>) -> Tls {
        let (via, own) = tls::read(reader, hidden);
        Tls { via, own }
    }
}

/// The value of a header.
pub(crate) fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// What a broker says of an error: on one line, bounded, without what is hidden.
pub(crate) fn said(text: &str, hide: &[&str]) -> String {
    let mut said = text.trim().to_owned();
    for secret in hide.iter().filter(|secret| !secret.is_empty()) {
        said = said.replace(*secret, MASK);
    }
    said.truncate(said.floor_char_boundary(SAID_BYTES));
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The key of a kept connection: where it leads to, and as whom. No value can pass for two.
pub(crate) fn key(parts: &[Option<&str>]) -> String {
    let mut key = String::new();
    for part in parts {
        match part {
            Some(text) => key.extend([&*text.len().to_string(), ":", text]),
            None => key.push('-'),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SCHEMES: &[Scheme] = &[
        Scheme { name: "mqtt", port: 1883, secure: false },
        Scheme { name: "mqtts", port: 8883, secure: true },
    ];

    #[test]
    fn an_address_is_scheme_host_and_port_and_nothing_else() {
        for (given, shown) in [
            ("mqtt://Broker.Example", "mqtt://broker.example:1883"),
            ("MQTTS://broker.example/", "mqtts://broker.example:8883"),
            (" mqtt://broker.example:21 ", "mqtt://broker.example:21"),
            ("mqtts://[2a00::1]:443", "mqtts://[2a00::1]:443"),
            ("mqtt://0x7f.1:80", "mqtt://127.0.0.1:80"),
        ] {
            assert_eq!(Place::parse(given, SCHEMES).unwrap().url, shown, "{given}");
        }
        assert_eq!(Place::parse("mqtt://2130706433", SCHEMES).unwrap().host, "127.0.0.1");
        for wrong in [
            "",
            "broker",
            "http://broker",
            "mqtt://",
            "mqtt://u:p@broker",
            "mqtt://u@broker",
            "mqtt://broker/a",
            "mqtt://broker?a",
            "mqtt://broker#a",
            "mqtt://bro ker",
            "mqtt://b:70000",
            "mqtt://evil/.good.example",
            "mqtt://evil\\.good.example",
        ] {
            assert!(Place::parse(wrong, SCHEMES).is_err(), "{wrong}");
        }
        assert_eq!(Place::parse("x", SCHEMES).unwrap_err(), "must be mqtt://HOST:1883 or mqtts://HOST:8883");
    }

    #[test]
    fn what_a_broker_says_is_one_line_without_secrets() {
        assert_eq!(said(" a\r\nb hush ", &["hush", ""]), "a  b [[SENSITIVE]]");
        assert_eq!(said(&"é".repeat(400), &[]).len(), SAID_BYTES);
    }

    #[test]
    fn a_default_name_shows_the_host() {
        for (url, host) in [("mqtt://b.example:1883", "b.example"), ("mqtt://{{host}}", "{{host}}")] {
            assert_eq!(shown_host(url), host);
        }
    }
}
