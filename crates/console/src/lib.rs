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
mod failed;
mod form;
mod format;
pub mod gallery;
mod here;
mod integrations;
mod page;
mod products;
mod request_head;
mod secrets;
mod session;
mod settings;
mod sign_in;
mod team;

use std::{ops::Deref, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tributary_control::Control;
use tributary_domain::limits;

/// What handlers work with.
#[derive(Clone)]
pub(crate) struct Console(Arc<Parts>);

struct Parts {
    control: Control,
    streams: events::OpenStreams,
}

impl Console {
    pub(crate) fn streams(&self) -> &events::OpenStreams {
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
    let streams = events::OpenStreams::default();
    Router::new()
        .merge(sign_in::routes().layer(DefaultBodyLimit::max(form::UNPROVEN_BYTES)))
        .merge(integrations::routes())
        .merge(products::routes())
        .merge(devices::routes())
        .merge(events::routes())
        .merge(failed::routes())
        .merge(team::routes())
        .merge(secrets::routes())
        .merge(settings::routes())
        .merge(audit::routes())
        .merge(assets::routes())
        .layer(DefaultBodyLimit::max(limits::BODY_BYTES))
        .layer(from_fn(page::headers))
        .layer(from_fn_with_state(control.clone(), see_through))
        .with_state(Console(Arc::new(Parts { control, streams })))
}

/// Turns the 404 of a path that is neither a page nor an endpoint into a page where a browser asked for it.
pub async fn not_found_for_people(request: Request, next: Next) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let wants_page = accept.is_some_and(|accept| {
        // Browsers name pages first; a client that takes anything is a program.
        accept.split(',').next().is_some_and(|first| first.trim().starts_with("text/html"))
    });
    let answer = next.run(request).await;
    match wants_page && answer.status() == StatusCode::NOT_FOUND {
        true => page::with_headers(error::PageError::nowhere().into_response()),
        false => answer,
    }
}

/// What a form wrote is in force before it is answered, whatever becomes of who sent it. Events go to the log, and tests
/// and checks change nothing.
async fn see_through(State(control): State<Control>, request: Request, next: Next) -> Response {
    const ELSEWHERE: [&str; 3] = ["/events", "/test", "/check"];
    let path = request.uri().path();
    if request.method().is_safe() || ELSEWHERE.iter().any(|end| path.ends_with(end)) {
        return next.run(request).await;
    }
    control.see_through(next.run(request)).await
}

/// Gives the answers of a router the headers of pages: for what is answered beside the pages.
pub fn with_page_headers(router: Router) -> Router {
    router.layer(from_fn(page::headers))
}
