//! Access tokens over HTTP (contract 2.1).

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{AppendHeaders, IntoResponse},
    routing::{delete, get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tributary_control::tokens::TokenRequest;

use crate::{
    ApiError, AppState,
    auth::{Caller, MaybeToken, Source},
    body::Body,
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/oauth/token", post(create))
        .route("/v1/access_tokens", delete(end_all))
        .route("/v1/access_tokens/current", get(current).delete(end_current))
        .route("/v1/access_tokens/{token}", delete(end))
}

/// Sign in: a token for a password or a refresh token.
#[utoipa::path(post, path = "/oauth/token", tag = "accounts", request_body(content = Value, content_type = "application/x-www-form-urlencoded"), responses((status = 200, body = Value), (status = 400, body = Value), (status = 429, body = Value)))]
pub(crate) async fn create(
    State(state): State<AppState>,
    source: Source,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<impl IntoResponse, ApiError> {
    let request = TokenRequest::read(basic_credentials(&headers), body)?;
    let granted = state.control.grant_token(request, source.addressed.from()).await?;
    let body = json!({
        "access_token": granted.access_token,
        "token_type": "bearer",
        "expires_in": granted.expires_in,
        "refresh_token": granted.refresh_token,
    });
    Ok((AppendHeaders([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")]), Json(body)))
}

/// Id and secret of HTTP Basic. A header of that scheme that cannot be read gives empty ones, which no client has.
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':')).unwrap_or_default();
    Some((pair.0.to_owned(), pair.1.to_owned()))
}

/// What the caller's token is.
#[utoipa::path(get, path = "/v1/access_tokens/current", tag = "accounts", responses((status = 200, body = Value)))]
pub(crate) async fn current(
    State(state): State<AppState>,
    MaybeToken(token): MaybeToken,
) -> Result<Json<Value>, ApiError> {
    let info = state.control.token_info(&token.ok_or_else(ApiError::no_token)?).await?;
    let orgs: Vec<Value> = info.orgs.iter().map(|(id, slug)| json!({"id": id, "slug": slug})).collect();
    Ok(Json(json!({
        "expires_at": info.expires_at,
        "client": info.client,
        "client_id": info.client,
        "scopes": info.scopes,
        "orgs": orgs,
    })))
}

/// Sign out.
#[utoipa::path(delete, path = "/v1/access_tokens/current", tag = "accounts", responses((status = 200, body = Value)))]
pub(crate) async fn end_current(
    State(state): State<AppState>,
    MaybeToken(token): MaybeToken,
    _caller: Caller,
) -> Result<Json<Value>, ApiError> {
    state.control.end_token(&token.ok_or_else(ApiError::no_token)?).await?;
    Ok(Json(json!({"ok": true})))
}

/// End a token. Holding it is enough: no other credentials are asked for.
#[utoipa::path(delete, path = "/v1/access_tokens/{token}", tag = "accounts", params(("token" = String, Path)), responses((status = 200, body = Value)))]
pub(crate) async fn end(
    State(state): State<AppState>,
    Path(token): Path<String>,
) -> Result<Json<Value>, ApiError> {
    state.control.end_token(&token).await?;
    Ok(Json(json!({"ok": true})))
}

/// End all of the caller's tokens.
#[utoipa::path(delete, path = "/v1/access_tokens", tag = "accounts", responses((status = 200, body = Value)))]
pub(crate) async fn end_all(
    State(state): State<AppState>,
    Caller(actor): Caller,
) -> Result<Json<Value>, ApiError> {
    state.control.end_all_tokens(&actor).await?;
    Ok(Json(json!({"ok": true})))
}
