//! The frames of AMQP 0-9-1 that a publisher sends and gets, as bytes (AMQP 0-9-1 and the extensions of RabbitMQ: confirms,
//! `basic.nack`, `connection.blocked`).

use bytes::{Buf as _, BytesMut};

/// The first words of a client.
pub(super) const GREETING: &[u8; 8] = b"AMQP\0\0\x09\x01";
/// Largest frame that is taken, in bytes, its ends included.
pub(super) const FRAME_BYTES: u32 = 128 * 1024;
/// Bytes of a frame around its payload.
pub(super) const FRAME_ENDS: usize = 8;
/// Longest short text, in bytes: what AMQP allows.
pub(super) const SHORT_BYTES: usize = 255;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xce;
/// The channel on which messages are published.
const CHANNEL: u16 = 1;
/// The class of messages.
const BASIC: u16 = 60;

const WRONG: &str = "the broker's frame cannot be read";

/// Something that a broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Start {
        mechanisms: String,
    },
    Tune {
        /// In bytes; 0 is no limit.
        frame_max: u32,
    },
    Opened,
    ChannelOpened,
    /// Messages are confirmed from now on.
    Confirming,
    /// It has taken a message, or not.
    Confirmed {
        tag: u64,
        /// Whether all before it are meant too.
        multiple: bool,
        taken: bool,
    },
    /// It gives a message back; which one is said by the header that follows.
    Returned {
        code: u16,
        text: String,
    },
    /// What stands before the body of a message that is given back.
    Header {
        message_id: String,
    },
    ChannelClosed {
        code: u16,
        text: String,
    },
    Closed {
        code: u16,
        text: String,
    },
    /// It takes no messages for now.
    Blocked(String),
    Unblocked,
    /// Something that a publisher does not need.
    Other,
}

/// Takes the next thing out of what has arrived; `None` when it is not whole yet.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Said>, &'static str> {
    if input.starts_with(b"AMQP") {
        return Err("the broker does not speak AMQP 0-9-1");
    }
    let Some(mut head) = input.get(..FRAME_ENDS - 1) else { return Ok(None) };
    let (kind, _channel, length) = (head.get_u8(), head.get_u16(), head.get_u32());
    if ![METHOD, HEADER, BODY, HEARTBEAT].contains(&kind) {
        return Err("the broker does not speak AMQP");
    }
    if length > FRAME_BYTES {
        return Err("the broker's frame is too long");
    }
    let length = length as usize;
    if input.len() < length + FRAME_ENDS {
        return Ok(None);
    }
    let frame = input.split_to(length + FRAME_ENDS);
    if frame.last() != Some(&END) {
        return Err(WRONG);
    }
    let payload = &frame[FRAME_ENDS - 1..FRAME_ENDS - 1 + length];
    let said = match kind {
        METHOD => method(payload),
        HEADER => header(payload),
        _ => Some(Said::Other),
    };
    said.map(Some).ok_or(WRONG)
}

fn method(mut payload: &[u8]) -> Option<Said> {
    let rest = &mut payload;
    let method = (rest.try_get_u16().ok()?, rest.try_get_u16().ok()?);
    Some(match method {
        (10, 10) => {
            rest.try_get_u16().ok()?;
            long(rest)?;
            Said::Start { mechanisms: text(long(rest)?) }
        }
        (10, 30) => {
            rest.try_get_u16().ok()?;
            Said::Tune { frame_max: rest.try_get_u32().ok()? }
        }
        (10, 41) => Said::Opened,
        (10, 50) => Said::Closed { code: rest.try_get_u16().ok()?, text: text(short(rest)?) },
        (10, 60) => Said::Blocked(text(short(rest)?)),
        (10, 61) => Said::Unblocked,
        (20, 11) => Said::ChannelOpened,
        (20, 40) => Said::ChannelClosed { code: rest.try_get_u16().ok()?, text: text(short(rest)?) },
        (85, 11) => Said::Confirming,
        (BASIC, 50) => Said::Returned { code: rest.try_get_u16().ok()?, text: text(short(rest)?) },
        (BASIC, what @ (80 | 120)) => Said::Confirmed {
            tag: rest.try_get_u64().ok()?,
            multiple: rest.try_get_u8().ok()? & 1 != 0,
            taken: what == 80,
        },
        _ => Said::Other,
    })
}

