//! What every request passes through: errors are JSON whoever made them, and a panic is a 500.

use std::panic::AssertUnwindSafe;

use axum::{
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use crate::error::{ApiError, Told};

/// Longest text of the framework that is repeated to the caller, in bytes.
const DETAIL_BYTES: usize = 1_024;

/// The answer for a path that does not exist.
pub(crate) async fn nowhere() -> ApiError {
    ApiError::of_status(StatusCode::NOT_FOUND, None)
}

/// The answer for a method that a path does not take.
pub(crate) async fn no_such_method() -> ApiError {
    ApiError::of_status(StatusCode::METHOD_NOT_ALLOWED, None)
}

/// Answers 500 when a handler panics; the panic itself is told on standard error by the panic hook.
pub(crate) async fn catch_panic(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(%path, "a handler panicked");
            ApiError::of_status(StatusCode::INTERNAL_SERVER_ERROR, None).into_response()
        }
    }
}

/// Turns the framework's own refusals (a path or query that cannot be read, say) into our form.
pub(crate) async fn errors_as_json(response: Response) -> Response {
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
