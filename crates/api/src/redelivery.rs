//! Redelivery over HTTP, in all three places.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use serde_json::{Value, json};
use tributary_control::redelivery::{Redelivering, Run};

use crate::{
    ApiError, AppState,
    at::{At, ORG, PRODUCT, SANDBOX},
    auth::Caller,
    body::Body,
};

pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for place in [SANDBOX, PRODUCT, ORG] {
        let one = format!("{place}/integrations/{{id}}");
        router = router
            .route(&format!("{one}/redeliver"), post(begin))
            .route(&format!("{one}/logs/{{log}}/redeliver"), post(begin_one))
            .route(&format!("{one}/redeliveries"), get(list))
            .route(&format!("{one}/redeliveries/{{redelivery}}"), get(show).delete(cancel));
    }
    router
}

fn shown_run(run: &Run) -> Value {
    let [success, error, skipped] = run.ended;
    json!({
        "id": run.id,
        "state": run.state,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "total": run.total,
        "sent": run.sent,
        "success": success,
        "error": error,
        "skipped": skipped,
    })
}

fn shown(answer: &Redelivering) -> Json<Value> {
    let counts = answer.counts.iter().map(|(product, count)| json!({"id": product, "count": count}));
    Json(json!({
        "ok": true,
        "dry_run": answer.dry_run,
        "total": answer.counts.iter().map(|(_, count)| count).sum::<i64>(),
        "products": counts.collect::<Vec<_>>(),
        "redelivery": answer.run.as_ref().map(shown_run),
    }))
}

async fn begin(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    Ok(shown(&state.control.redeliver(&actor, at.key(), &at.id, &body).await?))
}

async fn begin_one(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
) -> Result<Json<Value>, ApiError> {
    Ok(shown(&state.control.redeliver_one(&actor, at.key(), &at.id, &at.log).await?))
}

async fn list(State(state): State<AppState>, Caller(actor): Caller, at: At) -> Result<Json<Value>, ApiError> {
    let runs = state.control.redeliveries(&actor, at.key(), &at.id).await?;
    Ok(Json(json!({"redeliveries": runs.iter().map(shown_run).collect::<Vec<_>>()})))
}

async fn show(State(state): State<AppState>, Caller(actor): Caller, at: At) -> Result<Json<Value>, ApiError> {
    let run = state.control.redelivery(&actor, at.key(), &at.id, &at.redelivery).await?;
    Ok(Json(json!({"redelivery": shown_run(&run)})))
}

async fn cancel(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
) -> Result<Json<Value>, ApiError> {
    let run = state.control.cancel_redelivery(&actor, at.key(), &at.id, &at.redelivery).await?;
    Ok(Json(json!({"ok": true, "redelivery": shown_run(&run)})))
}
