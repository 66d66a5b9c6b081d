//! A broker of Kafka that says what a test wants. Requests are read and answers written by another implementation of the
//! protocol than the kind's; SCRAM is checked as RFC 5802 has the server do it.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ProduceRequest,
        ProduceResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest, SaslHandshakeResponse,
        api_versions_response::ApiVersion,
        metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
        produce_response::{PartitionProduceResponse, TopicProduceResponse},
    },
    protocol::{Decodable, Encodable, StrBytes},
    records::{Record, RecordBatchDecoder},
};
use parking_lot::Mutex;
use ring::{digest, hmac, pbkdf2};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const SALT: &[u8] = b"salt of a test";
const NO_SUCH_TOPIC: i16 = 3;
const NOT_OFFERED: i16 = 33;
const NOT_KNOWN: i16 = 58;

/// Who may connect.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) mechanism: &'static str,
    pub(crate) password: &'static str,
    pub(crate) lifetime_ms: i64,
    /// Whether the broker itself knows the password, and can prove it.
    pub(crate) is_honest: bool,
}

/// By topic: the leader of each partition as `host:port`; an empty text is the broker itself.
type Leaders = dyn Fn(&str) -> Vec<String> + Send + Sync;
/// What becomes of records of a topic's partition: a code and a text; `None`: nothing is said of them, ever.
type Stores = dyn Fn(&str, i32, &[Record]) -> Option<(i16, &'static str)> + Send + Sync;

/// What a broker knows and says.
pub(crate) struct Broker {
    pub(crate) account: Option<Account>,
    pub(crate) leaders: Box<Leaders>,
    pub(crate) stores: Box<Stores>,
}

impl Broker {
    /// One that leads everything, of topics with so many partitions, and stores it.
    pub(crate) fn good(partitions: usize) -> Broker {
        Broker {
            account: None,
            leaders: Box::new(move |_| vec![String::new(); partitions]),
            stores: Box::new(|_, _, _| Some((0, ""))),
        }
    }
}

/// One connection, from the broker's side.
pub(crate) struct Conversation {
    broker: Arc<Broker>,
    address: SocketAddr,
    is_known: bool,
    scram: Option<Scram>,
}

impl Conversation {
    pub(crate) fn new(broker: Arc<Broker>, address: SocketAddr) -> Conversation {
        let is_known = broker.account.is_none();
        Conversation { broker, address, is_known, scram: None }
    }

    /// The answer to a request without its length; the answer has one. `None`: the broker says nothing.
    pub(crate) fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Bytes::copy_from_slice(request);
        let header = RequestHeader::decode(&mut bytes, 1).unwrap();
        let version = header.request_api_version;
        let key = ApiKey::try_from(header.request_api_key).unwrap();
        let mut out = BytesMut::from(&[0; 4][..]);
        ResponseHeader::default().with_correlation_id(header.correlation_id).encode(&mut out, 0).unwrap();
        match key {
            ApiKey::ApiVersions => versions().encode(&mut out, version),
            ApiKey::SaslHandshake => {
                let asked = SaslHandshakeRequest::decode(&mut bytes, version).unwrap();
                self.handshake(&asked).encode(&mut out, version)
            }
            ApiKey::SaslAuthenticate => {
                let asked = SaslAuthenticateRequest::decode(&mut bytes, version).unwrap();
                self.authenticate(&asked.auth_bytes).encode(&mut out, version)
            }
            // Whoever is not known is left without a word.
            _ if !self.is_known => return None,
            ApiKey::Metadata => {
                let asked = MetadataRequest::decode(&mut bytes, version).unwrap();
                self.metadata(asked).encode(&mut out, version)
            }
            ApiKey::Produce => {
                let asked = ProduceRequest::decode(&mut bytes, version).unwrap();
                assert_eq!(asked.acks, -1);
                self.produce(asked)?.encode(&mut out, version)
            }
            other => panic!("{other:?} is not spoken here"),
        }
        .unwrap();
        assert!(bytes.is_empty(), "{key:?} is read as a whole");
        let length = u32::try_from(out.len() - 4).unwrap();
        out[..4].copy_from_slice(&length.to_be_bytes());
        Some(out.to_vec())
    }

    fn handshake(&self, asked: &SaslHandshakeRequest) -> SaslHandshakeResponse {
        let offered = self.broker.account.as_ref().map(|account| account.mechanism).into_iter();
        let code = if offered.clone().any(|one| asked.mechanism == *one) { 0 } else { NOT_OFFERED };
        let offered = offered.map(StrBytes::from_static_str).collect();
        SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(offered)
    }

    fn authenticate(&mut self, said: &[u8]) -> SaslAuthenticateResponse {
        let account = self.broker.account.clone().unwrap();
        let answer = match (account.mechanism, self.scram.take()) {
            ("PLAIN", _) => {
                let right = format!("\0u\0{}", account.password);
                (said == right.as_bytes()).then(|| {
                    self.is_known = true;
                    String::new()
                })
            }
            (_, None) => {
                let (scram, said) = Scram::begin(said);
                self.scram = Some(scram);
                Some(said)
            }
            (_, Some(scram)) => scram.end(said, &account).inspect(|_| self.is_known = true),
        };
        let answered = SaslAuthenticateResponse::default().with_error_message(None);
        match answer {
            Some(said) => answered.with_auth_bytes(said.into()).with_session_lifetime_ms(account.lifetime_ms),
            // Some repeat what they got.
            None => answered.with_error_code(NOT_KNOWN).with_error_message(Some(StrBytes::from_string(
                format!("not {}", String::from_utf8_lossy(said)),
            ))),
        }
    }

    fn metadata(&self, asked: MetadataRequest) -> MetadataResponse {
        let (mut brokers, mut topics) = (Vec::new(), Vec::new());
        for topic in asked.topics.unwrap() {
            let name = topic.name.unwrap();
            let mut partitions = Vec::new();
            for (number, leader) in (0..).zip((self.broker.leaders)(&name)) {
                let leader = if leader.is_empty() { self.address.to_string() } else { leader };
                let (host, port) = leader.rsplit_once(':').unwrap();
                let broker = BrokerId(i32::try_from(brokers.len()).unwrap());
                brokers.push(
                    MetadataResponseBroker::default()
                        .with_node_id(broker)
                        .with_host(StrBytes::from_string(host.to_owned()))
                        .with_port(port.parse().unwrap()),
                );
                partitions.push(
                    MetadataResponsePartition::default().with_partition_index(number).with_leader_id(broker),
                );
            }
            let code = if partitions.is_empty() { NO_SUCH_TOPIC } else { 0 };
            topics.push(
                MetadataResponseTopic::default()
                    .with_name(Some(name))
                    .with_error_code(code)
                    .with_partitions(partitions),
            );
        }
        MetadataResponse::default().with_brokers(brokers).with_topics(topics)
    }

    fn produce(&self, asked: ProduceRequest) -> Option<ProduceResponse> {
        let mut topics = Vec::new();
        for topic in asked.topic_data {
            let mut parts = Vec::new();
            for mut part in topic.partition_data {
                let sets = RecordBatchDecoder::decode_all(part.records.as_mut().unwrap()).unwrap();
                let [set] = &sets[..] else { panic!("a broker takes one batch for a partition") };
                let (code, text) = (self.broker.stores)(&topic.name, part.index, &set.records)?;
                parts.push(
                    PartitionProduceResponse::default()
                        .with_index(part.index)
                        .with_error_code(code)
                        .with_base_offset(if code == 0 { 40 } else { -1 })
                        .with_error_message(Some(StrBytes::from_static_str(text))),
                );
            }
            topics
                .push(TopicProduceResponse::default().with_name(topic.name).with_partition_responses(parts));
        }
        Some(ProduceResponse::default().with_responses(topics))
    }
}

