//! Dropping old frames, a step at a time.
//!
//! A step is one commit, bounded in frames and bytes; the writer takes the waiting appends between two steps.

use tokio::sync::oneshot;

use crate::{LogError, db::FrameRow};

/// Rows that one step looks at, and the most that it drops.
pub(crate) const STEP_FRAMES: usize = 256;
/// Bytes that one step drops, unless its first frame alone is larger.
const STEP_BYTES: usize = 4 << 20;

/// A call of `trim` under way.
#[derive(Debug)]
pub(crate) struct TrimJob {
    pub(crate) up_to: u64,
    pub(crate) cutoff_ms: i64,
    /// Rows whose records are all numbered so or less are dropped though they are young.
    pub(crate) beyond: u64,
    /// Bytes that are dropped, oldest first, though they are young.
    pub(crate) excess_bytes: usize,
    /// Rows up to here were looked at.
    pub(crate) seen: u64,
    pub(crate) dropped: u64,
    pub(crate) reply: oneshot::Sender<Result<u64, LogError>>,
}

/// What one step does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) drop: Vec<FrameRow>,
    /// The last row that was decided on; the next step begins above it.
    pub(crate) seen: u64,
    /// Nothing further can be dropped by this job.
    pub(crate) done: bool,
}

/// Decides on the next rows. A frame that must stay ends the job, since those above it are newer. A frame stamped
/// later than now comes from a clock that was set back since: it stays, and does not hold up those above it.
pub(crate) fn decide(rows: &[FrameRow], job: &TrimJob, now_ms: i64) -> Step {
    let mut step = Step { drop: Vec::new(), seen: job.seen, done: rows.len() < STEP_FRAMES };
    let mut bytes = 0;
    for (index, row) in rows.iter().enumerate() {
        // No frame reaches into the next one: a damaged last number must not keep all that follows.
        let next = rows.get(index + 1).map_or(u64::MAX, |next| next.first_seq - 1);
        let last_seq = row.last_seq.min(next);
        let surplus = last_seq <= job.beyond || bytes < job.excess_bytes;
        let young = row.at_ms >= job.cutoff_ms && !surplus;
        if last_seq > job.up_to || (young && row.at_ms <= now_ms) {
            step.done = true;
            break;
        }
        if !young {
            bytes += row.bytes_len;
            if bytes > STEP_BYTES && !step.drop.is_empty() {
                step.done = false;
                break;
            }
            step.drop.push(FrameRow { last_seq, ..*row });
        }
        step.seen = row.first_seq;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(first_seq: u64, at_ms: i64, bytes_len: usize) -> FrameRow {
        FrameRow { first_seq, last_seq: first_seq + 9, at_ms, bytes_len }
    }

    fn job(up_to: u64, cutoff_ms: i64) -> TrimJob {
        let reply = oneshot::channel().0;
        TrimJob { up_to, cutoff_ms, beyond: 0, excess_bytes: 0, seen: 0, dropped: 0, reply }
    }

    fn dropped(rows: &[FrameRow], job: &TrimJob, now_ms: i64) -> (Vec<u64>, u64, bool) {
        let step = decide(rows, job, now_ms);
        (step.drop.iter().map(|row| row.first_seq).collect(), step.seen, step.done)
    }

    #[test]
    fn only_whole_frames_below_both_marks_are_dropped() {
        let rows = [row(1, 100, 1), row(11, 200, 1), row(21, 300, 1)];
        let cases = [
            ((30, 1_000), (vec![1, 11, 21], 21, true)),
            ((29, 1_000), (vec![1, 11], 11, true)),
            ((30, 300), (vec![1, 11], 11, true)),
            ((30, 100), (vec![], 0, true)),
            ((9, 1_000), (vec![], 0, true)),
        ];
        for ((up_to, cutoff), expected) in cases {
            assert_eq!(dropped(&rows, &job(up_to, cutoff), 400), expected, "{up_to} {cutoff}");
        }
    }

    #[test]
    fn a_stamp_from_a_clock_since_set_back_holds_nothing_up() {
        let rows = [row(1, 100, 1), row(11, 9_000, 1), row(21, 200, 1)];
        assert_eq!(dropped(&rows, &job(30, 300), 400), (vec![1, 21], 21, true));
    }

    #[test]
    fn young_frames_are_dropped_when_there_are_too_many_or_too_large_ones_but_never_above_the_mark() {
        let rows = [row(1, 100, 5), row(11, 100, 5), row(21, 100, 5), row(31, 100, 5)];
        let cases = [
            ((40, 0, 0), vec![]),
            ((40, 20, 0), vec![1, 11]),
            ((40, 29, 0), vec![1, 11]),
            ((40, 0, 1), vec![1]),
            ((40, 0, 6), vec![1, 11]),
            ((40, 10, 11), vec![1, 11, 21]),
            ((25, 40, 99), vec![1, 11]),
        ];
        for ((up_to, beyond, excess_bytes), expected) in cases {
            let job = TrimJob { beyond, excess_bytes, ..job(up_to, 50) };
            let (dropped, _, done) = dropped(&rows, &job, 400);
            assert_eq!((dropped, done), (expected, true), "{up_to} {beyond} {excess_bytes}");
        }
    }

    #[test]
    fn a_damaged_last_number_holds_nothing_up() {
        let damaged = FrameRow { last_seq: 99_999, ..row(1, 100, 1) };
        let step = decide(&[damaged, row(11, 100, 1)], &job(20, 200), 400);
        assert_eq!(step.drop, [row(1, 100, 1), row(11, 100, 1)]);
    }

    #[test]
    fn a_step_is_bounded_in_bytes_and_frames_but_always_gets_on() {
        let large = [row(1, 100, 3 << 20), row(11, 100, 3 << 20)];
        assert_eq!(dropped(&large, &job(99, 200), 400), (vec![1], 1, false));
        let huge = [row(1, 100, 9 << 20)];
        assert_eq!(dropped(&huge, &job(99, 200), 400), (vec![1], 1, true));
        let many: Vec<FrameRow> = (0..STEP_FRAMES as u64).map(|i| row(1 + 10 * i, 100, 1)).collect();
        let (frames, _, done) = dropped(&many, &job(u64::MAX, 200), 400);
        assert_eq!((frames.len(), done), (STEP_FRAMES, false));
    }
}
