//! A text of a configuration that may be a template, and the ways in which a rendered piece is written.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tributary_template::{ParseError, Piece, RenderError, Scope, Template};

/// A text of a configuration: parsed once, and copied without rendering when there is no tag in it.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    /// Has no tag.
    Literal(Box<str>),
    /// Has at least one.
    Template(Template),
}

/// How a rendered piece is appended to what is being built.
pub(crate) type Escape = fn(&mut String, &str);

impl Text {
    /// Parses a text.
    pub(crate) fn parse(source: &str) -> Result<Text, ParseError> {
        let template = Template::parse(source)?;
        let literal = template.as_literal().map(Box::from);
        Ok(literal.map_or(Text::Template(template), Text::Literal))
    }

    /// The text itself when it has no tag.
    pub(crate) fn literal(&self) -> Option<&str> {
        match self {
            Text::Literal(text) => Some(text),
            Text::Template(_) => None,
        }
    }

    /// Appends the rendering as it is, at most `limit` bytes.
    pub(crate) fn push(&self, scope: &dyn Scope, out: &mut String, limit: usize) -> Result<(), RenderError> {
        match self {
            Text::Template(template) => template.render_into(scope, out, limit),
            Text::Literal(text) if text.len() > limit => Err(RenderError::TooLong { limit }),
            Text::Literal(text) => {
                out.push_str(text);
                Ok(())
            }
        }
    }

    /// The rendering, at most `limit` bytes.
    pub(crate) fn render(&self, scope: &dyn Scope, limit: usize) -> Result<String, RenderError> {
        let mut out = String::new();
        self.push(scope, &mut out, limit)?;
        Ok(out)
    }

    /// Appends the rendering through `escape`; fails once `out` as a whole is longer than `limit` bytes.
    pub(crate) fn push_escaped(
        &self,
        scope: &dyn Scope,
        out: &mut String,
        limit: usize,
        escape: Escape,
    ) -> Result<(), RenderError> {
        let mut append = |text: &str| {
            escape(out, text);
            within(out, limit)
        };
        match self {
            Text::Literal(text) => append(text),
            Text::Template(template) => template.render_pieces(scope, &mut |piece| match piece {
                Piece::Literal(text) | Piece::Value(text) => append(text),
            }),
        }
    }
}

/// Fails when `out` is longer than `limit` bytes.
pub(crate) fn within(out: &str, limit: usize) -> Result<(), RenderError> {
    if out.len() > limit { Err(RenderError::TooLong { limit }) } else { Ok(()) }
}

/// What stays as it is in a query, a form or a path segment: the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes everything but unreserved characters.
pub(crate) fn percent(out: &mut String, text: &str) {
    out.extend(utf8_percent_encode(text, ENCODED));
}

/// Escapes for the inside of a JSON string.
pub(crate) fn json(out: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        // `at` is the place of an ASCII byte, so both cuts are between characters.
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                out.push_str("\\u00");
                out.extend(
                    [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0')),
                );
            }
        }
    }
    out.push_str(&text[from..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_character_survives_a_json_string() {
        let text: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}😀".chars()).collect();
        let mut out = String::from("\"");
        super::json(&mut out, &text);
        out.push('"');
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), Value::String(text));
    }

    #[test]
    fn only_unreserved_characters_stay_in_a_query() {
        let mut out = String::new();
        percent(&mut out, "aZ0-._~ &=+/?#%é\r\n");
        assert_eq!(out, "aZ0-._~%20%26%3D%2B%2F%3F%23%25%C3%A9%0D%0A");
    }

    #[test]
    fn the_limit_counts_what_is_written() {
        let text = Text::parse("{{{x}}}").unwrap();
        let scope = json!({"x": "&&&"});
        let mut out = String::new();
        assert!(text.push_escaped(&scope, &mut out, 9, percent).is_ok());
        assert_eq!(out, "%26%26%26");
        assert!(text.push_escaped(&scope, &mut String::new(), 8, percent).is_err());
        assert!(text.push(&scope, &mut String::new(), 2).is_err());
        assert!(Text::parse("abc").unwrap().push(&scope, &mut String::new(), 2).is_err());
    }
}
