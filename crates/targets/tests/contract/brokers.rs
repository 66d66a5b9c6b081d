//! What the kinds of message brokers keep to. The peers here say what a broker says to one client; the end-to-end tests have
//! real ones.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::Notify,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{AddressPolicy, Attempt, Clients, Settings, kinds, net::ClientSettings};

use crate::{
    LONG, PASSING, SHORT, amqp,
    kafka_peer::{Account, Broker, Conversation},
    samples::{BROKERS, Sample, clients, settings},
};

/// How a peer takes a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    /// It refuses the credentials, and repeats what it got.
    Refuses,
    /// It says nothing.
    Hangs,
    /// It ends the connection after each message that it has taken.
    Hasty,
}

/// What a peer says when a client has connected.
fn greeting(kind: &str) -> &'static [u8] {
    match kind {
        "Nats" => b"INFO {\"headers\":true,\"max_payload\":1048576}\r\n",
        _ => b"",
    }
}

/// A broker of Kafka in this mood.
fn kafka(mood: Mood) -> Arc<Broker> {
    let password = if mood == Mood::Refuses { "wr0ng-pw" } else { "h0sh-pw" };
    let account = Account { mechanism: "SCRAM-SHA-256", password, lifetime_ms: 0, is_honest: true };
    Arc::new(Broker { account: Some(account), ..Broker::good(1) })
}

/// Whether a client has said a message here, as [`answer`] gets it.
fn is_message(kind: &str, said: &[u8]) -> bool {
    match kind {
        "Mqtt" => said[0] == 0x32,
        "Nats" => said.windows(4).any(|four| four == b"HPUB"),
        "Postgres" => said[0] == b'P',
        "Kafka" => said[4..6] == [0, 0],
        "Amqp" => said[0] == 1 && said[7..11] == [0, 60, 0, 40],
        other => panic!("what is a message of {other}?"),
    }
}

/// What a peer says to what a client has said; each of a client's packets comes in one piece here.
fn answer(kind: &str, mood: Mood, said: &[u8], kafka: &mut Conversation) -> Vec<u8> {
    match kind {
        "Kafka" => kafka.answer(&said[4..]).unwrap(),
        "Mqtt" => match (said[0], mood) {
            (0x10, Mood::Refuses) => vec![0x20, 2, 0, 4],
            (0x10, _) => vec![0x20, 2, 0, 0],
            (0x32, _) => {
                let topic = usize::from(said[3]);
                vec![0x40, 2, said[4 + topic], said[5 + topic]]
            }
            _ => Vec::new(),
        },
        "Nats" => match (said.starts_with(b"CONNECT"), mood) {
            (true, Mood::Refuses) => b"-ERR 'Authorization Violation'\r\n".to_vec(),
            // A server may ask at any time, and is answered before the next message.
            (true, _) => b"PING\r\nPONG\r\n".to_vec(),
            _ if said.windows(4).any(|four| four == b"HPUB") => b"PONG\r\n".to_vec(),
            _ => Vec::new(),
        },
        // Its messages begin with a letter, but for the first one.
        "Postgres" => match (said[0], mood) {
            (0, Mood::Refuses) => [b"E\0\0\0\x18C28P01\0Mnot this u\0\0".as_slice()].concat(),
            (0, _) => b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I".to_vec(),
            _ => postgres::answer(said),
        },
        "Amqp" if mood == Mood::Refuses && said.get(7..11) == Some(b"\0\x0a\0\x0b") => {
            amqp::frame(0, b"\0\x0a\0\x32\x01\x93\x18ACCESS_REFUSED - h0sh-pw\0\0\0\0")
        }
        // It has taken all that it got.
        "Amqp" if said.get(7..11) == Some(amqp::PUBLISH) => amqp::confirmed(0, true),
        "Amqp" => amqp::taking(said),
        other => panic!("what does a broker of {other} say?"),
    }
}

/// What a server that stores rows says.
mod postgres {
    /// Every message has its letter and then its length, which counts itself.
    pub(super) fn messages(said: &[u8]) -> Vec<u8> {
        let (mut letters, mut rest) = (Vec::new(), said);
        while let [letter, a, b, c, d, ..] = rest {
            letters.push(*letter);
            rest = &rest[1 + u32::from_be_bytes([*a, *b, *c, *d]) as usize..];
        }
        letters
    }

    pub(super) fn answer(said: &[u8]) -> Vec<u8> {
        let answers = messages(said).into_iter().map(|letter| match letter {
            b'P' => b"1\0\0\0\x04".as_slice(),
            b'B' => b"2\0\0\0\x04",
            b'E' => b"C\0\0\0\x0fINSERT 0 1\0",
            b'S' => b"Z\0\0\0\x05I",
            _ => b"",
        });
        answers.flatten().copied().collect()
    }
}

