//! Puts an address together from the pieces of its template, each value as the part allows in which it stands.

use std::net::Ipv6Addr;

use super::NOT_HTTP;
use crate::text;

const BAD_HOST: &str = "a value in the host may only have letters, digits, '.', '-' and '_'; HOST:PORT is taken from parameters and secrets alone";
const BAD_USER: &str = "a value of the event in the user part may only have letters, digits, '.', '-' and '_'; use auth, where any value may stand";

/// The part of the address in which the next character stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Scheme,
    Authority,
    Path,
    Query,
}

/// The address so far.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) out: String,
    part: Part,
    /// Where the path begins, if a value stands in it.
    path_with_value: Option<usize>,
    path_begins: usize,
    authority: Authority,
}

/// User part, host and port while they are gathered: what a value may be is known when the text behind it is.
#[derive(Default)]
struct Authority {
    /// Texts, and whose values they are.
    pieces: Vec<(String, Origin)>,
    /// How many pieces stand before the last `@` of the url's own text.
    user_pieces: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Url,
    Owner,
    Event,
}

impl Builder {
    pub(super) fn literal(&mut self, text: &str) -> Result<(), &'static str> {
        for c in text.chars() {
            let next = match (self.part, c) {
                (Part::Scheme, '/') if self.out.ends_with(":/") => Part::Authority,
                (Part::Authority, '/' | '\\') => Part::Path,
                (Part::Authority | Part::Path, '?' | '#') => Part::Query,
                (part, _) => part,
            };
            if self.part == Part::Authority && next == Part::Authority {
                self.authority.literal(c);
                continue;
            }
            if self.part == Part::Authority {
                self.out.push_str(&std::mem::take(&mut self.authority).finished()?);
            }
            self.out.push(c);
            if self.part == Part::Authority && next == Part::Path {
                self.path_begins = self.out.len();
            }
            self.part = next;
        }
        Ok(())
    }

    pub(super) fn value(&mut self, text: &str, is_owners: bool) -> Result<(), &'static str> {
        match self.part {
            Part::Scheme if self.out.is_empty() => return self.literal(text.trim()),
            Part::Scheme if text.bytes().all(|b| b.is_ascii_alphanumeric()) => self.out.push_str(text),
            Part::Scheme => return Err(NOT_HTTP),
            Part::Authority => {
                let origin = if is_owners { Origin::Owner } else { Origin::Event };
                self.authority.pieces.push((text.to_owned(), origin));
            }
            Part::Path => {
                self.path_with_value = Some(self.path_begins);
                text::percent(&mut self.out, text);
            }
            Part::Query => text::percent(&mut self.out, text),
        }
        Ok(())
    }

    /// Checks what could not be checked before all was there.
    pub(super) fn end(&mut self) -> Result<(), String> {
        self.out.push_str(&std::mem::take(&mut self.authority).finished()?);
        self.check_path()
    }

    /// A value must not walk up the path: `.` and `..` are resolved by whoever reads an address, encoded or not, and some
    /// do it after decoding what stands between them, once or more often.
    fn check_path(&self) -> Result<(), String> {
        let Some(begins) = self.path_with_value else { return Ok(()) };
        let path = self.out[begins..].split(['?', '#']).next().unwrap_or_default();
        let decoded = decoded_to_the_end(path);
        if decoded.split(|b| matches!(b, b'/' | b'\\')).any(is_dots) {
            return Err("a value must not make a part of the path that is . or ..".to_owned());
        }
        Ok(())
    }
}

impl Authority {
    fn literal(&mut self, c: char) {
        match self.pieces.last_mut() {
            Some((text, Origin::Url)) => text.push(c),
            _ => self.pieces.push((c.to_string(), Origin::Url)),
        }
        if c == '@' {
            self.user_pieces = self.pieces.len();
        }
    }

    fn finished(self) -> Result<String, &'static str> {
        let mut out = String::new();
        for (n, (text, origin)) in self.pieces.iter().enumerate() {
            let (is_owners, is_user) = (*origin == Origin::Owner, n < self.user_pieces);
            // A secret is often pasted with a line break.
            let owners = text.trim_matches([' ', '\t', '\r', '\n']);
            match origin {
                Origin::Url => out.push_str(text),
                _ if is_name(text) => out.push_str(text),
                _ if is_owners && is_user => text::percent(&mut out, owners),
                _ if is_owners && (is_name(owners) || is_host_and_port(owners)) => out.push_str(owners),
                _ if is_user => return Err(BAD_USER),
                _ => return Err(BAD_HOST),
            }
        }
        Ok(out)
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

/// Whether this is a host with a port, or an IPv6 address in brackets with or without one.
fn is_host_and_port(text: &str) -> bool {
    let is_v6 = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
    };
    let has_port = |(host, port): (&str, &str)| {
        let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        is_port && (is_v6(host) || (!host.is_empty() && is_name(host)))
    };
    is_v6(text) || text.rsplit_once(':').is_some_and(has_port)
}

/// Decodes a text until nothing is left to decode: `%252F` is a slash too.
pub(super) fn decoded_to_the_end(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        out.push(byte);
        // What comes out may be the end of another sequence, but it is shorter each time.
        while let Some([rest @ .., b'%', high, low]) = out.get(..) {
            let (Some(high), Some(low), kept) = (digit(*high), digit(*low), rest.len()) else { break };
            out.truncate(kept);
            out.push(high << 4 | low);
        }
    }
    out
}

/// Whether a part of a path is `.` or `..`, for readers too who leave out what follows a `;`, spaces and control characters.
fn is_dots(part: &[u8]) -> bool {
    let name = part.split(|b| *b == b';').next().unwrap_or_default();
    let seen = name.iter().filter(|b| **b > b' ' && **b != 0x7f);
    let (mut dots, mut others) = (0, 0);
    seen.for_each(|b| if *b == b'.' { dots += 1 } else { others += 1 });
    others == 0 && matches!(dots, 1 | 2)
}
