//! HTTP clients: connections that are kept, one timeout for all of a delivery, replies of a bounded size.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tributary_domain::outcome::AttemptClass;

use super::{
    AddressPolicy, OwnTls, Resolve, SystemResolver,
    connect::Connector,
    failure,
    pool::{HttpClient, Shared},
    proxy::Proxy,
    reading::{Reading, Room},
    tls,
    wire::Wires,
};
use crate::{Attempt, Message, Reply, settings::Clock};

/// How long a delivery may take in all (contract 4.3).
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// The wait before a request that a server has not looked at is sent again, at first and at most.
const REFUSED_WAIT: Duration = Duration::from_millis(5);
const REFUSED_WAIT_MAX: Duration = Duration::from_millis(500);

/// What the clients are built from.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// How long a delivery may take, connecting included.
    pub timeout: Duration,
    /// Which addresses may be reached.
    pub addresses: Arc<AddressPolicy>,
    /// The time, for replies that name one.
    pub clock: Clock,
    /// What everything goes through, if not directly.
    pub proxy: Option<Arc<Proxy>>,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings {
            timeout: DELIVERY_TIMEOUT,
            addresses: Arc::default(),
            clock: Clock::default(),
            proxy: None,
        }
    }
}

/// Which of the clients sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// For addresses that a customer chose: they and their certificates are checked.
    Checked,
    /// The same without checking certificates (`rejectUnauthorized: false`).
    AnyCertificate,
    /// For endpoints from the server's own configuration, wherever they are.
    Operator,
}

/// The HTTP clients. Built once; a clone shares their connections.
#[derive(Clone)]
pub struct Clients {
    checked: HttpClient,
    any_certificate: HttpClient,
    operator: HttpClient,
    /// What the clients of [`OwnTls`] are made from, but for its TLS.
    connector: Connector,
    pub(super) wires: Wires,
    pub(super) timeout: Duration,
    room: Room,
    clock: Clock,
    proxy: Option<Arc<Proxy>>,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Clients {
    /// Builds them.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: &ClientSettings) -> Result<Clients, rustls::Error> {
        Clients::with_resolver(settings, SystemResolver)
    }

    /// Builds them with another resolver.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with_resolver(
        settings: &ClientSettings,
        resolver: impl Resolve + 'static,
    ) -> Result<Clients, rustls::Error> {
        let resolver: Arc<dyn Resolve> = Arc::new(resolver);
        let connector = |verify, policy: &Arc<AddressPolicy>| -> Result<Connector, rustls::Error> {
            Ok(Connector {
                resolver: Arc::clone(&resolver),
                policy: Arc::clone(policy),
                tls: TlsConnector::from(tls::config(verify)?),
                timeout: settings.timeout,
                shared: Shared::default(),
                proxy: settings.proxy.clone(),
            })
        };
        let everywhere = Arc::new(AddressPolicy { allow_private: true, allowed: Vec::new() });
        let checked = connector(true, &settings.addresses)?;
        Ok(Clients {
            checked: HttpClient::new(checked.clone()),
            any_certificate: HttpClient::new(connector(false, &settings.addresses)?),
            operator: HttpClient::new(connector(true, &everywhere)?),
            wires: Wires::new(&checked)?,
            connector: checked,
            timeout: settings.timeout,
            room: Room::default(),
            clock: settings.clock,
            proxy: settings.proxy.clone(),
        })
    }

    /// Runs the requests of one attempt, where it takes several, within the time that a delivery has.
    pub async fn in_time(&self, requests: impl Future<Output = Attempt>) -> Attempt {
        let ended = timeout(self.timeout, requests).await;
        ended.unwrap_or_else(|_| failure::passing(failure::NO_REPLY_IN_TIME))
    }

    /// Sends a message once. What it comes to is never an `Err`: failures are what is reported.
    pub async fn send(&self, message: &Message, via: Via) -> Attempt {
        self.send_reading(message, via, Reading::Answer).await
    }

    /// The same, saying how the reply is read.
    pub async fn send_reading(&self, message: &Message, via: Via, reading: Reading) -> Attempt {
        let client = match via {
            Via::Checked => &self.checked,
            Via::AnyCertificate => &self.any_certificate,
            Via::Operator => &self.operator,
        };
        self.send_by(client, message, reading).await
    }

    /// The same with `Via::Checked`, over connections with an integration's own TLS.
    pub async fn send_with(&self, message: &Message, own: &OwnTls, reading: Reading) -> Attempt {
        let make = |config| {
            let tls = TlsConnector::from(config);
            HttpClient::new(Connector { tls, shared: Shared::default(), ..self.connector.clone() })
        };
        self.send_by(own.client(make), message, reading).await
    }

    async fn send_by(&self, client: &HttpClient, message: &Message, reading: Reading) -> Attempt {
        let deadline = Instant::now() + self.timeout;
        let mut pause = REFUSED_WAIT;
        loop {
            let mut request = match request(message, self.proxy.as_deref()) {
                Ok(request) => request,
                Err(error) => return Attempt { class: AttemptClass::Final, error: Some(error), reply: None },
            };
            let connection = capture_connection(&mut request);
            match timeout_at(deadline, client.request(request, &connection)).await {
                Ok(Ok(response)) => return self.answered(response, message, reading, deadline).await,
                // The server says that it has done nothing: this is no second attempt.
                Ok(Err(error)) if failure::is_unprocessed(&error) && Instant::now() + pause < deadline => {
                    sleep(pause).await;
                    pause = (pause * 2).min(REFUSED_WAIT_MAX);
                }
                Ok(Err(error)) => return failure::attempt(&error),
                Err(_) if connection.connection_metadata().is_some() => {
                    return failure::passing(failure::NO_REPLY_IN_TIME);
                }
                Err(_) => return failure::passing(failure::NOT_CONNECTED_IN_TIME),
            }
        }
    }

    async fn answered(
        &self,
        response: http::Response<Incoming>,
        message: &Message,
        reading: Reading,
        deadline: Instant,
    ) -> Attempt {
        let (head, body) = response.into_parts();
        let read = self.room.read(&head.headers, body, reading, deadline).await;
        if let Some(error) = read.broken.filter(|_| reading == Reading::Answer) {
            return failure::passing(error);
        }
        let status = head.status.as_u16();
        let class = AttemptClass::of_status(status, retry_after_ms(&head.headers, self.clock));
        let error = (class != AttemptClass::Success).then(|| {
            let host = message.destination.rsplit_once(':').map_or(&*message.destination, |(host, _)| host);
            format!("error status {status} from {host}")
        });
        let shown = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), shown(value))).collect();
        let reply = Reply { status, headers, body: read.body, rest: read.rest };
        Attempt { class, error, reply: Some(reply) }
    }
}