struct Peer {
    address: SocketAddr,
    connections: AtomicUsize,
    heard: Mutex<Vec<u8>>,
    /// Told whenever a connection has ended.
    ended: Notify,
}

impl Peer {
    async fn start(kind: &'static str, mood: Mood) -> Arc<Peer> {
        Peer::start_with(kind, mood, None).await
    }

    async fn start_with(kind: &'static str, mood: Mood, tls: Option<TlsAcceptor>) -> Arc<Peer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Arc::new(Peer {
            address: listener.local_addr().unwrap(),
            connections: AtomicUsize::new(0),
            heard: Mutex::default(),
            ended: Notify::new(),
        });
        let running = Arc::clone(&peer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                running.connections.fetch_add(1, Ordering::SeqCst);
                let (peer, tls) = (Arc::clone(&running), tls.clone());
                tokio::spawn(async move {
                    if mood != Mood::Hangs {
                        stream.write_all(greeting(kind)).await.unwrap();
                    }
                    if kind == "Postgres" && tls.is_some() {
                        // A client asks for TLS in eight bytes of clear text.
                        stream.read_exact(&mut [0; 8]).await.unwrap();
                        stream.write_all(b"S").await.unwrap();
                    }
                    match tls {
                        None => peer.speak(stream, kind, mood).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                peer.speak(stream, kind, mood).await;
                            }
                        }
                    }
                    peer.ended.notify_one();
                });
            }
        });
        peer
    }

    async fn speak(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, kind: &str, mood: Mood) {
        let mut buffer = vec![0; 64 * 1024];
        let mut kafka = Conversation::new(kafka(mood), self.address);
        loop {
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            self.heard.lock().extend(&buffer[..length]);
            if mood == Mood::Hangs {
                continue;
            }
            let answer = answer(kind, mood, &buffer[..length], &mut kafka);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            if mood == Mood::Hasty && is_message(kind, &buffer[..length]) {
                return;
            }
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits until a connection has ended.
    async fn ended(&self) {
        timeout(LONG, self.ended.notified()).await.expect("a connection ends");
    }
}

async fn attempt(sample: &Sample, address: &str, time: Duration) -> Attempt {
    let target = sample.compile(&settings(None), address).unwrap();
    let message = sample.render(&*target).unwrap();
    target.send(&message, &clients(time)).await
}

#[tokio::test]
async fn a_message_that_the_broker_takes_is_a_success_and_connections_are_used_again() {
    let mut used = Vec::new();
    for sample in BROKERS {
        let peer = Peer::start(sample.kind, Mood::Good).await;
        let target = sample.compile(&settings(None), &peer.url()).unwrap();
        let message = sample.render(&*target).unwrap();
        assert_eq!(message.destination, peer.address.to_string(), "{}", sample.kind);
        let clients = clients(LONG);
        for _ in 0..3 {
            let attempt = target.send(&message, &clients).await;
            assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None), "{}", sample.kind);
        }
        assert_eq!(peer.connections(), 1, "{}", sample.kind);
        let heard = peer.heard.lock().clone();
        let times = heard.windows(4).filter(|four| *four == b"22.5").count();
        assert_eq!(times, 3, "{}", sample.kind);
        used.push((target, peer));
    }
    // Without further messages connections are ended by themselves.
    for (_target, peer) in &used {
        peer.ended().await;
    }
}

#[tokio::test]
async fn messages_at_once_share_a_few_connections() {
    for sample in BROKERS {
        let peer = Peer::start(sample.kind, Mood::Good).await;
        let target = sample.compile(&settings(None), &peer.url()).unwrap();
        let (message, clients) = (sample.render(&*target).unwrap(), clients(LONG));
        let all = (0..64).map(|_| target.send(&message, &clients));
        for attempt in futures_util::future::join_all(all).await {
            assert_eq!(attempt.error, None, "{}", sample.kind);
        }
        assert!((1..=16).contains(&peer.connections()), "{}: {}", sample.kind, peer.connections());
    }
}

#[tokio::test]
async fn refused_credentials_are_a_final_error_that_does_not_show_them() {
    for sample in BROKERS {
        let peer = Peer::start(sample.kind, Mood::Refuses).await;
        let target = sample.compile(&settings(None), &peer.url()).unwrap();
        let message = sample.render(&*target).unwrap();
        let attempt = target.send(&message, &clients(LONG)).await;
        assert_eq!(attempt.class, AttemptClass::Final, "{}: {attempt:?}", sample.kind);
        let error = attempt.error.clone().unwrap();
        assert!(error.contains(" from 127.0.0.1: "), "{}: {error}", sample.kind);
        for (field, value) in sample.sensitive {
            let heard = peer.heard.lock().clone();
            // Those that are proved are not sent.
            let sent = String::from_utf8_lossy(&heard).contains(value);
            assert_eq!(sent, !["Postgres", "Kafka"].contains(&sample.kind), "{}: {field}", sample.kind);
            assert!(!format!("{message:?}{attempt:?}").contains(value), "{}: {attempt:?}", sample.kind);
            assert!(target.sensitive_values().iter().any(|known| known == value), "{}: {field}", sample.kind);
            let kind = kinds::find(sample.kind).unwrap();
            assert!(kinds::fields(kind).any(|known| known.name == *field && known.sensitive));
            let masked = tributary_domain::sensitive::mask(&sample.config(&peer.url()));
            assert!(!Value::Object(masked).to_string().contains(value), "{}: {field}", sample.kind);
        }
    }
}

