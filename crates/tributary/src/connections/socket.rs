//! A connection on which no wait is without an end: for the head of a request, for the next request, and for a reader that
//! does not take its answer.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};

use super::{
    Times,
    places::{Held, Phase},
};

/// An alarm that is set anew only where it would ring too late; one that rings too early is looked at again.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<tokio::time::Sleep>>>);

impl Alarm {
    /// Ready once `deadline` is over.
    pub(super) fn poll_past(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// A reader that does not take what is sent.
struct Blocked {
    since: Instant,
    /// What it took meanwhile, in bytes.
    taken: u64,
}

/// The connection.
pub(super) struct Socket {
    stream: TcpStream,
    held: Arc<Held>,
    times: Times,
    reading: Alarm,
    writing: Alarm,
    blocked: Option<Blocked>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, held: Arc<Held>, times: Times) -> Socket {
        let (reading, writing) = (Alarm::default(), Alarm::default());
        Socket { stream, held, times, reading, writing, blocked: None }
    }

    /// Until when the caller may take to say something; `None` while it is being answered.
    fn read_deadline(&self) -> Option<Instant> {
        match self.held.phase() {
            Phase::Head(since) => Some(since + self.times.head),
            Phase::Idle(since) => Some(since + self.times.idle),
            Phase::Serving | Phase::Evicted => None,
        }
    }

    /// Notes what came of a write; an error where the reader has taken nothing for too long.
    fn written(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &wrote {
            Poll::Ready(Ok(bytes)) => {
                if let Some(blocked) = &mut self.blocked {
                    blocked.taken += *bytes as u64;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let blocked = self.blocked.get_or_insert_with(|| {
                    self.held.blocked.store(true, Ordering::Relaxed);
                    Blocked { since: Instant::now(), taken: 0 }
                });
                let deadline = blocked.since + self.times.write + self.times.at_slowest(blocked.taken);
                if self.writing.poll_past(cx, deadline).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        wrote
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before && matches!(this.held.phase(), Phase::Idle(_)) {
                    this.held.head_begins();
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                if let Some(deadline) = this.read_deadline()
                    && this.reading.poll_past(cx, deadline).is_ready()
                {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, wrote)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once all that was to be sent is with the kernel: the reader keeps up.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.blocked.take().is_some() {
            this.held.blocked.store(false, Ordering::Relaxed);
        }
        // The answer is out. Its reading end has been polled already, while it was being answered: the alarm of idling is
        // set here, so that there is something to wake it.
        if let Some(deadline) = this.read_deadline()
            && this.reading.poll_past(cx, deadline).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
