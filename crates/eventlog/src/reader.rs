//! The reader thread: older records, from the file.

use std::{path::PathBuf, sync::Arc};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use crate::{
    LogError, Options, Record,
    db::{self, FrameRow},
    frame::Frame,
    page::{self, Page},
};

/// The most bytes of frames that one [`read_last`](crate::EventLog::read_last) goes through: 64 MiB.
pub const READ_LAST_BYTES: usize = 64 << 20;

type Reply = oneshot::Sender<Result<Vec<Record>, LogError>>;

/// What the handles ask of the reader.
#[derive(Debug)]
pub(crate) enum ReadOp {
    After { after: u64, max_records: usize, max_bytes: usize, reply: Reply },
    Before { before: u64, max_records: usize, max_bytes: usize, reply: Reply },
    Close(oneshot::Sender<()>),
}

/// The state of the reader thread.
pub(crate) struct Reader {
    path: PathBuf,
    options: Options,
    /// `None` after an error, until it could be opened again.
    db: Option<Connection>,
    ops: mpsc::Receiver<ReadOp>,
    /// The frame read last: a consumer with small pages comes back to it several times.
    recent: Option<Arc<Frame>>,
}

impl Reader {
    pub(crate) fn new(
        (path, options): (PathBuf, Options),
        db: Connection,
        ops: mpsc::Receiver<ReadOp>,
    ) -> Reader {
        Reader { path, options, db: Some(db), ops, recent: None }
    }

    /// Works until the log is closed or no handle is left.
    pub(crate) fn run(mut self) {
        while let Some(op) = self.ops.blocking_recv() {
            match op {
                ReadOp::After { after, max_records, max_bytes, reply } => {
                    let answer = self.read(|reader, db| reader.after(db, after, max_records, max_bytes));
                    let _ = reply.send(answer);
                }
                ReadOp::Before { before, max_records, max_bytes, reply } => {
                    let answer = self.read(|reader, db| reader.before(db, before, max_records, max_bytes));
                    let _ = reply.send(answer);
                }
                ReadOp::Close(reply) => {
                    drop(self);
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    fn read<T>(
        &mut self,
        step: impl FnOnce(&mut Reader, &Connection) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => db::open_reader(&self.path, &self.options)?,
        };
        let result = step(self, &db);
        if !matches!(result, Err(LogError::Io(_))) {
            self.db = Some(db);
        }
        result
    }

    fn after(
        &mut self,
        db: &Connection,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let mut page = Page::new(after, max_records, max_bytes);
        let mut seq = after.saturating_add(1);
        while let Some(row) = db::row_at_or_above(db, seq).map_err(read_error)? {
            match self.frame(db, &row) {
                Ok(Some(frame)) => {
                    if !page.take(&frame) {
                        break;
                    }
                }
                // Trimmed since its row was seen.
                Ok(None) => {}
                // What stands before the damage is delivered first; the next call meets it again.
                Err(LogError::Damaged { .. }) if !page.is_empty() => break,
                Err(error) => return Err(error),
            }
            seq = row.last_seq.max(row.first_seq).saturating_add(1);
        }
        Ok(page.into_records())
    }

    fn before(
        &mut self,
        db: &Connection,
        before: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let (mut below, mut records, mut bytes) = (before, 0, 0);
        let mut frames: Vec<Arc<Frame>> = Vec::new();
        while records < max_records && bytes < max_bytes {
            let Some(row) = db::row_below(db, below).map_err(read_error)? else { break };
            match self.frame(db, &row) {
                Ok(Some(frame)) => {
                    let above = (frame.last_seq() + 1).saturating_sub(before);
                    records += frame.len().saturating_sub(usize::try_from(above).unwrap_or(usize::MAX));
                    bytes += frame.bytes.len();
                    frames.push(frame);
                }
                Ok(None) => {}
                Err(LogError::Damaged { .. }) if !frames.is_empty() => break,
                Err(error) => return Err(error),
            }
            below = row.first_seq;
        }
        Ok(page::newest_before(frames, before, max_records))
    }

    /// The frame of a row, checked; `None` when it was trimmed in the meantime.
    fn frame(&mut self, db: &Connection, row: &FrameRow) -> Result<Option<Arc<Frame>>, LogError> {
        if let Some(recent) = &self.recent
            && (recent.first_seq, recent.last_seq(), recent.at_ms) == (row.first_seq, row.last_seq, row.at_ms)
        {
            return Ok(Some(recent.clone()));
        }
        let bytes = match db::frame_bytes(db, row.first_seq) {
            Ok(bytes) => bytes,
            Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(None),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                return Err(damaged(db, row, "the file is damaged where it is stored"));
            }
            Err(error) => return Err(read_error(error)),
        };
        let frame = Frame::decode(row.first_seq, row.last_seq, row.at_ms, bytes)
            .map_err(|reason| damaged(db, row, reason))?;
        let frame = Arc::new(frame);
        self.recent = Some(frame.clone());
        Ok(Some(frame))
    }
}

/// The number at which reading can go on is taken from the next frame, since this row cannot be trusted.
fn damaged(db: &Connection, row: &FrameRow, reason: &'static str) -> LogError {
    let next = db::rows_above(db, row.first_seq, 1).ok().and_then(|rows| rows.first().copied());
    let last_seq = match next {
        Some(next) => next.first_seq - 1,
        None => row.last_seq.max(row.first_seq),
    };
    let first_seq = row.first_seq;
    tracing::error!(first_seq, last_seq, reason, "event log: a frame is damaged");
    LogError::Damaged { first_seq, last_seq, reason }
}

#[allow(clippy::needless_pass_by_value, reason = "used as the function of map_err")]
fn read_error(error: rusqlite::Error) -> LogError {
    match LogError::sql("read", &error) {
        // Reading needs no space: whatever SQLite means by it, the caller cannot wait for space here.
        LogError::Full => LogError::Io(format!("read: {error}")),
        other => other,
    }
}
