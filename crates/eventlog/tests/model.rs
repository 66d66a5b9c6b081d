//! Random calls against a list in memory.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use proptest::prelude::*;
use tributary_eventlog::{EventLog, Options, Record};

#[derive(Debug, Clone)]
enum Call {
    Append(usize),
    AppendAll(Vec<usize>),
    ReadAfter { after: u64, max_records: usize, max_bytes: usize },
    ReadLast(usize),
    Trim(u64),
    Restart,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = prop_oneof![
        4 => (0..300_usize).prop_map(Call::Append),
        4 => prop::collection::vec(0..300_usize, 0..20).prop_map(Call::AppendAll),
        6 => (0..150_u64, 0..40_usize, 0..3_000_usize)
            .prop_map(|(after, max_records, max_bytes)| Call::ReadAfter { after, max_records, max_bytes }),
        2 => (0..60_usize).prop_map(Call::ReadLast),
        2 => (0..150_u64).prop_map(Call::Trim),
        1 => Just(Call::Restart),
    ];
    prop::collection::vec(call, 1..40)
}

/// What the log should hold: a list per commit, since only whole commits are trimmed.
#[derive(Default)]
struct Model {
    head: u64,
    commits: Vec<Vec<Record>>,
}

impl Model {
    fn append(&mut self, records: &[Bytes]) {
        let numbered = records.iter().zip(self.head + 1..);
        self.commits.push(numbered.map(|(bytes, seq)| Record { seq, bytes: bytes.clone() }).collect());
        self.head += records.len() as u64;
    }

    fn read_after(&self, after: u64, max_records: usize, max_bytes: usize) -> Vec<Record> {
        let mut page: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for record in self.commits.iter().flatten().filter(|record| record.seq > after) {
            bytes += record.bytes.len();
            let used_up = bytes > max_bytes || bytes - record.bytes.len() >= max_bytes;
            if page.len() == max_records || (used_up && !page.is_empty()) {
                break;
            }
            page.push(record.clone());
        }
        page
    }

    fn read_last(&self, max_records: usize) -> Vec<Record> {
        let all: Vec<Record> = self.commits.iter().flatten().cloned().collect();
        all[all.len().saturating_sub(max_records)..].to_vec()
    }

    fn trim(&mut self, up_to: u64) -> u64 {
        let before = self.commits.len();
        self.commits.retain(|commit| commit.last().is_some_and(|last| last.seq > up_to));
        (before - self.commits.len()) as u64
    }
}

fn payload(seq: u64, length: usize) -> Bytes {
    Bytes::from(vec![seq as u8; length])
}

async fn check(calls: Vec<Call>, options: Options) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let mut log = EventLog::open(&path, options.clone()).unwrap();
    let mut model = Model::default();
    for call in calls {
        match call {
            Call::Append(length) => {
                let record = payload(model.head, length);
                model.append(std::slice::from_ref(&record));
                assert_eq!(log.append(record).await.unwrap(), model.head);
            }
            Call::AppendAll(lengths) => {
                let records: Vec<Bytes> =
                    lengths.iter().zip(model.head..).map(|(length, seq)| payload(seq, *length)).collect();
                let first = model.head + 1;
                if !records.is_empty() {
                    model.append(&records);
                }
                assert_eq!(log.append_all(records).await.unwrap(), first..model.head + 1);
            }
            Call::ReadAfter { after, max_records, max_bytes } => {
                let page = log.read_after(after, max_records, max_bytes).await.unwrap();
                assert_eq!(page, model.read_after(after, max_records, max_bytes));
            }
            Call::ReadLast(max_records) => {
                assert_eq!(log.read_last(max_records).await.unwrap(), model.read_last(max_records));
            }
            Call::Trim(up_to) => {
                assert_eq!(log.trim(up_to, i64::MAX).await.unwrap(), model.trim(up_to));
            }
            Call::Restart => {
                log.close().await;
                log = EventLog::open(&path, options.clone()).unwrap();
            }
        }
        assert_eq!(*log.head().borrow(), model.head);
    }
    log.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_answers_as_a_list_would(calls in calls(), tail_bytes in prop_oneof![Just(0), Just(4_000), Just(1 << 20)]) {
        let options = Options { tail_bytes, checkpoint_bytes: 64 << 10, reserve_bytes: 0, ..Options::default() };
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(check(calls, options));
    }
}
