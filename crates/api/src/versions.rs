//! The versions of an integration over HTTP, in all three places.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use tributary_control::{audit::is_api_user, newest::Newest, versions::VersionRow};

use crate::{
    ApiError, AppState,
    at::{At, ORG, PRODUCT, SANDBOX},
    auth::Caller,
    integrations::wrapped,
};

pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for place in [SANDBOX, PRODUCT, ORG] {
        let one = format!("{place}/integrations/{{id}}/versions/{{version}}");
        router = router
            .route(&format!("{place}/integrations/{{id}}/versions"), get(list))
            .route(&one, get(show))
            .route(&format!("{one}/restore"), post(restore));
    }
    router
}

/// The parameters of a page.
pub(crate) fn page_of(mut query: HashMap<String, String>) -> Newest {
    Newest { before: query.remove("before"), limit: query.remove("limit") }
}

/// Who made a change.
pub(crate) fn shown_who(username: Option<&str>) -> Value {
    match username {
        Some(username) if is_api_user(username) => json!({"username": username, "api_user": true}),
        Some(username) => json!({"username": username}),
        None => Value::Null,
    }
}

fn shown(row: &VersionRow) -> Map<String, Value> {
    let who = row.by.as_ref().and_then(|who| who.username.as_deref());
    let mut shown = Map::new();
    let mut add = |key: &str, value: Value| shown.insert(key.to_owned(), value);
    add("version", row.version.into());
    add("at", json!(row.at));
    add("by", shown_who(who));
    add("action", json!(row.action));
    for (key, value) in &row.note {
        add(key, value.clone());
    }
    add("changes", json!(row.changes));
    shown
}

async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let page = state.control.list_versions(&actor, at.key(), &at.id, &page_of(query)).await?;
    Ok(Json(json!({"versions": page.rows.iter().map(shown).collect::<Vec<_>>(), "next": page.next})))
}

async fn show(State(state): State<AppState>, Caller(actor): Caller, at: At) -> Result<Json<Value>, ApiError> {
    let (row, config) = state.control.get_version(&actor, at.key(), &at.id, &at.version).await?;
    let mut version = shown(&row);
    version.insert("config".to_owned(), Value::Object(config));
    Ok(Json(json!({"version": version})))
}

async fn restore(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
) -> Result<Json<Value>, ApiError> {
    Ok(wrapped(&state.control.restore_version(&actor, at.key(), &at.id, &at.version).await?))
}
