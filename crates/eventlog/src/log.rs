//! The handle: what the rest of the program calls.

use std::{ops::Range, path::Path, sync::Arc, thread};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::{
    LogError, Options, Record, db,
    page::{self, Page},
    reader::{READ_LAST_BYTES, ReadOp, Reader},
    reserve::Reserve,
    tail::Tail,
    trim::TrimJob,
    writer::{Append, Op, Records, Writer, framed_bytes},
};

/// Calls of trim, check and close that may wait for the writer beside the appends; further ones wait for a place.
const CONTROL_QUEUE: usize = 64;
/// Reads that may wait for the reader thread; further ones wait for a place.
const READ_QUEUE: usize = 64;

/// A log of records in a file. A cheap handle: clones share the file, its threads and its queue.
///
/// Call [`close`](EventLog::close) before the file is opened again; when the last handle is merely dropped, the
/// threads end soon after.
#[derive(Clone)]
pub struct EventLog {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    ops: mpsc::Sender<Op>,
    reads: mpsc::Sender<ReadOp>,
    /// Places for records and for bytes; an append holds its own until it is answered.
    places: (Arc<Semaphore>, Arc<Semaphore>),
    head: watch::Receiver<u64>,
    tail: Arc<Mutex<Tail>>,
}

impl std::fmt::Debug for EventLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLog").field("head", &*self.shared.head.borrow()).finish_non_exhaustive()
    }
}

impl EventLog {
    /// Opens the log in the file at `path`, which is made when it is missing (its folder is not). Blocks on the disk:
    /// call it before serving. Beside the file come `-wal` and `-shm` while it is open, and a `.lock`.
    ///
    /// # Errors
    /// [`LogError::Io`] when the file cannot be opened, is no event log, or is open elsewhere; [`LogError::Full`].
    pub fn open(path: &Path, options: Options) -> Result<EventLog, LogError> {
        let options = options.bounded();
        let reserve = Reserve::open(path, options.reserve_bytes)?;
        let db = db::open_writer(path, &options)?;
        let head = db::head(&db).map_err(|e| LogError::sql("read the last number", &e))?;
        let stored_bytes = db::stored_bytes(&db).map_err(|e| LogError::sql("read the size", &e))?;
        let reader_db = db::open_reader(path, &options)?;

        let tail = Arc::new(Mutex::new(Tail::new(head, options.tail_bytes)));
        let (ops, writer_ops) = mpsc::channel(options.queue_records + CONTROL_QUEUE);
        let (reads, reader_ops) = mpsc::channel(READ_QUEUE);
        let (head_sender, head) = watch::channel(head);
        let place = (path.to_owned(), options.clone());
        let writer =
            Writer::new(place.clone(), (db, reserve, stored_bytes), writer_ops, (head_sender, tail.clone()));
        let reader = Reader::new(place, reader_db, reader_ops);
        start("eventlog-writer", move || writer.run())?;
        start("eventlog-reader", move || reader.run())?;

        let places = (semaphore(options.queue_records), semaphore(options.queue_bytes));
        Ok(EventLog { shared: Arc::new(Shared { options, ops, reads, places, head, tail }) })
    }

    /// Stores one record and gives its number, once it is on disk. Waits while the queue is full.
    ///
    /// A caller that stops waiting may find the record stored or not.
    ///
    /// # Errors
    /// [`LogError::Full`]: nothing was stored. [`LogError::TooLarge`], [`LogError::Closed`], [`LogError::Io`].
    pub async fn append(&self, record: Bytes) -> Result<u64, LogError> {
        let payload_bytes = record.len();
        self.enqueue(Records::One(record), 1, payload_bytes).await
    }

    /// Stores the records in order, under dense numbers, in one commit: all or nothing. Gives their numbers once they
    /// are on disk; waits while the queue is full. No records, no commit: an empty range after the head.
    ///
    /// # Errors
    /// As [`append`](EventLog::append); [`Options::append_bytes`] holds for all records together.
    pub async fn append_all(&self, records: Vec<Bytes>) -> Result<Range<u64>, LogError> {
        if records.is_empty() {
            self.open_still()?;
            let next = *self.shared.head.borrow() + 1;
            return Ok(next..next);
        }
        let count = records.len();
        let payload_bytes = records.iter().map(Bytes::len).sum();
        let first = self.enqueue(Records::Many(records), count, payload_bytes).await?;
        Ok(first..first + count as u64)
    }

