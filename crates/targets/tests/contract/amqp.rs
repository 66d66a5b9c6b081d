//! What the kind Amqp makes of a broker that confirms some messages of several and not others.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{
    Attempt, BoxFuture, Clients, Message, Target, kinds,
    net::{ClientSettings, Resolve},
};

use crate::{
    LONG, PASSING, SHORT,
    samples::{BROKERS, addresses, clients, settings},
};

/// Class and method of a message that is published.
pub(crate) const PUBLISH: &[u8] = b"\0\x3c\0\x28";

/// A frame with a method in it.
pub(crate) fn frame(channel: u8, method: &[u8]) -> Vec<u8> {
    let length = u32::try_from(method.len()).unwrap().to_be_bytes();
    [&[1, 0, channel], &length[..], method, b"\xce"].concat()
}

/// The message with this number is taken, or all up to it; 0 means all.
pub(crate) fn confirmed(tag: u8, multiple: bool) -> Vec<u8> {
    frame(1, &[0, 0x3c, 0, 0x50, 0, 0, 0, 0, 0, 0, 0, tag, u8::from(multiple)])
}

/// What a broker says until messages may be published.
pub(crate) fn taking(said: &[u8]) -> Vec<u8> {
    match said.get(7..11).unwrap_or_default() {
        _ if said.starts_with(b"AMQP") => frame(0, b"\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\0"),
        b"\0\x0a\0\x0b" => frame(0, b"\0\x0a\0\x1e\0\0\0\0\0\0\0\0"),
        b"\0\x0a\0\x1f" => frame(0, b"\0\x0a\0\x29\0"),
        b"\0\x14\0\x0a" => frame(1, b"\0\x14\0\x0b\0\0\0\0"),
        b"\0\x55\0\x0a" => frame(1, b"\0\x55\0\x0b"),
        _ => Vec::new(),
    }
}

/// An end of the channel.
fn channel_closed(code: u16, text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    frame(
        1,
        &[b"\0\x14\0\x28", &code.to_be_bytes()[..], &[length], text.as_bytes(), b"\0\x3c\0\x28"].concat(),
    )
}

/// What a broker does about messages that have come together.
enum Does {
    Says(Vec<u8>),
    /// It ends the connection after that.
    Leaves(Vec<u8>),
}

/// A broker. `hear` gets the bodies of messages that came together.
struct Broker {
    address: SocketAddr,
    connections: Arc<Mutex<usize>>,
}

impl Broker {
    async fn start(hear: impl Fn(&[String]) -> Does + Send + Sync + 'static) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(0));
        let (count, hear) = (Arc::clone(&connections), Arc::new(hear));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock() += 1;
                let hear = Arc::clone(&hear);
                tokio::spawn(async move { speak(stream, &*hear).await });
            }
        });
        Broker { address, connections }
    }
}

async fn speak(mut stream: TcpStream, hear: &(dyn Fn(&[String]) -> Does + Send + Sync)) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        if length == 0 {
            return;
        }
        let (mut answer, mut bodies, mut leaves) = (Vec::new(), Vec::new(), false);
        for frame in frames(&buffer[..length]) {
            answer.extend(taking(frame));
            if frame[0] == 3 {
                bodies.push(String::from_utf8(frame[7..frame.len() - 1].to_vec()).unwrap());
            }
        }
        if !bodies.is_empty() {
            match hear(&bodies) {
                Does::Says(more) => answer.extend(more),
                Does::Leaves(more) => {
                    answer.extend(more);
                    leaves = true;
                }
            }
        }
        if stream.write_all(&answer).await.is_err() || leaves {
            return;
        }
    }
}

/// What a client has said, frame by frame; its first words are no frame.
fn frames(mut said: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while said.len() >= 8 {
        let length = match said.strip_prefix(b"AMQP") {
            Some(_) => 8,
            None => u32::from_be_bytes(said[3..7].try_into().unwrap()) as usize + 8,
        };
        let (frame, rest) = said.split_at(length);
        frames.push(frame);
        said = rest;
    }
    frames
}

fn target(address: &str) -> Arc<dyn Target> {
    let sample = BROKERS.iter().find(|sample| sample.kind == "Amqp").unwrap();
    let mut config = sample.config(&format!("http://{address}"));
    config.insert("batch".to_owned(), json!({"max_wait_ms": 50}));
    kinds::find("Amqp").unwrap().compile(&config, &settings(None)).unwrap()
}

/// Messages with these bodies, and what becomes of them when they are sent at once.
async fn send_all(target: &dyn Target, bodies: &[&str], clients: &Clients) -> Vec<Attempt> {
    let sample = BROKERS.iter().find(|sample| sample.kind == "Amqp").unwrap();
    let message = sample.render(target).unwrap();
    let send = |body: &&str| {
        let message = Message { body: (*body).to_owned().into(), ..message.clone() };
        async move { target.send(&message, clients).await }
    };
    join_all(bodies.iter().map(send)).await
}

