//! The way out against real sockets: what each failure is called, what is kept, what is refused.
#![allow(clippy::unwrap_used, missing_docs)]

mod certificates;
mod http2;
mod proxied;
mod replies;
mod requests;
mod server;
mod tls;

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use server::{Act, Server, reply};
use tokio::{net::TcpListener, time::timeout};
use tributary_domain::{Event, EventId, Timestamp, outcome::AttemptClass};
use tributary_targets::{
    AddressPolicy, Attempt, BoxFuture, Clients, Message, Secrets, Settings, Variables, kinds,
    net::{ClientSettings, Resolve, SystemResolver, Via},
};

const PASSING: AttemptClass = AttemptClass::Passing { retry_after_ms: None };
/// No test waits longer than this for what should not happen.
const SHORT: Duration = Duration::from_millis(150);

fn policy(allowed: &[&str]) -> Arc<AddressPolicy> {
    let allowed = allowed.iter().map(|range| range.parse().unwrap()).collect();
    Arc::new(AddressPolicy { allow_private: false, allowed })
}

fn clients_with(allowed: &[&str], timeout: Duration, resolver: impl Resolve + 'static) -> Clients {
    Clients::with_resolver(
        &ClientSettings { timeout, addresses: policy(allowed), ..ClientSettings::default() },
        resolver,
    )
    .unwrap()
}

/// Clients that may reach this machine.
fn clients() -> Clients {
    clients_with(&["127.0.0.0/8"], Duration::from_secs(10), SystemResolver)
}

fn message(url: &str) -> Message {
    let url = url::Url::parse(url).unwrap();
    Message {
        destination: format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap()),
        method: "POST".to_owned(),
        url: url.into(),
        headers: vec![("X-Test".to_owned(), "grün".to_owned())],
        body: Bytes::from_static(b"hello"),
    }
}

async fn send(clients: &Clients, url: &str) -> Attempt {
    clients.send(&message(url), Via::Checked).await
}

fn error(attempt: &Attempt) -> &str {
    attempt.error.as_deref().unwrap_or_default()
}

/// Answers every name with the same addresses, and counts.
#[derive(Clone, Default)]
struct Answers {
    addresses: Vec<IpAddr>,
    /// What is answered from the second time on.
    later: Option<Vec<IpAddr>>,
    asked: Arc<AtomicUsize>,
}

impl Answers {
    fn of(addresses: &[&str]) -> Answers {
        Answers { addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(), ..Answers::default() }
    }
}

impl Resolve for Answers {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let times = self.asked.fetch_add(1, Ordering::SeqCst);
        let later = self.later.as_ref().filter(|_| times > 0);
        Box::pin(async move { Ok(later.unwrap_or(&self.addresses).clone()) })
    }
}

/// Never answers.
struct Silent;

impl Resolve for Silent {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_request_arrives_as_it_was_built_and_the_reply_comes_back() {
    let server = Server::start(Act::Reply(reply(202, "X-Reply: yes\r\n", b"queued"))).await;
    let attempt = send(&clients(), &server.url("/a%20b?c=d")).await;
    assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None));
    let got = attempt.reply.unwrap();
    assert_eq!((got.status, &got.body[..]), (202, &b"queued"[..]));
    assert!(got.headers.contains(&("x-reply".to_owned(), "yes".to_owned())));
    let request = server.request(0);
    assert!(request.starts_with("POST /a%20b?c=d HTTP/1.1\r\n"), "{request}");
    for line in [&format!("host: {}", server.address), "x-test: grün", "content-length: 5"] {
        assert!(request.contains(&format!("{line}\r\n")), "{request}");
    }
    assert!(request.ends_with("\r\n\r\nhello"), "{request}");
}

#[tokio::test]
async fn an_empty_post_says_that_it_is_empty_and_a_get_says_nothing() {
    let server = Server::start(Act::Reply(reply(200, "", b""))).await;
    let clients = clients();
    for method in ["POST", "GET"] {
        let empty = Message { method: method.to_owned(), body: Bytes::new(), ..message(&server.url("/")) };
        assert_eq!(clients.send(&empty, Via::Checked).await.class, AttemptClass::Success);
    }
    assert_eq!(server.request(0).matches("content-length: 0\r\n").count(), 1);
    assert!(!server.request(1).contains("content-length"));
}

