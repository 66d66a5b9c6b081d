//! Outcomes: the events that a delivery causes, and the row that the log shows of it.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tributary_domain::{
    Event, Timestamp, UserId,
    hook_event::{Cause, HOOK_SENT_DATA, HookEvent, HookKind},
    outcome::Outcome,
};
use tributary_store::{delivery::LogRow, kept::KeptEvent};
use tributary_targets::{Attempt, Message, Reply, Variables};

use crate::{routes::Route, share::Part, window::Encoder};

/// What stands for a value that is not shown.
pub const MASK: &str = "[[SENSITIVE]]";
/// How much of a body a log row keeps, in bytes.
const LOG_BODY_BYTES: usize = 102_400;
/// How much of an error's text is kept beside its event, in bytes.
const KEPT_ERROR_BYTES: usize = 300;
/// The error text of an attempt that was sent but not answered in time.
const NO_REPLY_IN_TIME: &str = "ESOCKETTIMEDOUT";

/// A delivery that has ended, with what its log row needs.
#[derive(Clone)]
pub struct Finished {
    /// The integration in its product or sandbox.
    pub route: Arc<Route>,
    /// The event.
    pub event: Arc<Event>,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// The number of its last attempt.
    pub attempt: u32,
    /// How long that took.
    pub duration: Duration,
    /// Whether it was a test.
    pub test: bool,
    /// What was sent; `None` when nothing could be built.
    pub message: Option<Message>,
    /// What came of it.
    pub result: Attempt,
    /// What it takes of its owner's share of the memory until it is recorded.
    pub part: Option<Arc<Part>>,
}

/// The events that an attempt causes: hook-sent once it was sent, then the reply or the error (contract 4.3).
pub(crate) fn hook_events(
    route: &Route,
    variables: &Variables<'_>,
    attempt: &Attempt,
    now: Timestamp,
) -> Vec<HookEvent> {
    let event = variables.event;
    let response = route.compiled.target.response();
    let sent = attempt.reply.is_some() || attempt.error.as_deref().is_none_or(|e| e == NO_REPLY_IN_TIME);
    let mut named: Vec<(HookKind, (String, String))> = Vec::new();
    if sent {
        named.push((HookKind::Sent, (format!("hook-sent/{}", event.name), HOOK_SENT_DATA.to_owned())));
    }
    let mut add =
        |kind, events: Vec<(String, String)>| named.extend(events.into_iter().map(|one| (kind, one)));
    match (&attempt.error, &attempt.reply) {
        (Some(error), _) => add(HookKind::Error, response.error_events(variables, error)),
        (None, Some(reply)) => {
            add(HookKind::Response, response.events(variables, route.is_sandbox(), reply));
        }
        (None, None) => {}
    }
    let users = listeners(route, event);
    let cause = |kind| Cause {
        event: event.id,
        name: event.name.to_string(),
        coreid: event.coreid.to_string(),
        integration: route.counted.integration,
        kind,
    };
    let hook_event = |(kind, (name, data))| HookEvent {
        cause: cause(kind),
        product: route.counted.product,
        org: route.org(),
        users: users.clone(),
        name,
        data,
        published_at: now,
    };
    named.into_iter().map(hook_event).collect()
}

/// In whose own streams the events of an integration appear: its owner's and the device's owner's.
fn listeners(route: &Route, event: &Event) -> Vec<UserId> {
    let owner = match route.owner {
        tributary_domain::Owner::User(user) => Some(user),
        tributary_domain::Owner::Org(_) => None,
    };
    let device_owner = event.user.filter(|user| Some(*user) != owner && !route.is_sandbox());
    owner.into_iter().chain(device_owner).collect()
}

impl Finished {
    /// Its event, to be kept, with what it is looked for by.
    pub fn kept(&self, ended: usize, encoder: &mut Encoder) -> KeptEvent {
        let error = self.result.error.as_deref().unwrap_or_default();
        let mut error = Masker::new(&self.route.compiled.sensitive).text(error);
        error.truncate(error.floor_char_boundary(KEPT_ERROR_BYTES));
        KeptEvent {
            ended,
            event: encoder.encoded(&self.event),
            name: self.event.name.to_string(),
            device: self.event.coreid.to_string(),
            status: self.result.reply.as_ref().map(|reply| reply.status).filter(|status| *status > 0),
            error,
        }
    }

    /// The row that the log keeps of it (contract 4.3), with every sensitive value masked.
    pub fn log_row(&self) -> LogRow {
        let mask = Masker::new(&self.route.compiled.sensitive);
        let event = &self.event;
        let mut entry = json!({
            "at": self.at,
            "outcome": self.outcome.as_str(),
            "attempt": self.attempt,
            "duration_ms": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            "product_id": self.route.counted.product,
            "test": self.test,
            "event": {
                "name": event.name, "data": event.data, "coreid": event.coreid, "published_at": event.published_at,
            },
            "request": self.message.as_ref().map(|message| mask.request(message)),
            "response": self.result.reply.as_ref().map(|reply| mask.reply(reply)),
            "error": self.result.error.as_deref().map(|error| mask.text(error)),
        });
        if let Some(note) = self.result.reply.as_ref().and_then(Reply::note) {
            entry["note"] = mask.text(note).into();
        }
        LogRow {
            counted: self.route.counted,
            success: self.outcome == Outcome::Success,
            at: self.at,
            entry: json!({"v": 1, "entry": entry}).to_string(),
        }
    }
}

