#![allow(clippy::unwrap_used)]

use rusqlite::ffi;

use super::*;

const HEAD: u64 = 0;

/// A writer on a new file, without its thread.
fn writer(folder: &tempfile::TempDir) -> Writer {
    let path = folder.path().join("events.db");
    let options = Options::default();
    let db = db::open_writer(&path, &options).unwrap();
    let reserve = Reserve::open(&path, 0).unwrap();
    let tail = Arc::new(Mutex::new(Tail::new(HEAD, options.tail_bytes)));
    Writer::new((path, options), (db, reserve, 0), mpsc::channel(1).1, (watch::channel(HEAD).0, tail))
}

fn group(record: &'static [u8]) -> Group {
    let place = || Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().unwrap();
    let mut group = Group::default();
    group.add(Append {
        records: Records::One(Bytes::from_static(record)),
        payload_bytes: record.len(),
        reply: oneshot::channel().0,
        place: (place(), place()),
    });
    group
}

fn fail(writer: &mut Writer, code: i32) -> LogError {
    let error = || rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
    writer.with_db("test", |_| Err::<(), _>(error())).unwrap_err()
}

#[test]
fn missing_space_and_a_foreign_lock_keep_the_connection_and_an_io_error_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder);
    assert_eq!(fail(&mut writer, ffi::SQLITE_FULL), LogError::Full);
    assert!(matches!(fail(&mut writer, ffi::SQLITE_BUSY), LogError::Io(_)));
    assert!(writer.db.is_some());
    assert!(matches!(fail(&mut writer, ffi::SQLITE_IOERR_FSYNC), LogError::Io(_)));
    assert!(writer.db.is_none());
    assert_eq!(writer.commit(&group(b"after")), Ok(1));
}

#[test]
fn a_transaction_left_open_by_an_error_costs_the_connection_and_is_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder);
    let stuck = writer.with_db("test", |db| {
        db.execute_batch("BEGIN IMMEDIATE; INSERT INTO frame VALUES (1, 1, 1, x'00')")?;
        Err::<(), _>(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_FULL), None))
    });
    assert_eq!(stuck, Err(LogError::Full));
    assert_eq!(writer.commit(&group(b"after")), Ok(1));
}

#[test]
fn a_commit_that_was_answered_with_an_error_but_is_on_disk_keeps_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder);
    assert_eq!(writer.commit(&group(b"before")), Ok(1));
    let frame = Frame::encode(2, 0, [Bytes::from_static(b"in doubt")].iter(), 8);
    let doubtful = writer.with_db("append", |db| {
        db::insert(db, &frame)?;
        Err::<(), _>(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None))
    });
    assert!(matches!(doubtful, Err(LogError::Io(_))));
    assert_eq!(writer.commit(&group(b"after")), Ok(3));
    assert_eq!(*writer.head.borrow(), 3);
    assert!(writer.tail.lock().after(1, 10, 10).is_none(), "record 2 is read from the file");
}
