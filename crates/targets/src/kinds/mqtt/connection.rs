//! One connection with a broker: taken by it, then used for one message at a time.

use tributary_domain::outcome::AttemptClass;

use super::packet::{self, Answer, Connect, Packet, Publish, Version};
use crate::{
    Attempt, Reply,
    broker::said,
    net::{Session, Wire, failure::passing},
    service::final_error,
};

/// After so long without a packet a broker may end a connection; unused ones are not kept half that long.
const KEEP_ALIVE_SECONDS: u16 = 60;

/// A connection that the broker has taken.
pub(super) struct Connection {
    wire: Wire,
    version: Version,
    /// What the broker said that it can do.
    granted: Answer,
    last_id: u16,
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        // A broker says nothing to a publisher that has not asked, unless it ends the connection.
        self.wire.is_open() && self.wire.input.is_empty()
    }

    fn farewell(&mut self) {
        self.wire.send_now(&packet::disconnect());
    }
}

/// Who connects.
pub(super) struct Login<'a> {
    pub(super) version: Version,
    pub(super) client_id: &'a str,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    /// The broker, for the texts of errors.
    pub(super) host: &'a str,
}

impl Connection {
    /// Introduces this server to the broker.
    pub(super) async fn open(mut wire: Wire, login: &Login<'_>) -> Result<Connection, Attempt> {
        let Login { version, client_id, username, password, .. } = *login;
        let keep_alive_seconds = KEEP_ALIVE_SECONDS;
        wire.send(&Connect { version, client_id, username, password, keep_alive_seconds }.bytes()).await?;
        loop {
            match next(&mut wire, version).await? {
                Packet::ConnAck(granted) if granted.code == 0 => {
                    return Ok(Connection { wire, version, granted, last_id: 0 });
                }
                Packet::ConnAck(answer) | Packet::Disconnect(answer) => {
                    return Err(refused("CONNACK", &answer, login));
                }
                _ => {}
            }
        }
    }

    /// Publishes a message and waits until the broker says that it has it. The connection is of further use when there
    /// is no `Err`.
    pub(super) async fn publish(
        &mut self,
        mut message: Publish<'_>,
        login: &Login<'_>,
    ) -> Result<Attempt, Attempt> {
        let acknowledged = message.id.is_some();
        if acknowledged && self.granted.only_qos_0 {
            return Ok(final_error(format!("{} takes messages with qos 0 alone", login.host)));
        }
        if message.retain && self.granted.no_retain {
            return Ok(final_error(format!("{} takes no retained messages", login.host)));
        }
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        message.id = acknowledged.then_some(self.last_id);
        let mut bytes = message.bytes();
        if let Some(largest) = self.granted.largest.filter(|largest| bytes.len() > *largest as usize) {
            return Ok(final_error(format!("{} takes at most {largest} bytes for a message", login.host)));
        }
        if !acknowledged {
            // The answer to this says that the broker has read the message before it.
            bytes.extend(packet::ping());
        }
        self.wire.send(&bytes).await?;
        loop {
            match next(&mut self.wire, self.version).await? {
                Packet::PubAck(id, answer) if Some(id) == message.id => {
                    return Ok(published(&answer, login));
                }
                Packet::Pong if !acknowledged => return Ok(published(&Answer::default(), login)),
                Packet::Disconnect(answer) => return Err(refused("DISCONNECT", &answer, login)),
                _ => {}
            }
        }
    }
}

async fn next(wire: &mut Wire, version: Version) -> Result<Packet, Attempt> {
    loop {
        match packet::take(&mut wire.input, version) {
            Ok(Some(packet)) => return Ok(packet),
            Ok(None) => wire.receive().await?,
            Err(wrong) => return Err(passing(format!("EPROTO: {wrong}"))),
        }
    }
}

/// What an acknowledgement comes to; it has no body, so it causes no event.
fn published(answer: &Answer, login: &Login<'_>) -> Attempt {
    /// From here on reason codes are errors.
    const FAILURES: u8 = 0x80;
    let reply = Reply { status: 0, headers: Vec::new(), body: bytes::Bytes::new(), ..Reply::default() };
    if answer.code < FAILURES {
        return Attempt { class: AttemptClass::Success, error: None, reply: Some(reply) };
    }
    Attempt { reply: Some(reply), ..refused("PUBACK", answer, login) }
}

/// What a broker's refusal comes to.
fn refused(packet: &str, answer: &Answer, login: &Login<'_>) -> Attempt {
    let (text, may_pass) = reason(login.version, packet, answer.code);
    let mut error = format!("error {packet} 0x{:02x} from {}: {text}", answer.code, login.host);
    if let Some(reason) = &answer.reason {
        error.push_str(" (");
        error.push_str(&said(reason, &[login.password.unwrap_or_default()]));
        error.push(')');
    }
    if may_pass { passing(error) } else { final_error(error) }
}

/// What a reason code says, and whether trying again can help.
fn reason(version: Version, packet: &str, code: u8) -> (&'static str, bool) {
    if version == Version::V3 && packet == "CONNACK" {
        return match code {
            1 => ("it does not speak this version of the protocol", false),
            2 => ("it does not take the client id", false),
            3 => ("it is not available", true),
            4 => ("wrong user name or password", false),
            5 => ("not authorized", false),
            _ => ("an unknown reason", false),
        };
    }
    match code {
        0x80 => ("it does not say why", true),
        0x81 => ("it cannot read the packet", false),
        0x82 => ("it sees an error of the protocol", false),
        0x83 => ("for a reason of its own", true),
        0x84 | 1 => ("it does not speak this version of the protocol", false),
        0x85 => ("it does not take the client id", false),
        0x86 => ("wrong user name or password", false),
        0x87 => ("not authorized", false),
        0x88 => ("it is not available", true),
        0x89 => ("it is busy", true),
        0x8a => ("this client is banned", false),
        0x8b => ("it is shutting down", true),
        0x8d => ("it has heard nothing for too long", true),
        0x8e => ("another client has the same id", true),
        0x90 => ("it does not take the topic", false),
        0x91 => ("the packet's id is in use", true),
        0x93 | 0x96 => ("messages come too fast", true),
        0x95 => ("the message is too large", false),
        0x97 => ("a quota is used up", true),
        0x98 => ("by its administrator", true),
        0x99 => ("the payload is not as it says", false),
        0x9a => ("it takes no retained messages", false),
        0x9b => ("it does not take this qos", false),
        0x9c | 0x9d => ("it refers to another server", false),
        0x9f => ("connections come too fast", true),
        _ => ("an unknown reason", false),
    }
}
