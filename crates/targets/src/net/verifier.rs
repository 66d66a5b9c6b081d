//! Which server's certificate is taken: one that the public authorities or the integration's own vouch for, one that the
//! integration names itself, or any (`rejectUnauthorized: false`).
//!
//! rustls's own reader refuses some of what is in use at small brokers and devices: certificates of version 1, and
//! authorities that are shown as a server's certificate. Those are taken where the integration's own `tls.ca` vouches for
//! them, directly.

use std::sync::Arc;

use ring::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    UnparsedPublicKey,
};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::x509::{Certificate, Key};

/// Fewest bits of an RSA key whose every signature can be checked.
const RSA_BITS: usize = 2_048;

/// What is wrong with a certificate and what to do about it, after the name that Node.js has for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Problem(pub(super) &'static str);

pub(super) const VERSION_1: &str = "ERR_TLS_CERT: version 1 certificates are not supported unless tls.ca has the certificate or its issuer's; make it with an extension file (openssl x509 -req -extfile)";
pub(super) const NO_NAME: &str = "ERR_TLS_CERT_ALTNAME_INVALID: the certificate names no host; make it with subjectAltName (openssl req -addext subjectAltName=DNS:…)";
const SHORT_KEY: &str = "EE_KEY_TOO_SMALL: the key of the certificate cannot be checked; make one with RSA of 2048 bits or more, or ECDSA P-256 or P-384";

fn problem(text: &'static str) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Problem(text)))))
}

