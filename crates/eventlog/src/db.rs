//! The file: every SQL statement and setting of the log.
//!
//! One row per commit. `trimmed` keeps the highest number that was dropped, so that numbers go on from there when no
//! frame is left. Freed pages stay in the file and are used by later frames.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::{LogError, Options, frame::Frame};

/// "trev": marks the file as an event log of tributary.
const APPLICATION_ID: i64 = 0x7472_6576;
const SCHEMA_VERSION: i64 = 1;
/// In bytes; only counts when the file is made.
const PAGE_BYTES: usize = 4_096;
/// Pages that a connection keeps in memory, in KiB. Frames are written once and read about once.
const CACHE_KIB: i64 = 4_096;
/// The write-ahead log may pass its checkpoint size by this factor (a reader holds on to it) before the writer waits
/// for readers, and before SQLite steps in by itself.
const WAL_SLACK: usize = 4;

const SCHEMA: &str = "
    CREATE TABLE frame (
        first_seq INTEGER PRIMARY KEY,
        last_seq  INTEGER NOT NULL,
        at_ms     INTEGER NOT NULL,
        bytes     BLOB NOT NULL
    ) STRICT;
    CREATE TABLE trimmed (id INTEGER PRIMARY KEY CHECK (id = 0), last_seq INTEGER NOT NULL) STRICT;
    INSERT INTO trimmed (id, last_seq) VALUES (0, 0);";

const INSERT: &str = "INSERT INTO frame (first_seq, last_seq, at_ms, bytes) VALUES (?1, ?2, ?3, ?4)";

/// What a frame's row says beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameRow {
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
    pub(crate) at_ms: i64,
    pub(crate) bytes_len: usize,
}

/// The connection that writes; makes the file and its tables when they are missing.
pub(crate) fn open_writer(path: &Path, options: &Options) -> Result<Connection, LogError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let doing = format!("open {}", path.display());
    let db = Connection::open_with_flags(path, flags).map_err(|e| LogError::sql(&doing, &e))?;
    let mode = set_up_writer(&db, options).map_err(|e| LogError::sql(&doing, &e))?;
    if mode != "wal" {
        return Err(LogError::Io(format!("{doing}: the file system does not allow a write-ahead log")));
    }
    make_tables(&db, &doing)?;
    Ok(db)
}

fn set_up_writer(db: &Connection, options: &Options) -> rusqlite::Result<String> {
    db.busy_timeout(options.busy_timeout)?;
    db.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
    let mode = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    // FULL: a commit returns after its fsync.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // The writer checkpoints between groups, after the answers; this is the net below it.
    let net_pages = options.checkpoint_bytes.saturating_mul(WAL_SLACK) / PAGE_BYTES;
    db.pragma_update(None, "wal_autocheckpoint", i64::try_from(net_pages).unwrap_or(i64::MAX).max(1))?;
    // Writing over an old write-ahead log is cheaper than growing one, so only an outsized one is cut back.
    let keep_bytes = options.checkpoint_bytes.saturating_mul(WAL_SLACK);
    db.pragma_update(None, "journal_size_limit", i64::try_from(keep_bytes).unwrap_or(i64::MAX))?;
    if let Some(pages) = options.max_pages {
        db.pragma_update(None, "max_page_count", i64::from(pages))?;
    }
    Ok(mode)
}

fn make_tables(db: &Connection, doing: &str) -> Result<(), LogError> {
    let sql = |e: rusqlite::Error| LogError::sql(doing, &e);
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate).map_err(sql)?;
    let pragma = |name: &str| tx.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let tables: i64 =
        tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    if tables == 0 {
        tx.execute_batch(SCHEMA).map_err(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(sql)?;
        tx.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(sql)?;
        return tx.commit().map_err(sql);
    }
    if pragma("application_id").map_err(sql)? != APPLICATION_ID {
        return Err(LogError::Io(format!("{doing}: not an event log")));
    }
    match pragma("user_version").map_err(sql)? {
        SCHEMA_VERSION => Ok(()),
        other => Err(LogError::Io(format!("{doing}: version {other} of the file is not known here"))),
    }
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path, options: &Options) -> Result<Connection, LogError> {
    // Read-write, since readers of a write-ahead log take part in its index file.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(options.busy_timeout)?;
        db.pragma_update(None, "query_only", true)?;
        db.pragma_update(None, "cache_size", -CACHE_KIB)?;
        Ok(db)
    };
    open().map_err(|e| LogError::sql(&format!("open {} for reading", path.display()), &e))
}

/// The last number ever given: of the newest frame, or of the last one that was trimmed.
pub(crate) fn head(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row(
        "SELECT max(coalesce((SELECT max(first_seq, last_seq) FROM frame ORDER BY first_seq DESC LIMIT 1), 0),
                    (SELECT last_seq FROM trimmed))",
        [],
        |row| row.get::<_, i64>(0),
    )
    .map(|head| u64::try_from(head).unwrap_or(0))
}

