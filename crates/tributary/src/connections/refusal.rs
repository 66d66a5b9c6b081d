//! What a caller without a place is told, and what the log says of it, seldom.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::places::Full;

/// How often the log tells of refused connections.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Callers that are told at once; the others find the connection closed.
const TOLD_AT_ONCE: usize = 64;
/// How long a caller is waited for to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Tells something to the log once in a while, with how often it happened.
#[derive(Default)]
struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// How often since it was told last, if it is to be told now.
    fn now(&self) -> Option<u64> {
        let mut state = self.0.lock();
        state.1 += 1;
        if state.0.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
            return None;
        }
        state.0 = Some(Instant::now());
        Some(std::mem::take(&mut state.1))
    }
}

/// The refusals.
pub(super) struct Refusals {
    places: Arc<Semaphore>,
    full: Seldom,
    failed: Seldom,
}

impl Default for Refusals {
    fn default() -> Refusals {
        let places = Arc::new(Semaphore::new(TOLD_AT_ONCE));
        Refusals { places, full: Seldom::default(), failed: Seldom::default() }
    }
}

impl Refusals {
    /// Tells a caller that there is no room, and why.
    pub(super) fn refuse(&self, stream: TcpStream, full: Full) {
        if let Some(count) = self.full.now() {
            tracing::warn!(?full, count, "connections are refused: see server.connections");
        }
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            tokio::spawn(async move {
                let _ = timeout(FAREWELL, tell(stream, full)).await;
                drop(permit);
            });
        }
    }

    /// A connection could not be accepted.
    pub(super) fn not_accepted(&self, error: &std::io::Error) {
        if let Some(count) = self.failed.now() {
            tracing::error!(%error, count, "connections cannot be accepted");
        }
    }
}

async fn tell(mut stream: TcpStream, full: Full) -> std::io::Result<()> {
    stream.write_all(answer(full).as_bytes()).await?;
    stream.shutdown().await?;
    // What was sent is read to its end: an end before that would take the answer away from the caller.
    let mut rest = [0; 1_024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn answer(full: Full) -> String {
    let (status, error, text) = match full {
        Full::All(most) => (
            "503 Service Unavailable",
            "unavailable",
            format!("{most} connections are open, which is the server's limit (server.connections)"),
        ),
        Full::Address(most) => (
            "429 Too Many Requests",
            "too_many_requests",
            format!(
                "{most} connections are open from this address, which is the limit (server.connections_per_address)"
            ),
        ),
    };
    let body = format!("{{\"ok\":false,\"error\":\"{error}\",\"error_description\":\"{text}\"}}");
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: 5\r\n\
         cache-control: no-store\r\naccess-control-allow-origin: *\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}
