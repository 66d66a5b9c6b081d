//! The data plane as a whole, with a store and a log on disk and destinations that do as they are told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod fairness;
mod world;
