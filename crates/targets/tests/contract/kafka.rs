//! What only the kind Kafka does: credentials, leaders, batches that are too large, and clusters that mean no good.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{Attempt, Message, Secrets, Target, Variables, kinds};

use crate::{
    LONG, PASSING, SHORT,
    brokers::tls,
    kafka_peer::{Account, Broker, Peer},
    samples::{clients, event, settings},
};

fn target(brokers: &str, change: &Value) -> Arc<dyn Target> {
    let mut config = json!({"event": "door", "brokers": brokers, "topic": "doors", "ssl": false});
    config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    kinds::find("Kafka").unwrap().compile(config.as_object().unwrap(), &settings(None)).unwrap()
}

fn message(target: &dyn Target, data: &str) -> Message {
    target.render(&Variables::new(&event(data), None, None, &Secrets::default())).unwrap()
}

async fn send(target: &dyn Target, time: Duration) -> Attempt {
    target.send(&message(target, "22.5"), &clients(time)).await
}

/// Sends these at once, all of them in one request where that can be.
async fn send_all(target: &dyn Target, all: &[&str]) -> Vec<Attempt> {
    let (messages, clients): (Vec<_>, _) =
        (all.iter().map(|data| message(target, data)).collect(), clients(LONG));
    join_all(messages.iter().map(|message| target.send(message, &clients))).await
}

