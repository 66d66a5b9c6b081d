//! The bodies of a connection: a request's, which has to come fast enough, and an answer's, which tells when it has ended.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::{Times, places::Held, socket::Alarm};

/// The body of a request; an error of the kind `TimedOut` where it comes too slowly.
pub(super) struct Paced {
    body: Incoming,
    times: Times,
    /// When it was first waited for.
    since: Option<Instant>,
    received: u64,
    alarm: Alarm,
}

impl Paced {
    pub(super) fn new(body: Incoming, times: Times) -> Paced {
        Paced { body, times, since: None, received: 0, alarm: Alarm::default() }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_pending() {
            let since = *this.since.get_or_insert_with(Instant::now);
            let deadline = since + this.times.body + this.times.at_slowest(this.received);
            ready!(this.alarm.poll_past(cx, deadline));
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "it comes too slowly"))));
        }
        polled.map(|frame| {
            frame.map(|frame| {
                let frame = frame.map_err(io::Error::other)?;
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
pub(super) struct Answer {
    body: axum::body::Body,
    held: Arc<Held>,
}

impl Answer {
    pub(super) fn new(body: axum::body::Body, held: Arc<Held>) -> Answer {
        Answer { body, held }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.held.served();
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
