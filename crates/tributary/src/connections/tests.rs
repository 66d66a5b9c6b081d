//! Callers that are slow, silent, many or unreadable, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

use axum::{Router, body::Bytes, extract::DefaultBodyLimit, http::StatusCode, routing};
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tributary_control::addressed::Addressed;

use super::*;

/// Longer than every time of [`times`], and short enough for a test.
const SOON: Duration = Duration::from_secs(10);

fn times() -> Times {
    let ms = Duration::from_millis;
    Times { head: ms(300), body: ms(300), idle: ms(600), write: ms(300), bytes_per_second: 1_000_000 }
}

fn router() -> Router {
    let endless = || async {
        let chunks =
            stream::iter(std::iter::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![b'x'; 65_536]))));
        Body::from_stream(chunks)
    };
    let quiet = || async {
        let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"first"))]);
        Body::from_stream(first.chain(stream::pending()))
    };
    let whole = |body: Result<Bytes, axum::extract::rejection::BytesRejection>| async move {
        body.map(|body| body.len().to_string()).map_err(|_| StatusCode::REQUEST_TIMEOUT)
    };
    let who = |axum::Extension(addressed): axum::Extension<Addressed>| async move {
        format!("{:?} {}", addressed.from(), addressed.base(Some("own")))
    };
    Router::new()
        .route("/", routing::get(|| async { "here" }))
        .route("/endless", routing::get(endless))
        .route("/quiet", routing::get(quiet))
        .route("/who", routing::get(who))
        .route("/body", routing::post(whole).layer(DefaultBodyLimit::disable()))
}

struct Server {
    address: std::net::SocketAddr,
    closing: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(bounds: Bounds, addressing: Addressing) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, closed) = watch::channel(false);
        let settings = Settings { bounds, times: times(), addressing: Arc::new(addressing) };
        let task = tokio::spawn(serve(listener, router(), settings, closed));
        Server { address, closing, task }
    }

    async fn usual() -> Server {
        Server::start(Bounds { all: 100, per_address: 100 }, Addressing::default()).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// The whole answer to a request on a connection of its own.
    async fn ask(&self, path: &str, headers: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        to_the_end(&mut self.send(&request).await).await
    }
}

async fn to_the_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the last byte is an end too.
    let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn some(stream: &mut TcpStream) -> String {
    let mut part = [0; 4_096];
    let read = timeout(SOON, stream.read(&mut part)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&part[..read]).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_ends_the_connection_however_it_trickles() {
    let server = Server::usual().await;
    let begun = Instant::now();
    let mut silent = server.connect().await;
    let mut half = server.send("GET / HTTP/1.1\r\nHost: x\r\nX: ").await;
    let trickling = {
        let mut stream = server.send("GET / HTTP/1.1\r\n").await;
        tokio::spawn(async move {
            while stream.write_all(b"X: y\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    assert_eq!(to_the_end(&mut silent).await, "");
    assert_eq!(to_the_end(&mut half).await, "");
    assert!(begun.elapsed() >= times().head);
    timeout(SOON, trickling).await.expect("trickling ends").unwrap();
}

#[tokio::test]
async fn a_connection_that_asks_no_more_ends_after_the_idle_time_and_not_before() {
    let server = Server::usual().await;
    let mut stream = server.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(some(&mut stream).await.ends_with("here"));
    tokio::time::sleep(times().head + Duration::from_millis(50)).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(some(&mut stream).await.ends_with("here"), "idle for longer than a head may take");
    let begun = Instant::now();
    assert_eq!(to_the_end(&mut stream).await, "");
    assert!(begun.elapsed() >= times().idle - Duration::from_millis(50));
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_given_up_and_a_large_one_has_its_time() {
    let server = Server::usual().await;
    let mut slow = server.send("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc").await;
    assert!(to_the_end(&mut slow).await.starts_with("HTTP/1.1 408"));
    // More than `body` in all, and faster than the slowest rate.
    let mut large = server.send("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n").await;
    for _ in 0..20 {
        large.write_all(&[b'x'; 100_000]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(some(&mut large).await.ends_with("2000000"));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_off_and_a_quiet_stream_is_not() {
    let server = Server::usual().await;
    let mut quiet = server.send("GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(some(&mut quiet).await.starts_with("HTTP/1.1 200"));
    let mut unread = server.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await;
    tokio::time::sleep(times().write * 4).await;
    let mut rest = vec![0; 1 << 20];
    let ended = async { while unread.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    timeout(SOON, ended).await.expect("what was sent before comes to an end");
    let still = timeout(Duration::from_millis(100), quiet.read(&mut rest)).await;
    assert!(
        still.is_err() || still.is_ok_and(|read| read.is_ok_and(|read| read > 0)),
        "open for longer than all times"
    );
}

#[tokio::test]
async fn silent_connections_make_room_for_those_who_ask() {
    let server = Server::start(Bounds { all: 50, per_address: 20 }, Addressing::default()).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(server.send("GET / HTTP/1.1\r\nX: ").await);
        if silent.len() == 20 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(server.ask("/", "").await.ends_with("here"));
}

#[tokio::test]
async fn where_all_are_being_answered_a_newcomer_is_told_so() {
    let server = Server::start(Bounds { all: 50, per_address: 3 }, Addressing::default()).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = server.send("GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(some(&mut stream).await.starts_with("HTTP/1.1 200"));
        streams.push(stream);
    }
    let refused = server.ask("/", "").await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 5"), "{refused}");
    assert!(refused.contains("server.connections_per_address"), "{refused}");
    streams.pop();
    let begun = Instant::now();
    while !server.ask("/", "").await.ends_with("here") {
        assert!(begun.elapsed() < SOON, "a place comes back");
    }
}

#[tokio::test]
async fn a_declared_proxy_has_no_bound_of_its_own_and_tells_who_asks() {
    let addressing =
        Addressing { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..Addressing::default() };
    let server = Server::start(Bounds { all: 50, per_address: 1 }, addressing).await;
    let mut first = server.send("GET /quiet HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(some(&mut first).await.starts_with("HTTP/1.1 200"));
    let told = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: fleet.example\r\n";
    let answer = server.ask("/who", told).await;
    assert!(answer.ends_with("Some(198.51.100.7) https://fleet.example"), "{answer}");
    let server = Server::usual().await;
    let answer = server.ask("/who", told).await;
    assert!(answer.ends_with("Some(127.0.0.1) http://own"), "{answer}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_waits_for_those_being_answered() {
    let server = Server::usual().await;
    let mut idle = server.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(some(&mut idle).await.ends_with("here"));
    let mut sending = server.send("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.closing.send_replace(true);
    assert_eq!(to_the_end(&mut idle).await, "");
    sending.write_all(b"cd").await.unwrap();
    assert!(to_the_end(&mut sending).await.ends_with('4'));
    timeout(SOON, server.task).await.expect("the server ends").unwrap();
}
