//! What every engine of the log must do, once for each engine: the functions take the engine as a type.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicI64, Ordering},
};

use bytes::Bytes;
use tributary_eventlog::{EventLog, LogError, Options, Record};

/// An empty storage, which can be opened, closed and opened again.
trait Engine {
    fn new() -> Self;
    fn open(&self, options: Options) -> EventLog;
}

/// The SQLite file.
struct Embedded(tempfile::TempDir);

impl Engine for Embedded {
    fn new() -> Self {
        Embedded(tempfile::tempdir().unwrap())
    }

    fn open(&self, options: Options) -> EventLog {
        EventLog::open(&self.0.path().join("events.db"), options).unwrap()
    }
}

macro_rules! suite {
    ($engine:ident: $($name:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            super::$name::<super::$engine>().await;
        })*
    };
}

mod embedded {
    suite! { Embedded:
        records_come_back_in_order_under_dense_numbers
        numbers_and_records_go_on_after_a_restart
        no_number_is_used_twice_after_everything_was_trimmed_and_the_log_restarted
        a_batch_is_stored_in_order_under_neighbouring_numbers
        an_empty_batch_stores_nothing
        concurrent_appends_each_get_a_number_of_their_own
        a_full_queue_makes_appends_wait_and_loses_none
        a_page_may_end_and_begin_inside_a_frame
        a_page_stays_within_its_bytes_but_gives_at_least_one_record
        the_newest_records_come_newest_last
        the_head_has_moved_when_an_append_is_answered
        trim_drops_only_what_is_below_both_marks
        the_window_keeps_the_newest_by_count_age_and_bytes_also_after_a_restart
        pages_backwards_meet_every_record_once
        appends_and_reads_go_on_while_a_long_trim_runs
        a_batch_too_large_is_refused_and_stores_nothing
        closing_finishes_what_is_queued_and_refuses_the_rest
        a_log_that_works_passes_its_check
    }
}

/// With and without frames in memory.
fn both_ways() -> [Options; 2] {
    [Options::default(), Options { tail_bytes: 0, ..Options::default() }]
}

fn text(number: impl std::fmt::Display) -> Bytes {
    Bytes::from(format!("record {number}"))
}

fn record(seq: u64, bytes: Bytes) -> Record {
    Record { seq, bytes }
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

async fn all(log: &EventLog) -> Vec<Record> {
    log.read_after(0, usize::MAX, usize::MAX).await.unwrap()
}

async fn records_come_back_in_order_under_dense_numbers<E: Engine>() {
    for options in both_ways() {
        let engine = E::new();
        let log = engine.open(options);
        assert_eq!(all(&log).await, []);
        for seq in 1..=20 {
            assert_eq!(log.append(text(seq)).await.unwrap(), seq);
        }
        let expected: Vec<Record> = (1..=20).map(|seq| record(seq, text(seq))).collect();
        assert_eq!(all(&log).await, expected);
        assert_eq!(log.read_after(18, 10, 1_000).await.unwrap(), expected[18..]);
        assert_eq!(log.read_after(20, 10, 1_000).await.unwrap(), []);
        assert_eq!(log.read_after(u64::MAX, 10, 1_000).await.unwrap(), []);
        assert_eq!(log.read_after(0, 0, 1_000).await.unwrap(), []);
    }
}

async fn numbers_and_records_go_on_after_a_restart<E: Engine>() {
    let engine = E::new();
    for round in 0..4_u64 {
        let log = engine.open(Options::default());
        assert_eq!(*log.head().borrow(), 2 * round);
        assert_eq!(log.append(text("one")).await.unwrap(), 2 * round + 1);
        assert_eq!(log.append(text("two")).await.unwrap(), 2 * round + 2);
        assert_eq!(seqs(&all(&log).await), (1..=2 * round + 2).collect::<Vec<_>>());
        log.close().await;
    }
}

async fn no_number_is_used_twice_after_everything_was_trimmed_and_the_log_restarted<E: Engine>() {
    let engine = E::new();
    for round in 0..3_u64 {
        let log = engine.open(Options::default());
        assert_eq!(log.append_all(vec![text("x"); 5]).await.unwrap(), 5 * round + 1..5 * round + 6);
        assert_eq!(log.trim(u64::MAX, i64::MAX).await.unwrap(), 1);
        assert_eq!(all(&log).await, []);
        assert_eq!(log.read_last(10).await.unwrap(), []);
        assert_eq!(*log.head().borrow(), 5 * round + 5);
        log.close().await;
    }
}

async fn a_batch_is_stored_in_order_under_neighbouring_numbers<E: Engine>() {
    let engine = E::new();
    let log = engine.open(Options::default());
    log.append(text("before")).await.unwrap();
    let batch: Vec<Bytes> = (0..1_000).map(text).collect();
    let (range, alone) = tokio::join!(log.append_all(batch.clone()), log.append(text("beside")));
    let (range, alone) = (range.unwrap(), alone.unwrap());
    assert_eq!(range.end - range.start, 1_000);
    assert!(!range.contains(&alone));
    let stored = log.read_after(range.start - 1, 1_000, usize::MAX).await.unwrap();
    assert_eq!(seqs(&stored), range.collect::<Vec<_>>());
    assert!(stored.iter().map(|record| &record.bytes).eq(&batch));
}

async fn an_empty_batch_stores_nothing<E: Engine>() {
    let engine = E::new();
    let log = engine.open(Options::default());
    assert_eq!(log.append_all(Vec::new()).await.unwrap(), 1..1);
    assert_eq!(log.append(Bytes::new()).await.unwrap(), 1);
    assert_eq!(log.append_all(Vec::new()).await.unwrap(), 2..2);
    assert_eq!(all(&log).await, [record(1, Bytes::new())]);
}

async fn append_from_tasks(log: &EventLog, tasks: usize, each: usize) -> BTreeSet<u64> {
    let workers: Vec<_> = (0..tasks)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for n in 0..each {
                    mine.push((log.append(text(task * each + n)).await.unwrap(), text(task * each + n)));
                }
                mine
            })
        })
        .collect();
    let mut numbers = BTreeSet::new();
    for worker in workers {
        let mine = worker.await.unwrap();
        assert!(mine.is_sorted(), "one after the other from one task");
        for (seq, bytes) in mine {
            assert_eq!(log.read_after(seq - 1, 1, 0).await.unwrap(), [record(seq, bytes)]);
            numbers.insert(seq);
        }
    }
    numbers
}

