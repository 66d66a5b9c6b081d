//! Testing an integration: one event sent for real, once (contract 3.4).

use std::sync::Arc;

use serde_json::{Map, Value};
use tributary_domain::{
    Event, EventId, FieldError, MemberId,
    access::{Action, Actor},
    event::{API_COREID, DEFAULT_TTL_SECONDS, check_data},
};

use crate::{
    Control, Error,
    place::{Found, Place, PlaceKey, not_a_product},
};

/// The data of a test that gives none.
const TEST_DATA: &str = "test-event";
/// Longest device id of a test, in bytes.
const DEVICE_BYTES: usize = 64;

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestResult {
    /// The destination took it; its reply, if it had a body.
    Passed(Option<String>),
    /// It did not, and this is why.
    Failed(String),
}

/// What a caller may say of a test.
struct Request {
    data: String,
    device: String,
    product: Option<String>,
}

impl Request {
    fn read(body: &Map<String, Value>) -> Result<Request, Error> {
        let mut errors = Vec::new();
        let mut text = |field: &str| match body.get(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) if field == "product_id" => Some(number.to_string()),
            Some(_) => {
                errors.push(FieldError::new(field, "must be a text"));
                None
            }
        };
        let data = text("data").unwrap_or_else(|| TEST_DATA.to_owned());
        let device = text("device_id").unwrap_or_else(|| API_COREID.to_owned());
        let product = text("product_id");
        errors.extend(check_data(&data).err());
        if device.is_empty() || device.len() > DEVICE_BYTES || device.chars().any(char::is_control) {
            errors.push(FieldError::new("device_id", "must be the id of a device, or api"));
        }
        if errors.is_empty() {
            Ok(Request { data, device, product })
        } else {
            Err(Error::Invalid { code: "invalid_request", errors })
        }
    }
}

impl Control {
    /// Sends one event through an integration: not counted, not retried, logged as a test. In an organization it goes
    /// through the product that `product_id` names, or the first one.
    ///
    /// # Errors
    /// When the integration is not the caller's to test, or the request is wrong. A destination that refuses is a
    /// [`TestResult::Failed`].
    pub async fn test_integration(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<TestResult, Error> {
        let place = self.place(actor, key, Action::TestIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let request = Request::read(body)?;
        let member = self.member_to_test(&place, &found, request.product.as_deref()).await?;
        let integration = &found.integration;
        let Some(route) = self.routes.route(integration, member).await? else {
            let why =
                "the stored configuration is no longer accepted; edit the integration to see what is wrong";
            return Ok(TestResult::Failed(why.to_owned()));
        };
        let mut id = [0; 16];
        (self.sources.random)(&mut id);
        let event = Event {
            id: EventId(id),
            product: route.counted.product,
            user: matches!(place, Place::Sandbox(_)).then_some(actor.user),
            coreid: request.device.into(),
            name: integration.text("event").into(),
            data: Some(request.data.into()),
            ttl: DEFAULT_TTL_SECONDS,
            published_at: self.now(),
            version: None,
        };
        let route = Arc::new(route);
        let attempt = self.pipeline.test(route.clone(), event).await;
        let mask = route.compiled.mask();
        Ok(match attempt.error {
            Some(error) => TestResult::Failed(mask.error(&error)),
            None => {
                let text = attempt.reply.map(|reply| mask.reply_text(&reply));
                TestResult::Passed(text.filter(|text| !text.is_empty()))
            }
        })
    }

    async fn member_to_test(
        &self,
        place: &Place,
        found: &Found,
        product: Option<&str>,
    ) -> Result<Option<MemberId>, Error> {
        if let Some(member) = found.member {
            return Ok(Some(member.id));
        }
        let members = &found.integration.members;
        let Some(key) = product.filter(|_| matches!(place, Place::Org(_))) else {
            return Ok(members.first().map(|member| member.id));
        };
        // One that exists elsewhere is as unknown as one that does not.
        let named = self.store.product(key).await?.filter(|product| product.owner == place.owner());
        let named = named.map(|product| product.id);
        match members.iter().find(|member| Some(member.product) == named) {
            Some(member) => Ok(Some(member.id)),
            None if named.is_some() => {
                Err(Error::field("product_id", format!("the integration does not execute on product {key}")))
            }
            None => Err(Error::field("product_id", not_a_product(key))),
        }
    }
}
