//! What tributary is about, as pure types and rules.
//!
//! Read in this order: who owns what ([`ids`], [`account`], [`access`]), what is configured ([`integration`], [`draft`],
//! [`sensitive`], [`equality`], [`parameters`]), what happens ([`event`], [`outcome`], [`hook_event`]), and the bounds of it all
//! ([`limits`]).
//!
//! Nothing here waits, reads a clock, opens a file or knows of HTTP: every rule is a function of its arguments, so it
//! is tested as a table beside it.

pub mod access;
pub mod account;
pub mod changes;
pub mod draft;
pub mod equality;
pub mod event;
pub mod hook_event;
pub mod ids;
pub mod integration;
pub mod limits;
pub mod outcome;
pub mod parameters;
pub mod sensitive;
pub mod time;

pub use event::{Event, EventId};
pub use ids::{DeviceId, IntegrationId, MemberId, OrgId, Owner, ProductId, UserId};
pub use integration::FieldError;
pub use time::Timestamp;
