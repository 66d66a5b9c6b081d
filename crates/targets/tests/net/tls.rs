//! TLS of an integration's own, and HTTP/2.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, sync::atomic::Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tributary_domain::{Event, EventId, Timestamp, outcome::AttemptClass};
use tributary_targets::{
    Attempt, Clients, Secrets, Settings, Target, Variables, kinds,
    net::{OwnTls, OwnTlsPem, Reading, Via},
};

use crate::{
    clients, error, message, policy,
    server::{Act, Server, reply},
};

/// An authority that nobody knows.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key as PEM texts.
struct Identity {
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        Identity { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    fn server(&self) -> Identity {
        self.sign("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> Identity {
        self.sign("device-cloud", ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Lets only clients in that this authority signed.
    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap()
    }
}

fn acceptor(identity: &Identity, clients: Option<&Authority>, protocols: &[&str]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(authority.verifier()),
    };
    let cert = CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let mut config = builder.with_single_cert(vec![cert], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A server whose certificate nobody checks.
pub(crate) fn any_server(protocols: &[&str]) -> TlsAcceptor {
    acceptor(&Authority::new("any").server(), None, protocols)
}

fn webhook(address: SocketAddr, more: &Value) -> Result<Arc<dyn Target>, Vec<String>> {
    let mut config = json!({"event": "door", "url": format!("https://{address}/in"), "body": "hello"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let settings = Settings { addresses: policy(&["127.0.0.1"]), ..Settings::default() };
    let compiled = kinds::find("Webhook").unwrap().compile(config.as_object().unwrap(), &settings);
    compiled.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

async fn send(target: &dyn Target, clients: &Clients) -> Attempt {
    let event = Event {
        id: EventId([1; 16]),
        product: None,
        user: None,
        coreid: "d1".into(),
        name: "door".into(),
        data: None,
        ttl: 60,
        published_at: Timestamp(0),
        version: None,
    };
    let message = target.render(&Variables::new(&event, None, None, &Secrets::default())).unwrap();
    target.send(&message, clients).await
}

#[tokio::test]
async fn an_integration_brings_its_own_authority_and_its_own_certificate() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let only_known = acceptor(&authority.server(), Some(&authority), &[]);
    let server = Server::start_tls(Act::Reply(reply(200, "", b"ok")), only_known).await;
    let (known, unknown) = (authority.client(), other.client());
    let clients = clients();
    let unknown_issuer = "UNABLE_TO_VERIFY_LEAF_SIGNATURE: the certificate is self-signed, or its issuer is not known; name one of the two in tls.ca to trust it";
    // The alert, or the end of the connection if that is noticed first.
    let refused = "E";
    for (more, expected) in [
        (json!({}), Some(unknown_issuer)),
        (json!({"tls": {"ca": other.pem, "cert": known.cert, "key": known.key}}), Some(unknown_issuer)),
        (json!({"tls": {"cert": known.cert, "key": known.key}}), Some(unknown_issuer)),
        (json!({"tls": {"ca": authority.pem}}), Some(refused)),
        (json!({"tls": {"ca": authority.pem, "cert": unknown.cert, "key": unknown.key}}), Some(refused)),
        (json!({"tls": {"ca": authority.pem, "cert": known.cert, "key": known.key}}), None),
        (json!({"rejectUnauthorized": false, "tls": {"cert": known.cert, "key": known.key}}), None),
    ] {
        let target = webhook(server.address, &more).unwrap();
        let attempt = send(&*target, &clients).await;
        match expected {
            None => assert_eq!(attempt.error, None),
            Some(expected) => assert!(error(&attempt).starts_with(expected), "{expected}: {attempt:?}"),
        }
    }
    assert_eq!(server.requests.lock().len(), 2);
}

#[tokio::test]
async fn connections_with_an_integration_s_own_tls_are_kept_and_are_nobody_else_s() {
    let authority = Authority::new("one");
    let only_known = acceptor(&authority.server(), Some(&authority), &[]);
    let server = Server::start_tls(Act::Reply(reply(200, "", b"ok")), only_known).await;
    let identity = authority.client();
    let own = json!({"tls": {"ca": authority.pem, "cert": identity.cert, "key": identity.key}});
    let (one, two) = (webhook(server.address, &own).unwrap(), webhook(server.address, &own).unwrap());
    let clients = clients();
    for _ in 0..10 {
        assert_eq!(send(&*one, &clients).await.error, None);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert_eq!(send(&*two, &clients).await.error, None);
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    let shared = message(&format!("https://{}/", server.address));
    assert_ne!(clients.send(&shared, Via::AnyCertificate).await.class, AttemptClass::Success);
    assert_eq!(server.requests.lock().len(), 11);
}

#[tokio::test]
async fn the_address_is_checked_with_an_integration_s_own_tls_too() {
    let authority = Authority::new("one");
    let own = OwnTls::new(OwnTlsPem { ca: Some(&authority.pem), ..OwnTlsPem::default() }, true).unwrap();
    let attempt = clients().send_with(&message("https://10.0.0.1/"), &own, Reading::Answer).await;
    assert!(error(&attempt).starts_with("EADDRNOTALLOWED: "), "{attempt:?}");
}

#[test]
fn what_is_wrong_with_the_texts_is_said_of_the_field() {
    let authority = Authority::new("one");
    let (one, other) = (authority.client(), authority.client());
    let at: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbage_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let no_certificate = "must be one or more certificates in PEM form";
    let no_key = "must be a private key in PEM form, not encrypted";
    let long = one.cert.repeat(100);
    for (tls, expected) in [
        (json!("x"), vec!["tls: must be an object".to_owned()]),
        (
            json!({"ca": 5, "key": []}),
            vec!["tls.ca: must be a text".into(), "tls.key: must be a text".into()],
        ),
        (json!({"ca": "x"}), vec![format!("tls.ca: {no_certificate}")]),
        (json!({"ca": one.key}), vec![format!("tls.ca: {no_certificate}")]),
        (json!({"ca": garbage}), vec!["tls.ca: has a certificate that cannot be used".into()]),
        (json!({"ca": long}), vec!["tls.ca: must have at most 49152 bytes".into()]),
        (json!({"cert": one.cert}), vec!["tls.key: is required with cert".into()]),
        (json!({"key": one.key}), vec!["tls.cert: is required with key".into()]),
        (
            json!({"ca": "x", "cert": "y", "key": "z"}),
            vec![
                format!("tls.ca: {no_certificate}"),
                format!("tls.cert: {no_certificate}"),
                format!("tls.key: {no_key}"),
            ],
        ),
        (json!({"cert": one.cert, "key": encrypted}), vec![format!("tls.key: {no_key}")]),
        (
            json!({"cert": one.cert, "key": garbage_key}),
            vec!["tls.key: is not a private key that can be used; RSA needs 2048 bits or more".into()],
        ),
        (
            json!({"cert": one.cert, "key": other.key}),
            vec!["tls.key: is not the key of the certificate".into()],
        ),
        (
            json!({"cert": garbage, "key": one.key}),
            vec!["tls.cert: is not a certificate that can be used".into()],
        ),
    ] {
        assert_eq!(webhook(at, &json!({"tls": tls})).err(), Some(expected), "{tls}");
    }
    for tls in [json!({}), json!({"ca": null, "cert": "", "key": ""}), json!(null)] {
        assert!(webhook(at, &json!({"tls": tls})).is_ok(), "{tls}");
    }
    let secret = webhook(at, &json!({"tls": {"cert": one.cert, "key": one.key}})).unwrap();
    assert_eq!(secret.sensitive_values(), [one.key]);
}

/// A server that speaks HTTP/2 where TLS agreed on it; gives its address and what it got.
async fn http2_server(acceptor: TlsAcceptor, status: u16) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let all = got.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, got) = (acceptor.clone(), all.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(move |request: Request<Incoming>| {
                    let got = got.clone();
                    async move {
                        let shown = format!("{:?} {} {}", request.version(), request.method(), request.uri());
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        got.lock().push(format!("{shown} {}", String::from_utf8_lossy(&body)));
                        let body = Full::new(Bytes::from(vec![b'x'; 200_000]));
                        Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
                    }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // How the connection ends is told by what the client reports.
                _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (address, got)
}

#[tokio::test]
async fn http_2_is_spoken_where_the_destination_offers_it_and_one_connection_serves_many() {
    let authority = Authority::new("one");
    let identity = authority.server();
    let own = json!({"tls": {"ca": authority.pem}});
    let clients = clients();
    let (address, got) = http2_server(acceptor(&identity, None, &["h2", "http/1.1"]), 200).await;
    let target = webhook(address, &own).unwrap();
    for _ in 0..3 {
        let attempt = send(&*target, &clients).await;
        assert_eq!((attempt.error, attempt.class), (None, AttemptClass::Success));
        assert_eq!(attempt.reply.unwrap().body.len(), 102_400, "a long reply is cut");
    }
    let at_once = futures_util::future::join_all((0..50).map(|_| send(&*target, &clients))).await;
    assert!(at_once.iter().all(|attempt| attempt.class == AttemptClass::Success));
    let expected = format!("HTTP/2.0 POST https://{address}/in hello");
    assert_eq!(*got.lock(), vec![expected; 53]);

    let (address, _) = http2_server(acceptor(&identity, None, &["h2"]), 503).await;
    let attempt = send(&*webhook(address, &own).unwrap(), &clients).await;
    assert_eq!(error(&attempt), "error status 503 from 127.0.0.1");

    let old = acceptor(&identity, None, &["http/1.1"]);
    let server = Server::start_tls(Act::Reply(reply(200, "", b"ok")), old).await;
    assert_eq!(send(&*webhook(server.address, &own).unwrap(), &clients).await.error, None);
    assert!(server.request(0).starts_with("POST /in HTTP/1.1\r\n"));
}
