//! Products (contract 2.2).

use serde_json::{Map, Value};
use tributary_domain::{
    Owner,
    access::{Action, Actor},
    account::Product,
};
use tributary_store::products::NewProduct as NewRow;

use crate::{Control, Error, fields::Fields};

/// The platform of a product that names none: the Photon.
pub const DEFAULT_PLATFORM: i64 = 6;
/// The largest platform number.
const LARGEST_PLATFORM: i64 = 65_535;
/// Longest description, in characters.
const DESCRIPTION_CHARS: usize = 10_000;
/// Most products of one owner.
pub(crate) const PRODUCTS_PER_OWNER: usize = 10_000;

/// A product to create.
#[derive(Clone, Debug)]
pub struct NewProduct {
    name: String,
    description: String,
    platform_id: i64,
}

impl NewProduct {
    /// Reads `{"product": {name, description?, platform_id?}}`, or the same keys flat.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(mut body: Map<String, Value>) -> Result<NewProduct, Error> {
        let inner = match body.remove("product") {
            Some(Value::Object(inner)) => inner,
            None | Some(Value::Null) => body,
            Some(_) => return Err(Error::field("product", "must be an object")),
        };
        let mut fields = Fields::of(inner);
        let name = fields.required_name("name");
        let description = fields.text("description").unwrap_or_default();
        if description.chars().count() > DESCRIPTION_CHARS {
            fields.wrong("description", format!("must have at most {DESCRIPTION_CHARS} characters"));
        }
        let platform_id = fields.number("platform_id").unwrap_or(DEFAULT_PLATFORM);
        if !(0..=LARGEST_PLATFORM).contains(&platform_id) {
            fields.wrong("platform_id", format!("must be a number from 0 to {LARGEST_PLATFORM}"));
        }
        fields.finish()?;
        Ok(NewProduct { name, description, platform_id })
    }
}

impl Control {
    /// All products that the actor has to do with, by ownership or by a team. The caller has asked for access.
    pub(crate) async fn products_of(&self, actor: &Actor) -> Result<Vec<Product>, Error> {
        Ok(self.store.products_of_user(actor.user).await?)
    }

    /// All products that the actor has access to.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user without the scope.
    pub async fn list_products(&self, actor: &Actor) -> Result<Vec<Product>, Error> {
        self.sandbox(actor, Action::ListProducts)?;
        self.products_of(actor).await
    }

    /// The products of the actor's sandbox.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user without the scope.
    pub async fn list_sandbox_products(&self, actor: &Actor) -> Result<Vec<Product>, Error> {
        self.sandbox(actor, Action::ListProducts)?;
        Ok(self.store.products_of_owner(Owner::User(actor.user)).await?)
    }

    /// The products of an organization.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn list_org_products(&self, actor: &Actor, org: &str) -> Result<Vec<Product>, Error> {
        let org = self.org(actor, org, Action::ListProducts).await?;
        Ok(self.store.products_of_owner(Owner::Org(org.id)).await?)
    }

    /// Creates a product in the actor's sandbox.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user, a field error when the name is taken.
    pub async fn create_sandbox_product(&self, actor: &Actor, new: NewProduct) -> Result<Product, Error> {
        self.sandbox(actor, Action::CreateProduct)?;
        self.create_product(actor, Owner::User(actor.user), new).await
    }

    /// Creates a product in an organization.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], a field error when the name is taken.
    pub async fn create_org_product(
        &self,
        actor: &Actor,
        org: &str,
        new: NewProduct,
    ) -> Result<Product, Error> {
        let org = self.org(actor, org, Action::CreateProduct).await?;
        self.create_product(actor, Owner::Org(org.id), new).await
    }

    async fn create_product(&self, actor: &Actor, owner: Owner, new: NewProduct) -> Result<Product, Error> {
        if self.store.product_ids_of(owner).await?.len() >= PRODUCTS_PER_OWNER {
            let text = format!("there are {PRODUCTS_PER_OWNER} products, which is the limit");
            return Err(Error::conflict("limit_reached", text));
        }
        let slugs = self.slugs_for(&new.name, "product");
        let NewProduct { name, description, platform_id } = new;
        let row = NewRow { owner, name, description, platform_id };
        let product = self.store.create_product(&row, &slugs, self.by(actor)).await?;
        Ok(product)
    }

    /// Deletes a product with what is only its own. Its devices stay with who claimed them, in no product.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn delete_product(&self, actor: &Actor, key: &str) -> Result<(), Error> {
        let product = self.product(actor, key, Action::RemoveProduct).await?;
        let deleted = self.store.delete_product(&product, self.by(actor)).await?;
        match deleted {
            true => Ok(()),
            false => Err(Error::not_found(format!("product {key}"))),
        }
    }
}
