//! The five requests that it takes to store records, and their answers. Of each the versions are used that both sides know,
//! and of those the ones that every broker since Kafka 0.11 has.

use bytes::{BufMut as _, Bytes};

use super::{
    codec::{Input, put_bytes, put_count, put_text},
    errors::Code,
};

/// How this client is called in a broker's logs and quotas.
const CLIENT: &str = "tributary";
/// Replicas that must have a record before it counts as stored: all that are in sync.
const ALL_REPLICAS: i16 = -1;
/// How long a broker waits for them, in milliseconds: it shall answer before an attempt is given up.
const REPLICAS_MS: i32 = 10_000;

/// A request, and the versions of it that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Api {
    key: i16,
    lowest: i16,
    highest: i16,
}

pub(super) const PRODUCE: Api = Api { key: 0, lowest: 3, highest: 8 };
pub(super) const METADATA: Api = Api { key: 3, lowest: 4, highest: 4 };
pub(super) const SASL_HANDSHAKE: Api = Api { key: 17, lowest: 1, highest: 1 };
pub(super) const API_VERSIONS: Api = Api { key: 18, lowest: 0, highest: 0 };
pub(super) const SASL_AUTHENTICATE: Api = Api { key: 36, lowest: 0, highest: 1 };
/// Those whose versions are agreed upon.
const AGREED: [Api; 4] = [PRODUCE, METADATA, SASL_HANDSHAKE, SASL_AUTHENTICATE];

/// The versions that both sides know, of each request the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions([Option<i16>; AGREED.len()]);

impl Versions {
    /// The version of a request; the one of `ApiVersions` is known to all.
    pub(super) fn of(&self, api: Api) -> Option<i16> {
        match AGREED.iter().position(|agreed| *agreed == api) {
            Some(at) => self.0[at],
            None => Some(api.highest),
        }
    }

    /// Reads the answer to `ApiVersions`.
    pub(super) fn read(input: &mut Input) -> Option<(Code, Versions)> {
        let code = Code(input.i16()?);
        let mut versions = Versions::default();
        input.list(|input| {
            let (key, lowest, highest) = (input.i16()?, input.i16()?, input.i16()?);
            if let Some(at) = AGREED.iter().position(|api| api.key == key) {
                let best = highest.min(AGREED[at].highest);
                versions.0[at] = (best >= lowest.max(AGREED[at].lowest)).then_some(best);
            }
            Some(())
        })?;
        Some((code, versions))
    }
}

/// The bytes of a request, with its length before them.
pub(super) fn request(api: Api, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut head = Vec::with_capacity(32);
    head.put_i16(api.key);
    head.put_i16(version);
    head.put_i32(correlation);
    put_text(&mut head, CLIENT);
    let mut out = Vec::with_capacity(body.len() + head.len() + 4);
    put_count(&mut out, head.len() + body.len());
    out.extend_from_slice(&head);
    out.extend_from_slice(body);
    out
}

/// `Metadata`: who leads the partitions of these topics. What becomes of one that is missing, the broker's settings say.
pub(super) fn metadata(topics: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    put_count(&mut body, topics.len());
    for topic in topics {
        put_text(&mut body, topic);
    }
    body.put_u8(1);
    body
}

/// What a broker says of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundTopic {
    pub(super) name: String,
    pub(super) code: Code,
    /// Number, and who leads it: the number of a broker, or -1.
    pub(super) partitions: Vec<(i32, i32)>,
}

/// What a broker says of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Number, host and port.
    pub(super) brokers: Vec<(i32, String, i32)>,
    pub(super) topics: Vec<FoundTopic>,
}

impl Found {
    /// Reads the answer to `Metadata`.
    pub(super) fn read(input: &mut Input) -> Option<Found> {
        let _throttled_ms = input.i32()?;
        let brokers = input.list(|input| {
            let broker = (input.i32()?, input.text()?, input.i32()?);
            let _rack = input.text()?;
            Some(broker)
        })?;
        let (_cluster, _controller) = (input.text()?, input.i32()?);
        let topics = input.list(|input| {
            let (code, name, _is_internal) = (Code(input.i16()?), input.text()?, input.flag()?);
            let partitions = input.list(|input| {
                let (_code, number, leader) = (input.i16()?, input.i32()?, input.i32()?);
                let _replicas = (input.list(Input::i32)?, input.list(Input::i32)?);
                Some((number, leader))
            })?;
            Some(FoundTopic { name, code, partitions })
        })?;
        Some(Found { brokers, topics })
    }
}

/// `SaslHandshake`
pub(super) fn sasl_handshake(mechanism: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, mechanism);
    body
}