/// The header of a message: its properties stand in the order of the bits that tell which of them there are.
fn header(mut payload: &[u8]) -> Option<Said> {
    let rest = &mut payload;
    // Class, weight and the body's size.
    rest.try_get_u32().ok()?;
    rest.try_get_u64().ok()?;
    let flags = rest.try_get_u16().ok()?;
    let has = |bit: u16| flags >> bit & 1 != 0;
    for bit in (MESSAGE_ID + 1..=CONTENT_TYPE).rev().filter(|bit| has(*bit)) {
        match bit {
            HEADERS => long(rest).map(drop)?,
            DELIVERY_MODE | PRIORITY => rest.try_get_u8().ok().map(drop)?,
            _ => short(rest).map(drop)?,
        }
    }
    let message_id = if has(MESSAGE_ID) { text(short(rest)?) } else { String::new() };
    Some(Said::Header { message_id })
}

fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = rest.try_get_u8().ok()?;
    rest.split_off(..usize::from(length))
}

fn long<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = rest.try_get_u32().ok()?;
    rest.split_off(..length as usize)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

// Bits of the properties of a message.
const CONTENT_TYPE: u16 = 15;
const HEADERS: u16 = 13;
const DELIVERY_MODE: u16 = 12;
const PRIORITY: u16 = 11;
const MESSAGE_ID: u16 = 7;
const TIMESTAMP: u16 = 6;
const APP_ID: u16 = 3;

/// Who this is, and what of the protocol's extensions it knows; then how it logs in.
pub(super) fn start_ok(mechanism: &str, response: &[u8]) -> Vec<u8> {
    const KNOWN: [&str; 4] =
        ["publisher_confirms", "basic.nack", "connection.blocked", "authentication_failure_close"];
    let mut bytes = Vec::new();
    frame(&mut bytes, METHOD, 0, |out| {
        begin(out, (10, 11));
        sized(out, |out| {
            for (name, value) in [("product", "tributary"), ("version", env!("CARGO_PKG_VERSION"))] {
                push_entry(out, name, value);
            }
            push_short(out, "capabilities");
            out.push(b'F');
            sized(out, |out| {
                for name in KNOWN {
                    push_short(out, name);
                    out.extend(b"t\x01");
                }
            });
        });
        push_short(out, mechanism);
        sized(out, |out| out.extend(response));
        push_short(out, "en_US");
    });
    bytes
}

/// One channel, frames of this size, and no heartbeats: connections are kept for seconds, and attempts end in time by
/// themselves. Then what opens the virtual host.
pub(super) fn tune_ok_and_open(frame_max: u32, vhost: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, METHOD, 0, |out| {
        begin(out, (10, 31));
        out.extend(CHANNEL.to_be_bytes());
        out.extend(frame_max.to_be_bytes());
        out.extend([0; 2]);
    });
    frame(&mut bytes, METHOD, 0, |out| {
        begin(out, (10, 40));
        push_short(out, vhost);
        out.extend([0; 2]);
    });
    bytes
}

pub(super) fn open_channel() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, METHOD, CHANNEL, |out| {
        begin(out, (20, 10));
        out.push(0);
    });
    bytes
}

/// From now on messages are to be confirmed.
pub(super) fn confirm_select() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, METHOD, CHANNEL, |out| {
        begin(out, (85, 10));
        out.push(0);
    });
    bytes
}

pub(super) fn channel_close_ok() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, METHOD, CHANNEL, |out| begin(out, (20, 41)));
    bytes
}

/// Ends a connection.
pub(super) fn close() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, METHOD, 0, |out| {
        begin(out, (10, 50));
        out.extend(200_u16.to_be_bytes());
        push_short(out, "unused");
        out.extend([0; 4]);
    });
    bytes
}

