//! `url`: a template in which a value stays in the part of the address where it stands.
//!
//! In the path and the query a value is percent-encoded, in the host it may only have characters of a host's name. What the
//! owner put into a parameter or a secret may also be a host with its port, or stand before an `@`, where it is encoded. A
//! url that begins with a value (`{{{BASE_URL}}}/x`) leaves the choice of the address to that value, which is taken as
//! it is. Whatever comes out must be an http or https address.

mod builder;

use percent_encoding::percent_decode_str;
use tributary_domain::limits::RENDERED_BYTES;
use tributary_template::{Piece, RenderError, Scope, Template};
use url::{Host, Url};

use self::builder::Builder;
use super::headers::basic;
use crate::{
    AddressPolicy,
    fields::Reader,
    text::{self, Text},
    variables::Origins,
};

const FIELD: &str = "url";
const NOT_HTTP: &str = "must be an http or https address";

/// The `url` of a webhook.
#[derive(Debug)]
pub(super) enum Address {
    /// Has no tag: parsed once.
    Fixed(Resolved),
    /// Rendered for each event.
    Rendered(Template),
}

/// An address to send to.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// The address without fragment and credentials.
    pub(super) url: String,
    /// `host:port`.
    pub(super) destination: String,
    /// The `Authorization` that credentials in the url make.
    pub(super) authorization: Option<String>,
}

impl Address {
    /// Reads the field; a host that is written as a number is checked against `policy` at once (contract 5).
    pub(super) fn read(
        reader: &mut Reader<'_>,
        policy: &AddressPolicy,
        sensitive: &mut Vec<String>,
    ) -> Option<Address> {
        let source = reader.required_text(FIELD)?;
        let source = source.trim();
        sensitive.extend(password(source));
        let checked = match reader.template(FIELD, source)? {
            Text::Literal(literal) => resolve(&literal, policy).map(|resolved| {
                let credentials = resolved.authorization.as_deref().and_then(|basic| basic.split(' ').nth(1));
                sensitive.extend(credentials.map(str::to_owned));
                Address::Fixed(resolved)
            }),
            Text::Template(template) => check_start(source, policy).map(|()| Address::Rendered(template)),
        };
        checked.map_err(|error| reader.error(FIELD, error)).ok()
    }

    /// The address, where it is the same for all events.
    pub(super) fn fixed(&self) -> Option<&Resolved> {
        match self {
            Address::Fixed(resolved) => Some(resolved),
            Address::Rendered(_) => None,
        }
    }

    /// The address for an event; the error is the text of a final error outcome.
    pub(super) fn render(&self, scope: &dyn Scope) -> Result<Resolved, String> {
        let template = match self {
            Address::Fixed(resolved) => return Ok(resolved.clone()),
            Address::Rendered(template) => template,
        };
        let origins = Origins::new(scope);
        let mut builder = Builder::default();
        let mut wrong = None;
        let rendered = template.render_pieces(&origins, &mut |piece| {
            wrong = match piece {
                Piece::Literal(text) => builder.literal(text),
                Piece::Value(text) => builder.value(text, origins.is_owners()),
            }
            .err();
            // The error only stops the rendering; why is in `wrong`.
            if wrong.is_some() {
                Err(RenderError::TooLong { limit: 0 })
            } else {
                text::within(&builder.out, RENDERED_BYTES)
            }
        });
        let error = wrong.map_or(rendered.map_err(|error| error.to_string()), |wrong| Err(wrong.to_owned()));
        error.and_then(|()| builder.end()).map_err(|error| format!("{FIELD}: {error}"))?;
        // The addresses that may be reached are checked when connecting.
        let anywhere = AddressPolicy { allow_private: true, allowed: Vec::new() };
        resolve(&builder.out, &anywhere).map_err(|error| format!("{FIELD}: {error}"))
    }
}

