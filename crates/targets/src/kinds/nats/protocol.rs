//! What is said between a client and a NATS server: lines of text, some with bytes after them (docs.nats.io, "Client
//! Protocol").

use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// Longest line of a server, in bytes: the first one names the servers of a cluster.
const LINE_BYTES: usize = 64 * 1024;
/// Longest message of a server, in bytes: those to a publisher are acknowledgements.
const MESSAGE_BYTES: usize = 64 * 1024;

/// What a server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) tls_required: bool,
    /// Whether messages may have headers.
    pub(super) headers: bool,
    /// The largest message that it takes, headers included, in bytes.
    pub(super) max_payload: Option<u64>,
    /// What a key signs to prove that it is there.
    pub(super) nonce: String,
}

/// Something that a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Info(Info),
    Ping,
    Pong,
    /// What is wrong.
    Wrong(String),
    Message {
        subject: String,
        /// The status in the headers of a message from the server itself.
        status: Option<u16>,
        payload: Bytes,
    },
    /// Something that a publisher does not need.
    Other,
}

/// Takes the next thing out of what has arrived; `None` when it is not whole yet.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Said>, &'static str> {
    let Some(end) = input.windows(2).position(|two| two == b"\r\n") else {
        return if input.len() > LINE_BYTES { Err("the server's line is too long") } else { Ok(None) };
    };
    let line = String::from_utf8_lossy(&input[..end]).into_owned();
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    let rest = rest.trim();
    let said = match verb.to_ascii_uppercase().as_str() {
        verb @ ("MSG" | "HMSG") => return message(input, end + 2, verb == "HMSG", rest),
        "INFO" => Said::Info(info(rest)?),
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "-ERR" => Said::Wrong(rest.trim_matches('\'').to_owned()),
        "+OK" => Said::Other,
        _ => return Err("the server does not speak NATS"),
    };
    input.split_to(end + 2).clear();
    Ok(Some(said))
}

/// `SUBJECT SID [REPLY] BYTES` or `SUBJECT SID [REPLY] HEAD_BYTES BYTES`, then the bytes.
fn message(
    input: &mut BytesMut,
    head: usize,
    has_headers: bool,
    line: &str,
) -> Result<Option<Said>, &'static str> {
    const WRONG: &str = "the server's message cannot be read";
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |from_end: usize| -> Result<usize, &'static str> {
        let word = words.len().checked_sub(from_end).and_then(|at| words.get(at)).ok_or(WRONG)?;
        word.parse().map_err(|_| WRONG)
    };
    let total = number(1)?;
    let headers = if has_headers { number(2)? } else { 0 };
    if total > MESSAGE_BYTES || headers > total || words.len() < 3 {
        return Err(WRONG);
    }
    if input.len() < head + total + 2 {
        return Ok(None);
    }
    let subject = words[0].to_owned();
    let mut bytes = input.split_to(head + total + 2).freeze().split_off(head);
    bytes.truncate(total);
    let head = bytes.split_to(headers);
    // `NATS/1.0 503`
    let first = String::from_utf8_lossy(&head);
    let status = first.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    Ok(Some(Said::Message { subject, status, payload: bytes }))
}

fn info(json: &str) -> Result<Info, &'static str> {
    let json: Value = serde_json::from_str(json).map_err(|_| "the server's INFO cannot be read")?;
    let flag = |name: &str| json.get(name).and_then(Value::as_bool).unwrap_or(false);
    Ok(Info {
        tls_required: flag("tls_required"),
        headers: flag("headers"),
        max_payload: json.get("max_payload").and_then(Value::as_u64),
        nonce: json.get("nonce").and_then(Value::as_str).unwrap_or_default().to_owned(),
    })
}

/// A message to publish.
pub(super) struct Publish<'a> {
    pub(super) subject: &'a str,
    /// Where the acknowledgement goes.
    pub(super) reply: Option<&'a str>,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) payload: &'a [u8],
}

impl Publish<'_> {
    /// The bytes, and how many of them count as the message.
    pub(super) fn bytes(&self) -> (Vec<u8>, usize) {
        let mut head = String::new();
        if !self.headers.is_empty() {
            head.push_str("NATS/1.0\r\n");
            for (name, value) in self.headers {
                head.extend([*name, ": ", *value, "\r\n"]);
            }
            head.push_str("\r\n");
        }
        let total = head.len() + self.payload.len();
        let mut line = format!("{} {} ", if head.is_empty() { "PUB" } else { "HPUB" }, self.subject);
        if let Some(reply) = self.reply {
            line.extend([reply, " "]);
        }
        if !head.is_empty() {
            line.extend([&*head.len().to_string(), " "]);
        }
        let mut bytes = format!("{line}{total}\r\n{head}").into_bytes();
        bytes.extend_from_slice(self.payload);
        bytes.extend_from_slice(b"\r\n");
        (bytes, total)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Said> {
        let mut input = BytesMut::from(bytes);
        std::iter::from_fn(|| take(&mut input).unwrap()).collect()
    }

    #[test]
    fn what_a_server_says_is_read_in_order() {
        let info = Info { headers: true, max_payload: Some(64), nonce: "n".into(), tls_required: false };
        let said = all(
            b"INFO {\"headers\":true,\"max_payload\":64,\"nonce\":\"n\",\"port\":4222}\r\nPING\r\n+OK\r\n\
            -ERR 'Authorization Violation'\r\nMSG in.1 1 2\r\nhi\r\nHMSG in.2 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\nPO",
        );
        let message = |subject: &str, status, payload: &'static str| Said::Message {
            subject: subject.into(),
            status,
            payload: payload.into(),
        };
        assert_eq!(
            said,
            [
                Said::Info(info),
                Said::Ping,
                Said::Other,
                Said::Wrong("Authorization Violation".into()),
                message("in.1", None, "hi"),
                message("in.2", Some(503), ""),
                Said::Pong,
            ]
        );
    }

    #[test]
    fn what_is_not_whole_waits_and_what_is_wrong_is_refused() {
        let whole = b"MSG in.1 1 re.ply 2\r\nhi\r\n";
        for end in 0..whole.len() {
            assert_eq!(take(&mut BytesMut::from(&whole[..end])), Ok(None), "{end}");
        }
        assert_eq!(all(whole).len(), 1);
        for wrong in [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG in.1 1 x\r\n",
            "MSG 2\r\nhi\r\n",
            "MSG in 1 99999999\r\n",
            "HMSG in 1 5 2\r\nhi\r\n",
            "INFO {\r\n",
        ] {
            assert!(take(&mut BytesMut::from(wrong)).is_err(), "{wrong}");
        }
        assert!(take(&mut BytesMut::from(&vec![b'x'; LINE_BYTES + 1][..])).is_err());
    }

    #[test]
    fn a_message_is_written_with_the_lengths_of_its_parts() {
        let publish = Publish { subject: "a.b", reply: None, headers: &[], payload: b"hi\r\n" };
        assert_eq!(publish.bytes(), (b"PUB a.b 4\r\nhi\r\n\r\n".to_vec(), 4));
        let publish = Publish { reply: Some("in.1"), headers: &[("Nats-Msg-Id", "7")], ..publish };
        let expected = b"HPUB a.b in.1 28 32\r\nNATS/1.0\r\nNats-Msg-Id: 7\r\n\r\nhi\r\n\r\n";
        assert_eq!(publish.bytes(), (expected.to_vec(), 32));
    }
}
