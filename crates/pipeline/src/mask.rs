//! The mask: hides sensitive values in what people are shown, whatever spelling a request or a reply gives them.
//!
//! A text is compared as it stands and then decoded, again and again, since a reply may be JSON in JSON (`decode`).
//! The values are compared as they are and as their base64 is made of, at each of its three alignments (`search`).
//! What is found is hidden in the text as it stands. The work grows with the text and not with the number of values.

mod decode;
mod search;

use std::{borrow::Cow, ops::Range};

use serde_json::{Map, Value, json};
use tributary_domain::{limits::REPLY_BYTES, sensitive::is_sensitive_header};
use tributary_targets::{Message, Reply};

use self::{
    decode::{decode, incomplete_end},
    search::Search,
};

/// What stands for a value that is not shown.
pub const MASK: &str = "[[SENSITIVE]]";
/// How much of a body a log row keeps, in bytes.
const LOG_BODY_BYTES: usize = 102_400;
/// How often a text is decoded: JSON in JSON in a form in HTML, and one more.
const LAYERS: usize = 5;

/// Hides sensitive values wherever they turn up.
#[derive(Default)]
pub struct Masker(Option<Box<Search>>);

impl Masker {
    /// Hides these values.
    pub fn new(values: &[String]) -> Masker {
        Masker(Search::new(values).map(Box::new))
    }

    /// The text with every value hidden.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.hide(text, false)
    }

    /// As [`Masker::text`]. Of a text that was `cut`, an end that may be the beginning of a value is left out.
    pub fn hide<'t>(&self, text: &'t str, cut: bool) -> Cow<'t, str> {
        let Some(search) = &self.0 else { return Cow::Borrowed(text) };
        let (found, end) = search_layers(search, text, cut);
        if found.is_empty() {
            return Cow::Borrowed(&text[..end]);
        }
        let mut shown = String::with_capacity(text.len());
        let mut at = 0;
        for hidden in found {
            if hidden.start >= end {
                break;
            }
            shown.push_str(&text[at..hidden.start]);
            shown.push_str(MASK);
            at = hidden.end;
        }
        shown.push_str(text.get(at..end).unwrap_or_default());
        Cow::Owned(shown)
    }

    /// What an attempt said, before anybody is told.
    pub fn error(&self, text: &str) -> String {
        self.text(text).into_owned()
    }

    /// The body of a reply as a text. One of the greatest length that is read was probably cut.
    pub fn reply_text(&self, reply: &Reply) -> String {
        self.hide(&reply.text(), reply.body.len() >= REPLY_BYTES).into_owned()
    }

    /// Masks before it cuts: a value must not survive as a half.
    fn body(&self, body: &str, cut: bool) -> String {
        let mut text = self.hide(body, cut).into_owned();
        text.truncate(text.floor_char_boundary(LOG_BODY_BYTES));
        text
    }

    fn headers(&self, headers: &[(String, String)]) -> Value {
        let mut map = Map::new();
        for (name, value) in headers {
            let hidden = is_sensitive_header(name);
            let shown = if hidden { MASK.to_owned() } else { self.text(value).into_owned() };
            let name = self.text(name).into_owned();
            match map.get_mut(&name) {
                // HTTP's own way of writing a header that comes twice.
                Some(Value::String(first)) => *first = format!("{first}, {shown}"),
                _ => drop(map.insert(name, shown.into())),
            }
        }
        map.into()
    }

    /// A request as people are shown it.
    pub fn request(&self, message: &Message) -> Value {
        json!({
            "method": self.text(&message.method),
            "url": self.text(&message.url),
            "headers": self.headers(&message.headers),
            "body": self.body(&String::from_utf8_lossy(&message.body), false),
        })
    }

    /// A reply as people are shown it.
    pub fn reply(&self, reply: &Reply) -> Value {
        json!({ "status": reply.status, "headers": self.headers(&reply.headers), "body": self.body(&reply.text(), reply.body.len() >= REPLY_BYTES) })
    }
}

/// What is to be hidden in `text`, in order and apart from each other, and where the text ends.
fn search_layers(search: &Search, text: &str, cut: bool) -> (Vec<Range<usize>>, usize) {
    if !cut && !found_anywhere(search, text.as_bytes()) {
        return (Vec::new(), text.len());
    }
    let mut bytes = text.as_bytes().to_vec();
    // For each byte where it stands in the text, and one more for the end. A text is far shorter than 4 GiB.
    let mut starts: Vec<u32> = (0..=text.len()).map(|at| u32::try_from(at).unwrap_or(u32::MAX)).collect();
    let mut found = Vec::new();
    let mut end = text.len();
    for _ in 0..=LAYERS {
        found.extend(search.find(&bytes).into_iter().map(|range| original(&range, &starts, text)));
        if cut {
            end = end.min(starts[search.unfinished(&bytes, incomplete_end(&bytes))] as usize);
        }
        let (mut next, mut next_starts) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(starts.len()));
        let changed = decode(&bytes, |byte, at| {
            next.push(byte);
            next_starts.push(starts[at]);
        });
        if !changed {
            break;
        }
        next_starts.push(starts[bytes.len()]);
        (bytes, starts) = (next, next_starts);
    }
    (joined(found), text.floor_char_boundary(end))
}

/// Whether there is anything to hide, which mostly there is not: without keeping where things stand.
fn found_anywhere(search: &Search, text: &[u8]) -> bool {
    let mut bytes = Cow::Borrowed(text);
    for _ in 0..=LAYERS {
        if search.is_in(&bytes) {
            return true;
        }
        if !bytes.iter().any(|byte| decode::BEGINS.contains(byte)) {
            return false;
        }
        let mut next = Vec::with_capacity(bytes.len());
        if !decode(&bytes, |byte, _| next.push(byte)) {
            return false;
        }
        bytes = Cow::Owned(next);
    }
    false
}

/// Where a range of a decoded text stands in the text itself: whole characters and whole escapes.
fn original(range: &Range<usize>, starts: &[u32], text: &str) -> Range<usize> {
    let at = |n: usize| starts.get(n).map_or(text.len(), |at| *at as usize);
    let last = at(range.end.saturating_sub(1));
    // Several bytes may come of one escape.
    let end = (range.end..starts.len()).map(at).find(|end| *end > last).unwrap_or(text.len());
    text.floor_char_boundary(at(range.start))..text.ceil_char_boundary(end)
}

/// In order, and those that touch or overlap as one.
fn joined(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

#[cfg(test)]
mod tests;
