//! Who may listen to which live stream, and for how long (contract 4.1): a stream ends with the right to it.

use std::time::Duration;

use bytes::Bytes;
use tributary_domain::{
    Timestamp,
    access::{Action, Actor},
    account::Device,
};
use tributary_pipeline::{Channel, Subscription, Wanted};
use tributary_store::tokens::TokenHash;

use crate::{Control, Error, access::hash_token, rights::Held};

/// Wait before a right that could not be looked at is looked at again.
const RETRY: Duration = Duration::from_millis(250);
/// Looks at a right that fail, after which the stream ends: what cannot be known is not granted.
const RETRIES: usize = 8;

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

/// What a stream gives next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// An event in its frame.
    Event(Bytes),
    /// Nothing for as long as was asked for.
    Nothing,
}

/// An open stream.
pub struct Listening {
    control: Control,
    subscription: Subscription,
    held: Held,
    token: TokenHash,
    expires_at: Option<Timestamp>,
    stream: StreamOf,
    heard: (Vec<Channel>, Option<String>),
}

impl Listening {
    /// The next event, or the news that there was none for so long. `None` once the right to the stream has ended, or the
    /// reader did not keep up.
    pub async fn next(&mut self, quiet: Duration) -> Option<Heard> {
        loop {
            if self.held.right.take_doubt() && !self.may_go_on().await {
                return None;
            }
            let left = self.expires_at.map(|at| at.0.saturating_sub(self.control.now().0));
            if left.is_some_and(|ms| ms <= 0) {
                return None;
            }
            let left = left.and_then(|ms| u64::try_from(ms).ok()).map_or(quiet, Duration::from_millis);
            tokio::select! {
                biased;
                () = self.held.right.doubted() => {}
                event = self.subscription.next() => return event.map(Heard::Event),
                () = tokio::time::sleep(quiet.min(left)) => {
                    if quiet <= left {
                        return Some(Heard::Nothing);
                    }
                }
            }
        }
    }

    /// Whether the caller may still hear all that it hears.
    async fn may_go_on(&mut self) -> bool {
        for _ in 0..RETRIES {
            let now = async {
                let (actor, expires_at) = self.control.actor_of(&self.token).await?;
                let heard = self.control.channels(&actor, self.stream.clone()).await?;
                Ok((heard, expires_at))
            };
            match now.await {
                Ok((now, expires_at)) => {
                    self.expires_at = expires_at;
                    let ((old, device), (now, same)) = (&self.heard, now);
                    return *device == same && old.iter().all(|channel| now.contains(channel));
                }
                Err(Error::Unavailable | Error::Internal(_)) => tokio::time::sleep(RETRY).await,
                Err(_) => return false,
            }
        }
        false
    }
}

impl Control {
    /// Begins to listen to events whose name starts with `prefix`, with this token.
    ///
    /// # Errors
    /// When the caller may not hear this stream.
    pub async fn listen(&self, token: &str, stream: StreamOf, prefix: String) -> Result<Listening, Error> {
        self.open(token, stream, prefix, false).await
    }

    /// As [`Control::listen`], where each event also says which one it is, and what an integration caused says by which event
    /// and is chosen by that event's name.
    ///
    /// # Errors
    /// As [`Control::listen`].
    pub async fn listen_traced(
        &self,
        token: &str,
        stream: StreamOf,
        prefix: String,
    ) -> Result<Listening, Error> {
        self.open(token, stream, prefix, true).await
    }

    async fn open(
        &self,
        token: &str,
        stream: StreamOf,
        prefix: String,
        traced: bool,
    ) -> Result<Listening, Error> {
        let token = hash_token(token);
        // Held before the right is looked at, so that no change of it is missed.
        let held = self.rights.hold(token, self.actor_of(&token).await?.0.user);
        let (actor, expires_at) = self.actor_of(&token).await?;
        let heard = self.channels(&actor, stream.clone()).await?;
        let product = |channel: &Channel| match channel {
            Channel::Product(id) => Some(*id),
            Channel::User(_) | Channel::Org(_) => None,
        };
        held.right.is_about(heard.0.iter().filter_map(product).collect());
        let (channels, device) = heard.clone();
        let subscription = self.pipeline.streams().subscribe(Wanted { channels, device, prefix, traced });
        Ok(Listening { control: self.clone(), subscription, held, token, expires_at, stream, heard })
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