async fn concurrent_appends_each_get_a_number_of_their_own<E: Engine>() {
    for options in both_ways() {
        let engine = E::new();
        let log = engine.open(options);
        let numbers = append_from_tasks(&log, 32, 20).await;
        assert_eq!(numbers, (1..=640).collect());
    }
}

async fn a_full_queue_makes_appends_wait_and_loses_none<E: Engine>() {
    let few_records = Options { queue_records: 1, ..Options::default() };
    let few_bytes = Options { queue_bytes: 10, ..Options::default() };
    for options in [few_records, few_bytes] {
        let engine = E::new();
        let log = engine.open(options);
        let numbers = append_from_tasks(&log, 16, 5).await;
        assert_eq!(numbers, (1..=80).collect());
        // Larger than the whole queue: it waits until it is alone.
        assert_eq!(log.append_all(vec![text("x"); 9]).await.unwrap(), 81..90);
    }
}

async fn a_page_may_end_and_begin_inside_a_frame<E: Engine>() {
    for options in both_ways() {
        let engine = E::new();
        let log = engine.open(options);
        for count in [3, 1, 5, 2] {
            log.append_all((0..count).map(text).collect()).await.unwrap();
        }
        let whole = all(&log).await;
        assert_eq!(seqs(&whole), (1..=11).collect::<Vec<_>>());
        for after in 0..=11 {
            for max_records in 1..=12 {
                let page = log.read_after(after, max_records, usize::MAX).await.unwrap();
                let end = whole.len().min(after as usize + max_records);
                assert_eq!(page, whole[after as usize..end], "after {after}, {max_records} records");
            }
        }
    }
}

async fn a_page_stays_within_its_bytes_but_gives_at_least_one_record<E: Engine>() {
    for options in both_ways() {
        let engine = E::new();
        let log = engine.open(options);
        log.append_all(vec![Bytes::from(vec![1; 100]); 3]).await.unwrap();
        log.append(Bytes::from(vec![2; 500])).await.unwrap();
        log.append_all(vec![Bytes::from(vec![3; 100]); 3]).await.unwrap();
        let cases: [(u64, usize, &[u64]); 8] = [
            (0, 0, &[1]),
            (0, 199, &[1]),
            (0, 200, &[1, 2]),
            (0, 799, &[1, 2, 3]),
            (0, 900, &[1, 2, 3, 4, 5]),
            (3, 0, &[4]),
            (3, 499, &[4]),
            (2, 650, &[3, 4]),
        ];
        for (after, max_bytes, expected) in cases {
            let page = log.read_after(after, 100, max_bytes).await.unwrap();
            assert_eq!(seqs(&page), expected, "after {after}, {max_bytes} bytes");
        }
    }
}

