//! Publishing over HTTP (contract 4.1).

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde_json::{Value, json};
use tributary_control::{Error, publish::NewEvent};
use tributary_domain::limits;

use crate::{ApiError, AppState, auth::Caller, body::Body};

/// Largest body of a batch, in bytes: a thousand of the largest events, in JSON.
const BATCH_BYTES: usize = 32 * 1024 * 1024;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/devices/events", post(publish_sandbox))
        .route("/v1/products/{product}/events", post(publish_product))
        .route(
            "/v1/products/{product}/events/batch",
            post(publish_batch).layer(DefaultBodyLimit::max(BATCH_BYTES)),
        )
        .route("/v1/orgs/{org}/events", post(publish_org))
}

fn done() -> Json<Value> {
    Json(json!({"ok": true}))
}

/// Publish in the caller's own sandbox; 200 once the event is durable.
#[utoipa::path(post, path = "/v1/devices/events", tag = "events", request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn publish_sandbox(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    state.control.publish_sandbox(&actor, NewEvent::read(body)?).await?;
    Ok(done())
}

/// Publish in a product, as one of its devices if `as_device_id` says so.
#[utoipa::path(post, path = "/v1/products/{product}/events", tag = "events", params(("product" = String, Path, description = "Product id or slug")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn publish_product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    state.control.publish_product(&actor, &product, NewEvent::read(body)?).await?;
    Ok(done())
}

/// Publish one event in every product of an organization.
#[utoipa::path(post, path = "/v1/orgs/{org}/events", tag = "events", params(("org" = String, Path, description = "Organization id or slug")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn publish_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    state.control.publish_org(&actor, &org, NewEvent::read(body)?).await?;
    Ok(done())
}

/// Publish up to 1,000 events of a product, one JSON object a line; each line has its own answer.
#[utoipa::path(post, path = "/v1/products/{product}/events/batch", tag = "events", params(("product" = String, Path, description = "Product id or slug")), request_body(content = String, content_type = "application/x-ndjson"), responses((status = 200, body = Value)))]
pub(crate) async fn publish_batch(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/x-ndjson") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send a batch as application/x-ndjson, one event a line",
        ));
    }
    let lines: Vec<&[u8]> =
        body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect();
    if lines.len() > limits::BATCH_EVENTS {
        return Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload_too_large",
            format!("a batch has at most {} lines; this one has {}", limits::BATCH_EVENTS, lines.len()),
        ));
    }
    let results =
        state.control.publish_batch(&actor, &product, lines.into_iter().map(read_line).collect()).await?;
    let ok = results.iter().all(Result::is_ok);
    let results: Vec<Value> = results.into_iter().map(shown).collect();
    Ok(Json(json!({"ok": ok, "results": results})).into_response())
}

fn read_line(line: &[u8]) -> Result<NewEvent, Error> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(object)) => NewEvent::read(object),
        Ok(_) => Err(Error::refused("invalid_event", "the line is not a JSON object")),
        Err(error) => Err(Error::refused("invalid_event", format!("the line is not valid JSON: {error}"))),
    }
}

fn shown(result: Result<(), Error>) -> Value {
    match result {
        Ok(()) => json!({"ok": true}),
        Err(error) => ApiError::from(error).to_json(),
    }
}
