//! Sharing an integration among the products of an organization, over HTTP (contract 1.1 and 1.2).

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post, put},
};
use serde_json::{Value, json};
use tributary_control::{integrations::MemberView, merging::Duplicates};
use tributary_domain::integration::Integration;

use crate::{
    ApiError, AppState,
    auth::Caller,
    body::Body,
    integrations::{shown_members, wrapped},
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/products/{product}/integrations/{id}/separate", post(separate))
        .route("/v1/orgs/{org}/integrations/duplicates", get(duplicates))
        .route("/v1/orgs/{org}/integrations/{id}/merge", post(merge))
        .route("/v1/orgs/{org}/integrations/{id}/products/{product}", put(add).delete(remove))
}

async fn separate(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let view = state.control.separate(&actor, &product, &id, body).await?;
    Ok((StatusCode::CREATED, wrapped(&view)))
}

async fn add(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((org, id, product)): Path<(String, String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    Ok(wrapped(&state.control.add_product(&actor, &org, &id, &product, body).await?))
}

async fn remove(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((org, id, product)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    state.control.remove_product(&actor, &org, &id, &product).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn duplicates(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let groups = state.control.duplicates(&actor, &org).await?;
    Ok(Json(json!({"duplicates": groups.iter().map(shown_group).collect::<Vec<_>>()})))
}

fn shown_group(group: &Duplicates) -> Value {
    let shown = |(integration, products): &(Integration, Vec<MemberView>)| {
        let ids: Vec<_> = products.iter().map(|view| view.member.product).collect();
        json!({
            "id": integration.id,
            "name": integration.text("name"),
            "event": integration.text("event"),
            "integration_type": integration.text("integration_type"),
            "product_ids": ids,
            "products": shown_members(products),
        })
    };
    let integrations: Vec<Value> = group.integrations.iter().map(shown).collect();
    json!({"integrations": integrations, "names_differ": group.names_differ})
}

async fn merge(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((org, id)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    Ok(wrapped(&state.control.merge_integrations(&actor, &org, &id, &body).await?))
}
