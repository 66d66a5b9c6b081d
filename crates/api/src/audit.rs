//! Who changed what, over HTTP.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use serde_json::{Value, json};
use tributary_control::audit::{AuditRow, subject_kind, subject_name};

use crate::{
    ApiError, AppState,
    at::{At, ORG, SANDBOX},
    auth::Caller,
    versions::{page_of, shown_who},
};

pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for place in [SANDBOX, ORG] {
        router = router.route(&format!("{place}/audit"), get(list));
    }
    router
}

fn shown(row: &AuditRow) -> Value {
    json!({
        "id": row.id,
        "at": row.at,
        "by": shown_who(row.actor_name.as_deref()),
        "action": row.action,
        "subject": {"kind": subject_kind(row), "id": row.subject, "name": subject_name(row)},
        "before": row.before,
        "after": row.after,
    })
}

async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let page = state.control.audit(&actor, at.key(), &page_of(query)).await?;
    Ok(Json(json!({"audit": page.rows.iter().map(shown).collect::<Vec<_>>(), "next": page.next})))
}
