//! Redelivery: what failed or was skipped is made again, all of a time or one row of the log alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tributary_domain::{
    FieldError, IntegrationId, MemberId, ProductId, Timestamp,
    access::{Action, Actor},
    outcome::Outcome,
};
pub use tributary_store::redelivery::Run;
use tributary_store::redelivery::{Begun, Chosen, RUNS_AT_ONCE};

use crate::{
    Control, Error,
    place::{Found, Place, PlaceKey, no_integration},
};

/// What was asked for, or would be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redelivering {
    /// The run; `None` when it was only counted, or when nothing is kept that was chosen.
    pub run: Option<Run>,
    /// How many by product; in a sandbox one entry without a product.
    pub counts: Vec<(Option<ProductId>, i64)>,
    /// Whether it was only counted.
    pub dry_run: bool,
}

/// A body that was read.
struct Asked {
    from: Timestamp,
    to: Timestamp,
    outcome: Option<Outcome>,
    products: Option<Vec<ProductId>>,
    dry_run: bool,
}

impl Control {
    /// Begins to make failed and skipped deliveries again, or only counts them with `dry_run`. Without `from` those from
    /// the oldest that is kept, without `to` those up to now, without `outcome` both kinds.
    ///
    /// # Errors
    /// When there is no such integration; every wrong field; 409 when it is disabled or too many are under way.
    pub async fn redeliver(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<Redelivering, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let asked = read(body, &found, self.now())?;
        let chosen = Chosen {
            integration: found.integration.id,
            member: found.member.map(|member| member.id),
            kept: None,
            from: asked.from,
            to: asked.to,
            outcome: asked.outcome,
            products: asked.products,
        };
        if asked.dry_run {
            let counts = self.store.count_kept(place.owner(), &chosen).await?;
            return Ok(Redelivering { run: None, counts, dry_run: true });
        }
        self.begin(actor, &place, &found, &chosen, id).await
    }

    /// Makes the delivery of one row of the log again.
    ///
    /// # Errors
    /// When there is no such integration or row, or its event is no longer kept; as [`Control::redeliver`].
    pub async fn redeliver_one(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        log: &str,
    ) -> Result<Redelivering, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let (integration, member) = (found.integration.id, found.member.map(|member| member.id));
        let missing = || Error::not_found(format!("row {log} in the log of the integration"));
        let number = log.parse::<i64>().map_err(|_| missing())?;
        let row = self.store.kept_of_log(place.owner(), integration, member, number).await?;
        let row = row.ok_or_else(missing)?;
        let kept = row.kept.ok_or_else(|| {
            Error::conflict(
                "not_kept",
                "the event of this delivery is not kept: it succeeded, was delivered since, or is too old",
            )
        })?;
        if row.under_way {
            return Err(Error::conflict("under_way", "this delivery is being made again already"));
        }
        let chosen = Chosen {
            integration,
            member,
            kept: Some(vec![kept]),
            from: Timestamp(0),
            to: self.now(),
            outcome: None,
            products: None,
        };
        self.begin(actor, &place, &found, &chosen, id).await
    }

    /// Makes these kept deliveries again, a run for each of their integrations. What was delivered since is left out. Gives how
    /// many are made again.
    ///
    /// # Errors
    /// When one of them is not of the place; as [`Control::redeliver`].
    pub async fn redeliver_kept(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        ids: &[i64],
    ) -> Result<usize, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        let rows = self.store.integrations_of_kept(place.owner(), ids).await?;
        let mut groups: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (integration, member, product, kept) in rows {
            let of_place = match &place {
                Place::Org(_) => Some(integration.to_string()),
                Place::Product(here) if product == Some(here.id) => member.map(|member| member.to_string()),
                Place::Sandbox(_) if member.is_none() => Some(integration.to_string()),
                _ => None,
            };
            groups
                .entry(of_place.ok_or_else(|| Error::not_found(format!("kept delivery {kept}")))?)
                .or_default()
                .push(kept);
        }
        let mut total = 0;
        for (id, kept) in groups {
            let found = self.find_integration(&place, &id).await?;
            let chosen = Chosen {
                integration: found.integration.id,
                member: found.member.map(|member| member.id),
                kept: Some(kept),
                from: Timestamp(0),
                to: self.now(),
                outcome: None,
                products: None,
            };
            let begun = self.begin(actor, &place, &found, &chosen, &id).await?;
            total += begun.counts.iter().map(|(_, n)| usize::try_from(*n).unwrap_or_default()).sum::<usize>();
        }
        Ok(total)
    }

    async fn begin(
        &self,
        actor: &Actor,
        place: &Place,
        found: &Found,
        chosen: &Chosen,
        key: &str,
    ) -> Result<Redelivering, Error> {
        let integration = &found.integration;
        if integration.config.get("disabled").and_then(Value::as_bool).unwrap_or_default() {
            return Err(Error::conflict(
                "disabled",
                format!("integration {} is disabled; enable it first", integration.text("name")),
            ));
        }
        let owner = place.owner();
        let run = IntegrationId(self.new_id()).to_string();
        let (begun, counts) = self.store.begin_redelivery(owner, &run, chosen, self.by(actor)).await?;
        match begun {
            Begun::Yes => {
                let only = found.member.map(|member| member.id);
                let run = self.run(place, integration.id, only, &run).await?;
                Ok(Redelivering { run: Some(run), counts, dry_run: false })
            }
            Begun::Nothing => Ok(Redelivering { run: None, counts, dry_run: false }),
            Begun::Gone => Err(no_integration(key)),
            Begun::TooMany => Err(Error::conflict(
                "too_many_redeliveries",
                format!(
                    "{RUNS_AT_ONCE} redeliveries are under way; wait for one of them to finish or cancel one"
                ),
            )),
        }
    }

    /// The newest redeliveries of an integration, newest first; in a product those of this product alone.
    ///
    /// # Errors
    /// When there is no such integration, or it is not the caller's to look at.
    pub async fn redeliveries(&self, actor: &Actor, key: PlaceKey<'_>, id: &str) -> Result<Vec<Run>, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let only = found.member.map(|member| member.id);
        Ok(self.store.redeliveries(place.owner(), found.integration.id, only, None).await?)
    }

    /// How far a redelivery is.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's to look at.
    pub async fn redelivery(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        run: &str,
    ) -> Result<Run, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        self.run(&place, found.integration.id, found.member.map(|member| member.id), run).await
    }

    /// Cancels a redelivery: what is not being sent at this moment stays kept.
    ///
    /// # Errors
    /// When there is none; 409 when it has ended.
    pub async fn cancel_redelivery(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        run: &str,
    ) -> Result<Run, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let only = found.member.map(|member| member.id);
        self.run(&place, found.integration.id, only, run).await?;
        if !self.pipeline.cancel_redelivery(place.owner(), run, self.by(actor)).await? {
            return Err(Error::conflict("not_running", "this redelivery has ended"));
        }
        self.run(&place, found.integration.id, only, run).await
    }

    async fn run(
        &self,
        place: &Place,
        integration: IntegrationId,
        member: Option<MemberId>,
        run: &str,
    ) -> Result<Run, Error> {
        let found = self.store.redeliveries(place.owner(), integration, member, Some(run)).await?;
        found.into_iter().next().ok_or_else(|| Error::not_found(format!("redelivery {run}")))
    }
}