/// The host as it is shown in an integration's default name: also of a url whose host is a template.
pub(super) fn shown_host(url: &str) -> String {
    let parsed = Url::parse(url).ok().filter(|_| !url.contains("{{"));
    if let Some(host) = parsed.as_ref().and_then(Url::host_str) {
        return host.to_owned();
    }
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A template may have `/` in it (`{{/section}}`), but then it is no plain host: show what is before.
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    host.rsplit_once(':').filter(|(_, last)| port(last)).map_or(host, |(host, _)| host).to_owned()
}

/// The password that stands in a url.
fn password(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (credentials, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    let (_, password) = credentials.split_once(':')?;
    (!password.is_empty()).then(|| password.to_owned())
}

fn resolve(url: &str, policy: &AddressPolicy) -> Result<Resolved, String> {
    let mut url = Url::parse(url).map_err(|_| NOT_HTTP.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(NOT_HTTP.to_owned());
    }
    let literal = match url.host() {
        None => return Err(NOT_HTTP.to_owned()),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(ip)) => Some(ip.into()),
        Some(Host::Ipv6(ip)) => Some(ip.into()),
    };
    if let Some(refusal) = literal.and_then(|ip| policy.refusal(ip)) {
        return Err(refusal);
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let authorization = has_credentials
        .then(|| basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default())));
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    url.set_fragment(None);
    match (cleared, url.host_str(), url.port_or_known_default()) {
        (Ok(()), Some(host), Some(port)) => {
            let destination = format!("{host}:{port}");
            Ok(Resolved { url: url.into(), destination, authorization })
        }
        _ => Err(NOT_HTTP.to_owned()),
    }
}