#[tokio::test]
async fn messages_go_together_and_each_has_its_own_outcome() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heard);
    let broker = Broker::start(move |bodies| {
        noted.lock().push(bodies.to_vec());
        let refused = frame(1, b"\0\x3c\0\x78\0\0\0\0\0\0\0\x02\x02");
        Does::Says([confirmed(3, false), refused, confirmed(1, false)].concat())
    });
    let target = target(&broker.await.address.to_string());
    let attempts = send_all(&*target, &["a", "b", "c"], &clients(LONG)).await;
    let classes: Vec<_> = attempts.iter().map(|attempt| attempt.class).collect();
    assert_eq!(classes, [AttemptClass::Success, PASSING, AttemptClass::Success]);
    assert_eq!(attempts[1].error.as_deref(), Some("error NACK from 127.0.0.1: not stored"));
    assert_eq!(*heard.lock(), [["a", "b", "c"]]);
}

#[tokio::test]
async fn where_one_message_ends_the_channel_the_others_are_sent_each_for_itself() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heard);
    let broker = Broker::start(move |bodies| {
        noted.lock().push(bodies.to_vec());
        let no = channel_closed(406, "PRECONDITION_FAILED - not this one");
        Does::Says(match (bodies.len(), &*bodies[0]) {
            (1, "bad") => no,
            (1, _) => confirmed(0, true),
            _ => [confirmed(1, false), no].concat(),
        })
    });
    let target = target(&broker.await.address.to_string());
    let attempts = send_all(&*target, &["a", "bad", "c"], &clients(LONG)).await;
    let errors: Vec<_> = attempts.iter().map(|attempt| attempt.error.as_deref()).collect();
    let no = "error 406 PRECONDITION_FAILED from 127.0.0.1: not this one";
    assert_eq!(errors, [None, Some(no), None]);
    assert_eq!(attempts[1].class, AttemptClass::Final);
    let mut heard = heard.lock().clone();
    heard[1..].sort();
    assert_eq!(heard, [&["a", "bad", "c"][..], &["bad"], &["c"]], "what is confirmed is not sent again");
}

#[tokio::test]
async fn an_exchange_that_is_not_there_is_an_error_of_all_at_once_and_the_connection_is_of_further_use() {
    let heard = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&heard);
    let broker = Broker::start(move |bodies| {
        *noted.lock() += bodies.len();
        Does::Says(channel_closed(404, "NOT_FOUND - no exchange 'doors' in vhost '/'"))
    });
    let broker = broker.await;
    let target = target(&broker.address.to_string());
    let clients = clients(LONG);
    for _ in 0..2 {
        for attempt in send_all(&*target, &["a", "b"], &clients).await {
            let error = "error 404 NOT_FOUND from 127.0.0.1: no exchange 'doors' in vhost '/'";
            assert_eq!((attempt.class, attempt.error.as_deref()), (AttemptClass::Final, Some(error)));
        }
    }
    assert_eq!((*heard.lock(), *broker.connections.lock()), (4, 1));
}

#[tokio::test]
async fn what_was_confirmed_before_the_connection_ended_is_a_success() {
    let broker = Broker::start(|_| Does::Leaves(confirmed(2, true))).await;
    let target = target(&broker.address.to_string());
    let attempts = send_all(&*target, &["a", "b", "c"], &clients(LONG)).await;
    let errors: Vec<_> = attempts.iter().map(|attempt| attempt.error.as_deref()).collect();
    assert_eq!(errors, [None, None, Some("ECONNRESET")]);
    assert_eq!(attempts[2].class, PASSING);
}

#[tokio::test]
async fn a_broker_that_takes_no_more_may_still_confirm_and_its_connection_is_not_used_again() {
    let blocked = frame(0, b"\0\x0a\0\x3c\x06memory");
    let broker = Broker::start(move |bodies| {
        let confirms = if bodies[0] == "a" { confirmed(0, true) } else { Vec::new() };
        Does::Says([blocked.clone(), confirms].concat())
    });
    let broker = broker.await;
    let (target, clients) = (target(&broker.address.to_string()), clients(LONG));
    let attempts = send_all(&*target, &["a"], &clients).await;
    assert_eq!(attempts[0].error, None);
    let attempts = send_all(&*target, &["b", "b"], &clients).await;
    for attempt in attempts {
        let error = "error connection.blocked from 127.0.0.1: memory";
        assert_eq!((attempt.class, attempt.error.as_deref()), (PASSING, Some(error)));
    }
    assert_eq!(*broker.connections.lock(), 2);
}

/// Finds nothing, ever.
struct Nowhere;

impl Resolve for Nowhere {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn who_waits_for_one_without_a_connection_has_none_either() {
    let target = target("broker.example:5672");
    let clients = |timeout: Duration| {
        Clients::with_resolver(
            &ClientSettings { timeout, addresses: addresses(), ..ClientSettings::default() },
            Nowhere,
        )
        .unwrap()
    };
    for attempt in send_all(&*target, &["a", "b"], &clients(SHORT)).await {
        assert_eq!((attempt.class, attempt.error.as_deref()), (PASSING, Some("ETIMEDOUT")));
    }
}
