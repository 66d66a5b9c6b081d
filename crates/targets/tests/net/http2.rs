//! HTTP/2: limits that servers set, and requests that they did not look at.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{Attempt, Clients, net::Via};

use crate::{PASSING, clients, error, message, tls};

/// What happened at a server.
#[derive(Clone, Default)]
struct Seen {
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
}

impl Seen {
    fn counts(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.requests.load(Ordering::SeqCst))
    }
}

/// Accepts connections and hands them on with the count so far.
async fn listen<F>(
    protocols: &[&str],
    speak: impl Fn(TlsStream<TcpStream>, Seen, usize) -> F + Send + Sync + 'static,
) -> (SocketAddr, Seen)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor: TlsAcceptor = tls::any_server(protocols);
    let seen = Seen::default();
    let noted = seen.clone();
    let speak = Arc::new(speak);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, seen, speak) = (acceptor.clone(), noted.clone(), speak.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let before = seen.connections.fetch_add(1, Ordering::SeqCst);
                speak(stream, seen, before).await;
            });
        }
    });
    (address, seen)
}

/// Answers each request after 20 ms; takes so many at once.
async fn limited(limit: u32) -> (SocketAddr, Seen) {
    listen(&["h2", "http/1.1"], move |stream, seen, _| async move {
        let answer = service_fn(move |_: Request<Incoming>| {
            let seen = seen.clone();
            async move {
                seen.requests.fetch_add(1, Ordering::SeqCst);
                let now = seen.at_once.fetch_add(1, Ordering::SeqCst) + 1;
                seen.most_at_once.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                seen.at_once.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
            }
        });
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(limit);
        // How the connection ends is told by what the client reports.
        _ = server.serve_connection(TokioIo::new(stream), answer).await;
    })
    .await
}

async fn burst(clients: &Clients, address: SocketAddr, count: usize) -> Vec<Attempt> {
    let message = message(&format!("https://{address}/"));
    let sent = (0..count).map(|_| clients.send(&message, Via::AnyCertificate));
    futures_util::future::join_all(sent).await
}

fn assert_all_taken(attempts: &[Attempt]) {
    let failed: Vec<_> = attempts.iter().filter(|attempt| attempt.error.is_some()).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), attempts.len(), failed.first());
}

#[tokio::test]
async fn a_burst_larger_than_the_server_takes_at_once_goes_over_one_connection_without_an_error() {
    for (limit, count) in [(10, 60), (1, 20), (50, 64), (200, 100)] {
        let (address, seen) = limited(limit).await;
        let clients = clients();
        assert_all_taken(&burst(&clients, address, count).await);
        assert_all_taken(&burst(&clients, address, count).await);
        assert_eq!(seen.counts(), (1, 2 * count), "limit {limit}");
        assert!(seen.most_at_once.load(Ordering::SeqCst) <= limit as usize);
    }
}

/// Answers over h2, or gives a stream back unprocessed as `refuse` decides by the stream's number on its connection.
async fn choosy(
    refuse: impl Fn(usize, usize) -> Option<h2::Reason> + Copy + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    listen(&["h2"], move |stream, seen, connection| async move {
        let mut server = h2::server::handshake(stream).await.unwrap();
        let mut number = 0;
        while let Some(Ok((_, mut respond))) = server.accept().await {
            match refuse(connection, number) {
                Some(reason) => respond.send_reset(reason),
                None => {
                    seen.requests.fetch_add(1, Ordering::SeqCst);
                    _ = respond.send_response(Response::new(()), true);
                }
            }
            number += 1;
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_that_was_refused_unprocessed_is_sent_again_within_the_attempt() {
    let (address, seen) = choosy(|_, number| (number % 3 != 2).then_some(h2::Reason::REFUSED_STREAM)).await;
    assert_all_taken(&burst(&clients(), address, 20).await);
    assert_eq!(seen.counts(), (1, 20));
}

#[tokio::test]
async fn a_stream_that_failed_otherwise_is_not_sent_again() {
    let (address, seen) = choosy(|_, _| Some(h2::Reason::INTERNAL_ERROR)).await;
    let attempts = burst(&clients(), address, 3).await;
    assert!(attempts.iter().all(|attempt| attempt.class == PASSING && attempt.error.is_some()));
    assert_eq!(seen.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_refuses_for_ever_is_given_up_at_the_end_of_the_attempt() {
    let (address, _) = choosy(|_, _| Some(h2::Reason::REFUSED_STREAM)).await;
    let limit = Duration::from_millis(400);
    let clients = crate::clients_with(&["127.0.0.1"], limit, tributary_targets::net::SystemResolver);
    let attempts = burst(&clients, address, 2).await;
    assert!(attempts.iter().all(|attempt| attempt.class == PASSING && !error(attempt).is_empty()));
}

#[tokio::test]
async fn a_server_that_goes_away_in_a_burst_gets_the_rest_over_another_connection() {
    let (address, seen) = listen(&["h2"], move |stream, seen, _| async move {
        let mut server = h2::server::handshake(stream).await.unwrap();
        let mut number = 0;
        while let Some(Ok((_, mut respond))) = server.accept().await {
            seen.requests.fetch_add(1, Ordering::SeqCst);
            _ = respond.send_response(Response::new(()), true);
            number += 1;
            if number == 10 {
                server.graceful_shutdown();
            }
        }
    })
    .await;
    assert_all_taken(&burst(&clients(), address, 60).await);
    assert_eq!(seen.requests.load(Ordering::SeqCst), 60, "none was lost and none came twice");
}

#[tokio::test]
async fn where_each_request_needs_its_own_connection_they_still_go_at_once() {
    let server = crate::server::Server::start_tls(
        crate::server::Act::Reply(crate::server::reply(200, "", b"ok")),
        tls::any_server(&["http/1.1"]),
    )
    .await;
    let clients = clients();
    for _ in 0..2 {
        assert_all_taken(&burst(&clients, server.address, 20).await);
    }
    assert!(server.connections.load(Ordering::SeqCst) <= 21);
    assert_eq!(server.requests.lock().len(), 40);
}

#[tokio::test]
async fn a_first_connection_that_hangs_does_not_hold_up_the_others_for_long() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tls::any_server(&["http/1.1"]);
    tokio::spawn(async move {
        let _hangs = listener.accept().await.unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let answer = service_fn(|_: Request<Incoming>| async {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
                });
                _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    let limit = Duration::from_secs(4);
    let clients = crate::clients_with(&["127.0.0.1"], limit, tributary_targets::net::SystemResolver);
    let attempts = burst(&clients, address, 5).await;
    let taken = attempts.iter().filter(|attempt| attempt.class == AttemptClass::Success).count();
    assert!(taken >= 4, "{attempts:?}");
}
