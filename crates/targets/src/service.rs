//! What the branded kinds have in common: credentials that only `send` adds, and what a service says of an error.

use std::fmt;

use serde_json::Value;
use tributary_domain::outcome::AttemptClass;

use crate::{Attempt, Endpoint, Message, Reply, net::Via, text::percent};

/// Longest text of a service that is passed on, in bytes.
const EXPLANATION_BYTES: usize = 300;

/// What stands for a credential.
pub(crate) const MASK: &str = "[[SENSITIVE]]";

/// A credential. It is never shown, and is put into a request only when that is sent.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Where a kind's requests go and how.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) endpoint: Endpoint,
    pub(crate) via: Via,
}

impl Service {
    /// The operator's endpoint if there is one, else `public`, which is checked like any address.
    pub(crate) fn new(operator: Option<&Endpoint>, public: impl FnOnce() -> Endpoint) -> Service {
        match operator {
            Some(endpoint) => Service { endpoint: endpoint.clone(), via: Via::Operator },
            None => Service { endpoint: public(), via: Via::Checked },
        }
    }
}

impl Message {
    /// The message with one more header.
    pub(crate) fn with_header(&self, name: &str, value: String) -> Message {
        let mut message = self.clone();
        message.headers.push((name.to_owned(), value));
        message
    }
}

/// An attempt that cannot succeed later either.
pub(crate) fn final_error(error: impl Into<String>) -> Attempt {
    Attempt { class: AttemptClass::Final, error: Some(error.into()), reply: None }
}

/// Adds what the service itself says to the text of an error, on one line; `find` takes it out of the reply's JSON.
/// Errors of the network are left as they are. Where the reply repeats a value of `hide`, it is masked.
pub(crate) fn explained(
    mut attempt: Attempt,
    hide: &[&str],
    find: impl FnOnce(&Value) -> Option<String>,
) -> Attempt {
    let Some(reply) = &mut attempt.reply else { return attempt };
    scrub(reply, hide);
    let Some(error) = &mut attempt.error else { return attempt };
    let said = serde_json::from_slice(&reply.body).ok().and_then(|json| find(&json));
    let Some(mut said) = said.filter(|said| !said.trim().is_empty()) else { return attempt };
    said.truncate(said.floor_char_boundary(EXPLANATION_BYTES));
    error.push_str(": ");
    error.extend(said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }));
    attempt
}

/// Masks credentials in a reply: tokens that only `send` knows would be shown by the log.
fn scrub(reply: &mut Reply, hide: &[&str]) {
    for secret in hide.iter().filter(|secret| !secret.is_empty()) {
        let mut encoded = String::new();
        percent(&mut encoded, secret);
        let json = Value::from(*secret).to_string();
        for spelling in [*secret, encoded.as_str(), json.trim_matches('"')] {
            let text = String::from_utf8_lossy(&reply.body);
            if text.contains(spelling) {
                reply.body = text.replace(spelling, MASK).into();
            }
            for (_, value) in reply.headers.iter_mut().filter(|(_, value)| value.contains(spelling)) {
                *value = value.replace(spelling, MASK);
            }
        }
    }
}

/// What an error of a Google API says.
pub(crate) fn google_error(json: &Value) -> Option<String> {
    json.pointer("/error/message").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Reply;

    fn failed(body: &'static str) -> Attempt {
        let reply = Reply {
            status: 403,
            headers: Vec::new(),
            body: Bytes::from_static(body.as_bytes()),
            ..Reply::default()
        };
        Attempt {
            class: AttemptClass::Final,
            error: Some("error status 403 from h".to_owned()),
            reply: Some(reply),
        }
    }

    #[test]
    fn a_service_s_words_are_passed_on_in_one_line_without_secrets() {
        let text = |body| explained(failed(body), &["k&y"], google_error).error;
        let with = |said: &str| Some(format!("error status 403 from h{said}"));
        assert_eq!(
            text(r#"{"error":{"message":"key k&y or k%26y\r\nis wrong"}}"#),
            with(": key [[SENSITIVE]] or [[SENSITIVE]]  is wrong")
        );
        assert_eq!(text("<html>"), with(""));
        assert_eq!(text(r#"{"error":{"message":" "}}"#), with(""));
        assert!(!format!("{:?}", Secret("k3y".to_owned())).contains("k3y"));
    }
}
