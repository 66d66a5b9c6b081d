//! From a host's name to its addresses.

use std::{io, net::IpAddr};

use crate::BoxFuture;

/// Finds the addresses of a name. Tests bring their own.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`, best first. An error and an empty list both mean that there are none.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            // The port plays no part here; the system's call wants one.
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}
