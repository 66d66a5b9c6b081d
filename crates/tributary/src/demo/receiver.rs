//! The demo's receiver: takes every request, shows one line of it, and tells the last ones.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Mutex};

use crate::{Result, serve::now};

/// Requests that are remembered.
const REMEMBERED: usize = 50;
/// Every so manieth request is refused, so that the history shows an error too.
const REFUSE_EVERY: u64 = 25;
/// Characters of a body that a line shows.
const SHOWN_CHARS: usize = 110;

#[derive(Default)]
struct Seen {
    count: u64,
    last: VecDeque<Value>,
}

/// A running receiver.
pub(crate) struct Receiver {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Receiver {
    /// Starts one on a free local port.
    pub(crate) async fn start() -> Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(take).with_state(Arc::new(Mutex::new(Seen::default())));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Receiver { address })
    }
}

async fn take(
    State(seen): State<Arc<Mutex<Seen>>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let mut seen = seen.lock().await;
    if method == Method::GET {
        return (StatusCode::OK, Json(json!({"requests": seen.count, "last": seen.last})));
    }
    seen.count += 1;
    let text = String::from_utf8_lossy(&body).into_owned();
    let refused = seen.count.is_multiple_of(REFUSE_EVERY);
    let at = now().to_string();
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    println!("{}  {method} {uri}  {shown}{}", &at[11..19], if refused { "  (refused with 400)" } else { "" });
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    seen.last.push_front(json!({"at": at, "method": method.as_str(), "path": uri.path(), "body": body}));
    seen.last.truncate(REMEMBERED);
    if refused {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "the demo's receiver refuses one request in 25"})),
        );
    }
    (StatusCode::OK, Json(json!({"ok": true})))
}
