//! One connection with a broker: versions agreed upon, credentials shown, then one request at a time.

use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

use super::{
    codec::Input,
    errors::Code,
    protocol::{
        API_VERSIONS, Api, SASL_AUTHENTICATE, SASL_HANDSHAKE, SaslAnswer, Versions, read_sasl_handshake,
        request, sasl_authenticate, sasl_handshake,
    },
    scram::{Hash, Scram},
};
use crate::{
    Attempt,
    broker::said,
    net::{Session, Wire, passing},
    service::final_error,
};

/// Longest answer, in bytes: that about a topic with some thousands of partitions.
const ANSWER_BYTES: usize = 240 * 1024;
/// Random bytes in what SCRAM calls a nonce.
const NONCE_RANDOM: usize = 16;

/// By what a broker knows this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Scram(Hash),
}

impl Mechanism {
    /// Each by its name.
    pub(super) const ALL: [(&'static str, Mechanism); 3] = [
        ("PLAIN", Mechanism::Plain),
        ("SCRAM-SHA-256", Mechanism::Scram(Hash::Sha256)),
        ("SCRAM-SHA-512", Mechanism::Scram(Hash::Sha512)),
    ];

    fn name(self) -> &'static str {
        Mechanism::ALL.iter().find(|(_, mechanism)| *mechanism == self).map_or("", |(name, _)| name)
    }
}

/// Who connects, and how.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) mechanism: Option<Mechanism>,
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    /// Whether the connection is encrypted.
    pub(super) secure: bool,
}

/// A connection that the broker has taken.
pub(super) struct Connection {
    wire: Wire,
    /// The broker, for the texts of errors.
    host: String,
    versions: Versions,
    correlation: i32,
    /// When the broker wants credentials again.
    until: Option<Instant>,
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        // A broker says nothing that it was not asked for.
        self.until.is_none_or(|until| Instant::now() < until)
            && self.wire.is_open()
            && self.wire.input.is_empty()
    }

    fn farewell(&mut self) {
        // The protocol has none.
    }
}

impl Connection {
    /// Begins to speak with a broker.
    pub(super) async fn open(wire: Wire, host: &str, login: &Login<'_>) -> Result<Connection, Attempt> {
        let wire = if login.secure { wire.encrypted().await? } else { wire };
        let (host, versions) = (host.to_owned(), Versions::default());
        let mut connection = Connection { wire, host, versions, correlation: 0, until: None };
        let (_, mut answer) = connection.ask(API_VERSIONS, &[]).await?;
        let (code, versions) = Versions::read(&mut answer).ok_or_else(unreadable)?;
        if code != Code(0) {
            return Err(code.attempt(&connection.host, "", &[]));
        }
        connection.versions = versions;
        if let Some(mechanism) = login.mechanism {
            connection.authenticate(mechanism, login).await?;
        }
        Ok(connection)
    }

    /// Sends a request and waits for its answer, which is of the version that goes with it. The connection is of further use
    /// when there is no `Err`.
    pub(super) async fn ask(&mut self, api: Api, body: &[u8]) -> Result<(i16, Input), Attempt> {
        let Some(version) = self.versions.of(api) else {
            return Err(Code::UNSUPPORTED_VERSION.attempt(&self.host, "", &[]));
        };
        self.correlation = self.correlation.wrapping_add(1);
        self.wire.send(&request(api, version, self.correlation, body)).await?;
        let mut answer = Input(self.next().await?);
        if answer.i32() != Some(self.correlation) {
            return Err(passing("EPROTO: the broker answers another request"));
        }
        Ok((version, answer))
    }

    async fn next(&mut self) -> Result<Bytes, Attempt> {
        loop {
            let input = &mut self.wire.input;
            if let Some((length, rest)) = input.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > ANSWER_BYTES {
                    return Err(passing(
                        "EPROTO: this is no answer of a broker; does ssl say whether it has TLS?",
                    ));
                }
                if rest.len() >= length {
                    return Ok(input.split_to(length + 4).freeze().slice(4..));
                }
            }
            self.wire.receive().await?;
        }
    }

    async fn authenticate(&mut self, mechanism: Mechanism, login: &Login<'_>) -> Result<(), Attempt> {
        let (_, mut answer) = self.ask(SASL_HANDSHAKE, &sasl_handshake(mechanism.name())).await?;
        let (code, offered) = read_sasl_handshake(&mut answer).ok_or_else(unreadable)?;
        if code != Code(0) {
            let offered =
                if offered.is_empty() { String::new() } else { format!("it offers {}", offered.join(", ")) };
            return Err(code.attempt(&self.host, &offered, &[login.password]));
        }
        let begun = Instant::now();
        let lifetime_ms = match mechanism {
            Mechanism::Plain => {
                let said = format!("\0{}\0{}", login.username, login.password);
                self.say(said.as_bytes(), login).await?.lifetime_ms
            }
            Mechanism::Scram(hash) => {
                let mut scram = Scram::new(hash, login.username, login.password, nonce()?);
                let first = self.say(scram.first().as_bytes(), login).await?;
                let proof = scram.proof(&first.said).map_err(|wrong| self.unproved(wrong))?;
                let last = self.say(proof.as_bytes(), login).await?;
                scram.verify(&last.said).map_err(|wrong| self.unproved(wrong))?;
                last.lifetime_ms
            }
        };
        if let Ok(lifetime_ms @ 1..) = u64::try_from(lifetime_ms) {
            // Nine tenths: a request is not to meet the end of it.
            self.until = begun.checked_add(Duration::from_millis(lifetime_ms / 10 * 9));
        }
        Ok(())
    }

    /// Says something of a mechanism.
    async fn say(&mut self, said: &[u8], login: &Login<'_>) -> Result<SaslAnswer, Attempt> {
        let (version, mut answer) = self.ask(SASL_AUTHENTICATE, &sasl_authenticate(said)).await?;
        let answer = SaslAnswer::read(&mut answer, version).ok_or_else(unreadable)?;
        if answer.code == Code(0) {
            return Ok(answer);
        }
        Err(answer.code.attempt(&self.host, &answer.text, &[login.password]))
    }

    fn unproved(&self, wrong: &str) -> Attempt {
        final_error(format!("error SCRAM from {}: {}", self.host, said(wrong, &[])))
    }
}

/// The attempt that ends with an answer that is not as the protocol has it.
pub(super) fn unreadable() -> Attempt {
    passing("EPROTO: the broker's answer cannot be read")
}

/// Letters and digits that nobody can guess.
fn nonce() -> Result<String, Attempt> {
    let mut random = [0; NONCE_RANDOM];
    SystemRandom::new().fill(&mut random).map_err(|_| final_error("no random numbers"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
