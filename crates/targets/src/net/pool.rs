//! A client with its kept connections. Over HTTP/2 one connection serves many requests, so the first request to a place goes
//! alone until TLS has told what is spoken there; the others would only open connections that nobody needs.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::CaptureConnection},
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::connect::Connector;
use tributary_domain::limits;

/// How long an unused connection is kept: less than the 5 s after which Node.js closes it, so that a request rarely
/// meets a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Unused connections kept for each address.
const IDLE_PER_HOST: usize = limits::LANE_CONCURRENCY;
/// Largest head of a reply, in bytes.
const REPLY_HEAD_BYTES: u32 = 64 * 1024;
/// Most lines of the head of a reply.
const REPLY_HEAD_LINES: usize = 500;
/// How often an HTTP/2 connection in use is asked whether it is still there: many requests share one.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How long the answer to that is waited for.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests over a new HTTP/2 connection before the server has said how many it takes.
const STREAMS_BEFORE_SETTINGS: usize = 1;
/// How long a request waits for another one's connection before it makes one itself.
const TURN_WAIT: Duration = Duration::from_secs(1);
/// Places that are remembered; past it those are forgotten that nobody uses.
const PLACES: usize = 1_024;

/// A client. A clone shares its connections.
#[derive(Clone)]
pub(super) struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    places: Arc<Mutex<HashMap<Box<str>, Arc<Place>>>>,
}

/// What is known of a host and port.
#[derive(Default)]
struct Place {
    /// Held while the first connection is made.
    turn: tokio::sync::Mutex<()>,
    /// Whether each request needs a connection to itself there.
    is_one_each: AtomicBool,
}

/// The connections that serve many requests, as long as they live, by the place that they lead to.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<HashMap<Box<str>, Weak<()>>>>);

impl Shared {
    /// Notes one; it lives as long as what is given back.
    pub(super) fn note(&self, place: &str) -> Arc<()> {
        let life = Arc::new(());
        let mut all = self.0.lock();
        if all.len() >= PLACES {
            all.retain(|_, life| life.strong_count() > 0);
        }
        all.insert(place.into(), Arc::downgrade(&life));
        life
    }

    fn has(&self, place: &str) -> bool {
        self.0.lock().get(place).is_some_and(|life| life.strong_count() > 0)
    }
}

impl HttpClient {
    pub(super) fn new(connector: Connector) -> HttpClient {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .http1_max_buf_size(REPLY_HEAD_BYTES as usize)
            .http1_max_headers(REPLY_HEAD_LINES)
            // What small web servers write is read as browsers do; what says how long the body is stays strict.
            .http1_allow_spaces_after_header_name_in_responses(true)
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .http1_ignore_invalid_headers_in_responses(true)
            .http2_max_header_list_size(REPLY_HEAD_BYTES)
            .http2_initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(connector.clone());
        HttpClient { client, connector, places: Arc::default() }
    }

    /// Sends a request; `connection` tells of the one that it gets.
    pub(super) async fn request(
        &self,
        request: Request<Full<Bytes>>,
        connection: &CaptureConnection,
    ) -> Result<Response<Incoming>, Error> {
        if request.uri().scheme_str() != Some("https") {
            return self.client.request(request).await;
        }
        let name = place_name(request.uri());
        let place = self.place(&name);
        let passes = || place.is_one_each.load(Ordering::Relaxed) || self.connector.shared.has(&name);
        if passes() {
            return self.client.request(request).await;
        }
        let turn = timeout(TURN_WAIT, place.turn.lock()).await;
        if passes() {
            drop(turn);
            return self.client.request(request).await;
        }
        let mut connection = connection.clone();
        let mut response = std::pin::pin!(self.client.request(request));
        let connected = async {
            let connected = connection.wait_for_connection_metadata().await;
            connected.as_ref().is_some_and(|connected| !connected.is_negotiated_h2())
        };
        tokio::select! {
            biased;
            is_one_each = connected => place.is_one_each.store(is_one_each, Ordering::Relaxed),
            ended = &mut response => return ended,
        }
        drop(turn);
        response.await
    }

    fn place(&self, name: &str) -> Arc<Place> {
        let mut places = self.places.lock();
        if let Some(place) = places.get(name) {
            return Arc::clone(place);
        }
        if places.len() >= PLACES {
            places.retain(|_, place| Arc::strong_count(place) > 1);
        }
        let place = Arc::<Place>::default();
        places.insert(name.into(), Arc::clone(&place));
        place
    }
}

/// `host:port` of an https address.
pub(super) fn place_name(uri: &Uri) -> String {
    format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443))
}
