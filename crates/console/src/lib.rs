//! The console: server-rendered pages.

pub mod gallery;
