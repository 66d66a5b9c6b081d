//! `query` and `form`: names and values, percent-encoded. Objects and lists inside are written with brackets, as the
//! `qs` package does: `a[b]=1`, `a[0]=2`.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tributary_domain::{integration::Config, sensitive::is_sensitive_query};
use tributary_template::{RenderError, Scope};

use crate::{
    fields::{Reader, scalar},
    text::{self, Text},
};

/// The values of `query` that logs must not show: those that are written out.
pub(super) fn sensitive_query(config: &Config) -> impl Iterator<Item = String> {
    let entries = config.get("query").and_then(Value::as_object).into_iter().flatten();
    let sensitive = entries.filter(|(name, _)| is_sensitive_query(name));
    sensitive.filter_map(|(_, value)| scalar(value).map(Cow::into_owned)).filter(|text| !text.contains("{{"))
}

/// Names and values in their order.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    /// The names beside the values, for finding the defaults that they replace.
    names: Vec<Text>,
    values: Vec<Text>,
}

impl Pairs {
    /// Reads an object field.
    pub(super) fn read(reader: &mut Reader<'_>, field: &str) -> Option<Pairs> {
        let object = reader.object(field)?;
        let mut pairs = Pairs::default();
        pairs.members(reader, field, "", object);
        Some(pairs)
    }

    fn members(&mut self, reader: &mut Reader<'_>, path: &str, outer: &str, object: &Map<String, Value>) {
        for (key, value) in object {
            let name = if outer.is_empty() { key.clone() } else { format!("{outer}[{key}]") };
            self.value(reader, &format!("{path}.{key}"), &name, value);
        }
    }

    fn value(&mut self, reader: &mut Reader<'_>, path: &str, name: &str, value: &Value) {
        match value {
            Value::Object(object) => self.members(reader, path, name, object),
            Value::Array(list) => {
                for (n, element) in list.iter().enumerate() {
                    self.value(reader, &format!("{path}.{n}"), &format!("{name}[{n}]"), element);
                }
            }
            _ => {
                let Some(source) = scalar(value) else { return };
                let (name, value) = (reader.template(path, name), reader.template(path, &source));
                self.names.extend(name);
                self.values.extend(value);
            }
        }
    }

    /// The names.
    pub(super) fn names(&self) -> &[Text] {
        &self.names
    }

    /// Appends `name=value` joined by `&`, to pairs that begin at `begins_at`; fails once `out` is longer than `limit`.
    pub(super) fn push(
        &self,
        scope: &dyn Scope,
        out: &mut String,
        begins_at: usize,
        limit: usize,
    ) -> Result<(), RenderError> {
        for (name, value) in self.names.iter().zip(&self.values) {
            out.push_str(if out.len() > begins_at { "&" } else { "" });
            name.push_escaped(scope, out, limit, text::percent)?;
            out.push('=');
            value.push_escaped(scope, out, limit, text::percent)?;
        }
        Ok(())
    }
}
