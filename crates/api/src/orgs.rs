//! Organizations over HTTP (contract 2.2).

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use serde_json::{Value, json};
use tributary_control::orgs::{NewOrg, OrgChange};
use tributary_domain::{access::Action, account::Org};

use crate::{ApiError, AppState, auth::Caller, body::Body, paging::Paging};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/v1/orgs", get(list).post(create)).route("/v1/orgs/{org}", get(show).put(update))
}

fn shown(org: &Org) -> Value {
    json!({"id": org.id, "slug": org.slug, "name": org.name, "plan": org.plan.as_str()})
}

/// The organizations on whose team the caller is; in pages by slug with `limit`, `cursor` and `search`.
#[utoipa::path(get, path = "/v1/orgs", tag = "organizations", responses((status = 200, body = Value)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
    paging: Paging,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let (headers, orgs) = paging.cut(state.control.list_orgs(&actor).await?)?;
    Ok((headers, Json(json!({"organizations": orgs.iter().map(shown).collect::<Vec<_>>()}))))
}

/// Create an organization; the caller becomes its owner.
#[utoipa::path(post, path = "/v1/orgs", tag = "organizations", request_body = Value, responses((status = 201, body = Value), (status = 400, body = Value)))]
pub(crate) async fn create(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let org = state.control.create_org(&actor, NewOrg::read(body)?).await?;
    Ok((StatusCode::CREATED, Json(json!({"ok": true, "organization": shown(&org)}))))
}

/// An organization.
#[utoipa::path(get, path = "/v1/orgs/{org}", tag = "organizations", params(("org" = String, Path, description = "Organization id or slug")), responses((status = 200, body = Value)))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let org = state.control.org(&actor, &org, Action::GetOrg).await?;
    Ok(Json(json!({"organization": shown(&org)})))
}

/// Change an organization's name or plan.
#[utoipa::path(put, path = "/v1/orgs/{org}", tag = "organizations", params(("org" = String, Path, description = "Organization id or slug")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn update(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(org): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let org = state.control.update_org(&actor, &org, OrgChange::read(body)?).await?;
    Ok(Json(json!({"ok": true, "organization": shown(&org)})))
}
