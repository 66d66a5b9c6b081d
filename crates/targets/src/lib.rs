//! Destinations: one file per kind in [`kinds`], and a registry.
//!
//! A kind turns a configuration into a [`Target`] (checked once, templates parsed once). A target renders an event's
//! [`Variables`] into a [`Message`] and sends it. It never reads the store, never decides on retries and never counts:
//! it gives back an [`Attempt`].

pub mod aws;
mod broker;
pub mod destination;
mod fields;
mod gather;
pub mod google_account;
mod json;
pub mod kinds;
pub mod net;
mod reply;
pub mod response;
pub mod sending;
mod service;
pub mod settings;
#[cfg(test)]
mod test_support;
mod text;
pub mod variables;

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use tributary_domain::{FieldError, integration::Config, outcome::AttemptClass};

pub use net::{AddressPolicy, Clients};
pub use reply::{LongBody, Reply, Rest};
pub use response::ResponseSettings;
pub use settings::{Endpoint, Settings};
pub use variables::{Secrets, Used, Variables, Was};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a field of a configuration is, for validation, masking, comparing and describing it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in the configuration.
    pub name: &'static str,
    /// The shape of its value.
    pub shape: Shape,
    /// Whether a configuration without it is refused.
    pub required: bool,
    /// The value that an absent field means, as JSON text; `None` where absence has no such value.
    pub default: Option<&'static str>,
    /// Whether its value is never given back.
    pub sensitive: bool,
    /// One sentence for the reference and the form.
    pub help: &'static str,
}

/// The shape of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A text; numbers are taken as text.
    Text,
    /// true or false, also as text.
    Flag,
    /// An object.
    Object,
    /// An object or a text.
    ObjectOrText,
}

/// A kind of destination.
pub trait Kind: Send + Sync {
    /// Its `integration_type`.
    fn name(&self) -> &'static str;
    /// Its own fields; those that every kind has ([`kinds::COMMON`]) are not repeated.
    fn fields(&self) -> &'static [Field];
    /// The name of an integration that was given none (contract 3.1).
    fn default_name(&self, config: &Config) -> String;
    /// Checks a configuration and makes the target.
    ///
    /// # Errors
    /// Every wrong field at once.
    fn compile(&self, config: &Config, settings: &Settings) -> Result<Arc<dyn Target>, Vec<FieldError>>;
}

/// A compiled destination.
pub trait Target: Send + Sync {
    /// Where all its messages go, as `host:port`; `None` where that depends on the event, on secrets or on parameters.
    fn fixed_destination(&self) -> Option<String> {
        None
    }
    /// Where its message for these variables goes, as `host:port`.
    ///
    /// # Errors
    /// The text of a final error outcome.
    fn destination(&self, variables: &Variables<'_>) -> Result<String, String> {
        self.render(variables).map(|message| message.destination)
    }
    /// Builds what will be sent.
    ///
    /// # Errors
    /// The text of a final error outcome.
    fn render(&self, variables: &Variables<'_>) -> Result<Message, String>;
    /// Sends a message once, within the delivery timeout.
    fn send<'a>(&'a self, message: &'a Message, clients: &'a Clients) -> BoxFuture<'a, Attempt>;
    /// How many messages one request of it has at most: a lane sends as many at the same time.
    fn together(&self) -> usize {
        1
    }
    /// How replies and errors become events.
    fn response(&self) -> &ResponseSettings;
    /// Every name that its templates look up, for finding which secrets it uses.
    fn variables(&self) -> Vec<String>;
    /// Values of the configuration that a log must not show, wherever they turn up.
    fn sensitive_values(&self) -> &[String];
}

/// A rendered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `host:port`: with the owner, the name of its lane.
    pub destination: String,
    /// HTTP method, or the protocol's verb.
    pub method: String,
    /// Full address.
    pub url: String,
    /// Header names in their spelling, values as sent.
    pub headers: Vec<(String, String)>,
    /// The body as sent.
    pub body: Bytes,
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whether it succeeded and, if not, whether trying again can help.
    pub class: AttemptClass,
    /// The error's text as Particle words it (contract 4.3); `None` after a success.
    pub error: Option<String>,
    /// What the destination answered, if it did.
    pub reply: Option<Reply>,
}
