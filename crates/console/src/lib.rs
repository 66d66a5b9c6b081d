//! The console: server-rendered pages over the same use-cases as the API. No SQL and no rules: a handler reads a request,
//! calls use-cases of `tributary_control`, and renders a page.
//!
//! Read in this order: [`router`] with its pages, `session` (who looks), `here` (where), `form` (what was sent), `page`
//! (what surrounds every page), then the pages, one file per noun. Pages work without JavaScript; htmx (vendored) and one
//! small script make them quicker to use.

mod assets;
mod audit;
mod chart;
mod devices;
mod error;
mod events;
mod form;
mod format;
pub mod gallery;
mod here;
mod integrations;
mod page;
mod products;
mod secrets;
mod session;
mod settings;
mod sign_in;
mod team;

use std::{ops::Deref, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn};
use tokio::sync::Semaphore;
use tributary_control::Control;
use tributary_domain::limits;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Console(Arc<Parts>);

struct Parts {
    control: Control,
    /// Places for open streams.
    streams: Arc<Semaphore>,
}

impl Console {
    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.0.streams
    }
}

impl Deref for Console {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.0.control
    }
}

/// All pages. A path that is none has the router's fallback.
pub fn router(control: Control) -> Router {
    let streams = Arc::new(Semaphore::new(events::OPEN_STREAMS));
    Router::new()
        .merge(sign_in::routes())
        .merge(integrations::routes())
        .merge(products::routes())
        .merge(devices::routes())
        .merge(events::routes())
        .merge(team::routes())
        .merge(secrets::routes())
        .merge(settings::routes())
        .merge(audit::routes())
        .merge(assets::routes())
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .layer(from_fn(page::headers))
        .with_state(Console(Arc::new(Parts { control, streams })))
}
