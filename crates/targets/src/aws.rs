//! What the kinds of Amazon Web Services have in common: who signs, where a service is, several events in a request, and
//! what its errors mean.
//!
//! Module: `signature` (Signature Version 4).

mod signature;

use std::sync::Arc;

use serde_json::{Value, json};
use tributary_domain::{limits::RENDERED_BYTES, outcome::AttemptClass};
use url::Url;

use self::signature::{Signed, sign};
use crate::{
    Attempt, BoxFuture, Clients, Endpoint, Field, Message, Reply, Settings, Shape, Variables,
    broker::{Credential, header, key, said},
    fields::Reader,
    gather::{Answer, Gather, Together, joined},
    kinds::{field, webhook::USER_AGENT},
    net::{Via, passing},
    service::{Secret, explained, final_error},
    settings::Clock,
    text::Text,
};

/// The fields of every kind of AWS.
pub(crate) const ACCESS_KEY_ID: Field = field(
    "access_key_id",
    Shape::Text,
    "The id of the access key (AKIA…) that requests are signed with; needed unless the server has one of its own.",
);
pub(crate) const SECRET_ACCESS_KEY: Field = Field {
    sensitive: true,
    ..field("secret_access_key", Shape::Text, "The secret of that key; it is not shown again.")
};
pub(crate) const SESSION_TOKEN: Field = Field {
    sensitive: true,
    ..field("session_token", Shape::Text, "The token of a temporary key (ASIA…); it is not shown again.")
};

/// Longest id of a key, in bytes.
const ID_BYTES: usize = 128;
/// Longest name of a region, in bytes.
const REGION_BYTES: usize = 32;
/// Begins of codes of errors that may pass, whatever the status: AWS says 400 for most of them.
const PASSING_CODES: [&str; 12] = [
    "Throttl",
    "RequestThrottl",
    "KMSThrottl",
    "KmsThrottl",
    "ProvisionedThroughputExceeded",
    "LimitExceeded",
    "TooManyRequests",
    "Internal",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestExpired",
    "ConcurrentModification",
];
/// Begins of codes of errors that are of who signs or of the place, and not of an event.
const CODES_OF_ALL: [&str; 10] = [
    "AccessDenied",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "InvalidSignature",
    "InvalidClientTokenId",
    "UnrecognizedClient",
    "ExpiredToken",
    "InvalidSecurity",
    "ResourceNotFound",
    "QueueDoesNotExist",
];

// Headers of a message that tell `send` who signs and for where. They are not sent.
const REGION: &str = "Region";
const ID: &str = "Access-Key-Id";
const SECRET: &str = "Access-Key-Secret";
const TOKEN: &str = "Session-Token";
const NOT_SENT: [&str; 4] = [REGION, ID, SECRET, TOKEN];

/// A key of the server's own, for integrations that have none.
#[derive(Clone, Debug)]
pub struct AwsKey {
    id: String,
    secret: Secret,
    token: Option<Secret>,
}

impl AwsKey {
    /// A key by its parts, as the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` have them.
    pub fn new(id: String, secret: String, token: Option<String>) -> AwsKey {
        AwsKey { id, secret: Secret(secret), token: token.map(Secret) }
    }
}

/// Who signs.
enum Keys {
    Own(Box<OwnKey>),
    Server(Arc<AwsKey>),
}

/// `access_key_id`, `secret_access_key` and `session_token`
struct OwnKey {
    id: Text,
    secret: Credential,
    token: Credential,
}

/// What a service says of one event of a request.
pub(crate) enum Verdict {
    Taken,
    Refused {
        code: String,
        message: String,
    },
    /// Nothing.
    Unknown,
}

/// One of the services, and how it is spoken to.
pub(crate) struct Api {
    /// Its name in host names and signatures.
    pub(crate) service: &'static str,
    /// `X-Amz-Target`
    pub(crate) target: &'static str,
    /// `Content-Type`
    pub(crate) content_type: &'static str,
    /// The list of a request that has the events in it.
    pub(crate) list: &'static str,
    /// What a reply says of an entry: the reply, the entry as sent, and its number. The value is the entry's own part.
    pub(crate) verdict: fn(&Value, &Value, usize) -> (Verdict, Value),
}

/// A way to a service for an integration.
pub(crate) struct Aws {
    api: &'static Api,
    operator: Option<Endpoint>,
    keys: Keys,
    clock: Clock,
    gather: Gather,
    sensitive: Vec<String>,
}

