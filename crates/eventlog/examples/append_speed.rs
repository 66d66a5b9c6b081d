//! How fast this machine makes records durable: records per second for single appends and for batches, and how long
//! one append alone waits.
//!
//! usage: append_speed FOLDER [SECONDS=5]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tributary_eventlog::{EventLog, Options};

const RECORD_BYTES: usize = 200;
const BATCH_RECORDS: usize = 1_000;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, rest @ ..] = &args[..] else {
        eprintln!("usage: append_speed FOLDER [SECONDS=5]");
        return ExitCode::from(2);
    };
    let folder = Path::new(folder);
    let run = Duration::from_secs(rest.first().map_or(5, |s| s.parse().expect("SECONDS is a number")));
    std::fs::create_dir_all(folder).unwrap();
    for (tasks, batch) in [(1, 1), (64, 1), (1, BATCH_RECORDS), (4, BATCH_RECORDS)] {
        measure(folder, run, tasks, batch).await;
    }
    ExitCode::SUCCESS
}

/// Appends with so many tasks at once, each `batch` records at a time, to a log of its own.
async fn measure(folder: &Path, run: Duration, tasks: usize, batch: usize) {
    let path = folder.join(format!("append_speed-{tasks}x{batch}.db"));
    let log = EventLog::open(&path, Options::default()).unwrap();
    let before = *log.head().borrow();
    let start = Instant::now();
    let workers: Vec<_> = (0..tasks).map(|_| tokio::spawn(work(log.clone(), start + run, batch))).collect();
    let mut waits = Vec::new();
    for worker in workers {
        waits.extend(worker.await.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    let records = *log.head().borrow() - before;
    log.close().await;
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{tasks:>3} tasks x {batch:>4} records: {:>9.0} records/s; wait ms p50 {:.2}, p99 {:.2}, max {:.1}; file {} MiB",
        records as f64 / seconds,
        at(0.5),
        at(0.99),
        at(1.0),
        std::fs::metadata(&path).unwrap().len() >> 20,
    );
    std::fs::remove_file(&path).unwrap();
}

async fn work(log: EventLog, until: Instant, batch: usize) -> Vec<Duration> {
    let record = Bytes::from(vec![b'x'; RECORD_BYTES]);
    let mut waits = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        if batch == 1 {
            log.append(record.clone()).await.unwrap();
        } else {
            log.append_all(vec![record.clone(); batch]).await.unwrap();
        }
        waits.push(begun.elapsed());
    }
    waits
}
