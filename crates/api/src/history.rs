//! The history of an integration and the metrics of a product, over HTTP (contract 4.3).

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    routing::get,
};
use serde_json::{Map, Value, json};
use tributary_control::history::{Counts, History, MetricsWindow, ProductHistory};
use tributary_domain::{Timestamp, time::date_of};

use crate::{
    ApiError, AppState,
    at::{At, ORG, PRODUCT, SANDBOX},
    auth::Caller,
};

pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new().route("/v1/products/{product}/metrics/integration", get(metrics));
    for place in [SANDBOX, PRODUCT, ORG] {
        router = router.route(&format!("{place}/integrations/{{id}}/history"), get(history));
    }
    router
}

async fn history(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let days = query.get("days").map(String::as_str);
    let history = state.control.history(&actor, at.key(), &at.id, days).await?;
    Ok(Json(json!({"history": shown(&history)})))
}

fn shown(history: &History) -> Value {
    let days = |counts: &[Counts]| -> Vec<Value> {
        let day = |(day, c): (i64, &Counts)| json!({"date": date_of(day), "success": c.success, "error": c.error, "skipped": c.skipped});
        (history.from..).zip(counts).map(day).collect()
    };
    let product = |product: &ProductHistory| {
        let (slug, name) = product.names.clone().unzip();
        json!({"id": product.product, "slug": slug, "name": name, "days": days(&product.days)})
    };
    json!({
        "from": date_of(history.from),
        "to": date_of(history.to),
        "total": days(&history.total),
        "products": history.products.iter().map(product).collect::<Vec<_>>(),
        "redelivered": history.redelivered,
    })
}

async fn metrics(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, ApiError> {
    let window = MetricsWindow {
        start_date: query.remove("start_date"),
        end_date: query.remove("end_date"),
        bucket_size: query.remove("bucket_size"),
    };
    let buckets = state.control.metrics_of_product(&actor, &product, &window).await?;
    Ok(Json(json!({"integrations": buckets.into_iter().map(shown_bucket).collect::<Vec<_>>()})))
}

/// A bucket in the words of the public API; what is zero is left out.
fn shown_bucket((time, counts): (Timestamp, Counts)) -> Value {
    let mut bucket = Map::from_iter([("time".to_owned(), json!(time))]);
    for (key, count) in [("success", counts.success), ("failure", counts.error), ("sleep", counts.skipped)] {
        if count != 0 {
            bucket.insert(key.to_owned(), count.into());
        }
    }
    Value::Object(bucket)
}
