//! The little of a certificate that is needed where the usual reader refuses it: version 1, and authorities that are shown as
//! a server's own certificate. Nothing is parsed before it is asked for.

use rustls::{
    CertificateError,
    pki_types::{ServerName, UnixTime},
};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// UTF-8, printable, teletex and IA5 strings.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALT_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
const KEY_PURPOSES: &[u8] = &[0x55, 0x1d, 0x25];
/// `serverAuth`, and any purpose, as they stand among the purposes of a key.
const FOR_SERVERS: [&[u8]; 2] =
    [&[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01], &[0x06, 0x04, 0x55, 0x1d, 0x25, 0x00]];

/// A certificate, taken apart but not checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Certificate<'c> {
    pub(super) is_version_1: bool,
    /// What is signed.
    pub(super) signed: &'c [u8],
    pub(super) signature_algorithm: &'c [u8],
    pub(super) signature: &'c [u8],
    pub(super) issuer: &'c [u8],
    pub(super) subject: &'c [u8],
    pub(super) key: Key<'c>,
    validity: &'c [u8],
    extensions: &'c [u8],
}

/// A public key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key<'c> {
    /// `SubjectPublicKeyInfo`
    pub(super) info: &'c [u8],
    pub(super) algorithm: &'c [u8],
    pub(super) bits: &'c [u8],
}

/// An element: its tag, its contents, all of it, and what follows.
struct Element<'c> {
    tag: u8,
    contents: &'c [u8],
    whole: &'c [u8],
    rest: &'c [u8],
}

fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, after) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), after)
        }
        _ => return None,
    };
    let (contents, rest) = after.split_at_checked(length)?;
    Some(Element { tag, contents, whole: &der[..der.len() - rest.len()], rest })
}

/// The next element, which must have this tag.
fn next<'c>(der: &mut &'c [u8], tag: u8) -> Option<Element<'c>> {
    let found = element(der).filter(|found| found.tag == tag)?;
    *der = found.rest;
    Some(found)
}

/// The elements of a list; what cannot be read ends it.
fn elements(der: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut rest = der;
    std::iter::from_fn(move || {
        let found = element(rest)?;
        rest = found.rest;
        Some(found)
    })
}

/// The contents of a bit string of whole bytes.
fn bits<'c>(der: &mut &'c [u8]) -> Option<&'c [u8]> {
    next(der, BIT_STRING)?.contents.strip_prefix(&[0])
}

