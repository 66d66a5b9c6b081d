//! Keys of NATS users: Ed25519 seeds in base32, alone or in a file of credentials beside a token.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// The letters of base32 (RFC 4648), which NATS writes without padding.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// What a seed begins with: 18 in the first five bits, which is `S`.
const SEED: u8 = 18 << 3;
/// What a user's key begins with: 20 in the first five bits, which is `U`.
const USER: u8 = 20 << 3;
/// Two bytes of kind, 32 of the seed, two of the sum over them.
const RAW_BYTES: usize = 36;

/// A key that signs for a user.
pub(super) struct Nkey {
    pair: Ed25519KeyPair,
}

impl Nkey {
    /// Reads the seed of a user.
    pub(super) fn parse(seed: &str) -> Option<Nkey> {
        let raw = decode(seed.trim())?;
        let (body, sum) = raw.split_at_checked(RAW_BYTES - 2)?;
        let right_sum = sum == crc16(body).to_le_bytes();
        let user = (body[0] & 0x07) << 5 | body[1] >> 3;
        let right_kind = body[0] & 0xf8 == SEED && user & 0xf8 == USER;
        if !right_sum || !right_kind {
            return None;
        }
        Some(Nkey { pair: Ed25519KeyPair::from_seed_unchecked(&body[2..]).ok()? })
    }

    /// The public key, as a server knows it.
    pub(super) fn public(&self) -> String {
        let mut raw = vec![USER];
        raw.extend_from_slice(self.pair.public_key().as_ref());
        let sum = crc16(&raw);
        raw.extend(sum.to_le_bytes());
        encode(&raw)
    }

    /// Signs what a server asks to be signed.
    pub(super) fn sign(&self, nonce: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(nonce.as_bytes()))
    }
}

/// The token and the seed in a file of credentials, as `nsc` makes it.
pub(super) fn parts(creds: &str) -> Option<(&str, &str)> {
    let after = |marker: &str| {
        let (_, rest) = creds.split_once(marker)?;
        rest.lines().skip(1).map(str::trim).find(|line| !line.is_empty() && !line.starts_with('-'))
    };
    Some((after("BEGIN NATS USER JWT")?, after("BEGIN USER NKEY SEED")?))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = (bits << 5 | u32::try_from(value).ok()?) & 0xfff;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    (bytes.len() == RAW_BYTES).then_some(bytes)
}

fn encode(bytes: &[u8]) -> String {
    let (mut text, mut bits, mut held) = (String::new(), 0_u32, 0);
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(LETTERS[(bits >> held & 0x1f) as usize].into());
        }
    }
    if held > 0 {
        text.push(LETTERS[(bits << (5 - held) & 0x1f) as usize].into());
    }
    text
}

/// CRC-16 with the polynomial 0x1021, from 0 (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    let mut sum = 0_u16;
    for byte in bytes {
        sum ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            sum = if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    /// The pair in the documentation of NATS.
    const SEED_OF_DOCS: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
    const PUBLIC_OF_DOCS: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    #[test]
    fn a_seed_gives_the_public_key_that_nats_gives_it() {
        let key = Nkey::parse(SEED_OF_DOCS).unwrap();
        assert_eq!(key.public(), PUBLIC_OF_DOCS);
        let signature = URL_SAFE_NO_PAD.decode(key.sign("nonce")).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, key.pair.public_key().as_ref());
        assert!(public.verify(b"nonce", &signature).is_ok());
    }

    #[test]
    fn what_is_no_seed_of_a_user_is_refused() {
        let typing_error = SEED_OF_DOCS.replacen("SSL", "SSM", 1);
        for wrong in [
            "",
            "S",
            "secret",
            PUBLIC_OF_DOCS,
            &typing_error,
            &SEED_OF_DOCS[1..],
            &SEED_OF_DOCS.to_lowercase(),
        ] {
            assert!(Nkey::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_file_of_credentials_has_a_token_and_a_seed() {
        let file = "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.c2ln\n------END NATS USER JWT------\n\n\
            ************************* IMPORTANT *************************\n\n\
            -----BEGIN USER NKEY SEED-----\nSUAC\n------END USER NKEY SEED------\n";
        assert_eq!(parts(file), Some(("eyJ0.eyJq.c2ln", "SUAC")));
        assert_eq!(parts(&file.replace('\n', "\r\n")), Some(("eyJ0.eyJq.c2ln", "SUAC")));
        assert_eq!(parts("-----BEGIN NATS USER JWT-----\n------END"), None);
    }
}
