//! JSON as it is read from devices and services, and written into texts: numbers as `JSON.stringify` gives them, but
//! integers with all their digits.

use std::{fmt::Write as _, io};

use serde_json::{Number, Serializer, Value, ser::Formatter};

/// Stands in front of the digits of an integer that no [`Number`] holds, in a text. It is no character, so no text that
/// means something begins with it.
const INTEGER_MARK: char = '\u{fdd0}';
/// Integers of fewer digits than this fit into 64 bits.
const LONG_DIGITS: usize = 19;
/// From this power of ten on, and below the other, JavaScript writes an exponent.
const PLAIN: std::ops::RangeInclusive<i32> = -5..=21;

/// Reads a JSON text. Integers keep all digits; half of a surrogate pair in a text is U+FFFD, and a number that is too large is
/// `null`, where other readers refuse the whole.
pub fn parse(text: &str) -> Option<Value> {
    let read = |text: &str| serde_json::from_str(text).ok();
    if has_long_number(text) { read(&mended(text)) } else { read(text).or_else(|| read(&mended(text))) }
}

/// A number as `JSON.stringify` gives it: `5.0` is `5`, `1e3` is `1000`.
pub fn number_text(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => float_text(float),
        None => number.to_string(),
    }
}

/// A value as JSON, its numbers as [`number_text`] gives them.
pub fn text(value: &Value) -> String {
    let mut out = Vec::new();
    // Writing to memory does not fail.
    let _: io::Result<()> = write(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Whether this is a number, of whatever size.
pub fn is_number(value: &Value) -> bool {
    value.is_number() || value.as_str().is_some_and(|text| integer(text).is_some())
}

/// The digits of an integer that is kept as a text.
pub(crate) fn integer(text: &str) -> Option<&str> {
    let digits = text.strip_prefix(INTEGER_MARK)?;
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    (unsigned.len() >= LONG_DIGITS && unsigned.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

/// Writes a value as JSON.
pub(crate) fn write(value: &Value, out: &mut dyn io::Write) -> io::Result<()> {
    use serde::Serialize as _;
    value.serialize(&mut Serializer::with_formatter(out, Numbers::default())).map_err(io::Error::from)
}

/// Writes numbers as JavaScript does, and integers that are kept as texts without quotes.
#[derive(Default)]
struct Numbers {
    is_key: bool,
    /// A text has begun whose first piece is not there yet.
    opens: bool,
    /// The text that is being written is a number.
    is_number: bool,
}

impl Formatter for Numbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float_text(value).as_bytes())
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.is_key = true;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.is_key = false;
        Ok(())
    }

    fn begin_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.opens = !self.is_key;
        if self.opens { Ok(()) } else { writer.write_all(b"\"") }
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.opens) {
            if let Some(digits) = integer(fragment) {
                self.is_number = true;
                return writer.write_all(digits.as_bytes());
            }
            writer.write_all(b"\"")?;
        }
        writer.write_all(fragment.as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: serde_json::ser::CharEscape,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.opens) {
            writer.write_all(b"\"")?;
        }
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }

    fn end_string<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if std::mem::take(&mut self.is_number) {
            return Ok(());
        }
        writer.write_all(if std::mem::take(&mut self.opens) { b"\"\"" } else { b"\"" })
    }
}

/// A double as ECMAScript's `Number::toString` gives it.
fn float_text(float: f64) -> String {
    if float == 0.0 {
        return "0".to_owned();
    }
    // The shortest digits that read back as the same double: `1.234e5`.
    let shortest = format!("{float:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    // The place of the point, counted from before the first digit.
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let mut out = String::from(sign);
    match usize::try_from(point) {
        _ if !PLAIN.contains(&point) => {
            let (first, rest) = digits.split_at(1);
            let (dot, sign) = (if rest.is_empty() { "" } else { "." }, if point > 0 { "+" } else { "" });
            // Writing to a string cannot fail.
            let _ = write!(out, "{first}{dot}{rest}e{sign}{}", point - 1);
        }
        Ok(point @ 1..) if point >= digits.len() => {
            out.push_str(&digits);
            out.extend(std::iter::repeat_n('0', point - digits.len()));
        }
        Ok(point @ 1..) => out.extend([&digits[..point], ".", &digits[point..]]),
        _ => {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', usize::try_from(-point).unwrap_or_default()));
            out.push_str(&digits);
        }
    }
    out
}

/// Whether there are so many digits in a row that they may be an integer of more than 64 bits.
fn has_long_number(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if byte.is_ascii_digit() { run + 1 } else { 0 };
        run >= LONG_DIGITS
    })
}

/// The same JSON text in a spelling that a reader of 64-bit numbers and whole surrogate pairs takes. What is no JSON stays so.
fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = if rest.starts_with('"') { mend_string(rest, &mut out) } else { mend_number(rest, &mut out) };
    }
    out.push_str(rest);
    out
}

