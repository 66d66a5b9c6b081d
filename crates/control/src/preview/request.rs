//! What a caller says of a preview.

use serde_json::{Map, Value};
use tributary_domain::{
    FieldError, Timestamp,
    draft::Level,
    event::{API_COREID, check_data, check_name},
};

use crate::Error;

/// Most sample events.
pub(super) const SAMPLES: usize = 20;
/// Most recent events of each product.
pub(super) const LAST: u64 = 50;
/// Recent events of each product that are looked at when a request does not say.
const LAST_DEFAULT: usize = 10;
/// Longest device id of a sample, in bytes.
const DEVICE_BYTES: usize = 64;

/// The events for which requests are shown.
pub(super) enum Source {
    /// These.
    Samples(Vec<Sample>),
    /// So many of those that came last.
    Last(usize),
}

/// An event that a caller makes up.
pub(super) struct Sample {
    /// `None`: the prefix of the integration.
    pub(super) name: Option<String>,
    pub(super) data: Option<String>,
    pub(super) device: String,
    /// `None`: now.
    pub(super) published_at: Option<Timestamp>,
}

/// See the module.
pub(super) struct Request {
    pub(super) config: Map<String, Value>,
    pub(super) id: Option<String>,
    pub(super) source: Source,
    products: Option<Vec<Value>>,
}

impl Request {
    pub(super) fn read(mut body: Map<String, Value>) -> Result<Request, Error> {
        let mut errors = Vec::new();
        let mut take = |field: &str| body.remove(field).filter(|value| !value.is_null());
        let config = match take("integration") {
            Some(Value::Object(config)) => config,
            _ => {
                errors.push(FieldError::new("integration", "must be the configuration, as an object"));
                Map::new()
            }
        };
        let id = match take("id") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => {
                errors.push(FieldError::new("id", "must be the id of an integration"));
                None
            }
        };
        let products = match take("product_ids") {
            None => None,
            Some(Value::Array(entries)) => Some(entries),
            Some(single) => Some(vec![single]),
        };
        let source = read_source(take("events"), take("last"), &mut errors);
        match errors.is_empty() {
            true => Ok(Request { config, id, source, products }),
            false => Err(Error::Invalid { code: "invalid_request", errors }),
        }
    }

    /// The products to which the preview is limited, if it is. Where a new integration has no list of its own, this is
    /// its list.
    pub(super) fn take_products(&mut self, exists: bool, level: Level) -> Option<Vec<Value>> {
        let products = self.products.take().filter(|_| level == Level::Org)?;
        let listed = ["product_ids", "product_ids[]"].iter().any(|key| self.config.contains_key(*key));
        if exists || listed {
            return Some(products);
        }
        self.config.insert("product_ids".to_owned(), products.into());
        None
    }
}

fn read_source(events: Option<Value>, last: Option<Value>, errors: &mut Vec<FieldError>) -> Source {
    let mut wrong = |field: &str, message: String| {
        errors.push(FieldError::new(field, message));
        Source::Last(0)
    };
    match (events, last) {
        (Some(_), Some(_)) => wrong("last", "cannot be used together with events".to_owned()),
        (None, None) => Source::Last(LAST_DEFAULT),
        (None, Some(last)) => {
            let number = last.as_u64().or_else(|| last.as_str()?.parse().ok());
            let number = number.filter(|number| (1..=LAST).contains(number));
            match number.and_then(|number| usize::try_from(number).ok()) {
                Some(number) => Source::Last(number),
                None => wrong("last", format!("must be a number from 1 to {LAST}")),
            }
        }
        (Some(Value::Array(events)), None) if (1..=SAMPLES).contains(&events.len()) => {
            let read = |(at, event)| read_sample(at, event, errors);
            Source::Samples(events.iter().enumerate().filter_map(read).collect())
        }
        (Some(_), None) => wrong("events", format!("must be a list of 1 to {SAMPLES} events")),
    }
}

fn read_sample(at: usize, event: &Value, errors: &mut Vec<FieldError>) -> Option<Sample> {
    let before = errors.len();
    let mut wrong = |field: &str, message: &str| {
        let path = if field.is_empty() { format!("events.{at}") } else { format!("events.{at}.{field}") };
        errors.push(FieldError::new(path, message));
    };
    let Some(event) = event.as_object() else {
        wrong("", "must be an object");
        return None;
    };
    let mut text = |field: &str| match event.get(field) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            wrong(field, "must be a text");
            None
        }
    };
    let (name, data, published) = (text("name"), text("data"), text("published_at"));
    let device = text("coreid").or_else(|| text("device_id")).unwrap_or_else(|| API_COREID.to_owned());
    if let Some(error) = name.as_deref().and_then(|name| check_name(name).err()) {
        wrong("name", &error.message);
    }
    if let Some(error) = data.as_deref().and_then(|data| check_data(data).err()) {
        wrong("data", &error.message);
    }
    if device.is_empty() || device.len() > DEVICE_BYTES || device.chars().any(char::is_control) {
        wrong("coreid", "must be the id of a device, or api");
    }
    let published_at = published.as_deref().and_then(Timestamp::parse);
    if published.is_some() && published_at.is_none() {
        wrong("published_at", "must be a date or time in ISO 8601");
    }
    (errors.len() == before).then_some(Sample { name, data, device, published_at })
}
