//! TLS: the public roots and an integration's own, or no check of the certificate for integrations that ask for that.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, Error, InconsistentKeys, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::{
    own_tls::wrong_client,
    verifier::{Own, Unverified},
    x509::Certificate,
};

/// HTTP/2 in the protocols that are offered inside TLS.
pub(super) const ALPN_HTTP_2: &[u8] = b"h2";
/// The protocols that are offered inside TLS, the preferred one first.
const ALPN: [&[u8]; 2] = [ALPN_HTTP_2, b"http/1.1"];

/// A client's certificate with its chain, and its key.
type Client = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Whom a connection trusts.
enum Trust {
    Public,
    Own(Vec<CertificateDer<'static>>),
    Anyone,
}

/// A configuration that checks certificates against the public roots, or not at all.
pub(super) fn config(verify: bool) -> Result<Arc<ClientConfig>, Error> {
    made(if verify { Trust::Public } else { Trust::Anyone }, None)
}

/// The same with more roots and a client's certificate; the error names the part that is wrong.
pub(super) fn own_config(
    verify: bool,
    ca: Vec<CertificateDer<'static>>,
    client: Option<Client>,
) -> Result<Arc<ClientConfig>, (&'static str, String)> {
    // One that cannot be an authority can still be the server's own.
    let is_wrong = |certificate: &CertificateDer<'_>| {
        let can_be_root = RootCertStore::empty().add(certificate.clone().into_owned()).is_ok();
        !can_be_root && Certificate::read(certificate).is_none()
    };
    if ca.iter().any(is_wrong) {
        return Err(("ca", "has a certificate that cannot be used".to_owned()));
    }
    let trust = match verify {
        false => Trust::Anyone,
        true if ca.is_empty() => Trust::Public,
        true => Trust::Own(ca),
    };
    made(trust, client).map_err(|error| wrong_client(&error))
}

fn made(trust: Trust, client: Option<Client>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let builder = match trust {
        Trust::Public => builder.with_root_certificates(roots),
        Trust::Anyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(algorithms)))
        }
        Trust::Own(named) => {
            let mut own = RootCertStore::empty();
            for certificate in &named {
                // One that is refused here is the server's own or nobody's.
                _ = own.add(certificate.clone());
            }
            roots.roots.extend(own.roots.iter().cloned());
            let verifier = |roots: RootCertStore| {
                let builder =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                builder.build().map_err(|error| Error::General(error.to_string()))
            };
            let own = if own.is_empty() { None } else { Some(verifier(own)?) };
            let own = Own { all: verifier(roots)?, own, named, algorithms };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(own))
        }
    };
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let certified = certified(client, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// A client's certificate and the key that it is for. What else is in the certificate is for the destination to judge.
fn certified((chain, key): Client, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let key = provider.key_provider.load_private_key(key)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InvalidCertificate(_)) => {
            let shown = certified.cert.first().and_then(|first| Certificate::read(first));
            let Some(shown) = shown else { return Err(CertificateError::BadEncoding.into()) };
            match certified.key.public_key() {
                Some(key) if key.as_ref() != shown.key.info => Err(InconsistentKeys::KeyMismatch.into()),
                _ => Ok(certified),
            }
        }
        Err(error) => Err(error),
    }
}

/// The same for a protocol that is not negotiated inside TLS.
pub(super) fn without_protocols(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}