/// Copies the number at the beginning; gives what follows.
fn mend_number<'t>(text: &'t str, out: &mut String) -> &'t str {
    let end =
        text.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let unsigned = number.strip_prefix('-').unwrap_or(number);
    let is_integer = unsigned.bytes().all(|b| b.is_ascii_digit());
    let is_too_large = || number.parse().is_ok_and(f64::is_infinite);
    match () {
        () if is_integer && unsigned.len() >= LONG_DIGITS && !unsigned.starts_with('0') => {
            match number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
                true => out.push_str(number),
                false => {
                    out.extend(['"', INTEGER_MARK]);
                    out.extend([number, "\""]);
                }
            }
        }
        () if !is_integer && is_too_large() => out.push_str("null"),
        () => out.push_str(number),
    }
    rest
}

/// Copies the string at the beginning; gives what follows.
fn mend_string<'t>(text: &'t str, out: &mut String) -> &'t str {
    out.push('"');
    let mut rest = &text[1..];
    while let Some(at) = rest.find(['"', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('"') {
            out.push('"');
            return after;
        }
        // An escape: both of a pair of surrogates, or one character after the backslash.
        let taken = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push('\u{fffd}');
                rest = &rest[6..];
                continue;
            }
            _ => rest[1..].chars().next().map_or(1, |escaped| 1 + escaped.len_utf8()),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    ""
}

/// The code unit of an escape `\uXXXX` at the beginning.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) { u16::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn numbers_are_written_as_json_stringify_does_and_integers_keep_their_digits() {
        for (json, expected) in [
            ("5.000000", "5"),
            ("1e3", "1000"),
            ("-0.0", "0"),
            ("-0", "0"),
            ("21.50", "21.5"),
            ("2.1e1", "21"),
            ("-97.12345678901234", "-97.12345678901234"),
            ("0.1", "0.1"),
            ("0.000001", "0.000001"),
            ("0.00000123", "0.00000123"),
            ("1e-7", "1e-7"),
            ("-1.5e-10", "-1.5e-10"),
            ("1e20", "100000000000000000000"),
            ("123456789012345680000.0", "123456789012345680000"),
            ("1e21", "1e+21"),
            ("1.25e30", "1.25e+30"),
            ("4.35", "4.35"),
            ("0.3", "0.3"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("9007199254740993", "9007199254740993"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "18446744073709551616"),
            ("89014103211118510720", "89014103211118510720"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("0.12345678901234567890123", "0.12345678901234568"),
            ("12345678901234567890.5", "12345678901234567000"),
            ("1e400", "null"),
            ("true", "true"),
            (r#""89014103211118510720""#, r#""89014103211118510720""#),
        ] {
            let list = format!("[{json}, {{\"k\":{json}}}]");
            assert_eq!(text(&parse(&list).unwrap()), format!("[{expected},{{\"k\":{expected}}}]"), "{json}");
            assert_eq!(text(&parse(json).unwrap()), expected, "{json}");
        }
    }

    #[test]
    fn half_a_pair_of_surrogates_does_not_lose_the_rest() {
        for (json, expected) in [
            (r#"{"a":"\ud83d","b":1}"#, "{\"a\":\"\u{fffd}\",\"b\":1}"),
            (r#"{"a":"\udE00x\uD83D\uDE00","b":"\\ud83d"}"#, "{\"a\":\"\u{fffd}x😀\",\"b\":\"\\\\ud83d\"}"),
            (r#"{"a":"\ud83d\ud83d\ude00"}"#, "{\"a\":\"\u{fffd}😀\"}"),
            (r#"{"\ud83d":"\"\ud83d\n"}"#, "{\"\u{fffd}\":\"\\\"\u{fffd}\\n\"}"),
        ] {
            assert_eq!(text(&parse(json).unwrap()), expected, "{json}");
        }
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for wrong in [
            "",
            "{",
            "01",
            "012345678901234567890123",
            "-",
            "1e",
            "{\"a\":12345678901234567890123,}",
            "\"\\ud83d",
            "\"\\ud83",
            "\"\\",
            "\"a\\é",
            "{\"a\":1-2}",
            "+12345678901234567890123",
            "--12345678901234567890123",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn texts_are_written_as_any_json_writer_does() {
        let value: Value =
            serde_json::from_str(r#"{"":"","a":["\"","\n\u0001","é😀","x\\y"],"\ufdd01":"\ufdd0a"}"#)
                .unwrap();
        assert_eq!(text(&value), value.to_string());
        assert!(!is_number(&"1".into()) && !is_number(&"\u{fdd0}1".into()) && is_number(&1.5.into()));
    }
}
