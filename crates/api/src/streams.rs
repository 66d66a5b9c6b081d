//! Live streams over HTTP: Server-Sent Events (contract 4.1).

use std::{collections::HashMap, convert::Infallible, hash::Hash, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, RawPathParams, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use tributary_control::{
    origin::Origin,
    streaming::{Heard, Listening, StreamOf},
};
use tributary_domain::UserId;

use crate::{
    ApiError, AppState,
    auth::{Caller, MaybeToken, Source},
};

/// A quiet stream sends a line break this often: clients give up after 15 s without a byte.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// What a caller with too many streams is told to wait, in seconds.
const RETRY_S: u64 = 10;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/events", get(without_prefix))
        .route("/v1/events/{*prefix}", get(everything))
        .route("/v1/devices/events", get(own))
        .route("/v1/devices/events/{*prefix}", get(own))
        .route("/v1/devices/{device}/events", get(own_device))
        .route("/v1/devices/{device}/events/{*prefix}", get(own_device))
        .route("/v1/products/{product}/events", get(product))
        .route("/v1/products/{product}/events/{*prefix}", get(product))
        .route("/v1/products/{product}/devices/events", get(product))
        .route("/v1/products/{product}/devices/events/{*prefix}", get(product))
        .route("/v1/products/{product}/devices/{device}/events", get(product_device))
        .route("/v1/products/{product}/devices/{device}/events/{*prefix}", get(product_device))
        .route("/v1/orgs/{org}/events", get(org))
        .route("/v1/orgs/{org}/events/{*prefix}", get(org))
        .route("/v1/orgs/{org}/products/{product}/events", get(org_product))
        .route("/v1/orgs/{org}/products/{product}/events/{*prefix}", get(org_product))
}

/// Open streams by user and by source address; each may have so many.
#[derive(Clone)]
pub struct OpenStreams {
    by_user: Counted<UserId>,
    by_address: Counted<Origin>,
}

/// How many are open of each; nobody has more than the most.
#[derive(Clone)]
struct Counted<K> {
    open: Arc<Mutex<HashMap<K, usize>>>,
    most: usize,
}

/// One that is open, until it is dropped.
struct Open<K: Hash + Eq> {
    counted: Counted<K>,
    key: K,
}

/// Counts one open stream until it is dropped.
struct Opened {
    _of_user: Open<UserId>,
    _of_address: Open<Origin>,
}

impl<K: Hash + Eq + Copy> Counted<K> {
    fn new(most: usize) -> Counted<K> {
        Counted { open: Arc::default(), most }
    }

    fn open(&self, key: K, whose: &str) -> Result<Open<K>, ApiError> {
        let mut open = self.open.lock();
        let count = open.entry(key).or_default();
        if *count >= self.most {
            let text = format!("{} streams are open {whose}, which is the limit; close some", self.most);
            return Err(
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text).retry_after(RETRY_S)
            );
        }
        *count += 1;
        Ok(Open { counted: self.clone(), key })
    }
}

impl<K: Hash + Eq> Drop for Open<K> {
    fn drop(&mut self) {
        let mut open = self.counted.open.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

impl OpenStreams {
    /// At most so many streams of one user, and from one address.
    pub fn new(per_user: usize, per_address: usize) -> OpenStreams {
        OpenStreams { by_user: Counted::new(per_user), by_address: Counted::new(per_address) }
    }

    /// The user's bound is asked first, so that one user cannot use up the address that many share.
    fn open(&self, user: UserId, origin: Origin) -> Result<Opened, ApiError> {
        Ok(Opened {
            _of_user: self.by_user.open(user, "with this user")?,
            _of_address: self.by_address.open(origin, "from this address")?,
        })
    }
}

/// The parts of the path that name the stream.
pub(crate) struct Named(HashMap<String, String>);

impl Named {
    fn get(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, ApiError> {
        let bad_path =
            |_| ApiError::new(StatusCode::BAD_REQUEST, "invalid_request", "the path is not valid UTF-8");
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(bad_path)?;
        Ok(Named(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
    }
}

macro_rules! stream_handlers {
    ($($(#[$doc:meta])* $handler:ident, $path:literal, |$named:ident| $of:expr;)*) => {
        $(
            $(#[$doc])*
            #[utoipa::path(get, path = $path, tag = "events", responses((status = 200, content_type = "text/event-stream", body = String)))]
            pub(crate) async fn $handler(
                State(state): State<AppState>,
                Caller(actor): Caller,
                MaybeToken(token): MaybeToken,
                source: Source,
                $named: Named,
            ) -> Result<Response, ApiError> {
                let opened = state.open_streams.open(actor.user, source.addressed.origin())?;
                let token = token.unwrap_or_default();
                Ok(respond(state.control.listen(&token, $of, $named.get("prefix")).await?, opened))
            }
        )*
    };
}

stream_handlers! {
    /// Everything that the caller may hear.
    everything, "/v1/events/{prefix}", |_named| StreamOf::Everything;
    /// The caller's own events.
    own, "/v1/devices/events/{prefix}", |_named| StreamOf::Own;
    /// Events of one of the caller's devices.
    own_device, "/v1/devices/{device}/events/{prefix}", |named| StreamOf::OwnDevice(named.get("device"));
    /// Events of a product.
    product, "/v1/products/{product}/events/{prefix}", |named| StreamOf::Product(named.get("product"));
    /// Events of a device of a product.
    product_device, "/v1/products/{product}/devices/{device}/events/{prefix}", |named| StreamOf::ProductDevice(named.get("product"), named.get("device"));
    /// Events of all products of an organization.
    org, "/v1/orgs/{org}/events/{prefix}", |named| StreamOf::Org(named.get("org"));
    /// Events of a product of an organization.
    org_product, "/v1/orgs/{org}/products/{product}/events/{prefix}", |named| StreamOf::OrgProduct(named.get("org"), named.get("product"));
}

/// The stream of everything needs a prefix.
#[utoipa::path(get, path = "/v1/events", tag = "events", responses((status = 400, body = serde_json::Value)))]
pub(crate) async fn without_prefix(Caller(_): Caller) -> ApiError {
    ApiError::bad_request("event prefix filter is required")
}

fn respond(listening: Listening, opened: Opened) -> Response {
    let head = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b":ok\n\n"))]);
    let events = stream::unfold((listening, opened), |(mut listening, opened)| async move {
        let bytes = match listening.next(KEEP_ALIVE).await? {
            Heard::Event(bytes) => bytes,
            Heard::Nothing => Bytes::from_static(b"\n"),
        };
        Some((Ok(bytes), (listening, opened)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(futures_util::StreamExt::chain(head, events))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_at_its_bound_before_the_address_that_it_shares() {
        let streams = OpenStreams::new(2, 3);
        let (ada, bob, eve) = (UserId([1; 12]), UserId([2; 12]), UserId([3; 12]));
        let here = Origin::from(Some([192, 0, 2, 1].into()));
        let elsewhere = Origin::from(Some([192, 0, 2, 2].into()));
        let mut open = vec![streams.open(ada, here), streams.open(ada, here)];
        assert!(open.iter().all(Result::is_ok));
        assert!(streams.open(ada, elsewhere).is_err(), "wherever the user is");
        open.push(streams.open(bob, here));
        assert!(open.iter().all(Result::is_ok));
        assert!(streams.open(eve, here).is_err(), "the address is full");
        assert!(streams.open(eve, elsewhere).is_ok());
        open.clear();
        assert!(streams.by_user.open.lock().is_empty() && streams.by_address.open.lock().is_empty());
    }
}
