//! Encryption at rest of secrets and sensitive fields: XChaCha20-Poly1305 under one key.

use std::{fmt, sync::Arc};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};

/// Length of the key in bytes.
pub const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// First byte of a sealed value: the version of the form.
const FORM: u8 = 1;

/// A sealed value that this key does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value cannot be opened: is the key file the one that it was written with?")]
pub struct SealBroken;

/// Seals and opens values. Cheap to clone; never shows its key.
#[derive(Clone)]
pub struct Vault(Arc<XChaCha20Poly1305>);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// A vault with this key.
    pub fn new(key: &[u8; KEY_BYTES]) -> Vault {
        Vault(Arc::new(XChaCha20Poly1305::new(key.into())))
    }

    /// Encrypts `clear`; `place` (e.g. the row's id) must be given again to open it, so that a value cannot be moved.
    ///
    /// # Errors
    /// When the system gives no randomness, or the value is larger than the cipher takes.
    pub fn seal(&self, place: &str, clear: &[u8]) -> Result<Vec<u8>, SealBroken> {
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealBroken)?;
        let payload = Payload { msg: clear, aad: place.as_bytes() };
        let sealed = self.0.encrypt(&nonce.into(), payload).map_err(|_| SealBroken)?;
        Ok([&[FORM], &nonce[..], &sealed].concat())
    }

    /// Decrypts what [`Vault::seal`] gave for the same place.
    ///
    /// # Errors
    /// [`SealBroken`] for another key, another place or damaged bytes.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealBroken> {
        let (form, rest) = sealed.split_first().ok_or(SealBroken)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(SealBroken)?;
        if *form != FORM {
            return Err(SealBroken);
        }
        let payload = Payload { msg: sealed, aad: place.as_bytes() };
        self.0.decrypt(&(*nonce).into(), payload).map_err(|_| SealBroken)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_in_its_place_and_undamaged() {
        let vault = Vault::new(&[7; KEY_BYTES]);
        let sealed = vault.seal("row 1", b"whisper").unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"whisper"));
        assert_eq!(vault.open("row 1", &sealed).unwrap(), b"whisper");
        assert_eq!(vault.open("row 2", &sealed), Err(SealBroken));
        assert_eq!(Vault::new(&[8; KEY_BYTES]).open("row 1", &sealed), Err(SealBroken));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(vault.open("row 1", &damaged), Err(SealBroken), "byte {at}");
        }
        assert_ne!(vault.seal("row 1", b"whisper").unwrap(), sealed, "a new nonce each time");
    }
}
