//! What only the engine in a SQLite file has: frames, a disk that fills up, a file that can be copied or damaged.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::Connection;
use tributary_eventlog::{EventLog, LogError, Options, Record};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("events.db")
    }

    fn open(&self, options: Options) -> EventLog {
        EventLog::open(&self.file(), options).unwrap()
    }

    fn sql(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    fn frames(&self) -> u64 {
        self.sql().query_row("SELECT count(*) FROM frame", [], |row| row.get::<_, i64>(0)).unwrap() as u64
    }
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

async fn append_together(log: &EventLog, count: usize, record: Bytes) {
    let appends: Vec<_> = (0..count)
        .map(|_| {
            let (log, record) = (log.clone(), record.clone());
            tokio::spawn(async move { log.append(record).await })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_that_wait_together_are_committed_together() {
    let folder = Folder::new();
    let log = folder.open(Options::default());
    append_together(&log, 1_000, Bytes::from_static(b"x")).await;
    log.append_all(vec![Bytes::from_static(b"x"); 1_000]).await.unwrap();
    log.close().await;
    let frames = folder.frames();
    assert!((2..500).contains(&frames), "{frames} commits for 1,000 appends and a batch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_group_is_larger_than_its_limits() {
    let folder = Folder::new();
    let log = folder.open(Options { group_records: 3, group_bytes: 400, ..Options::default() });
    append_together(&log, 60, Bytes::from_static(&[7; 100])).await;
    append_together(&log, 60, Bytes::from_static(&[7; 250])).await;
    log.close().await;
    let largest = |column: &str| -> i64 {
        folder.sql().query_row(&format!("SELECT max({column}) FROM frame"), [], |row| row.get(0)).unwrap()
    };
    assert!(largest("last_seq - first_seq + 1") <= 3);
    assert!(largest("length(bytes)") <= 400);
}

#[tokio::test]
async fn a_damaged_frame_is_reported_and_the_others_are_delivered() {
    let folder = Folder::new();
    let log = folder.open(Options::default());
    for text in ["first", "second", "third"] {
        log.append_all(vec![Bytes::from(format!("the {text} record")); 3]).await.unwrap();
    }
    log.close().await;

    let mut file = fs::read(folder.file()).unwrap();
    let at = file.windows(10).position(|bytes| bytes == b"the second").unwrap();
    file[at] ^= 1;
    fs::write(folder.file(), file).unwrap();

    let log = folder.open(Options::default());
    assert_eq!(seqs(&log.read_after(0, 100, 1_000).await.unwrap()), [1, 2, 3]);
    let damage = LogError::Damaged { first_seq: 4, last_seq: 6, reason: "wrong checksum" };
    assert_eq!(log.read_after(3, 100, 1_000).await, Err(damage.clone()));
    assert_eq!(log.read_after(5, 100, 1_000).await, Err(damage));
    assert_eq!(seqs(&log.read_after(6, 100, 1_000).await.unwrap()), [7, 8, 9]);
    assert_eq!(seqs(&log.read_last(100).await.unwrap()), [7, 8, 9]);
    assert_eq!(log.append(Bytes::new()).await.unwrap(), 10);
    assert_eq!(log.trim(6, i64::MAX).await.unwrap(), 2, "damaged frames go like the others");
    assert_eq!(seqs(&log.read_after(0, 100, 1_000).await.unwrap()), [7, 8, 9, 10]);
}

#[tokio::test]
async fn a_row_that_lies_about_its_numbers_or_time_is_reported() {
    for (change, last_seq) in
        [("last_seq = 5000", 3), ("last_seq = 2", 3), ("at_ms = 1", 3), ("last_seq = -1", 3)]
    {
        let folder = Folder::new();
        let log = folder.open(Options::default());
        log.append_all(vec![Bytes::from_static(b"x"); 3]).await.unwrap();
        log.append(Bytes::from_static(b"y")).await.unwrap();
        log.close().await;
        folder.sql().execute(&format!("UPDATE frame SET {change} WHERE first_seq = 1"), []).unwrap();
        let log = folder.open(Options::default());
        match log.read_after(0, 100, 1_000).await {
            Err(LogError::Damaged { first_seq: 1, last_seq: last, .. }) => {
                assert_eq!(last, last_seq, "{change}");
            }
            other => panic!("{change}: {other:?}"),
        }
        assert_eq!(seqs(&log.read_after(3, 100, 1_000).await.unwrap()), [4], "{change}");
    }
}

async fn fill(log: &EventLog) -> u64 {
    let record = Bytes::from(vec![b'x'; 20_000]);
    for _ in 0..1_000 {
        match log.append(record.clone()).await {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error, LogError::Full);
                return *log.head().borrow();
            }
        }
    }
    panic!("the limit of pages did not hold");
}

#[tokio::test]
async fn a_full_disk_refuses_the_append_whole_and_trimming_makes_room_again() {
    let folder = Folder::new();
    let log = folder.open(Options { max_pages: Some(100), ..Options::default() });
    let stored = fill(&log).await;
    assert!(stored > 5, "{stored}");
    let batch = vec![Bytes::from(vec![b'y'; 10_000]); 10];
    assert_eq!(log.append_all(batch.clone()).await, Err(LogError::Full));
    assert_eq!(log.check().await, Err(LogError::Full), "not ready");
    assert_eq!(*log.head().borrow(), stored);
    assert_eq!(log.read_after(0, 1_000, usize::MAX).await.unwrap().len() as u64, stored);

    assert_eq!(log.trim(stored, i64::MAX).await.unwrap(), stored);
    log.check().await.unwrap();
    assert_eq!(log.append_all(batch).await.unwrap(), stored + 1..stored + 11);
    log.check().await.unwrap();
}

#[tokio::test]
async fn on_a_full_disk_no_window_is_kept() {
    let folder = Folder::new();
    let log = folder.open(Options { max_pages: Some(100), ..Options::default() });
    let stored = fill(&log).await;
    let record = Bytes::from(vec![b'y'; 100_000]);
    assert_eq!(log.append(record.clone()).await, Err(LogError::Full));
    assert_eq!(log.trim_window(stored).await.unwrap(), stored);
    assert_eq!(log.append(record).await.unwrap(), stored + 1);
    assert_eq!(log.trim_window(stored + 1).await.unwrap(), 0, "it is kept again");
}

#[tokio::test]
async fn after_a_full_disk_a_larger_one_goes_on_where_the_log_stood() {
    let folder = Folder::new();
    let log = folder.open(Options { max_pages: Some(100), ..Options::default() });
    let stored = fill(&log).await;
    log.close().await;
    let log = folder.open(Options::default());
    assert_eq!(*log.head().borrow(), stored);
    assert_eq!(log.append(Bytes::from(vec![b'x'; 20_000])).await.unwrap(), stored + 1);
    assert_eq!(log.read_after(0, 1_000, usize::MAX).await.unwrap().len() as u64, stored + 1);
}

fn copy_as_after_a_crash(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(name(from), name(to)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_files_under_load_has_every_record_that_was_answered() {
    let (folder, copy) = (Folder::new(), Folder::new());
    // No checkpoint while copying: then the two copied files belong together, as they do after a kill.
    let log = folder.open(Options { checkpoint_bytes: 1 << 30, ..Options::default() });
    let appender = tokio::spawn({
        let log = log.clone();
        async move {
            let mut n = 0_u64;
            while log
                .append_all((0..20).map(|i| Bytes::from(format!("{}", n + i + 1))).collect())
                .await
                .is_ok()
            {
                n += 20;
            }
        }
    });
    let mut head = log.head();
    head.wait_for(|&head| head >= 2_000).await.unwrap();
    let answered = *log.head().borrow();
    copy_as_after_a_crash(&folder.file(), &copy.file());
    log.close().await;
    appender.await.unwrap();

    let log = copy.open(Options::default());
    let records = log.read_after(0, usize::MAX, usize::MAX).await.unwrap();
    assert!(records.len() as u64 >= answered, "{} of {answered}", records.len());
    for (record, seq) in records.iter().zip(1..) {
        assert_eq!((record.seq, &record.bytes[..]), (seq, format!("{seq}").as_bytes()));
    }
    assert_eq!(log.append(Bytes::new()).await.unwrap(), records.len() as u64 + 1);
}

#[tokio::test]
async fn space_is_used_again_and_the_write_ahead_log_stays_small() {
    let folder = Folder::new();
    let options = Options { checkpoint_bytes: 256 << 10, ..Options::default() };
    let log = folder.open(options);
    let size = |suffix: &str| {
        fs::metadata(format!("{}{suffix}", folder.file().display())).map_or(0, |file| file.len())
    };
    let mut largest = 0;
    for round in 0..30 {
        for _ in 0..20 {
            log.append_all(vec![Bytes::from(vec![b'x'; 200]); 250]).await.unwrap();
        }
        log.trim(u64::MAX, i64::MAX).await.unwrap();
        if round == 4 {
            largest = size("");
        }
    }
    // 30 MB went through in rounds of 1 MB.
    assert!(size("") <= largest + (512 << 10), "{} after {largest}", size(""));
    assert!(size("-wal") <= 2 << 20, "write-ahead log of {}", size("-wal"));
    log.close().await;
    assert_eq!(size("-wal"), 0);
}

#[tokio::test]
async fn while_somebody_else_locks_the_file_appends_fail_and_then_go_on() {
    let folder = Folder::new();
    let log = folder.open(Options { busy_timeout: Duration::from_millis(20), ..Options::default() });
    assert_eq!(log.append(Bytes::from_static(b"before")).await.unwrap(), 1);
    let other = folder.sql();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(log.append(Bytes::from_static(b"lost")).await, Err(LogError::Io(_))));
    assert!(matches!(log.check().await, Err(LogError::Io(_))));
    assert!(matches!(log.trim(1, i64::MAX).await, Err(LogError::Io(_))));
    assert_eq!(log.read_after(0, 10, 10).await.unwrap().len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    log.check().await.unwrap();
    assert_eq!(log.append(Bytes::from_static(b"after")).await.unwrap(), 2);
}

#[tokio::test]
async fn a_file_that_is_open_or_of_another_kind_is_refused() {
    let folder = Folder::new();
    let log = folder.open(Options::default());
    let refused = |what: &str| match EventLog::open(&folder.file(), Options::default()) {
        Err(LogError::Io(text)) => assert!(text.contains(what), "{text}"),
        other => panic!("{other:?}"),
    };
    refused("open elsewhere");
    log.close().await;
    folder.sql().execute_batch("PRAGMA user_version = 99").unwrap();
    refused("version 99");
    folder.sql().execute_batch("PRAGMA application_id = 1").unwrap();
    refused("not an event log");
    fs::write(folder.file(), [7; 5_000]).unwrap();
    refused("not a database");
    let nowhere = folder.0.path().join("missing/events.db");
    assert!(matches!(EventLog::open(&nowhere, Options::default()), Err(LogError::Io(_))));
}

#[tokio::test]
async fn when_the_writer_dies_appends_fail_rather_than_hang() {
    let folder = Folder::new();
    let log = folder.open(Options { now_ms: || panic!("the clock broke"), ..Options::default() });
    let (one, two) = tokio::join!(log.append(Bytes::new()), log.append(Bytes::new()));
    assert_eq!((one, two), (Err(LogError::Closed), Err(LogError::Closed)));
    assert_eq!(log.append(Bytes::new()).await, Err(LogError::Closed));
    assert_eq!(log.check().await, Err(LogError::Closed));
    log.close().await;
}
