//! Rust source with comments and literals blanked out, so that a plain scan sees code alone.
//!
//! Length and line breaks stay, so a position in the mask is the position in the source. It knows what the language
//! has today: nested comments, raw and byte strings, character literals next to lifetimes, raw identifiers.

/// Blanks every comment and every string or character literal with spaces.
pub(crate) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut masked = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = opaque_end(bytes, at);
        for byte in &mut masked[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    // Only whole literals and comments were replaced, byte by byte with ASCII; what is left is as it was.
    String::from_utf8_lossy(&masked).into_owned()
}

/// Where the comment or literal that starts at `at` ends; `at` itself when none starts there.
fn opaque_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + quoted(rest, 0),
        [b'\'', ..] => at + character(rest),
        [b'b' | b'c' | b'r', ..] if !inside_word(bytes, at) => at + prefixed(rest),
        _ => at,
    }
}

fn inside_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1])
}

/// Whether the byte can be part of an identifier (every byte of a non-ASCII letter counts).
pub(crate) fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// A string with escapes whose quote stands at `open`; gives the position after the closing one.
fn quoted(rest: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime: `'x'` and `'\n'` end with a quote, `'x` does not.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&b| b == b'\'');
        return close.map_or(0, |after| after + 4);
    }
    let width = match rest.get(1) {
        None | Some(b'\'') => return 0,
        Some(lead) if lead.is_ascii() => 1,
        Some(_) => rest.iter().skip(2).take_while(|&&b| b & 0xC0 == 0x80).count() + 1,
    };
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

/// `b"…"`, `b'…'`, `c"…"`, `r"…"`, `r#"…"#`, `br#"…"#`, `cr"…"`, or 0 for an identifier such as `r#type` or `bytes`.
fn prefixed(rest: &[u8]) -> usize {
    let raw_at = usize::from(matches!(rest, [b'b' | b'c', b'r', ..]));
    if rest.get(raw_at) == Some(&b'r') {
        let hashes = rest.iter().skip(raw_at + 1).take_while(|&&b| b == b'#').count();
        let open = raw_at + 1 + hashes;
        return if rest.get(open) == Some(&b'"') { raw_string(rest, open, hashes) } else { 0 };
    }
    match rest.get(1) {
        Some(b'"') => quoted(rest, 1),
        Some(b'\'') if rest[0] == b'b' => 1 + character(&rest[1..]),
        _ => 0,
    }
}

/// A raw string ends at a quote with as many hashes as it began with.
fn raw_string(rest: &[u8], open: usize, hashes: usize) -> usize {
    let mut at = open + 1;
    while at < rest.len() {
        let closes = rest[at] == b'"' && rest[at + 1..].iter().take_while(|&&b| b == b'#').count() >= hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::code_only;

    #[test]
    fn comments_and_literals_are_blanked_and_the_rest_stays() {
        // Source, and what is left of it without its spaces.
        let table = [
            ("a // {\nb", "a\nb"),
            ("a /* { /* { */ { */ b", "ab"),
            (r#"f("{ \" {", x)"#, "f(,x)"),
            ("r\"{\\\" }", "}"),
            ("r#\"{\"{\"# }", "}"),
            ("br##\"\"#{\"## }", "}"),
            ("b\"{\" c\"{\" b'{' }", "}"),
            ("'{' '\\'' '\\u{1F600}' 'é' }", "}"),
            ("fn f<'a>(x: &'a str) {}", "fnf<'a>(x:&'astr){}"),
            ("'outer: loop { break 'outer; }", "'outer:loop{break'outer;}"),
            ("r#type bar\"{\"", "r#typebar"),
            ("\"never closed {", ""),
            ("a /* never closed {", "a"),
            ("étage", "étage"),
        ];
        for (source, left) in table {
            let masked = code_only(source);
            assert_eq!(masked.replace(' ', ""), left, "{source}");
            assert_eq!(masked.len(), source.len(), "{source}");
        }
    }

    #[test]
    fn line_breaks_inside_literals_stay() {
        assert_eq!(code_only("\"a\nb\" c /* d\ne */ f"), "  \n   c     \n     f");
    }
}
