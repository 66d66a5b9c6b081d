//! The writer thread: takes what waits, commits it as one frame, answers; between groups it trims and checkpoints.

use std::{collections::VecDeque, path::PathBuf, slice, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use crate::{
    LogError, Options, db,
    frame::{Frame, HEADER_BYTES, PREFIX_BYTES},
    reserve::Reserve,
    tail::Tail,
    trim::{self, TrimJob},
};

/// What a commit adds to the write-ahead log beside its bytes, about: a table page and its frame header.
const COMMIT_OVERHEAD_BYTES: usize = 8_192;
/// The most that a check stores to see whether space has returned, in bytes.
const CHECK_BYTES: usize = 256 << 10;

/// What the handles ask of the writer.
#[derive(Debug)]
pub(crate) enum Op {
    Append(Append),
    Trim(TrimJob),
    TrimWindow(TrimJob),
    Check(oneshot::Sender<Result<(), LogError>>),
    Close(oneshot::Sender<()>),
}

/// Records that go into one commit together, and who waits for it.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) records: Records,
    /// Sum of the records' lengths.
    pub(crate) payload_bytes: usize,
    /// Answered with the first number.
    pub(crate) reply: oneshot::Sender<Result<u64, LogError>>,
    /// The place in the queue, given back when the append is answered.
    pub(crate) place: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// One record, without a list around it, or several.
#[derive(Debug)]
pub(crate) enum Records {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Records {
    pub(crate) fn as_slice(&self) -> &[Bytes] {
        match self {
            Records::One(record) => slice::from_ref(record),
            Records::Many(records) => records,
        }
    }
}

/// What so many records take in a frame of their own, in bytes.
pub(crate) fn framed_bytes(records: usize, payload_bytes: usize) -> usize {
    records.saturating_mul(PREFIX_BYTES).saturating_add(payload_bytes).saturating_add(HEADER_BYTES)
}

/// Appends that are committed together.
#[derive(Debug, Default)]
struct Group {
    appends: Vec<Append>,
    records: usize,
    payload_bytes: usize,
}

impl Group {
    fn add(&mut self, append: Append) {
        self.records += append.records.as_slice().len();
        self.payload_bytes += append.payload_bytes;
        self.appends.push(append);
    }

    fn has_room_for(&self, append: &Append, options: &Options) -> bool {
        let records = self.records + append.records.as_slice().len();
        let bytes = framed_bytes(records, self.payload_bytes + append.payload_bytes);
        records <= options.group_records && bytes <= options.group_bytes
    }
}

/// The state of the writer thread.
pub(crate) struct Writer {
    path: PathBuf,
    options: Options,
    /// `None` after an error that leaves the connection in doubt, until it could be opened again.
    db: Option<Connection>,
    reserve: Reserve,
    ops: mpsc::Receiver<Op>,
    /// Taken from `ops`, but no part of the group before it.
    held: Option<Op>,
    trims: VecDeque<TrimJob>,
    next_seq: u64,
    head: watch::Sender<u64>,
    tail: Arc<Mutex<Tail>>,
    /// How the last append failed, if it did, and the size of its frame in bytes.
    failed: Option<(LogError, usize)>,
    /// Written since the last checkpoint, about.
    wal_bytes: usize,
    /// Bytes of all frames that are there.
    stored_bytes: usize,
}

impl Writer {
    /// Takes over an open file whose last number is the value of `head`.
    pub(crate) fn new(
        (path, options): (PathBuf, Options),
        (db, reserve, stored_bytes): (Connection, Reserve, usize),
        ops: mpsc::Receiver<Op>,
        (head, tail): (watch::Sender<u64>, Arc<Mutex<Tail>>),
    ) -> Writer {
        let next_seq = *head.borrow() + 1;
        Writer {
            path,
            options,
            db: Some(db),
            reserve,
            ops,
            held: None,
            trims: VecDeque::new(),
            next_seq,
            head,
            tail,
            failed: None,
            wal_bytes: 0,
            stored_bytes,
        }
    }

    /// Works until the log is closed or no handle is left. What is still queued when the thread ends, for whatever
    /// reason, is dropped with its reply, which its caller sees as `Closed`.
    pub(crate) fn run(mut self) {
        while let Some(op) = self.next_op() {
            match op {
                Op::Append(first) => self.append(first),
                Op::Trim(job) => self.trims.push_back(job),
                Op::TrimWindow(job) => {
                    let job = self.windowed(job);
                    self.trims.push_back(job);
                }
                Op::Check(reply) => drop(reply.send(self.check())),
                Op::Close(reply) => {
                    self.shut();
                    drop(self);
                    let _ = reply.send(());
                    return;
                }
            }
            self.trim_step();
            self.checkpoint_when_due();
        }
        self.shut();
    }

    /// The next thing asked for. While there is something to trim, that goes on until something is asked for.
    fn next_op(&mut self) -> Option<Op> {
        if let Some(op) = self.held.take() {
            return Some(op);
        }
        while !self.trims.is_empty() {
            match self.ops.try_recv() {
                Ok(op) => return Some(op),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    self.trim_step();
                    self.checkpoint_when_due();
                }
            }
        }
        self.ops.blocking_recv()
    }

    fn append(&mut self, first: Append) {
        let group = self.gather(first);
        match self.commit(&group) {
            Ok(mut seq) => {
                self.failed = None;
                for append in group.appends {
                    let count = append.records.as_slice().len() as u64;
                    // A caller that stopped waiting has its record stored all the same.
                    let _ = append.reply.send(Ok(seq));
                    drop(append.place);
                    seq += count;
                }
            }
            Err(error) => {
                tracing::error!(%error, records = group.records, "event log: a group was not stored");
                self.failed = Some((error.clone(), framed_bytes(group.records, group.payload_bytes)));
                for append in group.appends {
                    let _ = append.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// All appends that wait already, up to the limits of a group.
    fn gather(&mut self, first: Append) -> Group {
        let mut group = Group::default();
        group.add(first);
        while let Ok(op) = self.ops.try_recv() {
            match op {
                Op::Append(append) if group.has_room_for(&append, &self.options) => group.add(append),
                other => {
                    self.held = Some(other);
                    break;
                }
            }
        }
        group
    }

    /// Stores the group as one frame; its first number once it is on disk.
    fn commit(&mut self, group: &Group) -> Result<u64, LogError> {
        self.ready_db()?;
        let first_seq = self.next_seq;
        let records: Vec<&Bytes> =
            group.appends.iter().flat_map(|append| append.records.as_slice()).collect();
        let at_ms = (self.options.now_ms)();
        let frame = Frame::encode(first_seq, at_ms, records.into_iter(), group.payload_bytes);
        self.with_room("append", false, |db| db::insert(db, &frame))?;
        let last_seq = frame.last_seq();
        self.next_seq = last_seq + 1;
        self.stored_bytes += frame.bytes.len();
        self.wal_bytes += frame.bytes.len() + COMMIT_OVERHEAD_BYTES;
        // In this order: whoever sees the new head finds the records.
        self.tail.lock().push(frame);
        self.head.send_replace(last_seq);
        Ok(first_seq)
    }

    /// Opens the file again when an error had put the connection in doubt.
    fn ready_db(&mut self) -> Result<(), LogError> {
        if self.db.is_some() {
            return Ok(());
        }
        let db = db::open_writer(&self.path, &self.options)?;
        let head = db::head(&db).map_err(|e| LogError::sql("read the last number", &e))?;
        if head >= self.next_seq {
            // The commit that was answered with an error is on disk after all.
            self.next_seq = head + 1;
            self.stored_bytes = db::stored_bytes(&db).map_err(|e| LogError::sql("read the size", &e))?;
            self.tail.lock().restart(head);
            self.head.send_replace(head);
        }
        self.db = Some(db);
        Ok(())
    }

    /// Runs one step on the file. After an error other than missing space or another's lock, or with a transaction
    /// that could not be rolled back, the connection is given up and opened again for the next step.
    fn with_db<T>(
        &mut self,
        doing: &str,
        step: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LogError> {
        self.ready_db()?;
        let Some(db) = &self.db else { return Err(LogError::Closed) };
        let error = match step(db) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let code = error.sqlite_error_code();
        let harmless =
            matches!(code, Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked));
        if !harmless || !db.is_autocommit() {
            self.db = None;
        }
        let error = LogError::sql(doing, &error);
        // SQLite calls a quota that is used up an I/O error.
        let no_space = code == Some(ErrorCode::SystemIoFailure) && self.reserve.space_is_missing();
        Err(if no_space { LogError::Full } else { error })
    }

    /// As `with_db`; on a full disk once more after a checkpoint, since a write-ahead log that was copied begins anew in
    /// the space that it has. A step that makes room may use the reserve for that.
    fn with_room<T>(
        &mut self,
        doing: &str,
        makes_room: bool,
        step: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LogError> {
        let result = self.with_db(doing, &step);
        if !matches!(result, Err(LogError::Full)) {
            return result;
        }
        if makes_room && self.reserve.release() {
            tracing::warn!("event log: the disk is full, the reserve is given up to make room");
        }
        self.checkpoint();
        self.with_db(doing, step)
    }

    /// The job with the bounds of the window as it is now. On a full disk nothing is kept: accepting events comes first.
    fn windowed(&self, mut job: TrimJob) -> TrimJob {
        let options = &self.options;
        if self.failed.is_some() {
            job.cutoff_ms = i64::MAX;
            return job;
        }
        let keep_ms = i64::try_from(options.keep_for.as_millis()).unwrap_or(i64::MAX);
        job.cutoff_ms = (options.now_ms)().saturating_sub(keep_ms);
        job.beyond = (self.next_seq - 1).saturating_sub(options.keep_records);
        job.excess_bytes = self.stored_bytes.saturating_sub(options.keep_bytes);
        job
    }

    /// One step of the oldest call of `trim`.
    fn trim_step(&mut self) {
        let Some(mut job) = self.trims.pop_front() else { return };
        match self.try_trim_step(&mut job) {
            Ok(true) => drop(job.reply.send(Ok(job.dropped))),
            Ok(false) => self.trims.push_front(job),
            Err(error) => drop(job.reply.send(Err(error))),
        }
    }

    /// Whether the job is done.
    fn try_trim_step(&mut self, job: &mut TrimJob) -> Result<bool, LogError> {
        let rows = self.with_db("trim", |db| db::rows_above(db, job.seen, trim::STEP_FRAMES))?;
        let step = trim::decide(&rows, job, (self.options.now_ms)());
        if !step.drop.is_empty() {
            self.with_room("trim", true, |db| db::remove(db, &step.drop))?;
            let bytes = step.drop.iter().map(|row| row.bytes_len).sum();
            self.stored_bytes = self.stored_bytes.saturating_sub(bytes);
            job.excess_bytes = job.excess_bytes.saturating_sub(bytes);
            let first_seqs: Vec<u64> = step.drop.iter().map(|row| row.first_seq).collect();
            self.tail.lock().drop_frames(&first_seqs);
            self.wal_bytes += COMMIT_OVERHEAD_BYTES + step.drop.len() * COMMIT_OVERHEAD_BYTES / 2;
        }
        job.dropped += step.drop.len() as u64;
        job.seen = step.seen;
        Ok(step.done)
    }

    /// After a failed append: whether the like of it could be stored now. So a server that takes no appends while it
    /// is not ready gets ready again by itself.
    fn check(&mut self) -> Result<(), LogError> {
        let Some((_, bytes)) = self.failed else { return self.with_db("check", db::can_write) };
        let free_seq = self.next_seq;
        self.with_db("check", |db| db::try_space(db, free_seq, bytes.min(CHECK_BYTES)))?;
        self.failed = None;
        Ok(())
    }

    fn checkpoint_when_due(&mut self) {
        if self.wal_bytes >= self.options.checkpoint_bytes && self.checkpoint() {
            self.reserve.fill();
        }
    }

    /// Whether it got through. The next one comes after as many bytes again in any case.
    fn checkpoint(&mut self) -> bool {
        self.wal_bytes = 0;
        let due = self.options.checkpoint_bytes;
        let result = self.with_db("checkpoint", |db| db::checkpoint(db, due));
        if let Err(error) = &result {
            tracing::warn!(%error, "event log: the write-ahead log could not be copied into the file");
        }
        result.is_ok()
    }

    fn shut(&mut self) {
        let Some(db) = self.db.take() else { return };
        if let Err(error) = db::checkpoint_all(&db) {
            tracing::warn!(%error, "event log: the write-ahead log is left for the next start");
        }
        if let Err((_, error)) = db.close() {
            tracing::warn!(%error, "event log: the file was not closed cleanly");
        }
    }
}

#[cfg(test)]
mod tests;
