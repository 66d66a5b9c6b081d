//! TLS of an integration's own: authorities besides the public ones, and a certificate for the client.

use std::sync::{Arc, OnceLock};

use rustls::{
    ClientConfig, Error,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{pool::HttpClient, tls};

/// Largest text of each part, in bytes.
const PEM_BYTES: usize = 48 * 1024;
/// Most certificates in one text.
const CERTIFICATES: usize = 64;

/// The parts as PEM texts.
#[derive(Clone, Copy, Default)]
pub struct OwnTlsPem<'a> {
    /// Certificates of authorities.
    pub ca: Option<&'a str>,
    /// The client's certificate, then those between it and its authority.
    pub cert: Option<&'a str>,
    /// The certificate's private key.
    pub key: Option<&'a str>,
}

/// Checked settings and the connections that were made with them: no one else's requests go over these.
pub struct OwnTls {
    config: Arc<ClientConfig>,
    client: OnceLock<HttpClient>,
}

impl std::fmt::Debug for OwnTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnTls")
    }
}

impl OwnTls {
    /// Reads the parts. Without `verify` any certificate of the server is taken.
    ///
    /// # Errors
    /// Every part that is wrong, by its name, and why.
    pub fn new(pem: OwnTlsPem<'_>, verify: bool) -> Result<OwnTls, Vec<(&'static str, String)>> {
        let mut errors = Vec::new();
        let mut note = |part: &'static str, error: String| errors.push((part, error));
        let ca = pem.ca.map(certificates).transpose().map_err(|error| note("ca", error));
        let cert = pem.cert.map(certificates).transpose().map_err(|error| note("cert", error));
        let key = pem.key.map(private_key).transpose().map_err(|error| note("key", error));
        match (pem.cert, pem.key) {
            (Some(_), None) => note("key", "is required with cert".to_owned()),
            (None, Some(_)) => note("cert", "is required with key".to_owned()),
            _ => {}
        }
        let (Ok(ca), Ok(cert), Ok(key), []) = (ca, cert, key, &errors[..]) else { return Err(errors) };
        match tls::own_config(verify, ca.unwrap_or_default(), cert.zip(key)) {
            Ok(config) => Ok(OwnTls { config, client: OnceLock::new() }),
            Err((part, error)) => Err(vec![(part, error)]),
        }
    }

    /// The settings for connections other than those of HTTP.
    pub(super) fn for_wires(&self) -> Arc<ClientConfig> {
        tls::without_protocols(&self.config)
    }

    /// The client for these settings, made when it is first needed.
    pub(super) fn client(&self, make: impl FnOnce(Arc<ClientConfig>) -> HttpClient) -> &HttpClient {
        self.client.get_or_init(|| make(Arc::clone(&self.config)))
    }
}

fn bounded(pem: &str) -> Result<&[u8], String> {
    if pem.len() > PEM_BYTES {
        Err(format!("must have at most {PEM_BYTES} bytes"))
    } else {
        Ok(pem.as_bytes())
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bounded(pem)?).collect();
    match read {
        Ok(list) if (1..=CERTIFICATES).contains(&list.len()) => Ok(list),
        Ok(list) if list.len() > CERTIFICATES => {
            Err(format!("must have at most {CERTIFICATES} certificates"))
        }
        _ => Err("must be one or more certificates in PEM form".to_owned()),
    }
}

fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(bounded(pem)?)
        .map_err(|_| "must be a private key in PEM form, not encrypted".to_owned())
}

/// Which part an error of TLS is about.
pub(super) fn wrong_client(error: &Error) -> (&'static str, String) {
    match error {
        Error::InconsistentKeys(_) => ("key", "is not the key of the certificate".to_owned()),
        Error::InvalidCertificate(_) => ("cert", "is not a certificate that can be used".to_owned()),
        _ => ("key", "is not a private key that can be used; RSA needs 2048 bits or more".to_owned()),
    }
}