async fn the_newest_records_come_newest_last<E: Engine>() {
    for options in both_ways() {
        let engine = E::new();
        let log = engine.open(options);
        assert_eq!(log.read_last(5).await.unwrap(), []);
        for count in [3, 4, 1] {
            log.append_all((0..count).map(text).collect()).await.unwrap();
        }
        let whole = all(&log).await;
        for max_records in 0..10_usize {
            let expected = &whole[8_usize.saturating_sub(max_records)..];
            assert_eq!(log.read_last(max_records).await.unwrap(), expected, "{max_records}");
        }
    }
}

async fn the_head_has_moved_when_an_append_is_answered<E: Engine>() {
    let engine = E::new();
    let log = engine.open(Options::default());
    let mut head = log.head();
    assert_eq!(*head.borrow_and_update(), 0);
    let range = log.append_all(vec![text("x"); 7]).await.unwrap();
    assert!(head.has_changed().unwrap());
    assert_eq!(*head.borrow_and_update() + 1, range.end);
    log.close().await;
    assert!(head.changed().await.is_err(), "nothing more to wait for");
    assert_eq!(*log.head().borrow(), 7);
}

async fn trim_drops_only_what_is_below_both_marks<E: Engine>() {
    static NOW: AtomicI64 = AtomicI64::new(0);
    for options in both_ways() {
        let engine = E::new();
        let log = engine.open(Options { now_ms: || NOW.load(Ordering::SeqCst), ..options });
        for at_ms in [1_000, 2_000, 3_000] {
            NOW.store(at_ms, Ordering::SeqCst);
            log.append_all((0..3).map(text).collect()).await.unwrap();
        }
        assert_eq!(log.trim(0, i64::MAX).await.unwrap(), 0);
        assert_eq!(log.trim(9, 1_000).await.unwrap(), 0, "a frame of the cutoff itself stays");
        assert_eq!(log.trim(2, i64::MAX).await.unwrap(), 0, "record 3 is still wanted");
        assert_eq!(log.trim(9, 2_000).await.unwrap(), 1);
        assert_eq!(seqs(&all(&log).await), [4, 5, 6, 7, 8, 9]);
        assert_eq!(log.trim(8, i64::MAX).await.unwrap(), 1);
        assert_eq!(seqs(&log.read_after(1, 2, 1_000).await.unwrap()), [7, 8]);
        assert_eq!(seqs(&log.read_last(10).await.unwrap()), [7, 8, 9]);
        assert_eq!(log.append(text("next")).await.unwrap(), 10);
    }
}

async fn the_window_keeps_the_newest_by_count_age_and_bytes_also_after_a_restart<E: Engine>() {
    static NOW: AtomicI64 = AtomicI64::new(0);
    let with = |keep_records, keep_for_ms, keep_bytes| Options {
        now_ms: || NOW.load(Ordering::SeqCst),
        keep_records,
        keep_for: std::time::Duration::from_millis(keep_for_ms),
        keep_bytes,
        ..Options::default()
    };
    let engine = E::new();
    let log = engine.open(with(100, 3_500, 1_000_000));
    for at_ms in [1_000, 2_000, 3_000, 4_000, 5_000] {
        NOW.store(at_ms, Ordering::SeqCst);
        log.append_all((0..3).map(text).collect()).await.unwrap();
    }
    assert_eq!(log.trim_window(2).await.unwrap(), 0, "too old, but record 3 is still wanted");
    assert_eq!(log.trim_window(15).await.unwrap(), 1, "one frame is too old");
    assert_eq!(seqs(&all(&log).await), (4..=15).collect::<Vec<_>>());
    log.close().await;

    let log = engine.open(with(7, 3_500, 1_000_000));
    assert_eq!(
        log.trim_window(6).await.unwrap(),
        1,
        "there are too many; a frame that has one of the newest stays"
    );
    assert_eq!(log.trim_window(15).await.unwrap(), 0);
    assert_eq!(seqs(&all(&log).await), (7..=15).collect::<Vec<_>>());
    log.close().await;

    // A frame of three such records is some 50 bytes long.
    let log = engine.open(with(100, 3_500, 60));
    assert_eq!(log.trim_window(15).await.unwrap(), 2, "they are too large");
    assert_eq!(seqs(&all(&log).await), [13, 14, 15]);
    log.append_all((0..3).map(text).collect()).await.unwrap();
    assert_eq!(log.trim_window(18).await.unwrap(), 1, "what was appended since counts too");
    log.close().await;

    let log = engine.open(with(0, 3_500, 60));
    assert_eq!(log.trim_window(18).await.unwrap(), 1, "none is kept");
    assert_eq!(log.append(text("next")).await.unwrap(), 19);
}