fn request(message: &Message, proxy: Option<&Proxy>) -> Result<Request<Full<Bytes>>, String> {
    let uri = Uri::try_from(&*message.url).map_err(|error| format!("url: {error}"))?;
    let method = Method::from_bytes(message.method.as_bytes()).map_err(|error| format!("method: {error}"))?;
    let wants_length = message.body.is_empty() && (method == Method::POST || method == Method::PUT);
    let mut request = Request::new(Full::new(message.body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.reserve(message.headers.len() + 2);
    for (name, value) in &message.headers {
        let wrong = |error: http::Error| format!("headers.{name}: {error}");
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(error.into()))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|error| wrong(error.into()))?;
        headers.append(key, value);
    }
    if wants_length {
        // Servers may answer 411 to a POST that does not say that it is empty.
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    // Plain http is asked of the proxy itself; it keeps the header.
    let proxied = proxy.filter(|proxy| {
        let uri = request.uri();
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| proxy.serves(host))
    });
    if let Some(credentials) = proxied.and_then(Proxy::credentials) {
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, credentials.clone());
    }
    Ok(request)
}

/// What HTTP itself adds to the headers of a message when it is sent: the host, and the length of the body. Other protocols
/// add nothing.
///
/// # Errors
/// When the message cannot be sent, the text of the final error outcome that sending it would be.
pub fn added_headers(message: &Message) -> Result<Vec<(&'static str, String)>, String> {
    let mut added = Vec::new();
    if !message.url.starts_with("http") {
        return Ok(added);
    }
    let request = request(message, None)?;
    if let Some(host) = request.uri().host() {
        let port = request.uri().port_u16();
        let usual = match request.uri().scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        let host = match port.filter(|port| *port != usual) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        added.push(("host", host));
    }
    let given = request.headers().contains_key(header::CONTENT_LENGTH);
    if given || !message.body.is_empty() {
        added.push(("content-length", message.body.len().to_string()));
    }
    Ok(added)
}

/// `Retry-After` in milliseconds: seconds, or a date in one of HTTP's three forms, which is taken relative to the reply's
/// own `Date` so that the clocks need not agree.
fn retry_after_ms(headers: &HeaderMap, clock: Clock) -> Option<i64> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    if !asked.is_empty() && asked.bytes().all(|b| b.is_ascii_digit()) {
        return Some(asked.parse().unwrap_or(i64::MAX / 1_000).saturating_mul(1_000));
    }
    let ms = |date: &str| {
        let at = httpdate::parse_http_date(date).ok()?;
        i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
    };
    let now = text(header::DATE).and_then(ms).unwrap_or_else(|| clock.now().0);
    Some(ms(asked)?.saturating_sub(now).max(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tributary_domain::Timestamp;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_relative_to_the_reply_s_own_or_else_to_our_clock() {
        // Wed, 21 Oct 2015 07:28:00.250 GMT
        let clock = Clock(|| Timestamp(1_445_412_480_250));
        let ask = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            retry_after_ms(&headers, clock)
        };
        let other = ("date", "Wed, 21 Oct 2015 06:28:00 GMT");
        let bad = ("date", "now");
        for (asked, date, ms) in [
            ("7", None, Some(7_000)),
            (" 0 ", None, Some(0)),
            ("99999999999999999999", None, Some(i64::MAX / 1_000 * 1_000)),
            ("-1", None, None),
            ("", None, None),
            ("soon", None, None),
            ("1.5", None, None),
            ("Wed, 21 Oct 2015 06:28:30 GMT", Some(other), Some(30_000)),
            ("Wednesday, 21-Oct-15 06:28:30 GMT", Some(other), Some(30_000)),
            ("Wed Oct 21 06:28:30 2015", Some(other), Some(30_000)),
            ("Wed, 21 Oct 2015 06:27:00 GMT", Some(other), Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(other), Some(3_600_000)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", None, Some(29_750)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(bad), Some(29_750)),
            ("Wed, 21 Oct 2015 07:27:00 GMT", None, Some(0)),
        ] {
            let pairs: Vec<_> = std::iter::once(("retry-after", asked)).chain(date).collect();
            assert_eq!(ask(&pairs), ms, "{asked:?} {date:?}");
        }
        assert_eq!(ask(&[]), None);
    }
}
