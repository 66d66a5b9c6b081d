//! Identifiers. Each noun has a type of its own, so that one cannot stand where another belongs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A text that is no identifier of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 24 hexadecimal digits")]
pub struct InvalidId;

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0_u8; 24];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    f.pad(std::str::from_utf8(&text).unwrap_or_default())
}

fn read_hex(text: &str) -> Result<[u8; 12], InvalidId> {
    let text = text.as_bytes();
    if text.len() != 24 {
        return Err(InvalidId);
    }
    let mut bytes = [0; 12];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(InvalidId);
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 12]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            /// Reads 24 hexadecimal digits of either case.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                read_hex(text).map($name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                std::borrow::Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

hex_id! {
    /// A person or an API user.
    UserId
}
hex_id! {
    /// An organization.
    OrgId
}
hex_id! {
    /// An integration: one configuration. The `id` of the organization's paths.
    IntegrationId
}
hex_id! {
    /// A product's membership in an integration. The `id` of the product's paths; it stays when the product separates.
    MemberId
}
hex_id! {
    /// A device, written as 24 lower-case hexadecimal digits.
    DeviceId
}

/// A product: a positive integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProductId(pub i64);

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who owns products, integrations and secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A person's sandbox.
    User(UserId),
    /// An organization.
    Org(OrgId),
}

impl fmt::Display for Owner {
    /// `u:` or `o:` and the id: the form in which the store keeps it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::User(id) => write!(f, "u:{id}"),
            Owner::Org(id) => write!(f, "o:{id}"),
        }
    }
}

impl FromStr for Owner {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once(':') {
            Some(("u", id)) => Ok(Owner::User(id.parse()?)),
            Some(("o", id)) => Ok(Owner::Org(id.parse()?)),
            _ => Err(InvalidId),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_and_read_as_24_lower_case_hex_digits() {
        let id: UserId = "0123456789ABCDEF00112233".parse().expect("24 digits");
        assert_eq!(id.to_string(), "0123456789abcdef00112233");
        for wrong in
            ["", "0123", "0123456789abcdef0011223g", "0123456789abcdef001122334", "0123456789abcdef0011223é"]
        {
            assert_eq!(wrong.parse::<UserId>(), Err(InvalidId), "{wrong}");
        }
        assert_eq!(Owner::Org(OrgId(id.0)).to_string().parse(), Ok(Owner::Org(OrgId(id.0))));
    }
}
