//! The newest frames, in memory: a consumer that keeps up reads them without SQL and without a checksum.

use std::{collections::VecDeque, sync::Arc};

use crate::frame::Frame;

/// Every stored frame above `complete_after`, oldest first, within a limit of memory.
#[derive(Debug)]
pub(crate) struct Tail {
    frames: VecDeque<Arc<Frame>>,
    complete_after: u64,
    bytes: usize,
    limit_bytes: usize,
}

impl Tail {
    /// Nothing yet; `head` is the last number on disk.
    pub(crate) fn new(head: u64, limit_bytes: usize) -> Tail {
        Tail { frames: VecDeque::new(), complete_after: head, bytes: 0, limit_bytes }
    }

    /// Adds the frame that was just committed and lets go of the oldest past the limit.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.memory_bytes();
        self.frames.push_back(Arc::new(frame));
        while self.bytes > self.limit_bytes {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= oldest.memory_bytes();
            self.complete_after = oldest.last_seq();
        }
    }

    /// Forgets all; what is on disk up to `head` is read from there.
    pub(crate) fn restart(&mut self, head: u64) {
        *self = Tail::new(head, self.limit_bytes);
    }

    /// Forgets frames that were trimmed. `first_seqs` is sorted.
    pub(crate) fn drop_frames(&mut self, first_seqs: &[u64]) {
        self.frames.retain(|frame| first_seqs.binary_search(&frame.first_seq).is_err());
        self.bytes = self.frames.iter().map(|frame| frame.memory_bytes()).sum();
    }

    /// Frames that hold the records above `after`, enough for the given limits; `None` when older ones are needed.
    pub(crate) fn after(&self, after: u64, max_records: usize, max_bytes: usize) -> Option<Vec<Arc<Frame>>> {
        if after < self.complete_after {
            return None;
        }
        let start = self.frames.partition_point(|frame| frame.last_seq() <= after);
        let (mut records, mut bytes) = (0, 0);
        let mut found = Vec::new();
        for (index, frame) in self.frames.range(start..).enumerate() {
            // The first may hold only a few above `after`, so it does not count against the limits.
            if index > 0 {
                if records >= max_records || bytes >= max_bytes {
                    break;
                }
                records += frame.len();
                bytes += frame.bytes.len();
            }
            found.push(frame.clone());
        }
        Some(found)
    }

    /// Newest frames first, enough for `max_records`; `None` when older ones are needed.
    pub(crate) fn newest(&self, max_records: usize) -> Option<Vec<Arc<Frame>>> {
        let mut records = 0;
        let mut found = Vec::new();
        for frame in self.frames.iter().rev() {
            if records >= max_records {
                break;
            }
            records += frame.len();
            found.push(frame.clone());
        }
        (records >= max_records).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;

    fn frame(first_seq: u64, count: usize) -> Frame {
        let records = vec![Bytes::from_static(b"0123456789"); count];
        Frame::encode(first_seq, 0, records.iter(), 10 * count)
    }

    fn firsts(frames: Option<Vec<Arc<Frame>>>) -> Option<Vec<u64>> {
        frames.map(|frames| frames.iter().map(|frame| frame.first_seq).collect())
    }

    #[test]
    fn it_answers_only_for_what_it_holds_in_full() {
        let mut tail = Tail::new(4, 1 << 20);
        assert_eq!(firsts(tail.after(4, 10, 1_000)), Some(vec![]));
        assert_eq!(firsts(tail.after(3, 10, 1_000)), None);
        tail.push(frame(5, 3));
        tail.push(frame(8, 1));
        assert_eq!(firsts(tail.after(4, 10, 1_000)), Some(vec![5, 8]));
        assert_eq!(firsts(tail.after(7, 10, 1_000)), Some(vec![8]));
        assert_eq!(firsts(tail.newest(2)), Some(vec![8, 5]));
        assert_eq!(firsts(tail.newest(5)), None);
    }

    #[test]
    fn past_its_limit_it_lets_go_of_the_oldest() {
        let mut tail = Tail::new(0, 2 * frame(1, 2).memory_bytes());
        for first_seq in [1, 3, 5] {
            tail.push(frame(first_seq, 2));
        }
        assert_eq!(firsts(tail.after(0, 10, 1_000)), None);
        assert_eq!(firsts(tail.after(2, 10, 1_000)), Some(vec![3, 5]));
        let mut none = Tail::new(0, 0);
        none.push(frame(1, 2));
        assert_eq!(firsts(none.after(0, 10, 1_000)), None);
        assert_eq!(firsts(none.after(2, 10, 1_000)), Some(vec![]));
    }

    #[test]
    fn trimmed_frames_are_gone_and_the_rest_stays_complete() {
        let mut tail = Tail::new(0, 1 << 20);
        for first_seq in [1, 3, 5] {
            tail.push(frame(first_seq, 2));
        }
        tail.drop_frames(&[1, 5]);
        assert_eq!(firsts(tail.after(0, 10, 1_000)), Some(vec![3]));
        assert_eq!(tail.bytes, frame(3, 2).memory_bytes());
    }
}