/// Checks what stands before the first tag: the scheme, and the host if it ends there.
fn check_start(source: &str, policy: &AddressPolicy) -> Result<(), String> {
    let start = source.split("{{").next().unwrap_or_default();
    if start.is_empty() {
        return Ok(());
    }
    let Some((scheme, rest)) = start.split_once("://") else {
        // The scheme itself ends in a tag, as in `http{{s}}://`.
        let may_be = source.contains("://") && start.bytes().all(|b| b.is_ascii_alphanumeric());
        return if may_be { Ok(()) } else { Err(NOT_HTTP.to_owned()) };
    };
    if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return Err(NOT_HTTP.to_owned());
    }
    if rest.contains(['/', '\\', '?', '#']) { resolve(start, policy).map(|_| ()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Map, Value, json};

    use super::*;
    use crate::{Secrets, Variables};
    use tributary_domain::parameters::Parameters;

    fn read(url: &str, policy: &AddressPolicy) -> Result<Address, String> {
        let config: Map<String, Value> = [("url".to_owned(), url.into())].into_iter().collect();
        let mut reader = Reader::new(&config);
        let address = Address::read(&mut reader, policy, &mut Vec::new());
        reader.finish().map_err(|errors| errors[0].to_string())?;
        Ok(address.unwrap())
    }

    fn rendered(url: &str, scope: &Value) -> Result<String, String> {
        read(url, &AddressPolicy::default())?.render(scope).map(|resolved| resolved.url)
    }

    #[test]
    fn a_value_stays_in_its_part_of_the_address() {
        let scope = json!({
            "room": "the kitchen/2?a=b#c", "umlaut": "ü", "host": "eu-1.example", "q": "a&b=c d", "up": "..", "dot": ".",
            "base": "https://example.org:8443/v1", "evil": "evil.example/", "at": "a@b", "s": "s", "n": 7, "crlf": "a\r\nb"
        });
        for (url, expected) in [
            ("https://example.com/log/{{{room}}}", "https://example.com/log/the%20kitchen%2F2%3Fa%3Db%23c"),
            ("https://example.com/{{umlaut}}/{{n}}", "https://example.com/%C3%BC/7"),
            ("https://{{host}}.com/a", "https://eu-1.example.com/a"),
            ("https://example.com/?q={{{q}}}&r=1", "https://example.com/?q=a%26b%3Dc%20d&r=1"),
            ("https://example.com/v1{{dot}}2", "https://example.com/v1.2"),
            ("{{{base}}}/x/{{{room}}}", "https://example.org:8443/v1/x/the%20kitchen%2F2%3Fa%3Db%23c"),
            ("http{{s}}://example.com/{{{crlf}}}", "https://example.com/a%0D%0Ab"),
            ("https://example.com/a{{missing}}b#{{n}}", "https://example.com/ab"),
            ("https://example.com:{{n}}/", "https://example.com:7/"),
        ] {
            assert_eq!(rendered(url, &scope).as_deref(), Ok(expected), "{url}");
        }
        for url in [
            "https://{{evil}}.example.com/",
            "https://{{at}}example.com/",
            "https://example.com/a/{{up}}/b",
            "https://example.com/a/{{dot}}{{dot}}",
            "https://example.com/a/%2e{{dot}}",
            "{{missing}}/x",
            "{{room}}",
            "http{{dot}}://example.com/",
            "https://{{missing}}/",
        ] {
            assert!(rendered(url, &scope).unwrap_err().starts_with("url: "), "{url}");
        }
    }

    #[test]
    fn a_value_walks_up_the_path_in_no_spelling() {
        for value in [
            "../admin",
            "..\\admin",
            "a/../../admin",
            "a\\..\\admin",
            "a/./b",
            "..%2fadmin",
            "%2e%2e%2Fadmin",
            "%252e%252e%252fadmin",
            "%25252E.%5cadmin",
            "a%5C..%5Cadmin",
            "x/..;/admin",
            "x/..;v=1%2Fadmin",
            "x/..%00/admin",
            "x/.\t./admin",
            "..",
            "%2E",
        ] {
            let error =
                rendered("https://example.com/rooms/{{{v}}}/set", &json!({ "v": value })).unwrap_err();
            assert!(error.ends_with("a part of the path that is . or .."), "{value}: {error}");
            // In the query nobody walks anywhere.
            assert!(rendered("https://example.com/?v={{{v}}}", &json!({ "v": value })).is_ok(), "{value}");
        }
        // Two values beside each other, and what the template itself wrote between them.
        let halves = json!({ "v": ".", "w": "%2" });
        for url in [
            "https://e.example/a/{{v}}{{v}}/b",
            "https://e.example/a/{{v}}./b",
            "https://e.example/a%2f{{v}}.%5cb",
        ] {
            assert!(rendered(url, &halves).is_err(), "{url}");
        }
        for value in
            ["...", "a..b", "1.5", ".well-known", "100%", "%zz..", "a/b", "..a", "50%25", "x;..", "v1/..."]
        {
            let address = rendered("https://example.com/rooms/{{{v}}}/set", &json!({ "v": value }));
            assert!(address.is_ok(), "{value}: {address:?}");
        }
    }

    #[test]
    fn what_is_encoded_many_times_is_decoded_in_one_pass() {
        let often = format!("%{}2F", "25".repeat(300_000));
        assert_eq!(builder::decoded_to_the_end(&often), b"/");
    }

    #[test]
    fn an_address_that_cannot_be_right_is_refused_when_it_is_made() {
        for url in [
            "gopher://example.com",
            "example.com",
            "example.com/{{x}}",
            "ftp://{{x}}/",
            "https://",
            "https:///",
            "mailto:a@b",
            "ht tp://a/",
            "http://a b/",
        ] {
            assert_eq!(
                read(url, &AddressPolicy::default()).unwrap_err(),
                "url: must be an http or https address",
                "{url}"
            );
        }
        assert!(read("", &AddressPolicy::default()).unwrap_err().starts_with("url: is required"));
        assert!(
            read("http://a/{{#x}}", &AddressPolicy::default())
                .unwrap_err()
                .starts_with("url: line 1, column 10")
        );
    }

    #[test]
    fn a_host_written_as_a_number_is_checked_however_it_is_written() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://[::1]:80/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest/{{x}}",
            "http://10.0.0.1:8080?{{x}}",
            "http://user:pw@10.0.0.1/",
            "http://１２７.0.0.1/",
            "http://127。0。0。1/",
            "http://%31%32%37.0.0.1/",
            "http://127.0.0.1./",
            "http://0x7f000001./",
            "http://0/",
            "http://0x7f.1/",
            "http://0x7F.0X0.0x0.0x1/",
            "http://0177.0x0.0.01/",
            "http://017700000001/",
            "http://0300.0250.1/",
            "http://0xA9FEA9FE/latest/meta-data",
            "http://2852039166/",
            "http://169.254.43518/",
            "http://[::ffff:7f00:1]/",
            "http://[0:0:0:0:0:ffff:169.254.169.254]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[64:ff9b:1::a00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[fd00:ec2::254]/",
            "http://example.com@127.0.0.1/",
            "http://example.com:80@127.0.0.1/",
            "http://example.com%2f@127.0.0.1/",
            "http://\t127.0.0.1/",
            "http:\\\\127.0.0.1/",
            "http:////127.0.0.1/",
        ] {
            let error = read(url, &AddressPolicy::default()).unwrap_err();
            assert!(
                error.ends_with("the operator can allow it with delivery.allowed_targets"),
                "{url}: {error}"
            );
            assert!(read(url, &AddressPolicy { allow_private: true, allowed: Vec::new() }).is_ok(), "{url}");
        }
        for url in [
            "http://8.8.8.8/",
            "http://8.8.8.8./",
            "http://0x08080808/",
            "http://[64:ff9b::8.8.8.8]/",
            "http://127.0.0.1@example.com/",
            "http://example.com/@127.0.0.1/",
            "http://example.com\\@127.0.0.1/",
            "http://example.com?@127.0.0.1/",
            "http://example.com#@127.0.0.1/",
        ] {
            assert!(read(url, &AddressPolicy::default()).is_ok(), "{url}");
        }
        for url in [
            "http://256.0.0.1/",
            "http://127.0.0.1.1/",
            "http://0x100000000/",
            "http://[::1",
            "http://[fe80::1%25eth0]/",
        ] {
            let error = read(url, &AddressPolicy::default()).unwrap_err();
            assert_eq!(error, "url: must be an http or https address", "{url}");
        }
    }

    #[test]
    fn a_value_in_the_host_is_one_of_a_name_or_becomes_the_address_that_is_checked_when_connecting() {
        for (value, destination) in [
            ("2130706433", "127.0.0.1:80"),
            ("0x7f.1", "127.0.0.1:80"),
            ("0177.0.0.1", "127.0.0.1:80"),
            ("127.0.0.1.", "127.0.0.1:80"),
            ("example.com", "example.com:80"),
        ] {
            let address = read("http://{{{v}}}/x", &AddressPolicy::default()).unwrap();
            assert_eq!(address.render(&json!({"v": value})).unwrap().destination, destination, "{value}");
        }
        for value in
            ["a@127.0.0.1", "127.0.0.1/", "127.0.0.1:8080", "[::1]", "a\\b", "a?b", "a#b", "a%2fb", "a\r\nb"]
        {
            assert!(rendered("http://{{{v}}}/x", &json!({"v": value})).is_err(), "{value}");
        }
    }

    /// The address that a secret or a parameter `V`, and the event's `v`, make.
    fn resolved(url: &str, owners: &str, data: &str) -> Result<Resolved, String> {
        let event = crate::test_support::event(&json!({ "v": data }).to_string());
        let values = || [("V".to_owned(), owners.to_owned())];
        let secrets = Secrets(values().into());
        let parameters: Parameters = values().into_iter().collect();
        let address = read(url, &AddressPolicy::default())?;
        let of_secret = address.render(&Variables::new(&event, None, None, &secrets));
        let none = Secrets::default();
        let of_parameter =
            address.render(&Variables::new(&event, None, None, &none).with_parameters(&parameters));
        assert_eq!(format!("{of_secret:?}"), format!("{of_parameter:?}"));
        of_secret
    }

    #[test]
    fn a_host_with_its_port_is_taken_from_the_owner_and_never_from_a_device() {
        for (value, destination) in [
            ("127.0.0.1:8081", "127.0.0.1:8081"),
            ("Example.com:80", "example.com:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("[2a00::1]", "[2a00::1]:80"),
            ("example.com:65535\n", "example.com:65535"),
            (" example.com\r\n", "example.com:80"),
        ] {
            assert_eq!(resolved("http://{{{V}}}/x", value, "").unwrap().destination, destination, "{value}");
            assert!(resolved("http://{{{v}}}/x", "", value).is_err(), "{value}");
        }
        for value in [
            "a:b",
            "a:",
            ":80",
            "a:65536",
            "a:80:80",
            "::1",
            "[a]:80",
            "[::1",
            "[::1]80",
            "evil.example/",
            "a@b",
            "a@b:80",
            "x#",
            "x?",
            "x\\",
            "a b:80",
            "a:80/",
            "a:80\nb",
            "a:+80",
            "u:p@h",
        ] {
            let error = resolved("http://{{{V}}}/x", value, "").unwrap_err();
            assert!(error.starts_with("url: a value in the host "), "{value}: {error}");
        }
        for url in [
            "http://{{{V}}}.example/",
            "http://{{#V}}{{{.}}}{{/V}}/",
            "http://{{#PARTICLE_EVENT_VALUE}}{{{.}}}{{/PARTICLE_EVENT_VALUE}}/",
            "http://{{{PARTICLE_EVENT_VALUE}}}/",
        ] {
            assert!(resolved(url, "127.0.0.1:80", "127.0.0.1:80").is_err(), "{url}");
        }
        let all = resolved("{{{V}}}/{{v}}", "http://u:p@example.com:81", "/").unwrap();
        assert_eq!((&*all.url, &*all.destination), ("http://example.com:81/%2F", "example.com:81"));
    }

    #[test]
    fn credentials_of_the_owner_s_may_have_any_character() {
        let url = "http://{{{V}}}:{{{V}}}@127.0.0.1:8080/d?{{v}}";
        let got = resolved(url, "p@ss/w#rd:?\\%41é\n", "a").unwrap();
        assert_eq!(got.authorization, Some(basic("p@ss/w#rd:?\\%41é", "p@ss/w#rd:?\\%41é")));
        assert_eq!((&*got.url, &*got.destination), ("http://127.0.0.1:8080/d?a", "127.0.0.1:8080"));
        let got = resolved("http://a@b:{{{V}}}@{{{V}}}/", "x", "").unwrap();
        assert_eq!((got.authorization, &*got.url), (Some(basic("a@b", "x")), "http://x/"));
        let error = resolved("http://{{{v}}}:x@example.com/", "", "p@ss").unwrap_err();
        assert!(error.starts_with("url: a value of the event in the user part ") && error.contains("auth"));
        assert!(resolved("http://{{{v}}}@example.com/", "", "evil.example/").is_err());
        assert_eq!(
            resolved("http://{{v}}@example.com/", "", "u-1").unwrap().authorization,
            Some(basic("u-1", ""))
        );
    }

    #[test]
    fn credentials_in_the_url_become_a_header_and_the_port_is_part_of_the_destination() {
        let Address::Fixed(resolved) =
            read("HTTPS://us%40er:p%20w@Example.com#top", &AddressPolicy::default()).unwrap()
        else {
            unreachable!()
        };
        assert_eq!(resolved.url, "https://example.com/");
        assert_eq!(resolved.destination, "example.com:443");
        assert_eq!(resolved.authorization, Some(basic("us@er", "p w")));
    }

    #[test]
    fn hosts_are_shown_without_port_and_credentials() {
        for (url, host) in [
            ("https://example.com:8080/a", "example.com"),
            ("https://u:p@example.com/{{x}}", "example.com"),
            ("http://{{host}}:80/x", "{{host}}"),
            ("http://[::1]:8080/", "[::1]"),
            ("{{{URL}}}", "{{{URL}}}"),
            ("example.com", "example.com"),
        ] {
            assert_eq!(shown_host(url), host, "{url}");
        }
    }
}
