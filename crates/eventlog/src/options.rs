//! The limits of a log, with their units.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::frame::MAX_FRAME_BYTES;

/// Limits and settings of an [`EventLog`](crate::EventLog). The defaults suit a server with one log.
#[derive(Debug, Clone)]
pub struct Options {
    /// Records that may wait or be under way at once; further appends wait for a place. Default 65,536.
    pub queue_records: usize,
    /// Bytes that may wait or be under way at once; further appends wait for a place. Default 64 MiB.
    pub queue_bytes: usize,
    /// A group takes no further append once it would hold more records than this. Default 10,000.
    pub group_records: usize,
    /// A group takes no further append once it would hold more bytes than this. Default 4 MiB.
    pub group_bytes: usize,
    /// The most bytes that one `append` or `append_all` may bring, 4 bytes per record included; more is
    /// [`LogError::TooLarge`](crate::LogError::TooLarge). Default 64 MiB, at most [`MAX_FRAME_BYTES`].
    pub append_bytes: usize,
    /// Memory for the newest frames, from which a consumer that keeps up reads. In bytes; default 16 MiB; 0 = none.
    pub tail_bytes: usize,
    /// The write-ahead log is copied into the file about every so many bytes, after the waiting appends were
    /// answered: often, so that each copy is short. Default 4 MiB.
    pub checkpoint_bytes: usize,
    /// Space set aside in `<file>.lock`, given up on a full disk so that [`trim`](crate::EventLog::trim) can make room.
    /// Twice `checkpoint_bytes` is enough. In bytes; default 8 MiB; 0 = none.
    pub reserve_bytes: usize,
    /// Records that [`trim_window`](crate::EventLog::trim_window) keeps at least, unless they are older than `keep_for`
    /// or larger than `keep_bytes` in all. Default 10,000; 0 = none.
    pub keep_records: u64,
    /// See `keep_records`. Default 24 h.
    pub keep_for: Duration,
    /// See `keep_records`. In bytes; default 64 MiB.
    pub keep_bytes: usize,
    /// How long to wait for somebody else's lock on the file (a person with the `sqlite3` shell). Default 5 s.
    pub busy_timeout: Duration,
    /// The most pages that the file may have; an append past it is [`LogError::Full`](crate::LogError::Full).
    /// Default `None`: as large as the disk lets it.
    pub max_pages: Option<u32>,
    /// The time stamped on a commit, in unix milliseconds. Default: the system's clock.
    pub now_ms: fn() -> i64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            queue_records: 65_536,
            queue_bytes: 64 << 20,
            group_records: 10_000,
            group_bytes: 4 << 20,
            append_bytes: 64 << 20,
            tail_bytes: 16 << 20,
            checkpoint_bytes: 4 << 20,
            reserve_bytes: 8 << 20,
            keep_records: 10_000,
            keep_for: Duration::from_secs(24 * 3_600),
            keep_bytes: 64 << 20,
            busy_timeout: Duration::from_secs(5),
            max_pages: None,
            now_ms: system_now_ms,
        }
    }
}

impl Options {
    /// The same with every limit inside what works: no queue of nothing, no frame that cannot be stored.
    pub(crate) fn bounded(mut self) -> Self {
        let queue_max = u32::MAX as usize;
        self.queue_records = self.queue_records.clamp(1, queue_max);
        self.queue_bytes = self.queue_bytes.clamp(1, queue_max);
        self.group_bytes = self.group_bytes.min(MAX_FRAME_BYTES);
        self.append_bytes = self.append_bytes.min(MAX_FRAME_BYTES);
        self
    }
}

#[expect(clippy::disallowed_methods, reason = "the default clock; whoever opens a log may set another")]
fn system_now_ms() -> i64 {
    // A clock before 1970 is a fault of the machine; the stamp only decides how long a frame is kept.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
