//! The packets of MQTT 3.1.1 and 5.0 that a publisher sends and gets, as bytes (OASIS, "MQTT Version 3.1.1" and "5.0").

use bytes::{Buf as _, Bytes, BytesMut};

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1.1
    V3,
    /// 5.0
    V5,
}

const PINGREQ: [u8; 2] = [0xc0, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];
/// Largest packet of a broker that is taken: a publisher is told little.
const PACKET_BYTES: usize = 64 * 1024;
/// The text that says why, among the properties of MQTT 5.
const REASON_STRING: u8 = 0x1f;
const MAXIMUM_QOS: u8 = 0x24;
const RETAIN_AVAILABLE: u8 = 0x25;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// The first packet of a connection.
pub(super) struct Connect<'a> {
    pub(super) version: Version,
    pub(super) client_id: &'a str,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) keep_alive_seconds: u16,
}

impl Connect<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        push_text(&mut body, b"MQTT");
        body.push(if self.version == Version::V5 { 5 } else { 4 });
        // Nothing is left of a session when its connection ends.
        const CLEAN: u8 = 0x02;
        let flags = [(self.username, 0x80), (self.password, 0x40)];
        body.push(flags.iter().filter(|(text, _)| text.is_some()).fold(CLEAN, |all, (_, flag)| all | flag));
        body.extend(self.keep_alive_seconds.to_be_bytes());
        if self.version == Version::V5 {
            body.push(0);
        }
        for text in [Some(self.client_id), self.username, self.password].into_iter().flatten() {
            push_text(&mut body, text.as_bytes());
        }
        packet(0x10, &[&body])
    }
}

/// A message for subscribers.
pub(super) struct Publish<'a> {
    pub(super) version: Version,
    pub(super) topic: &'a str,
    /// The id by which it is acknowledged; without one it is not.
    pub(super) id: Option<u16>,
    pub(super) retain: bool,
    /// User properties of MQTT 5.
    pub(super) properties: &'a [(&'a str, &'a str)],
    pub(super) payload: &'a [u8],
}

impl Publish<'_> {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = Vec::new();
        push_text(&mut head, self.topic.as_bytes());
        if let Some(id) = self.id {
            head.extend(id.to_be_bytes());
        }
        if self.version == Version::V5 {
            const USER_PROPERTY: u8 = 0x26;
            let mut properties = Vec::new();
            for (name, value) in self.properties {
                properties.push(USER_PROPERTY);
                push_text(&mut properties, name.as_bytes());
                push_text(&mut properties, value.as_bytes());
            }
            push_length(&mut head, properties.len());
            head.extend(properties);
        }
        let first = 0x30 | u8::from(self.retain) | if self.id.is_some() { 0x02 } else { 0 };
        packet(first, &[&head, self.payload])
    }
}

pub(super) fn ping() -> [u8; 2] {
    PINGREQ
}

pub(super) fn disconnect() -> [u8; 2] {
    DISCONNECT
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(length + 5);
    bytes.push(first);
    push_length(&mut bytes, length);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Seven bits in each byte, the lowest first.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return;
        }
    }
}

/// A text with its length before it; what is longer than the length can say is cut, which callers rule out.
fn push_text(bytes: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(&text[..length.into()]);
}

/// What a broker sends to a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// Whether the connection is taken.
    ConnAck(Answer),
    /// What became of the message with this id.
    PubAck(u16, Answer),
    Pong,
    /// The broker ends the connection.
    Disconnect(Answer),
    /// Something that a publisher does not need.
    Other,
}

/// A reason code, and what else is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) reason: Option<String>,
    /// Whether messages with QoS 0 alone are taken.
    pub(super) only_qos_0: bool,
    /// Whether retained messages are refused.
    pub(super) no_retain: bool,
    /// The largest packet that is taken, in bytes.
    pub(super) largest: Option<u32>,
}

/// Takes the next packet out of what has arrived; `None` when there is no whole one yet.
pub(super) fn take(input: &mut BytesMut, version: Version) -> Result<Option<Packet>, &'static str> {
    let Some((length, begins)) = length(input.get(1..).unwrap_or_default())? else { return Ok(None) };
    if length > PACKET_BYTES {
        return Err("the broker's packet is too long");
    }
    let begins = begins + 1;
    if input.len() < begins + length {
        return Ok(None);
    }
    let first = input[0];
    let mut body = input.split_to(begins + length).freeze().split_off(begins);
    const SHORT: &str = "the broker's packet is too short";
    Ok(Some(match first >> 4 {
        2 => {
            body.try_get_u8().map_err(|_| SHORT)?;
            Packet::ConnAck(answer(&mut body, version)?)
        }
        4 => {
            let id = body.try_get_u16().map_err(|_| SHORT)?;
            Packet::PubAck(id, answer(&mut body, version)?)
        }
        13 => Packet::Pong,
        14 => Packet::Disconnect(answer(&mut body, version)?),
        _ => Packet::Other,
    }))
}

/// A length at the beginning, and how many bytes it has.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut length = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    if bytes.len() >= 4 { Err("the broker's packet has no length") } else { Ok(None) }
}

/// A reason code, which may be left out when it is 0, and the properties of MQTT 5.
fn answer(body: &mut Bytes, version: Version) -> Result<Answer, &'static str> {
    let mut answer = Answer { code: body.try_get_u8().unwrap_or(0), ..Answer::default() };
    if version == Version::V5 && !body.is_empty() {
        let wrong = "the broker's properties cannot be read";
        let (length, size) = length(body)?.ok_or(wrong)?;
        body.advance(size);
        if length > body.len() {
            return Err(wrong);
        }
        let mut properties = body.split_to(length);
        while let Ok(name) = properties.try_get_u8() {
            property(name, &mut properties, &mut answer).ok_or(wrong)?;
        }
    }
    Ok(answer)
}

