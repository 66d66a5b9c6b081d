//! Integrations in all three places: listing, reading, creating, changing and deleting them (contract 1.1, 1.2, 3).

use std::collections::HashMap;

use serde_json::{Map, Value};
use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId,
    access::{Action, Actor},
    integration::{Config, Integration, Member},
    parameters::{self, Overrides, Parameters},
    sensitive,
};
use tributary_store::{
    history::Counts,
    integrations::{NotWritten, Seen, Which},
    members::MemberKey,
};

use crate::{
    Control, Error,
    drafting::Checked,
    expecting::Expected,
    place::{ATTEMPTS, Found, Place, PlaceKey, changed_meanwhile, refusal, shared_integration},
    signing,
};

/// A product on which an integration executes, as an organization shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The membership.
    pub member: Member,
    /// The product's slug.
    pub slug: String,
    /// The product's name.
    pub name: String,
    /// The parameters that it overrides, sensitive ones masked; `None` when none is declared.
    pub overrides: Option<Parameters>,
}

/// An integration as it is shown in a place.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The integration, sensitive values masked.
    pub integration: Integration,
    /// In a product: its membership.
    pub member: Option<Member>,
    /// What was counted since 00:00 UTC: over all products, or in a product for its member.
    pub today: Counts,
    /// In an organization: the products with their names.
    pub products: Vec<MemberView>,
    /// When it was asked for: the newest log entries, newest first.
    pub logs: Option<Vec<Value>>,
    /// Where it is shown alone: the number of its present version.
    pub version: Option<i64>,
}

impl Control {
    /// The integrations of a place, oldest first.
    ///
    /// # Errors
    /// When the place is not the caller's to look at.
    pub async fn list_integrations(&self, actor: &Actor, key: PlaceKey<'_>) -> Result<Vec<View>, Error> {
        let place = self.place(actor, key, Action::ListIntegrations).await?;
        let (owner, today) = (place.owner(), self.now().day());
        Ok(match &place {
            Place::Sandbox(user) => {
                let counts = self.store.day_of_owner(owner, today).await?;
                let all = self.store.integrations(Which::Sandbox(*user)).await?;
                let count = |id: &IntegrationId| counts.get(id).copied().unwrap_or_default();
                all.into_iter().map(|one| View { today: count(&one.id), ..view(one, None) }).collect()
            }
            Place::Product(product) => {
                let counts = self.store.day_of_product(owner, product.id, today).await?;
                let count = |id: &MemberId| counts.get(id).copied().unwrap_or_default();
                let all = self.store.integrations(Which::In(owner, product.id)).await?;
                let member =
                    |one: &Integration| one.members.iter().find(|m| m.product == product.id).copied();
                let view = |one: Integration| {
                    let member = member(&one)?;
                    Some(View { today: count(&member.id), ..view(one, Some(member)) })
                };
                all.into_iter().filter_map(view).collect()
            }
            Place::Org(_) => {
                let counts = self.store.day_of_owner(owner, today).await?;
                let count = |id: &IntegrationId| counts.get(id).copied().unwrap_or_default();
                let names = self.product_names(owner).await?;
                let all = self.store.integrations(Which::Of(owner)).await?;
                let view = |one: Integration| View {
                    today: count(&one.id),
                    products: member_views(&one, &names),
                    ..view(one, None)
                };
                all.into_iter().map(view).collect()
            }
        })
    }

