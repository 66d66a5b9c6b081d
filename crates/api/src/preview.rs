//! Previews over HTTP: what an integration would send, before it is saved.

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Map, Value, json};
use tributary_control::preview::{EventPreview, ProductPreview, Sent, Warning};

use crate::{
    ApiError, AppState,
    at::{At, ORG, PRODUCT, SANDBOX},
    auth::Caller,
    body::Body,
};

pub(crate) fn routes() -> Router<AppState> {
    [SANDBOX, PRODUCT, ORG].iter().fold(Router::new(), |router, place| {
        router.route(&format!("{place}/integrations/preview"), post(preview))
    })
}

async fn preview(
    State(state): State<AppState>,
    Caller(actor): Caller,
    at: At,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let preview = state.control.preview_integration(&actor, at.key(), body).await?;
    Ok(Json(json!({
        "products": preview.products.iter().map(shown_product).collect::<Vec<_>>(),
        "warnings": preview.warnings.iter().map(shown_warning).collect::<Vec<_>>(),
    })))
}

fn shown_product(product: &ProductPreview) -> Value {
    let (slug, name) = &product.named;
    let mut shown = Map::new();
    if let Some(id) = product.product {
        shown.insert("product_id".to_owned(), json!(id));
        shown.insert("slug".to_owned(), json!(slug));
        shown.insert("name".to_owned(), json!(name));
    }
    shown.insert("looked_at".to_owned(), product.looked_at.into());
    shown.insert("matched".to_owned(), product.matched.into());
    shown.insert("left_out".to_owned(), product.left_out.into());
    shown.insert("events".to_owned(), product.events.iter().map(shown_event).collect());
    Value::Object(shown)
}

fn shown_event(preview: &EventPreview) -> Value {
    let event = &preview.event;
    let mut shown = Map::new();
    shown.insert(
        "event".to_owned(),
        json!({
            "name": event.name, "data": event.data, "coreid": event.coreid, "published_at": event.published_at,
        }),
    );
    shown.extend(shown_sent(preview.sent.as_ref()));
    if let Some(before) = &preview.before {
        shown.insert("before".to_owned(), Value::Object(shown_sent(before.as_ref())));
        shown.insert("changed".to_owned(), json!(preview.changed));
    }
    Value::Object(shown)
}

/// Both null: nothing is sent.
fn shown_sent(sent: Option<&Sent>) -> Map<String, Value> {
    let (request, error) = match sent {
        Some(Ok(request)) => (request.clone(), Value::Null),
        Some(Err(error)) => (Value::Null, error.as_str().into()),
        None => (Value::Null, Value::Null),
    };
    Map::from_iter([("request".to_owned(), request), ("error".to_owned(), error)])
}

fn shown_warning(warning: &Warning) -> Value {
    json!({"code": warning.code, "message": warning.message, "product_ids": warning.products})
}
