//! Moving a product to an organization, over HTTP.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::post,
};
use serde_json::{Value, json};

use crate::{ApiError, AppState, auth::Caller, body::Body, products::shown};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/v1/products/{product}/move", post(to_org))
}

/// Move a product of the caller's sandbox to an organization (`{org}`, id or slug), with its integrations and their history.
#[utoipa::path(post, path = "/v1/products/{product}/move", tag = "products", params(("product" = String, Path, description = "Product id or slug")), request_body = Value, responses((status = 200, body = Value), (status = 400, body = Value), (status = 403, body = Value), (status = 409, body = Value)))]
pub(crate) async fn to_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let product = state.control.move_product(&actor, &product, body).await?;
    Ok(Json(json!({"ok": true, "product": shown(&product)})))
}