/// Reads the answer to `SaslHandshake`: the mechanisms that the broker has.
pub(super) fn read_sasl_handshake(input: &mut Input) -> Option<(Code, Vec<String>)> {
    Some((Code(input.i16()?), input.list(Input::text)?))
}

/// `SaslAuthenticate`
pub(super) fn sasl_authenticate(said: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_bytes(&mut body, said);
    body
}

/// The answer to `SaslAuthenticate`.
pub(super) struct SaslAnswer {
    pub(super) code: Code,
    pub(super) text: String,
    pub(super) said: Bytes,
    /// After so many milliseconds the connection is of no more use; 0: it has no end.
    pub(super) lifetime_ms: i64,
}

impl SaslAnswer {
    pub(super) fn read(input: &mut Input, version: i16) -> Option<SaslAnswer> {
        let (code, text, said) = (Code(input.i16()?), input.text()?, input.bytes()?);
        let lifetime_ms = if version >= 1 { input.i64()? } else { 0 };
        Some(SaslAnswer { code, text, said, lifetime_ms })
    }
}

/// `Produce`: a batch of records for each of some partitions, ordered by topic.
pub(super) fn produce(batches: &[(&str, i32, Vec<u8>)]) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(batches.iter().map(|(topic, _, batch)| topic.len() + batch.len() + 16).sum());
    body.put_i16(-1); // no transaction
    body.put_i16(ALL_REPLICAS);
    body.put_i32(REPLICAS_MS);
    let topics: Vec<_> = batches.chunk_by(|(one, ..), (other, ..)| one == other).collect();
    put_count(&mut body, topics.len());
    for partitions in topics {
        put_text(&mut body, partitions.first().map_or("", |(topic, ..)| topic));
        put_count(&mut body, partitions.len());
        for (_, partition, batch) in partitions {
            body.put_i32(*partition);
            put_bytes(&mut body, batch);
        }
    }
    body
}

/// What became of the batch for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) code: Code,
    /// Where the first record is, when there is no error.
    pub(super) offset: i64,
    /// What the broker says of an error.
    pub(super) text: String,
}

impl Stored {
    /// Reads the answer to `Produce`.
    pub(super) fn read(input: &mut Input, version: i16) -> Option<Vec<Stored>> {
        let topics = input.list(|input| {
            let topic = input.text()?;
            input.list(|input| {
                let (partition, code, offset) = (input.i32()?, Code(input.i16()?), input.i64()?);
                let _appended_ms = input.i64()?;
                if version >= 5 {
                    let _log_begins = input.i64()?;
                }
                let mut text = String::new();
                if version >= 8 {
                    let wrong = input.list(|input| Some((input.i32()?, input.text()?)))?;
                    text = input.text()?;
                    // What is wrong with the record says more than that one is wrong.
                    text =
                        wrong.into_iter().map(|(_, text)| text).find(|text| !text.is_empty()).unwrap_or(text);
                }
                Some(Stored { topic: topic.clone(), partition, code, offset, text })
            })
        })?;
        Some(topics.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::BytesMut;
    use kafka_protocol::{
        messages::{
            ApiVersionsResponse, BrokerId, MetadataRequest, MetadataResponse, ProduceRequest,
            ProduceResponse, RequestHeader, SaslAuthenticateResponse, TopicName,
            api_versions_response::ApiVersion,
            metadata_response::{MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic},
            produce_response::{BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse},
        },
        protocol::{Decodable, Encodable, StrBytes},
    };

    use super::*;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn said(answer: &impl Encodable, version: i16) -> Bytes {
        let mut bytes = BytesMut::new();
        answer.encode(&mut bytes, version).unwrap();
        bytes.freeze()
    }

    /// Reads what was said as a whole, and nothing where any part of it is missing.
    fn whole<T>(bytes: &Bytes, mut read: impl FnMut(&mut Input) -> Option<T>) -> T {
        for length in 0..bytes.len() {
            assert!(read(&mut Input(bytes.slice(..length))).is_none(), "{length} of {}", bytes.len());
        }
        let mut input = Input(bytes.clone());
        let answer = read(&mut input).unwrap();
        assert!(input.0.is_empty());
        answer
    }

    #[test]
    fn both_sides_speak_the_highest_version_that_both_know() {
        let api = |key, lowest, highest| {
            ApiVersion::default().with_api_key(key).with_min_version(lowest).with_max_version(highest)
        };
        let keys = vec![api(0, 0, 12), api(3, 5, 9), api(36, 0, 0), api(99, 0, 1)];
        let answer = ApiVersionsResponse::default().with_api_keys(keys);
        let (code, versions) = whole(&said(&answer, 0), Versions::read);
        assert_eq!(code, Code(0));
        assert_eq!([PRODUCE, METADATA, SASL_HANDSHAKE].map(|api| versions.of(api)), [Some(8), None, None]);
        assert_eq!([SASL_AUTHENTICATE, API_VERSIONS].map(|api| versions.of(api)), [Some(0), Some(0)]);
    }

    #[test]
    fn requests_are_what_another_implementation_reads() {
        let bytes = request(METADATA, 4, 7, &metadata(&["a", "b"]));
        let (length, rest) = bytes.split_first_chunk().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, rest.len());
        let mut rest = rest;
        let header = RequestHeader::decode(&mut rest, 1).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version, header.correlation_id), (3, 4, 7));
        assert_eq!(header.client_id.as_deref(), Some("tributary"));
        let read = MetadataRequest::decode(&mut rest, 4).unwrap();
        let names = read.topics.unwrap().into_iter().map(|topic| topic.name.unwrap().to_string());
        assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
        assert!(read.allow_auto_topic_creation && rest.is_empty());