async fn pages_backwards_meet_every_record_once<E: Engine>() {
    for options in both_ways() {
        let engine = E::new();
        let log = engine.open(options);
        assert_eq!(log.read_before(u64::MAX, 5, 1_000).await.unwrap(), []);
        for count in [3, 1, 5, 2] {
            log.append_all((0..count).map(text).collect()).await.unwrap();
        }
        let whole = all(&log).await;
        for max_records in 1..=12 {
            let (mut before, mut met) = (u64::MAX, Vec::new());
            loop {
                let page = log.read_before(before, max_records, 1).await.unwrap();
                let Some(first) = page.first() else { break };
                assert!(page.len() <= max_records);
                before = first.seq;
                met.splice(..0, page);
            }
            assert_eq!(met, whole, "{max_records} records");
        }
    }
}

async fn appends_and_reads_go_on_while_a_long_trim_runs<E: Engine>() {
    let engine = E::new();
    let log = engine.open(Options { tail_bytes: 0, ..Options::default() });
    for seq in 1..=600 {
        log.append(text(seq)).await.unwrap();
    }
    let appends = async {
        for seq in 601..=640 {
            assert_eq!(log.append(text(seq)).await.unwrap(), seq);
            assert_eq!(log.read_after(seq - 1, 5, 1_000).await.unwrap(), [record(seq, text(seq))]);
        }
    };
    let (dropped, ()) = tokio::join!(log.trim(600, i64::MAX), appends);
    assert_eq!(dropped.unwrap(), 600);
    assert_eq!(seqs(&all(&log).await), (601..=640).collect::<Vec<_>>());
}

async fn a_batch_too_large_is_refused_and_stores_nothing<E: Engine>() {
    let engine = E::new();
    let log = engine.open(Options { append_bytes: 1_000, ..Options::default() });
    let refused = log.append_all(vec![Bytes::from(vec![0; 300]); 4]).await.unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { bytes: 1_200.., limit: 1_000 }), "{refused:?}");
    let refused = log.append(Bytes::from(vec![0; 1_001])).await.unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { .. }), "{refused:?}");
    assert_eq!(log.append_all(vec![Bytes::from(vec![0; 300]); 3]).await.unwrap(), 1..4);
}

async fn closing_finishes_what_is_queued_and_refuses_the_rest<E: Engine>() {
    let engine = E::new();
    let log = engine.open(Options::default());
    let appends: Vec<_> = (0..50)
        .map(|n| {
            let log = log.clone();
            tokio::spawn(async move { log.append(text(n)).await })
        })
        .collect();
    log.clone().close().await;
    let mut stored = 0;
    for append in appends {
        match append.await.unwrap() {
            Ok(_) => stored += 1,
            Err(error) => assert_eq!(error, LogError::Closed),
        }
    }
    assert_eq!(log.append(text("late")).await, Err(LogError::Closed));
    assert_eq!(log.append_all(vec![text("late")]).await, Err(LogError::Closed));
    assert_eq!(log.append_all(Vec::new()).await, Err(LogError::Closed));
    assert_eq!(log.read_after(0, 1, 1).await, Err(LogError::Closed));
    assert_eq!(log.read_last(1).await, Err(LogError::Closed));
    assert_eq!(log.trim(1, 1).await, Err(LogError::Closed));
    assert_eq!(log.check().await, Err(LogError::Closed));
    log.close().await;
    let again = engine.open(Options::default());
    assert_eq!(all(&again).await.len(), stored, "what was answered Ok, and nothing else");
}

async fn a_log_that_works_passes_its_check<E: Engine>() {
    let engine = E::new();
    let log = engine.open(Options::default());
    log.check().await.unwrap();
    log.append(text("x")).await.unwrap();
    log.check().await.unwrap();
    assert_eq!(log.append(text("y")).await.unwrap(), 2);
}
