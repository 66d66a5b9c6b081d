//! Invitations to teams and the hand-over of an organization, over HTTP (contract 2.2).

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{delete, get, post},
};
use serde_json::{Value, json};
use tributary_control::{
    invitations::{Invitation, InvitationLink, JoinedPlace},
    team::TeamKey,
};
use tributary_domain::access::Actor;

use crate::{
    ApiError, AppState,
    auth::{Caller, MaybeToken, Source},
    body::Body,
    paging::Paging,
    team::shown_role,
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/orgs/{org}/team/invitations", get(list_org))
        .route("/v1/orgs/{org}/team/invitations/{username}", delete(revoke_org))
        .route("/v1/products/{product}/team/invitations", get(list_product))
        .route("/v1/products/{product}/team/invitations/{username}", delete(revoke_product))
        .route("/v1/invitations/{token}", post(accept))
        .route("/v1/orgs/{org}/owner", post(transfer))
}

/// An invitation as who invites sees it, once; its address is as links are.
pub(crate) fn shown_link(link: &InvitationLink, source: &Source) -> Value {
    json!({
        "username": link.username,
        "role": shown_role(link.role),
        "token": link.token,
        "url": format!("{}/v1/invitations/{}", source.base(), link.token),
        "expires_at": link.expires_at,
    })
}

fn shown(invitation: &Invitation) -> Value {
    json!({
        "username": invitation.username,
        "role": shown_role(invitation.role),
        "invited_by": invitation.invited_by,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    })
}

async fn list(
    state: &AppState,
    actor: &Actor,
    key: TeamKey,
    paging: &Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let (headers, open) = paging.cut(state.control.list_invitations(actor, &key).await?)?;
    Ok((headers, Json(json!({"invitations": open.iter().map(shown).collect::<Vec<_>>()}))))
}

/// The open invitations to the team of an organization.
#[utoipa::path(get, path = "/v1/orgs/{org}/team/invitations", tag = "teams", params(("org" = String, Path, description = "Organization id or slug")), responses((status = 200, body = Value)))]
pub(crate) async fn list_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    list(&state, &actor, TeamKey::Org(org), &paging).await
}

/// Revoke an invitation to the team of an organization.
#[utoipa::path(delete, path = "/v1/orgs/{org}/team/invitations/{username}", tag = "teams", params(("org" = String, Path, description = "Organization id or slug"), ("username" = String, Path)), responses((status = 204)))]
pub(crate) async fn revoke_org(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((org, username)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    state.control.revoke_invitation(&actor, &TeamKey::Org(org), &username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The open invitations to the own team of a product.
#[utoipa::path(get, path = "/v1/products/{product}/team/invitations", tag = "teams", params(("product" = String, Path, description = "Product id or slug")), responses((status = 200, body = Value)))]
pub(crate) async fn list_product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    list(&state, &actor, TeamKey::Product(product), &paging).await
}

/// Revoke an invitation to the own team of a product.
#[utoipa::path(delete, path = "/v1/products/{product}/team/invitations/{username}", tag = "teams", params(("product" = String, Path, description = "Product id or slug"), ("username" = String, Path)), responses((status = 204)))]
pub(crate) async fn revoke_product(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, username)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    state.control.revoke_invitation(&actor, &TeamKey::Product(product), &username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accept an invitation: signed in, the caller joins; without a token an account is created under the invited name
/// (`{password}`) and joins.
#[utoipa::path(post, path = "/v1/invitations/{token}", tag = "teams", params(("token" = String, Path)), request_body = Value, responses((status = 200, body = Value), (status = 400, body = Value), (status = 404, body = Value), (status = 409, body = Value)))]
pub(crate) async fn accept(
    State(state): State<AppState>,
    MaybeToken(signed_in): MaybeToken,
    Path(token): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let actor = match signed_in {
        Some(signed_in) => Some(state.control.authenticate(&signed_in).await?),
        None => None,
    };
    let joined = state.control.accept_invitation(actor.as_ref(), &token, body).await?;
    let (key, place) = match &joined.place {
        JoinedPlace::Org(org) => ("organization", json!({"id": org.id, "slug": org.slug, "name": org.name})),
        JoinedPlace::Product(product) => {
            ("product", json!({"id": product.id, "slug": product.slug, "name": product.name}))
        }
    };
    Ok(Json(json!({
        "ok": true,
        "username": joined.username,
        "created": joined.is_new,
        "role": shown_role(joined.role),
        key: place,
    })))
}

/// Hand an organization over to a person on its team (`{username}`); the owner becomes an Administrator.
#[utoipa::path(post, path = "/v1/orgs/{org}/owner", tag = "organizations", params(("org" = String, Path, description = "Organization id or slug")), request_body = Value, responses((status = 200, body = Value), (status = 400, body = Value), (status = 403, body = Value)))]
pub(crate) async fn transfer(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let owner = state.control.transfer_org(&actor, &org, body).await?;
    Ok(Json(json!({"ok": true, "owner": owner})))
}
