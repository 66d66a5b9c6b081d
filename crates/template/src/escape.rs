//! Escaping for `{{x}}` (contract, section 3.3).

/// Hands `text` to `push` in chunks, with `& < > " '` as entities.
pub(crate) fn escape<E>(text: &str, push: &mut impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        if let Some(entity) = entity(byte) {
            if plain < at {
                push(&text[plain..at])?;
            }
            push(entity)?;
            plain = at + 1;
        }
    }
    if plain < text.len() { push(&text[plain..]) } else { Ok(()) }
}

/// Whether [`escape`] would change `text`.
pub(crate) fn needs_escape(text: &str) -> bool {
    text.bytes().any(|byte| entity(byte).is_some())
}

fn entity(byte: u8) -> Option<&'static str> {
    match byte {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'>' => Some("&gt;"),
        b'"' => Some("&quot;"),
        b'\'' => Some("&#39;"),
        _ => None,
    }
}
