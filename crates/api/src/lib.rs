//! The REST API: one file per resource. No SQL and no rules: a handler reads a request, calls one use-case of
//! `tributary_control`, and shows its answer.
//!
//! Read in this order: [`router`] with its table of routes, [`auth`] (who calls), [`body`] (what was sent), [`error`]
//! (how it is refused), then the resources.

pub mod auth;
pub mod body;
pub mod error;
mod form;
mod layers;

use axum::{Router, extract::DefaultBodyLimit, middleware::{from_fn, map_response}};
use tributary_control::Control;
use tributary_domain::limits;

pub use error::ApiError;

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    /// The use-cases.
    pub control: Control,
}

/// All routes of the API, with what every request passes through.
pub fn router(state: AppState) -> Router {
    Router::new()
        .fallback(layers::nowhere)
        .method_not_allowed_fallback(layers::no_such_method)
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .layer(from_fn(auth::find_token))
        .layer(from_fn(layers::catch_panic))
        .layer(map_response(layers::errors_as_json))
        .with_state(state)
}
