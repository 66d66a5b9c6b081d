//! The durable log of accepted events: append, read from, trim.
//!
//! A publisher may be told "accepted" only once its event is on disk (contract section 4.1). This crate is the place
//! where that becomes true: [`EventLog::append`] answers when the record has been synced, and never before.
//!
//! # How it works
//! ```text
//!  append ─┐                    one commit, one fsync               ┌─► tail: the newest frames in memory
//!  append ─┼─► queue ─► writer thread ─► frame row in SQLite (WAL) ─┤
//!  append ─┘                                                        └─► head: the last durable number
//!                        read_after ─► tail, or reader thread ─► frame rows
//! ```
//! - `log`: the handle. It waits for a place in the queue, so a slow disk slows the publishers and fills no memory.
//! - `writer`: takes all that waits, up to a limit, and commits it as **one frame in one row**. At low load a record
//!   costs one fsync and no delay is ever added; at high load groups form while the previous fsync runs.
//! - `frame`: the bytes of a row. Version, checksum, then the records with their lengths. A frame whose checksum does
//!   not hold is reported as [`LogError::Damaged`] and never delivered.
//! - `tail`: recent frames, so that a consumer that keeps up reads without SQL. `reader`: all the others.
//! - `trim`: drops old frames in small steps between the groups. `reserve`: space set aside so that this works on a
//!   full disk too.
//! - `db`: every SQL statement and setting.
//!
//! # What it promises
//! - Numbers are dense, start at 1 and are never used twice, not even after everything was trimmed and the process
//!   restarted.
//! - A group is stored whole or not at all. After an error the caller knows that it was not told `Ok`; after
//!   [`LogError::Full`] nothing of that group is stored. After [`LogError::Io`] or [`LogError::Closed`] a record may
//!   still turn out to be stored, as after a lost answer.
//! - After [`LogError::Full`] or [`LogError::Io`] the log goes on by itself as soon as the disk lets it.
//!
//! # What it never does
//! It never looks into a record, never runs SQL on an async thread, never answers `Ok` after a failed commit, and never
//! gives space back to the file system: trimmed pages are used again by later appends, so the file stays as large as
//! the largest backlog so far. Two processes never share one log: it holds a lock on `<file>.lock` beside its file, which also holds the reserve.
//!
//! # Limits
//! All in [`Options`] with their units: queue, group, one append, tail, window, write-ahead log, reserve. [`READ_LAST_BYTES`] bounds a
//! preview; [`MAX_FRAME_BYTES`] bounds a frame whatever the options say.

mod db;
mod error;
mod frame;
mod log;
mod options;
mod page;
mod reader;
mod reserve;
mod tail;
mod trim;
mod writer;

pub use error::LogError;
pub use frame::MAX_FRAME_BYTES;
pub use log::EventLog;
pub use options::Options;
pub use page::Record;
pub use reader::READ_LAST_BYTES;
