//! For those who run the server: health, readiness, metrics, and the description of the API.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{ApiError, AppState, auth::Source, openapi};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(description))
}

/// The process is alive.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = Value)))]
pub(crate) async fn health() -> Json<Value> {
    Json(json!({"ok": true}))
}

/// Store and event log can be used, and the data plane goes on.
#[utoipa::path(get, path = "/ready", tag = "operations", responses((status = 200, body = Value), (status = 503, body = Value)))]
pub(crate) async fn ready(State(state): State<AppState>) -> Response {
    let (store, log, stands_still) = state.control.readiness().await;
    let ok = store && log && stands_still.is_none();
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({"ok": ok, "store": store, "event_log": log});
    if !ok {
        body["error"] = "unavailable".into();
        let usual = || "the store or the event log cannot be used; the server's log says why".to_owned();
        body["error_description"] = stands_still.unwrap_or_else(usual).into();
    }
    (status, Json(body)).into_response()
}

/// Counts since the start of the process, in Prometheus' text format, for the addresses of `server.metrics_from`.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "text/plain", body = String), (status = 403, body = Value)))]
pub(crate) async fn metrics(State(state): State<AppState>, source: Source) -> Response {
    if !source.addressed.may_see_metrics() {
        let text = "the server's figures are for the addresses in its setting server.metrics_from";
        return ApiError::new(StatusCode::FORBIDDEN, "forbidden", text).into_response();
    }
    let text = state.control.metrics().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The description of this API (OpenAPI 3.1).
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, body = Value)))]
pub(crate) async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi::json()).into_response()
}
