//! An outbound proxy.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{
    Clients,
    net::{ClientSettings, Proxy, Via},
};

use crate::{
    error, message, policy,
    server::{Act, Server, reply},
    tls,
};

/// Makes tunnels to where it is told, answers plain requests itself, and notes the heads of both.
async fn proxy(connect: &'static [u8]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let noted = noted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                noted.lock().push(head.clone());
                let Some(place) = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next())
                else {
                    stream.write_all(&reply(200, "", b"by proxy")).await.unwrap();
                    return;
                };
                // The names of this test's destinations are known to nobody.
                let place = place.replace("hidden.example", "127.0.0.1");
                stream.write_all(connect).await.unwrap();
                if connect.starts_with(b"HTTP/1.1 200") {
                    let mut target = TcpStream::connect(place).await.unwrap();
                    _ = copy_bidirectional(&mut stream, &mut target).await;
                }
            });
        }
    });
    (port, heads)
}

fn through(port: u16, except: &[&str], allowed: &[&str]) -> Clients {
    let except: Vec<_> = except.iter().map(|host| (*host).to_owned()).collect();
    let proxy = Proxy::parse(&format!("http://us%40er:pass@127.0.0.1:{port}"), &except).unwrap();
    let settings = ClientSettings {
        proxy: Some(Arc::new(proxy)),
        addresses: policy(allowed),
        ..ClientSettings::default()
    };
    Clients::new(&settings).unwrap()
}

const OPEN: &[u8] = b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n";
const CREDENTIALS: &str = "roxy-Authorization: Basic dXNAZXI6cGFzcw==\r\n";

#[tokio::test]
async fn plain_http_is_asked_of_the_proxy_and_https_goes_through_a_tunnel() {
    let (port, heads) = proxy(OPEN).await;
    let server = Server::start_tls(Act::Reply(reply(200, "", b"ok")), tls::any_server(&[])).await;
    let clients = through(port, &[], &[]);
    let attempt = clients.send(&message("http://hidden.example/a?b"), Via::Checked).await;
    assert_eq!(&attempt.reply.unwrap().body[..], b"by proxy");
    let https = message(&format!("https://hidden.example:{}/a", server.address.port()));
    let attempt = clients.send(&https, Via::AnyCertificate).await;
    assert_eq!((attempt.class, attempt.error), (AttemptClass::Success, None));
    let heads = heads.lock().clone();
    assert!(heads[0].starts_with("POST http://hidden.example/a?b HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].to_lowercase().contains(&format!("p{CREDENTIALS}").to_lowercase()), "{heads:?}");
    assert!(heads[1].starts_with(&format!("CONNECT hidden.example:{} HTTP/1.1\r\n", server.address.port())));
    assert!(heads[1].contains(CREDENTIALS), "{heads:?}");
    let request = server.request(0).to_lowercase();
    assert!(request.starts_with("post /a http/1.1\r\n") && !request.contains("proxy"), "{request}");
}

#[tokio::test]
async fn exceptions_are_reached_directly_and_their_addresses_checked() {
    let (port, heads) = proxy(OPEN).await;
    let server = Server::start(Act::Reply(reply(200, "", b"direct"))).await;
    let clients = through(port, &["127.0.0.1"], &["127.0.0.1"]);
    let attempt = clients.send(&message(&server.url("/")), Via::Checked).await;
    assert_eq!(&attempt.reply.unwrap().body[..], b"direct");
    assert!(!server.request(0).to_lowercase().contains("proxy-"));
    assert_eq!(heads.lock().len(), 0);
    let strict = through(port, &["localhost"], &[]);
    for refused in [&*server.url("/"), "http://localhost:1/", "https://10.0.0.1/", "http://[::1]/"] {
        let attempt = strict.send(&message(refused), Via::Checked).await;
        assert!(error(&attempt).starts_with("EADDRNOTALLOWED: "), "{refused}: {attempt:?}");
    }
    assert_eq!(heads.lock().len(), 0);
}

#[tokio::test]
async fn what_is_wrong_with_the_proxy_is_told_of_it_and_without_its_credentials() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let long: &'static [u8] = Box::leak(vec![b'x'; 20_000].into_boxed_slice());
    for (port, expected) in [
        (
            proxy(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.0,
            "refuses delivery.proxy's credentials (407)",
        ),
        (proxy(b"HTTP/1.0 502 Bad Gateway\r\n\r\n").await.0, "answers 502"),
        (proxy(b"SSH-2.0-x\r\n\r\n").await.0, "does not speak HTTP"),
        (proxy(long).await.0, "gives an answer that is too long"),
        (closed, "cannot be reached: ECONNREFUSED"),
    ] {
        let attempt = through(port, &[], &[]).send(&message("https://hidden.example/"), Via::Checked).await;
        assert_eq!(error(&attempt), format!("EPROXY: the outbound proxy {expected}"));
        assert!(matches!(attempt.class, AttemptClass::Passing { .. }));
    }
}
