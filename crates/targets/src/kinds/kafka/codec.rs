//! The types of Kafka's protocol: written to the end of a buffer, and read from a peer's bytes, of which nothing is believed.

use bytes::{BufMut as _, Bytes};

/// Appends a text with its length.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    // Names of topics, mechanisms and this client, all short.
    out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.put_slice(text.as_bytes());
}

/// Appends bytes with their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

/// Appends the number of a list's elements; all lists here are bounded far below its end.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

/// Appends a number in as few bytes as it needs, seven bits in each, those near to zero in the fewest.
pub(super) fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
    loop {
        let seven = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            return out.put_u8(seven);
        }
        out.put_u8(seven | 0x80);
    }
}

/// Appends bytes as records have them: with their length as a short number.
pub(super) fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.put_slice(bytes);
}

/// What a peer has said and is not read yet. `None` is what is not there.
pub(super) struct Input(pub(super) Bytes);

impl Input {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?[..].try_into().ok()
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        self.array().map(|[byte]: [u8; 1]| byte != 0)
    }

    pub(super) fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A text, empty also where the peer says that there is none.
    pub(super) fn text(&mut self) -> Option<String> {
        match self.i16()? {
            -1 => Some(String::new()),
            length => {
                let bytes = self.take(usize::try_from(length).ok()?)?;
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }

    /// Bytes, none also where the peer says that there are none.
    pub(super) fn bytes(&mut self) -> Option<Bytes> {
        match self.i32()? {
            -1 => Some(Bytes::new()),
            length => self.take(usize::try_from(length).ok()?),
        }
    }

    /// The elements of a list. No room is made for what a peer announces: only what is there is read.
    pub(super) fn list<T>(&mut self, mut element: impl FnMut(&mut Input) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        for _ in 0..self.i32()?.max(0) {
            list.push(element(self)?);
        }
        Some(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_have_the_bytes_that_the_protocol_gives_them() {
        let written = |number| {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            out
        };
        assert_eq!(written(0), [0]);
        assert_eq!(written(-1), [1]);
        assert_eq!(written(1), [2]);
        assert_eq!(written(-64), [0x7f]);
        assert_eq!(written(64), [0x80, 1]);
        assert_eq!(written(300), [0xd8, 4]);
        assert_eq!(written(i64::MIN), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    }

    #[test]
    fn lengths_that_a_peer_makes_up_are_no_reason_to_make_room() {
        let input = |bytes: &'static [u8]| Input(Bytes::from_static(bytes));
        assert_eq!(input(&[0x7f, 0xff, 0xff, 0xff, 0, 1]).list(Input::i16), None);
        assert_eq!(input(&[0x7f, 0xff, 0xff, 0xff, 1]).bytes(), None);
        assert_eq!(input(&[0x7f, 0xff, b'a']).text(), None);
        assert_eq!(input(&[0x80, 0, b'a']).text(), None);
        assert_eq!(input(&[0, 0, 0, 2, 0, 1, 0, 2]).list(Input::i16), Some(vec![1, 2]));
        assert_eq!(input(&[0xff, 0xff]).text(), Some(String::new()));
        assert_eq!(input(&[0xff, 0xff, 0xff, 0xff]).list(Input::i16), Some(Vec::new()));
    }
}
