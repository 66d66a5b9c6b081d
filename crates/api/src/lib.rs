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
pub mod openapi;
pub mod request_limit;
pub mod streams;

mod at;
mod audit;
mod configurations;
mod cors;
mod described;
mod devices;
mod events;
mod history;
mod integrations;
mod invitations;
mod moving;
mod oauth;
mod ops;
mod orgs;
mod paging;
mod preview;
mod products;
mod redelivery;
mod secrets;
mod sharing;
mod team;
mod test_run;
mod users;
mod versions;
mod webhooks;

use std::{ops::Deref, sync::Arc};

use axum::Router;
use tributary_control::Control;

pub use error::ApiError;
pub use layers::Api;
pub use request_limit::RequestLimit;
pub use streams::OpenStreams;

/// What handlers work with. Cloned several times for each request, so it is one pointer.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// What an [`AppState`] is made of.
pub struct Parts {
    /// The use-cases.
    pub control: Control,
    /// Requests that one address may make.
    pub request_limit: RequestLimit,
    /// Open streams of each address.
    pub open_streams: OpenStreams,
}

impl From<Parts> for AppState {
    fn from(parts: Parts) -> AppState {
        AppState(Arc::new(parts))
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The API as a router of its own.
pub fn router(state: AppState) -> Router {
    Router::new().fallback_service(service(state))
}

/// All routes of the API, with what every request passes through.
pub fn service(state: AppState) -> Api {
    let routes = Router::new()
        .merge(oauth::routes())
        .merge(users::routes())
        .merge(orgs::routes())
        .merge(team::routes())
        .merge(products::routes())
        .merge(moving::routes())
        .merge(invitations::routes())
        .merge(devices::routes())
        .merge(test_run::routes())
        .merge(preview::routes())
        .merge(integrations::routes())
        .merge(sharing::routes())
        .merge(webhooks::routes())
        .merge(history::routes())
        .merge(secrets::routes())
        .merge(events::routes())
        .merge(streams::routes())
        .merge(versions::routes())
        .merge(redelivery::routes())
        .merge(audit::routes())
        .merge(ops::routes())
        .fallback(layers::nowhere)
        .method_not_allowed_fallback(layers::no_such_method)
        .with_state(state.clone());
    Api::new(routes, state)
}
