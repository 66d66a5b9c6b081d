//! The older face on integrations of the type `Webhook` (contract 3).

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, Uri},
    routing::get,
};
use serde_json::{Value, json};
use tributary_control::Error;
use tributary_domain::{access::Action, draft::DEFAULT_TYPE};

use crate::{
    ApiError, AppState,
    at::{At, PRODUCT, SANDBOX},
    auth::{Caller, Source},
    body::Body,
    integrations::{created, shown},
};

pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for place in [SANDBOX, PRODUCT] {
        router = router
            .route(&format!("{place}/webhooks"), get(list).post(create))
            .route(&format!("{place}/webhooks/{{id}}"), get(show).delete(remove));
    }
    router
}

fn no_webhook(id: &str) -> ApiError {
    Error::not_found(format!("webhook {id}")).into()
}

async fn list(State(state): State<AppState>, Caller(actor): Caller, at: At) -> Result<Json<Value>, ApiError> {
    let all = state.control.list_integrations(&actor, at.key()).await?;
    let webhooks = all.iter().filter(|view| view.integration.text("integration_type") == DEFAULT_TYPE);
    Ok(Json(webhooks.map(shown).collect()))
}

async fn create(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    uri: Uri,
    source: Source,
    Body(mut body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    match body.get("integration_type") {
        None | Some(Value::Null) => {
            body.insert("integration_type".to_owned(), DEFAULT_TYPE.into());
        }
        Some(kind) if kind == DEFAULT_TYPE => {}
        Some(_) => {
            let text = format!("must be {DEFAULT_TYPE} here; create other types under /integrations");
            return Err(Error::field("integration_type", text).into());
        }
    }
    let view = state.control.create_integration(&actor, at.key(), body).await?;
    Ok(created(&view, uri.path(), &source))
}

async fn show(State(state): State<AppState>, Caller(actor): Caller, at: At) -> Result<Json<Value>, ApiError> {
    let view = state.control.get_integration(&actor, at.key(), &at.id).await?;
    if view.integration.text("integration_type") != DEFAULT_TYPE {
        return Err(no_webhook(&at.id));
    }
    Ok(Json(json!({"webhook": shown(&view)})))
}

async fn remove(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
) -> Result<StatusCode, ApiError> {
    let place = state.control.place(&actor, at.key(), Action::RemoveIntegration).await?;
    let found = state.control.find_integration(&place, &at.id).await?;
    if found.integration.text("integration_type") != DEFAULT_TYPE {
        return Err(no_webhook(&at.id));
    }
    state.control.delete_integration(&actor, at.key(), &at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
