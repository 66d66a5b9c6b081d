//! Slugs: names in paths that cannot be mistaken for ids.

use tributary_domain::account::slug_of;

use crate::Control;

/// Random characters of the last resort.
const RANDOM_CHARS: usize = 10;
/// How many numbered slugs are tried before that.
const NUMBERED: usize = 9;

/// Whether a text reads as an id: all digits (products) or 24 hexadecimal digits (everything else).
fn reads_as_id(slug: &str) -> bool {
    slug.bytes().all(|b| b.is_ascii_digit())
        || (slug.len() == 24 && slug.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Whether a caller may choose this slug.
pub(crate) fn is_slug(text: &str) -> bool {
    !text.is_empty() && slug_of(text) == text && !reads_as_id(text)
}

/// The slug of a name; `noun` stands in where the name gives none, and before what would read as an id.
fn base(name: &str, noun: &str) -> String {
    match slug_of(name) {
        slug if slug.is_empty() => noun.to_owned(),
        slug if reads_as_id(&slug) => format!("{noun}-{slug}"),
        slug => slug,
    }
}

impl Control {
    /// The slugs to try for a name, in this order: its own, with a number behind, with random characters behind.
    pub(crate) fn slugs_for(&self, name: &str, noun: &str) -> Vec<String> {
        let base = base(name, noun);
        let numbered = (2..=NUMBERED + 1).map(|n| format!("{base}-{n}"));
        let random = format!("{base}-{}", self.random_word(RANDOM_CHARS));
        [base.clone()].into_iter().chain(numbered).chain([random]).collect()
    }

    /// So many random lower-case letters and digits.
    pub(crate) fn random_word(&self, chars: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bytes = vec![0; chars];
        (self.sources.random)(&mut bytes);
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_slug_reads_as_an_id() {
        for (name, slug) in [
            ("Pump mk2", "pump-mk2"),
            ("2024", "product-2024"),
            ("0123456789abcdef01234567", "product-0123456789abcdef01234567"),
            ("温度", "product"),
            ("", "product"),
        ] {
            assert_eq!(base(name, "product"), slug, "{name}");
            assert!(is_slug(slug), "{slug}");
        }
        for wrong in ["", "12", "Pump", "a b", "-a", "0123456789abcdef01234567"] {
            assert!(!is_slug(wrong), "{wrong}");
        }
    }
}
