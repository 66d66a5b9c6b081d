//! What every request passes through: errors are JSON whoever made them, and a panic is a 500.

use std::{
    convert::Infallible,
    fmt,
    panic::AssertUnwindSafe,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::to_bytes,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt, future::BoxFuture};
use tower_service::Service;
use tributary_domain::limits;

use crate::{
    AppState, auth, cors,
    error::{ApiError, Told},
    request_limit,
};

/// Longest text of the framework that is repeated to the caller, in bytes.
const DETAIL_BYTES: usize = 1_024;

/// The API as a service: the routes with all that is around them. It is one service, for each layer of a router would be
/// a box, a future on the heap and a clone of the boxes within for every request.
#[derive(Clone)]
pub struct Api {
    routes: Router,
    state: AppState,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

impl Api {
    pub(crate) fn new(routes: Router, state: AppState) -> Api {
        Api { routes, state }
    }

    async fn answer(mut self, mut request: Request) -> Response {
        if let Err(refused) = request_limit::count(&self.state, &request) {
            return refused.into_response();
        }
        request = match auth::find_token(request).await {
            Ok(request) => request,
            Err(refused) => return refused.into_response(),
        };
        DefaultBodyLimit::max(limits::BODY_BYTES).apply(&mut request);
        if may_write(request.method(), request.uri().path()) {
            let (control, answer) = (self.state.control.clone(), self.routes.call(request));
            let Ok(response) = control.see_through(answer).await;
            return response;
        }
        let Ok(response) = self.routes.call(request).await;
        response
    }
}

/// Whether a request may change what is stored. Events go to the log; tests and previews change nothing.
fn may_write(method: &Method, path: &str) -> bool {
    const ELSEWHERE: [&str; 4] = ["/events", "/batch", "/test", "/preview"];
    !method.is_safe() && !ELSEWHERE.iter().any(|end| path.ends_with(end))
}

impl Service<Request> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let request = trim_slash(request);
        let from_anywhere = cors::covers(request.uri().path());
        if from_anywhere && let Some(consent) = cors::preflight(&request) {
            return Box::pin(std::future::ready(Ok(consent)));
        }
        let uri = request.uri().clone();
        let answer = catch_panic(uri, self.clone().answer(request));
        Box::pin(async move {
            let mut answer = errors_as_json(answer.await).await;
            let headers = answer.headers_mut();
            if from_anywhere {
                cors::allow(headers);
            }
            headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            Ok(answer)
        })
    }
}

/// The answer for a path that does not exist.
pub(crate) async fn nowhere() -> ApiError {
    ApiError::of_status(StatusCode::NOT_FOUND, None)
}

/// The answer for a method that a path does not take.
pub(crate) async fn no_such_method() -> ApiError {
    ApiError::of_status(StatusCode::METHOD_NOT_ALLOWED, None)
}

/// Reads `/v1/orgs/` as `/v1/orgs`. The end of an event prefix (`/v1/events/climate/`) is the caller's and stays.
fn trim_slash(mut request: Request) -> Request {
    if let Some(uri) = without_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    if path.contains("/events/") {
        return None;
    }
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}

/// Answers 500 when a handler panics; the panic itself is told on standard error by the panic hook.
async fn catch_panic(uri: Uri, answer: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(path = %uri.path(), "a handler panicked");
            ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR, None).into_response()
        }
    }
}

/// Turns the framework's own refusals (a path or query that cannot be read, say) into our form.
async fn errors_as_json(response: Response) -> Response {
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if !refused || response.extensions().get::<Told>().is_some() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let is_json = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json {
        return Response::from_parts(parts, body);
    }
    let detail =
        to_bytes(body, DETAIL_BYTES).await.ok().and_then(|bytes| String::from_utf8(bytes.into()).ok());
    let mut answer =
        ApiError::of_status(status, detail.filter(|text| !text.trim().is_empty())).into_response();
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_as_an_internal_error_and_no_more() {
        let answer = catch_panic(Uri::from_static("/"), async { panic!("the secret cause") }).await;
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(answer.into_body(), DETAIL_BYTES).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"], "internal_error");
        assert!(!body.to_string().contains("secret"), "{body}");
    }

    #[test]
    fn a_slash_at_the_end_does_not_count_except_in_an_event_prefix() {
        for (given, read) in [
            ("/v1/orgs/", Some("/v1/orgs")),
            ("/v1/orgs/?page=1", Some("/v1/orgs?page=1")),
            ("/v1/devices/events/", Some("/v1/devices/events")),
            ("/v1/events/climate/", None),
            ("/v1/orgs", None),
            ("/", None),
        ] {
            let trimmed = without_slash(&given.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(trimmed.as_deref(), read, "{given}");
        }
    }
}