impl Aws {
    /// Reads the keys; `gather` is of the kind's `batch`.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        settings: &Settings,
        api: &'static Api,
        gather: Gather,
    ) -> Option<Aws> {
        let mut sensitive = Vec::new();
        let id = reader.text("access_key_id").and_then(|id| reader.template("access_key_id", id.trim()));
        let secret = Credential::read(reader, "secret_access_key", &mut sensitive);
        let token = Credential::read(reader, "session_token", &mut sensitive);
        let none = id.is_none() && !secret.is_given() && !token.is_given();
        let keys = match (id, &settings.aws.key) {
            (_, Some(key)) if none => Some(Keys::Server(Arc::clone(key))),
            (id, _) => {
                if reader.given("access_key_id").is_none() {
                    reader.error("access_key_id", "is required: this server has no key of its own");
                }
                if !secret.is_given() && reader.given("secret_access_key").is_none() {
                    reader.error("secret_access_key", "is required with access_key_id");
                }
                id.map(|id| Keys::Own(Box::new(OwnKey { id, secret, token })))
            }
        };
        let operator = settings.aws.endpoint.clone();
        Some(Aws { api, operator, keys: keys?, clock: settings.clock, gather, sensitive })
    }

    /// What logs must not show.
    pub(crate) fn sensitive(&self) -> &[String] {
        &self.sensitive
    }

    /// How many events a request has at most.
    pub(crate) fn together(&self) -> usize {
        self.gather.most_events()
    }

    /// Whether requests are signed with the server's own key.
    pub(crate) fn is_server_s(&self) -> bool {
        matches!(self.keys, Keys::Server(_))
    }

    /// The request with one event in it: to `endpoint` unless the operator says otherwise.
    pub(crate) fn request(
        &self,
        endpoint: &Endpoint,
        region: String,
        body: &Value,
        variables: &Variables<'_>,
    ) -> Result<Message, String> {
        let endpoint = self.operator.as_ref().unwrap_or(endpoint);
        let mut headers = Vec::with_capacity(5);
        for (name, value) in [("Content-Type", self.api.content_type), ("X-Amz-Target", self.api.target)] {
            headers.push((name.to_owned(), value.to_owned()));
        }
        headers.push((REGION.to_owned(), region));
        if let Keys::Own(key) = &self.keys {
            let OwnKey { id, secret, token } = &**key;
            let id = id.render(variables, ID_BYTES).map_err(|error| format!("access_key_id: {error}"))?;
            if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err("access_key_id: must be letters and digits".to_owned());
            }
            headers.push((ID.to_owned(), id));
            headers.extend(secret.render(SECRET, variables)?);
            headers.extend(token.render(TOKEN, variables)?);
        }
        let body = body.to_string();
        if body.len() > RENDERED_BYTES {
            return Err(format!("the request is longer than {RENDERED_BYTES} bytes"));
        }
        Ok(Message {
            destination: endpoint.destination().to_owned(),
            method: "POST".to_owned(),
            url: endpoint.at("/"),
            headers,
            body: body.into(),
        })
    }

    /// Sends a message, with others for the same place and key where there are some.
    pub(crate) async fn send(&self, message: &Message, clients: &Clients, place: &str) -> Attempt {
        let of = |name| header(message, name);
        let key = key(&[Some(&message.url), Some(place), of(REGION), of(ID), of(SECRET), of(TOKEN)]);
        self.gather.send(self, &key, message, clients).await
    }

    async fn post(&self, message: &Message, clients: &Clients) -> Attempt {
        let (id, secret, token) = match &self.keys {
            Keys::Server(key) => {
                (&*key.id, &*key.secret.0, key.token.as_ref().map(|Secret(token)| token.as_str()))
            }
            Keys::Own(key) => (
                header(message, ID).unwrap_or_default(),
                key.secret.of(SECRET, message).unwrap_or_default(),
                key.token.of(TOKEN, message),
            ),
        };
        let Ok(url) = Url::parse(&message.url) else { return final_error("the endpoint is no address") };
        let host = url.authority().to_owned();
        let mut headers = Vec::with_capacity(6);
        headers.extend(message.headers.iter().filter(|(name, _)| !NOT_SENT.contains(&&**name)).cloned());
        headers.extend(token.map(|token| ("X-Amz-Security-Token".to_owned(), token.to_owned())));
        let signed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let signed = Signed {
            host: &host,
            path: url.path(),
            headers: &signed,
            body: &message.body,
            region: header(message, REGION).unwrap_or_default(),
            service: self.api.service,
            now: self.clock.now(),
        };
        let (time, authorization) = sign(&signed, id, secret);
        for (name, value) in [
            ("X-Amz-Date", time),
            ("Authorization", authorization.clone()),
            ("User-Agent", USER_AGENT.to_owned()),
        ] {
            headers.push((name.to_owned(), value));
        }
        let via = if self.operator.is_some() { Via::Operator } else { Via::Checked };
        let attempt = clients.send(&Message { headers, ..message.clone() }, via).await;
        let hide = [secret, token.unwrap_or_default(), &authorization];
        let code = attempt.reply.as_ref().and_then(code);
        let mut attempt = explained(attempt, &hide, |json| said_of(json, code.as_deref()));
        if attempt.class == AttemptClass::Final && code.is_some_and(|code| may_pass(&code)) {
            attempt.class = AttemptClass::Passing { retry_after_ms: None };
        }
        attempt
    }
}

