//! One connection with an AMQP broker: taken by it, then used for messages that are published together.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    confirms::Confirms,
    frame::{self, FRAME_BYTES, Publish, Said},
};
use crate::{
    Attempt,
    broker::said,
    net::{Session, Wire, passing},
    service::final_error,
};

/// Smallest frame that every broker takes, in bytes.
const FRAME_BYTES_MIN: u32 = 4_096;
/// Bytes that are gathered before they are sent.
const SENT_AT_ONCE: usize = 64 * 1024;
/// The code of an error about something that is not there.
const NOT_FOUND: u16 = 404;
/// How long a broker that takes no more messages has time to confirm those that it got before.
const BLOCKED_WAIT: Duration = Duration::from_secs(1);

/// A connection that the broker has taken.
pub(super) struct Connection {
    wire: Wire,
    frame_max: usize,
    /// Whether there is a channel on which messages are confirmed.
    has_channel: bool,
    /// Messages that were published on it.
    published: u64,
    /// Why the broker takes no messages for now.
    blocked: Option<String>,
    /// What a message comes back with, whose header has not arrived.
    returned: Option<(u16, String)>,
}

impl Session for Connection {
    fn is_open(&mut self) -> bool {
        let nobody = Login { vhost: "", username: None, password: None, host: "" };
        let heard = self.wire.is_open() && self.deal_with_all(&nobody, None).is_ok();
        heard && self.blocked.is_none()
    }

    fn farewell(&mut self) {
        self.wire.send_now(&frame::close());
    }
}

/// Who connects, and where to.
pub(super) struct Login<'a> {
    pub(super) vhost: &'a str,
    /// `None`: by the certificate of the client.
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    /// The broker, for the texts of errors.
    pub(super) host: &'a str,
}

impl Login<'_> {
    /// The mechanism and what is said with it.
    fn proof(&self) -> (&'static str, Vec<u8>) {
        match self.username {
            Some(username) => {
                let password = self.password.unwrap_or_default();
                ("PLAIN", ["", username, password].join("\0").into_bytes())
            }
            None => ("EXTERNAL", Vec::new()),
        }
    }

    /// What an error of the broker comes to.
    fn wrong(&self, code: u16, text: &str) -> Attempt {
        // `NOT_FOUND - no exchange 'x' in vhost '/'`
        let (name, why) = text.split_once(" - ").unwrap_or((text, ""));
        let hide = [self.password.unwrap_or_default()];
        let mut error = format!("error {code} {} from {}", said(name, &hide), self.host);
        if !why.is_empty() {
            error.extend([": ", &said(why, &hide)]);
        }
        // Virtual hosts and users may have a limit of connections, which is no name's or right's fault.
        let is_limit = code == 530 && text.contains("limit");
        match code {
            311..=313 | 402..=406 | 530 | 540 if !is_limit => final_error(error),
            _ => passing(error),
        }
    }
}

/// Why messages have no outcome of their own.
enum End {
    /// It is the same for all of them.
    Connection(Attempt),
    /// One of them, which is not told, has ended the channel, with this code.
    Channel(u16, Attempt),
}

impl From<Attempt> for End {
    fn from(attempt: Attempt) -> End {
        End::Connection(attempt)
    }
}

impl Connection {
    /// Introduces this server to the broker.
    pub(super) async fn open(mut wire: Wire, login: &Login<'_>) -> Result<Connection, Attempt> {
        wire.send(frame::GREETING).await?;
        let mut connection = Connection {
            wire,
            frame_max: FRAME_BYTES_MIN as usize,
            has_channel: false,
            published: 0,
            blocked: None,
            returned: None,
        };
        let mechanisms = loop {
            if let Said::Start { mechanisms } = connection.next(login).await? {
                break mechanisms;
            }
        };
        let (mechanism, response) = login.proof();
        if !mechanisms.split_whitespace().any(|offered| offered == mechanism) {
            let offered = said(&mechanisms, &[]);
            return Err(final_error(format!(
                "{} does not take the login {mechanism}; it takes {offered}",
                login.host
            )));
        }
        connection.wire.send(&frame::start_ok(mechanism, &response)).await?;
        let frame_max = loop {
            if let Said::Tune { frame_max } = connection.next(login).await? {
                break if frame_max == 0 { FRAME_BYTES } else { frame_max.min(FRAME_BYTES) };
            }
        };
        if frame_max < FRAME_BYTES_MIN {
            return Err(passing("EPROTO: the broker's frames are too small"));
        }
        connection.frame_max = frame_max as usize;
        connection.wire.send(&frame::tune_ok_and_open(frame_max, login.vhost)).await?;
        connection.until(&Said::Opened, login).await?;
        Ok(connection)
    }

