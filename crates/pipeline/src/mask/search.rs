//! Finding many values in a text at once. They stand in order, so that the one which a text may begin with is found by
//! halving; a small table of beginnings spares that nearly everywhere. No text and no values make it slow: a place in
//! the text is compared with at most [`HEAD`] bytes of a value, except where these are equal, and then it is passed over.

use std::ops::Range;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::decode::decode;

/// A value of fewer characters is hidden only where it stands alone.
const SHORT_CHARS: usize = 4;
/// Bytes of a value that are compared before it counts as found. What follows is hidden as far as it is equal.
const HEAD: usize = 64;
/// Bytes that the table of beginnings looks at.
const BEGINNING: usize = 4;
/// Bits of that table.
const TABLE_BITS: u32 = 2048;
/// Bytes of a long value of which the base64 is looked for.
const ENCODED_BYTES: usize = 1024;

/// Values that are looked for.
pub(super) struct Search {
    /// In order, each once.
    patterns: Vec<Pattern>,
    table: [u64; TABLE_BITS as usize / 64],
    /// Values that are hidden only where they stand alone, in order.
    short: Vec<Box<[u8]>>,
}

struct Pattern {
    bytes: Box<[u8]>,
    /// The longest other one with which this one begins.
    within: Option<u32>,
    /// Whether a neighbouring digit of base64 belongs to it in part.
    base64: bool,
}

impl Search {
    /// `None` when there is nothing to look for.
    pub(super) fn new(values: &[String]) -> Option<Search> {
        let mut all: Vec<(Box<[u8]>, bool)> = Vec::new();
        let mut short: Vec<Box<[u8]>> = Vec::new();
        // A header's value is sent without the blanks around it.
        for value in values.iter().flat_map(|value| [&**value, value.trim()]) {
            match value.chars().count() {
                0 => {}
                1..SHORT_CHARS => short.push(value.as_bytes().into()),
                _ => spell(value, &mut all),
            }
        }
        all.retain(|(bytes, _)| bytes.len() >= BEGINNING);
        all.sort_unstable();
        all.dedup_by(|one, other| one.0 == other.0);
        short.sort_unstable();
        short.dedup();
        if all.is_empty() && short.is_empty() {
            return None;
        }
        let mut search = Search { patterns: Vec::with_capacity(all.len()), table: Default::default(), short };
        all.into_iter().for_each(|(bytes, base64)| search.add(bytes, base64));
        Some(search)
    }

    /// Adds a pattern behind all others.
    fn add(&mut self, bytes: Box<[u8]>, base64: bool) {
        let mut within = self.patterns.len().checked_sub(1);
        while let Some(one) = within.filter(|one| !bytes.starts_with(&self.patterns[*one].bytes)) {
            within = self.patterns[one].within.map(|one| one as usize);
        }
        let (word, bit) = entry(&bytes);
        self.table[word] |= bit;
        let within = within.and_then(|one| u32::try_from(one).ok());
        self.patterns.push(Pattern { bytes, within, base64 });
    }