impl Together for Aws {
    fn send_together<'a>(&'a self, messages: &'a [Message], clients: &'a Clients) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let Some(request) = joined(messages, self.api.list) else {
                return Answer::Whole(final_error("the events cannot be put into one request"));
            };
            let attempt = self.post(&request, clients).await;
            let reply = match &attempt.reply {
                Some(reply) if attempt.class == AttemptClass::Success => reply.clone(),
                _ if is_of_all(&attempt) => return Answer::Each(vec![attempt; messages.len()]),
                _ => return Answer::Whole(attempt),
            };
            let host = Url::parse(&request.url)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned))
                .unwrap_or_default();
            let json = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
            let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            let entries = body.get(self.api.list).and_then(Value::as_array);
            let each = (0..messages.len()).map(|n| {
                let entry = entries.and_then(|entries| entries.get(n)).unwrap_or(&Value::Null);
                self.of_entry(&host, &reply, (self.api.verdict)(&json, entry, n))
            });
            Answer::Each(each.collect())
        })
    }
}

impl Aws {
    /// The attempt of one event of a request that was answered with 200.
    fn of_entry(&self, host: &str, reply: &Reply, (verdict, part): (Verdict, Value)) -> Attempt {
        let body = if part.is_null() { reply.body.clone() } else { part.to_string().into() };
        let reply = Some(Reply { body, ..reply.clone() });
        match verdict {
            Verdict::Taken => Attempt { class: AttemptClass::Success, error: None, reply },
            Verdict::Refused { code, message } => {
                let hide: Vec<&str> = self.sensitive.iter().map(String::as_str).collect();
                let error =
                    Some(format!("error {} from {host}: {}", said(&code, &hide), said(&message, &hide)));
                let class = match may_pass(&code) {
                    true => AttemptClass::Passing { retry_after_ms: None },
                    false => AttemptClass::Final,
                };
                Attempt { class, error, reply }
            }
            Verdict::Unknown => {
                Attempt { reply, ..passing(format!("the answer of {host} does not tell of the event")) }
            }
        }
    }
}

/// A verdict where the lists of request and reply have the same order, as Kinesis and EventBridge answer.
pub(crate) fn verdict_by_number(reply: &Value, list: &str, n: usize) -> (Verdict, Value) {
    let Some(part) = reply.get(list).and_then(|list| list.get(n)) else {
        return (Verdict::Unknown, Value::Null);
    };
    let text = |name| part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let verdict = match text("ErrorCode") {
        code if code.is_empty() => Verdict::Taken,
        code => Verdict::Refused { code, message: text("ErrorMessage") },
    };
    (verdict, part.clone())
}

/// The code of an error, in its short form.
fn code(reply: &Reply) -> Option<String> {
    let named = reply.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-amzn-errortype"));
    let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let typed = json.as_ref().and_then(|json| json.get("__type")?.as_str());
    let code = typed.or(named.map(|(_, value)| value.as_str()))?;
    // `com.amazonaws.sqs#QueueDoesNotExist` in a body, `ValidationException:http://…` in a header.
    let code = code.rsplit('#').next()?.split(':').next()?.trim();
    (!code.is_empty()).then(|| code.to_owned())
}

fn said_of(json: &Value, code: Option<&str>) -> Option<String> {
    let message = ["message", "Message"].iter().find_map(|name| json.get(name)?.as_str());
    match (code, message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (code, message) => code.or(message).map(str::to_owned),
    }
}

