//! The data plane: from an accepted event to its outcome.

pub mod routes;

pub use routes::{RouteKey, Routes};