    async fn enqueue(&self, records: Records, count: usize, payload_bytes: usize) -> Result<u64, LogError> {
        let options = &self.shared.options;
        let bytes = framed_bytes(count, payload_bytes);
        if bytes > options.append_bytes {
            return Err(LogError::TooLarge { bytes, limit: options.append_bytes });
        }
        let (record_places, byte_places) = &self.shared.places;
        let place = (
            occupy(record_places, count.min(options.queue_records)).await?,
            occupy(byte_places, bytes.min(options.queue_bytes)).await?,
        );
        let (reply, answer) = oneshot::channel();
        let append = Append { records, payload_bytes, reply, place };
        self.shared.ops.send(Op::Append(append)).await.map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// Up to `max_records` records with a number above `after`, in order; empty when there are none (yet, or any
    /// more: trimmed ones are skipped). Their bytes stay within `max_bytes`, except that a first record larger than
    /// that comes alone.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when the first frame to read does not hold what was written; reading may go on after its
    /// last number. [`LogError::Closed`], [`LogError::Io`].
    pub async fn read_after(
        &self,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.open_still()?;
        if max_records == 0 {
            return Ok(Vec::new());
        }
        let frames = self.shared.tail.lock().after(after, max_records, max_bytes);
        if let Some(frames) = frames {
            let mut page = Page::new(after, max_records, max_bytes);
            for frame in &frames {
                if !page.take(frame) {
                    break;
                }
            }
            return Ok(page.into_records());
        }
        self.ask_reader(|reply| ReadOp::After { after, max_records, max_bytes, reply }).await
    }

    /// The newest records, newest last, for previews: up to `max_records`, fewer when their frames are larger than
    /// [`READ_LAST_BYTES`](crate::READ_LAST_BYTES) in all.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when the newest frame is damaged; [`LogError::Closed`], [`LogError::Io`].
    pub async fn read_last(&self, max_records: usize) -> Result<Vec<Record>, LogError> {
        self.open_still()?;
        let frames = self.shared.tail.lock().newest(max_records);
        match frames {
            Some(frames) => Ok(page::newest(frames, max_records)),
            None => self.read_before(u64::MAX, max_records, READ_LAST_BYTES).await,
        }
    }

    /// The newest records numbered below `before`, newest last: up to `max_records`, fewer when their frames are larger
    /// than `max_bytes`; empty when there are none. For going backwards page by page.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when the first frame to read is damaged; reading may go on before its first number.
    /// [`LogError::Closed`], [`LogError::Io`].
    pub async fn read_before(
        &self,
        before: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.open_still()?;
        self.ask_reader(|reply| ReadOp::Before { before, max_records, max_bytes, reply }).await
    }

    async fn ask_reader(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<Vec<Record>, LogError>>) -> ReadOp,
    ) -> Result<Vec<Record>, LogError> {
        let (reply, answer) = oneshot::channel();
        self.shared.reads.send(op(reply)).await.map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    /// The last number on disk, 0 when there was none; changes after every commit, before the appends are answered.
    /// Waiting for a change fails once the log is closed.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.clone()
    }

    /// Drops the frames whose records are all numbered `up_to` or less and whose commit is older than `cutoff_ms`
    /// (unix milliseconds; frames of that time or later stay), oldest first, and gives their count. Works in small
    /// commits between the appends. The space is used again by later appends; the file does not shrink.
    ///
    /// # Errors
    /// [`LogError::Closed`], [`LogError::Io`], [`LogError::Full`]; some frames may have been dropped by then.
    pub async fn trim(&self, up_to: u64, cutoff_ms: i64) -> Result<u64, LogError> {
        self.ask_writer(|reply| Op::Trim(trim_job(up_to, cutoff_ms, reply))).await?
    }

    /// As [`trim`](EventLog::trim), for what lies outside of the window that [`Options::keep_records`] and its
    /// neighbours describe: too old, too many or too large. While appends fail, nothing up to `up_to` is kept.
    ///
    /// # Errors
    /// As [`trim`](EventLog::trim).
    pub async fn trim_window(&self, up_to: u64) -> Result<u64, LogError> {
        self.ask_writer(|reply| Op::TrimWindow(trim_job(up_to, i64::MIN, reply))).await?
    }

    /// Whether the log can take appends: a write transaction can be begun, and if the last append failed, the like of
    /// it could be stored now. For readiness; costs no fsync unless the last append failed.
    ///
    /// # Errors
    /// What an append would meet: [`LogError::Full`], [`LogError::Io`], [`LogError::Closed`].
    pub async fn check(&self) -> Result<(), LogError> {
        self.ask_writer(Op::Check).await?
    }

    async fn ask_writer<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> Op) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.shared.ops.send(op(reply)).await.map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)
    }

    /// Finishes what is queued, copies the write-ahead log into the file and closes it; the file may be opened again
    /// when this returns. Later calls on any handle, and appends still waiting for a place in the queue, get
    /// [`LogError::Closed`]. A second close waits for the first.
    pub async fn close(&self) {
        self.shared.places.0.close();
        self.shared.places.1.close();
        let (reply, closed) = oneshot::channel();
        if self.shared.reads.send(ReadOp::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
        // The writer last: who closes the file last removes the write-ahead log.
        let _ = self.ask_writer(Op::Close).await;
    }

    fn open_still(&self) -> Result<(), LogError> {
        if self.shared.places.0.is_closed() { Err(LogError::Closed) } else { Ok(()) }
    }
}

fn trim_job(up_to: u64, cutoff_ms: i64, reply: oneshot::Sender<Result<u64, LogError>>) -> TrimJob {
    TrimJob { up_to, cutoff_ms, beyond: 0, excess_bytes: 0, seen: 0, dropped: 0, reply }
}

fn semaphore(places: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(places))
}

async fn occupy(places: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, LogError> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    places.clone().acquire_many_owned(count).await.map_err(|_| LogError::Closed)
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(|e| LogError::file("start a thread", &e))
}
