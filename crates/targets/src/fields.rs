//! Reading a configuration: every wrong field is noted, none stops the reading.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tributary_domain::{FieldError, integration::Config};
use tributary_template::json;

use crate::text::Text;

/// Reads fields, gathers errors and the names that templates look up.
pub(crate) struct Reader<'c> {
    config: &'c Config,
    errors: Vec<FieldError>,
    variables: Vec<String>,
}

impl<'c> Reader<'c> {
    /// Begins to read `config`.
    pub(crate) fn new(config: &'c Config) -> Reader<'c> {
        Reader { config, errors: Vec::new(), variables: Vec::new() }
    }

    /// The value of a field; `null` and the empty text are as good as none, for forms send them.
    pub(crate) fn given(&self, field: &str) -> Option<&'c Value> {
        self.config.get(field).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    /// Notes an error.
    pub(crate) fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, message));
    }

    /// A text; a number or a flag is taken as its text.
    pub(crate) fn text(&mut self, field: &str) -> Option<Cow<'c, str>> {
        let value = self.given(field)?;
        let text = scalar(value);
        if text.is_none() {
            self.error(field, "must be a text");
        }
        text
    }

    /// Notes an error when a required text is missing.
    pub(crate) fn required_text(&mut self, field: &str) -> Option<Cow<'c, str>> {
        if self.given(field).is_none() {
            self.error(field, "is required");
        }
        self.text(field)
    }

    /// A flag, also as the text that a form sends.
    pub(crate) fn flag(&mut self, field: &str, absent: bool) -> bool {
        match self.given(field) {
            None => absent,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) if text == "true" => true,
            Some(Value::String(text)) if text == "false" => false,
            Some(_) => {
                self.error(field, "must be true or false");
                absent
            }
        }
    }

    /// An object.
    pub(crate) fn object(&mut self, field: &str) -> Option<&'c Map<String, Value>> {
        let object = self.given(field)?.as_object();
        if object.is_none() {
            self.error(field, "must be an object");
        }
        object
    }

    /// Parses a template that stands at `path`, which is the field's name or, inside an object, names joined by dots.
    pub(crate) fn template(&mut self, path: &str, source: &str) -> Option<Text> {
        match Text::parse(source) {
            Ok(text) => {
                if let Text::Template(template) = &text {
                    self.variables.extend(template.variables().map(str::to_owned));
                }
                Some(text)
            }
            Err(error) => {
                self.error(path, error.to_string());
                None
            }
        }
    }

    /// A text field that is a template.
    pub(crate) fn text_template(&mut self, field: &str) -> Option<Text> {
        let source = self.text(field)?;
        self.template(field, &source)
    }

    /// Every name that the templates look up, each once; or every error.
    pub(crate) fn finish(mut self) -> Result<Vec<String>, Vec<FieldError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        self.variables.sort_unstable();
        self.variables.dedup();
        Ok(self.variables)
    }
}

/// The text of a value that has one: a text, a number or a flag.
pub(crate) fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(json::number_text(number))),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_forms_send_is_read_and_everything_wrong_is_named() {
        let config = json!({
            "a": "true", "b": "", "c": null, "d": 5, "e": [], "f": "yes", "g": "{{#x}}", "h": "{{y}}{{z.a}}{{y}}"
        });
        let config = config.as_object().unwrap();
        let mut reader = Reader::new(config);
        assert!(reader.flag("a", false));
        assert!(reader.flag("b", true));
        assert_eq!((reader.text("b"), reader.text("c"), reader.text("none")), (None, None, None));
        assert_eq!(reader.text("d").as_deref(), Some("5"));
        assert!(reader.text_template("h").is_some());
        assert_eq!(reader.variables, ["y", "z"]);
        assert!(reader.object("e").is_none());
        assert!(!reader.flag("f", false));
        assert!(reader.text_template("g").is_none());
        assert!(reader.required_text("b").is_none());
        let errors = reader.finish().unwrap_err();
        assert_eq!(errors.iter().map(|error| &*error.field).collect::<Vec<_>>(), ["e", "f", "g", "b"]);
        assert!(errors[2].message.starts_with("line 1, column 1: "), "{}", errors[2]);
    }
}