/// Whether an error is of who signs or of the place, so that it would be no different for each event by itself.
fn is_of_all(attempt: &Attempt) -> bool {
    attempt.reply.as_ref().is_some_and(|reply| {
        [401, 403, 404].contains(&reply.status)
            || code(reply).is_some_and(|code| CODES_OF_ALL.iter().any(|begin| code.starts_with(begin)))
    })
}

fn may_pass(code: &str) -> bool {
    PASSING_CODES.iter().any(|begin| code.starts_with(begin))
}

/// A region's name; for a `Text` that has been rendered.
pub(crate) fn check_region(region: &str) -> Result<(), String> {
    let is_name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=REGION_BYTES).contains(&region.len()) && region.bytes().all(is_name) && !region.starts_with('-') {
        return Ok(());
    }
    Err("must be the name of a region, e.g. eu-west-1".to_owned())
}

/// Where a service of a region is.
pub(crate) fn endpoint(service: &str, region: &str) -> Endpoint {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Endpoint::of_host(&format!("{service}.{region}.{domain}"))
}

/// A text field with variables in it; what has none is checked at once.
pub(crate) fn checked_template(
    reader: &mut Reader<'_>,
    field: &str,
    check: fn(&str) -> Result<(), String>,
) -> Option<Text> {
    let source = reader.text(field)?;
    let text = reader.template(field, source.trim())?;
    if let Some(Err(error)) = text.literal().map(check) {
        reader.error(field, error);
    }
    Some(text)
}

/// A rendered text that has passed its check; the error names the field.
pub(crate) fn rendered(
    field: &str,
    text: &Text,
    variables: &Variables<'_>,
    check: fn(&str) -> Result<(), String>,
) -> Result<String, String> {
    let rendered = text.render(variables, RENDERED_BYTES).map_err(|error| format!("{field}: {error}"))?;
    check(&rendered).map_err(|error| format!("{field}: {error}"))?;
    Ok(rendered)
}

/// The event as a JSON object, as webhooks send it when nothing else is said, and its product.
pub(crate) fn event_json(variables: &Variables<'_>) -> Value {
    let event = variables.event;
    let mut json = json!({
        "event": event.name, "data": variables.data(), "coreid": event.coreid, "published_at": event.published_at,
    });
    if let Some(product) = variables.product.or(event.product) {
        json["product_id"] = product.0.into();
    }
    json
}

/// Which delivery a message is of: for services that drop what comes twice.
pub(crate) fn delivery_id(variables: &Variables<'_>) -> String {
    // Not the event's id alone: of two integrations that one event fires, the second message would be dropped.
    let event = variables.event.id;
    variables.recipient.map_or(event.to_string(), |recipient| format!("{event}_{recipient}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_from_body_or_header_and_throttling_may_pass() {
        let reply = |body: &'static str, header: Option<&str>| {
            let headers = header.map(|value| ("x-amzn-ErrorType".to_owned(), value.to_owned()));
            Reply {
                status: 400,
                headers: headers.into_iter().collect(),
                body: body.as_bytes().into(),
                ..Reply::default()
            }
        };
        for (body, header, expected, passes) in [
            (r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist"}"#, None, "QueueDoesNotExist", false),
            (
                r#"{"__type":"ProvisionedThroughputExceededException"}"#,
                None,
                "ProvisionedThroughputExceededException",
                true,
            ),
            ("{}", Some("ThrottlingException:http://internal.amazon.com/x/"), "ThrottlingException", true),
            (
                r#"{"__type":"com.amazon.coral.service#AccessDeniedException"}"#,
                None,
                "AccessDeniedException",
                false,
            ),
            (r#"{"__type":"com.amazonaws.sqs#RequestThrottled"}"#, None, "RequestThrottled", true),
            (r#"{"__type":"InternalFailure"}"#, None, "InternalFailure", true),
        ] {
            let found = code(&reply(body, header));
            assert_eq!(found.as_deref(), Some(expected));
            assert_eq!(may_pass(expected), passes, "{expected}");
        }
        assert_eq!(code(&reply("<html>", None)), None);
    }

    #[test]
    fn a_region_chooses_the_host() {
        assert_eq!(endpoint("sqs", "eu-west-1").at("/"), "https://sqs.eu-west-1.amazonaws.com/");
        assert_eq!(
            endpoint("kinesis", "cn-north-1").destination(),
            "kinesis.cn-north-1.amazonaws.com.cn:443"
        );
        for wrong in ["", "EU", "eu west", "a.b", "-x", "x/../y", &"x".repeat(33)] {
            assert!(check_region(wrong).is_err(), "{wrong}");
        }
    }
}
