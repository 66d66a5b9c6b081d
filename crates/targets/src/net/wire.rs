//! Connections for protocols other than HTTP: made by the same connector, to the same checked addresses, and read and
//! written as bytes by the kind that speaks the protocol.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    Clients, OwnTls, Via,
    connect::{Connector, Stream, encrypted},
    failure, tls,
};
use crate::Attempt;

/// Most bytes of a peer that wait to be taken apart: those of one message, which the protocols here keep short.
const INPUT_BYTES: usize = 256 * 1024;

/// What a peer may say at once, in bytes.
const SAID_AT_ONCE: f64 = 4_194_304.0;
/// What a peer may say besides, in bytes a second: acknowledgements are a fraction of it. One that says more, such as pings
/// or notices without an end, is read no faster, so that it costs a fraction of a core until the attempt's time is over.
const SAID_PER_SECOND: f64 = 2_097_152.0;

/// How much a peer may still say at the moment.
struct Allowance {
    bytes: f64,
    at: Instant,
}

impl Allowance {
    fn new() -> Allowance {
        Allowance { bytes: SAID_AT_ONCE, at: Instant::now() }
    }

    /// Takes what was said; how long to wait before more is heard.
    fn take(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.bytes = (self.bytes + passed * SAID_PER_SECOND).min(SAID_AT_ONCE) - bytes as f64;
        (self.bytes < 0.0).then(|| Duration::from_secs_f64(-self.bytes / SAID_PER_SECOND))
    }
}

/// The connectors of wires: their TLS offers no protocols, since brokers may refuse those of HTTP.
#[derive(Clone)]
pub(super) struct Wires {
    checked: Connector,
    any_certificate: TlsConnector,
}

impl Wires {
    /// The same way out as `checked`.
    pub(super) fn new(checked: &Connector) -> Result<Wires, rustls::Error> {
        let tls = |verify| -> Result<TlsConnector, rustls::Error> {
            Ok(TlsConnector::from(tls::without_protocols(&*tls::config(verify)?)))
        };
        Ok(Wires { checked: Connector { tls: tls(true)?, ..checked.clone() }, any_certificate: tls(false)? })
    }
}

/// Whether an attempt has a connection, for telling why it ran out of time.
#[derive(Debug, Default)]
pub(crate) struct Reached(AtomicBool);

impl Reached {
    /// Notes that it has one.
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The attempt that ran out of time.
    pub(crate) fn out_of_time(&self) -> Attempt {
        failure::passing(if self.0.load(Ordering::Relaxed) {
            failure::NO_REPLY_IN_TIME
        } else {
            failure::NOT_CONNECTED_IN_TIME
        })
    }
}

impl Clients {
    /// As [`Clients::in_time`] for an attempt that makes its connection itself.
    pub(crate) async fn in_time_by(
        &self,
        reached: &Reached,
        attempt: impl Future<Output = Attempt>,
    ) -> Attempt {
        let ended = timeout(self.timeout, attempt).await;
        ended.unwrap_or_else(|_| reached.out_of_time())
    }

    /// Connects to a checked address of `host`, not encrypted yet; [`Wire::encrypted`] does that as `via` and `own` say.
    pub(crate) async fn wire(
        &self,
        (host, port): (&str, u16),
        via: Via,
        own: Option<&OwnTls>,
    ) -> Result<Wire, Attempt> {
        let connector = &self.wires.checked;
        let tls = match (own, via) {
            (Some(own), _) => TlsConnector::from(own.for_wires()),
            (None, Via::AnyCertificate) => self.wires.any_certificate.clone(),
            (None, Via::Checked | Via::Operator) => connector.tls.clone(),
        };
        let stream = connector.reach(host, port).await.map_err(|error| failure::unconnected(&error))?;
        Ok(Wire {
            stream: Stream::Plain(stream),
            input: BytesMut::new(),
            tls,
            host: host.to_owned(),
            allowance: Allowance::new(),
        })
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: Stream,
    /// What has arrived and is not taken yet.
    pub(crate) input: BytesMut,
    tls: TlsConnector,
    host: String,
    allowance: Allowance,
}

impl Wire {
    /// The same connection, encrypted from here on.
    pub(crate) async fn encrypted(self) -> Result<Wire, Attempt> {
        let Wire { stream, input, tls, host, allowance } = self;
        let plain = match stream {
            // What came in clear text must not be taken for what comes encrypted.
            Stream::Plain(plain) if input.is_empty() => plain,
            _ => return Err(failure::passing("EPROTO: the peer speaks before TLS has begun")),
        };
        let stream = encrypted(&tls, &host, plain).await.map_err(|error| failure::unconnected(&error))?;
        Ok(Wire { stream: Stream::Tls(stream, None), input, tls, host, allowance })
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Attempt> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| failure::broken(&error))
    }

    /// Waits until more has arrived.
    pub(crate) async fn receive(&mut self) -> Result<(), Attempt> {
        if self.input.len() >= INPUT_BYTES {
            return Err(failure::passing("EPROTO: the peer's answer is too long"));
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(failure::broken(&std::io::ErrorKind::UnexpectedEof.into())),
            Ok(said) => {
                if let Some(wait) = self.allowance.take(said, Instant::now()) {
                    sleep(wait).await;
                }
                Ok(())
            }
            Err(error) => Err(failure::broken(&error)),
        }
    }

    /// Takes what has arrived meanwhile, without waiting; false when the connection has ended.
    pub(crate) fn is_open(&mut self) -> bool {
        loop {
            match self.receive().now_or_never() {
                None => return true,
                Some(Ok(())) => {}
                Some(Err(_)) => return false,
            }
        }
    }

    /// Sends bytes if that needs no wait: the last words of a connection that nobody waits for.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) {
        // Without them the peer sees the end of the connection, which says the same.
        let _: Option<Result<(), Attempt>> = self.send(bytes).now_or_never();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_floods_is_heard_at_a_steady_rate_and_others_at_once() {
        let (mut allowance, begin) = (Allowance::new(), Instant::now());
        allowance.at = begin;
        for n in 0..4_000_u64 {
            let now = begin + Duration::from_millis(n);
            assert_eq!(allowance.take(2_000, now), None, "2 MB a second at {n} ms");
        }
        let (mut allowance, mut now, mut heard) = (Allowance::new(), begin, 0.0);
        allowance.at = begin;
        while now < begin + Duration::from_secs(10) {
            heard += 65_536.0;
            now += allowance.take(65_536, now).unwrap_or_default();
        }
        assert!(heard <= SAID_AT_ONCE + 10.0 * SAID_PER_SECOND + 2.0 * 65_536.0, "{heard}");
    }
}
