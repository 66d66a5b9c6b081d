//! Certificates that servers make for themselves: self-signed ones, version 1, common names alone.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use tributary_domain::outcome::AttemptClass;
use tributary_targets::{
    Attempt,
    net::{OwnTls, OwnTlsPem, Reading, Via},
};

use crate::{
    clients, error, message,
    server::{Act, Server, reply},
};

const VERSION_1: &str = include_str!("certs/version-1.self.pem");
const SIGNED: &str = include_str!("certs/version-1.signed.pem");
const EXPIRED: &str = include_str!("certs/version-1.expired.pem");
const AUTHORITY: &str = include_str!("certs/ca.pem");
const KEY: &str = include_str!("certs/version-1.key.pem");

/// A server that shows a certificate, whatever is in it.
async fn server(cert: &str, key: &str, version: &'static SupportedProtocolVersion) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let cert = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![cert], key));
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let config = config.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    Server::start_tls(Act::Reply(reply(200, "", b"ok")), Arc::new(config).into()).await.address
}

/// Sends to the server by a name or an address with these certificates as `tls.ca`.
async fn trusting(ca: &str, host: &str, server: SocketAddr) -> Attempt {
    let own = OwnTls::new(OwnTlsPem { ca: Some(ca), ..OwnTlsPem::default() }, true).unwrap();
    let message = message(&format!("https://{host}:{}/", server.port()));
    clients().send_with(&message, &own, Reading::Head).await
}

fn assert_trusted(attempt: &Attempt) {
    assert_eq!((attempt.class, &attempt.error), (AttemptClass::Success, &None));
}

struct Made {
    pem: String,
    key: String,
}