#[tokio::test]
async fn any_address_that_a_browser_takes_can_be_sent_to() {
    let server = Server::start(Act::Reply(reply(200, "", b""))).await;
    let odd = server.url("/a|b^c`d{e}[f]\"é<>\\g'%zz?q=`|^{}[]\"é'<>\\");
    assert_eq!(send(&clients(), &odd).await.error, None);
}

#[tokio::test]
async fn each_status_has_its_class_and_text_and_redirects_are_not_followed() {
    let elsewhere = Server::start(Act::Reply(reply(200, "", b""))).await;
    let location = format!("Location: {}\r\n", elsewhere.url("/"));
    let retry = AttemptClass::Passing { retry_after_ms: Some(7_000) };
    for (status, headers, class) in [
        (302, &*location, AttemptClass::Final),
        (404, "", AttemptClass::Final),
        (408, "", PASSING),
        (429, "Retry-After: 7\r\n", retry),
        (500, "Retry-After: 7\r\n", PASSING),
        (503, "Retry-After: 7\r\n", retry),
    ] {
        let server = Server::start(Act::Reply(reply(status, headers, b"why"))).await;
        let attempt = send(&clients(), &server.url("/")).await;
        assert_eq!(attempt.class, class, "{status}");
        assert_eq!(error(&attempt), format!("error status {status} from 127.0.0.1"));
        assert_eq!(&attempt.reply.unwrap().body[..], b"why");
        assert_eq!(server.requests.lock().len(), 1);
    }
    assert_eq!(elsewhere.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn failures_of_the_network_have_their_names() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closing = Server::start(Act::ReplyAndClose(Vec::new())).await;
    let cut = Server::start(Act::ReplyAndClose(reply(200, "", b"whole")[..40].to_vec())).await;
    let babbling = Server::start(Act::ReplyAndClose(b"220 mail.example ESMTP\r\n\r\n".to_vec())).await;
    let clients = clients();
    for (url, text) in [
        (format!("http://{free}/"), "ECONNREFUSED"),
        (closing.url("/"), "ECONNRESET"),
        (cut.url("/"), "ECONNRESET"),
    ] {
        let attempt = send(&clients, &url).await;
        assert_eq!((error(&attempt), attempt.class), (text, PASSING), "{url}");
        assert_eq!(attempt.reply, None);
    }
    let attempt = send(&clients, &babbling.url("/")).await;
    assert!(error(&attempt).starts_with("EPROTO: "), "{attempt:?}");
    let unknown = clients_with(&[], Duration::from_secs(10), Answers::default());
    let attempt = send(&unknown, "http://nowhere.example/").await;
    assert_eq!((error(&attempt), attempt.class), ("ENOTFOUND", PASSING));
}

#[tokio::test]
async fn no_connection_and_no_reply_in_time_are_told_apart() {
    let silent = clients_with(&[], SHORT, Silent);
    let attempt = send(&silent, "http://example.com/").await;
    assert_eq!((error(&attempt), attempt.class), ("ETIMEDOUT", PASSING));
    let hanging = Server::start(Act::ReplyAndHang(Vec::new())).await;
    let stalling =
        Server::start(Act::ReplyAndHang(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_vec())).await;
    let clients = clients_with(&["127.0.0.1"], SHORT, SystemResolver);
    for server in [&hanging, &stalling] {
        let attempt = send(&clients, &server.url("/")).await;
        assert_eq!((error(&attempt), attempt.class), ("ESOCKETTIMEDOUT", PASSING));
    }
    // A server that takes the connection but does not speak TLS has not connected yet.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let attempt = send(&clients, &format!("https://{}/", listener.local_addr().unwrap())).await;
    assert_eq!(error(&attempt), "ETIMEDOUT");
}

#[tokio::test]
async fn a_long_reply_is_cut_and_the_rest_of_it_is_not_read() {
    let server = Server::start(Act::Reply(reply(200, "", &vec![b'x'; 40_000_000]))).await;
    let attempt = send(&clients(), &server.url("/")).await;
    assert_eq!(attempt.class, AttemptClass::Success);
    assert_eq!(attempt.reply.unwrap().body.len(), 102_400);
    timeout(Duration::from_secs(10), server.closed(1)).await.expect("the connection is given up");
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let server = Server::start(Act::Reply(reply(200, "", b"ok"))).await;
    let clients = clients();
    for _ in 0..20 {
        assert_eq!(send(&clients, &server.url("/")).await.class, AttemptClass::Success);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(server.requests.lock().len(), 20);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_replaced_unnoticed() {
    let server = Server::start(Act::ReplyAndClose(reply(200, "", b"ok"))).await;
    let clients = clients();
    for n in 1..=10 {
        let attempt = send(&clients, &server.url("/")).await;
        assert_eq!(attempt.error, None, "request {n}");
        server.closed(n).await;
        // The end of the connection is in the kernel now; this lets the runtime take note of it.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(server.requests.lock().len(), 10, "none was sent twice");
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_refused_for_good() {
    let server = Server::start(Act::Reply(reply(200, "", b"ok"))).await;
    let port = server.address.port();
    let refused = "is a loopback address; the operator can allow it with delivery.allowed_targets";
    let clients = clients_with(&[], Duration::from_secs(10), Answers::of(&["127.0.0.1", "::1"]));
    let named = send(&clients, &format!("http://looks.public.example:{port}/")).await;
    assert_eq!(named.class, AttemptClass::Final);
    assert_eq!(
        error(&named),
        "EADDRNOTALLOWED: looks.public.example has no public address; the operator can allow the one that it has with delivery.allowed_targets",
        "what a name leads to inside is not told"
    );
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]"] {
        let attempt = send(&clients, &format!("http://{host}:{port}/")).await;
        assert_eq!(attempt.class, AttemptClass::Final);
        assert!(error(&attempt).starts_with("EADDRNOTALLOWED: "), "{attempt:?}");
        assert!(error(&attempt).ends_with(refused), "{attempt:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    let operator = clients.send(&message(&server.url("/")), Via::Operator).await;
    assert_eq!(operator.class, AttemptClass::Success, "the operator's own endpoints may be anywhere");
}

#[tokio::test]
async fn however_the_system_reads_a_host_the_address_that_comes_out_is_checked() {
    let server = Server::start(Act::Reply(reply(200, "", b"ok"))).await;
    let port = server.address.port();
    let clients = clients_with(&[], Duration::from_secs(10), SystemResolver);
    // Not through a parser of urls, which would have made numbers of them.
    for host in ["localhost", "localhost.", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]"] {
        let message = Message { url: format!("http://{host}:{port}/"), ..message("http://x/") };
        let attempt = clients.send(&message, Via::Checked).await;
        // Some systems do not read numbers as addresses: then there is none.
        let found = error(&attempt).starts_with("EADDRNOTALLOWED: ") && attempt.class == AttemptClass::Final;
        assert!(found || error(&attempt) == "ENOTFOUND", "{host}: {attempt:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_message_with_line_breaks_in_it_is_never_sent() {
    let server = Server::start(Act::Reply(reply(200, "", b"ok"))).await;
    let good = message(&server.url("/"));
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    for wrong in [
        Message { headers: header("X-A", "a\r\nX-B: b"), ..good.clone() },
        Message { headers: header("X-A", "a\nb"), ..good.clone() },
        Message { headers: header("X-A", "a\rb"), ..good.clone() },
        Message { headers: header("X-A", "a\0b"), ..good.clone() },
        Message { headers: header("X-A\r\nX-B", "b"), ..good.clone() },
        Message { headers: header("X-A: b", "c"), ..good.clone() },
        Message { method: "GET / HTTP/1.1\r\nX-B: b".to_owned(), ..good.clone() },
        Message { url: server.url("/ HTTP/1.1\r\nX-B: b"), ..good.clone() },
        Message { url: server.url("/a\nb"), ..good.clone() },
    ] {
        let attempt = clients().send(&wrong, Via::Checked).await;
        assert_eq!((attempt.class, attempt.reply), (AttemptClass::Final, None), "{wrong:?}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn only_the_allowed_addresses_of_a_name_are_connected_to_and_it_is_resolved_once() {
    let server = Server::start(Act::Reply(reply(200, "", b"ok"))).await;
    let answers = Answers::of(&["10.0.0.1", "127.0.0.1"]);
    let clients = clients_with(&["127.0.0.1"], Duration::from_secs(10), answers.clone());
    let attempt = send(&clients, &format!("http://mixed.example:{}/", server.address.port())).await;
    assert_eq!(attempt.error, None);
    assert_eq!(answers.asked.load(Ordering::SeqCst), 1);
    assert!(server.request(0).contains("host: mixed.example:"));
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_at_each_connection() {
    let server = Server::start(Act::ReplyAndClose(reply(200, "connection: close\r\n", b"ok"))).await;
    let answers = Answers { later: Some(vec!["127.0.0.2".parse().unwrap()]), ..Answers::of(&["127.0.0.1"]) };
    let clients = clients_with(&["127.0.0.1"], Duration::from_secs(10), answers);
    let url = format!("http://rebinding.example:{}/", server.address.port());
    assert_eq!(send(&clients, &url).await.error, None);
    let attempt = send(&clients, &url).await;
    assert!(error(&attempt).starts_with("EADDRNOTALLOWED: rebinding.example has no public "), "{attempt:?}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let server = Server::start(Act::Reply(reply(200, "", b"ok"))).await;
    // Nothing listens on this port of the first address.
    let answers = Answers::of(&["127.0.0.3", "127.0.0.1"]);
    let clients = clients_with(&["127.0.0.0/8"], Duration::from_secs(10), answers);
    let attempt = send(&clients, &format!("http://two.example:{}/", server.address.port())).await;
    assert_eq!(attempt.error, None);
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_taken_only_when_the_integration_says_so() {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("localhost.cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("localhost.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let server = Server::start_tls(Act::Reply(reply(200, "", b"ok")), Arc::new(config).into()).await;
    let message = message(&format!("https://{}/", server.address));
    let clients = clients();
    let attempt = clients.send(&message, Via::Checked).await;
    assert_eq!(
        error(&attempt),
        "DEPTH_ZERO_SELF_SIGNED_CERT: the certificate is self-signed; name it in tls.ca to trust it"
    );
    assert_eq!(attempt.class, PASSING);
    for _ in 0..2 {
        assert_eq!(clients.send(&message, Via::AnyCertificate).await.error, None);
    }
    assert_eq!(clients.send(&message, Via::Checked).await.reply, None, "kept connections are not shared");
    assert_eq!(server.requests.lock().len(), 2);
}

#[tokio::test]
async fn a_webhook_goes_from_configuration_to_reply() {
    let server = Server::start(Act::Reply(reply(200, "", b"thanks"))).await;
    let config = json!({"event": "door", "url": server.url("/{{room}}"), "json": {"at": "{{room}}"}, "noDefaults": true});
    let settings = Settings { addresses: policy(&["127.0.0.1"]), ..Settings::default() };
    let target = kinds::find("Webhook").unwrap().compile(config.as_object().unwrap(), &settings).unwrap();
    let event = Event {
        id: EventId([1; 16]),
        product: None,
        user: None,
        coreid: "d1".into(),
        name: "door".into(),
        data: Some(r#"{"room":"the hall"}"#.into()),
        ttl: 60,
        published_at: Timestamp(0),
        version: None,
    };
    let secrets = Secrets::default();
    let variables = Variables::new(&event, None, None, &secrets);
    let message = target.render(&variables).unwrap();
    assert_eq!(message.destination, server.address.to_string());
    let attempt = target.send(&message, &clients()).await;
    let events =
        target.response().events(&variables, true, &attempt.reply.unwrap(), &|text, _| text.to_owned());
    assert_eq!(events, [("hook-response/door/0".to_owned(), "thanks".to_owned())]);
    let request = server.request(0);
    assert!(request.starts_with("POST /the%20hall HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"at":"the hall"}"#), "{request}");
    assert!(request.contains("user-agent: tributary/"), "{request}");
}
