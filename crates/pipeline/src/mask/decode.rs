//! One step of decoding: what JSON, JavaScript and Python, addresses, forms and HTML write for a character, all at once.

/// The bytes with which something begins that can be decoded.
pub(super) const BEGINS: [u8; 4] = *b"\\%&+";
/// The longest thing that stands for one character: `&#x10FFFF;`, with zeros before it.
const LONGEST: usize = 12;
/// HTML's names of the characters that have to be written otherwise.
const NAMED: [(&[u8], u8); 8] = [
    (b"amp", b'&'),
    (b"lt", b'<'),
    (b"gt", b'>'),
    (b"quot", b'"'),
    (b"apos", b'\''),
    (b"sol", b'/'),
    (b"plus", b'+'),
    (b"equals", b'='),
];

/// Decodes `text` once: each byte goes to `emit` with the place at which what stands for it begins. Says whether there
/// was anything to decode.
pub(super) fn decode(text: &[u8], mut emit: impl FnMut(u8, usize)) -> bool {
    let (mut at, mut changed) = (0, false);
    while let Some(byte) = text.get(at).copied() {
        let rest = &text[at..];
        let decoded = match byte {
            b'\\' => backslash(rest),
            b'%' => hex(rest, 1, 2).map(|byte| (Decoded::Byte(byte as u8), 3)),
            b'&' => entity(rest),
            b'+' => Some((Decoded::Byte(b' '), 1)),
            _ => None,
        };
        let Some((what, length)) = decoded else {
            emit(byte, at);
            at += 1;
            continue;
        };
        match what {
            Decoded::Byte(byte) => emit(byte, at),
            Decoded::Char(char) => char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| emit(byte, at)),
        }
        changed = true;
        at += length;
    }
    changed
}

/// Where a text ends if what it was cut in the middle of is left out.
pub(super) fn incomplete_end(text: &[u8]) -> usize {
    let from = text.len().saturating_sub(LONGEST);
    let begins = text[from..].iter().rposition(|byte| BEGINS[..3].contains(byte)).map(|at| from + at);
    let Some(at) = begins else { return text.len() };
    let tail = &text[at + 1..];
    let unfinished = match text[at] {
        b'\\' => {
            tail.is_empty() || (tail[0] == b'u' && tail.len() < 5) || (tail[0] == b'x' && tail.len() < 3)
        }
        b'%' => tail.len() < 2,
        _ => tail.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#'),
    };
    if unfinished { at } else { text.len() }
}

enum Decoded {
    Byte(u8),
    Char(char),
}

/// The number that `digits` hexadecimal digits from `from` on write.
fn hex(text: &[u8], from: usize, digits: usize) -> Option<u32> {
    let digits = text.get(from..from + digits)?;
    let mut each = digits.iter().map(|digit| char::from(*digit).to_digit(16));
    each.try_fold(0, |sum, digit| Some(sum * 16 + digit?))
}

/// What a backslash begins in a text of JSON, JavaScript or Python.
fn backslash(text: &[u8]) -> Option<(Decoded, usize)> {
    let byte = match text.get(1)? {
        kept @ (b'"' | b'\\' | b'/' | b'\'' | b'`') => *kept,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'x' => return hex(text, 2, 2).and_then(char::from_u32).map(|char| (Decoded::Char(char), 4)),
        b'u' => return unicode(text),
        _ => return None,
    };
    Some((Decoded::Byte(byte), 2))
}

fn unicode(text: &[u8]) -> Option<(Decoded, usize)> {
    let unit = hex(text, 2, 4)?;
    if let Some(char) = char::from_u32(unit) {
        return Some((Decoded::Char(char), 6));
    }
    // One character in two halves.
    let low = (text.get(6..8) == Some(b"\\u")).then(|| hex(text, 8, 4)).flatten()?;
    let pair = [u16::try_from(unit).ok()?, u16::try_from(low).ok()?];
    let char = char::decode_utf16(pair).next()?.ok()?;
    Some((Decoded::Char(char), 12))
}

/// A character as HTML names it or numbers it.
fn entity(text: &[u8]) -> Option<(Decoded, usize)> {
    let end = text.iter().take(LONGEST + 1).position(|byte| *byte == b';')?;
    let name = &text[1..end];
    if let Some((_, byte)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some((Decoded::Byte(*byte), end + 1));
    }
    let number = std::str::from_utf8(name.strip_prefix(b"#")?).ok()?;
    let number = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(number).map(|char| (Decoded::Char(char), end + 1))
}
