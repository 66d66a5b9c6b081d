//! Parameters of integrations: what a configuration may declare, and what a product may override.

use serde_json::{Map, Value};
use tributary_domain::{
    FieldError,
    integration::{Config, Integration},
    limits,
    parameters::{FIELD, Parameters, declared},
    sensitive::{MASK, is_sensitive_parameter},
};
use tributary_targets::variables::is_predefined;

use crate::{
    Error,
    secrets::{NAME_CHARS, is_name},
};

/// Checks the parameters that a configuration declares, and leaves out an empty field of a form.
pub(crate) fn check_declared(config: &mut Config) -> Vec<FieldError> {
    let given = match config.get(FIELD) {
        None => return Vec::new(),
        Some(Value::String(text)) if text.is_empty() => {
            config.shift_remove(FIELD);
            return Vec::new();
        }
        Some(Value::Object(given)) => given,
        Some(_) => return vec![no_object()],
    };
    let mut errors: Vec<FieldError> = given
        .iter()
        .filter_map(|(name, value)| wrong(name, check_name(name).and(check_value(value))))
        .collect();
    if given.len() > limits::PARAMETERS {
        errors.push(FieldError::new(
            FIELD,
            format!("has {} parameters; at most {} are allowed", given.len(), limits::PARAMETERS),
        ));
    }
    errors
}

/// Reads the overrides of a body; `None` when it has none and they stay as they are.
///
/// # Errors
/// When they are no object.
pub(crate) fn take_overrides(body: &mut Map<String, Value>) -> Result<Option<Map<String, Value>>, Error> {
    match body.remove(FIELD) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::Object(given)) => Ok(Some(given)),
        Some(_) => Err(invalid(vec![no_object()])),
    }
}

/// The overrides that a request asks for, judged by what the integration declares.
///
/// # Errors
/// Every wrong one at once.
pub(crate) fn read_overrides(
    given: &Map<String, Value>,
    integration: &Integration,
    stored: Option<&Parameters>,
) -> Result<Parameters, Error> {
    let declared = declared(&integration.config);
    let mut errors = Vec::new();
    let mut overrides = Parameters::new();
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        if !declared.contains_key(name) {
            let said = "is not declared by the integration; add it to its parameters first, with a default";
            errors.extend(wrong(name, Err(said.to_owned())));
            continue;
        }
        match kept(name, value, stored).and_then(|value| check_value(&value).map(|()| value)) {
            Ok(value) => {
                overrides.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
            }
            Err(said) => errors.extend(wrong(name, Err(said))),
        }
    }
    if errors.is_empty() { Ok(overrides) } else { Err(invalid(errors)) }
}

/// The value that is meant: for a mask the stored one.
fn kept(name: &str, value: &Value, stored: Option<&Parameters>) -> Result<Value, String> {
    if !is_sensitive_parameter(name) || value.as_str() != Some(MASK) {
        return Ok(value.clone());
    }
    let known = stored.and_then(|stored| stored.get(name)).map(|known| known.as_str().into());
    known.ok_or_else(|| {
        format!("{MASK} stands for the stored value, but this product overrides none; send the value itself")
    })
}

fn check_name(name: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!(
            "the name must be capital letters, digits and underscores, not begin with a digit, and have at most {NAME_CHARS} characters"
        ));
    }
    if is_predefined(name) {
        return Err("is the name of a variable of events; choose another".to_owned());
    }
    Ok(())
}

fn check_value(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if text.len() > limits::PARAMETER_BYTES => {
            Err(format!("must be at most {} bytes long", limits::PARAMETER_BYTES))
        }
        Value::String(_) => Ok(()),
        _ => Err("must be a text".to_owned()),
    }
}

fn wrong(name: &str, checked: Result<(), String>) -> Option<FieldError> {
    checked.err().map(|said| FieldError::new(format!("{FIELD}.{name}"), said))
}

fn no_object() -> FieldError {
    FieldError::new(FIELD, "must be an object of texts by name")
}

fn invalid(errors: Vec<FieldError>) -> Error {
    Error::Invalid { code: "invalid_integration", errors }
}