fn error(attempt: &Attempt) -> &str {
    attempt.error.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn credentials_are_proved_or_sent_as_the_mechanism_has_it() {
    for (mechanism, secure) in
        [("PLAIN", true), ("SCRAM-SHA-256", false), ("SCRAM-SHA-512", false), ("SCRAM-SHA-512", true)]
    {
        let (pem, acceptor) = tls();
        let account = Account { mechanism, password: "h0sh-pw", lifetime_ms: 0, is_honest: true };
        let broker = Broker { account: Some(account), ..Broker::good(1) };
        let peer = Peer::start(broker, secure.then_some(acceptor)).await;
        let target = |mechanism: &str, password: &str| {
            let change = json!({
                "sasl": mechanism, "username": "u", "password": password, "ssl": secure, "tls": {"ca": pem}
            });
            target(&peer.address.to_string(), &change)
        };
        assert_eq!(send(&*target(mechanism, "h0sh-pw"), LONG).await.error, None, "{mechanism}");
        let wrong = send(&*target(mechanism, "wr0ng-pw"), LONG).await;
        assert_eq!(wrong.class, AttemptClass::Final, "{mechanism}");
        assert!(
            error(&wrong).starts_with("error SASL_AUTHENTICATION_FAILED from 127.0.0.1: not "),
            "{wrong:?}"
        );
        assert!(!format!("{wrong:?}").contains("wr0ng-pw"), "{wrong:?}");
        let other = if mechanism == "SCRAM-SHA-256" { "SCRAM-SHA-512" } else { "SCRAM-SHA-256" };
        let attempt = send(&*target(other, "h0sh-pw"), LONG).await;
        assert_eq!(
            error(&attempt),
            format!("error UNSUPPORTED_SASL_MECHANISM from 127.0.0.1: it offers {mechanism}")
        );
    }
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_itself_is_sent_nothing() {
    let account = Account { mechanism: "SCRAM-SHA-256", password: "p", lifetime_ms: 0, is_honest: false };
    let peer = Peer::start(Broker { account: Some(account), ..Broker::good(1) }, None).await;
    let change = json!({"sasl": "SCRAM-SHA-256", "username": "u", "password": "p"});
    let attempt = send(&*target(&peer.address.to_string(), &change), LONG).await;
    assert_eq!(attempt.class, AttemptClass::Final);
    assert_eq!(error(&attempt), "error SCRAM from 127.0.0.1: it does not know the password");
    assert_eq!(peer.heard(ApiKey::Metadata), 0);
}

#[tokio::test]
async fn a_connection_is_not_used_for_longer_than_its_credentials_hold() {
    let account = Account { mechanism: "SCRAM-SHA-256", password: "p", lifetime_ms: 1, is_honest: true };
    let peer = Peer::start(Broker { account: Some(account), ..Broker::good(1) }, None).await;
    let target = target(
        &peer.address.to_string(),
        &json!({"sasl": "SCRAM-SHA-256", "username": "u", "password": "p"}),
    );
    for connections in [2, 3] {
        assert_eq!(send(&*target, LONG).await.error, None);
        assert_eq!(peer.connections(), connections, "one for each request");
    }
}

#[tokio::test]
async fn each_record_goes_to_the_leader_of_its_key_s_partition() {
    let stored: Arc<Mutex<Vec<(u8, i32, String)>>> = Arc::default();
    let listening = |name: u8| {
        let stored = Arc::clone(&stored);
        move |_: &str, partition: i32, records: &[kafka_protocol::records::Record]| {
            let key = |record: &kafka_protocol::records::Record| {
                String::from_utf8(record.key.clone().unwrap().to_vec()).unwrap()
            };
            stored.lock().extend(records.iter().map(|record| (name, partition, key(record))));
            Some((0, ""))
        }
    };
    let second = Peer::start(Broker { stores: Box::new(listening(2)), ..Broker::good(1) }, None).await;
    let there = second.address.to_string();
    let leaders = move |_: &str| vec![String::new(), there.clone(), String::new()];
    let broker = Broker { leaders: Box::new(leaders), stores: Box::new(listening(1)), ..Broker::good(1) };
    let first = Peer::start(broker, None).await;
    let alone = json!({"key": "{{{PARTICLE_EVENT_VALUE}}}", "batch": {"max_events": 1}});
    let target = target(&first.address.to_string(), &alone);
    // By murmur2 and 3 partitions: -973932308, -790332482, 479470107.
    for attempt in send_all(&*target, &["21", "foobar", "abc"]).await {
        assert_eq!(attempt.error, None);
        let reply = attempt.reply.unwrap();
        assert_eq!(reply.headers[1], ("Offset".to_owned(), "40".to_owned()));
    }
    let mut stored = stored.lock().clone();
    stored.sort();
    let expected = |key: &str, hash: i32| {
        let partition = (hash & 0x7fff_ffff) % 3;
        (if partition == 1 { 2 } else { 1 }, partition, key.to_owned())
    };
    let mut all =
        [expected("21", -973_932_308), expected("foobar", -790_332_482), expected("abc", 479_470_107)];
    all.sort();
    assert_eq!(stored, all);
}

#[tokio::test]
async fn a_leader_that_leads_no_more_is_asked_once_and_then_the_one_that_does() {
    let second = Peer::start(Broker::good(1), None).await;
    let (asked, leader) = (Arc::new(AtomicUsize::new(0)), second.address.to_string());
    let leads = {
        let asked = Arc::clone(&asked);
        move |_: &str| {
            vec![if asked.fetch_add(1, Ordering::SeqCst) == 0 { String::new() } else { leader.clone() }]
        }
    };
    let stored = AtomicUsize::new(0);
    let stores = move |_: &str, _: i32, _: &[_]| {
        Some(if stored.fetch_add(1, Ordering::SeqCst) == 0 { (0, "") } else { (6, "") })
    };
    let broker = Broker { leaders: Box::new(leads), stores: Box::new(stores), ..Broker::good(1) };
    let first = Peer::start(broker, None).await;
    let target = target(&first.address.to_string(), &json!({}));
    for (metadata, there) in [(1, 0), (2, 1), (2, 2)] {
        assert_eq!(send(&*target, LONG).await.error, None);
        assert_eq!((first.heard(ApiKey::Metadata), second.heard(ApiKey::Produce)), (metadata, there));
    }
    assert_eq!(first.heard(ApiKey::Produce), 2);
}

#[tokio::test]
async fn who_leads_is_asked_for_anew_after_a_leader_did_not_answer_in_time() {
    let silent = Peer::start(Broker { stores: Box::new(|_, _, _| None), ..Broker::good(1) }, None).await;
    let (asked, there) = (AtomicUsize::new(0), silent.address.to_string());
    let leads = move |_: &str| {
        vec![if asked.fetch_add(1, Ordering::SeqCst) == 0 { there.clone() } else { String::new() }]
    };
    let peer = Peer::start(Broker { leaders: Box::new(leads), ..Broker::good(1) }, None).await;
    let target = target(&peer.address.to_string(), &json!({}));
    let hung = send(&*target, SHORT).await;
    assert_eq!((hung.class, error(&hung)), (PASSING, "ESOCKETTIMEDOUT"));
    assert_eq!(send(&*target, LONG).await.error, None);
    assert_eq!((silent.heard(ApiKey::Produce), peer.heard(ApiKey::Produce)), (1, 1));
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_halved_and_only_what_is_too_large_by_itself_fails() {
    let sizes: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&sizes);
    let stores = move |_: &str, _: i32, records: &[kafka_protocol::records::Record]| {
        seen.lock().push(records.len());
        let bytes: usize = records.iter().map(|record| record.value.as_ref().unwrap().len()).sum();
        Some(if bytes > 100 { (10, "too large") } else { (0, "") })
    };
    let peer = Peer::start(Broker { stores: Box::new(stores), ..Broker::good(1) }, None).await;
    let target =
        target(&peer.address.to_string(), &json!({"batch": {"max_events": 4, "max_wait_ms": 5_000}}));
    let (long, short) = ("x".repeat(101), "x".repeat(60));
    let attempts = send_all(&*target, &[&long, "1", &short, &short]).await;
    let classes: Vec<_> = attempts.iter().map(|attempt| attempt.class).collect();
    let success = AttemptClass::Success;
    assert_eq!(classes, [AttemptClass::Final, success, success, success]);
    assert_eq!(error(&attempts[0]), "error MESSAGE_TOO_LARGE from 127.0.0.1: too large");
    let mut sizes = sizes.lock().clone();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 1, 1, 2, 2, 4]);
}

