//! What the value of a card's field must look like.

use serde::Deserialize;

/// The look of a value. A value that stands in a url, or in a body that is text, has one that needs no escaping there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Anything on one line.
    #[default]
    Text,
    /// An http or https address.
    Url,
    /// The name of a host, or a part of one.
    Host,
    /// Letters, digits and `. _ ~ : -`: a part of a path, an id, a label.
    Name,
    /// A whole number.
    Number,
    /// The address of a mailbox.
    Email,
}

impl Format {
    /// The same for the `pattern` of an `<input>`; cloud secrets are let through.
    pub(super) fn pattern(self) -> Option<&'static str> {
        Some(match self {
            Format::Text => return None,
            Format::Url => r"\{\{\{[A-Z_][A-Z0-9_]*\}\}\}|https?://\S+",
            Format::Host => r"\{\{\{[A-Z_][A-Z0-9_]*\}\}\}|[A-Za-z0-9.\-]+",
            Format::Name => r"\{\{\{[A-Z_][A-Z0-9_]*\}\}\}|[A-Za-z0-9._~:\-]+",
            Format::Number => r"\{\{\{[A-Z_][A-Z0-9_]*\}\}\}|[0-9]+",
            Format::Email => r"\{\{\{[A-Z_][A-Z0-9_]*\}\}\}|[^\s@]+@[^\s@]+",
        })
    }

    /// Whether a value needs no escaping in a path or in the text of a body.
    #[cfg(test)]
    pub(super) fn is_plain(self) -> bool {
        matches!(self, Format::Host | Format::Name | Format::Number)
    }

    /// What is wrong with a value.
    pub(super) fn check(self, value: &str) -> Result<(), String> {
        let only = |allowed: fn(char) -> bool| value.chars().all(allowed);
        let (right, message) = match self {
            Format::Text => (true, ""),
            Format::Url => (is_url(value), "must be an address that begins with https:// or http://"),
            Format::Host => {
                let right = only(|c| c.is_ascii_alphanumeric() || ".-".contains(c)) && !only(|c| c == '.');
                (right, "must be the name of a host, without https:// and without a path")
            }
            Format::Name => {
                let right = only(|c| c.is_ascii_alphanumeric() || "._~:-".contains(c)) && !only(|c| c == '.');
                (right, "may only have letters, digits, '.', '_', '~', ':' and '-'")
            }
            Format::Number => (only(|c| c.is_ascii_digit()), "must be a whole number"),
            Format::Email => (is_email(value), "must be one e-mail address"),
        };
        if right { Ok(()) } else { Err(message.to_owned()) }
    }
}

/// Whether a value is nothing but the name of a cloud secret, as templates write it.
pub(super) fn is_secret(value: &str) -> bool {
    let name = value.strip_prefix("{{{").and_then(|rest| rest.strip_suffix("}}}"));
    let begins = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
    let rest = |name: &str| name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    name.is_some_and(|name| begins(name) && rest(name))
}

fn is_url(value: &str) -> bool {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let host = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    rest.is_some_and(host) && !value.contains(char::is_whitespace)
}

fn is_email(value: &str) -> bool {
    let parts = value.split_once('@');
    let full = |(mailbox, host): (&str, &str)| !mailbox.is_empty() && !host.is_empty() && !host.contains('@');
    parts.is_some_and(full) && !value.contains(char::is_whitespace)
}