    async fn open_channel(&mut self, login: &Login<'_>) -> Result<(), Attempt> {
        self.wire.send(&frame::open_channel()).await?;
        self.until(&Said::ChannelOpened, login).await?;
        self.wire.send(&frame::confirm_select()).await?;
        self.until(&Said::Confirming, login).await?;
        self.has_channel = true;
        self.published = 0;
        Ok(())
    }

    /// Publishes messages of one exchange and waits until each is confirmed. Gives what became of each, `None` where that cannot be
    /// told, and whether the connection is of further use.
    pub(super) async fn publish(
        &mut self,
        messages: &[Publish<'_>],
        login: &Login<'_>,
    ) -> (Vec<Option<Attempt>>, bool) {
        if !self.has_channel
            && let Err(attempt) = self.open_channel(login).await
        {
            return (vec![Some(attempt); messages.len()], false);
        }
        let mut confirms = Confirms::new(messages, login.host, self.published + 1);
        let ended = self.confirm_all(messages, login, &mut confirms).await;
        self.published += messages.len() as u64;
        let mut each = confirms.into_each();
        let (same, is_of_use) = match ended {
            Ok(()) => (None, true),
            Err(End::Connection(attempt)) => (Some(attempt), false),
            Err(End::Channel(code, attempt)) => {
                self.has_channel = false;
                let answered = self.wire.send(&frame::channel_close_ok()).await.is_ok();
                // An exchange that is not there is not there for any of them.
                let is_of_all = messages.len() == 1 || code == NOT_FOUND;
                (is_of_all.then_some(attempt), answered)
            }
        };
        for attempt in each.iter_mut().filter(|attempt| attempt.is_none()) {
            attempt.clone_from(&same);
        }
        (each, is_of_use)
    }

    async fn confirm_all(
        &mut self,
        messages: &[Publish<'_>],
        login: &Login<'_>,
        confirms: &mut Confirms<'_>,
    ) -> Result<(), End> {
        let mut bytes = Vec::new();
        for (n, message) in messages.iter().enumerate() {
            message.push(&mut bytes, self.frame_max);
            if bytes.len() < SENT_AT_ONCE && n + 1 < messages.len() {
                continue;
            }
            let sent = self.wire.send(&bytes).await;
            bytes.clear();
            confirms.sent = n + 1;
            // A broker that nobody listens to may stop to listen; and one that has ended the connection has said why.
            self.wire.is_open();
            self.deal_with_all(login, Some(confirms))?;
            sent?;
        }
        while !confirms.is_complete() {
            self.hear(login).await?;
            self.deal_with_all(login, Some(confirms))?;
        }
        Ok(())
    }

    /// Waits until the broker says more.
    async fn hear(&mut self, login: &Login<'_>) -> Result<(), Attempt> {
        let Some(why) = &self.blocked else { return self.wire.receive().await };
        let heard = timeout(BLOCKED_WAIT, self.wire.receive()).await;
        heard.unwrap_or_else(|_| {
            Err(passing(format!("error connection.blocked from {}: {}", login.host, said(why, &[]))))
        })
    }

    /// Waits until the broker has said `awaited`.
    async fn until(&mut self, awaited: &Said, login: &Login<'_>) -> Result<(), Attempt> {
        while self.next(login).await? != *awaited {}
        Ok(())
    }

    /// What the broker says next, but for its errors, which end the attempt.
    async fn next(&mut self, login: &Login<'_>) -> Result<Said, Attempt> {
        loop {
            match self.take()? {
                Some(said) => match self.deal_with(&said, login, None) {
                    Ok(()) => return Ok(said),
                    Err(End::Connection(attempt) | End::Channel(_, attempt)) => return Err(attempt),
                },
                None => self.wire.receive().await?,
            }
        }
    }

    fn take(&mut self) -> Result<Option<Said>, Attempt> {
        frame::take(&mut self.wire.input).map_err(|wrong| passing(format!("EPROTO: {wrong}")))
    }

    /// Deals with what has arrived.
    fn deal_with_all(
        &mut self,
        login: &Login<'_>,
        mut confirms: Option<&mut Confirms<'_>>,
    ) -> Result<(), End> {
        while let Some(said) = self.take()? {
            self.deal_with(&said, login, confirms.as_deref_mut())?;
        }
        Ok(())
    }

    fn deal_with(
        &mut self,
        said: &Said,
        login: &Login<'_>,
        confirms: Option<&mut Confirms<'_>>,
    ) -> Result<(), End> {
        match (said, confirms) {
            (Said::Closed { code, text }, _) => {
                self.wire.send_now(&frame::close_ok());
                return Err(End::Connection(login.wrong(*code, text)));
            }
            (Said::ChannelClosed { code, text }, _) => {
                return Err(End::Channel(*code, login.wrong(*code, text)));
            }
            (Said::Blocked(why), _) => self.blocked = Some(why.clone()),
            (Said::Unblocked, _) => self.blocked = None,
            (Said::Confirmed { tag, multiple, taken }, Some(confirms)) => {
                confirms.confirmed(*tag, *multiple, *taken);
            }
            (Said::Returned { code, text }, Some(_)) => self.returned = Some((*code, text.clone())),
            (Said::Header { message_id }, Some(confirms)) => {
                if let Some((code, text)) = self.returned.take()
                    && !confirms.come_back(message_id, code, &text)
                {
                    let wrong = passing("EPROTO: the broker gives back a message that it did not get");
                    return Err(End::Connection(wrong));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use tributary_domain::outcome::AttemptClass;

    use super::*;

    const LOGIN: Login<'_> =
        Login { vhost: "/", username: Some("u"), password: Some("hush"), host: "b.example" };
    const MAY_PASS: AttemptClass = AttemptClass::Passing { retry_after_ms: None };

    #[test]
    fn errors_say_what_the_broker_says_without_a_secret() {
        let error = |code, text: &str| LOGIN.wrong(code, text).error.unwrap_or_default();
        assert_snapshot!(error(404, "NOT_FOUND - no exchange 'x' in vhost '/'"), @"error 404 NOT_FOUND from b.example: no exchange 'x' in vhost '/'");
        assert_snapshot!(error(403, "ACCESS_REFUSED - not\nhush"), @"error 403 ACCESS_REFUSED from b.example: not [[SENSITIVE]]");
        assert_snapshot!(error(312, "NO_ROUTE"), @"error 312 NO_ROUTE from b.example");
    }

    #[test]
    fn what_names_the_message_or_a_right_is_final_and_a_state_of_the_broker_may_pass() {
        for code in [311, 312, 403, 404, 406, 530, 540] {
            assert_eq!(LOGIN.wrong(code, "X - y").class, AttemptClass::Final, "{code}");
        }
        for code in [320, 501, 504, 506, 541] {
            assert_eq!(LOGIN.wrong(code, "X - y").class, MAY_PASS, "{code}");
        }
        let limit = "NOT_ALLOWED - access to vhost '/' refused for user 'u': connection limit (1) is reached";
        assert_eq!(LOGIN.wrong(530, limit).class, MAY_PASS);
    }

    #[test]
    fn a_login_is_by_password_or_by_the_certificate_alone() {
        assert_eq!(LOGIN.proof(), ("PLAIN", b"\0u\0hush".to_vec()));
        let nobody = Login { username: None, ..LOGIN };
        assert_eq!(nobody.proof(), ("EXTERNAL", Vec::new()));
    }
}
