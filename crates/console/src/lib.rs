//! The console: server-rendered pages over the same use-cases as the API. No SQL and no rules: a handler reads a request,
//! calls use-cases of `tributary_control`, and renders a page.
//!
//! Read in this order: [`router`] with its pages, `session` (who looks), `here` (where), `form` (what was sent), `page`
//! (what surrounds every page), then the pages, one file per noun. Pages work without JavaScript; htmx (vendored) and one
//! small script make them quicker to use.

mod assets;
mod chart;
mod error;
mod form;
mod format;
pub mod gallery;
mod here;
mod integrations;
mod page;
mod session;
mod sign_in;

use std::{ops::Deref, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn};
use tributary_control::Control;
use tributary_domain::limits;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Console(Arc<Control>);

impl Deref for Console {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.0
    }
}

/// All pages. What is no page goes to `beyond`, which is the API.
pub fn router(control: Control, beyond: Router) -> Router {
    Router::new()
        .merge(sign_in::routes())
        .merge(integrations::routes())
        .merge(assets::routes())
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .layer(from_fn(page::headers))
        .with_state(Console(Arc::new(control)))
        .fallback_service(beyond)
}
