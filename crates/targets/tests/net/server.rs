//! A small HTTP server that misbehaves as it is told.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What it does once it has read a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Writes these bytes and waits for the next request.
    Reply(Vec<u8>),
    /// Writes these bytes and closes.
    ReplyAndClose(Vec<u8>),
    /// Writes these bytes and then nothing, for ever.
    ReplyAndHang(Vec<u8>),
}

/// A reply with a body.
pub(crate) fn reply(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Something\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
    closed: watch::Sender<usize>,
    act: Act,
}

impl Server {
    /// Starts it; `wrap` makes the connection that it speaks over.
    async fn start_with<S, F>(act: Act, wrap: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Server
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = std::io::Result<S>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
            closed: watch::Sender::new(0),
            act,
        };
        let running = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                running.connections.fetch_add(1, Ordering::SeqCst);
                let (server, stream) = (running.clone(), wrap(stream));
                tokio::spawn(async move {
                    if let Ok(stream) = stream.await {
                        server.speak(stream).await;
                    }
                    server.closed.send_modify(|count| *count += 1);
                });
            }
        });
        server
    }

    pub(crate) async fn start(act: Act) -> Server {
        Server::start_with(act, |stream| async { Ok(stream) }).await
    }

    pub(crate) async fn start_tls(act: Act, acceptor: tokio_rustls::TlsAcceptor) -> Server {
        Server::start_with(act, move |stream| acceptor.accept(stream)).await
    }

    async fn speak(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(request) = read_request(&mut stream).await {
            self.requests.lock().push(request);
            match &self.act {
                Act::Reply(bytes) => {
                    if stream.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                Act::ReplyAndClose(bytes) => {
                    _ = stream.write_all(bytes).await;
                    return;
                }
                Act::ReplyAndHang(bytes) => {
                    _ = stream.write_all(bytes).await;
                    return std::future::pending().await;
                }
            }
        }
    }

    /// Waits until this many connections are closed.
    pub(crate) async fn closed(&self, count: usize) {
        self.closed.subscribe().wait_for(|closed| *closed >= count).await.unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self, n: usize) -> String {
        self.requests.lock()[n].clone()
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let head = text.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4);
        if let Some(head) = head {
            let lower = String::from_utf8_lossy(&text[..head]).to_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if text.len() >= head + length {
                return Some(String::from_utf8(text).unwrap());
            }
        }
        match stream.read_buf(&mut text).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}
