//! Webhooks: an HTTP request for each event (contract 3.1, 3.3, 4.3).
//!
//! Modules in reading order: `address` (`url`), `method` (`requestType`), `pairs` (`query`, `form`), `headers` (and `auth`), `payload` (`json`,
//! `form`, `body`), `defaults` (the four default fields), `signing`, `tls`.

mod address;
mod defaults;
mod headers;
mod method;
mod pairs;
mod payload;
mod signing;
pub(crate) mod tls;

use std::sync::Arc;

use bytes::Bytes;
use tributary_domain::{FieldError, integration::Config, limits::RENDERED_BYTES};

use self::{
    address::Address, defaults::Defaults, headers::Headers, method::Method, pairs::Pairs, payload::Payload,
    signing::Signing,
};
use super::{check_common, field, flag};
use crate::{
    Attempt, BoxFuture, Clients, Field, Kind, Message, ResponseSettings, Settings, Shape, Target, Variables,
    fields::Reader,
    net::{OwnTls, Reading, Via},
};

/// `User-Agent` of every request that does not name another.
pub const USER_AGENT: &str = concat!("tributary/", env!("CARGO_PKG_VERSION"));

/// The kind `Webhook`.
pub struct WebhookKind;

const FIELDS: &[Field] = &[
    Field {
        required: true,
        ..field("url", Shape::Text, "Where requests are sent: an http or https address.")
    },
    Field {
        default: Some("\"POST\""),
        ..field("requestType", Shape::Text, "GET, POST, PUT or DELETE, or a template of it.")
    },
    field("json", Shape::ObjectOrText, "The body as JSON; not together with form or body."),
    field("form", Shape::Object, "The body as a form; with GET, more of the query."),
    field("body", Shape::Text, "The body as it is; name its Content-Type in headers."),
    field("query", Shape::Object, "Added to the query of the url."),
    field("headers", Shape::Object, "Headers of the request; credentials among them are not shown again."),
    Field {
        sensitive: true,
        ..field(
            "auth",
            Shape::Object,
            "username and password for HTTP Basic; the password is not shown again.",
        )
    },
    flag("noDefaults", "false", "Whether event, data, published_at and coreid are left out."),
    flag("rejectUnauthorized", "true", "Whether the certificate of an https address is checked."),
    tls::FIELD,
    signing::FIELD,
    field("template", Shape::Text, "The name of the template that the integration was made from; not used."),
];

impl Kind for WebhookKind {
    fn name(&self) -> &'static str {
        "Webhook"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn default_name(&self, config: &Config) -> String {
        let text =
            |field: &str| config.get(field).and_then(|value| value.as_str()).unwrap_or_default().trim();
        format!("{} for {}", text("event"), address::shown_host(text("url")))
    }

    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>> {
        let webhook = Webhook::compile(config, settings)?;
        Ok(Arc::new(webhook))
    }
}

/// A compiled webhook.
#[derive(Debug)]
struct Webhook {
    method: Method,
    address: Address,
    query: Pairs,
    headers: Headers,
    payload: Payload,
    defaults: Defaults,
    via: Via,
    /// Boxed: few have it.
    tls: Option<Box<OwnTls>>,
    signing: Option<Signing>,
    response: ResponseSettings,
    variables: Vec<String>,
    sensitive: Vec<String>,
}

impl Webhook {
    fn compile(config: &Config, settings: &Settings) -> Result<Webhook, Vec<FieldError>> {
        let mut reader = Reader::new(config);
        let mut sensitive = Vec::new();
        check_common(&mut reader);
        let address = Address::read(&mut reader, &settings.addresses, &mut sensitive);
        let method = Method::read(&mut reader);
        let payload = Payload::read(&mut reader);
        let query = Pairs::read(&mut reader, "query").unwrap_or_default();
        sensitive.extend(pairs::sensitive_query(config));
        let headers = Headers::read(&mut reader, &mut sensitive);
        let defaults = if reader.flag("noDefaults", false) { Defaults::NONE } else { Defaults::ALL };
        let (via, tls) = tls::read(&mut reader, &mut sensitive);
        let signing = Signing::read(&mut reader, settings.clock, &mut sensitive);
        let response = ResponseSettings::read(&mut reader);
        reader.text("template");
        let variables = reader.finish()?;
        let Some(address) = address else { return Err(vec![FieldError::new("url", "is required")]) };
        sensitive.retain(|value| !value.is_empty());
        Ok(Webhook {
            method,
            address,
            query,
            headers,
            payload,
            defaults,
            via,
            tls,
            signing,
            response,
            variables,
            sensitive,
        })
    }