        let body = produce(&[("a", 0, b"x".to_vec()), ("a", 3, b"yy".to_vec()), ("b", 0, b"z".to_vec())]);
        let mut rest = &body[..];
        let read = ProduceRequest::decode(&mut rest, 8).unwrap();
        assert!(rest.is_empty());
        assert_eq!((read.acks, read.transactional_id), (-1, None));
        let mut sent = Vec::new();
        for topic in &read.topic_data {
            for part in &topic.partition_data {
                sent.push((topic.name.to_string(), part.index, part.records.clone().unwrap()));
            }
        }
        let row = |topic: &str, number, bytes: &'static str| (topic.to_owned(), number, Bytes::from(bytes));
        assert_eq!(sent, [row("a", 0, "x"), row("a", 3, "yy"), row("b", 0, "z")]);
    }

    #[test]
    fn what_a_broker_says_of_the_cluster_is_read() {
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(2))
            .with_host(text("k2.example"))
            .with_port(9_093)
            .with_rack(None);
        let part = MetadataResponsePartition::default()
            .with_partition_index(1)
            .with_leader_id(BrokerId(2))
            .with_replica_nodes(vec![BrokerId(2), BrokerId(3)])
            .with_isr_nodes(vec![BrokerId(2)]);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text("doors"))))
            .with_error_code(5)
            .with_partitions(vec![part]);
        let answer = MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(text("c")))
            .with_topics(vec![topic]);
        let topic = FoundTopic { name: "doors".to_owned(), code: Code(5), partitions: vec![(1, 2)] };
        assert_eq!(
            whole(&said(&answer, 4), Found::read),
            Found { brokers: vec![(2, "k2.example".to_owned(), 9_093)], topics: vec![topic] }
        );
    }

    #[test]
    fn what_became_of_each_batch_is_read_in_every_version() {
        let part = PartitionProduceResponse::default()
            .with_index(4)
            .with_error_code(87)
            .with_base_offset(-1)
            .with_error_message(None);
        for version in PRODUCE.lowest..=PRODUCE.highest {
            let mut part = part.clone();
            if version >= 8 {
                let wrong = BatchIndexAndErrorMessage::default()
                    .with_batch_index(0)
                    .with_batch_index_error_message(Some(text("no key")));
                part = part.with_record_errors(vec![wrong]);
            }
            let topic = TopicProduceResponse::default()
                .with_name(TopicName(text("doors")))
                .with_partition_responses(vec![part]);
            let answer = ProduceResponse::default().with_responses(vec![topic]);
            let mut bytes = said(&answer, version);
            // The last part tells for how long a quota holds up this client, which the broker does by itself.
            bytes.truncate(bytes.len() - 4);
            let stored = Stored {
                topic: "doors".to_owned(),
                partition: 4,
                code: Code(87),
                offset: -1,
                text: if version >= 8 { "no key".to_owned() } else { String::new() },
            };
            assert_eq!(whole(&bytes, |input| Stored::read(input, version)), [stored], "{version}");
        }
    }

    #[test]
    fn an_answer_about_credentials_may_end_a_connection_s_use() {
        let answer = SaslAuthenticateResponse::default()
            .with_error_message(None)
            .with_auth_bytes(Bytes::from_static(b"v=x"))
            .with_session_lifetime_ms(60_000);
        let read = whole(&said(&answer, 1), |input| SaslAnswer::read(input, 1));
        assert_eq!((read.code, &read.said[..], read.lifetime_ms), (Code(0), &b"v=x"[..], 60_000));
    }
}
