//! `tls` and `rejectUnauthorized`: how the connection to an https address is made.

use crate::{
    Field, Shape,
    fields::Reader,
    kinds::field,
    net::{OwnTls, OwnTlsPem, Via},
};

/// The field.
pub(crate) const FIELD: Field = Field {
    sensitive: true,
    ..field(
        "tls",
        Shape::Object,
        "PEM texts: ca, authorities besides the public ones; cert and key, the certificate that is shown to the destination; the key is not shown again.",
    )
};

/// Reads the two fields; values that logs must not show go to `hidden`. Without `tls` the connections are those that
/// all integrations share.
pub(crate) fn read(reader: &mut Reader<'_>, hidden: &mut Vec<String>) -> (Via, Option<Box<OwnTls>>) {
    let verify = reader.flag("rejectUnauthorized", true);
    let via = if verify { Via::Checked } else { Via::AnyCertificate };
    let Some(tls) = reader.object("tls") else { return (via, None) };
    let mut all_texts = true;
    let mut part = |name: &str| {
        let value = tls.get(name).filter(|value| !value.is_null() && value.as_str() != Some(""))?;
        if !value.is_string() {
            reader.error(format!("tls.{name}"), "must be a text");
            all_texts = false;
        }
        value.as_str()
    };
    let pem = OwnTlsPem { ca: part("ca"), cert: part("cert"), key: part("key") };
    let is_empty = pem.ca.is_none() && pem.cert.is_none() && pem.key.is_none();
    if !all_texts || is_empty {
        return (via, None);
    }
    hidden.extend(pem.key.map(str::to_owned));
    match OwnTls::new(pem, verify) {
        Ok(own) => (via, Some(Box::new(own))),
        Err(errors) => {
            for (part, error) in errors {
                reader.error(format!("tls.{part}"), error);
            }
            (via, None)
        }
    }
}