    /// One integration with its log.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's to look at.
    pub async fn get_integration(&self, actor: &Actor, key: PlaceKey<'_>, id: &str) -> Result<View, Error> {
        let place = self.place(actor, key, Action::GetIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let owner = place.owner();
        // Counts first: what they count is then in the log, also when a batch is committed between the two readings.
        let shown = self.view_in(&place, found).await?;
        let logs = match shown.member {
            Some(member) => self.store.log_of_member(owner, member.id).await?,
            None => self.store.log_of_integration(owner, shown.integration.id).await?,
        };
        Ok(View { logs: Some(logs), ..shown })
    }

    /// Creates an integration from a request's body.
    ///
    /// # Errors
    /// Every wrong field at once; [`Error::PlanRequired`] in an organization whose plan does not include it.
    pub async fn create_integration(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        body: Map<String, Value>,
    ) -> Result<View, Error> {
        let place = self.place_to_write(actor, key, Action::CreateIntegration).await?;
        let Checked { config, products, made } = self.check_draft(&place, body, None, None).await?;
        let products = match &place {
            Place::Sandbox(_) => Vec::new(),
            Place::Product(product) => vec![product.id],
            Place::Org(_) => products.unwrap_or_default(),
        };
        let new = self.new_integration(place.owner(), config, self.new_members(&products));
        match self.store.create_integration(&new, self.by(actor)).await? {
            Ok(()) => {}
            Err(why) => return Err(refusal(why, &new.id.to_string())),
        }
        let member = if matches!(place, Place::Product(_)) { new.members.first().copied() } else { None };
        Ok(signing::tell(self.view_in(&place, Found { integration: new, member }).await?, made))
    }

    /// Replaces an integration's configuration by that of a request's body, and in an organization its list of products
    /// where the body has one. A body with a `version` is refused where that is no longer the present one.
    ///
    /// # Errors
    /// As [`Control::create_integration`], and 409 `shared_integration` in a product that shares it.
    pub async fn replace_integration(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<View, Error> {
        let expected = Expected::of_body(&body)?;
        self.replace_expected(actor, key, id, body, &expected).await
    }

    /// As [`Control::replace_integration`], where the integration is still as it was read; the `version` in the body does not
    /// count.
    ///
    /// # Errors
    /// As [`Control::replace_integration`], and 409 `not_the_present_version`.
    pub async fn replace_expected(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        body: Map<String, Value>,
        expected: &Expected,
    ) -> Result<View, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        for _ in 0..ATTEMPTS {
            let Found { integration: old, member } = self.find_integration(&place, id).await?;
            if member.is_some() && old.is_shared() {
                return Err(shared_integration(&old));
            }
            self.must_be_expected(expected, &old).await?;
            let Checked { config, products, made } =
                self.check_draft(&place, body.clone(), Some(&old), None).await?;
            if let Some(products) = &products {
                self.may_list(actor, key, &old, products).await?;
            }
            let members = products.map(|products| self.new_members(&products));
            let only = member.map(|member| member.id);
            let (owner, seen) = (place.owner(), Seen::of(&old));
            let write = self.store.replace_integration(
                owner,
                seen,
                &config,
                members.as_deref(),
                only,
                self.by(actor),
            );
            match write.await? {
                Ok(new) => {
                    let view = self.view_in(&place, Found { integration: new, member }).await?;
                    return Ok(signing::tell(view, made));
                }
                Err(NotWritten::Changed | NotWritten::Gone | NotWritten::Shared) => {}
                Err(why) => return Err(refusal(why, id)),
            }
        }
        Err(changed_meanwhile())
    }

    /// Whether the actor may make these the products of an integration: to add and to remove some asks for the right to
    /// do that by itself.
    async fn may_list(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        old: &Integration,
        products: &[ProductId],
    ) -> Result<(), Error> {
        if products.iter().any(|id| old.members.iter().all(|member| member.product != *id)) {
            self.place(actor, key, Action::CreateIntegration).await?;
        }
        if old.members.iter().any(|member| !products.contains(&member.product)) {
            self.place(actor, key, Action::RemoveIntegration).await?;
        }
        Ok(())
    }

    /// Deletes an integration: in an organization for all its products, in a product for this one alone.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's to delete; [`Error::PlanRequired`].
    pub async fn delete_integration(&self, actor: &Actor, key: PlaceKey<'_>, id: &str) -> Result<(), Error> {
        let place = self.place_to_write(actor, key, Action::RemoveIntegration).await?;
        let found = self.find_integration(&place, id).await?;
        let (owner, by) = (place.owner(), self.by(actor));
        let deleted = match found.member {
            Some(member) => self.store.remove_member(owner, MemberKey::Id(member.id), by).await?,
            None => self.store.delete_integration(owner, found.integration.id, by).await?,
        };
        deleted.map_err(|why| refusal(why, id))?;
        Ok(())
    }

    /// A new integration, not stored yet.
    pub(crate) fn new_integration(&self, owner: Owner, config: Config, members: Vec<Member>) -> Integration {
        let (id, now) = (IntegrationId(self.new_id()), self.now());
        let overrides = Overrides::new();
        Integration { id, owner, config, members, overrides, created_at: now, updated_at: now }
    }

    /// New memberships of these products.
    pub(crate) fn new_members(&self, products: &[ProductId]) -> Vec<Member> {
        products.iter().map(|product| Member { id: MemberId(self.new_id()), product: *product }).collect()
    }

    /// One integration as it is shown in a place, without its log.
    pub(crate) async fn view_in(&self, place: &Place, found: Found) -> Result<View, Error> {
        let (owner, today) = (place.owner(), self.now().day());
        let rows = match found.member {
            Some(member) => self.store.history_of_member(owner, member.id, [today; 2]).await?,
            None => self.store.history_of_integration(owner, found.integration.id, [today; 2]).await?,
        };
        let version = self.store.last_version(owner, found.integration.id).await?;
        let mut shown = View { version, ..view(found.integration, found.member) };
        for row in rows {
            shown.today += row.counts;
        }
        if matches!(place, Place::Org(_)) {
            shown.products = member_views(&shown.integration, &self.product_names(owner).await?);
        }
        Ok(shown)
    }

    /// Slug and name of every product of an owner.
    pub(crate) async fn product_names(
        &self,
        owner: Owner,
    ) -> Result<HashMap<ProductId, (String, String)>, Error> {
        let products = self.store.products_of_owner(owner).await?;
        Ok(products.into_iter().map(|product| (product.id, (product.slug, product.name))).collect())
    }
}

pub(crate) fn view(mut integration: Integration, member: Option<Member>) -> View {
    integration.config = sensitive::mask(&integration.config);
    integration.overrides.values_mut().for_each(|own| *own = parameters::masked(own));
    View { integration, member, today: Counts::default(), products: Vec::new(), logs: None, version: None }
}

/// The members of an integration with the names of their products.
pub(crate) fn member_views(
    integration: &Integration,
    names: &HashMap<ProductId, (String, String)>,
) -> Vec<MemberView> {
    let declares = !parameters::declared(&integration.config).is_empty();
    let own =
        |member: &Member| integration.overrides_of(member.id).map(parameters::masked).unwrap_or_default();
    let view = |member: &Member| {
        let (slug, name) = names.get(&member.product).cloned().unwrap_or_default();
        MemberView { member: *member, slug, name, overrides: declares.then(|| own(member)) }
    };
    integration.members.iter().map(view).collect()
}
