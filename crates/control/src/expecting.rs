//! Lost updates: who writes may say what was read, and a write over something newer is refused.

use serde_json::{Map, Value};
use tributary_domain::{ProductId, Timestamp, integration::Integration};

use crate::{Control, Error};

/// What a writer read of an integration before it changed it. What is not given is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The number of the version.
    pub version: Option<i64>,
    /// When it was last changed, which a list of products changes too.
    pub updated_at: Option<Timestamp>,
    /// The products on which it executed.
    pub products: Option<Vec<ProductId>>,
}

impl Expected {
    /// What the body of a request expects: the `version` in it, a number.
    ///
    /// # Errors
    /// When it is there and is no number of a version.
    pub fn of_body(body: &Map<String, Value>) -> Result<Expected, Error> {
        let version = match body.get("version") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(number(text.trim())),
            Some(other) => Some(other.as_i64().filter(|version| *version > 0)),
        };
        match version {
            None => Ok(Expected::default()),
            Some(Some(version)) => Ok(Expected { version: Some(version), ..Expected::default() }),
            Some(None) => {
                let text = "must be the number of the version that was read, or absent";
                Err(Error::field("version", text))
            }
        }
    }

    /// The same, and the header `If-Match` where the request has one: `*`, or the number of a version with or without quotes.
    ///
    /// # Errors
    /// When the header is neither, or expects another version than the body.
    pub fn and_header(mut self, header: Option<&str>) -> Result<Expected, Error> {
        let Some(text) = header.map(str::trim).filter(|text| *text != "*") else { return Ok(self) };
        let unquoted = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        let version = number(unquoted)
            .filter(|version| self.version.is_none_or(|in_body| in_body == *version))
            .ok_or_else(|| {
                let text = "must be * or the number of the version that was read, as in the body";
                Error::field("If-Match", text)
            })?;
        self.version = Some(version);
        Ok(self)
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|version| *version > 0)
}

impl Control {
    /// Refuses a write over something newer than what was read. `now` has to be read before this is asked: a change in between
    /// is then found by the write itself.
    pub(crate) async fn must_be_expected(&self, expected: &Expected, now: &Integration) -> Result<(), Error> {
        let has_products = |products: &Vec<ProductId>| {
            let mut members: Vec<_> = now.members.iter().map(|member| member.product).collect();
            let mut products = products.clone();
            members.sort_unstable();
            products.sort_unstable();
            members == products
        };
        let same = expected.updated_at.is_none_or(|at| at == now.updated_at)
            && expected.products.as_ref().is_none_or(has_products);
        let version = match expected.version {
            None if same => return Ok(()),
            _ => self.store.last_version(now.owner, now.id).await?.unwrap_or_default(),
        };
        match same && expected.version.is_none_or(|expected| expected == version) {
            true => Ok(()),
            false => Err(Error::conflict(
                NOT_PRESENT,
                format!(
                    "the integration has changed since it was read; it has version {version} now: read it again"
                ),
            )),
        }
    }
}

/// The `error` of the refusal.
pub const NOT_PRESENT: &str = "not_the_present_version";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn of(body: &Value, header: Option<&str>) -> Result<Option<i64>, ()> {
        let expected = Expected::of_body(body.as_object().unwrap()).and_then(|all| all.and_header(header));
        expected.map(|expected| expected.version).map_err(drop)
    }

    #[test]
    fn a_version_is_read_from_the_body_and_from_the_header() {
        for (body, header, version) in [
            (json!({}), None, Ok(None)),
            (json!({"version": null}), None, Ok(None)),
            (json!({"version": 7}), None, Ok(Some(7))),
            (json!({"version": " 7"}), None, Ok(Some(7))),
            (json!({}), Some("\"7\""), Ok(Some(7))),
            (json!({}), Some("W/\"7\""), Ok(Some(7))),
            (json!({"version": 7}), Some("7"), Ok(Some(7))),
            (json!({"version": 7}), Some("*"), Ok(Some(7))),
            (json!({"version": 7}), Some("8"), Err(())),
            (json!({"version": 0}), None, Err(())),
            (json!({"version": 1.5}), None, Err(())),
            (json!({"version": "seven"}), None, Err(())),
            (json!({"version": [7]}), None, Err(())),
            (json!({}), Some("\"7\", \"8\""), Err(())),
            (json!({}), Some("abc"), Err(())),
        ] {
            assert_eq!(of(&body, header), version, "{body} {header:?}");
        }
    }
}