impl<'c> Certificate<'c> {
    pub(super) fn read(der: &'c [u8]) -> Option<Certificate<'c>> {
        let mut outer = element(der).filter(|all| all.tag == SEQUENCE && all.rest.is_empty())?.contents;
        let signed = next(&mut outer, SEQUENCE)?;
        let signature_algorithm = next(&mut outer, SEQUENCE)?.contents;
        let signature = bits(&mut outer)?;
        let mut inner = signed.contents;
        let is_version_1 = next(&mut inner, VERSION).is_none();
        next(&mut inner, INTEGER)?;
        next(&mut inner, SEQUENCE)?;
        let issuer = next(&mut inner, SEQUENCE)?.contents;
        let validity = next(&mut inner, SEQUENCE)?.contents;
        let subject = next(&mut inner, SEQUENCE)?.contents;
        let info = next(&mut inner, SEQUENCE)?;
        let mut parts = info.contents;
        let algorithm = next(&mut parts, SEQUENCE)?.contents;
        let key = Key { info: info.whole, algorithm, bits: bits(&mut parts)? };
        let list =
            elements(inner).find(|part| part.tag == EXTENSIONS).and_then(|part| element(part.contents));
        let extensions = list.map_or(&[][..], |list| list.contents);
        Some(Certificate {
            is_version_1,
            signed: signed.whole,
            signature_algorithm,
            signature,
            issuer,
            subject,
            key,
            validity,
            extensions,
        })
    }

    /// Whether it is valid at a time.
    pub(super) fn check_time(&self, now: UnixTime) -> Result<(), CertificateError> {
        let mut times = elements(self.validity).map(|time| seconds(&time));
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match (times.next().flatten(), times.next().flatten()) {
            (Some(from), _) if now < from => Err(CertificateError::NotValidYet),
            (Some(_), Some(to)) if now <= to => Ok(()),
            (Some(_), Some(_)) => Err(CertificateError::Expired),
            _ => Err(CertificateError::BadEncoding),
        }
    }

    /// Whether it names hosts where they belong, in `subjectAltName`.
    pub(super) fn has_names(&self) -> bool {
        self.extension(ALT_NAMES).is_some()
    }

    /// Whether its common name is a host's, for certificates that name none elsewhere. An address is no common name.
    pub(super) fn is_commonly(&self, name: &ServerName<'_>) -> bool {
        let ServerName::DnsName(host) = name else { return false };
        let host = host.as_ref();
        let parts =
            elements(self.subject).filter(|set| set.tag == SET).flat_map(|set| elements(set.contents));
        let names = parts.filter_map(|part| {
            let mut part = part.contents;
            let kind = next(&mut part, OBJECT_ID)?;
            let text = element(part)?;
            let is_name = kind.contents == COMMON_NAME && STRINGS.contains(&text.tag);
            std::str::from_utf8(text.contents).ok().filter(|_| is_name)
        });
        let matches = |name: &str| {
            let under = name.strip_prefix("*.").zip(host.split_once('.'));
            name.eq_ignore_ascii_case(host) || under.is_some_and(|(a, (_, b))| a.eq_ignore_ascii_case(b))
        };
        names.last().is_some_and(matches)
    }

    /// Whether its key may be a server's.
    pub(super) fn is_for_servers(&self) -> bool {
        let purposes = self.extension(KEY_PURPOSES);
        purposes
            .is_none_or(|list| FOR_SERVERS.iter().any(|one| list.windows(one.len()).any(|part| part == *one)))
    }

    /// Whether it limits the names that it vouches for.
    pub(super) fn limits_names(&self) -> bool {
        self.extension(NAME_CONSTRAINTS).is_some()
    }

    fn extension(&self, id: &[u8]) -> Option<&'c [u8]> {
        elements(self.extensions).find_map(|extension| {
            let mut parts = extension.contents;
            let found = next(&mut parts, OBJECT_ID)?.contents == id;
            let value = elements(parts).find(|part| part.tag == OCTET_STRING)?;
            found.then_some(value.contents)
        })
    }
}

impl Key<'_> {
    /// The bits of an RSA modulus.
    pub(super) fn rsa_bits(&self) -> Option<usize> {
        let mut numbers = element(self.bits).filter(|all| all.tag == SEQUENCE)?.contents;
        let modulus = next(&mut numbers, INTEGER)?.contents;
        let from = modulus.iter().position(|byte| *byte != 0)?;
        Some((modulus.len() - from) * 8 - modulus[from].leading_zeros() as usize)
    }
}

/// A time in seconds since 1970.
fn seconds(time: &Element<'_>) -> Option<i64> {
    let digits = time.contents.strip_suffix(b"Z")?;
    let (year, rest) = match time.tag {
        UTC_TIME => (number(digits.get(..2)?)?, &digits[2..]),
        GENERALIZED_TIME => (number(digits.get(..4)?)?, &digits[4..]),
        _ => return None,
    };
    let year = match time.tag {
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => year,
    };
    let parts: Vec<i64> = rest.chunks(2).map(number).collect::<Option<_>>()?;
    let [month @ 1..=12, day @ 1..=31, hour @ 0..=23, minute @ 0..=59, second @ 0..=60] = parts[..] else {
        return None;
    };
    // Days since 1970 in the Gregorian calendar, by years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    let all = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| all)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "000229120000Z", Some(951_825_600)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "700101000000+0100", None),
            (UTC_TIME, "", None),
            (SEQUENCE, "700101000000Z", None),
        ] {
            let (whole, rest) = (&[][..], &[][..]);
            let time = Element { tag, contents: text.as_bytes(), whole, rest };
            assert_eq!(seconds(&time), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_none_and_nothing_runs_past_the_end() {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let pem = include_bytes!("../../tests/net/localhost.cert.pem");
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        assert!(Certificate::read(&der).is_some());
        for end in 0..der.len() {
            assert!(Certificate::read(&der[..end]).is_none(), "{end}");
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x83, 0xff] {
                let mut wrong = der.to_vec();
                wrong[at] = byte;
                if let Some(read) = Certificate::read(&wrong) {
                    _ = (read.check_time(UnixTime::now()), read.has_names(), read.is_for_servers());
                    _ = (read.is_commonly(&"a.b".try_into().unwrap()), read.key.rsa_bits());
                }
            }
        }
    }
}
