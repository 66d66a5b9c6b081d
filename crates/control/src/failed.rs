//! Failed and skipped deliveries that are kept, looked for by what one knows of them; and what waits.

use std::collections::HashMap;

use tributary_domain::{
    FieldError, IntegrationId, Timestamp,
    access::{Action, Actor},
    outcome::Outcome,
};
use tributary_store::failed::FailedQuery;
pub use tributary_store::failed::{FailedRow, WaitingRow};

use crate::{
    Control, Error,
    place::{Found, Place, PlaceKey},
};

/// Rows of a page.
const ROWS: usize = 50;
/// Waiting deliveries that are shown of one integration.
const WAITING_SHOWN: usize = 10;

/// The filters of a page of failed deliveries, as given; an empty one does not narrow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedParams {
    /// The id of an integration in the place.
    pub integration: String,
    /// The id or slug of a product.
    pub product: String,
    /// `error` or `skipped`.
    pub outcome: String,
    /// From this time, ISO 8601.
    pub from: String,
    /// To this time, ISO 8601.
    pub to: String,
    /// Part of a device's id.
    pub device: String,
    /// The beginning of an event's name.
    pub event: String,
    /// `2` to `5` for the class of a reply, `none` for no reply.
    pub status: String,
    /// Part of what went wrong.
    pub text: String,
    /// The last row of the page before.
    pub before: String,
}

/// A page of failed deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct FailedPage {
    /// Its rows, newest first.
    pub rows: Vec<FailedRow>,
    /// What [`FailedParams::before`] of the next page is.
    pub next: Option<i64>,
}

/// What waits of an integration.
#[derive(Clone, Debug, PartialEq)]
pub struct WaitingDeliveries {
    /// How many.
    pub count: i64,
    /// Those that are due first.
    pub first: Vec<WaitingRow>,
}

impl Control {
    /// The failed and skipped deliveries of a place that are kept.
    ///
    /// # Errors
    /// When the place is not the caller's to look at; every wrong filter.
    pub async fn failed_deliveries(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        params: &FailedParams,
    ) -> Result<FailedPage, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let mut query = read(params)?;
        query.sandbox = matches!(place, Place::Sandbox(_));
        if let Place::Product(product) = &place {
            query.product = Some(product.id);
        } else if !params.product.is_empty() {
            let found = self.store.product(&params.product).await?;
            let found = found.filter(|product| product.owner == place.owner());
            query.product =
                Some(found.ok_or_else(|| Error::field("product", "is not one of this place"))?.id);
        }
        if !params.integration.is_empty() {
            query.integration =
                Some(self.find_integration(&place, &params.integration).await?.integration.id);
        }
        let mut rows = self.store.failed(place.owner(), &query).await?;
        let more = rows.len() > ROWS;
        rows.truncate(ROWS);
        let next = rows.last().filter(|_| more).map(|row| row.id);
        Ok(FailedPage { rows, next })
    }

    /// The deliveries of an integration that wait for an attempt, in a product those of it alone.
    ///
    /// # Errors
    /// When there is no such integration, or it is not the caller's to look at.
    pub async fn waiting_deliveries(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
    ) -> Result<WaitingDeliveries, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let Found { integration, member } = self.find_integration(&place, id).await?;
        let product = member.map(|member| member.product);
        let counts = self.store.waiting_counts(&[integration.id], product).await?;
        let count = counts.get(&integration.id).copied().unwrap_or_default();
        let first = self.store.waiting(integration.id, product, WAITING_SHOWN).await?;
        Ok(WaitingDeliveries { count, first })
    }

    /// How many deliveries of integrations of a place wait, in a product those of it alone.
    ///
    /// # Errors
    /// When the place is not the caller's to look at.
    pub async fn waiting_counts(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        ids: &[IntegrationId],
    ) -> Result<HashMap<IntegrationId, i64>, Error> {
        let place = self.place(actor, key, Action::ListIntegrations).await?;
        let product = if let Place::Product(product) = &place { Some(product.id) } else { None };
        Ok(self.store.waiting_counts(ids, product).await?)
    }
}

/// Reads what does not depend on the place, every wrong filter at once.
fn read(params: &FailedParams) -> Result<FailedQuery, Error> {
    let mut errors = Vec::new();
    let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let mut time = |field: &str, text: &str| {
        let read = filled(text).map(|text| Timestamp::parse(&text));
        if read == Some(None) {
            errors.push(FieldError::new(field, "must be a time in ISO 8601, e.g. 2024-01-31T12:00:00Z"));
        }
        read.flatten()
    };
    let (from, to) = (time("from", &params.from), time("to", &params.to));
    let mut one_of = |field: &str, known: bool, which: &str| {
        if !known {
            errors.push(FieldError::new(field, format!("must be {which}")));
        }
    };
    let outcome = match params.outcome.as_str() {
        "error" => Some(Outcome::Error),
        "skipped" => Some(Outcome::Skipped),
        other => {
            one_of("outcome", other.is_empty(), "error or skipped");
            None
        }
    };
    let status_class = match params.status.as_str() {
        "none" => Some(0),
        "2" | "3" | "4" | "5" => params.status.parse().ok(),
        other => {
            one_of("status", other.is_empty(), "2, 3, 4, 5 or none");
            None
        }
    };
    let before = filled(&params.before).map(|text| text.parse::<i64>());
    one_of("before", !matches!(before, Some(Err(_))), "what a page gave");
    if !errors.is_empty() {
        return Err(Error::Invalid { code: "invalid_request", errors });
    }
    Ok(FailedQuery {
        outcome,
        from,
        to,
        device: filled(&params.device),
        event: Some(params.event.clone()).filter(|event| !event.is_empty()),
        status_class,
        text: filled(&params.text),
        before: before.and_then(Result::ok),
        // One more than is shown tells whether there is a next page.
        rows: ROWS + 1,
        ..FailedQuery::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_filter_is_named_at_once_and_blanks_do_not_narrow() {
        let params = |text: &str| FailedParams {
            outcome: text.into(),
            from: text.into(),
            to: text.into(),
            status: text.into(),
            before: text.into(),
            ..FailedParams::default()
        };
        let Err(Error::Invalid { errors, .. }) = read(&params("x")) else { panic!("it must be refused") };
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["from", "to", "outcome", "status", "before"]);
        let none = FailedParams { device: " ".into(), text: "\t".into(), ..params("") };
        assert_eq!(read(&none).ok(), Some(FailedQuery { rows: ROWS + 1, ..FailedQuery::default() }));
    }
}
