//! A destination on loopback that keeps what arrives, byte for byte.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

/// Longest wait for a request that must come.
const SOON: Duration = Duration::from_secs(10);

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case, as HTTP compares them.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    arrived: Arc<(Mutex<Vec<Arrived>>, Notify)>,
}

impl Receiver {
    /// Answers every request with 200.
    pub(crate) async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver { address: listener.local_addr().unwrap(), arrived: Arc::default() };
        let arrived = receiver.arrived.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, arrived.clone()));
            }
        });
        receiver
    }

    /// The address of a path here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All that has arrived.
    pub(crate) fn all(&self) -> Vec<Arrived> {
        self.arrived.0.lock().clone()
    }

    /// Waits for the first request whose path begins so.
    pub(crate) async fn first(&self, path: &str) -> Arrived {
        let wait = async {
            loop {
                let next = self.arrived.1.notified();
                if let Some(found) = self.all().into_iter().find(|one| one.target.starts_with(path)) {
                    return found;
                }
                next.await;
            }
        };
        timeout(SOON, wait).await.unwrap_or_else(|_| panic!("nothing arrived at {path}"))
    }
}

async fn serve(mut stream: TcpStream, arrived: Arc<(Mutex<Vec<Arrived>>, Notify)>) {
    let mut read = Vec::new();
    loop {
        while let Some((request, length)) = parse(&read) {
            read.drain(..length);
            arrived.0.lock().push(request);
            arrived.1.notify_waiters();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
        if stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
            continue;
        }
        return;
    }
}

/// The first whole request, and its length.
fn parse(bytes: &[u8]) -> Option<(Arrived, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let (line, lines) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
        let known = headers.entry(name.to_ascii_lowercase()).or_default();
        *known = if known.is_empty() { value.to_owned() } else { format!("{known}, {value}") };
    }
    assert!(!headers.contains_key("transfer-encoding"), "{head}");
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let body = bytes.get(end + 4..end + 4 + length)?;
    let mut words = line.split(' ').map(str::to_owned);
    let request = Arrived {
        method: words.next().unwrap(),
        target: words.next().unwrap(),
        headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    Some((request, end + 4 + length))
}
