//! One connection with a PostgreSQL server: taken by it, then used for some rows at a time.
//!
//! The messages are those of `postgres_protocol`, which reads and writes bytes and nothing else.

use bytes::{Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::{
    IsNull,
    authentication::{
        md5_hash,
        sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256},
    },
    message::{
        backend::{ErrorFields, Header, Message},
        frontend,
    },
};
use tributary_domain::outcome::AttemptClass;

use crate::{
    Attempt, Reply,
    broker::said,
    gather::Answer,
    net::{Session, Wire, failure::passing},
    service::final_error,
};

/// Largest message of a server that is taken, in bytes: one that stores rows is told little.
const MESSAGE_BYTES: i32 = 64 * 1024;
/// Most rounds of hashing that a server may ask for with a password; PostgreSQL's own number is 4,096.
const SCRAM_ROUNDS: u32 = 100_000;

/// A connection that the server has taken.
pub(super) struct Connection {
    wire: Wire,
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        // What a server says by itself is that it ends, or that a setting has changed: both are rare.
        self.wire.is_open() && self.wire.input.is_empty()
    }

    fn farewell(&mut self) {
        let mut bytes = BytesMut::new();
        frontend::terminate(&mut bytes);
        self.wire.send_now(&bytes);
    }
}

/// Who connects.
pub(super) struct Login<'a> {
    pub(super) database: &'a str,
    pub(super) username: &'a str,
    pub(super) password: &'a str,
    /// The server, for the texts of errors.
    pub(super) host: &'a str,
    /// Whether the connection must be encrypted.
    pub(super) encrypted: bool,
}

impl Connection {
    /// Introduces this server to the other one.
    pub(super) async fn open(wire: Wire, login: &Login<'_>) -> Result<Connection, Attempt> {
        let mut wire = if login.encrypted { encrypted(wire, login).await? } else { wire };
        let parameters = [
            ("user", login.username),
            ("database", login.database),
            ("client_encoding", "UTF8"),
            ("application_name", "tributary"),
        ];
        let mut bytes = BytesMut::new();
        frontend::startup_message(parameters, &mut bytes).map_err(unsendable)?;
        wire.send(&bytes).await?;
        let mut scram = None;
        loop {
            match next(&mut wire).await? {
                Message::ReadyForQuery(_) => return Ok(Connection { wire }),
                Message::ErrorResponse(body) => return Err(refused(body.fields(), login).1),
                message => {
                    if let Some(answer) = prove(&message, login, &mut scram)? {
                        wire.send(&answer).await?;
                    }
                }
            }
        }
    }

    /// Stores rows, all or none, and waits until the server says that it has them. The connection is of further use when
    /// there is no `Err`.
    pub(super) async fn insert(
        &mut self,
        statement: &str,
        rows: &[Vec<Option<&str>>],
        login: &Login<'_>,
    ) -> Result<Answer, Attempt> {
        let mut bytes = BytesMut::new();
        // Without a name nothing of it stays, so that a pooler between may change connections.
        frontend::parse("", statement, [], &mut bytes).map_err(unsendable)?;
        for row in rows {
            if let Err(attempt) = put(row, &mut bytes) {
                // Nothing is sent yet.
                return Ok(Answer::Whole(attempt));
            }
        }
        // Up to here it is one transaction, which ends with this.
        frontend::sync(&mut bytes);
        self.wire.send(&bytes).await?;
        let (mut attempts, mut error) = (Vec::with_capacity(rows.len()), None);
        loop {
            match next(&mut self.wire).await? {
                Message::CommandComplete(body) => attempts.push(stored(body.tag().unwrap_or_default())),
                Message::ErrorResponse(body) => error = Some(refused(body.fields(), login)),
                Message::ReadyForQuery(_) => {
                    return Ok(match error {
                        None => Answer::Each(attempts),
                        Some((code, attempt)) if is_of_statement(&code) => {
                            Answer::Each(vec![attempt; rows.len()])
                        }
                        Some((_, attempt)) => Answer::Whole(attempt),
                    });
                }
                _ => {}
            }
        }
    }
}

/// Runs the statement for one row.
fn put(row: &[Option<&str>], bytes: &mut BytesMut) -> Result<(), Attempt> {
    let as_text = |value: &Option<&str>, out: &mut BytesMut| {
        Ok(match value {
            None => IsNull::Yes,
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
        })
    };
    let bound = frontend::bind("", "", [], row, as_text, [], bytes);
    bound.map_err(|_| final_error("columns: there are too many values, or too long ones"))?;
    frontend::execute("", 0, bytes).map_err(unsendable)
}

/// Asks for TLS and begins it; a server that has none is not spoken to.
async fn encrypted(mut wire: Wire, login: &Login<'_>) -> Result<Wire, Attempt> {
    let mut bytes = BytesMut::new();
    frontend::ssl_request(&mut bytes);
    wire.send(&bytes).await?;
    while wire.input.is_empty() {
        wire.receive().await?;
    }
    match &wire.input.split_to(1)[..] {
        b"S" => wire.encrypted().await,
        b"N" => {
            Err(final_error(format!("{} does not encrypt connections; ssl: false does without", login.host)))
        }
        _ => Err(passing("EPROTO: the server does not speak PostgreSQL's protocol")),
    }
}

