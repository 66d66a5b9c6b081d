//! People over HTTP (contract 2.2).

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde_json::{Value, json};
use tributary_control::accounts::{NewUser, PasswordChange};

use crate::{
    ApiError, AppState,
    auth::{Caller, MaybeToken, Source},
    body::Body,
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/v1/users", post(sign_up)).route("/v1/user", get(show).put(change))
}

/// Sign up, where the server lets anybody.
#[utoipa::path(post, path = "/v1/users", tag = "accounts", request_body = Value, responses((status = 200, body = Value), (status = 400, body = Value), (status = 403, body = Value)))]
pub(crate) async fn sign_up(
    State(state): State<AppState>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    state.control.sign_up(NewUser::read(body)?).await?;
    Ok(Json(json!({"ok": true})))
}

/// Who the caller is.
#[utoipa::path(get, path = "/v1/user", tag = "accounts", responses((status = 200, body = Value)))]
pub(crate) async fn show(Caller(actor): Caller) -> Json<Value> {
    Json(json!({
        "username": actor.username,
        "account_info": {},
        "mfa": {"enabled": false},
        "memberships": [],
        "is_programmatic": actor.scopes.is_some(),
    }))
}

/// Change the caller's password.
#[utoipa::path(put, path = "/v1/user", tag = "accounts", request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn change(
    State(state): State<AppState>,
    source: Source,
    Caller(actor): Caller,
    MaybeToken(token): MaybeToken,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let change = PasswordChange::read(body)?;
    state
        .control
        .change_password(&actor, &token.unwrap_or_default(), change, source.addressed.from())
        .await?;
    Ok(Json(json!({"ok": true})))
}
