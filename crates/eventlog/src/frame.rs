//! The bytes of one commit: all records of a group in one buffer.
//!
//! ```text
//! 0      version, 1 byte = 1
//! 1..5   crc32 of first number, time of commit (8 bytes each), then everything from byte 5 on
//! 5..9   count of records
//! 9..    per record: length (4 bytes), then its bytes
//! ```
//! Whole numbers are little-endian. The checksum covers the row's columns too: a frame in the wrong row does not pass.

use bytes::Bytes;

/// The most bytes that one frame may have, whatever the options say: SQLite stores up to 1,000,000,000 in one value.
pub const MAX_FRAME_BYTES: usize = 512 << 20;

/// What a frame has beside its records, in bytes.
pub(crate) const HEADER_BYTES: usize = 9;
/// What each record costs beside its own bytes.
pub(crate) const PREFIX_BYTES: usize = 4;
const VERSION: u8 = 1;
const CHECKED_FROM: usize = 5;

/// Frame of records that are stored, or about to be, under dense numbers from `first_seq`.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) first_seq: u64,
    /// Unix milliseconds of the commit.
    pub(crate) at_ms: i64,
    /// As stored.
    pub(crate) bytes: Bytes,
    /// Where each record ends in `bytes`.
    ends: Vec<u32>,
}

impl Frame {
    /// Writes the records into one buffer. `payload_bytes` is the sum of their lengths, at most [`MAX_FRAME_BYTES`].
    pub(crate) fn encode<'a>(
        first_seq: u64,
        at_ms: i64,
        records: impl ExactSizeIterator<Item = &'a Bytes>,
        payload_bytes: usize,
    ) -> Frame {
        let count = records.len();
        let mut buffer = Vec::with_capacity(HEADER_BYTES + count * PREFIX_BYTES + payload_bytes);
        let mut ends = Vec::with_capacity(count);
        buffer.push(VERSION);
        buffer.extend_from_slice(&[0; CHECKED_FROM - 1]);
        buffer.extend_from_slice(&(count as u32).to_le_bytes());
        for record in records {
            buffer.extend_from_slice(&(record.len() as u32).to_le_bytes());
            buffer.extend_from_slice(record);
            ends.push(buffer.len() as u32);
        }
        let crc = checksum(first_seq, at_ms, &buffer[CHECKED_FROM..]);
        buffer[1..CHECKED_FROM].copy_from_slice(&crc.to_le_bytes());
        Frame { first_seq, at_ms, bytes: Bytes::from(buffer), ends }
    }

    /// Takes a stored row apart, or says what does not hold.
    pub(crate) fn decode(
        first_seq: u64,
        last_seq: u64,
        at_ms: i64,
        bytes: Bytes,
    ) -> Result<Frame, &'static str> {
        if bytes.len() < HEADER_BYTES {
            return Err("shorter than its header");
        }
        if bytes[0] != VERSION {
            return Err("unknown version");
        }
        if read_u32(&bytes, 1) != Some(checksum(first_seq, at_ms, &bytes[CHECKED_FROM..])) {
            return Err("wrong checksum");
        }
        let count = read_u32(&bytes, CHECKED_FROM).ok_or("shorter than its header")?;
        if count == 0 || last_seq.checked_sub(first_seq) != Some(u64::from(count) - 1) {
            return Err("wrong count of records");
        }
        let mut ends = Vec::with_capacity(count as usize);
        let mut at = HEADER_BYTES;
        for _ in 0..count {
            let length = read_u32(&bytes, at).ok_or("a record is cut off")?;
            at = at + PREFIX_BYTES + length as usize;
            ends.push(u32::try_from(at).map_err(|_| "longer than a frame can be")?);
        }
        if at != bytes.len() {
            return Err("wrong length");
        }
        Ok(Frame { first_seq, at_ms, bytes, ends })
    }

    /// The number of its last record.
    pub(crate) fn last_seq(&self) -> u64 {
        self.first_seq + self.ends.len() as u64 - 1
    }

    /// Count of its records, at least 1.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The record at `index` (0 = the first), as a slice of the frame's buffer.
    pub(crate) fn record(&self, index: usize) -> Bytes {
        let start = if index == 0 { HEADER_BYTES } else { self.ends[index - 1] as usize };
        self.bytes.slice(start + PREFIX_BYTES..self.ends[index] as usize)
    }

    /// Length of the record at `index`, in bytes.
    pub(crate) fn record_len(&self, index: usize) -> usize {
        let start = if index == 0 { HEADER_BYTES } else { self.ends[index - 1] as usize };
        self.ends[index] as usize - start - PREFIX_BYTES
    }

    /// What it takes in memory, about, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        /// Two allocations and their counts.
        const OVERHEAD: usize = 160;
        self.bytes.len() + self.ends.len() * size_of::<u32>() + OVERHEAD
    }
}

fn checksum(first_seq: u64, at_ms: i64, rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&first_seq.to_le_bytes());
    crc.update(&at_ms.to_le_bytes());
    crc.update(rest);
    crc.finalize()
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Frame {
        let records = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        Frame::encode(7, 1_000, records.iter(), 8)
    }

    #[test]
    fn a_frame_gives_back_the_records_it_was_made_of() {
        let frame = sample();
        let again = Frame::decode(7, 9, 1_000, frame.bytes.clone()).unwrap();
        let records: Vec<Bytes> = (0..again.len()).map(|i| again.record(i)).collect();
        assert_eq!(records, [&b"one"[..], b"", b"three"]);
        assert_eq!((again.last_seq(), again.record_len(1), again.record_len(2)), (9, 0, 5));
    }

    #[test]
    fn the_stored_bytes_of_version_1_stay_as_they_are() {
        let hex: String = sample().bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "01d50aae6b03000000030000006f6e6500000000050000007468726565");
    }

    #[test]
    fn no_flipped_bit_passes() {
        let bytes = sample().bytes;
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(7, 9, 1_000, damaged.into()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn no_cut_off_frame_and_no_frame_of_another_row_passes() {
        let bytes = sample().bytes;
        for length in 0..bytes.len() {
            assert!(Frame::decode(7, 9, 1_000, bytes.slice(..length)).is_err(), "{length} bytes");
        }
        assert_eq!(Frame::decode(8, 10, 1_000, bytes.clone()).unwrap_err(), "wrong checksum");
        assert_eq!(Frame::decode(7, 9, 1_001, bytes.clone()).unwrap_err(), "wrong checksum");
        assert_eq!(Frame::decode(7, 10, 1_000, bytes).unwrap_err(), "wrong count of records");
    }
}