/// Reads a body, every wrong field at once. Forms have texts for everything.
fn read(body: &Map<String, Value>, found: &Found, now: Timestamp) -> Result<Asked, Error> {
    let mut errors = Vec::new();
    let mut asked = Asked { from: Timestamp(0), to: now, outcome: None, products: None, dry_run: false };
    for (field, value) in body {
        if value.is_null() || value.as_str() == Some("") {
            continue;
        }
        if let Err(wrong) = asked.take(field, value, found) {
            errors.push(FieldError::new(field, wrong));
        }
    }
    if errors.is_empty() && asked.from > asked.to {
        errors.push(FieldError::new("from", "must not be after to"));
    }
    match errors.is_empty() {
        true => Ok(asked),
        false => Err(Error::Invalid { code: "invalid_request", errors }),
    }
}

impl Asked {
    fn take(&mut self, field: &str, value: &Value, found: &Found) -> Result<(), String> {
        match field {
            "from" => self.from = time(value)?,
            "to" => self.to = time(value)?,
            "outcome" => {
                self.outcome = match value.as_str() {
                    Some("error") => Some(Outcome::Error),
                    Some("skipped") => Some(Outcome::Skipped),
                    _ => return Err("must be error or skipped; both when absent".to_owned()),
                }
            }
            "dry_run" => {
                self.dry_run = match (value.as_bool(), value.as_str()) {
                    (Some(flag), _) => flag,
                    (None, Some("true")) => true,
                    (None, Some("false")) => false,
                    _ => return Err("must be true or false".to_owned()),
                }
            }
            "product_ids" => self.products = Some(products(value, found)?),
            _ => return Err("is not known; known are from, to, outcome, product_ids and dry_run".to_owned()),
        }
        Ok(())
    }
}

fn time(value: &Value) -> Result<Timestamp, String> {
    let read = match value {
        Value::Number(ms) => ms.as_i64().map(Timestamp),
        Value::String(text) => Timestamp::parse(text).or_else(|| text.parse().ok().map(Timestamp)),
        _ => None,
    };
    read.ok_or_else(|| {
        "must be a date or time in ISO 8601, e.g. 2024-01-31T12:00:00Z, or milliseconds since 1970".to_owned()
    })
}

fn products(value: &Value, found: &Found) -> Result<Vec<ProductId>, String> {
    let list = value.as_array().ok_or("must be a list of the ids of products of this integration")?;
    let is_member = |id: &ProductId| match found.member {
        Some(member) => member.product == *id,
        None => found.integration.members.iter().any(|member| member.product == *id),
    };
    list.iter()
        .map(|entry| {
            let id = entry.as_i64().or_else(|| entry.as_str()?.parse().ok()).map(ProductId);
            id.filter(is_member).ok_or_else(|| format!("the integration does not execute on product {entry}"))
        })
        .collect()
}
