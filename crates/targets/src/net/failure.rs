//! Errors of the network, as Particle words them: by their names in Node.js (contract 4.3). All of them may pass, except
//! that an address which may not be reached stays so.

use std::{error::Error, io};

use rustls::CertificateError;
use tributary_domain::outcome::AttemptClass;

use super::verifier::{Problem, VERSION_1};
use crate::Attempt;

/// No connection in time.
pub(super) const NOT_CONNECTED_IN_TIME: &str = "ETIMEDOUT";
/// A connection, but no reply in time.
pub(crate) const NO_REPLY_IN_TIME: &str = "ESOCKETTIMEDOUT";
const CLOSED: &str = "ECONNRESET";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The name has no address.
    #[error("ENOTFOUND")]
    NotFound,
    /// No address of the name may be reached.
    #[error("EADDRNOTALLOWED: {0}")]
    Refused(String),
    /// It took too long.
    #[error("ETIMEDOUT")]
    Timeout,
    /// The outbound proxy makes none.
    #[error("EPROXY: the outbound proxy {0}")]
    Proxy(String),
    /// The network or TLS failed.
    #[error("{}", io_text(.0))]
    Io(#[from] io::Error),
}

/// The attempt that ended in an error that may pass.
pub(crate) fn passing(text: impl Into<String>) -> Attempt {
    let class = AttemptClass::Passing { retry_after_ms: None };
    Attempt { class, error: Some(text.into()), reply: None }
}

/// The attempt for which there was no connection.
pub(super) fn unconnected(error: &ConnectError) -> Attempt {
    let failed = passing(error.to_string());
    match error {
        ConnectError::Refused(_) => Attempt { class: AttemptClass::Final, ..failed },
        ConnectError::Io(error) if is_of_ours(error) => Attempt { class: AttemptClass::NotMade, ..failed },
        _ => failed,
    }
}

/// `ENFILE` and `EMFILE`, which have these numbers on every Unix.
const NO_DESCRIPTOR: [i32; 2] = [23, 24];

/// Whether an error is this server's own: it has no file descriptor left.
pub(super) fn is_of_ours(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|number| NO_DESCRIPTOR.contains(&number))
}

/// The error of this server where it has no file descriptor left now: resolvers do not tell that from a name without
/// addresses.
pub(super) fn no_descriptor_now() -> Option<io::Error> {
    std::fs::File::open("/dev/null").err().filter(is_of_ours)
}

/// The attempt that ended with its connection.
pub(super) fn broken(error: &io::Error) -> Attempt {
    passing(io_text(error))
}

/// The attempt that ended in an error of the client.
pub(super) fn attempt(error: &hyper_util::client::legacy::Error) -> Attempt {
    let failed = passing(text(error));
    let class = causes(error).find_map(|cause| match cause.downcast_ref()? {
        ConnectError::Refused(_) => Some(AttemptClass::Final),
        ConnectError::Io(error) if is_of_ours(error) => Some(AttemptClass::NotMade),
        _ => None,
    });
    Attempt { class: class.unwrap_or(failed.class), ..failed }
}

/// Whether the server says that it has not begun with a request: it refused the stream, or its last stream is an earlier one.
pub(super) fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    let of_stream = causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    of_stream.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// The text of an error: that of the innermost cause that has a name.
pub(super) fn text(error: &(dyn Error + 'static)) -> String {
    let named = causes(error).filter_map(name).last();
    named.unwrap_or_else(|| causes(error).last().map_or_else(String::new, ToString::to_string))
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn name(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<ConnectError>() {
        return Some(error.to_string());
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(io_text(error));
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    if error.is_parse() {
        return Some(format!("EPROTO: {error}"));
    }
    let closed = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
    closed.then(|| CLOSED.to_owned())
}

fn io_text(error: &io::Error) -> String {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls_text(error);
    }
    let name = match error.kind() {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            CLOSED
        }
        io::ErrorKind::BrokenPipe => "EPIPE",
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH",
        io::ErrorKind::NetworkUnreachable => "ENETUNREACH",
        io::ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL",
        io::ErrorKind::TimedOut => NOT_CONNECTED_IN_TIME,
        _ if is_of_ours(error) => "EMFILE: the server has no file descriptor left for a connection",
        _ => return error.to_string(),
    };
    name.to_owned()
}

/// What is wrong with TLS, after the name that Node.js has for it.
fn tls_text(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(wrong) = error else {
        return format!("EPROTO: {error}");
    };
    let text = match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "CERT_HAS_EXPIRED",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "CERT_NOT_YET_VALID",
        CertificateError::Revoked => "CERT_REVOKED",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "ERR_TLS_CERT_ALTNAME_INVALID: the certificate is for another name"
        }
        CertificateError::UnknownIssuer => {
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE: the certificate is self-signed, or its issuer is not known; name one of the two in tls.ca to trust it"
        }
        CertificateError::BadSignature => "CERT_SIGNATURE_FAILURE",
        CertificateError::Other(other) => match other.0.downcast_ref::<Problem>() {
            Some(Problem(text)) => text,
            // What is left of a certificate that signs itself as an authority.
            None if other.to_string().contains("CaUsedAsEndEntity") => {
                "DEPTH_ZERO_SELF_SIGNED_CERT: the certificate is self-signed; name it in tls.ca to trust it"
            }
            None if other.to_string().contains("UnsupportedCertVersion") => VERSION_1,
            None => return format!("ERR_TLS_CERT: {wrong}"),
        },
        other => return format!("ERR_TLS_CERT: {other}"),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_without_descriptors_has_made_no_attempt() {
        for number in NO_DESCRIPTOR {
            let attempt = unconnected(&ConnectError::from(io::Error::from_raw_os_error(number)));
            assert_eq!(attempt.class, AttemptClass::NotMade);
            assert!(attempt.error.is_some_and(|error| error.starts_with("EMFILE")));
        }
        let attempt = unconnected(&ConnectError::from(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(attempt.class, AttemptClass::Passing { retry_after_ms: None });
        assert!(no_descriptor_now().is_none());
    }

    #[test]
    fn errors_have_the_names_of_node() {
        let tls = |error| io::Error::other(rustls::Error::InvalidCertificate(error));
        for (error, expected) in [
            (io::ErrorKind::ConnectionRefused.into(), "ECONNREFUSED"),
            (io::ErrorKind::ConnectionReset.into(), "ECONNRESET"),
            (io::ErrorKind::UnexpectedEof.into(), "ECONNRESET"),
            (io::ErrorKind::BrokenPipe.into(), "EPIPE"),
            (io::ErrorKind::HostUnreachable.into(), "EHOSTUNREACH"),
            (io::ErrorKind::NetworkUnreachable.into(), "ENETUNREACH"),
            (io::ErrorKind::TimedOut.into(), "ETIMEDOUT"),
            (tls(CertificateError::Expired), "CERT_HAS_EXPIRED"),
            (tls(CertificateError::NotValidYet), "CERT_NOT_YET_VALID"),
            (
                tls(CertificateError::NotValidForName),
                "ERR_TLS_CERT_ALTNAME_INVALID: the certificate is for another name",
            ),
        ] {
            assert_eq!(text(&error), expected);
            assert_eq!(ConnectError::from(error).to_string(), expected);
        }
        let other = io::Error::other(rustls::Error::HandshakeNotComplete);
        assert!(text(&other).starts_with("EPROTO: "), "{}", text(&other));
    }
}
