//! What a destination answered, and its body as a text.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use encoding_rs::{Encoding, REPLACEMENT, UTF_8};
use tokio::sync::OwnedSemaphorePermit;
use tributary_domain::limits;

/// What a destination answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, or 0 where the protocol has none.
    pub status: u16,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body without its `Content-Encoding`, at most the first 102,400 bytes.
    pub body: Bytes,
    /// What few replies have.
    pub rest: Option<Box<Rest>>,
}

/// What few replies have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// Why the body is not all of it, where it should be.
    pub note: Option<String>,
    /// All of a longer body, for a `responseTemplate`.
    pub long: Option<LongBody>,
}

/// A body of up to [`limits::TEMPLATE_REPLY_BYTES`] and the room that it takes of what all of them may have.
#[derive(Clone)]
pub struct LongBody {
    pub(crate) bytes: Bytes,
    pub(crate) _room: Arc<OwnedSemaphorePermit>,
}

impl fmt::Debug for LongBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

impl PartialEq for LongBody {
    fn eq(&self, other: &LongBody) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for LongBody {}

impl Reply {
    /// The body as a text, by the charset that its type names (else UTF-8) or by its byte order mark, which is left
    /// out. Bytes that are none of it become U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        self.decoded(&self.body)
    }

    /// The same of all of a long body.
    pub(crate) fn whole_text(&self) -> Cow<'_, str> {
        let long = self.rest.as_ref().and_then(|rest| rest.long.as_ref());
        self.decoded(long.map_or(&self.body, |long| &long.bytes))
    }

    /// Why this is not all of the body, where it should be.
    pub fn note(&self) -> Option<&str> {
        self.rest.as_ref()?.note.as_deref()
    }

    /// Whether there is more of the body, for a `responseTemplate`.
    pub fn is_long(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.long.is_some())
    }

    /// Gives back the room of a long body. Whoever has shown the reply does that.
    pub fn shorten(&mut self) {
        self.rest.iter_mut().for_each(|rest| rest.long = None);
    }

    fn decoded<'b>(&self, bytes: &'b [u8]) -> Cow<'b, str> {
        let charset = self.charset().unwrap_or(UTF_8);
        let bytes = if charset == UTF_8 { without_half(bytes) } else { bytes };
        charset.decode(bytes).0
    }

    fn charset(&self) -> Option<&'static Encoding> {
        let is_type = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-type");
        let (_, kind) = self.headers.iter().find(is_type)?;
        let mut parameters = kind.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let (_, label) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        let known = Encoding::for_label(label.trim().trim_matches(['"', '\'']).as_bytes());
        // Its only text is one U+FFFD; it stands for charsets that are dangerous in a browser.
        known.filter(|charset| *charset != REPLACEMENT)
    }
}

/// Without the first part of a character whose rest was cut off with the body's.
fn without_half(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && bytes.len() >= limits::REPLY_BYTES => {
            &bytes[..error.valid_up_to()]
        }
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: &str, body: &'static [u8]) -> String {
        let headers = vec![("Content-Type".to_owned(), kind.to_owned())];
        Reply { headers, body: Bytes::from_static(body), ..Reply::default() }.text().into_owned()
    }

    #[test]
    fn a_body_is_read_by_its_charset_and_a_byte_order_mark_is_none_of_it() {
        for (kind, body, expected) in [
            ("text/plain; charset=ISO-8859-1", &b"Regi\xe3o"[..], "Região"),
            ("text/plain;CHARSET=\"windows-1251\"", b"\xcf\xf0", "Пр"),
            ("text/plain; a=b; charset=Shift_JIS", b"\x82\xa0", "あ"),
            ("text/plain; charset=utf-16be", b"\0a\0b", "ab"),
            ("text/plain; charset=latin1", b"\xef\xbb\xbfa\xc3\xa9", "aé"),
            ("application/json", b"\xef\xbb\xbf{}", "{}"),
            ("application/json", b"\xff\xfea\0", "a"),
            ("application/json", b"\xfe\xff\0a", "a"),
            ("application/json", b"a\xe3b", "a\u{fffd}b"),
            ("text/plain; charset=none-such", b"\xc3\xa9", "é"),
            ("text/plain; charset=iso-2022-kr", b"ab", "ab"),
            ("text/plain; charset", b"ab", "ab"),
            ("text/plain; charset=utf-8", b"ab\xc3", "ab\u{fffd}"),
        ] {
            assert_eq!(text(kind, body), expected, "{kind} {body:?}");
        }
    }

    #[test]
    fn a_character_that_was_cut_in_the_middle_is_left_out() {
        let body = Bytes::from(format!("z{}", "ä".repeat(60_000)));
        let cut = Reply { body: body.slice(..limits::REPLY_BYTES), ..Reply::default() };
        assert_eq!(cut.text(), format!("z{}", "ä".repeat(51_199)));
    }
}
