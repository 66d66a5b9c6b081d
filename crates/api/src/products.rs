//! Products over HTTP (contract 2.2).

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use serde_json::{Value, json};
use tributary_control::products::NewProduct;
use tributary_domain::{Owner, access::Action, account::Product};

use crate::{ApiError, AppState, auth::Caller, body::Body, paging::Paging};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/user/products", get(list_sandbox).post(create_sandbox))
        .route("/v1/orgs/{org}/products", get(list_org).post(create_org))
        .route("/v1/products", get(list))
        .route("/v1/products/{product}", get(show).delete(remove))
}

/// A product; `user` or `organization_id` is its owner's id.
pub(crate) fn shown(product: &Product) -> Value {
    let (key, id) = match product.owner {
        Owner::User(id) => ("user", id.to_string()),
        Owner::Org(id) => ("organization_id", id.to_string()),
    };
    json!({
        "id": product.id,
        "platform_id": product.platform_id,
        "name": product.name,
        "slug": product.slug,
        "description": product.description,
        key: id,
        "groups": [],
        "settings": {},
    })
}

fn all(paging: &Paging, products: Vec<Product>) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let (headers, products) = paging.cut(products)?;
    Ok((headers, Json(json!({"products": products.iter().map(shown).collect::<Vec<_>>()}))))
}

fn created(product: &Product) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(json!({"ok": true, "product": shown(product)})))
}

/// All products that the caller has access to; in pages by id with `limit`, `cursor` and `search`.
#[utoipa::path(get, path = "/v1/products", tag = "products", responses((status = 200, body = Value)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    all(&paging, state.control.list_products(&actor).await?)
}

/// The products of the caller's sandbox; in pages by id with `limit`, `cursor` and `search`.
#[utoipa::path(get, path = "/v1/user/products", tag = "products", responses((status = 200, body = Value)))]
pub(crate) async fn list_sandbox(
    State(state): State<AppState>,
    Caller(actor): Caller,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    all(&paging, state.control.list_sandbox_products(&actor).await?)
}

/// The products of an organization; in pages by id with `limit`, `cursor` and `search`.
#[utoipa::path(get, path = "/v1/orgs/{org}/products", tag = "products", params(("org" = String, Path, description = "Organization id or slug")), responses((status = 200, body = Value)))]
pub(crate) async fn list_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    all(&paging, state.control.list_org_products(&actor, &org).await?)
}

/// Create a product in the caller's sandbox.
#[utoipa::path(post, path = "/v1/user/products", tag = "products", request_body = Value, responses((status = 201, body = Value), (status = 400, body = Value)))]
pub(crate) async fn create_sandbox(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let product = state.control.create_sandbox_product(&actor, NewProduct::read(body)?).await?;
    Ok(created(&product))
}

/// Create a product in an organization.
#[utoipa::path(post, path = "/v1/orgs/{org}/products", tag = "products", params(("org" = String, Path, description = "Organization id or slug")), request_body = Value, responses((status = 201, body = Value), (status = 400, body = Value)))]
pub(crate) async fn create_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let product = state.control.create_org_product(&actor, &org, NewProduct::read(body)?).await?;
    Ok(created(&product))
}

/// A product.
#[utoipa::path(get, path = "/v1/products/{product}", tag = "products", params(("product" = String, Path, description = "Product id or slug")), responses((status = 200, body = Value)))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let product = state.control.product(&actor, &product, Action::GetProduct).await?;
    Ok(Json(json!({"product": shown(&product)})))
}

/// Delete a product with its team and the integrations that are only its own.
#[utoipa::path(delete, path = "/v1/products/{product}", tag = "products", params(("product" = String, Path, description = "Product id or slug")), responses((status = 204)))]
pub(crate) async fn remove(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
) -> Result<StatusCode, ApiError> {
    state.control.delete_product(&actor, &product).await?;
    Ok(StatusCode::NO_CONTENT)
}