/// The answer to the broker's end of a connection.
pub(super) fn close_ok() -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, METHOD, 0, |out| begin(out, (10, 51)));
    bytes
}

/// A message to publish.
pub(super) struct Publish<'a> {
    pub(super) exchange: &'a str,
    pub(super) routing_key: &'a str,
    /// Whether it comes back when no queue gets it.
    pub(super) mandatory: bool,
    pub(super) persistent: bool,
    pub(super) content_type: Option<&'a str>,
    pub(super) message_id: &'a str,
    /// In seconds.
    pub(super) timestamp: u64,
    /// What the event is, for consumers.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) payload: &'a [u8],
}

impl Publish<'_> {
    /// Appends its frames, none larger than `frame_max` bytes.
    pub(super) fn push(&self, out: &mut Vec<u8>, frame_max: usize) {
        frame(out, METHOD, CHANNEL, |out| {
            begin(out, (BASIC, 40));
            out.extend([0; 2]);
            push_short(out, self.exchange);
            push_short(out, self.routing_key);
            out.push(u8::from(self.mandatory));
        });
        frame(out, HEADER, CHANNEL, |out| self.push_header(out));
        for part in self.payload.chunks(frame_max - FRAME_ENDS) {
            frame(out, BODY, CHANNEL, |out| out.extend(part));
        }
    }

    fn push_header(&self, out: &mut Vec<u8>) {
        out.extend(BASIC.to_be_bytes());
        out.extend([0; 2]);
        out.extend((self.payload.len() as u64).to_be_bytes());
        let always = [HEADERS, DELIVERY_MODE, MESSAGE_ID, TIMESTAMP, APP_ID];
        let there = always.into_iter().chain(self.content_type.map(|_| CONTENT_TYPE));
        out.extend(there.fold(0_u16, |flags, bit| flags | 1 << bit).to_be_bytes());
        if let Some(content_type) = self.content_type {
            push_short(out, content_type);
        }
        sized(out, |out| {
            for (name, value) in &self.headers {
                push_entry(out, name, value);
            }
        });
        out.push(if self.persistent { 2 } else { 1 });
        push_short(out, self.message_id);
        out.extend(self.timestamp.to_be_bytes());
        push_short(out, "tributary");
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, channel: u16, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    out.extend(channel.to_be_bytes());
    sized(out, write);
    out.push(END);
}

fn begin(out: &mut Vec<u8>, (class, method): (u16, u16)) {
    out.extend(class.to_be_bytes());
    out.extend(method.to_be_bytes());
}

/// What `write` appends, with its length before it.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    write(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// A text with its length before it; what is longer than the length can say is cut, which callers rule out.
fn push_short(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(SHORT_BYTES)];
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
}