/// The bytes of all frames; looks at their rows alone.
pub(crate) fn stored_bytes(db: &Connection) -> rusqlite::Result<usize> {
    let sum = "SELECT coalesce(sum(length(bytes)), 0) FROM frame";
    db.query_row(sum, [], |row| row.get::<_, i64>(0)).map(|sum| usize::try_from(sum).unwrap_or(0))
}

/// One statement outside of a transaction: SQLite begins, commits and, on any error, rolls back around it.
pub(crate) fn insert(db: &Connection, frame: &Frame) -> rusqlite::Result<()> {
    let row = params![in_column(frame.first_seq), in_column(frame.last_seq()), frame.at_ms, &frame.bytes[..]];
    db.prepare_cached(INSERT)?.execute(row).map(drop)
}

/// Whether a write transaction can be begun.
pub(crate) fn can_write(db: &Connection) -> rusqlite::Result<()> {
    Transaction::new_unchecked(db, TransactionBehavior::Immediate)?.rollback()
}

/// Whether so many bytes can be stored under a number that is still free: stores and removes them in one commit.
pub(crate) fn try_space(db: &Connection, free_seq: u64, bytes: usize) -> rusqlite::Result<()> {
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    tx.execute(
        "INSERT INTO frame (first_seq, last_seq, at_ms, bytes) VALUES (?1, ?1, 0, zeroblob(?2))",
        params![in_column(free_seq), bytes as i64],
    )?;
    tx.execute("DELETE FROM frame WHERE first_seq = ?1", [in_column(free_seq)])?;
    tx.commit()
}

/// Copies the write-ahead log into the file, so that the log can begin anew; waits for readers only when it has grown
/// far past `due_bytes`.
pub(crate) fn checkpoint(db: &Connection, due_bytes: usize) -> rusqlite::Result<()> {
    let pages: i64 = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1))?;
    let wal_bytes = usize::try_from(pages).unwrap_or(0).saturating_mul(PAGE_BYTES);
    if wal_bytes > due_bytes.saturating_mul(WAL_SLACK) {
        db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// Copies all of the write-ahead log into the file and empties it.
pub(crate) fn checkpoint_all(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Up to `limit` rows above `after_first_seq`, in order, without their bytes.
pub(crate) fn rows_above(
    db: &Connection,
    after_first_seq: u64,
    limit: usize,
) -> rusqlite::Result<Vec<FrameRow>> {
    let mut query = db.prepare_cached(
        "SELECT first_seq, last_seq, at_ms, length(bytes) FROM frame
         WHERE first_seq > ?1 ORDER BY first_seq LIMIT ?2",
    )?;
    query.query_map(params![in_column(after_first_seq), limit as i64], frame_row)?.collect()
}

/// Removes these frames and remembers that their numbers are used, in one commit.
pub(crate) fn remove(db: &Connection, rows: &[FrameRow]) -> rusqlite::Result<()> {
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    {
        let mut delete = tx.prepare_cached("DELETE FROM frame WHERE first_seq = ?1")?;
        for row in rows {
            delete.execute([in_column(row.first_seq)])?;
        }
    }
    let highest = rows.iter().map(|row| row.last_seq).max().unwrap_or(0);
    tx.execute("UPDATE trimmed SET last_seq = ?1 WHERE last_seq < ?1", [in_column(highest)])?;
    tx.commit()
}

/// The frame that holds `seq`, or else the first one above it.
pub(crate) fn row_at_or_above(db: &Connection, seq: u64) -> rusqlite::Result<Option<FrameRow>> {
    let mut query = db.prepare_cached(
        "SELECT first_seq, last_seq, at_ms, length(bytes) FROM frame
         WHERE first_seq >= coalesce((SELECT max(first_seq) FROM frame WHERE first_seq <= ?1), 0)
           AND max(first_seq, last_seq) >= ?1
         ORDER BY first_seq LIMIT 1",
    )?;
    query.query_row([in_column(seq)], frame_row).optional()
}

/// The newest frame below `first_seq`.
pub(crate) fn row_below(db: &Connection, first_seq: u64) -> rusqlite::Result<Option<FrameRow>> {
    let mut query = db.prepare_cached(
        "SELECT first_seq, last_seq, at_ms, length(bytes) FROM frame
         WHERE first_seq < ?1 ORDER BY first_seq DESC LIMIT 1",
    )?;
    query.query_row([in_column(first_seq)], frame_row).optional()
}

/// The bytes of one frame.
pub(crate) fn frame_bytes(db: &Connection, first_seq: u64) -> rusqlite::Result<Bytes> {
    let mut query = db.prepare_cached("SELECT bytes FROM frame WHERE first_seq = ?1")?;
    query.query_row([in_column(first_seq)], |row| Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?)))
}

fn frame_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<FrameRow> {
    // A number below zero can only come from damage; as 0 it fails the frame's checksum.
    let number = |index| row.get::<_, i64>(index).map(|value| u64::try_from(value).unwrap_or(0));
    Ok(FrameRow {
        first_seq: number(0)?,
        last_seq: number(1)?,
        at_ms: row.get(2)?,
        bytes_len: usize::try_from(number(3)?).unwrap_or(usize::MAX),
    })
}

/// Numbers past what SQLite holds are above every stored one.
fn in_column(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