/// A certificate that signs itself, an authority as `openssl req -x509` makes it.
fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    Made { pem: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

#[tokio::test]
async fn a_server_s_own_certificate_is_trusted_when_the_integration_names_it() {
    let both = ["localhost", "127.0.0.1"];
    let made = self_signed(&both, |_| {});
    let similar = self_signed(&both, |_| {});
    for version in [&TLS12, &TLS13] {
        let at = server(&made.pem, &made.key, version).await;
        for ca in [made.pem.clone(), format!("{}{}", similar.pem, made.pem)] {
            assert_trusted(&trusting(&ca, "localhost", at).await);
            assert_trusted(&trusting(&ca, "127.0.0.1", at).await);
        }
        for ca in [&*similar.pem, AUTHORITY] {
            let attempt = trusting(ca, "localhost", at).await;
            assert!(error(&attempt).starts_with("DEPTH_ZERO_SELF_SIGNED_CERT: "), "{attempt:?}");
        }
    }
    let leaf = self_signed(&both, |params| params.is_ca = IsCa::ExplicitNoCa);
    let at = server(&leaf.pem, &leaf.key, &TLS13).await;
    assert_trusted(&trusting(&leaf.pem, "localhost", at).await);
}

#[tokio::test]
async fn the_name_and_the_time_of_a_named_certificate_are_checked_all_the_same() {
    let other = self_signed(&["other.example"], |_| {});
    let at = server(&other.pem, &other.key, &TLS13).await;
    let attempt = trusting(&other.pem, "localhost", at).await;
    assert_eq!(error(&attempt), "ERR_TLS_CERT_ALTNAME_INVALID: the certificate is for another name");
    let expired = self_signed(&["localhost"], |params| params.not_after = date_time_ymd(2001, 1, 1));
    let at = server(&expired.pem, &expired.key, &TLS13).await;
    assert_eq!(error(&trusting(&expired.pem, "localhost", at).await), "CERT_HAS_EXPIRED");
    let early = self_signed(&["localhost"], |params| params.not_before = date_time_ymd(4000, 1, 1));
    let at = server(&early.pem, &early.key, &TLS13).await;
    assert_eq!(error(&trusting(&early.pem, "localhost", at).await), "CERT_NOT_YET_VALID");
}

#[tokio::test]
async fn a_common_name_counts_where_there_is_no_other_and_an_address_is_none() {
    let made = self_signed(&[], |_| {});
    let at = server(&made.pem, &made.key, &TLS13).await;
    assert_trusted(&trusting(&made.pem, "localhost", at).await);
    let attempt = trusting(&made.pem, "127.0.0.1", at).await;
    assert!(error(&attempt).starts_with("ERR_TLS_CERT_ALTNAME_INVALID: the certificate names no host; "));
    let named = self_signed(&["other.example"], |_| {});
    let at = server(&named.pem, &named.key, &TLS13).await;
    assert_ne!(
        trusting(&named.pem, "localhost", at).await.error,
        None,
        "what is named elsewhere counts alone"
    );
}

#[tokio::test]
async fn an_own_authority_vouches_for_common_names_and_for_other_authorities() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let sign = |names: &[&str], change: &dyn Fn(&mut CertificateParams)| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Made { pem: params.signed_by(&key, &issuer).unwrap().pem(), key: key.serialize_pem() }
    };
    let of_common_name = sign(&[], &|_| {});
    let at = server(&of_common_name.pem, &of_common_name.key, &TLS13).await;
    assert_trusted(&trusting(&ca, "localhost", at).await);
    assert_ne!(trusting(&ca, "127.0.0.1", at).await.error, None);
    let authority: &dyn Fn(&mut CertificateParams) =
        &|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let also_authority = sign(&["localhost"], authority);
    let at = server(&also_authority.pem, &also_authority.key, &TLS13).await;
    assert_trusted(&trusting(&ca, "localhost", at).await);
    assert_ne!(trusting(AUTHORITY, "localhost", at).await.error, None);
    let client = sign(&["localhost"], &|params| {
        authority(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let at = server(&client.pem, &client.key, &TLS13).await;
    assert_ne!(trusting(&ca, "localhost", at).await.error, None, "a client's key is no server's");
}

#[tokio::test]
async fn version_1_is_taken_unchecked_named_or_signed_by_an_own_authority() {
    for version in [&TLS12, &TLS13] {
        let at = server(VERSION_1, KEY, version).await;
        let url = format!("https://{at}/");
        assert_trusted(&clients().send(&message(&url), Via::AnyCertificate).await);
        let attempt = clients().send(&message(&url), Via::Checked).await;
        assert!(
            error(&attempt)
                .starts_with("ERR_TLS_CERT: version 1 certificates are not supported unless tls.ca")
        );
        assert_trusted(&trusting(VERSION_1, "localhost", at).await);
        let attempt = trusting(VERSION_1, "127.0.0.1", at).await;
        assert!(error(&attempt).starts_with("ERR_TLS_CERT_ALTNAME_INVALID: "), "{attempt:?}");

        let at = server(SIGNED, KEY, version).await;
        assert_trusted(&trusting(AUTHORITY, "localhost", at).await);
        let stranger = self_signed(&["localhost"], |params| {
            params.distinguished_name.push(DnType::CommonName, "field-test-authority");
        });
        for ca in [&*stranger.pem, VERSION_1] {
            let attempt = trusting(ca, "localhost", at).await;
            assert!(error(&attempt).starts_with("ERR_TLS_CERT: version 1 certificates "), "{attempt:?}");
        }
        let at = server(EXPIRED, KEY, version).await;
        assert_eq!(error(&trusting(EXPIRED, "localhost", at).await), "CERT_HAS_EXPIRED");
        assert_trusted(&clients().send(&message(&format!("https://{at}/")), Via::AnyCertificate).await);
    }
}

#[tokio::test]
async fn the_handshake_must_be_signed_with_the_key_of_the_certificate() {
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).map(|key| key.serialize_pem());
    // Not every build can make RSA keys; one of another kind does not sign for this certificate either.
    let other = key.unwrap_or_else(|_| KeyPair::generate().unwrap().serialize_pem());
    for version in [&TLS12, &TLS13] {
        let at = server(VERSION_1, &other, version).await;
        assert_ne!(trusting(VERSION_1, "localhost", at).await.class, AttemptClass::Success);
    }
}

#[test]
fn a_client_s_certificate_of_version_1_is_for_the_destination_to_judge() {
    let made = |cert: &str, key: &str| {
        let pem = OwnTlsPem { ca: None, cert: Some(cert), key: Some(key) };
        OwnTls::new(pem, true).map(|_| ()).map_err(|errors| json!(errors))
    };
    assert_eq!(made(SIGNED, KEY), Ok(()));
    let other = KeyPair::generate().unwrap().serialize_pem();
    assert_eq!(made(SIGNED, &other), Err(json!([["key", "is not the key of the certificate"]])));
    let short = (include_str!("certs/short.pem"), include_str!("certs/short.key.pem"));
    let wrong: Value = json!([["key", "is not a private key that can be used; RSA needs 2048 bits or more"]]);
    assert_eq!(made(short.0, short.1), Err(wrong));
}
