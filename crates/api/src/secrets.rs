//! Cloud secrets over HTTP (contract 2.3).

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use serde_json::{Value, json};
use tributary_control::secrets::{SecretUse, SecretView};
use tributary_domain::Owner;

use crate::{
    ApiError, AppState,
    at::{At, ORG, SANDBOX},
    auth::Caller,
    body::Body,
    paging::Paging,
};

pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for place in [SANDBOX, ORG] {
        router = router
            .route(&format!("{place}/secrets"), get(list).post(create))
            .route(&format!("{place}/secrets/{{name}}"), get(show).put(put).delete(remove));
    }
    router
}

fn shown(secret: &SecretView) -> Value {
    let row = &secret.row;
    json!({
        "name": row.name,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "created_by": row.created_by,
        "updated_by": row.updated_by,
        "last_accessed_at": row.last_accessed_at,
        "integrations": secret.uses.iter().map(shown_use).collect::<Vec<_>>(),
        "logic_functions": [],
    })
}

/// An integration that uses a secret, under the ids by which it is reached.
fn shown_use(using: &SecretUse) -> Value {
    let integration = &using.integration;
    let mut shown = json!({"name": integration.text("name")});
    match &integration.members[..] {
        [] => shown["id"] = json!(integration.id),
        [member] => shown["id"] = json!(member.id),
        _ => {}
    }
    if matches!(integration.owner, Owner::Org(_)) {
        shown["org_integration_id"] = json!(integration.id);
    }
    if let Some(slug) = &using.product_slug {
        shown["product_slug"] = json!(slug);
    }
    shown
}

fn wrapped(secret: &SecretView) -> Json<Value> {
    Json(json!({"secret": shown(secret)}))
}

async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let (headers, secrets) = paging.cut(state.control.list_secrets(&actor, at.key()).await?)?;
    Ok((headers, Json(json!({"secrets": secrets.iter().map(shown).collect::<Vec<_>>()}))))
}

async fn create(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let secret = state.control.create_secret(&actor, at.key(), body).await?;
    Ok((StatusCode::CREATED, wrapped(&secret)))
}

async fn show(State(state): State<AppState>, Caller(actor): Caller, at: At) -> Result<Json<Value>, ApiError> {
    Ok(wrapped(&state.control.get_secret(&actor, at.key(), &at.id).await?))
}

async fn put(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    Ok(wrapped(&state.control.put_secret(&actor, at.key(), &at.id, body).await?))
}

async fn remove(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
) -> Result<StatusCode, ApiError> {
    state.control.delete_secret(&actor, at.key(), &at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
