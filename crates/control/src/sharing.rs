//! Sharing an integration among products: adding and removing products, and separating one (contract 1 and 1.2).

use serde_json::{Map, Value};
use tributary_domain::{
    Owner,
    access::{Action, Actor},
    account::Product,
    equality::{NameCounts, Normal, normal},
    integration::Config,
    parameters,
};
use tributary_store::{
    integrations::{NotWritten, Seen},
    members::MemberKey,
};
use tributary_targets::kinds;

use crate::{
    Control, Error,
    drafting::Checked,
    integrations::View,
    kept,
    parameters::{read_overrides, take_overrides},
    place::{ATTEMPTS, Found, PlaceKey, changed_meanwhile, no_integration, not_shared, refusal},
    signing,
};

impl Control {
    /// Lets an integration of an organization execute on one more product. One on which it executes already is no change.
    /// Where the body has `parameters`, they become the product's overrides.
    ///
    /// # Errors
    /// When there is no such integration or product; every override that is not declared or not a text;
    /// [`Error::PlanRequired`].
    pub async fn add_product(
        &self,
        actor: &Actor,
        org: &str,
        id: &str,
        product: &str,
        mut body: Map<String, Value>,
    ) -> Result<View, Error> {
        if let Some(given) = take_overrides(&mut body)? {
            return self.override_parameters(actor, org, id, product, (&given, &body)).await;
        }
        let place = self.place_to_write(actor, PlaceKey::Org(org), Action::CreateIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let product = self.product_of(place.owner(), product).await?;
        let member = self.new_members(&[product.id])[0];
        let by = self.by(actor);
        let added = self.store.add_member(place.owner(), found.integration.id, member, by).await?;
        let now = added.map_err(|why| refusal(why, id))?;
        self.view_in(&place, Found { integration: now, member: None }).await
    }

    async fn override_parameters(
        &self,
        actor: &Actor,
        org: &str,
        id: &str,
        product: &str,
        (given, body): (&Map<String, Value>, &Map<String, Value>),
    ) -> Result<View, Error> {
        let place = self.place_to_write(actor, PlaceKey::Org(org), Action::UpdateIntegration).await?;
        let key = product;
        for _ in 0..ATTEMPTS {
            let old = self.find_integration(&place, id).await?.integration;
            let product = self.product_of(place.owner(), key).await?;
            let member = old.members.iter().find(|member| member.product == product.id).copied();
            if member.is_none() {
                self.place(actor, PlaceKey::Org(org), Action::CreateIntegration).await?;
            }
            let stored = member.and_then(|member| old.overrides_of(member.id));
            let overrides = read_overrides(given, &old, stored)?;
            let member = member.unwrap_or_else(|| self.new_members(&[product.id])[0]);
            kept::check_overrides(&old, member.id, &overrides, body)?;
            let (seen, by) = (Seen::of(&old), self.by(actor));
            match self.store.override_parameters(place.owner(), seen, member, &overrides, by).await? {
                Ok(now) => {
                    return self.view_in(&place, Found { integration: now, member: None }).await;
                }
                Err(NotWritten::Changed | NotWritten::Gone) => {}
                Err(why) => return Err(refusal(why, id)),
            }
        }
        Err(changed_meanwhile())
    }

    /// Takes a product out of an integration of an organization; with the last one the integration is deleted.
    ///
    /// # Errors
    /// When there is no such integration, or the product is none of its; [`Error::PlanRequired`].
    pub async fn remove_product(
        &self,
        actor: &Actor,
        org: &str,
        id: &str,
        product: &str,
    ) -> Result<(), Error> {
        let place = self.place_to_write(actor, PlaceKey::Org(org), Action::RemoveIntegration).await?;
        let found = self.find_integration(&place, id).await?.integration;
        let key = product;
        let product = self.product_of(place.owner(), key).await?;
        let removed = self
            .store
            .remove_member(place.owner(), MemberKey::Of(found.id, product.id), self.by(actor))
            .await?;
        removed.map_err(|why| match why {
            NotWritten::Gone => Error::not_found(format!("product {key} of integration {id}")),
            why => refusal(why, id),
        })?;
        Ok(())
    }

    /// Gives a product its own copy of a shared integration, with the configuration of a request's body, which must
    /// differ from the shared one. The product's id of it stays.
    ///
    /// # Errors
    /// Every wrong field at once; 409 `not_shared`; 400 `nothing_changed`.
    pub async fn separate(
        &self,
        actor: &Actor,
        product: &str,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<View, Error> {
        let place = self.place(actor, PlaceKey::Product(product), Action::UpdateIntegration).await?;
        for _ in 0..ATTEMPTS {
            let Found { integration: shared, member } = self.find_integration(&place, id).await?;
            let member = member.ok_or_else(|| no_integration(id))?;
            if !shared.is_shared() {
                return Err(not_shared());
            }
            let Checked { mut config, made, .. } =
                self.check_draft(&place, body.clone(), Some(&shared), Some(member.id)).await?;
            parameters::inherit(&mut config, &shared.config);
            if normal_of(&config, NameCounts::Yes) == normal_of(&shared.config, NameCounts::Yes) {
                return Err(Error::refused(
                    "nothing_changed",
                    "the configuration is the same as the shared one; change at least one field, a name is enough",
                ));
            }
            parameters::fold(&mut config, &shared, member.id);
            let own = self.new_integration(place.owner(), config, vec![member]);
            match self.store.separate(Seen::of(&shared), member.id, &own, self.by(actor)).await? {
                Ok(()) => {
                    let view = self.view_in(&place, Found { integration: own, member: Some(member) }).await?;
                    return Ok(signing::tell(view, made));
                }
                Err(NotWritten::Changed | NotWritten::Gone) => {}
                Err(why) => return Err(refusal(why, id)),
            }
        }
        Err(changed_meanwhile())
    }

    /// A product of this owner, by id or slug.
    async fn product_of(&self, owner: Owner, key: &str) -> Result<Product, Error> {
        let product = self.store.product(key).await?.filter(|product| product.owner == owner);
        product.ok_or_else(|| Error::not_found(format!("product {key}")))
    }
}

/// A configuration in the form in which it is compared, with the defaults of its kind.
pub(crate) fn normal_of(config: &Config, name: NameCounts) -> Normal {
    let kind = config.get("integration_type").and_then(Value::as_str).and_then(kinds::find);
    normal(config, &kind.map(kinds::defaults).unwrap_or_default(), name)
}
