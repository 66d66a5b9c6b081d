//! One connection with a NATS server: taken by it, then used for one message at a time.

use bytes::Bytes;
use serde_json::{Value, json};
use tributary_domain::outcome::AttemptClass;

use super::{
    Auth,
    protocol::{self, Info, Publish, Said},
};
use crate::{
    Attempt, Reply,
    broker::said,
    net::{Session, Wire, failure::passing},
    service::final_error,
};

/// A connection that the server has taken.
pub(super) struct Connection {
    wire: Wire,
    info: Info,
    /// Where acknowledgements of streams arrive, without the number at the end.
    inbox: Option<String>,
    messages: u64,
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        // Before it ends a connection a server says why. Everything else, its pings too, is dealt with by the next message.
        self.wire.is_open() && !self.wire.input.windows(4).any(|four| four == b"-ERR")
    }

    fn farewell(&mut self) {
        // The protocol has none.
    }
}

/// Who connects.
pub(super) struct Login<'a> {
    pub(super) auth: &'a Auth,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    /// The server, for the texts of errors.
    pub(super) host: &'a str,
    /// Whether the address asks for TLS.
    pub(super) secure: bool,
    /// Where acknowledgements are to arrive.
    pub(super) inbox: Option<String>,
}

impl Login<'_> {
    /// What introduces this server to the other one.
    fn connect(&self, info: &Info, secure: bool) -> Value {
        let mut connect = json!({
            "verbose": false, "pedantic": false, "echo": false, "tls_required": secure, "headers": info.headers,
            "no_responders": info.headers, "protocol": 1, "lang": "rust", "name": "tributary",
            "version": env!("CARGO_PKG_VERSION"),
        });
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                connect[name] = value.into();
            }
        };
        add("user", self.username.map(str::to_owned));
        add("pass", self.password.map(str::to_owned));
        add("auth_token", self.token.map(str::to_owned));
        match self.auth {
            Auth::Texts => {}
            Auth::Nkey(key) => {
                add("nkey", Some(key.public()));
                add("sig", Some(key.sign(&info.nonce)));
            }
            Auth::Creds { jwt, key } => {
                add("jwt", Some(jwt.0.clone()));
                add("sig", Some(key.sign(&info.nonce)));
            }
        }
        connect
    }

    /// What an error of the server comes to.
    fn wrong(&self, text: &str) -> Attempt {
        /// Errors of a moment; all others stay.
        const PASSING: [&str; 7] = [
            "authentication timeout",
            "maximum connections exceeded",
            "maximum account active connections exceeded",
            "connection throttling",
            "slow consumer",
            "stale connection",
            "server shutdown",
        ];
        let hide = [self.password.unwrap_or_default(), self.token.unwrap_or_default()];
        let error = format!("error -ERR from {}: {}", self.host, said(text, &hide));
        let lower = text.to_ascii_lowercase();
        if PASSING.iter().any(|begins| lower.starts_with(begins)) {
            passing(error)
        } else {
            final_error(error)
        }
    }
}

impl Connection {
    /// Introduces this server to the other one.
    pub(super) async fn open(mut wire: Wire, login: &Login<'_>) -> Result<Connection, Attempt> {
        let info = loop {
            match next(&mut wire).await? {
                Said::Info(info) => break info,
                Said::Wrong(text) => return Err(login.wrong(&text)),
                _ => {}
            }
        };
        let secure = login.secure || info.tls_required;
        if secure {
            wire = wire.encrypted().await?;
        }
        let mut lines = format!("CONNECT {}\r\n", login.connect(&info, secure));
        if let Some(inbox) = &login.inbox {
            lines.extend(["SUB ", inbox, ".* 1\r\n"]);
        }
        lines.push_str("PING\r\n");
        wire.send(lines.as_bytes()).await?;
        let mut connection = Connection { wire, info, inbox: login.inbox.clone(), messages: 0 };
        loop {
            if connection.next(login).await? == Said::Pong {
                return Ok(connection);
            }
        }
    }

    /// Publishes a message and waits until the server says that it has it, or a stream that it is stored. The connection is of
    /// further use when there is no `Err`.
    pub(super) async fn publish(
        &mut self,
        mut message: Publish<'_>,
        login: &Login<'_>,
    ) -> Result<Attempt, Attempt> {
        if !self.info.headers {
            message.headers = &[];
        }
        self.messages += 1;
        let reply = self.inbox.as_ref().map(|inbox| format!("{inbox}.{}", self.messages));
        message.reply = reply.as_deref();
        let (mut bytes, size) = message.bytes();
        if let Some(largest) = self.info.max_payload.filter(|largest| size as u64 > *largest) {
            return Ok(final_error(format!("{} takes at most {largest} bytes for a message", login.host)));
        }
        if reply.is_none() {
            // The answer to this says that the server has read the message before it.
            bytes.extend_from_slice(b"PING\r\n");
        }
        self.wire.send(&bytes).await?;
        loop {
            match self.next(login).await? {
                Said::Pong if reply.is_none() => return Ok(stored(Bytes::new())),
                Said::Message { subject, status, payload } if Some(&subject) == reply.as_ref() => {
                    return Ok(acknowledged(status, payload, login));
                }
                _ => {}
            }
        }
    }