fn versions() -> ApiVersionsResponse {
    let keys =
        [ApiKey::Produce, ApiKey::Metadata, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate, ApiKey::Fetch];
    let versions = keys.map(|key| {
        let range = key.valid_versions();
        ApiVersion::default().with_api_key(key as i16).with_min_version(range.min).with_max_version(range.max)
    });
    ApiVersionsResponse::default().with_api_keys(versions.to_vec())
}

/// The server's side of SCRAM (RFC 5802, 3).
struct Scram {
    bare: String,
    first: String,
}

impl Scram {
    fn begin(said: &[u8]) -> (Scram, String) {
        let bare = std::str::from_utf8(said).unwrap().strip_prefix("n,,").unwrap().to_owned();
        let nonce = bare.strip_prefix("n=u,r=").unwrap();
        assert!(nonce.len() >= 20, "{nonce} can be guessed");
        let first = format!("r={nonce}server,s={},i=4096", BASE64.encode(SALT));
        (Scram { bare, first: first.clone() }, first)
    }

    fn end(self, said: &[u8], account: &Account) -> Option<String> {
        let (derive, algorithm, hash) = match account.mechanism {
            "SCRAM-SHA-256" => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
            _ => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
        };
        let mut salted = vec![0; hash.output_len()];
        pbkdf2::derive(
            derive,
            NonZeroU32::new(4_096).unwrap(),
            SALT,
            account.password.as_bytes(),
            &mut salted,
        );
        let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(algorithm, key), text.as_bytes());
        let stored = digest::digest(hash, sign(&salted, "Client Key").as_ref());
        let (without, proof) = std::str::from_utf8(said).unwrap().split_once(",p=").unwrap();
        let nonce = self.first.split(',').next().unwrap();
        assert_eq!(without, format!("c=biws,{nonce}"));
        let all = format!("{},{},{without}", self.bare, self.first);
        let signature = sign(stored.as_ref(), &all);
        let proof = BASE64.decode(proof).unwrap();
        let key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = if account.is_honest { sign(&salted, "Server Key") } else { sign(b"?", "Server Key") };
        let proved = digest::digest(hash, &key).as_ref() == stored.as_ref();
        proved.then(|| format!("v={}", BASE64.encode(sign(server.as_ref(), &all))))
    }
}

