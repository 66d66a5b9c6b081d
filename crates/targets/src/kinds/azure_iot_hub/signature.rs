//! Shared access signatures, as Microsoft documents them ("Control access to IoT Hub by using shared access
//! signatures"): HMAC-SHA256 with the policy's key over the encoded address of the resource and the expiry.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use parking_lot::Mutex;
use ring::hmac;

use crate::{settings::Clock, text::percent};

/// How long a token is valid, in seconds.
const LIFETIME_S: i64 = 3_600;
/// How long before its end a token is replaced, in seconds: more than an attempt lasts and clocks differ.
const RENEW_BEFORE_S: i64 = 300;

/// Makes the tokens of one policy of one hub. A token is good for the whole hub, so there is one at a time.
pub(super) struct Signer {
    resource: String,
    policy: String,
    key: hmac::Key,
    clock: Clock,
    current: Mutex<Option<Token>>,
}

struct Token {
    text: String,
    expires_s: i64,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("resource", &self.resource).finish_non_exhaustive()
    }
}

impl Signer {
    /// `None` when `key` is not base64 or empty.
    pub(super) fn new(host: &str, policy: &str, key: &str, clock: Clock) -> Option<Signer> {
        let key = BASE64.decode(key).ok().filter(|key| !key.is_empty())?;
        let encoded = |text| {
            let mut out = String::new();
            percent(&mut out, text);
            out
        };
        Some(Signer {
            resource: encoded(host),
            policy: encoded(policy),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            clock,
            current: Mutex::new(None),
        })
    }

    /// The present token, or a new one.
    pub(super) fn token(&self) -> String {
        let now_s = self.clock.now().0.div_euclid(1_000);
        let mut current = self.current.lock();
        match &*current {
            // One from further ahead than a lifetime was made before the clock was set back.
            Some(token) if (RENEW_BEFORE_S..=LIFETIME_S).contains(&(token.expires_s - now_s)) => {
                token.text.clone()
            }
            _ => {
                let token = self.sign(now_s + LIFETIME_S);
                let text = token.text.clone();
                *current = Some(token);
                text
            }
        }
    }

    fn sign(&self, expires_s: i64) -> Token {
        let Signer { resource, policy, .. } = self;
        let tag = hmac::sign(&self.key, format!("{resource}\n{expires_s}").as_bytes());
        let mut signature = String::new();
        percent(&mut signature, &BASE64.encode(tag.as_ref()));
        let text = format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires_s}&skn={policy}");
        Token { text, expires_s }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicI64, Ordering};

    use tributary_domain::Timestamp;

    use super::*;

    static NOW_MS: AtomicI64 = AtomicI64::new(1_700_000_000_000);

    #[test]
    fn a_token_is_kept_until_shortly_before_its_end() {
        let clock = Clock(|| Timestamp(NOW_MS.load(Ordering::SeqCst)));
        let signer = Signer::new("my-hub.azure-devices.net", "iothubowner", "c2VjcmV0", clock).unwrap();
        let first = signer.token();
        // Made once with `openssl dgst -sha256 -hmac secret` over the two lines. Microsoft's azure-iot-common 1.13.3 (npm)
        // makes the same: `SharedAccessSignature.create(host, policy, key, 1700003600)`.
        assert_eq!(first, EXPECTED);
        NOW_MS.fetch_add((LIFETIME_S - RENEW_BEFORE_S) * 1_000, Ordering::SeqCst);
        assert_eq!(signer.token(), first);
        NOW_MS.fetch_add(1_000, Ordering::SeqCst);
        let second = signer.token();
        assert_ne!(second, first);
        NOW_MS.store(1_600_000_000_000, Ordering::SeqCst);
        assert!(signer.token().contains("&se=1600003600&"), "after the clock was set back");
        assert!(Signer::new("h", "p", "not base64!", clock).is_none());
        assert!(!format!("{signer:?}").contains("sig="));
    }

    #[test]
    fn signatures_are_those_of_microsoft_s_library() {
        let signer =
            Signer::new("my-hub.azure-devices.net", "iothubowner", "c2VjcmV0", Clock::default()).unwrap();
        // Made by `azure.iot.hub.sastoken.SasToken` of azure-iot-hub 2.7.0 (PyPI), which makes `EXPECTED` too. It leaves a `/`
        // as it is, which means the same.
        for (expires_s, theirs) in [
            (1_700_003_601, "xFfnn8/bKVpHwNWFKK/KHLF7LmaDU5wrevSb3y96pUA%3D"),
            (1_700_003_602, "UPcElDJj7eiSmdkYVhd96STUBFOZQ9iFlK3NcKuVeds%3D"),
            (1_700_003_604, "zJkvbz82NItN/s7tlvWRXtrWkB%2BAlEWj8ELwBlVPzRw%3D"),
        ] {
            let expected = format!(
                "SharedAccessSignature sr=my-hub.azure-devices.net&sig={}&se={expires_s}&skn=iothubowner",
                theirs.replace('/', "%2F")
            );
            assert_eq!(signer.sign(expires_s).text, expected);
        }
    }

    const EXPECTED: &str = "SharedAccessSignature sr=my-hub.azure-devices.net&sig=xTShfdxzDy4Us%2BDzLtu1nVQr79oHriA7hPfYQPUHZlM%3D&se=1700003600&skn=iothubowner";
}