    /// What the server says next, but for its pings, which are answered, and its errors, which end the attempt.
    async fn next(&mut self, login: &Login<'_>) -> Result<Said, Attempt> {
        loop {
            match next(&mut self.wire).await? {
                Said::Ping => self.wire.send(b"PONG\r\n").await?,
                Said::Wrong(text) => return Err(login.wrong(&text)),
                said => return Ok(said),
            }
        }
    }
}

async fn next(wire: &mut Wire) -> Result<Said, Attempt> {
    loop {
        match protocol::take(&mut wire.input) {
            Ok(Some(said)) => return Ok(said),
            Ok(None) => wire.receive().await?,
            Err(wrong) => return Err(passing(format!("EPROTO: {wrong}"))),
        }
    }
}

fn stored(body: Bytes) -> Attempt {
    let reply = Reply { status: 0, headers: Vec::new(), body, ..Reply::default() };
    Attempt { class: AttemptClass::Success, error: None, reply: Some(reply) }
}

/// What the acknowledgement of a stream comes to; its numbers are those of HTTP.
fn acknowledged(status: Option<u16>, payload: Bytes, login: &Login<'_>) -> Attempt {
    let failed = |code: u16, text: &str, body| {
        let error = format!("error status {code} from {}: {}", login.host, said(text, &[]));
        let reply = Reply { status: code, headers: Vec::new(), body, ..Reply::default() };
        Attempt { class: AttemptClass::of_status(code, None), error: Some(error), reply: Some(reply) }
    };
    if let Some(code) = status {
        let text = if code == 503 { "no stream takes this subject" } else { "not stored" };
        return failed(code, text, payload);
    }
    let json: Value = serde_json::from_slice(&payload).unwrap_or_default();
    match json.get("error") {
        Some(error) => {
            let code = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            let text = error.get("description").and_then(Value::as_str).unwrap_or("not stored").to_owned();
            failed(code.filter(|code| *code >= 300).unwrap_or(500), &text, payload)
        }
        None if json.get("stream").is_some() => stored(payload),
        None => failed(500, "the answer is not that of a stream", payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'_> = Login {
        auth: &Auth::Texts,
        username: None,
        password: None,
        token: Some("hush"),
        host: "n.example",
        secure: false,
        inbox: None,
    };
    const MAY_PASS: AttemptClass = AttemptClass::Passing { retry_after_ms: None };

    #[test]
    fn what_a_stream_answers_is_a_success_or_an_error_with_its_number() {
        let answered = |status, json: &'static str| {
            let attempt = acknowledged(status, json.into(), &LOGIN);
            (attempt.class, attempt.error.unwrap_or_default())
        };
        let error = |text: &str| format!("error status {text}");
        assert_eq!(answered(None, r#"{"stream":"S","seq":1}"#), (AttemptClass::Success, String::new()));
        assert_eq!(
            answered(None, r#"{"stream":"S","seq":1,"duplicate":true}"#),
            (AttemptClass::Success, String::new())
        );
        assert_eq!(
            answered(
                None,
                r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#
            ),
            (MAY_PASS, error("503 from n.example: maximum messages exceeded"))
        );
        assert_eq!(
            answered(None, r#"{"error":{"code":400,"description":"expected\nother"}}"#),
            (AttemptClass::Final, error("400 from n.example: expected other"))
        );
        assert_eq!(
            answered(Some(503), ""),
            (MAY_PASS, error("503 from n.example: no stream takes this subject"))
        );
        assert_eq!(answered(None, "hello").0, MAY_PASS);
    }

    #[test]
    fn errors_of_a_moment_may_pass_and_none_shows_a_secret() {
        let wrong = LOGIN.wrong("Authorization Violation for hush");
        assert_eq!(
            (wrong.class, wrong.error.unwrap_or_default().as_str()),
            (AttemptClass::Final, "error -ERR from n.example: Authorization Violation for [[SENSITIVE]]")
        );
        assert_eq!(LOGIN.wrong("maximum connections exceeded").class, MAY_PASS);
        assert_eq!(LOGIN.wrong("Permissions Violation for Publish to \"a\"").class, AttemptClass::Final);
    }
}
