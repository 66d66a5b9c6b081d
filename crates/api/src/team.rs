//! Teams over HTTP (contract 2.2): the same endpoints for organizations and for products.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{get, put},
};
use serde_json::{Value, json};
use tributary_control::team::{Added, ApiUserToken, MemberChange, NewMember, TeamKey, TeamMember};
use tributary_domain::access::{Actor, Role};

use crate::{
    ApiError, AppState,
    auth::{Caller, Source},
    body::Body,
    invitations::shown_link,
    paging::Paging,
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/orgs/{org}/team", get(list_org).post(add_org))
        .route("/v1/orgs/{org}/team/{username}", put(update_org).delete(remove_org))
        .route("/v1/products/{product}/team", get(list_product).post(add_product))
        .route("/v1/products/{product}/team/{username}", put(update_product).delete(remove_product))
}

/// A member: a person with its role, or an API user with its scopes.
fn shown(member: &TeamMember) -> Value {
    match member.role {
        Some(role) => json!({"username": member.username, "role": shown_role(role)}),
        None => json!({
            "username": member.username,
            "friendly_name": member.friendly_name,
            "scopes": member.scopes,
            "is_programmatic": true,
        }),
    }
}

/// Clients know a role as an id and a name; the id is its place in the order of roles.
pub(crate) fn shown_role(role: Role) -> Value {
    let place = Role::ALL.iter().position(|r| *r == role).unwrap_or_default() + 1;
    json!({"id": format!("{place:024}"), "name": role.as_str()})
}

fn shown_token(created: &ApiUserToken) -> Value {
    json!({
        "username": created.username,
        "is_programmatic": true,
        "scopes": created.scopes,
        "tokens": [{"token": created.token}],
    })
}

async fn list(
    state: &AppState,
    actor: &Actor,
    key: TeamKey,
    paging: &Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let (headers, team) = paging.cut(state.control.list_team(actor, &key).await?)?;
    Ok((headers, Json(json!({"ok": true, "team": team.iter().map(shown).collect::<Vec<_>>()}))))
}

async fn add(
    state: &AppState,
    actor: &Actor,
    key: TeamKey,
    source: &Source,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let added = state.control.add_to_team(actor, &key, NewMember::read(body.0)?).await?;
    let body = match &added {
        Added::ApiUser(created) => json!({"ok": true, "created": shown_token(created)}),
        Added::Invited(link) => json!({"ok": true, "invitation": shown_link(link, source)}),
        Added::Person => json!({"ok": true}),
    };
    Ok((StatusCode::CREATED, Json(body)))
}

async fn update(
    state: &AppState,
    actor: &Actor,
    key: TeamKey,
    username: &str,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    let updated = state.control.update_member(actor, &key, username, MemberChange::read(body.0)?).await?;
    Ok(Json(match &updated {
        Some(updated) => json!({"ok": true, "updated": shown_token(updated)}),
        None => json!({"ok": true}),
    }))
}

async fn remove(
    state: &AppState,
    actor: &Actor,
    key: TeamKey,
    username: &str,
) -> Result<StatusCode, ApiError> {
    state.control.remove_member(actor, &key, username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The team of an organization; in pages by user name with `limit`, `cursor` and `search`.
#[utoipa::path(get, path = "/v1/orgs/{org}/team", tag = "teams", params(("org" = String, Path, description = "Organization id or slug")), responses((status = 200, body = Value)))]
pub(crate) async fn list_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    list(&state, &actor, TeamKey::Org(org), &paging).await
}

/// Add a person (`{username, role}`), who gets an invitation if there is no such account yet, or create an API user
/// (`{friendly_name, scopes}`); an invitation's link and an API user's token are shown this once.
#[utoipa::path(post, path = "/v1/orgs/{org}/team", tag = "teams", params(("org" = String, Path, description = "Organization id or slug")), request_body = Value, responses((status = 201, body = Value), (status = 400, body = Value)))]
pub(crate) async fn add_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    source: Source,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    add(&state, &actor, TeamKey::Org(org), &source, body).await
}

/// Change a person's role, or an API user's name and scopes; new scopes come with a new token.
#[utoipa::path(put, path = "/v1/orgs/{org}/team/{username}", tag = "teams", params(("org" = String, Path, description = "Organization id or slug"), ("username" = String, Path)), request_body = Value, responses((status = 200, body = Value), (status = 409, body = Value)))]
pub(crate) async fn update_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((org, username)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    update(&state, &actor, TeamKey::Org(org), &username, body).await
}

/// Take a member off the team of an organization.
#[utoipa::path(delete, path = "/v1/orgs/{org}/team/{username}", tag = "teams", params(("org" = String, Path, description = "Organization id or slug"), ("username" = String, Path)), responses((status = 204), (status = 409, body = Value)))]
pub(crate) async fn remove_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((org, username)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    remove(&state, &actor, TeamKey::Org(org), &username).await
}

/// The own team of a product, without its organization's; in pages as for an organization.
#[utoipa::path(get, path = "/v1/products/{product}/team", tag = "teams", params(("product" = String, Path, description = "Product id or slug")), responses((status = 200, body = Value)))]
pub(crate) async fn list_product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    list(&state, &actor, TeamKey::Product(product), &paging).await
}

/// Add a person or create an API user, as for an organization.
#[utoipa::path(post, path = "/v1/products/{product}/team", tag = "teams", params(("product" = String, Path, description = "Product id or slug")), request_body = Value, responses((status = 201, body = Value), (status = 400, body = Value)))]
pub(crate) async fn add_product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    source: Source,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    add(&state, &actor, TeamKey::Product(product), &source, body).await
}

/// Change a member, as for an organization.
#[utoipa::path(put, path = "/v1/products/{product}/team/{username}", tag = "teams", params(("product" = String, Path, description = "Product id or slug"), ("username" = String, Path)), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn update_product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, username)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiError> {
    update(&state, &actor, TeamKey::Product(product), &username, body).await
}

/// Take a member off the own team of a product.
#[utoipa::path(delete, path = "/v1/products/{product}/team/{username}", tag = "teams", params(("product" = String, Path, description = "Product id or slug"), ("username" = String, Path)), responses((status = 204)))]
pub(crate) async fn remove_product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, username)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    remove(&state, &actor, TeamKey::Product(product), &username).await
}
