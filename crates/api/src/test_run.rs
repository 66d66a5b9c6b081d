//! Testing an integration over HTTP (contract 3.4).

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::post,
};
use serde_json::{Map, Value, json};
use tributary_control::{place::PlaceKey, test_run::TestResult};
use tributary_domain::access::Actor;

use crate::{ApiError, AppState, auth::Caller, body::Body};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/integrations/{id}/test", post(sandbox))
        .route("/v1/products/{product}/integrations/{id}/test", post(product))
        .route("/v1/orgs/{org}/integrations/{id}/test", post(org))
}

async fn test(
    state: &AppState,
    actor: &Actor,
    place: PlaceKey<'_>,
    id: &str,
    body: &Map<String, Value>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(match state.control.test_integration(actor, place, id, body).await? {
        TestResult::Passed(data) => json!({"pass": true, "data": data}),
        TestResult::Failed(error) => json!({"pass": false, "error": error}),
    }))
}

/// Send one event through a sandbox integration, for real and once.
#[utoipa::path(post, path = "/v1/integrations/{id}/test", tag = "integrations", params(("id" = String, Path, description = "Integration id")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn sandbox(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    test(&state, &actor, PlaceKey::Sandbox, &id, &body).await
}

/// Send one event through an integration of a product, for real and once.
#[utoipa::path(post, path = "/v1/products/{product}/integrations/{id}/test", tag = "integrations", params(("product" = String, Path, description = "Product id or slug"), ("id" = String, Path, description = "The product's id of the integration")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    test(&state, &actor, PlaceKey::Product(&product), &id, &body).await
}

/// Send one event through an integration of an organization, for real and once.
#[utoipa::path(post, path = "/v1/orgs/{org}/integrations/{id}/test", tag = "integrations", params(("org" = String, Path, description = "Organization id or slug"), ("id" = String, Path, description = "Integration id")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((org, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    test(&state, &actor, PlaceKey::Org(&org), &id, &body).await
}