    /// Appends the query's pairs to a url. With GET and DELETE the defaults are among them, with GET the form too.
    fn push_query(&self, method: &str, url: &mut String, variables: &Variables<'_>) -> Result<(), String> {
        let wrong = |error| format!("query: {error}");
        let form = self.payload.form().filter(|_| method == "GET");
        let before = url.len();
        url.push(if url.contains('?') { '&' } else { '?' });
        // `https://example.com/?` and `…?a=1&` need no separator of ours.
        if url[..before].ends_with(['?', '&']) {
            url.truncate(before);
        }
        let begins = url.len();
        if defaults_in_query(method) {
            let mut rest = self.defaults;
            for pairs in form.into_iter().chain([&self.query]) {
                rest = rest.without_keys(pairs.names(), variables, RENDERED_BYTES).map_err(wrong)?;
            }
            rest.push_pairs(url, begins, variables);
        }
        for pairs in form.into_iter().chain([&self.query]) {
            pairs.push(variables, url, begins, RENDERED_BYTES).map_err(wrong)?;
        }
        if url.len() == begins {
            url.truncate(before);
        }
        Ok(())
    }
}

fn defaults_in_query(method: &str) -> bool {
    matches!(method, "GET" | "DELETE")
}

impl Target for Webhook {
    fn fixed_destination(&self) -> Option<String> {
        self.address.fixed().map(|resolved| resolved.destination.clone())
    }

    fn destination(&self, variables: &Variables<'_>) -> Result<String, String> {
        self.address.render(variables).map(|resolved| resolved.destination)
    }

