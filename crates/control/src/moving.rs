//! Moving a product from its owner's sandbox to an organization (contract 2.2).

use serde_json::{Map, Value};
use tributary_domain::{
    Owner,
    access::{Action, Actor, Role},
    account::Product,
    limits,
};
use tributary_store::{
    StoreError,
    integrations::{Seen, Which},
    moving::{Move, Moved},
};

use crate::{
    Control, Error,
    fields::Fields,
    place::{ATTEMPTS, changed_meanwhile},
    products::PRODUCTS_PER_OWNER,
};

/// The organization that a body `{"org": id or slug}` names.
///
/// # Errors
/// A field error when it names none.
fn read_org(body: Map<String, Value>) -> Result<String, Error> {
    let mut fields = Fields::of(body);
    let org = fields.required_name("org");
    fields.finish()?;
    Ok(org)
}

impl Control {
    /// Moves a product of the actor's own sandbox to an organization in which the actor may create products. Its
    /// integrations go with it, under the same ids and with their history.
    ///
    /// # Errors
    /// 409 `not_in_sandbox` for a product of an organization, 409 `secrets_missing` that names what the organization
    /// lacks, a field error `name` when the organization has a product of that name; [`Error::NotFound`],
    /// [`Error::Forbidden`].
    pub async fn move_product(
        &self,
        actor: &Actor,
        key: &str,
        body: Map<String, Value>,
    ) -> Result<Product, Error> {
        self.person(actor)?;
        let mut product = self.product(actor, key, Action::RemoveProduct).await?;
        must_be_own(&product, actor)?;
        let org = self.org(actor, &read_org(body)?, Action::CreateProduct).await?;
        let to = Owner::Org(org.id);
        for _ in 0..ATTEMPTS {
            let integrations = self.store.integrations(Which::In(product.owner, product.id)).await?;
            let seen: Vec<Seen> = integrations.iter().map(Seen::of).collect();
            let names: Vec<String> = integrations.iter().flat_map(|one| self.names_in(one)).collect();
            let (names, most_products) = (&names[..], PRODUCTS_PER_OWNER);
            let wanted = Move { product: &product, to, seen: &seen, names, most_products };
            match self.store.move_product(&wanted, self.by(actor)).await.map_err(name_is_taken)? {
                Moved::Done => {
                    product.owner = to;
                    return Ok(product);
                }
                Moved::Changed => {}
                Moved::Gone => return Err(Error::not_found(format!("product {key}"))),
                Moved::LacksSecrets(names) => return Err(secrets_missing(&names)),
                Moved::TooManyIntegrations => {
                    return Err(limit_reached("integrations", limits::INTEGRATIONS_PER_OWNER));
                }
                Moved::TooManyProducts(most) => return Err(limit_reached("products", most)),
            }
        }
        Err(changed_meanwhile())
    }
}

/// A sandbox product can be given away by its owner alone, whatever its own team may do with it.
fn must_be_own(product: &Product, actor: &Actor) -> Result<(), Error> {
    match product.owner {
        Owner::User(user) if user == actor.user => Ok(()),
        Owner::User(_) => Err(Error::Forbidden(format!(
            "only the owner of the sandbox may move the product, not its {}",
            Role::Administrator.as_str()
        ))),
        Owner::Org(_) => Err(Error::conflict(
            "not_in_sandbox",
            "the product belongs to an organization already; only a product of a sandbox can be moved to one",
        )),
    }
}

fn name_is_taken(error: StoreError) -> Error {
    match error {
        StoreError::Taken("name") => Error::field(
            "name",
            "the organization has a product of this name already; rename or delete that one",
        ),
        other => other.into(),
    }
}

fn secrets_missing(names: &[String]) -> Error {
    let text = format!(
        "the product's integrations use secrets that the organization does not have: {}; create them there first",
        names.join(", ")
    );
    Error::conflict("secrets_missing", text)
}

fn limit_reached(what: &str, most: usize) -> Error {
    let text = format!("the organization may have {most} {what}, and would have more");
    Error::conflict("limit_reached", text)
}
