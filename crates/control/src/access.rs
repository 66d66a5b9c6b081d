//! What an actor may do to a resource. Each use-case asks one of these, once, before anything else.

use sha2::{Digest, Sha256};
use tributary_domain::{
    DeviceId, Owner, ProductId, Timestamp, UserId,
    access::{Access, Action, Actor, Role, Standing, allows},
    account::{Device, Org, Product},
};
use tributary_store::{
    team::{ProductRoles, TeamOf},
    tokens::TokenHash,
};

use crate::{Control, Error};

/// SHA-256 of a token: what the store knows of it.
pub(crate) fn hash_token(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

impl Control {
    /// Who a token is.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] when it is unknown or has expired.
    pub async fn authenticate(&self, token: &str) -> Result<Actor, Error> {
        Ok(self.actor_of(&hash_token(token)).await?.0)
    }

    /// The organization under an id or slug, if the actor may do this to it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for strangers, [`Error::Forbidden`] without the right.
    pub async fn org(&self, actor: &Actor, key: &str, action: Action) -> Result<Org, Error> {
        let what = || format!("organization {key}");
        let org = self.store.org(key).await?.ok_or_else(|| Error::not_found(what()))?;
        let row = self.store.role_in(TeamOf::Org(org.id), actor.user).await?;
        decide(standing_of(row), actor, action, what)?;
        Ok(org)
    }

    /// The product under an id or slug, if the actor may do this to it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for strangers, [`Error::Forbidden`] without the right.
    pub async fn product(&self, actor: &Actor, key: &str, action: Action) -> Result<Product, Error> {
        let (product, standing) = self.product_and_standing(actor, key).await?;
        decide(standing, actor, action, || format!("product {key}"))?;
        Ok(product)
    }

    /// A product and what the actor is to it.
    pub(crate) async fn product_and_standing(
        &self,
        actor: &Actor,
        key: &str,
    ) -> Result<(Product, Standing), Error> {
        let generation = self.cache.generation();
        if let Some(known) = self.cache.product(actor.user, key) {
            return Ok(known);
        }
        let product =
            self.store.product(key).await?.ok_or_else(|| Error::not_found(format!("product {key}")))?;
        let roles = self.store.roles_in_product(&product, actor.user).await?;
        let standing = standing_in_product(&product, roles, actor.user);
        self.cache.put_product(generation, actor.user, key, (product.clone(), standing));
        Ok((product, standing))
    }

    /// Whether the actor may do this in its own sandbox.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when its token is not meant for it.
    pub fn sandbox(&self, actor: &Actor, action: Action) -> Result<(), Error> {
        // An API user works for a team. It may hear and list what it has access to, but nothing is its own.
        if actor.scopes.is_some() && !matches!(action, Action::GetEvents | Action::ListProducts) {
            let text = "an API user has no sandbox; use the paths of its product or organization";
            return Err(Error::Forbidden(text.to_owned()));
        }
        decide(Standing::Member(Role::Owner), actor, action, || "sandbox".to_owned())
    }

    /// The actor as a person: what no scope lets an API user do, such as creating an organization.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user.
    pub fn person(&self, actor: &Actor) -> Result<(), Error> {
        match actor.scopes {
            None => Ok(()),
            Some(_) => Err(Error::Forbidden("an API user cannot do this; sign in as a person".to_owned())),
        }
    }

    /// A device of a product, by its id. Its person is whose sandbox hears of it: who claimed it, while they may see the
    /// product.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn device_in_product(&self, product: ProductId, id: DeviceId) -> Result<Option<Device>, Error> {
        let generation = self.cache.generation();
        if let Some(known) = self.cache.device(product, id) {
            return Ok(Some(known));
        }
        let row = self.store.device_of_product(product, id).await?;
        let device =
            row.map(|row| Device { user: row.device.user.filter(|_| row.claimer_sees), ..row.device });
        if let Some(device) = &device {
            self.cache.put_device(generation, product, device.clone());
        }
        Ok(device)
    }

    /// A device of a product, by its id or else its name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn find_device_in_product(
        &self,
        product: ProductId,
        key: &str,
    ) -> Result<Option<Device>, Error> {
        if let Ok(id) = key.parse()
            && let Some(device) = self.device_in_product(product, id).await?
        {
            return Ok(Some(device));
        }
        Ok(self.store.device_of_product_named(product, key).await?.map(|row| row.device))
    }

    /// Who a token is, by its hash, and until when.
    pub(crate) async fn actor_of(&self, hash: &TokenHash) -> Result<(Actor, Option<Timestamp>), Error> {
        let generation = self.cache.generation();
        let (actor, expires_at) = match self.cache.actor(hash) {
            Some(known) => known,
            None => {
                let row = self.store.token(hash).await?.ok_or(Error::InvalidToken)?;
                self.cache.put_actor(generation, *hash, (row.actor.clone(), row.expires_at));
                (row.actor, row.expires_at)
            }
        };
        match expires_at {
            Some(at) if at <= self.now() => Err(Error::InvalidToken),
            _ => Ok((actor, expires_at)),
        }
    }
}

/// What a row of a team makes of somebody.
pub(crate) fn standing_of(row: Option<Option<Role>>) -> Standing {
    match row {
        None => Standing::Stranger,
        Some(None) => Standing::ApiUser,
        Some(Some(role)) => Standing::Member(role),
    }
}

/// The owner of a sandbox is the owner of its products; the organization's role and the product's own add up to the
/// higher one.
pub(crate) fn standing_in_product(product: &Product, roles: ProductRoles, user: UserId) -> Standing {
    if product.owner == Owner::User(user) {
        return Standing::Member(Role::Owner);
    }
    match (standing_of(roles.org), standing_of(roles.product)) {
        (Standing::Member(one), Standing::Member(other)) => Standing::Member(one.max(other)),
        (Standing::Member(role), _) | (_, Standing::Member(role)) => Standing::Member(role),
        (Standing::ApiUser, _) | (_, Standing::ApiUser) => Standing::ApiUser,
        (Standing::Stranger, Standing::Stranger) => Standing::Stranger,
    }
}

/// Turns the one answer of [`allows`] into a refusal.
pub(crate) fn decide(
    standing: Standing,
    actor: &Actor,
    action: Action,
    what: impl FnOnce() -> String,
) -> Result<(), Error> {
    match allows(standing, actor.scopes.as_deref(), action) {
        Access::Allowed => Ok(()),
        Access::Hidden => Err(Error::not_found(what())),
        Access::Forbidden(why) => Err(Error::Forbidden(why)),
    }
}
