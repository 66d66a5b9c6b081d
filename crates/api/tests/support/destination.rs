//! A destination of webhooks that tells what it got.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Mutex, mpsc},
    time::timeout,
};

/// How long a request may take to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests and statuses that may wait to be taken.
const REQUESTS: usize = 64;

/// A destination: it tells the text of each request, and answers with 200, or with the statuses that it is given one by
/// one.
pub(crate) struct Destination {
    pub(crate) url: String,
    pub(crate) statuses: mpsc::Sender<u16>,
    pub(crate) requests: mpsc::Receiver<String>,
}

impl Destination {
    /// One that always answers with this status, or waits for what it is to answer.
    pub(crate) async fn new(fixed: Option<u16>) -> Destination {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let (statuses, given) = mpsc::channel(REQUESTS);
        let given = Arc::new(Mutex::new(given));
        let (tell, requests) = mpsc::channel(REQUESTS);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (tell, given) = (tell.clone(), given.clone());
                tokio::spawn(async move {
                    let mut bytes = [0; 4_096];
                    // The requests of these tests fit into one segment.
                    let read = socket.read(&mut bytes).await.unwrap_or_default();
                    let _ = tell.send(String::from_utf8_lossy(&bytes[..read]).into_owned()).await;
                    let status = match fixed {
                        Some(status) => Some(status),
                        None => given.lock().await.recv().await,
                    };
                    let Some(status) = status else { return };
                    let answer =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = socket.write_all(answer.as_bytes()).await;
                });
            }
        });
        Destination { url, statuses, requests }
    }

    /// The next request, while time passes.
    pub(crate) async fn retry(&mut self) -> String {
        let next = async {
            loop {
                super::pass(1);
                if let Ok(request) = timeout(Duration::from_millis(20), self.requests.recv()).await {
                    return request.unwrap();
                }
            }
        };
        timeout(PATIENCE, next).await.unwrap()
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> String {
        timeout(PATIENCE, self.requests.recv()).await.unwrap().unwrap()
    }
}
