//! Who may listen to which live stream (contract 4.1).

use tributary_domain::{
    access::{Action, Actor},
    account::Device,
};
use tributary_pipeline::{Channel, Subscription, Wanted};

use crate::{Control, Error};

/// A stream, by the path that asks for it.
#[derive(Clone, Debug)]
pub enum StreamOf {
    /// Everything that the caller may hear: its own events and those of its products.
    Everything,
    /// The caller's own events: of its devices and its sandbox publishes.
    Own,
    /// One of the caller's devices, by id or name.
    OwnDevice(String),
    /// A product, by id or slug.
    Product(String),
    /// A device of a product: product, then device id or name.
    ProductDevice(String, String),
    /// All products of an organization.
    Org(String),
    /// A product of an organization: organization, then product.
    OrgProduct(String, String),
}

impl Control {
    /// Begins to listen to events whose name starts with `prefix`.
    ///
    /// # Errors
    /// When the caller may not hear this stream.
    pub async fn listen(
        &self,
        actor: &Actor,
        stream: StreamOf,
        prefix: String,
    ) -> Result<Subscription, Error> {
        self.subscribe(actor, stream, prefix, false).await
    }

    /// As [`Control::listen`], where each event also says which one it is, and what an integration caused says by which event
    /// and is chosen by that event's name.
    ///
    /// # Errors
    /// As [`Control::listen`].
    pub async fn listen_traced(
        &self,
        actor: &Actor,
        stream: StreamOf,
        prefix: String,
    ) -> Result<Subscription, Error> {
        self.subscribe(actor, stream, prefix, true).await
    }

    async fn subscribe(
        &self,
        actor: &Actor,
        stream: StreamOf,
        prefix: String,
        traced: bool,
    ) -> Result<Subscription, Error> {
        let (channels, device) = self.channels(actor, stream).await?;
        Ok(self.pipeline.streams().subscribe(Wanted { channels, device, prefix, traced }))
    }

    async fn channels(
        &self,
        actor: &Actor,
        stream: StreamOf,
    ) -> Result<(Vec<Channel>, Option<String>), Error> {
        let own = Channel::User(actor.user);
        let id = |device: Device| Some(device.id.to_string());
        Ok(match stream {
            StreamOf::Own => {
                self.sandbox(actor, Action::GetEvents)?;
                (vec![own], None)
            }
            StreamOf::Everything => {
                self.sandbox(actor, Action::GetEvents)?;
                let products = self.products_of(actor).await?;
                (products.into_iter().map(|p| Channel::Product(p.id)).chain([own]).collect(), None)
            }
            StreamOf::OwnDevice(key) => {
                let device = self.own_device(actor, &key, Action::GetEvents).await?;
                (vec![own], id(device))
            }
            StreamOf::Product(key) => {
                let product = self.product(actor, &key, Action::GetEvents).await?;
                (vec![Channel::Product(product.id)], None)
            }
            StreamOf::ProductDevice(key, device) => {
                let product = self.product(actor, &key, Action::GetEvents).await?;
                let device = self.find_device_in_product(product.id, &device).await?;
                let device = device.ok_or_else(|| Error::not_found("device"))?;
                (vec![Channel::Product(product.id)], id(device))
            }
            StreamOf::Org(key) => {
                (vec![Channel::Org(self.org(actor, &key, Action::GetEvents).await?.id)], None)
            }
            StreamOf::OrgProduct(org, key) => {
                let org = self.org(actor, &org, Action::GetEvents).await?;
                let product = self.product(actor, &key, Action::GetEvents).await?;
                if product.owner != tributary_domain::Owner::Org(org.id) {
                    return Err(Error::not_found(format!("product {key}")));
                }
                (vec![Channel::Product(product.id)], None)
            }
        })
    }
}