/// A broker that listens.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    connections: AtomicUsize,
    /// The requests by their numbers.
    heard: Mutex<Vec<i16>>,
}

impl Peer {
    pub(crate) async fn start(broker: Broker, tls: Option<TlsAcceptor>) -> Arc<Peer> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = Arc::new(Peer { address, connections: AtomicUsize::new(0), heard: Mutex::default() });
        let (running, broker) = (Arc::clone(&peer), Arc::new(broker));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                running.connections.fetch_add(1, Ordering::SeqCst);
                let (peer, tls) = (Arc::clone(&running), tls.clone());
                let conversation = Conversation::new(Arc::clone(&broker), address);
                tokio::spawn(async move {
                    match tls {
                        None => peer.speak(stream, conversation).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => peer.speak(stream, conversation).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        peer
    }

    /// `None` is the end of the connection.
    async fn speak(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        mut conversation: Conversation,
    ) -> Option<()> {
        loop {
            let length = stream.read_u32().await.ok()?;
            let mut request = vec![0; length as usize];
            stream.read_exact(&mut request).await.ok()?;
            self.heard.lock().push(i16::from_be_bytes(request[..2].try_into().unwrap()));
            if let Some(answer) = conversation.answer(&request) {
                stream.write_all(&answer).await.ok()?;
            }
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How often a request was made.
    pub(crate) fn heard(&self, api: ApiKey) -> usize {
        self.heard.lock().iter().filter(|key| **key == api as i16).count()
    }
}
