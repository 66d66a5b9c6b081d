//! Integrations over HTTP, in all three places (contract 1.1, 1.2 and 3).

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri, header},
    routing::get,
};
use serde_json::{Map, Value, json};
use tributary_control::{
    Error,
    expecting::{Expected, NOT_PRESENT},
    integrations::{MemberView, View},
    listing::ListParams,
};
use tributary_domain::{
    Owner,
    parameters::{FIELD, Parameters},
};

use crate::{
    ApiError, AppState,
    at::{At, ORG, PRODUCT, SANDBOX},
    auth::{Caller, Source},
    body::Body,
    paging::next_headers,
};

pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for place in [SANDBOX, PRODUCT, ORG] {
        router = router
            .route(&format!("{place}/integrations"), get(list).post(create))
            .route(&format!("{place}/integrations/{{id}}"), get(show).put(replace).delete(remove));
    }
    router
}

/// An integration: its id in the place, every configured field, and what is known of it besides.
pub(crate) fn shown(view: &View) -> Map<String, Value> {
    let integration = &view.integration;
    let mut body = Map::with_capacity(integration.config.len() + 8);
    let id = view.member.map_or_else(|| json!(integration.id), |member| json!(member.id));
    body.insert("id".to_owned(), id);
    body.extend(integration.config.clone());
    let mut add = |key: &str, value: Value| body.insert(key.to_owned(), value);
    add("created_at", json!(integration.created_at));
    add("updated_at", json!(integration.updated_at));
    add("today", json!(view.today));
    if matches!(integration.owner, Owner::Org(_)) {
        let none = Parameters::new();
        let products: Vec<_> = integration.members.iter().map(|member| member.product).collect();
        add("product_ids", json!(products));
        add("shared", json!(integration.is_shared()));
        match view.member {
            Some(member) => {
                if integration.config.contains_key(FIELD) {
                    add("parameter_overrides", json!(integration.overrides_of(member.id).unwrap_or(&none)));
                }
                add("org_integration_id", json!(integration.id));
            }
            None => {
                add("products", shown_members(&view.products));
            }
        }
    }
    if let Some(version) = view.version {
        add("version", json!(version));
    }
    if let Some(logs) = &view.logs {
        add("logs", json!(logs));
    }
    body
}

/// The products of an integration, as its organization sees them.
pub(crate) fn shown_members(members: &[MemberView]) -> Value {
    let shown = |view: &MemberView| {
        let (product, member) = (view.member.product, view.member.id);
        let mut shown =
            json!({"id": product, "slug": view.slug, "name": view.name, "integration_id": member});
        if let Some(overrides) = &view.overrides {
            shown["parameters"] = json!(overrides);
        }
        shown
    };
    members.iter().map(shown).collect()
}

/// An answer `{"integration":{…}}`.
pub(crate) fn wrapped(view: &View) -> Json<Value> {
    Json(json!({"integration": shown(view)}))
}

/// The answer to a creation: the integration with `ok` and its address.
pub(crate) fn created(view: &View, path: &str, source: &Source) -> (StatusCode, Json<Value>) {
    let mut body = shown(view);
    let is_webhook = view.integration.text("integration_type") == "Webhook";
    let id = body.get("id").and_then(Value::as_str).unwrap_or_default();
    let address = format!("{}{}/{id}", source.base(), path.trim_end_matches('/'));
    body.insert(if is_webhook { "hookUrl" } else { "integrationUrl" }.to_owned(), address.into());
    body.insert("ok".to_owned(), true.into());
    (StatusCode::CREATED, Json(Value::Object(body)))
}

async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    uri: Uri,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let params = ListParams::of(pairs.clone());
    if params.is_empty() {
        let all = state.control.list_integrations(&actor, at.key()).await?;
        return Ok((HeaderMap::new(), Json(all.iter().map(shown).collect())));
    }
    let page = state.control.list_integrations_page(&actor, at.key(), &params).await?;
    let headers = next_headers(&uri, &pairs, page.next.as_deref());
    Ok((headers, Json(page.views.iter().map(shown).collect())))
}

async fn create(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    uri: Uri,
    source: Source,
    Body(body): Body,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let view = state.control.create_integration(&actor, at.key(), body).await?;
    Ok(created(&view, uri.path(), &source))
}

async fn show(State(state): State<AppState>, Caller(actor): Caller, at: At) -> Result<Json<Value>, ApiError> {
    Ok(wrapped(&state.control.get_integration(&actor, at.key(), &at.id).await?))
}

async fn replace(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let header = headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default());
    let expected = Expected::of_body(&body)?.and_header(header)?;
    match state.control.replace_expected(&actor, at.key(), &at.id, body, &expected).await {
        Ok(view) => Ok(wrapped(&view)),
        // Who asked in the words of HTTP is answered in them.
        Err(error @ Error::Conflict { code: NOT_PRESENT, .. }) if header.is_some() => {
            Err(ApiError::new(StatusCode::PRECONDITION_FAILED, NOT_PRESENT, error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
) -> Result<StatusCode, ApiError> {
    state.control.delete_integration(&actor, at.key(), &at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
