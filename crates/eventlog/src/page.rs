//! One answer to a reader: records up to a count and a size.

use bytes::Bytes;

use crate::frame::Frame;

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number: dense, from 1, never used twice.
    pub seq: u64,
    /// What was appended. A slice of its frame's buffer, which lives as long as one of its records does.
    pub bytes: Bytes,
}

/// Gathers the records of one answer, in order.
#[derive(Debug)]
pub(crate) struct Page {
    after: u64,
    records_left: usize,
    bytes_left: usize,
    records: Vec<Record>,
}

impl Page {
    /// Records above `after`: at most `max_records`, and `max_bytes` in all unless the first alone is larger.
    pub(crate) fn new(after: u64, max_records: usize, max_bytes: usize) -> Page {
        Page { after, records_left: max_records, bytes_left: max_bytes, records: Vec::new() }
    }

    /// Takes what fits of the next frame; whether there may be room for more.
    pub(crate) fn take(&mut self, frame: &Frame) -> bool {
        let skip = (self.after + 1).saturating_sub(frame.first_seq);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        for index in skip..frame.len() {
            let length = frame.record_len(index);
            let fits = self.records.is_empty() || (self.bytes_left > 0 && length <= self.bytes_left);
            if self.records_left == 0 || !fits {
                return false;
            }
            self.records_left -= 1;
            self.bytes_left = self.bytes_left.saturating_sub(length);
            let seq = frame.first_seq + index as u64;
            self.records.push(Record { seq, bytes: frame.record(index) });
        }
        self.records_left > 0 && self.bytes_left > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn into_records(self) -> Vec<Record> {
        self.records
    }
}

/// The newest `max_records` of frames that come newest first; the answer stands in order.
pub(crate) fn newest<F: AsRef<Frame>>(
    frames: impl IntoIterator<Item = F>,
    max_records: usize,
) -> Vec<Record> {
    newest_before(frames, u64::MAX, max_records)
}

/// As [`newest`], of those numbered below `before`.
pub(crate) fn newest_before<F: AsRef<Frame>>(
    frames: impl IntoIterator<Item = F>,
    before: u64,
    max_records: usize,
) -> Vec<Record> {
    let mut records = Vec::new();
    for frame in frames {
        let frame = frame.as_ref();
        for index in (0..frame.len()).rev() {
            let seq = frame.first_seq + index as u64;
            if records.len() == max_records {
                break;
            }
            if seq < before {
                records.push(Record { seq, bytes: frame.record(index) });
            }
        }
    }
    records.reverse();
    records
}
