//! TLS: the public roots and an integration's own, or no check of the certificate for integrations that ask for that.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};

use super::own_tls::wrong_client;

/// HTTP/2 in the protocols that are offered inside TLS.
pub(super) const ALPN_HTTP_2: &[u8] = b"h2";
/// The protocols that are offered inside TLS, the preferred one first.
const ALPN: [&[u8]; 2] = [ALPN_HTTP_2, b"http/1.1"];

/// A client's certificate with its chain, and its key.
type Client = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A configuration that checks certificates against the public roots, or not at all.
pub(super) fn config(verify: bool) -> Result<Arc<ClientConfig>, Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    with_roots(verify, roots, None)
}

/// The same with more roots and a client's certificate; the error names the part that is wrong.
pub(super) fn own_config(
    verify: bool,
    ca: Vec<CertificateDer<'static>>,
    client: Option<Client>,
) -> Result<Arc<ClientConfig>, (&'static str, String)> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in ca {
        let wrong = |_| ("ca", "has a certificate that cannot be used".to_owned());
        roots.add(certificate).map_err(wrong)?;
    }
    with_roots(verify, roots, client).map_err(|error| wrong_client(&error))
}

fn with_roots(
    verify: bool,
    roots: RootCertStore,
    client: Option<Client>,
) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = if verify {
        builder.with_root_certificates(roots)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    };
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// The same for a protocol that is not negotiated inside TLS.
pub(super) fn without_protocols(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}

/// Takes any certificate (`rejectUnauthorized: false`). The handshake must still be signed with its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
