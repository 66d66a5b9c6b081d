//! Reading the fields of a request one by one, collecting what is wrong with each.

use serde_json::{Map, Value};
use tributary_domain::{FieldError, limits};

use crate::Error;

/// The fields of a request that is being read. `null` counts as absent.
pub(crate) struct Fields {
    map: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    pub(crate) fn of(map: Map<String, Value>) -> Fields {
        Fields { map, errors: Vec::new() }
    }

    /// The raw value.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|value| !value.is_null())
    }

    /// A text, if given.
    pub(crate) fn text(&mut self, field: &str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong(field, "must be a string");
                None
            }
        }
    }

    /// A name: a text without surrounding blanks, not empty, of bounded length and without control characters.
    pub(crate) fn name(&mut self, field: &str) -> Option<String> {
        let text = self.text(field)?.trim().to_owned();
        if text.is_empty() {
            self.wrong(field, "must not be empty");
        } else if text.chars().count() > limits::NAME_CHARS {
            self.wrong(field, format!("must have at most {} characters", limits::NAME_CHARS));
        } else if text.chars().any(char::is_control) {
            self.wrong(field, "must not contain control characters");
        } else {
            return Some(text);
        }
        None
    }

    /// As [`Fields::name`]; absent is wrong.
    pub(crate) fn required_name(&mut self, field: &str) -> String {
        let given = self.is_given(field);
        let name = self.name(field);
        if !given {
            self.wrong(field, "is required");
        }
        name.unwrap_or_default()
    }

    /// A whole number, which forms give as text.
    pub(crate) fn number(&mut self, field: &str) -> Option<i64> {
        let number = match self.take(field)? {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_i64(),
        };
        if number.is_none() {
            self.wrong(field, "must be a whole number");
        }
        number
    }

    /// A switch, which forms give as text.
    pub(crate) fn switch(&mut self, field: &str) -> Option<bool> {
        let switch = match self.take(field)? {
            Value::Bool(switch) => Some(switch),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        if switch.is_none() {
            self.wrong(field, "must be true or false");
        }
        switch
    }

    /// Whether the field is there.
    pub(crate) fn is_given(&self, field: &str) -> bool {
        self.map.get(field).is_some_and(|value| !value.is_null())
    }

    /// Notes what is wrong with a field.
    pub(crate) fn wrong(&mut self, field: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, message));
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Every wrong field.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.errors.is_empty() {
            true => Ok(()),
            false => Err(Error::Invalid { code: "invalid_request", errors: self.errors }),
        }
    }
}
