//! `signing`: requests that a receiver can check, as Standard Webhooks describes it.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::hmac;
use serde_json::{Map, Value};

use crate::{Field, Message, Shape, Variables, fields::Reader, kinds::field, settings::Clock};

/// The field.
pub(super) const FIELD: Field = Field {
    sensitive: true,
    ..field(
        "signing",
        Shape::Object,
        "Requests are signed as Standard Webhooks describes: secret (whsec_…; generate makes one) and, while it is changed, previous_secret; not shown again.",
    )
};

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Shortest and longest secret, in bytes before base64.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
const BAD_SECRET: &str = "must be whsec_ followed by the base64 of 24 to 64 bytes";
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// The secrets of a webhook that signs. While secrets are changed there are two, and two signatures.
#[derive(Debug)]
pub(super) struct Signing {
    /// The present one first.
    keys: Vec<hmac::Key>,
    clock: Clock,
}

impl Signing {
    /// Reads the field; values that logs must not show go to `hidden`.
    pub(super) fn read(reader: &mut Reader<'_>, clock: Clock, hidden: &mut Vec<String>) -> Option<Signing> {
        let signing = reader.object("signing")?;
        let secret = read_secret(reader, signing, "secret", hidden);
        if secret.is_none() && given(signing, "secret").is_none() {
            reader.error("signing.secret", "is required");
        }
        let previous = read_secret(reader, signing, "previous_secret", hidden);
        Some(Signing { keys: secret.into_iter().chain(previous).collect(), clock })
    }

    /// Gives a rendered message its id, which is the same for every attempt, in place of headers that the user gave.
    pub(super) fn identify(&self, variables: &Variables<'_>, headers: &mut Vec<(String, String)>) {
        headers.retain(|(name, _)| ![ID, TIMESTAMP, SIGNATURE].iter().any(|h| h.eq_ignore_ascii_case(name)));
        let id = match variables.recipient {
            Some(recipient) => format!("msg_{}_{recipient}", variables.event.id),
            None => format!("msg_{}", variables.event.id),
        };
        headers.push((ID.to_owned(), id));
    }

    /// The message as it is sent now: receivers refuse a timestamp that is minutes old, and a message may wait for long.
    pub(super) fn signed(&self, message: &Message) -> Message {
        let seconds = (self.clock.now().0 / 1_000).to_string();
        let id = message.headers.iter().find(|(name, _)| name == ID).map_or("", |(_, id)| id);
        let signature = |key: &hmac::Key| {
            let mut hmac = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", &message.body] {
                hmac.update(part);
            }
            format!("v1,{}", BASE64.encode(hmac.sign()))
        };
        let signatures: Vec<String> = self.keys.iter().map(signature).collect();
        let mut message = message.clone();
        message.headers.push((TIMESTAMP.to_owned(), seconds));
        message.headers.push((SIGNATURE.to_owned(), signatures.join(" ")));
        message
    }
}

fn given<'v>(signing: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    signing.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))
}

fn read_secret(
    reader: &mut Reader<'_>,
    signing: &Map<String, Value>,
    name: &str,
    hidden: &mut Vec<String>,
) -> Option<hmac::Key> {
    let value = given(signing, name)?;
    let encoded = value.as_str().and_then(|text| text.trim().strip_prefix(PREFIX));
    let decoded = encoded.and_then(|encoded| BASE64.decode(encoded).ok());
    match (encoded, decoded.filter(|bytes| SECRET_BYTES.contains(&bytes.len()))) {
        (Some(encoded), Some(bytes)) => {
            hidden.push(format!("{PREFIX}{encoded}"));
            hidden.push(encoded.to_owned());
            Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
        }
        _ => {
            reader.error(format!("signing.{name}"), BAD_SECRET);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use serde_json::json;
    use tributary_domain::{MemberId, Timestamp};

    use super::*;
    use crate::test_support::{event, no_secrets};

    /// The secret of the examples of Standard Webhooks.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn read(signing: &Value) -> Result<(Signing, Vec<String>), String> {
        let config = json!({"signing": signing});
        let mut reader = Reader::new(config.as_object().unwrap());
        let mut hidden = Vec::new();
        let signing = Signing::read(&mut reader, Clock(|| Timestamp(1_614_265_330_999)), &mut hidden);
        let errors = reader.finish().err().unwrap_or_default();
        if errors.is_empty() {
            return Ok((signing.unwrap(), hidden));
        }
        Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn message(id: &str, body: &'static str) -> Message {
        Message {
            destination: "h:80".into(),
            method: "POST".into(),
            url: "http://h/".into(),
            headers: vec![(ID.into(), id.into())],
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn header<'m>(message: &'m Message, name: &str) -> &'m str {
        &message.headers.iter().find(|(known, _)| known == name).unwrap().1
    }

    #[test]
    fn the_signature_is_that_of_the_specification_s_example() {
        let (signing, hidden) = read(&json!({"secret": SECRET})).unwrap();
        let signed = signing.signed(&message("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#));
        assert_eq!(header(&signed, TIMESTAMP), "1614265330");
        assert_eq!(header(&signed, SIGNATURE), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(hidden, [SECRET, &SECRET[PREFIX.len()..]]);
        assert!(!format!("{signing:?}").contains(&SECRET[PREFIX.len()..]));
    }

    #[test]
    fn while_the_secret_is_changed_both_sign() {
        let other = format!("whsec_{}", BASE64.encode([9; 64]));
        let (signing, _) = read(&json!({"secret": other, "previous_secret": SECRET})).unwrap();
        let signed = signing.signed(&message("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#));
        let (new, old) = header(&signed, SIGNATURE).split_once(' ').unwrap();
        assert_eq!(old, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(new.starts_with("v1,") && new != old);
    }

    #[test]
    fn the_id_is_the_event_s_and_the_recipient_s_and_replaces_what_the_user_gave() {
        let (signing, _) = read(&json!({"secret": SECRET})).unwrap();
        let event = event("x");
        let mut headers = vec![("Webhook-Signature".into(), "mine".into()), ("A".into(), "b".into())];
        let variables = Variables::new(&event, None, None, no_secrets()).received_by(MemberId([1; 12]));
        signing.identify(&variables, &mut headers);
        let id = format!("msg_{}_010101010101010101010101", event.id);
        assert_eq!(headers, [("A".to_owned(), "b".to_owned()), (ID.to_owned(), id)]);
    }

    #[test]
    fn a_secret_that_cannot_be_used_is_named() {
        let of = |bytes: usize| format!("{PREFIX}{}", BASE64.encode(vec![1; bytes]));
        assert!(read(&json!({"secret": of(24)})).is_ok());
        assert!(read(&json!({"secret": of(64), "previous_secret": null})).is_ok());
        for wrong in
            [json!(of(23)), json!(of(65)), json!("whsec_?"), json!(&SECRET[PREFIX.len()..]), json!(5)]
        {
            let errors = read(&json!({"secret": wrong, "previous_secret": wrong})).unwrap_err();
            assert_eq!(
                errors,
                format!("signing.secret: {BAD_SECRET}\nsigning.previous_secret: {BAD_SECRET}")
            );
        }
        assert_eq!(read(&json!({})).unwrap_err(), "signing.secret: is required");
        assert_eq!(read(&json!("x")).unwrap_err(), "signing: must be an object");
    }
}