/// An entry of a table whose value is a text.
fn push_entry(out: &mut Vec<u8>, name: &str, value: &str) {
    push_short(out, name);
    out.push(b'S');
    sized(out, |out| out.extend(value.as_bytes()));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Said> {
        let mut input = BytesMut::from(bytes);
        let said = std::iter::from_fn(|| take(&mut input).unwrap()).collect();
        assert!(input.is_empty());
        said
    }

    fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        frame(&mut out, kind, CHANNEL, |out| out.extend(payload));
        out
    }

    fn publish(payload: &[u8]) -> Publish<'_> {
        Publish {
            exchange: "doors",
            routing_key: "front",
            mandatory: true,
            persistent: true,
            content_type: Some("text/plain"),
            message_id: "7",
            timestamp: 1,
            headers: vec![("event", "door")],
            payload,
        }
    }

    #[test]
    fn what_a_broker_says_is_read_in_order() {
        let bytes = [
            framed(METHOD, b"\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\x0ePLAIN EXTERNAL\0\0\0\x05en_US"),
            framed(METHOD, b"\0\x0a\0\x1e\x07\xff\0\x02\0\0\0\x3c"),
            framed(HEARTBEAT, b""),
            framed(METHOD, b"\0\x3c\0\x50\0\0\0\0\0\0\0\x05\x01"),
            framed(METHOD, b"\0\x3c\0\x78\0\0\0\0\0\0\0\x06\x02"),
            framed(METHOD, b"\0\x3c\0\x32\x01\x38\x08NO_ROUTE\0\x01k"),
            framed(METHOD, b"\0\x14\0\x28\x01\x94\x02no\0\x3c\0\x28"),
            framed(METHOD, b"\0\x0a\0\x32\x01\x40\x03bye\0\0\0\0"),
            framed(METHOD, b"\0\x0a\0\x3c\x06memory"),
        ]
        .concat();
        let text = |text: &str| text.to_owned();
        assert_eq!(
            all(&bytes),
            [
                Said::Start { mechanisms: text("PLAIN EXTERNAL") },
                Said::Tune { frame_max: 131_072 },
                Said::Other,
                Said::Confirmed { tag: 5, multiple: true, taken: true },
                Said::Confirmed { tag: 6, multiple: false, taken: false },
                Said::Returned { code: 312, text: text("NO_ROUTE") },
                Said::ChannelClosed { code: 404, text: text("no") },
                Said::Closed { code: 320, text: text("bye") },
                Said::Blocked(text("memory")),
            ]
        );
        for end in 0..40 {
            assert_eq!(take(&mut BytesMut::from(&bytes[..end])), Ok(None), "{end}");
        }
    }

    #[test]
    fn a_message_comes_back_with_the_id_that_it_has() {
        let mut bytes = Vec::new();
        publish(b"hello").push(&mut bytes, 4_096);
        let header = Said::Header { message_id: "7".to_owned() };
        assert_eq!(all(&bytes), [Said::Other, header, Said::Other]);
        // All properties: what stands before the id is passed over.
        let all_properties =
            b"\0\x3c\0\0\0\0\0\0\0\0\0\x01\xff\xfc\x01c\x01e\0\0\0\x02\x01t\x02\x09\x01c\x01r\x01x\x01i";
        assert_eq!(all(&framed(HEADER, all_properties)), [Said::Header { message_id: "i".to_owned() }]);
    }

    #[test]
    fn a_body_is_cut_into_frames_that_the_broker_takes() {
        let mut bytes = Vec::new();
        publish(&[b'x'; 10_000]).push(&mut bytes, 4_096);
        let mut sizes = Vec::new();
        let mut rest = &bytes[..];
        while let Some(frame) = rest.get(..7) {
            let length = u32::from_be_bytes(frame[3..7].try_into().unwrap()) as usize;
            assert!(length + FRAME_ENDS <= 4_096);
            sizes.push((frame[0], length));
            rest = &rest[length + FRAME_ENDS..];
        }
        assert_eq!(sizes[2..], [(BODY, 4_088), (BODY, 4_088), (BODY, 1_824)]);
        bytes.clear();
        publish(b"").push(&mut bytes, 4_096);
        assert_eq!(all(&bytes).len(), 2, "nothing has no body");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for wrong in [
            b"AMQP\0\x01\0\0".to_vec(),
            b"HTTP/1.1 400 Bad Request".to_vec(),
            b"\x01\0\0\xff\xff\xff\xff".to_vec(),
            framed(METHOD, b"\0\x0a"),
            framed(METHOD, b"\0\x0a\0\x32\x01\x40\xff"),
            framed(METHOD, b"\0\x0a\0\x0a\0\x09\xff\xff\xff\xff"),
            framed(HEADER, b"\0\x3c\0\0\0\0\0\0\0\0\0\x01\x20\0\xff\xff\xff\xff"),
            b"\x08\0\0\0\0\0\0\xcf".to_vec(),
        ] {
            assert!(take(&mut BytesMut::from(&wrong[..])).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn texts_that_are_too_long_cannot_shift_what_follows() {
        let mut out = Vec::new();
        push_short(&mut out, &"é".repeat(200));
        assert_eq!((out[0], out.len()), (254, 255));
    }
}