#[tokio::test]
async fn a_broker_that_hangs_times_out_may_be_tried_again_and_is_left() {
    for sample in BROKERS {
        let peer = Peer::start(sample.kind, Mood::Hangs).await;
        let attempt = attempt(sample, &peer.url(), SHORT).await;
        assert_eq!(attempt.class, PASSING, "{}", sample.kind);
        assert_eq!(attempt.error.as_deref(), Some("ESOCKETTIMEDOUT"), "{}", sample.kind);
        // Nothing of the attempt is left.
        peer.ended().await;
    }
}

#[tokio::test]
async fn a_broker_that_is_away_may_be_tried_again() {
    for sample in BROKERS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let attempt = attempt(sample, &url, LONG).await;
        assert_eq!(attempt.class, PASSING, "{}", sample.kind);
        assert_eq!(attempt.error.as_deref(), Some("ECONNREFUSED"), "{}", sample.kind);
    }
}

#[tokio::test]
async fn a_connection_that_the_broker_has_ended_is_not_used_again() {
    for sample in BROKERS {
        let peer = Peer::start(sample.kind, Mood::Hasty).await;
        let target = sample.compile(&settings(None), &peer.url()).unwrap();
        let (message, clients) = (sample.render(&*target).unwrap(), clients(LONG));
        for _ in 0..3 {
            let attempt = target.send(&message, &clients).await;
            assert_eq!(attempt.error, None, "{}", sample.kind);
            peer.ended().await;
        }
        assert_eq!(peer.connections(), 3, "{}", sample.kind);
    }
}

#[tokio::test]
async fn a_private_address_is_refused_when_it_is_written_and_when_it_is_rendered() {
    for sample in BROKERS {
        let policy = Arc::new(AddressPolicy::default());
        let strict = Settings { addresses: Arc::clone(&policy), ..Settings::default() };
        let errors = sample.compile(&strict, "http://127.0.0.1:9").err().unwrap();
        assert!(errors[0].message.contains("loopback"), "{}: {errors:?}", sample.kind);
        if sample.kind == "Kafka" {
            // Its brokers are no template.
            continue;
        }
        let rendered = sample.compile(&strict, "http://127.0.0.1{{{nothing}}}:9").unwrap();
        let message = sample.render(&*rendered).unwrap();
        let clients =
            Clients::new(&ClientSettings { timeout: LONG, addresses: policy, ..ClientSettings::default() })
                .unwrap();
        let attempt = rendered.send(&message, &clients).await;
        assert_eq!(attempt.class, AttemptClass::Final, "{}", sample.kind);
        let error = attempt.error.unwrap();
        assert!(error.starts_with("EADDRNOTALLOWED: 127.0.0.1"), "{}: {error}", sample.kind);
    }
}

/// A certificate for 127.0.0.1 that signs itself, and a server that has it.
pub(crate) fn tls() -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], private).unwrap();
    (certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn certificates_are_checked_against_the_integration_s_own_authorities_too() {
    for sample in BROKERS {
        let (pem, acceptor) = tls();
        let peer = Peer::start_with(sample.kind, Mood::Good, Some(acceptor)).await;
        let error = async |change: Value| {
            let mut config = sample.config(&peer.url());
            if let Some(url) = config.get("url").and_then(Value::as_str) {
                let secure = [("mqtt:", "mqtts:"), ("amqp:", "amqps:"), ("nats:", "tls:")];
                config["url"] =
                    secure.iter().fold(url.to_owned(), |url, (plain, tls)| url.replace(plain, tls)).into();
            }
            if let Some(ssl) = config.get_mut("ssl") {
                *ssl = true.into();
            }
            config.extend(change.as_object().unwrap().clone());
            let kind = kinds::find(sample.kind).unwrap();
            let target = kind.compile(&config, &settings(None)).unwrap();
            let message = sample.render(&*target).unwrap();
            target.send(&message, &clients(LONG)).await.error
        };
        let unknown = error(json!({})).await.unwrap();
        assert!(unknown.contains("self-signed"), "{}: {unknown}", sample.kind);
        assert_eq!(error(json!({"tls": {"ca": pem}})).await, None, "{}", sample.kind);
        assert_eq!(error(json!({"rejectUnauthorized": false})).await, None, "{}", sample.kind);
    }
}