    /// Whether any value is in the text.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let mut any = false;
        self.each(text, |_| {
            any = true;
            false
        });
        any
    }

    /// Where values are in the text, in order.
    pub(super) fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        self.each(text, |range| {
            match found.last_mut() {
                Some(last) if (last.start..last.end).contains(&range.start) => {
                    last.end = last.end.max(range.end);
                }
                _ => found.push(range),
            }
            true
        });
        found
    }

    fn each(&self, text: &[u8], mut found: impl FnMut(Range<usize>) -> bool) {
        let mut at = 0;
        while at + BEGINNING <= text.len() && !self.patterns.is_empty() {
            let (word, bit) = entry(&text[at..]);
            let here = if self.table[word] & bit == 0 { None } else { self.at(&text[at..]) };
            let Some((length, base64)) = here else {
                at += 1;
                continue;
            };
            let end = at + length;
            let part = |n: Option<usize>| n.and_then(|n| text.get(n)).is_some_and(|byte| is_base64(*byte));
            let before = usize::from(base64 && part(at.checked_sub(1)));
            let after = usize::from(base64 && part(Some(end)));
            if !found(at - before..end + after) {
                return;
            }
            // Another one may begin within this one.
            at = (at + 1).max(end.saturating_sub(HEAD));
        }
        self.each_alone(text, found);
    }

    fn each_alone(&self, text: &[u8], mut found: impl FnMut(Range<usize>) -> bool) {
        if self.short.is_empty() {
            return;
        }
        let firsts: [bool; 256] = {
            let mut firsts = [false; 256];
            self.short.iter().filter_map(|value| value.first()).for_each(|b| firsts[usize::from(*b)] = true);
            firsts
        };
        for at in (0..text.len()).filter(|at| firsts[usize::from(text[*at])]) {
            // Fewer than four characters are at most twelve bytes.
            let longest = (text.len() - at).min(SHORT_CHARS * 4 - 4);
            let ends = (1..=longest).map(|length| at + length);
            let mut alone = ends.filter(|end| is_apart(text, at) && is_apart(text, *end));
            let range = alone.find(|end| self.short.binary_search_by(|v| (**v).cmp(&text[at..*end])).is_ok());
            if let Some(end) = range
                && !found(at..end)
            {
                return;
            }
        }
    }

    /// What the text begins with: how long it is, and whether it is base64.
    fn at(&self, text: &[u8]) -> Option<(usize, bool)> {
        let head = &text[..text.len().min(HEAD)];
        let behind = self.patterns.partition_point(|pattern| pattern.head() <= head);
        let mut at = behind.checked_sub(1)?;
        let same = common(self.patterns[at].head(), head);
        if same == HEAD {
            return Some(self.long(text));
        }
        loop {
            let pattern = &self.patterns[at];
            if pattern.bytes.len() <= same {
                return Some((pattern.bytes.len(), pattern.base64));
            }
            at = pattern.within? as usize;
        }
    }

    /// As [`Search::at`] where the head of a long value was found: as much as is equal with any.
    fn long(&self, text: &[u8]) -> (usize, bool) {
        let behind = self.patterns.partition_point(|pattern| &*pattern.bytes <= text);
        let near = [behind.checked_sub(1), Some(behind)].into_iter().flatten();
        let near = near.filter_map(|at| self.patterns.get(at));
        let best = near.map(|pattern| (common(&pattern.bytes, text), pattern.base64)).max();
        best.unwrap_or((HEAD, false))
    }

    /// Where the end of a text begins that may be the beginning of a value. The text goes up to `end`; when there is
    /// nothing of that kind, the answer is the whole length of `text`.
    pub(super) fn unfinished(&self, text: &[u8], end: usize) -> usize {
        let longest = self.patterns.iter().map(|pattern| pattern.bytes.len()).max().unwrap_or(0);
        let begins = |at: &usize| {
            let tail = &text[*at..end];
            let first = self.patterns.partition_point(|pattern| &*pattern.bytes <= tail);
            self.patterns.get(first).is_some_and(|pattern| pattern.bytes.starts_with(tail))
        };
        (end.saturating_sub(longest)..end).find(begins).unwrap_or(text.len())
    }
}

impl Pattern {
    fn head(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(HEAD)]
    }
}

/// The place in the table of what begins like this. Both have at least [`BEGINNING`] bytes.
fn entry(text: &[u8]) -> (usize, u64) {
    let word = text.iter().take(BEGINNING).fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    let bit = word.wrapping_mul(0x9e37_79b1) >> (32 - TABLE_BITS.ilog2());
    (bit as usize / 64, 1 << (bit % 64))
}

fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

/// Whether no word goes on across this place.
fn is_apart(text: &[u8], at: usize) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
    let before = at.checked_sub(1).and_then(|at| text.get(at)).is_some_and(is_word);
    !(before && text.get(at).is_some_and(is_word))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

/// The forms of a value that are looked for; the others come of decoding the text.
fn spell(value: &str, all: &mut Vec<(Box<[u8]>, bool)>) {
    let mut plain = vec![value.as_bytes().to_vec(), value.to_ascii_lowercase().into_bytes()];
    plain.extend(parts_of_address(value).into_iter().map(String::into_bytes));
    let encoded = &value.as_bytes()[..value.len().min(ENCODED_BYTES)];
    let base64 = (0..3).flat_map(|offset| [aligned(encoded, offset, true), aligned(encoded, offset, false)]);
    let plain = plain.into_iter().map(|bytes| (bytes, false));
    for (mut bytes, base64) in plain.chain(base64.map(|bytes| (bytes, true))) {
        // A text may be decoded once too often: what the value itself becomes by that is it, too.
        loop {
            let mut next = Vec::with_capacity(bytes.len());
            let changed = decode(&bytes, |byte, _| next.push(byte));
            all.push((bytes.into(), base64));
            if !changed {
                break;
            }
            bytes = next;
        }
    }
}

/// The digits of base64 that a value alone determines when `offset` bytes stand before it in a group of three.
fn aligned(value: &[u8], offset: usize, url_safe: bool) -> Vec<u8> {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value);
    let text = if url_safe { URL_SAFE_NO_PAD.encode(&bytes) } else { STANDARD_NO_PAD.encode(&bytes) };
    let (from, to) = ((offset * 8).div_ceil(6), bytes.len() * 8 / 6);
    text.as_bytes().get(from..to).unwrap_or_default().to_vec()
}

/// What is left in a request of a value that is an address: its scheme may be followed by credentials, which are taken
/// out, and its host is written in lower case. The credentials are values of their own.
fn parts_of_address(value: &str) -> Vec<String> {
    const LEAST_CHARS: usize = 4;
    let Some((_, rest)) = value.trim().split_once("://") else { return Vec::new() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let path = path.split('#').next().unwrap_or_default();
    let password = credentials.split_once(':').map_or("", |(_, password)| password);
    let mut parts = vec![credentials.to_owned(), password.to_owned()];
    if !host.is_empty() {
        parts.push(host.to_ascii_lowercase() + path);
    }
    parts.retain(|part| part.chars().count() >= LEAST_CHARS);
    parts
}