/// Checks certificates against the public authorities and those of an integration.
#[derive(Debug)]
pub(super) struct Own {
    /// The public authorities and the integration's.
    pub(super) all: Arc<WebPkiServerVerifier>,
    /// The integration's alone; `None` when they cannot be authorities.
    pub(super) own: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of `tls.ca`.
    pub(super) named: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.iter().any(|named| named == end_entity) {
            return self.vouched(end_entity, name, now);
        }
        let by = |verifier: &WebPkiServerVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)
        };
        let error = match by(&self.all) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        let read = Certificate::read(end_entity);
        if is_wrong_name(&error) {
            // The chain is good, but which? Common names count where the integration's own authorities vouch for them.
            let is_own =
                self.own.as_ref().is_some_and(|own| by(own).is_err_and(|error| is_wrong_name(&error)));
            return match read.filter(|read| is_own && !read.has_names()) {
                Some(read) if read.is_commonly(name) => Ok(ServerCertVerified::assertion()),
                Some(_) => Err(problem(NO_NAME)),
                None => Err(error),
            };
        }
        let is_authority = format!("{error:?}").contains("CaUsedAsEndEntity");
        match read {
            Some(read) if (read.is_version_1 || is_authority) && self.signed_directly(&read, now) => {
                self.vouched(end_entity, name, now)
            }
            Some(read) if read.is_version_1 => Err(problem(VERSION_1)),
            _ => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let usual = verify_tls12_signature(message, cert, signature, &self.algorithms);
        usual.or_else(|_| strict(self.algorithms, message, cert, signature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let usual = verify_tls13_signature(message, cert, signature, &self.algorithms);
        usual.or_else(|_| strict(self.algorithms, message, cert, signature))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Own {
    /// Checks the time and the name of a certificate that the integration vouches for.
    fn vouched(
        &self,
        der: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let bad = |error| Error::InvalidCertificate(error);
        let read = Certificate::read(der).ok_or(bad(CertificateError::BadEncoding))?;
        read.check_time(now).map_err(bad)?;
        if !read.has_names() {
            let is_it = read.is_commonly(name);
            return if is_it { Ok(ServerCertVerified::assertion()) } else { Err(problem(NO_NAME)) };
        }
        verify_server_name(&ParsedCertificate::try_from(der)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    /// Whether one of the named certificates signed this one.
    fn signed_directly(&self, read: &Certificate<'_>, now: UnixTime) -> bool {
        let authorities = self.named.iter().filter_map(|named| Certificate::read(named));
        let mut signers = authorities.filter(|authority| {
            authority.subject == read.issuer && !authority.limits_names() && authority.check_time(now).is_ok()
        });
        let has_signed = |authority: &Certificate<'_>| {
            let fits = self.algorithms.all.iter().filter(|algorithm| {
                algorithm.signature_alg_id().as_ref() == read.signature_algorithm
                    && algorithm.public_key_alg_id().as_ref() == authority.key.algorithm
            });
            let mut fits = fits;
            fits.any(|algorithm| {
                algorithm.verify_signature(authority.key.bits, read.signed, read.signature).is_ok()
            })
        };
        read.is_for_servers() && signers.any(|authority| has_signed(&authority))
    }
}

/// Takes any certificate. The handshake must still be signed with its key, as far as that can be read.
#[derive(Debug)]
pub(super) struct Unverified(pub(super) WebPkiSupportedAlgorithms);

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
        let usual = verify_tls12_signature(message, cert, signature, &self.0);
        usual.or_else(|error| lenient(self.0, message, cert, signature, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let usual = verify_tls13_signature(message, cert, signature, &self.0);
        usual.or_else(|error| lenient(self.0, message, cert, signature, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Whether a signature is of a key.
#[derive(Debug, PartialEq, Eq)]
enum Signed {
    Yes,
    No,
    /// Such keys or signatures cannot be checked.
    Unknown,
}

fn strict(
    algorithms: WebPkiSupportedAlgorithms,
    message: &[u8],
    cert: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    match signed(algorithms, message, cert, signature) {
        Signed::Yes => Ok(HandshakeSignatureValid::assertion()),
        Signed::No => Err(CertificateError::BadSignature.into()),
        Signed::Unknown => Err(problem(SHORT_KEY)),
    }
}

fn lenient(
    algorithms: WebPkiSupportedAlgorithms,
    message: &[u8],
    cert: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    error: Error,
) -> Result<HandshakeSignatureValid, Error> {
    match signed(algorithms, message, cert, signature) {
        // Whoever can be in between can bring a certificate of his own: nothing is lost that was there.
        Signed::Yes | Signed::Unknown => Ok(HandshakeSignatureValid::assertion()),
        Signed::No => Err(error),
    }
}

/// Checks a handshake's signature by the key alone, however the rest of the certificate is.
fn signed(
    algorithms: WebPkiSupportedAlgorithms,
    message: &[u8],
    cert: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Signed {
    let Some(Certificate { key, .. }) = Certificate::read(cert) else { return Signed::Unknown };
    let known = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
    let fits: Vec<_> = known
        .into_iter()
        .flat_map(|(_, list)| list.iter())
        .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
        .collect();
    let is_signed = fits
        .iter()
        .any(|algorithm| algorithm.verify_signature(key.bits, message, signature.signature()).is_ok());
    match () {
        () if is_signed => Signed::Yes,
        () if fits.is_empty() => Signed::Unknown,
        () if key.rsa_bits().is_some_and(|bits| bits < RSA_BITS) => signed_shortly(key, message, signature),
        () => Signed::No,
    }
}

/// The same of a short RSA key, which is only possible in the older of the two forms.
fn signed_shortly(key: Key<'_>, message: &[u8], signature: &DigitallySignedStruct) -> Signed {
    let algorithm = match signature.scheme {
        SignatureScheme::RSA_PKCS1_SHA256 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        SignatureScheme::RSA_PKCS1_SHA512 => &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        _ => return Signed::Unknown,
    };
    match UnparsedPublicKey::new(algorithm, key.bits).verify(message, signature.signature()) {
        Ok(()) => Signed::Yes,
        Err(_) if key.rsa_bits().is_some_and(|bits| bits < 1_024) => Signed::Unknown,
        Err(_) => Signed::No,
    }
}

fn is_wrong_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}
