//! Finding equal integrations of an organization, and merging them (contract 1.2).

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tributary_domain::{
    IntegrationId,
    access::{Action, Actor},
    equality::{NameCounts, Normal},
    integration::Integration,
};
use tributary_store::integrations::{NotWritten, Seen, Which};

use crate::{
    Control, Error,
    integrations::{MemberView, View, member_views},
    place::{ATTEMPTS, Found, PlaceKey, changed_meanwhile, refusal},
    sharing::normal_of,
};

/// Integrations that differ in their name at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Duplicates {
    /// Two or more, oldest first, each with its products.
    pub integrations: Vec<(Integration, Vec<MemberView>)>,
    /// Whether their names differ.
    pub names_differ: bool,
}

impl Control {
    /// The groups of integrations of an organization that could be merged.
    ///
    /// # Errors
    /// When the organization is not the caller's to look at.
    pub async fn duplicates(&self, actor: &Actor, org: &str) -> Result<Vec<Duplicates>, Error> {
        let place = self.place(actor, PlaceKey::Org(org), Action::ListIntegrations).await?;
        let names = self.product_names(place.owner()).await?;
        let mut groups: BTreeMap<Normal, Vec<Integration>> = BTreeMap::new();
        for integration in self.store.integrations(Which::Of(place.owner())).await? {
            groups.entry(normal_of(&integration.config, NameCounts::No)).or_default().push(integration);
        }
        let mut groups: Vec<Vec<Integration>> =
            groups.into_values().filter(|group| group.len() > 1).collect();
        groups.sort_by_key(|group| group.first().map(|first| (first.created_at, first.id)));
        let with_products = |one: Integration| {
            let products = member_views(&one, &names);
            (one, products)
        };
        let told = |group: Vec<Integration>| Duplicates {
            names_differ: group.windows(2).any(|pair| pair[0].text("name") != pair[1].text("name")),
            integrations: group.into_iter().map(with_products).collect(),
        };
        Ok(groups.into_iter().map(told).collect())
    }

    /// Merges the integrations that the body names under `from` into this one: their products move over, their history
    /// is joined, and they are gone.
    ///
    /// # Errors
    /// 409 `not_equal` when one of them differs in more than its name, or has other parameters on the same product; 400 that names an entry which is none;
    /// [`Error::PlanRequired`].
    pub async fn merge_integrations(
        &self,
        actor: &Actor,
        org: &str,
        id: &str,
        body: &Map<String, Value>,
    ) -> Result<View, Error> {
        let place = self.place_to_write(actor, PlaceKey::Org(org), Action::UpdateIntegration).await?;
        // Those that are merged are gone afterwards.
        self.place(actor, PlaceKey::Org(org), Action::RemoveIntegration).await?;
        for _ in 0..ATTEMPTS {
            let into = self.find_integration(&place, id).await?.integration;
            let ids = read_from(body, into.id)?;
            let mut from = Vec::with_capacity(ids.len());
            for id in ids {
                let found = self.store.integration(Which::One(place.owner(), id)).await?;
                let found = found.ok_or_else(|| {
                    Error::field("from", format!("{id} is not an integration of this organization"))
                })?;
                must_be_equal(&into, &found)?;
                from.push(found);
            }
            must_agree(&into, &from)?;
            let seen: Vec<Seen> = from.iter().map(Seen::of).collect();
            match self.store.merge(place.owner(), Seen::of(&into), &seen, self.by(actor)).await? {
                Ok(now) => {
                    return self.view_in(&place, Found { integration: now, member: None }).await;
                }
                Err(NotWritten::Changed | NotWritten::Gone) => {}
                Err(why) => return Err(refusal(why, id)),
            }
        }
        Err(changed_meanwhile())
    }
}

fn must_be_equal(into: &Integration, from: &Integration) -> Result<(), Error> {
    let (one, other) = (normal_of(&into.config, NameCounts::No), normal_of(&from.config, NameCounts::No));
    let differing = one.differences(&other);
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(
        "not_equal",
        format!("{} differs from {} in {}; make them equal first", from.id, into.id, differing.join(", ")),
    ))
}

/// Where several of them execute on the same product, one copy stays: their parameters must be the same there.
fn must_agree(into: &Integration, from: &[Integration]) -> Result<(), Error> {
    let mut known = BTreeMap::new();
    for one in std::iter::once(into).chain(from) {
        for member in &one.members {
            let effective = one.effective(member.id);
            let first = known.entry(member.product).or_insert((one.id, effective.clone()));
            if first.1 != effective {
                let text = format!(
                    "{} differs from {} in the parameters of product {}; make them equal first",
                    one.id, first.0, member.product
                );
                return Err(Error::conflict("not_equal", text));
            }
        }
    }
    Ok(())
}

/// The ids under `from`: one or several, each once.
fn read_from(body: &Map<String, Value>, into: IntegrationId) -> Result<Vec<IntegrationId>, Error> {
    let entries = match body.get("from") {
        Some(Value::Array(entries)) => &entries[..],
        Some(entry @ Value::String(_)) => std::slice::from_ref(entry),
        _ => &[],
    };
    if entries.is_empty() {
        return Err(Error::field("from", "list the ids of the integrations to merge into this one"));
    }
    let mut ids = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = entry.as_str().and_then(|text| text.parse::<IntegrationId>().ok());
        match id {
            None => return Err(Error::field("from", format!("{entry} is not an id of an integration"))),
            Some(id) if id == into => {
                return Err(Error::field("from", format!("{id} is the integration itself")));
            }
            Some(id) if ids.contains(&id) => {}
            Some(id) => ids.push(id),
        }
    }
    Ok(ids)
}