    fn render(&self, variables: &Variables<'_>) -> Result<Message, String> {
        let method = self.method.render(variables)?;
        let mut address = self.address.render(variables)?;
        self.push_query(method, &mut address.url, variables)?;
        let rendered = match method {
            "GET" => payload::Rendered::default(),
            _ => {
                let defaults = if defaults_in_query(method) { Defaults::NONE } else { self.defaults };
                self.payload.render(variables, defaults)?
            }
        };
        let mut headers = Vec::with_capacity(8);
        self.headers.push(variables, &mut headers)?;
        let mut add = |name: &str, value: Option<String>| {
            let given = |(other, _): &(String, String)| other.eq_ignore_ascii_case(name);
            if let Some(value) = value.filter(|_| !headers.iter().any(given)) {
                headers.push((name.to_owned(), value));
            }
        };
        add("Authorization", self.headers.authorization(variables)?.or(address.authorization));
        add("Content-Type", rendered.content_type.map(str::to_owned));
        add("Accept", rendered.accept.map(str::to_owned));
        add("User-Agent", Some(USER_AGENT.to_owned()));
        if let Some(signing) = &self.signing {
            signing.identify(variables, &mut headers);
        }
        Ok(Message {
            destination: address.destination,
            method: method.to_owned(),
            url: address.url,
            headers,
            body: Bytes::from(rendered.body),
        })
    }

    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt> {
        let reading = if self.response.has_template() { Reading::Template } else { Reading::Head };
        if self.signing.is_none() && self.tls.is_none() {
            return Box::pin(clients.send_reading(message, self.via, reading));
        }
        Box::pin(async move {
            let signed = self.signing.as_ref().map(|signing| signing.signed(message));
            let message = signed.as_ref().unwrap_or(message);
            match &self.tls {
                Some(tls) => clients.send_with(message, tls, reading).await,
                None => clients.send_reading(message, self.via, reading).await,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fmt::Write as _;

    use insta::assert_snapshot;
    use serde_json::{Value, json};
    use tributary_domain::ProductId;

    use super::*;
    use crate::{AddressPolicy, Secrets, test_support::event};

    const DATA: &str =
        r#"{"kind":"humidity","value":40,"text":"a \"b\" & <c>","n":1.5,"crlf":"x\r\nInjected: 1"}"#;

    fn compile(mut config: Value) -> Result<Webhook, Vec<FieldError>> {
        let config = config.as_object_mut().unwrap();
        config.entry("event").or_insert("door".into());
        config.entry("url").or_insert("https://example.com/in".into());
        let addresses = Arc::new(AddressPolicy::default());
        Webhook::compile(config, &Settings { addresses, ..Settings::default() })
    }

    fn render(config: Value, data: &str) -> Result<Message, String> {
        let event = event(data);
        let secrets = Secrets([("API_KEY".into(), "hush & co".into())].into());
        compile(config).unwrap().render(&Variables::new(&event, Some(ProductId(7)), None, &secrets))
    }

    fn shown(message: &Message) -> String {
        let mut out = format!("{} {}\n", message.method, message.url);
        for (name, value) in message.headers.iter().filter(|(_, value)| value != USER_AGENT) {
            writeln!(out, "{name}: {value}").unwrap();
        }
        write!(out, "\n{}", std::str::from_utf8(&message.body).unwrap()).unwrap();
        out
    }

    /// The request for an event whose data has some JSON.
    fn request(config: Value) -> String {
        shown(&render(config, DATA).unwrap())
    }

    /// The errors as lines.
    fn refused(config: Value) -> String {
        let errors = compile(config).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn without_a_body_the_defaults_are_a_form() {
        assert_snapshot!(shown(&render(json!({}), "my data").unwrap()), @"
        POST https://example.com/in
        Content-Type: application/x-www-form-urlencoded

        event=door%2Ffront&data=my%20data&published_at=2024-01-02T03%3A04%3A05.678Z&coreid=d1
        ");
    }

    #[test]
    fn without_a_body_and_defaults_nothing_is_sent() {
        assert_snapshot!(request(json!({"noDefaults": true})), @"POST https://example.com/in");
    }

    #[test]
    fn every_request_names_the_server() {
        let message = render(json!({}), "x").unwrap();
        assert_eq!(message.destination, "example.com:443");
        assert!(message.headers.contains(&("User-Agent".into(), USER_AGENT.into())));
        let named = render(json!({"headers": {"user-agent": "mine"}}), "x").unwrap();
        assert_eq!(
            named.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("user-agent")).count(),
            1
        );
    }

    #[test]
    fn form_fields_follow_the_defaults_and_replace_those_of_the_same_name() {
        let form = json!({"form": {"{{kind}}": "{{{text}}}", "data": "mine", "flag": true, "n": 2.5, "none": null, "a": {"b": [1, "x"]}}});
        assert_snapshot!(request(form), @"
        POST https://example.com/in
        Content-Type: application/x-www-form-urlencoded

        event=door%2Ffront&published_at=2024-01-02T03%3A04%3A05.678Z&coreid=d1&humidity=a%20%22b%22%20%26%20%3Cc%3E&data=mine&flag=true&n=2.5&a%5Bb%5D%5B0%5D=1&a%5Bb%5D%5B1%5D=x
        ");
    }

    #[test]
    fn json_members_follow_the_defaults_and_replace_those_of_the_same_name() {
        let json = json!({"json": {"{{kind}}": "{{value}}", "data": "mine", "deep": [{"t": "{{{text}}}"}, 1, null]}});
        assert_snapshot!(request(json), @r#"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

        {"event":"door/front","published_at":"2024-01-02T03:04:05.678Z","coreid":"d1","humidity":"40","data":"mine","deep":[{"t":"a \"b\" & <c>"},1,null]}
        "#);
    }

    #[test]
    fn a_key_that_is_rendered_to_the_name_of_a_default_replaces_it() {
        let config = json!({"json": {"{{k}}": 1}});
        assert_snapshot!(shown(&render(config, r#"{"k":"coreid"}"#).unwrap()), @r#"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

        {"event":"door/front","data":"{\"k\":\"coreid\"}","published_at":"2024-01-02T03:04:05.678Z","coreid":1}
        "#);
    }

    #[test]
    fn json_without_defaults_is_the_user_s_alone() {
        assert_snapshot!(request(json!({"json": {"a": "{{value}}"}, "noDefaults": true})), @r#"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

        {"a":"40"}
        "#);
        assert_snapshot!(request(json!({"json": {}, "noDefaults": "true"})), @"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

        {}
        ");
        assert_snapshot!(shown(&render(json!({"json": {}}), "1").unwrap()), @r#"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

        {"event":"door/front","data":"1","published_at":"2024-01-02T03:04:05.678Z","coreid":"d1"}
        "#);
    }

    #[test]
    fn json_as_a_text_that_becomes_an_object_gets_the_defaults_and_keeps_its_digits() {
        let json = r#" { "v": {{value}}, "big": 12345678901234567890.10, "event": "mine" } "#;
        assert_snapshot!(request(json!({"json": json})), @r#"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

         {"data":"{\"kind\":\"humidity\",\"value\":40,\"text\":\"a \\\"b\\\" & <c>\",\"n\":1.5,\"crlf\":\"x\\r\\nInjected: 1\"}","published_at":"2024-01-02T03:04:05.678Z","coreid":"d1", "v": 40, "big": 12345678901234567890.10, "event": "mine" }
        "#);
        assert_snapshot!(shown(&render(json!({"json": "{}", "requestType": "put"}), "1").unwrap()), @r#"
        PUT https://example.com/in
        Content-Type: application/json
        Accept: application/json

        {"event":"door/front","data":"1","published_at":"2024-01-02T03:04:05.678Z","coreid":"d1"}
        "#);
    }

    #[test]
    fn json_as_any_other_text_is_sent_as_it_is() {
        assert_snapshot!(request(json!({"json": "[{{value}}, {\"event\": 1}]"})), @r#"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

        [40, {"event": 1}]
        "#);
        assert_snapshot!(request(json!({"json": "{ {{kind}} "})), @"
        POST https://example.com/in
        Content-Type: application/json
        Accept: application/json

        { humidity
        ");
    }

    #[test]
    fn a_body_is_sent_as_it_is_and_without_a_type() {
        assert_snapshot!(request(json!({"body": "{{text}} {{{text}}} {{n}} {{PRODUCT_ID}}"})), @r#"
        POST https://example.com/in

        a &quot;b&quot; &amp; &lt;c&gt; a "b" & <c> 1.5 7
        "#);
    }

    #[test]
    fn get_puts_the_defaults_the_form_and_the_query_into_the_url() {
        let config = json!({
            "requestType": "GET", "url": "https://example.com/in?a=1", "form": {"f": "{{value}}"}, "query": {"q": "{{{text}}}", "event": "mine"}
        });
        assert_snapshot!(request(config), @"GET https://example.com/in?a=1&data=%7B%22kind%22%3A%22humidity%22%2C%22value%22%3A40%2C%22text%22%3A%22a%20%5C%22b%5C%22%20%26%20%3Cc%3E%22%2C%22n%22%3A1.5%2C%22crlf%22%3A%22x%5Cr%5CnInjected%3A%201%22%7D&published_at=2024-01-02T03%3A04%3A05.678Z&coreid=d1&f=40&q=a%20%22b%22%20%26%20%3Cc%3E&event=mine");
        assert_snapshot!(request(json!({"requestType": "get", "noDefaults": true, "json": {"a": 1}})), @"GET https://example.com/in");
    }

    #[test]
    fn delete_puts_the_defaults_into_the_url_and_sends_the_body_that_is_given() {
        assert_snapshot!(request(json!({"requestType": "DELETE", "query": {"data": ""}})), @"DELETE https://example.com/in?event=door%2Ffront&published_at=2024-01-02T03%3A04%3A05.678Z&coreid=d1&data=");
        assert_snapshot!(request(json!({"requestType": "DELETE", "noDefaults": true, "json": {"a": 1}})), @r#"
        DELETE https://example.com/in
        Content-Type: application/json
        Accept: application/json

        {"a":1}
        "#);
    }

    #[test]
    fn the_query_is_added_with_every_method() {
        let config =
            json!({"requestType": "PUT", "body": "x", "query": {"k y": "{{kind}}", "list": ["a", "b"]}});
        assert_snapshot!(request(config), @"
        PUT https://example.com/in?k%20y=humidity&list%5B0%5D=a&list%5B1%5D=b

        x
        ");
    }

    #[test]
    fn headers_are_templates_and_the_user_s_win() {
        let config = json!({
            "json": {"a": 1}, "noDefaults": true, "auth": {"username": "u", "password": "p"},
            "headers": {"content-type": "application/vnd.x+json", "X-{{kind}}": "{{{API_KEY}}}", "Authorization": "Bearer {{value}}", "X-N": 5}
        });
        assert_snapshot!(request(config), @r#"
        POST https://example.com/in
        content-type: application/vnd.x+json
        X-humidity: hush & co
        Authorization: Bearer 40
        X-N: 5
        Accept: application/json

        {"a":1}
        "#);
    }

    #[test]
    fn credentials_become_basic_authorization() {
        let config = json!({"body": "x", "auth": {"username": "{{kind}}", "password": "{{{API_KEY}}}"}});
        assert_snapshot!(request(config), @"
        POST https://example.com/in
        Authorization: Basic aHVtaWRpdHk6aHVzaCAmIGNv

        x
        ");
        assert_snapshot!(request(json!({"body": "x", "url": "https://u:p@example.com"})), @"
        POST https://example.com/
        Authorization: Basic dTpw

        x
        ");
    }

    #[test]
    fn values_in_the_url_are_encoded() {
        let config = json!({"body": "x", "url": "https://{{kind}}.example.com/{{{text}}}?v={{{text}}}"});
        assert_snapshot!(request(config), @"
        POST https://humidity.example.com/a%20%22b%22%20%26%20%3Cc%3E?v=a%20%22b%22%20%26%20%3Cc%3E

        x
        ");
    }

    #[test]
    fn what_cannot_be_built_is_a_final_error() {
        let error = |config| render(config, DATA).unwrap_err();
        assert_snapshot!(error(json!({"headers": {"X-A": "{{{crlf}}}"}})), @"headers.X-A: must not have line breaks or other control characters");
        assert_snapshot!(error(json!({"headers": {"{{{text}}}": "x"}})), @"headers: a rendered name is not the name of a header");
        assert_snapshot!(error(json!({"headers": {"Ho{{missing}}st": "x"}})), @r#"headers: "Host" is set by the server itself"#);
        assert_snapshot!(error(json!({"url": "https://{{{text}}}/"})), @"url: a value in the host may only have letters, digits, '.', '-' and '_'; HOST:PORT is taken from parameters and secrets alone");
        assert_snapshot!(error(json!({"url": "{{{kind}}}"})), @"url: must be an http or https address");
        let long = json!({"text": "x".repeat(16_000)}).to_string();
        let error = |config| render(config, &long).unwrap_err();
        let many = |tag: &str| tag.repeat(70);
        assert_snapshot!(error(json!({"body": many("{{text}}")})), @"body: the rendered text is longer than 1048576 bytes");
        assert_snapshot!(error(json!({"json": {"a": many("{{text}}")}})), @"json: the rendered text is longer than 1048575 bytes");
        assert_snapshot!(error(json!({"query": {"a": many("{{text}}")}})), @"query: the rendered text is longer than 1048576 bytes");
        assert_snapshot!(error(json!({"url": format!("https://example.com/{}", many("{{text}}"))})), @"url: the rendered text is longer than 1048576 bytes");
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert_snapshot!(refused(json!({
            "event": "", "url": "gopher://example.com", "requestType": "PATCH", "json": {"a": {"b": "{{#x}}"}}, "form": [1], "body": "{{",
            "query": {"k": "{{/x}}"}, "headers": {"X-A": "a\r\nb", "Host": "x", "a b": "1", "X-L": []}, "auth": {"password": {}},
            "noDefaults": "maybe", "rejectUnauthorized": 1, "responseTopic": "{{>x}}", "responseTemplate": [], "unchunked": "no", "disabled": []
        })), @"
        event: is required
        disabled: must be true or false
        url: must be an http or https address
        requestType: must be GET, POST, PUT or DELETE
        json.a.b: line 1, column 1: the section `x` is not closed; add `{{/x}}` where it ends
        form: must be an object
        body: line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it
        form: cannot be used together with json
        body: cannot be used together with json
        query.k: line 1, column 1: `{{/x}}` closes a section that is not open; remove it, or add `{{#x}}` before it
        headers.X-A: must not have line breaks or other control characters
        headers.Host: is set by the server itself
        headers.a b: is not the name of a header
        headers.X-L: must be a text
        auth.password: must be a text
        noDefaults: must be true or false
        rejectUnauthorized: must be true or false
        responseTopic: line 1, column 1: partials are not supported; write the text itself in place of `{{>…}}`
        responseTemplate: must be an object or a text
        unchunked: must be true or false
        ");
        assert_snapshot!(refused(json!({"url": "http://192.168.0.1/x", "body": "\n {{#never}}closed"})), @"
        url: 192.168.0.1 is in a private range; the operator can allow it with delivery.allowed_targets
        body: line 2, column 2: the section `never` is not closed; add `{{/never}}` where it ends
        ");
        assert_snapshot!(refused(json!({"url": null})), @"url: is required");
    }

    #[test]
    fn forms_send_flags_and_empty_fields_as_text() {
        let webhook = compile(json!({
            "rejectUnauthorized": "false", "noDefaults": "false", "json": "", "form": null, "body": "", "responseTopic": "", "requestType": ""
        }));
        let webhook = webhook.unwrap();
        assert_eq!(
            (webhook.via, webhook.defaults, webhook.method.render(&Value::Null)),
            (Via::AnyCertificate, Defaults::ALL, Ok("POST"))
        );
    }

    #[test]
    fn what_logs_must_hide_and_what_secrets_are_used_is_known() {
        let webhook = compile(json!({
            "url": "https://u:in-url@example.com/{{ROOM_SECRET}}", "auth": {"username": "u", "password": "pw"},
            "headers": {"Authorization": "Bearer hush", "X-Api-Key": "k1", "X-Other": "shown", "X-Auth-Token": "{{{TOKEN}}}"},
            "responseTemplate": "{{a.b}}"
        }));
        let webhook = webhook.unwrap();
        assert_eq!(webhook.sensitive_values(), ["in-url", "Bearer hush", "hush", "k1", "pw", "dTpwdw=="]);
        assert_eq!(webhook.variables(), ["ROOM_SECRET", "TOKEN", "a"]);
        let fixed = compile(json!({"url": "https://u:in-url@example.com/"})).unwrap();
        assert_eq!(fixed.sensitive_values(), ["in-url", "dTppbi11cmw="]);
    }

    #[test]
    fn a_default_name_says_what_goes_where() {
        let name = |url: &str| {
            let config = json!({"event": "door", "url": url});
            WebhookKind.default_name(config.as_object().unwrap())
        };
        assert_eq!(name("https://example.com:8080/a"), "door for example.com");
        assert_eq!(name("https://{{host}}/a"), "door for {{host}}");
    }
}
