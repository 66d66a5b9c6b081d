//! HTTP clients: connections that are kept, one timeout for all of a delivery, replies of a bounded size.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tributary_domain::{limits, outcome::AttemptClass};

use super::{AddressPolicy, OwnTls, Resolve, SystemResolver, connect::Connector, failure, tls, wire::Wires};
use crate::{Attempt, Message, Reply};

/// How long a delivery may take in all (contract 4.3).
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an unused connection is kept: less than the 5 s after which Node.js closes it, so that a request rarely
/// meets a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Unused connections kept for each address.
const IDLE_PER_HOST: usize = limits::LANE_CONCURRENCY;
/// Largest head of a reply, in bytes.
const REPLY_HEAD_BYTES: u32 = 64 * 1024;
/// Reply bodies up to this size, in bytes, are copied out of the connection's buffer.
const COPIED_BYTES: usize = 1_024;
/// How often an HTTP/2 connection in use is asked whether it is still there: many requests share one.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long the answer to that is waited for.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// What the clients are built from.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// How long a delivery may take, connecting included.
    pub timeout: Duration,
    /// Which addresses may be reached.
    pub addresses: Arc<AddressPolicy>,
}

impl Default for ClientSettings {
    fn default() -> ClientSettings {
        ClientSettings { timeout: DELIVERY_TIMEOUT, addresses: Arc::default() }
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
}

pub(super) type HttpClient = Client<Connector, Full<Bytes>>;

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
            })
        };
        let everywhere = Arc::new(AddressPolicy { allow_private: true, allowed: Vec::new() });
        let checked = connector(true, &settings.addresses)?;
        Ok(Clients {
            checked: client(checked.clone()),
            any_certificate: client(connector(false, &settings.addresses)?),
            operator: client(connector(true, &everywhere)?),
            wires: Wires::new(&checked)?,
            connector: checked,
            timeout: settings.timeout,
        })
    }

    /// Runs the requests of one attempt, where it takes several, within the time that a delivery has.
    pub async fn in_time(&self, requests: impl Future<Output = Attempt>) -> Attempt {
        let ended = timeout(self.timeout, requests).await;
        ended.unwrap_or_else(|_| failure::passing(failure::NO_REPLY_IN_TIME))
    }

    /// Sends a message once. What it comes to is never an `Err`: failures are what is reported.
    pub async fn send(&self, message: &Message, via: Via) -> Attempt {
        let client = match via {
            Via::Checked => &self.checked,
            Via::AnyCertificate => &self.any_certificate,
            Via::Operator => &self.operator,
        };
        self.send_by(client, message).await
    }

    /// As [`Clients::send`] with `Via::Checked`, over connections with an integration's own TLS.
    pub async fn send_with(&self, message: &Message, own: &OwnTls) -> Attempt {
        let make = |config| client(Connector { tls: TlsConnector::from(config), ..self.connector.clone() });
        self.send_by(own.client(make), message).await
    }

    async fn send_by(&self, client: &HttpClient, message: &Message) -> Attempt {
        let mut request = match request(message) {
            Ok(request) => request,
            Err(error) => return Attempt { class: AttemptClass::Final, error: Some(error), reply: None },
        };
        let connection = capture_connection(&mut request);
        let ended = timeout(self.timeout, exchange(client.request(request), message)).await;
        ended.unwrap_or_else(|_| {
            let connected = connection.connection_metadata().is_some();
            failure::passing(if connected {
                failure::NO_REPLY_IN_TIME
            } else {
                failure::NOT_CONNECTED_IN_TIME
            })
        })
    }
}

fn client(connector: Connector) -> HttpClient {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .http1_max_buf_size(REPLY_HEAD_BYTES as usize)
        .http2_max_header_list_size(REPLY_HEAD_BYTES)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(connector)
}

fn request(message: &Message) -> Result<Request<Full<Bytes>>, String> {
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
    let request = request(message)?;
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

async fn exchange(
    response: impl Future<Output = Result<http::Response<Incoming>, hyper_util::client::legacy::Error>>,
    message: &Message,
) -> Attempt {
    let response = match response.await {
        Ok(response) => response,
        Err(error) => return failure::attempt(&error),
    };
    let (head, body) = response.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(error) => return failure::passing(failure::text(&error)),
    };
    let status = head.status.as_u16();
    let class = AttemptClass::of_status(status, retry_after_ms(&head.headers));
    let error = (class != AttemptClass::Success).then(|| {
        let host = message.destination.rsplit_once(':').map_or(&*message.destination, |(host, _)| host);
        format!("error status {status} from {host}")
    });
    let shown = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), shown(value))).collect();
    Attempt { class, error, reply: Some(Reply { status, headers, body }) }
}

/// Reads a body up to [`limits::REPLY_BYTES`]. The rest is not read: dropping the body ends the connection.
async fn read(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.is_empty() && joined.is_empty() {
            first = data;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&std::mem::take(&mut first));
            }
            joined.extend_from_slice(&data);
        }
        if first.len().max(joined.len()) >= limits::REPLY_BYTES {
            break;
        }
    }
    let mut whole = if joined.is_empty() { first } else { joined.freeze() };
    whole.truncate(limits::REPLY_BYTES);
    // A slice of the connection's buffer keeps all of it until the reply is written down, and the connection has to get
    // a new one.
    Ok(if whole.len() <= COPIED_BYTES { Bytes::copy_from_slice(&whole) } else { whole })
}

/// `Retry-After` in milliseconds: seconds, or a date, which is taken relative to the reply's own `Date` so that the
/// clocks need not agree.
fn retry_after_ms(headers: &HeaderMap) -> Option<i64> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse::<u32>() {
        return Some(i64::from(seconds) * 1_000);
    }
    let at = httpdate::parse_http_date(asked).ok()?;
    let now = httpdate::parse_http_date(text(header::DATE)?).ok()?;
    let wait = at.duration_since(now).unwrap_or_default();
    i64::try_from(wait.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_relative_to_the_reply_s_own() {
        let ask = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            retry_after_ms(&headers)
        };
        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(ask(&[]), None);
        assert_eq!(ask(&[("retry-after", "7")]), Some(7_000));
        assert_eq!(ask(&[("retry-after", " 0 ")]), Some(0));
        assert_eq!(ask(&[("retry-after", "-1")]), None);
        assert_eq!(ask(&[("retry-after", "soon")]), None);
        assert_eq!(ask(&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT"), date]), Some(30_000));
        assert_eq!(ask(&[("retry-after", "Wed, 21 Oct 2015 07:27:00 GMT"), date]), Some(0));
        assert_eq!(ask(&[("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT")]), None);
    }
}