/// Hides sensitive values wherever they turn up, in each of the spellings that a request or reply may have them.
pub(crate) struct Masker {
    spellings: Vec<String>,
}

impl Masker {
    pub(crate) fn new(values: &[String]) -> Masker {
        let mut spellings: Vec<String> = values
            .iter()
            .flat_map(|v| [&**v, v.trim()])
            .filter(|v| !v.is_empty())
            .flat_map(spellings)
            .collect();
        // Longest first, so that a value that contains another one is hidden whole.
        spellings.sort_by_key(|s| std::cmp::Reverse(s.len()));
        spellings.dedup();
        Masker { spellings }
    }

    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for spelling in &self.spellings {
            if text.contains(spelling.as_str()) {
                text = text.replace(spelling.as_str(), MASK);
            }
        }
        text
    }

    /// Masks before it cuts: a value must not survive as a half.
    fn body(&self, body: &str) -> String {
        let mut text = self.text(body);
        text.truncate(text.floor_char_boundary(LOG_BODY_BYTES));
        text
    }

    fn headers(&self, headers: &[(String, String)]) -> Value {
        let mut map = Map::new();
        for (name, value) in headers {
            let hidden = tributary_domain::sensitive::is_sensitive_header(name);
            let shown = if hidden { MASK.to_owned() } else { self.text(value) };
            match map.get_mut(name) {
                // HTTP's own way of writing a header that comes twice.
                Some(Value::String(first)) => *first = format!("{first}, {shown}"),
                _ => drop(map.insert(name.clone(), shown.into())),
            }
        }
        map.into()
    }

    pub(crate) fn request(&self, message: &Message) -> Value {
        json!({
            "method": message.method,
            "url": self.text(&message.url),
            "headers": self.headers(&message.headers),
            "body": self.body(&String::from_utf8_lossy(&message.body)),
        })
    }

    fn reply(&self, reply: &Reply) -> Value {
        json!({ "status": reply.status, "headers": self.headers(&reply.headers), "body": self.body(&reply.text()) })
    }
}

/// A value as it is and as HTML, each also as JSON writes it in a text, and percent-encoded.
fn spellings(value: &str) -> Vec<String> {
    let html = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;");
    let mut all: Vec<String> = without_credentials(value).into_iter().collect();
    for text in [value, &html] {
        let json = Value::from(text).to_string();
        all.extend([text.to_owned(), json[1..json.len() - 1].to_owned()]);
        all.extend([false, true].map(|plus| percent_encoded(text, plus)));
    }
    all.dedup();
    all
}

/// What is left in a request of a secret that is an address: its scheme may be followed by credentials, which are taken
/// out, and its host is written in lower case.
fn without_credentials(value: &str) -> Option<String> {
    let (_, rest) = value.trim().split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path = path.split('#').next().unwrap_or_default();
    (!host.is_empty()).then(|| host.to_ascii_lowercase() + path)
}

fn percent_encoded(text: &str, plus: bool) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            b' ' if plus => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sensitive_values_are_hidden_in_every_spelling() {
        let mask = Masker::new(&["p&s \"x\"".to_owned(), "p&s".to_owned(), String::new()]);
        for text in [
            "p&s \"x\"",
            "p&s \\\"x\\\"",
            "p&amp;s &quot;x&quot;",
            "p%26s%20%22x%22",
            "p%26s+%22x%22",
            "p&s",
            "p%26amp%3Bs%20%26quot%3Bx%26quot%3B",
        ] {
            assert_eq!(mask.text(&format!("a={text};")), format!("a={MASK};"), "{text}");
        }
        assert_eq!(mask.text("nothing here"), "nothing here");
    }

    #[test]
    fn a_secret_that_is_an_address_is_hidden_as_it_is_sent() {
        let mask = Masker::new(&["https://u:p@Host.example:8080/in?key=k#x".to_owned()]);
        assert_eq!(mask.text("https://host.example:8080/in?key=k&b=1"), format!("https://{MASK}&b=1"));
        let mask = Masker::new(&["http://10.0.0.1".to_owned()]);
        assert_eq!(mask.text("10.0.0.1 is in a private range"), format!("{MASK} is in a private range"));
    }

    #[test]
    fn a_sensitive_value_at_the_cut_of_a_long_body_does_not_survive_as_a_half() {
        let mask = Masker::new(&["hunter2hunter2".to_owned()]);
        let body = format!("{}hunter2hunter2", "x".repeat(LOG_BODY_BYTES - 7));
        let shown = mask.body(&body);
        assert!(
            shown.len() <= LOG_BODY_BYTES && !shown.contains("hunter"),
            "{}",
            &shown[LOG_BODY_BYTES - 20..]
        );
    }
}
