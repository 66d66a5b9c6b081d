//! SCRAM, by which a password is proved and not sent (RFC 5802 and 7677), as Kafka has it: without `SASLprep`, and without
//! channel binding.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::{digest, hmac, pbkdf2};

use crate::service::Secret;

/// Rounds of hashing that a server may ask for: fewer than RFC 7677's would make guessing cheap, more would be work for
/// nothing.
const ROUNDS: std::ops::RangeInclusive<u32> = 4_096..=100_000;
/// Nothing is bound to the channel: `n,,` in base64.
const NO_BINDING: &str = "biws";

/// The hash of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn salted(self, password: &[u8], salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, rounds, salt, password, &mut salted);
        salted
    }
}

/// One exchange, from this side. The errors are what is wrong with the server's part.
pub(super) struct Scram {
    hash: Hash,
    password: Secret,
    nonce: String,
    /// The first message without the part on channels.
    bare: String,
    /// What the server will prove itself with.
    key: Option<(hmac::Key, String)>,
}

impl Scram {
    /// `nonce` has letters and digits that nobody can guess.
    pub(super) fn new(hash: Hash, username: &str, password: &str, nonce: String) -> Scram {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={username},r={nonce}");
        Scram { hash, password: Secret(password.to_owned()), nonce, bare, key: None }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The proof for what the server has said to the first message.
    pub(super) fn proof(&mut self, said: &[u8]) -> Result<String, &'static str> {
        const WRONG: &str = "what it says for SCRAM cannot be read";
        let said = std::str::from_utf8(said).map_err(|_| WRONG)?;
        let part = |name: &str| said.split(',').find_map(|part| part.strip_prefix(name)).ok_or(WRONG);
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        if said.starts_with("m=") || nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("what it says for SCRAM is no answer to this client");
        }
        let rounds = rounds.parse().ok().filter(|rounds| ROUNDS.contains(rounds)).and_then(NonZeroU32::new);
        let rounds = rounds.ok_or("it asks for too few or too many rounds of hashing")?;
        let salt = BASE64.decode(salt).map_err(|_| WRONG)?;
        let salted = self.hash.salted(self.password.0.as_bytes(), &salt, rounds);
        let salted = hmac::Key::new(self.hash.hmac(), &salted);
        let client = hmac::sign(&salted, b"Client Key");
        let stored = digest::digest(self.hash.hmac().digest_algorithm(), client.as_ref());
        let last = format!("c={NO_BINDING},r={nonce}");
        let all = format!("{},{said},{last}", self.bare);
        let signature = hmac::sign(&hmac::Key::new(self.hash.hmac(), stored.as_ref()), all.as_bytes());
        let proof: Vec<u8> = client.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server = hmac::sign(&salted, b"Server Key");
        self.key = Some((hmac::Key::new(self.hash.hmac(), server.as_ref()), all));
        Ok(format!("{last},p={}", BASE64.encode(proof)))
    }

    /// Checks that the server knows the password too.
    pub(super) fn verify(&self, said: &[u8]) -> Result<(), &'static str> {
        const WRONG: &str = "it does not know the password";
        let said = std::str::from_utf8(said).map_err(|_| WRONG)?;
        let signature = said.split(',').next().and_then(|part| part.strip_prefix("v=")).ok_or(WRONG)?;
        let signature = BASE64.decode(signature).map_err(|_| WRONG)?;
        let (key, all) = self.key.as_ref().ok_or(WRONG)?;
        hmac::verify(key, all.as_bytes(), &signature).map_err(|_| WRONG)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SAID: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let mut scram = Scram::new(Hash::Sha256, "user", "pencil", NONCE.to_owned());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            scram.proof(SAID.as_bytes()).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(scram.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_ok());
        assert!(scram.verify(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert!(scram.verify(b"e=other-error").is_err());
    }

    #[test]
    fn a_server_cannot_ask_for_any_amount_of_work_nor_answer_somebody_else() {
        let proof =
            |said: &str| Scram::new(Hash::Sha512, "a,b=c", "p", NONCE.to_owned()).proof(said.as_bytes());
        assert!(proof(SAID).is_ok());
        for wrong in [
            SAID.replace("4096", "4095"),
            SAID.replace("4096", "100001"),
            SAID.replace("rOpr", "rOpq"),
            SAID.replace("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", ""),
            SAID.replace("s=W", "s=!"),
            format!("m=x,{SAID}"),
            String::new(),
        ] {
            assert!(proof(&wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            Scram::new(Hash::Sha512, "a,b=c", "p", NONCE.to_owned()).first(),
            format!("n,,n=a=2Cb=3Dc,r={NONCE}")
        );
        let unproved = Scram::new(Hash::Sha256, "u", "p", NONCE.to_owned());
        assert!(unproved.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
    }
}
