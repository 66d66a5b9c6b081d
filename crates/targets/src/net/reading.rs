//! Reading the body of a reply: bounded in size and time, and without its encoding.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use tributary_domain::limits;

use super::{failure, unpack::unpacked};
use crate::reply::{LongBody, Rest};

/// Reply bodies up to this size, in bytes, are copied out of the connection's buffer.
const COPIED_BYTES: usize = 1_024;
/// Long bodies that are in memory at once, each of up to [`limits::TEMPLATE_REPLY_BYTES`]; more wait until one is given up.
const LONG_BODIES: usize = 32;
const TOO_LONG: &str = "the reply is longer than 1 MiB, too long for responseTemplate";

/// How the reply to a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The body tells what became of the request: one that breaks off is a failure.
    Answer,
    /// The status alone tells that; of the body what arrives is taken.
    Head,
    /// The same, and a `responseTemplate` is to see a long body.
    Template,
}

/// The room for long bodies.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Room {
        Room(Arc::new(Semaphore::new(LONG_BODIES)))
    }
}

/// A body that was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) body: Bytes,
    /// The error of the network that ended it.
    pub(super) broken: Option<String>,
    pub(super) rest: Option<Box<Rest>>,
}

impl Room {
    /// Reads a body. What is beyond the limit is not read: dropping the body ends the connection.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
        reading: Reading,
        deadline: Instant,
    ) -> Read {
        if body.is_end_stream() {
            return Read::default();
        }
        let mut gathered = Gathered::default();
        let most = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let is_too_long = reading == Reading::Template && most > limits::TEMPLATE_REPLY_BYTES;
        let may_be_long = reading == Reading::Template && !is_too_long;
        let ended = timeout_at(deadline, async {
            gathered.fill(&mut body, limits::REPLY_BYTES + usize::from(may_be_long)).await?;
            let room = match may_be_long && gathered.len() > limits::REPLY_BYTES {
                true => self.0.clone().acquire_owned().await.ok(),
                false => None,
            };
            if room.is_some() {
                gathered.fill(&mut body, limits::TEMPLATE_REPLY_BYTES + 1).await?;
            }
            Ok::<_, hyper::Error>(room)
        });
        let (broken, mut room) = match ended.await {
            Ok(Ok(room)) => (None, room),
            Ok(Err(error)) => (Some(failure::text(&error)), None),
            Err(_) => (Some(failure::NO_REPLY_IN_TIME.to_owned()), None),
        };
        let mut whole = gathered.take();
        let limit = if may_be_long { limits::TEMPLATE_REPLY_BYTES } else { limits::REPLY_BYTES };
        let mut is_longer = is_too_long || (may_be_long && whole.len() > limit);
        whole.truncate(limit);
        if let Some(out) = unpacked(headers, &whole, limit, broken.is_some() || whole.len() >= limit) {
            is_longer |= may_be_long && out.is_longer;
            whole = out.bytes.into();
        }
        let note = match &broken {
            Some(error) => Some(format!("the reply's body broke off: {error}")),
            None => is_longer.then(|| TOO_LONG.to_owned()),
        };
        if may_be_long && !is_longer && whole.len() > limits::REPLY_BYTES {
            // A few bytes that unpacked to many: there was no need to wait for room before.
            if room.is_none() {
                room = timeout_at(deadline, self.0.clone().acquire_owned()).await.ok().and_then(Result::ok);
            }
            let first = Bytes::copy_from_slice(&whole[..limits::REPLY_BYTES]);
            let long = room.map(|room| LongBody { bytes: whole, _room: Arc::new(room) });
            let note = note.or_else(|| long.is_none().then(|| "too many long replies at once".to_owned()));
            return Read { body: first, broken, rest: Some(Box::new(Rest { note, long })) };
        }
        let was = whole.len();
        whole.truncate(limits::REPLY_BYTES);
        // A slice of the connection's buffer keeps all of it until the reply is written down, and the connection has to
        // get a new one.
        let body = if whole.len() <= COPIED_BYTES || whole.len() < was {
            Bytes::copy_from_slice(&whole)
        } else {
            whole
        };
        Read { body, broken, rest: note.map(|note| Box::new(Rest { note: Some(note), long: None })) }
    }
}

/// What has arrived of a body.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    joined: BytesMut,
}

impl Gathered {
    fn len(&self) -> usize {
        self.first.len().max(self.joined.len())
    }

    /// Takes more until there are so many bytes, or no more.
    async fn fill(&mut self, body: &mut Incoming, enough: usize) -> Result<(), hyper::Error> {
        while self.len() < enough {
            let Some(frame) = body.frame().await else { break };
            let Ok(data) = frame?.into_data() else { continue };
            if self.first.is_empty() && self.joined.is_empty() {
                self.first = data;
                continue;
            }
            if self.joined.is_empty() {
                self.joined.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.joined.extend_from_slice(&data);
        }
        Ok(())
    }

    fn take(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}
