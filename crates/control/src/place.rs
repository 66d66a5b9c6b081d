//! The three places from which integrations are looked at: a person's sandbox, a product, an organization.

use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId, UserId,
    access::{Action, Actor},
    account::{Org, Product},
    draft::Level,
    integration::{Integration, Member},
    limits,
};
use tributary_store::integrations::{NotWritten, Which};

use crate::{Control, Error};

/// How often a write is judged anew because somebody else changed the same thing meanwhile.
pub(crate) const ATTEMPTS: usize = 8;

/// A place as a path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceKey<'a> {
    /// The caller's own sandbox.
    Sandbox,
    /// A product, by id or slug.
    Product(&'a str),
    /// An organization, by id or slug.
    Org(&'a str),
}

/// A place that the caller may act in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A person's sandbox.
    Sandbox(UserId),
    /// A product of a sandbox or an organization.
    Product(Product),
    /// An organization.
    Org(Org),
}

impl Place {
    /// Who owns what is there.
    pub fn owner(&self) -> Owner {
        match self {
            Place::Sandbox(user) => Owner::User(*user),
            Place::Product(product) => product.owner,
            Place::Org(org) => Owner::Org(org.id),
        }
    }

    /// Which of the three it is.
    pub fn level(&self) -> Level {
        match self {
            Place::Sandbox(_) => Level::Sandbox,
            Place::Product(_) => Level::Product,
            Place::Org(_) => Level::Org,
        }
    }
}

/// An integration as found in a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// It, with its configuration in clear.
    pub integration: Integration,
    /// In a product: the product's membership, whose id is the integration's there.
    pub member: Option<Member>,
}

impl Control {
    /// The place, if the actor may do this in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for strangers, [`Error::Forbidden`] without the right.
    pub async fn place(&self, actor: &Actor, key: PlaceKey<'_>, action: Action) -> Result<Place, Error> {
        Ok(match key {
            PlaceKey::Sandbox => {
                self.sandbox(actor, action)?;
                Place::Sandbox(actor.user)
            }
            PlaceKey::Product(key) => Place::Product(self.product(actor, key, action).await?),
            PlaceKey::Org(key) => Place::Org(self.org(actor, key, action).await?),
        })
    }

    /// As [`Control::place`], for a write of integrations: in an organization its plan must include it (contract 1,
    /// rule 2).
    ///
    /// # Errors
    /// As [`Control::place`], and [`Error::PlanRequired`].
    pub(crate) async fn place_to_write(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        action: Action,
    ) -> Result<Place, Error> {
        let place = self.place(actor, key, action).await?;
        match &place {
            Place::Org(org) if !org.plan.has_org_integrations() => Err(Error::PlanRequired(format!(
                "organization integrations need the plan basic or enterprise; this organization has {}",
                org.plan.as_str()
            ))),
            _ => Ok(place),
        }
    }

    /// The integration under this id in the place.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn find_integration(&self, place: &Place, id: &str) -> Result<Found, Error> {
        let owner = place.owner();
        let found = match place {
            Place::Sandbox(_) | Place::Org(_) => {
                let id = id.parse::<IntegrationId>().map_err(|_| no_integration(id))?;
                let found = self.store.integration(Which::One(owner, id)).await?;
                // What executes on a product of a sandbox is reached through the product.
                let is_org = matches!(place, Place::Org(_));
                found.filter(|found| is_org || found.members.is_empty()).map(|found| (found, None))
            }
            Place::Product(product) => {
                let id = id.parse::<MemberId>().map_err(|_| no_integration(id))?;
                let found = self.store.integration(Which::WithMember(owner, id)).await?;
                found.and_then(|found| {
                    let member =
                        found.members.iter().find(|m| m.id == id && m.product == product.id).copied()?;
                    Some((found, Some(member)))
                })
            }
        };
        let (integration, member) = found.ok_or_else(|| no_integration(id))?;
        Ok(Found { integration, member })
    }
}

pub(crate) fn no_integration(id: &str) -> Error {
    Error::not_found(format!("integration {id}"))
}

/// Somebody else changed the same thing, again and again.
pub(crate) fn changed_meanwhile() -> Error {
    Error::conflict(
        "changed_meanwhile",
        "the integration was changed at the same moment; read it again and repeat",
    )
}

pub(crate) fn shared_integration(integration: &Integration) -> Error {
    Error::conflict(
        "shared_integration",
        format!(
            "the integration is shared by {} products, so it cannot be changed from one of them: either edit it in the \
             organization (PUT /v1/orgs/:org/integrations/{}), for all of them, or separate this product's copy (POST \
             /v1/products/:product/integrations/:id/separate)",
            integration.members.len(),
            integration.id
        ),
    )
}

pub(crate) fn not_shared() -> Error {
    Error::conflict("not_shared", "the integration executes on this product alone; edit it instead")
}

pub(crate) fn not_a_product(product: impl std::fmt::Display) -> String {
    format!("{product} is not a product of this organization")
}

/// The refusal of a write that the store did not make, where it is not judged anew.
pub(crate) fn refusal(why: NotWritten, id: &str) -> Error {
    let wrong = |message| Error::Invalid {
        code: "invalid_integration",
        errors: vec![tributary_domain::FieldError::new("product_ids", message)],
    };
    match why {
        NotWritten::Gone => no_integration(id),
        NotWritten::Changed | NotWritten::Shared => changed_meanwhile(),
        NotWritten::NotShared => not_shared(),
        NotWritten::NoProduct(ProductId(product)) => wrong(not_a_product(product)),
        NotWritten::TooMany => Error::conflict(
            "limit_reached",
            format!("there are {} integrations already, which is the limit", limits::INTEGRATIONS_PER_OWNER),
        ),
        NotWritten::TooManyProducts => wrong(too_many_products()),
    }
}

pub(crate) fn too_many_products() -> String {
    format!("an integration executes on at most {} products", limits::MEMBERS)
}
