//! The way out: which addresses may be reached, and the HTTP clients that reach them.
//!
//! A name is resolved once for each connection; every address is checked, and only a checked address is connected to,
//! so a name that changes its mind between check and connection gains nothing. Redirects are not followed, and no
//! proxy is taken from the environment.
//!
//! Modules in reading order: [`address`] (the policy), [`resolve`], `proxy`, `connect`, `x509`, `verifier`, `tls` and `own_tls` (from a name to a connection),
//! `failure` (errors as Particle words them), `pool`, `unpack` and `reading` (bodies of replies), `client`; `wire` and `kept` for protocols other than HTTP.

pub mod address;
mod client;
mod connect;
pub(crate) mod failure;
mod kept;
mod own_tls;
mod pool;
mod proxy;
mod reading;
pub mod resolve;
mod tls;
mod unpack;
mod verifier;
mod wire;
mod x509;

pub use address::{AddressPolicy, Cidr};
pub use client::{ClientSettings, Clients, DELIVERY_TIMEOUT, Via, added_headers};
pub(crate) use failure::passing;
pub(crate) use kept::{Kept, Session};
pub use own_tls::{OwnTls, OwnTlsPem};
pub use proxy::Proxy;
pub use reading::Reading;
pub use resolve::{Resolve, SystemResolver};
pub(crate) use wire::{Reached, Wire};
