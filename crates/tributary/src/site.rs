//! One address for the API and the pages.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{Router, extract::Request, middleware::from_fn, response::Response, routing::future::RouteFuture};
use futures_util::future::{BoxFuture, Either};
use tower_service::Service;
use tributary_api::Api;

/// Where all paths of the API but a few begin.
const API: [&str; 2] = ["/v1/", "/oauth/"];

/// What the server answers with: the pages, and the API for every path that is no page.
#[derive(Clone)]
pub(crate) struct Site {
    pages: Router,
    api: Api,
}

impl Site {
    pub(crate) fn new(pages: Router, api: Api) -> Site {
        // A person who follows a wrong link gets a page; programs get the API's answer.
        let rest = Router::new()
            .fallback_service(api.clone())
            .layer(from_fn(tributary_console::not_found_for_people));
        let rest = tributary_console::with_page_headers(rest);
        Site { pages: pages.fallback_service(rest), api }
    }
}

impl Service<Request> for Site {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response, Infallible>>, RouteFuture<Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // No page is there: events need not go by all of them first.
        if API.iter().any(|begins| request.uri().path().starts_with(begins)) {
            Either::Left(self.api.call(request))
        } else {
            Either::Right(self.pages.call(request))
        }
    }
}
