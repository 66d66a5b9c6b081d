//! An outbound proxy (`delivery.proxy`): plain http is asked of it by full addresses, everything else goes through a tunnel.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use url::Url;

use super::{Cidr, failure::ConnectError};

/// Largest head of a proxy's answer, in bytes.
const ANSWER_BYTES: usize = 8 * 1024;
const WRONG: &str = "must be the http address of a proxy, such as http://user:password@proxy.example:3128";

/// The proxy that deliveries go through, and what does not.
#[derive(Clone)]
pub struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    credentials: Option<HeaderValue>,
    except: Vec<Exception>,
}

#[derive(Clone)]
enum Exception {
    Addresses(Cidr),
    /// A host's name, and all names under it.
    Name(String),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    /// Reads the address of a proxy and the hosts that are reached without it: names (with all names under them), addresses
    /// and ranges of addresses.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn parse(address: &str, except: &[String]) -> Result<Proxy, String> {
        let url = Url::parse(address.trim()).map_err(|_| WRONG.to_owned())?;
        let (Some(host), "http", "/", None) = (url.host_str(), url.scheme(), url.path(), url.query()) else {
            return Err(WRONG.to_owned());
        };
        let text = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        let credentials = has_credentials.then(|| {
            let both = format!("{}:{}", text(url.username()), text(url.password().unwrap_or_default()));
            HeaderValue::try_from(format!("Basic {}", BASE64.encode(both)))
        });
        let mut credentials = credentials.transpose().map_err(|_| WRONG.to_owned())?;
        credentials.iter_mut().for_each(|value| value.set_sensitive(true));
        let exception = |text: &String| match text.trim().trim_matches(['[', ']']).parse() {
            Ok(range) => Exception::Addresses(range),
            Err(_) => {
                let name = text.trim().trim_start_matches('*').trim_matches('.');
                Exception::Name(name.to_ascii_lowercase())
            }
        };
        Ok(Proxy {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(80),
            credentials,
            except: except.iter().map(exception).collect(),
        })
    }

    /// Whether a host is reached through it.
    pub(super) fn serves(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let ip: Option<IpAddr> = host.parse().ok();
        !self.except.iter().any(|exception| match exception {
            Exception::Addresses(range) => ip.is_some_and(|ip| range.contains(ip)),
            Exception::Name(name) => {
                let before = host.strip_suffix(name.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
        })
    }

    /// `Proxy-Authorization`
    pub(super) fn credentials(&self) -> Option<&HeaderValue> {
        self.credentials.as_ref()
    }

    /// Makes a connection to the proxy one to `host`, which may be an address.
    pub(super) async fn tunnel(
        &self,
        mut stream: TcpStream,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, ConnectError> {
        let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
        if let Some(credentials) = &self.credentials {
            request.extend([b"Proxy-Authorization: ", credentials.as_bytes(), b"\r\n"].concat());
        }
        request.extend(b"\r\n");
        stream.write_all(&request).await?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the head is the destination's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= ANSWER_BYTES {
                return Err(ConnectError::Proxy("gives an answer that is too long".to_owned()));
            }
            answer.push(stream.read_u8().await?);
        }
        let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
        match status.parse() {
            Ok(200..=299) => Ok(stream),
            Ok(407) => Err(ConnectError::Proxy("refuses delivery.proxy's credentials (407)".to_owned())),
            Ok::<u16, _>(status) => Err(ConnectError::Proxy(format!("answers {status}"))),
            Err(_) => Err(ConnectError::Proxy("does not speak HTTP".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_proxy_is_an_http_address_and_its_credentials_are_not_shown() {
        let proxy = Proxy::parse("http://us%40er:p%20w@Proxy.example:3128", &[]).unwrap();
        assert_eq!((&*proxy.host, proxy.port), ("proxy.example", 3128));
        let expected = format!("Basic {}", BASE64.encode("us@er:p w"));
        assert_eq!(proxy.credentials().unwrap().to_str().unwrap(), expected);
        assert_eq!(
            format!("{proxy:?} {:?}", proxy.credentials()),
            "Proxy(proxy.example:3128) Some(Sensitive)"
        );
        let plain = Proxy::parse("http://[::1]", &[]).unwrap();
        assert_eq!((&*plain.host, plain.port, plain.credentials()), ("::1", 80, None));
        for wrong in
            ["", "proxy:3128", "https://proxy", "socks5://proxy", "http://", "http://p/path", "http://p/?q"]
        {
            assert!(Proxy::parse(wrong, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn exceptions_are_names_with_those_under_them_and_addresses() {
        let except =
            ["intern.example", ".corp", "*.lab", "10.0.0.0/8", "[::1]", "192.168.1.1"].map(str::to_owned);
        let proxy = Proxy::parse("http://proxy", &except).unwrap();
        for direct in [
            "intern.example",
            "A.Intern.Example.",
            "x.corp",
            "corp",
            "a.lab",
            "10.1.2.3",
            "[::1]",
            "192.168.1.1",
        ] {
            assert!(!proxy.serves(direct), "{direct}");
        }
        for through in ["example", "myintern.example", "intern.example.org", "11.0.0.1", "::2", "192.168.1.2"]
        {
            assert!(proxy.serves(through), "{through}");
        }
    }
}
