//! A small HTTP server that answers as a function tells it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `POST /path?query`
    pub(crate) line: String,
    head: String,
    pub(crate) body: String,
}

impl Request {
    /// The value of a header, whose name is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What is answered; nothing at all, for ever, when there is none.
pub(crate) type Answer = Option<(u16, String)>;

/// A status and a JSON body.
pub(crate) fn answer(status: u16, body: &Value) -> Answer {
    Some((status, body.to_string()))
}

#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    pub(crate) async fn start(answers: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (running, answers) = (receiver.clone(), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                running.connections.fetch_add(1, Ordering::SeqCst);
                let (running, answers) = (running.clone(), answers.clone());
                tokio::spawn(async move { running.speak(stream, &*answers).await });
            }
        });
        receiver
    }

    async fn speak(&self, mut stream: TcpStream, answers: &(dyn Fn(&Request) -> Answer + Send + Sync)) {
        let mut bytes = Vec::new();
        while let Some(request) = read(&mut stream, &mut bytes).await {
            let answer = answers(&request);
            self.requests.lock().push(request);
            let Some((status, body)) = answer else { return std::future::pending().await };
            let head = format!("HTTP/1.1 {status} Something\r\ncontent-length: {}\r\n\r\n", body.len());
            if stream.write_all((head + &body).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().clone()
    }

    /// The lines of all requests.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests.lock().iter().map(|request| request.line.clone()).collect()
    }
}

/// The next request of a connection; `bytes` keeps what was read beyond it.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let (line, head) = text.split_once("\r\n").unwrap();
            let line = line.trim_end_matches(" HTTP/1.1").to_owned();
            let request = Request { line, head: head.to_owned(), body: String::new() };
            let length: usize = request.header("content-length").map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let body = bytes.drain(..end + 4 + length).skip(end + 4).collect();
                return Some(Request { body: String::from_utf8(body).unwrap(), ..request });
            }
        }
        if stream.read_buf(bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}
