//! From an address in a URL to a connection: resolve once, check every address, connect to a checked one.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_service::Service;

use super::{
    AddressPolicy, Resolve,
    failure::{self, ConnectError},
    pool::{Shared, place_name},
    proxy::Proxy,
    tls::ALPN_HTTP_2,
};

/// How long one address is waited for before the next is tried beside it (RFC 8305 recommends this).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// How many addresses of one name are tried.
const ADDRESSES_TRIED: usize = 8;

/// What is told of a name none of whose addresses may be reached.
const NOT_PUBLIC: &str =
    "has no public address; the operator can allow the one that it has with delivery.allowed_targets";

/// Opens connections for a client's pool.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) policy: Arc<AddressPolicy>,
    pub(super) tls: TlsConnector,
    /// A connection that nobody waits for any more ends after this time all the same.
    pub(super) timeout: Duration,
    /// Connections over which many requests go at once.
    pub(super) shared: Shared,
    pub(super) proxy: Option<Arc<Proxy>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let connection = timeout(connector.timeout, connector.connect(&uri)).await;
            connection.map_err(|_| ConnectError::Timeout)?.map(TokioIo::new)
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri) -> Result<Stream, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NotFound)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if !secure && let Some(proxy) = self.proxy_for(host)? {
            return Ok(Stream::Proxied(self.reach_proxy(proxy).await?));
        }
        let stream = self.reach(host, port).await?;
        if !secure {
            return Ok(Stream::Plain(stream));
        }
        let stream = encrypted(&self.tls, host, stream).await?;
        let is_http_2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP_2);
        let life = is_http_2.then(|| self.shared.note(&place_name(uri)));
        Ok(Stream::Tls(stream, life))
    }

    /// The proxy through which a host is reached. An address that may not be reached is not asked for there either; who
    /// a name leads to is for the proxy to check.
    fn proxy_for(&self, host: &str) -> Result<Option<&Proxy>, ConnectError> {
        let Some(proxy) = self.proxy.as_deref().filter(|proxy| proxy.serves(host)) else { return Ok(None) };
        match host.parse().ok().and_then(|ip| self.policy.refusal(ip)) {
            Some(refusal) => Err(ConnectError::Refused(refusal)),
            None => Ok(Some(proxy)),
        }
    }

    async fn reach_proxy(&self, proxy: &Proxy) -> Result<TcpStream, ConnectError> {
        let failed =
            |error: &dyn std::fmt::Display| ConnectError::Proxy(format!("cannot be reached: {error}"));
        let addresses = self.addresses(&proxy.host).await.map_err(|error| failed(&error))?;
        let addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, proxy.port));
        let stream = first_connected(addresses).await.map_err(|error| failed(&ConnectError::from(error)))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Connects to a checked address of the host, or through the proxy.
    pub(super) async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        if let Some(proxy) = self.proxy_for(host)? {
            let stream = self.reach_proxy(proxy).await?;
            return proxy.tunnel(stream, host, port).await;
        }
        let addresses = self.allowed(host, self.addresses(host).await?)?;
        let stream = first_connected(addresses.iter().map(|ip| SocketAddr::new(*ip, port))).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        if let Ok(literal) = host.parse() {
            return Ok(vec![literal]);
        }
        let found = self.resolver.resolve(host).await.unwrap_or_default();
        match found.is_empty().then(failure::no_descriptor_now) {
            None => Ok(found),
            Some(None) => Err(ConnectError::NotFound),
            Some(Some(error)) => Err(error.into()),
        }
    }

    /// The addresses of the host that may be reached; an error when none may. It names an address only where the host is
    /// one: what a name leads to inside the operator's network is for the operator's log alone.
    fn allowed(&self, host: &str, mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, ConnectError> {
        let refusal = addresses.iter().find_map(|ip| self.policy.refusal(*ip));
        addresses.retain(|ip| self.policy.allows(*ip));
        match refusal {
            Some(refusal) if addresses.is_empty() => {
                if host.parse::<IpAddr>().is_ok() {
                    return Err(ConnectError::Refused(refusal));
                }
                tracing::info!(host, %refusal, "a delivery was refused by its address");
                Err(ConnectError::Refused(format!("{host} {NOT_PUBLIC}")))
            }
            _ => Ok(addresses),
        }
    }
}

/// Begins TLS with the host.
pub(super) async fn encrypted(
    tls: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> Result<Box<TlsStream<TcpStream>>, ConnectError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::NotFound)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}

/// Connects to whichever address answers first, beginning with the first; the first address's error when none does.
async fn first_connected(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut rest = addresses.take(ADDRESSES_TRIED);
    let mut running = FuturesUnordered::new();
    let mut error = None;
    loop {
        let more = rest.next().map(|address| running.push(TcpStream::connect(address))).is_some();
        let wait =
            async { if more { sleep(NEXT_ADDRESS_AFTER).await } else { std::future::pending().await } };
        tokio::select! {
            biased;
            ended = running.next() => match ended {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(failed)) => { error.get_or_insert(failed); }
                None => return Err(error.unwrap_or_else(|| io::ErrorKind::NotFound.into())),
            },
            () = wait => {}
        }
    }
}

/// A connection, encrypted or not.
pub(super) enum Stream {
    /// http and its like
    Plain(TcpStream),
    /// http that a proxy is asked for by full addresses
    Proxied(TcpStream),
    /// https and its like; over HTTP/2 with what tells others, as long as it lives, that they may share it
    Tls(Box<TlsStream<TcpStream>>, Option<Arc<()>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let is_proxied = matches!(self, Stream::Proxied(_));
        let connected = Connected::new().proxy(is_proxied);
        if matches!(self, Stream::Tls(_, Some(_))) { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Proxied(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream, _) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Proxied(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream, _) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Proxied(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream, _) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) | Stream::Proxied(stream) => stream.is_write_vectored(),
            Stream::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Proxied(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) | Stream::Proxied(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
