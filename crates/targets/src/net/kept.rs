//! Connections that are kept between the attempts of one integration, for protocols other than HTTP.
//!
//! An attempt has a connection to itself, so one that is given up (a timeout, a stop of the server) ends its own
//! connection and nobody else's. Those that end well are kept for a few seconds.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often is looked for those that are over it.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A connection with a session on it.
pub(crate) trait Session: Send + 'static {
    /// Whether the peer still listens, as far as can be told without waiting.
    fn is_open(&mut self) -> bool;
    /// Says that it ends, without waiting.
    fn farewell(&mut self);
}

/// The unused connections of an integration. What they may be used for is told by a key: where they lead to, and as whom.
pub(crate) struct Kept<S: Session> {
    idle: Arc<Mutex<Idle<S>>>,
    turns: Semaphore,
    connections: usize,
}

struct Idle<S: Session> {
    /// The longest unused first.
    sessions: Vec<(Box<str>, Instant, S)>,
    is_swept: bool,
}

impl<S: Session> Kept<S> {
    /// With at most so many connections in use, and as many unused ones where they lead to different places.
    pub(crate) fn new(connections: usize) -> Kept<S> {
        let idle = Arc::new(Mutex::new(Idle { sessions: Vec::new(), is_swept: false }));
        Kept { idle, turns: Semaphore::new(connections), connections }
    }

    /// Waits until another attempt may have a connection; it may for as long as it holds what it is given.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there always is one.
        self.turns.acquire().await.ok()
    }
}

impl<S: Session> Drop for Idle<S> {
    fn drop(&mut self) {
        self.keep_after(None);
    }
}

impl<S: Session> Kept<S> {
    /// An unused connection with this key, the one that was used last.
    pub(crate) fn take(&self, key: &str) -> Option<S> {
        loop {
            let mut idle = self.idle.lock();
            let at = idle.sessions.iter().rposition(|(known, _, _)| **known == *key)?;
            let (_, _, mut session) = idle.sessions.remove(at);
            drop(idle);
            if session.is_open() {
                return Some(session);
            }
        }
    }

    /// Keeps a connection whose attempt has ended well.
    pub(crate) fn put(&self, key: &str, session: S) {
        let mut idle = self.idle.lock();
        // Others may lead elsewhere: where the address is a template there are several.
        if idle.sessions.len() >= self.connections {
            let (_, _, mut oldest) = idle.sessions.remove(0);
            oldest.farewell();
        }
        idle.sessions.push((key.into(), Instant::now(), session));
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.idle)));
        }
    }
}

impl<S: Session> Idle<S> {
    /// Ends what is not used since this moment, or all.
    fn keep_after(&mut self, moment: Option<Instant>) {
        let stays = |since: &Instant| moment.is_some_and(|moment| *since > moment);
        for (_, _, mut session) in self.sessions.extract_if(.., |(_, since, _)| !stays(since)) {
            session.farewell();
        }
    }
}

/// Ends unused connections. It lasts as long as there are some, and as the integration's target.
async fn sweep<S: Session>(idle: Weak<Mutex<Idle<S>>>) {
    loop {
        sleep(SWEEP_EVERY).await;
        let Some(idle) = idle.upgrade() else { return };
        let mut idle = idle.lock();
        idle.keep_after(Instant::now().checked_sub(IDLE_TIMEOUT));
        if idle.sessions.is_empty() {
            idle.is_swept = false;
            return;
        }
    }
}
