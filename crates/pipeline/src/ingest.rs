//! Ingest: an event is accepted when it is durable, and not before.

use bytes::Bytes;
use tributary_domain::{Event, OrgId};
use tributary_eventlog::{EventLog, LogError};

use crate::streams::Streams;

/// An event that is about to be accepted, with the organization whose stream shows it.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The event.
    pub event: Event,
    /// The organization that owns its product.
    pub org: Option<OrgId>,
}

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// It cannot be made durable now: the disk is full, or the server is stopping. Nothing was stored.
    #[error("events cannot be stored: {0}")]
    Unavailable(#[source] LogError),
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Ingest {
    log: EventLog,
    streams: Streams,
}

impl Ingest {
    /// Accepts into this log and shows in these streams.
    pub fn new(log: EventLog, streams: Streams) -> Ingest {
        Ingest { log, streams }
    }

    /// Returns once the event is on disk; then it is shown in the live streams.
    ///
    /// # Errors
    /// When it could not be stored; nothing was.
    pub async fn accept(&self, incoming: &Incoming) -> Result<(), IngestError> {
        let record = Bytes::from(incoming.event.encode());
        self.log.append(record).await.map_err(refused)?;
        self.streams.show(&incoming.event, incoming.org);
        Ok(())
    }

    /// As [`Ingest::accept`] for many, in one commit: all or none.
    ///
    /// # Errors
    /// When they could not be stored; none was.
    pub async fn accept_all(&self, incoming: &[Incoming]) -> Result<(), IngestError> {
        if incoming.is_empty() {
            return Ok(());
        }
        let records = incoming.iter().map(|one| Bytes::from(one.event.encode())).collect();
        self.log.append_all(records).await.map_err(refused)?;
        for one in incoming {
            self.streams.show(&one.event, one.org);
        }
        Ok(())
    }
}

fn refused(error: LogError) -> IngestError {
    tracing::error!(%error, "events are refused because they cannot be stored");
    IngestError::Unavailable(error)
}
