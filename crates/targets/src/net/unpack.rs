//! `Content-Encoding`: what a reply's body was before the server compressed it. What comes out is bounded, whatever a few
//! bytes promise to become.

use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

/// Most encodings over one another.
const LAYERS: usize = 3;
/// Size of the buffer between a decoder and its input, in bytes.
const BUFFER_BYTES: usize = 4_096;

/// What was taken out of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    /// Whether there is more than the limit.
    pub(super) is_longer: bool,
}

/// At most `limit` bytes of what was packed, the last encoding first; `None` for a body that is not encoded, or not as it
/// says. `is_cut`: the end of the body is missing.
pub(super) fn unpacked(headers: &HeaderMap, body: &[u8], limit: usize, is_cut: bool) -> Option<Unpacked> {
    let given = headers.get_all(header::CONTENT_ENCODING);
    let names = given.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names: Vec<_> = names
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !matches!(&**name, "" | "identity"))
        .collect();
    if names.is_empty() || names.len() > LAYERS || body.is_empty() {
        return None;
    }
    let mut out = Unpacked { bytes: Vec::new(), is_longer: is_cut };
    for (n, name) in names.iter().rev().enumerate() {
        let packed = if n == 0 { body } else { &out.bytes };
        out = layer(name, packed, limit, out.is_longer)?;
    }
    Some(out)
}

fn layer(name: &str, packed: &[u8], limit: usize, is_cut: bool) -> Option<Unpacked> {
    let read = |decoder: &mut dyn Read, is_marked: bool| {
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        let ended = decoder.take(most).read_to_end(&mut bytes);
        // What comes out of something else is nothing, or noise; what is marked is of the kind, and only its end is bad.
        if ended.is_err() && (bytes.is_empty() || !(is_cut || is_marked)) {
            return None;
        }
        let is_longer = bytes.len() > limit;
        bytes.truncate(limit);
        Some(Unpacked { bytes, is_longer })
    };
    match name {
        "gzip" | "x-gzip" => read(&mut MultiGzDecoder::new(packed), true),
        "deflate" if is_zlib(packed) => read(&mut ZlibDecoder::new(packed), true),
        "deflate" => read(&mut DeflateDecoder::new(packed), false),
        "br" => read(&mut brotli_decompressor::Decompressor::new(packed, BUFFER_BYTES), false),
        _ => None,
    }
}

/// Whether it begins as RFC 1950 says; many servers send the bare stream instead.
fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [method, flags, ..]
        if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flate2::{
        Compression,
        read::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use http::HeaderValue;

    use super::*;

    /// `{"r":"zipped"}`
    const BROTLI: &[u8] = &[
        0x8b, 0x06, 0x80, 0x7b, 0x22, 0x72, 0x22, 0x3a, 0x22, 0x7a, 0x69, 0x70, 0x70, 0x65, 0x64, 0x22, 0x7d,
        0x03,
    ];
    const TEXT: &[u8] = br#"{"r":"zipped"}"#;

    fn all(mut encoder: impl Read) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.read_to_end(&mut out).unwrap();
        out
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        all(GzEncoder::new(bytes, Compression::best()))
    }

    fn out(encoding: &'static str, body: &[u8], limit: usize, is_cut: bool) -> Option<(Vec<u8>, bool)> {
        let headers = [(header::CONTENT_ENCODING, HeaderValue::from_static(encoding))].into_iter().collect();
        unpacked(&headers, body, limit, is_cut).map(|out| (out.bytes, out.is_longer))
    }

    #[test]
    fn each_encoding_is_undone_also_several_and_with_a_bad_end() {
        let (zlib, raw) = (
            all(ZlibEncoder::new(TEXT, Compression::fast())),
            all(DeflateEncoder::new(TEXT, Compression::fast())),
        );
        let twice = [gzip(b"one "), gzip(b"two")].concat();
        let mut followed = gzip(TEXT);
        followed.extend(b"garbage");
        let whole = Some((TEXT.to_vec(), false));
        for (encoding, body) in [
            ("gzip", gzip(TEXT)),
            ("X-GZip", gzip(TEXT)),
            ("deflate", zlib),
            ("deflate", raw),
            ("br", BROTLI.to_vec()),
            ("gzip, identity, gzip", gzip(&gzip(TEXT))),
            ("br, gzip", gzip(BROTLI)),
            ("gzip", followed),
        ] {
            assert_eq!(out(encoding, &body, 100, false), whole, "{encoding}");
        }
        assert_eq!(out("gzip", &twice, 100, false), Some((b"one two".to_vec(), false)));
        let long: Vec<u8> =
            (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let packed = gzip(&long);
        let (first, is_longer) = out("gzip", &packed[..packed.len() / 2], 1_000_000, true).unwrap();
        assert!(!is_longer && first.len() > 10_000 && long.starts_with(&first));
    }

    #[test]
    fn what_is_not_as_it_says_stays_as_it_came() {
        for (encoding, body) in [
            ("gzip", TEXT),
            ("deflate", TEXT),
            ("deflate", b"hello, this is plain text"),
            ("br", TEXT),
            ("br", b"hello, this is plain text"),
            ("zstd", TEXT),
            ("gzip, zstd", TEXT),
            ("identity", TEXT),
            ("", TEXT),
            ("gzip", b""),
            ("gzip,gzip,gzip,gzip", TEXT),
        ] {
            assert_eq!(out(encoding, body, 100, false), None, "{encoding}");
        }
    }

    #[test]
    fn a_little_that_becomes_very_much_stops_at_the_limit() {
        let huge = gzip(&vec![b'0'; 50_000_000]);
        assert!(huge.len() < 100_000);
        let (bytes, is_longer) = out("gzip", &huge, 102_400, false).unwrap();
        assert!(is_longer && bytes.len() == 102_400 && bytes.capacity() < 300_000, "{}", bytes.capacity());
        let (bytes, is_longer) = out("gzip, gzip", &gzip(&huge), 1_000, false).unwrap_or_default();
        assert!(bytes.len() <= 1_000 && (is_longer || bytes.is_empty()));
        assert_eq!(out("gzip", &gzip(&[b'0'; 100]), 100, false), Some((vec![b'0'; 100], false)));
        assert_eq!(out("gzip", &gzip(&[b'0'; 101]), 100, false), Some((vec![b'0'; 100], true)));
    }
}