#[tokio::test]
async fn of_records_that_go_together_each_has_its_own_outcome() {
    let stores = |topic: &str, _: i32, _: &[_]| match topic {
        "good" => Some((0, "")),
        "full" => Some((19, "")),
        _ => Some((29, "")),
    };
    let leaders = |topic: &str| if topic == "none" { Vec::new() } else { vec![String::new()] };
    let broker = Broker { leaders: Box::new(leaders), stores: Box::new(stores), ..Broker::good(1) };
    let peer = Peer::start(broker, None).await;
    let change =
        json!({"topic": "{{{PARTICLE_EVENT_VALUE}}}", "batch": {"max_events": 4, "max_wait_ms": 5_000}});
    let attempts =
        send_all(&*target(&peer.address.to_string(), &change), &["good", "full", "mine", "none"]).await;
    let errors: Vec<_> = attempts.iter().map(|attempt| (attempt.class, error(attempt))).collect();
    assert_eq!(
        errors,
        [
            (AttemptClass::Success, ""),
            (
                PASSING,
                "error NOT_ENOUGH_REPLICAS from 127.0.0.1: fewer replicas are in sync than the topic asks for"
            ),
            (
                AttemptClass::Final,
                "error TOPIC_AUTHORIZATION_FAILED from 127.0.0.1: the user may not write to the topic"
            ),
            (PASSING, "error UNKNOWN_TOPIC_OR_PARTITION from 127.0.0.1: there is no such topic"),
        ]
    );
    assert_eq!(peer.heard(ApiKey::Produce), 1);
}

#[tokio::test]
async fn addresses_that_a_cluster_announces_are_checked_as_those_that_are_written() {
    for (announced, refused) in
        [("169.254.169.254:80", "a link-local address"), ("::1:9092", "a loopback address")]
    {
        let broker = Broker { leaders: Box::new(|_| vec![announced.to_owned()]), ..Broker::good(1) };
        let peer = Peer::start(broker, None).await;
        let attempt = send(&*target(&peer.address.to_string(), &json!({})), LONG).await;
        assert_eq!(attempt.class, AttemptClass::Final, "{attempt:?}");
        let error = error(&attempt);
        assert!(error.starts_with("EADDRNOTALLOWED: ") && error.contains(refused), "{error}");
        assert!(error.contains("; the cluster announces this broker as "), "{error}");
    }
}

#[tokio::test]
async fn brokers_are_asked_one_after_the_other_until_one_answers() {
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer::start(Broker::good(1), None).await;
    let brokers = format!("{}, {}", away.local_addr().unwrap(), peer.address);
    drop(away);
    let target = target(&brokers, &json!({}));
    assert_eq!(send(&*target, LONG).await.error, None);
    assert!(!brokers.starts_with(&peer.address.to_string()), "the lane is that of the first");
    assert_eq!(message(&*target, "").destination, brokers.split(',').next().unwrap());
}

#[tokio::test]
async fn an_answer_that_is_none_ends_its_attempt_and_nothing_else() {
    const HUGE: &[u8] = &[0x7f, 0xff, 0xff, 0xff];
    for (answer, text) in [
        // Lists of two thousand millions.
        ([&[0, 0, 0, 10, 0, 0, 0, 1, 0, 0][..], HUGE].concat(), "EPROTO: the broker's answer cannot be read"),
        (vec![0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0], "EPROTO: the broker answers another request"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "EPROTO: this is no answer of a broker; does ssl say whether it has TLS?",
        ),
        (
            vec![0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            "error UNSUPPORTED_VERSION from 127.0.0.1: the broker speaks other versions of the protocol",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_u32().await.unwrap();
            stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
            stream.write_all(&answer).await.unwrap();
            // Until the other side ends it.
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        });
        let attempt = send(&*target(&address, &json!({})), LONG).await;
        assert_eq!(error(&attempt), text);
        peer.await.unwrap();
    }
}

#[tokio::test]
async fn a_record_has_the_event_s_time_and_what_tells_it_from_others() {
    static SEEN: OnceLock<kafka_protocol::records::Record> = OnceLock::new();
    let stores = |_: &str, _: i32, records: &[kafka_protocol::records::Record]| {
        SEEN.set(records[0].clone()).ok().map(|()| (0, ""))
    };
    let peer = Peer::start(Broker { stores: Box::new(stores), ..Broker::good(1) }, None).await;
    let target = target(&peer.address.to_string(), &json!({"headers": {"site": "eu", "event": "door"}}));
    assert_eq!(send(&*target, LONG).await.error, None);
    let record = SEEN.get().unwrap();
    assert_eq!(record.timestamp, 1_704_164_645_678);
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"d 1"[..]), Some(&b"22.5"[..])));
    let headers = record.headers.iter().map(|(name, value)| {
        format!("{name}={}", String::from_utf8(value.clone().unwrap().to_vec()).unwrap())
    });
    assert_eq!(
        headers.collect::<Vec<_>>(),
        [
            "event_id=01010101-0101-0101-0101-010101010101",
            "delivery_id=01010101-0101-0101-0101-010101010101",
            "device_id=d 1",
            "published_at=2024-01-02T03:04:05.678Z",
            "product_id=7",
            "site=eu",
            "event=door",
        ]
    );
}
