//! Records in a batch, as brokers store them (format 2), and its compression.

use std::io::{self, Write as _};

use bytes::BufMut as _;
use crc::{CRC_32_ISCSI, Crc, Table};
use flate2::write::GzEncoder;

use super::codec::{put_bytes, put_count, put_short, put_varint};

/// The sum over a batch, CRC-32C.
static SUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);
/// The format of batches that there is since Kafka 0.11.
const FORMAT: i8 = 2;
/// Bytes of a batch from its beginning up to what its length counts, and further to what its sum is over.
const BEFORE_LENGTH_COUNTS: usize = 12;
const BEFORE_SUM: usize = 21;
/// What snappy-java puts before its blocks: its name, its version and the lowest one that reads them.
const SNAPPY_JAVA: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Bytes of a block of snappy before compression, as snappy-java has it.
const SNAPPY_BLOCK: usize = 32 * 1024;

/// How a batch is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None = 0,
    Gzip = 1,
    Snappy = 2,
}

impl Compression {
    /// Each by its name in a configuration.
    pub(super) const ALL: [(&'static str, Compression); 3] =
        [("none", Compression::None), ("gzip", Compression::Gzip), ("snappy", Compression::Snappy)];

    fn compressed(self, records: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(records),
            Compression::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
                gzip.write_all(&records)?;
                gzip.finish()
            }
            Compression::Snappy => {
                let mut out = SNAPPY_JAVA.to_vec();
                for block in records.chunks(SNAPPY_BLOCK) {
                    let block = snap::raw::Encoder::new().compress_vec(block).map_err(io::Error::other)?;
                    put_bytes(&mut out, &block);
                }
                Ok(out)
            }
        }
    }
}

/// One record.
pub(super) struct Record<'a> {
    /// Milliseconds since 1970.
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) headers: Vec<(&'a str, &'a str)>,
}

impl Record<'_> {
    /// Appends the record, with its place in the batch and its time counted from the first's.
    fn put(&self, out: &mut Vec<u8>, place: i64, after_ms: i64) {
        let mut record = Vec::with_capacity(self.value.len() + 64);
        record.put_i8(0);
        put_varint(&mut record, after_ms);
        put_varint(&mut record, place);
        match self.key {
            Some(key) => put_short(&mut record, key),
            None => put_varint(&mut record, -1),
        }
        put_short(&mut record, self.value);
        put_varint(&mut record, i64::try_from(self.headers.len()).unwrap_or(i64::MAX));
        for (name, value) in &self.headers {
            put_short(&mut record, name.as_bytes());
            put_short(&mut record, value.as_bytes());
        }
        put_short(out, &record);
    }
}

/// The batch of some records, of which there is at least one.
///
/// # Errors
/// When they cannot be compressed.
pub(super) fn batch(records: &[Record<'_>], compression: Compression) -> io::Result<Vec<u8>> {
    let first = records.first().map_or(0, |record| record.timestamp);
    let mut content = Vec::new();
    for (place, record) in (0..).zip(records) {
        record.put(&mut content, place, record.timestamp - first);
    }
    let content = compression.compressed(content)?;
    let mut out = Vec::with_capacity(content.len() + 64);
    // Where it will be stored, how long it is from here on, and the leader's epoch: nobody knows these yet.
    out.put_i64(0);
    out.put_i32(0);
    out.put_i32(-1);
    out.put_i8(FORMAT);
    out.put_u32(0);
    out.put_i16(compression as i16);
    put_count(&mut out, records.len().saturating_sub(1));
    out.put_i64(first);
    out.put_i64(records.iter().map(|record| record.timestamp).max().unwrap_or(first));
    // No producer that a broker would tell from others, and so no sequence.
    out.put_i64(-1);
    out.put_i16(-1);
    out.put_i32(-1);
    put_count(&mut out, records.len());
    out.put_slice(&content);
    let length = i32::try_from(out.len() - BEFORE_LENGTH_COUNTS).map_err(io::Error::other)?;
    out[BEFORE_LENGTH_COUNTS - 4..BEFORE_LENGTH_COUNTS].copy_from_slice(&length.to_be_bytes());
    let sum = SUM.checksum(&out[BEFORE_SUM..]);
    out[BEFORE_SUM - 4..BEFORE_SUM].copy_from_slice(&sum.to_be_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read as _;

    use bytes::Bytes;
    use kafka_protocol::{
        protocol::StrBytes,
        records::{Compression as Theirs, RecordBatchDecoder},
    };

    use super::*;

    /// Takes apart what was compressed, with the libraries' own readers.
    fn decompressed(bytes: &Bytes, compression: Theirs) -> Bytes {
        let mut out = Vec::new();
        match compression {
            Theirs::Gzip => {
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut out).unwrap();
            }
            Theirs::Snappy => {
                assert_eq!(bytes[..16], SNAPPY_JAVA);
                let mut rest = &bytes[16..];
                while let Some((length, blocks)) = rest.split_first_chunk() {
                    let (block, after) = blocks.split_at(u32::from_be_bytes(*length) as usize);
                    out.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
                    rest = after;
                }
            }
            _ => out.extend_from_slice(bytes),
        }
        out.into()
    }

    #[test]
    fn a_batch_is_read_back_as_it_was_whatever_its_compression() {
        let long = "x".repeat(100_000);
        let records = [
            Record { timestamp: 1_000, key: Some(b"k"), value: b"v", headers: vec![("h", "1"), ("i", "")] },
            Record { timestamp: 900, key: None, value: long.as_bytes(), headers: Vec::new() },
            Record { timestamp: 1_700_000_000_000, key: Some(b""), value: b"", headers: Vec::new() },
        ];
        for (name, compression) in Compression::ALL {
            let bytes = batch(&records, compression).unwrap();
            assert_eq!(bytes.len() < 50_000, compression != Compression::None, "{name}");
            let mut bytes = Bytes::from(bytes);
            let plain = |bytes: &mut Bytes, compression| Ok(decompressed(bytes, compression));
            let read = RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(plain)).unwrap();
            assert!(bytes.is_empty(), "one batch");
            assert_eq!(read.records.len(), 3, "{name}");
            for ((place, sent), read) in (0..).zip(&records).zip(&read.records) {
                assert_eq!((read.offset, read.timestamp), (place, sent.timestamp));
                assert_eq!((read.key.as_deref(), read.value.as_deref()), (sent.key, Some(sent.value)));
                let text = |text: &str| StrBytes::from_string(text.to_owned());
                let headers = sent.headers.iter().map(|(name, value)| (text(name), Some(value.as_bytes())));
                let theirs = read.headers.iter().map(|(name, value)| (name.clone(), value.as_deref()));
                assert!(theirs.eq(headers), "{name}");
            }
        }
    }
}
