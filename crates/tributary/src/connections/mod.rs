//! The server's side of HTTP: connections are accepted within bounds, and every wait for a caller ends.
//!
//! Read in this order: [`serve`] accepts, [`places`] says who may stay, [`socket`] and [`body`] end what is too slow,
//! [`files`] sees to it that deliveries have descriptors left.

mod body;
mod files;
mod places;
mod refusal;
mod socket;

use std::{convert::Infallible, io, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName},
    response::Response,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tower_service::Service;
use tributary_control::{
    addressed::{Addressed, Addressing, Forwarded},
    origin::Origin,
};

use self::{
    body::{Answer, Paced},
    places::{Held, Place, Places},
    refusal::Refusals,
    socket::Socket,
};
pub(crate) use files::{connections, raise_limit};
pub(crate) use places::Bounds;

/// Largest head of a request, and most of an answer that waits for a slow reader besides what the kernel holds, in bytes.
const BUFFER_BYTES: usize = 32 * 1024;
/// How long the loop rests after an error that the next try would meet too.
const REST: Duration = Duration::from_millis(50);

/// How long callers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// For the whole head of a request, from its first byte, or from the connection's beginning.
    pub(crate) head: Duration,
    /// For a body, besides one second for each [`Times::bytes_per_second`] of it.
    pub(crate) body: Duration,
    /// For the next request.
    pub(crate) idle: Duration,
    /// For a reader that does not take what is sent, besides one second for each [`Times::bytes_per_second`] it took.
    pub(crate) write: Duration,
    /// The least that is read or written, in bytes a second.
    pub(crate) bytes_per_second: u64,
}

impl Times {
    /// How long so many bytes may take at the slowest.
    fn at_slowest(&self, bytes: u64) -> Duration {
        Duration::from_secs(bytes / self.bytes_per_second.max(1))
    }
}

/// What answers requests.
pub(crate) trait Site:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Site for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// How connections are dealt with.
#[derive(Clone)]
pub(crate) struct Settings {
    /// How many there may be.
    pub(crate) bounds: Bounds,
    /// How long callers are waited for.
    pub(crate) times: Times,
    /// Which proxies are believed.
    pub(crate) addressing: Arc<Addressing>,
}

/// Answers on every connection until `closed` is true, then waits until all that was begun has been answered.
pub(crate) async fn serve<S: Site>(
    listener: TcpListener,
    site: S,
    settings: Settings,
    mut closed: watch::Receiver<bool>,
) {
    let places = Places::new(settings.bounds);
    let refusals = Refusals::default();
    let stop = closed.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // A closed channel means that the server is gone, which is a stop as well.
            _ = closed.wait_for(|closed| *closed) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let peer = peer.ip();
                match places.take(Origin::from(Some(peer)), settings.addressing.trusts(peer)) {
                    Ok(place) => {
                        let connection = Connection { peer, site: site.clone(), settings: settings.clone() };
                        tokio::spawn(connection.serve(stream, place, stop.clone()));
                    }
                    Err(full) => refusals.refuse(stream, full),
                }
            }
            Err(error) if passes_at_once(&error) => {}
            Err(error) => {
                refusals.not_accepted(&error);
                places.make_room();
                tokio::time::sleep(REST).await;
            }
        }
    }
    drop(listener);
    places.empty().await;
}

/// Whether an error is of the one connection that was about to be accepted.
fn passes_at_once(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What one connection needs.
struct Connection<S> {
    peer: IpAddr,
    site: S,
    settings: Settings,
}

impl<S: Site> Connection<S> {
    async fn serve(self, stream: TcpStream, place: Place, mut stop: watch::Receiver<bool>) {
        // Answers are small and each is written whole: waiting for more to send would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
        let held = Arc::clone(place.held());
        let io = TokioIo::new(Socket::new(stream, Arc::clone(&held), self.settings.times));
        let answering = Arc::clone(&held);
        let service = service_fn(move |request| self.answer(request, &answering));
        let mut http = http1::Builder::new();
        let connection = http.max_buf_size(BUFFER_BYTES).serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        let stopped = async {
            // A closed channel means that the server is gone, which is a stop as well.
            let _ = stop.wait_for(|closed| *closed).await;
        };
        // How a connection ended is no news: callers hang up as they like.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = held.evicted() => return,
            () = stopped => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    fn answer(
        &self,
        request: hyper::Request<Incoming>,
        held: &Arc<Held>,
    ) -> impl Future<Output = Result<hyper::Response<Answer>, Infallible>> + use<S> {
        held.serves();
        let mut request: Request = request.map(|body| Body::new(Paced::new(body, self.settings.times)));
        let addressed = addressed(&self.settings.addressing, self.peer, request.headers());
        request.extensions_mut().insert(addressed);
        let (answer, held) = (self.site.clone().call(request), Arc::clone(held));
        async move {
            let Ok(response) = answer.await;
            Ok(response.map(|body| Answer::new(body, held)))
        }
    }
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

fn addressed(settings: &Arc<Addressing>, peer: IpAddr, headers: &HeaderMap) -> Addressed {
    if !headers.contains_key(FORWARDED_FOR) && !settings.trusts(peer) {
        return Addressed::new(settings, peer, Forwarded::default());
    }
    // Several lines of one name are one list.
    let list = |name| {
        let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    };
    let [by, proto, host] = [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST].map(list);
    let forwarded = Forwarded { by: by.as_deref(), proto: proto.as_deref(), host: host.as_deref() };
    Addressed::new(settings, peer, forwarded)
}

#[cfg(test)]
mod tests;
