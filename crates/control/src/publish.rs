//! Publishing events (contract 4.1).

use serde_json::{Map, Value};
use tributary_domain::{
    DeviceId, Event, EventId, FieldError, OrgId, Owner, ProductId, UserId,
    access::{Action, Actor},
    account::Product,
    event::{API_COREID, DEFAULT_TTL_SECONDS, check_data, check_name},
};
use tributary_pipeline::{Incoming, IngestError};

use crate::{Control, Error};

/// Longest lifetime of an event, in seconds.
const TTL_MAX_SECONDS: u32 = 16_777_215;

/// An event as a caller gives it, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    name: Box<str>,
    data: Option<Box<str>>,
    ttl: u32,
    as_device_id: Option<String>,
}

impl NewEvent {
    /// Reads `{name, data?, ttl?, private?, as_device_id?}`; numbers may be given as text, as forms do.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(mut body: Map<String, Value>) -> Result<NewEvent, Error> {
        let mut errors = Vec::new();
        let mut text = |field: &str| match body.remove(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                errors.push(FieldError::new(field, "must be a string"));
                None
            }
        };
        let (name, data, as_device_id) = (text("name"), text("data"), text("as_device_id"));
        let named = errors.iter().any(|e| e.field == "name");
        match &name {
            Some(name) => errors.extend(check_name(name).err()),
            None if !named => errors.push(FieldError::new("name", "is required")),
            None => {}
        }
        errors.extend(data.as_deref().and_then(|data| check_data(data).err()));
        let ttl = read_ttl(body.get("ttl")).unwrap_or_else(|error| {
            errors.push(error);
            DEFAULT_TTL_SECONDS
        });
        if !errors.is_empty() {
            return Err(Error::Invalid { code: "invalid_event", errors });
        }
        let name = name.unwrap_or_default().into();
        Ok(NewEvent { name, data: data.map(Into::into), ttl, as_device_id })
    }
}

fn read_ttl(value: Option<&Value>) -> Result<u32, FieldError> {
    let ttl = match value {
        None | Some(Value::Null) => return Ok(DEFAULT_TTL_SECONDS),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_u64(),
    };
    let ttl = ttl.and_then(|ttl| u32::try_from(ttl).ok()).filter(|ttl| *ttl <= TTL_MAX_SECONDS);
    ttl.ok_or_else(|| {
        FieldError::new("ttl", format!("must be a whole number of seconds from 0 to {TTL_MAX_SECONDS}"))
    })
}

/// Where an event happens and whose it is.
struct Origin {
    product: Option<ProductId>,
    org: Option<OrgId>,
    user: Option<UserId>,
    coreid: Box<str>,
}

impl Control {
    /// Publishes in the caller's own sandbox. Returns once the event is durable.
    ///
    /// # Errors
    /// A wrong field, a missing scope, or [`Error::Unavailable`] when it cannot be stored.
    pub async fn publish_sandbox(&self, actor: &Actor, new: NewEvent) -> Result<(), Error> {
        self.sandbox(actor, Action::SendEvents)?;
        actor.may_send_as(None).map_err(Error::Forbidden)?;
        if new.as_device_id.is_some() {
            return Err(Error::field(
                "as_device_id",
                "is for product events; publish to /v1/products/:p/events",
            ));
        }
        let origin = Origin { product: None, org: None, user: Some(actor.user), coreid: API_COREID.into() };
        self.accept(&[self.incoming(new, origin)]).await
    }

    /// Publishes in a product, as one of its devices if `as_device_id` says so.
    ///
    /// # Errors
    /// As [`Control::publish_sandbox`], and when the product is not the caller's to publish in.
    pub async fn publish_product(&self, actor: &Actor, product: &str, new: NewEvent) -> Result<(), Error> {
        let product = self.product(actor, product, Action::SendEvents).await?;
        let origin = self.origin(actor, &product, new.as_device_id.as_deref()).await?;
        self.accept(&[self.incoming(new, origin)]).await
    }