/// Reads one property, or passes over it; `None` when it cannot be one.
fn property(name: u8, from: &mut Bytes, answer: &mut Answer) -> Option<()> {
    let text = |from: &mut Bytes| {
        let length = usize::from(from.try_get_u16().ok()?);
        (length <= from.len()).then(|| String::from_utf8_lossy(&from.split_to(length)).into_owned())
    };
    match name {
        REASON_STRING => answer.reason = Some(text(from)?),
        MAXIMUM_QOS => answer.only_qos_0 = from.try_get_u8().ok()? == 0,
        RETAIN_AVAILABLE => answer.no_retain = from.try_get_u8().ok()? == 0,
        MAXIMUM_PACKET_SIZE => answer.largest = Some(from.try_get_u32().ok()?),
        // One byte: wildcards, subscription ids and shared subscriptions.
        0x28..=0x2a => drop(from.try_get_u8().ok()?),
        // Two bytes: server keep alive, receive maximum, topic alias maximum.
        0x13 | 0x21 | 0x22 => drop(from.try_get_u16().ok()?),
        // Four bytes: session expiry.
        0x11 => drop(from.try_get_u32().ok()?),
        // Texts: assigned client id, authentication, response information, server reference.
        0x12 | 0x15 | 0x16 | 0x1a | 0x1c => drop(text(from)?),
        // User properties.
        0x26 => drop((text(from)?, text(from)?)),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn packets_are_written_as_the_standard_says() {
        let connect = Connect {
            version: Version::V3,
            client_id: "id",
            username: Some("u"),
            password: Some("p"),
            keep_alive_seconds: 60,
        };
        assert_eq!(
            connect.bytes(),
            b"\x10\x14\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02id\x00\x01u\x00\x01p".as_slice()
        );
        let connect = Connect { version: Version::V5, username: None, password: None, ..connect };
        assert_eq!(connect.bytes(), b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02id".as_slice());
        let publish = Publish {
            version: Version::V3,
            topic: "a/b",
            id: None,
            retain: true,
            properties: &[("k", "v")],
            payload: b"hi",
        };
        assert_eq!(publish.bytes(), b"\x31\x07\x00\x03a/bhi".as_slice());
        let publish = Publish { version: Version::V5, id: Some(258), retain: false, ..publish };
        assert_eq!(publish.bytes(), b"\x32\x11\x00\x03a/b\x01\x02\x07\x26\x00\x01k\x00\x01vhi".as_slice());
        let payload = vec![b'x'; 20_000];
        let long = Publish { payload: &payload, ..publish }.bytes();
        assert_eq!(&long[..4], [0x32, 0xaf, 0x9c, 0x01]);
        assert_eq!(long.len(), 4 + 15 + 20_000);
    }

    fn taken(bytes: &[u8], version: Version) -> Result<Option<Packet>, &'static str> {
        take(&mut BytesMut::from(bytes), version)
    }

    #[test]
    fn packets_are_read_whole_and_in_order() {
        let mut input = BytesMut::from(&b"\x20\x02\x00\x05\x40\x02\x01\x02\xd0\x00\x30\x03\x00\x01a\x40"[..]);
        let mut next = || take(&mut input, Version::V3).unwrap();
        assert_eq!(next(), Some(Packet::ConnAck(Answer { code: 5, ..Answer::default() })));
        assert_eq!(next(), Some(Packet::PubAck(258, Answer::default())));
        assert_eq!(next(), Some(Packet::Pong));
        assert_eq!(next(), Some(Packet::Other));
        assert_eq!(next(), None);
        assert_eq!(&input[..], b"\x40", "the rest stays");
    }

    #[test]
    fn properties_say_why_and_what_the_broker_can_do() {
        let bytes = b"\x20\x14\x00\x87\x11\x24\x00\x25\x00\x27\x00\x00\x01\x00\x1f\x00\x02no\x21\x00\x05";
        let expected = Answer {
            code: 0x87,
            reason: Some("no".into()),
            only_qos_0: true,
            no_retain: true,
            largest: Some(256),
        };
        assert_eq!(taken(bytes, Version::V5), Ok(Some(Packet::ConnAck(expected))));
        let short = Answer { code: 0x8b, ..Answer::default() };
        assert_eq!(taken(b"\xe0\x01\x8b", Version::V5), Ok(Some(Packet::Disconnect(short))));
    }

    #[test]
    fn what_is_no_packet_is_refused_and_no_bytes_are_trusted() {
        for wrong in [&b"\x20\xff\xff\xff\xff"[..], b"\x20\xff\xff\x7f", b"\x20\x00", b"\x40\x01\x00"] {
            assert!(taken(wrong, Version::V5).is_err(), "{wrong:?}");
        }
        for wrong in
            [&b"\x20\x03\x00\x00\x05"[..], b"\x20\x04\x00\x00\x01\x99", b"\x20\x06\x00\x00\x03\x1f\x00\x09"]
        {
            assert!(taken(wrong, Version::V5).is_err(), "{wrong:?}");
        }
        let whole = b"\x20\x06\x00\x00\x03\x21\x00\x05";
        for end in 0..whole.len() {
            assert_eq!(taken(&whole[..end], Version::V5), Ok(None), "{end}");
        }
        assert!(matches!(taken(b"HTTP/1.1 400 Bad Request", Version::V3), Ok(Some(_) | None) | Err(_)));
    }
}