async fn next(wire: &mut Wire) -> Result<Message, Attempt> {
    let wrong = |_| passing("EPROTO: the server's message cannot be read");
    loop {
        // Before the whole is waited for, and room made for it.
        let header = Header::parse(&wire.input).map_err(wrong)?;
        if header.is_some_and(|header| header.len() > MESSAGE_BYTES) {
            return Err(passing("EPROTO: the server's message is too long"));
        }
        match Message::parse(&mut wire.input).map_err(wrong)? {
            Some(message) => return Ok(message),
            None => wire.receive().await?,
        }
    }
}

/// The answer to a question about who connects.
fn prove(
    message: &Message,
    login: &Login<'_>,
    scram: &mut Option<ScramSha256>,
) -> Result<Option<BytesMut>, Attempt> {
    let mut answer = BytesMut::new();
    let wrong = |_| final_error(format!("{} does not know the password", login.host));
    match message {
        Message::AuthenticationCleartextPassword if login.encrypted => {
            frontend::password_message(login.password.as_bytes(), &mut answer).map_err(unsendable)?;
        }
        Message::AuthenticationMd5Password(body) => {
            let hash = md5_hash(login.username.as_bytes(), login.password.as_bytes(), body.salt());
            frontend::password_message(hash.as_bytes(), &mut answer).map_err(unsendable)?;
        }
        Message::AuthenticationSasl(body)
            if body.mechanisms().any(|one| Ok(one == SCRAM_SHA_256)).unwrap_or(false) =>
        {
            let begun = ScramSha256::new(login.password.as_bytes(), ChannelBinding::unsupported());
            frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut answer)
                .map_err(unsendable)?;
            *scram = Some(begun);
        }
        Message::AuthenticationSaslContinue(body) => {
            if rounds(body.data()).is_none_or(|rounds| rounds > SCRAM_ROUNDS) {
                return Err(final_error(format!("{} asks for too many rounds of hashing", login.host)));
            }
            let Some(scram) = scram else {
                return Err(passing("EPROTO: the server's message cannot be read"));
            };
            scram.update(body.data()).map_err(wrong)?;
            frontend::sasl_response(scram.message(), &mut answer).map_err(unsendable)?;
        }
        Message::AuthenticationSaslFinal(body) => {
            let Some(scram) = scram else {
                return Err(passing("EPROTO: the server's message cannot be read"));
            };
            scram.finish(body.data()).map_err(wrong)?;
        }
        Message::AuthenticationCleartextPassword
        | Message::AuthenticationSasl(_)
        | Message::AuthenticationGss
        | Message::AuthenticationKerberosV5
        | Message::AuthenticationScmCredential
        | Message::AuthenticationSspi => {
            let text = "asks for a way to sign in that is not offered; scram-sha-256 is";
            return Err(final_error(format!("{} {text}", login.host)));
        }
        _ => {}
    }
    Ok((!answer.is_empty()).then_some(answer))
}

/// The rounds of hashing in a server's `r=…,s=…,i=4096`.
fn rounds(data: &[u8]) -> Option<u32> {
    std::str::from_utf8(data).ok()?.split(',').find_map(|part| part.strip_prefix("i="))?.parse().ok()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unsendable(error: std::io::Error) -> Attempt {
    final_error(format!("cannot be sent: {error}"))
}

/// What a row that is stored comes to; `tag` says of how many rows that is so: of none, where it was there.
fn stored(tag: &str) -> Attempt {
    let headers = vec![("Command".to_owned(), said(tag, &[]))];
    let reply = Reply { status: 0, headers, body: Bytes::new(), ..Reply::default() };
    Attempt { class: AttemptClass::Success, error: None, reply: Some(reply) }
}

/// The state that an error of the server names, and what it comes to. Its details are left out: they repeat the row.
fn refused(mut fields: ErrorFields<'_>, login: &Login<'_>) -> (String, Attempt) {
    let (mut code, mut text) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        let value = String::from_utf8_lossy(field.value_bytes());
        match field.type_() {
            b'C' => code = value.into_owned(),
            b'M' => text = value.into_owned(),
            _ => {}
        }
    }
    let error = format!(
        "error SQLSTATE {} from {}: {}",
        said(&code, &[]),
        login.host,
        said(&text, &[login.password])
    );
    let attempt = if may_pass(&code) { passing(error) } else { final_error(error) };
    (code, attempt)
}

/// Whether an error is of the table, the columns or what the user may do, so that it is the same for every row.
fn is_of_statement(code: &str) -> bool {
    code.starts_with("42")
}

/// Whether an error tells of a moment: connections, conflicts between transactions, resources, an operator, the system; a
/// server that only reads (it was replaced by another one), and a lock.
fn may_pass(code: &str) -> bool {
    let class = code.get(..2).unwrap_or_default();
    ["08", "40", "53", "57", "58", "XX"].contains(&class) || ["25006", "55P03"].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_state_of_the_server_is_may_pass_and_what_is_wrong_with_the_row_is_final() {
        for passing in ["08006", "40001", "53300", "57P01", "57P03", "25006"] {
            assert!(may_pass(passing), "{passing}");
        }
        for wrong in ["28P01", "23505", "42P01", "22P02", "3D000", "", "é"] {
            assert!(!may_pass(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_server_cannot_ask_for_any_amount_of_work() {
        assert_eq!(rounds(b"r=x,s=eA==,i=4096"), Some(4_096));
        assert_eq!(rounds(b"r=x,s=eA==,i=99999999999"), None);
        assert_eq!(rounds(b"r=x"), None);
    }
}