    /// Publishes one event in every product of an organization: all of them or none.
    ///
    /// # Errors
    /// As [`Control::publish_sandbox`].
    pub async fn publish_org(&self, actor: &Actor, org: &str, new: NewEvent) -> Result<(), Error> {
        let org = self.org(actor, org, Action::SendEvents).await?;
        actor.may_send_as(None).map_err(Error::Forbidden)?;
        if new.as_device_id.is_some() {
            return Err(Error::field(
                "as_device_id",
                "is for product events; publish to /v1/products/:p/events",
            ));
        }
        let products = self.store.product_ids_of(Owner::Org(org.id)).await?;
        let incoming: Vec<Incoming> = products
            .into_iter()
            .map(|product| {
                let (product, org) = (Some(product), Some(org.id));
                self.incoming(new.clone(), Origin { product, org, user: None, coreid: API_COREID.into() })
            })
            .collect();
        self.accept(&incoming).await
    }

    /// Publishes many events in a product: the good ones in one commit, each with its own answer.
    ///
    /// # Errors
    /// When the product is not the caller's to publish in, or nothing can be stored.
    pub async fn publish_batch(
        &self,
        actor: &Actor,
        product: &str,
        lines: Vec<Result<NewEvent, Error>>,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let product = self.product(actor, product, Action::SendEvents).await?;
        let mut incoming = Vec::with_capacity(lines.len());
        let mut results = Vec::with_capacity(lines.len());
        for line in lines {
            let origin = match &line {
                Ok(new) => self.origin(actor, &product, new.as_device_id.as_deref()).await,
                Err(_) => self.origin(actor, &product, None).await,
            };
            results.push(match (line, origin) {
                (Ok(new), Ok(origin)) => {
                    incoming.push(self.incoming(new, origin));
                    Ok(())
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            });
        }
        self.accept(&incoming).await?;
        Ok(results)
    }

    async fn origin(
        &self,
        actor: &Actor,
        product: &Product,
        as_device_id: Option<&str>,
    ) -> Result<Origin, Error> {
        actor.may_send_as(as_device_id.and_then(|id| id.parse().ok())).map_err(Error::Forbidden)?;
        let org = match product.owner {
            Owner::Org(id) => Some(id),
            Owner::User(_) => None,
        };
        let api = Origin { product: Some(product.id), org, user: None, coreid: API_COREID.into() };
        let Some(id) = as_device_id else { return Ok(api) };
        let not_there = || Error::field("as_device_id", format!("{id} is not a device of this product"));
        let id: DeviceId = id.parse().map_err(|_| not_there())?;
        let device = self.device_in_product(product.id, id).await?.ok_or_else(not_there)?;
        Ok(Origin { user: device.user, coreid: id.to_string().into(), ..api })
    }

    fn incoming(&self, new: NewEvent, origin: Origin) -> Incoming {
        let mut id = [0; 16];
        (self.sources.random)(&mut id);
        // A random UUID (RFC 9562, version 4).
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        let event = Event {
            id: EventId(id),
            product: origin.product,
            user: origin.user,
            coreid: origin.coreid,
            name: new.name,
            data: new.data,
            ttl: new.ttl,
            published_at: self.now(),
            version: None,
        };
        Incoming { event, org: origin.org }
    }

    async fn accept(&self, incoming: &[Incoming]) -> Result<(), Error> {
        let accepted = match incoming {
            [one] => self.pipeline.ingest().accept(one).await,
            many => self.pipeline.ingest().accept_all(many).await,
        };
        accepted.map_err(|IngestError::Unavailable(_)| Error::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<NewEvent, Vec<String>> {
        let Value::Object(map) = value else { panic!("an object") };
        NewEvent::read(map).map_err(|error| match error {
            Error::Invalid { errors, .. } => errors.into_iter().map(|e| e.field).collect(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn wrong_fields_of_an_event_are_all_named() {
        for (body, fields) in [
            (json!({}), vec!["name"]),
            (json!({"name": 5}), vec!["name"]),
            (json!({"name": "spark/x", "ttl": -1}), vec!["name", "ttl"]),
            (json!({"name": "a", "data": {"b": 1}, "ttl": "soon"}), vec!["data", "ttl"]),
            (json!({"name": "a", "data": "x".repeat(16_385)}), vec!["data"]),
            (json!({"name": "a", "as_device_id": 7}), vec!["as_device_id"]),
        ] {
            assert_eq!(read(body.clone()).unwrap_err(), fields, "{body}");
        }
    }

    #[test]
    fn numbers_may_be_text_and_the_lifetime_has_a_default() {
        assert_eq!(read(json!({"name": "a", "ttl": "30", "private": "true"})).unwrap().ttl, 30);
        assert_eq!(read(json!({"name": "a", "data": null})).unwrap(), read(json!({"name": "a"})).unwrap());
    }
}
