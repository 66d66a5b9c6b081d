//! Devices over HTTP (contract 2.2).

use axum::{
    Json, Router,
    extract::{FromRequest, Multipart, Path, Query, Request, State},
    http::StatusCode,
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tributary_control::devices::{DeviceChange, DevicePage, DeviceRow, NewDevices};
use tributary_domain::access::Action;

use crate::{
    ApiError, AppState,
    auth::Caller,
    body::{Body, media_type},
};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/devices", get(list_own).post(claim))
        .route("/v1/devices/{device}", get(show_own).put(update_own).delete(unclaim))
        .route("/v1/devices/{device}/agreement", put(agree))
        .route("/v1/products/{product}/device_claims", post(create_claim_code))
        .route("/v1/products/{product}/devices", get(list).post(add))
        .route("/v1/products/{product}/devices/{device}", get(show).put(update).delete(remove))
        .route("/v1/products/{product}/devices/{device}/owner", delete(remove_owner))
}

/// A device in the shape that clients know. This server holds no connection to devices, so what only such a connection
/// tells (online, last heard, firmware) is always empty.
fn shown(row: &DeviceRow) -> Value {
    json!({
        "id": row.device.id,
        "name": row.device.name,
        "owner": row.owner,
        "product_id": row.device.product,
        "platform_id": row.platform_id,
        "notes": row.device.notes,
        "groups": [],
        "online": false,
        "connected": false,
        "cellular": false,
        "last_heard": null,
        "last_handshake_at": null,
        "denied": false,
        "development": false,
        "quarantined": false,
        "serial_number": null,
        "firmware_product_id": null,
        "last_ip_address": null,
        "system_firmware_version": null,
        "targeted_firmware_release_version": null,
        "functions": [],
        "variables": [],
    })
}

/// One device alone: it has more fields than in a list.
fn shown_alone(row: &DeviceRow) -> Value {
    let mut device = shown(row);
    for (field, unknown) in [
        ("mobile_secret", Value::Null),
        ("current_build_target", Value::Null),
        ("default_build_target", Value::Null),
        ("firmware_updates_enabled", false.into()),
        ("firmware_updates_forced", false.into()),
    ] {
        device[field] = unknown;
    }
    device
}

/// What the list of a product's devices can be asked with.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ListQuery {
    #[serde(rename = "deviceId")]
    device_id: Option<String>,
    #[serde(rename = "deviceName")]
    device_name: Option<String>,
    page: Option<String>,
    #[serde(alias = "perPage")]
    per_page: Option<String>,
}

/// A page of a product's devices.
#[utoipa::path(get, path = "/v1/products/{product}/devices", tag = "devices", params(("product" = String, Path, description = "Product id or slug"), ("deviceId" = Option<String>, Query, description = "Part of the id"), ("deviceName" = Option<String>, Query, description = "Part of the name"), ("page" = Option<u32>, Query, description = "From 1"), ("perPage" = Option<u32>, Query, description = "25 by default, at most 100")), responses((status = 200, body = Value)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiError> {
    let asked = DevicePage {
        id: query.device_id,
        name: query.device_name,
        page: query.page,
        per_page: query.per_page,
    };
    let (rows, total_pages) = state.control.list_devices(&actor, &product, &asked).await?;
    let devices: Vec<Value> = rows.iter().map(shown).collect();
    Ok(Json(json!({"devices": devices, "customers": [], "meta": {"total_pages": total_pages}})))
}

/// Add devices to a product: `{id}`, `{ids: []}`, or a file with one id a line.
#[utoipa::path(post, path = "/v1/products/{product}/devices", tag = "devices", params(("product" = String, Path, description = "Product id or slug")), request_body = Value, responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn add(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let new = match media_type(request.headers()).as_deref() {
        Some("multipart/form-data") => NewDevices::read_file(&read_file(request).await?)?,
        _ => NewDevices::read(Body::from_request(request, &state).await?.0)?,
    };
    let added = state.control.add_devices(&actor, &product, new).await?;
    Ok(Json(json!({
        "updated": added.updated.len(),
        "updatedDeviceIds": added.updated,
        "existingDeviceIds": added.existing,
        "nonmemberDeviceIds": added.nonmember,
        "invalidDeviceIds": added.invalid,
    })))
}

/// The text of the part called `file`.
async fn read_file(request: Request) -> Result<String, ApiError> {
    let unreadable = |error: axum::extract::multipart::MultipartError| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::of_status(StatusCode::PAYLOAD_TOO_LARGE, None),
        _ => ApiError::bad_request(format!("the file could not be read: {}", error.body_text())),
    };
    let mut parts = Multipart::from_request(request, &()).await.map_err(|error| {
        ApiError::bad_request(format!("the file could not be read: {}", error.body_text()))
    })?;
    while let Some(part) = parts.next_field().await.map_err(unreadable)? {
        if part.name() == Some("file") {
            let bytes = part.bytes().await.map_err(unreadable)?;
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Err(tributary_control::Error::field("file", "is required: one device id a line").into())
}

/// A device of a product.
#[utoipa::path(get, path = "/v1/products/{product}/devices/{device}", tag = "devices", params(("product" = String, Path, description = "Product id or slug"), ("device" = String, Path, description = "Device id or name")), responses((status = 200, body = Value)))]
pub(crate) async fn show(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, device)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown_alone(&state.control.get_product_device(&actor, &product, &device).await?)))
}

/// Change name and notes of a device of a product.
#[utoipa::path(put, path = "/v1/products/{product}/devices/{device}", tag = "devices", params(("product" = String, Path, description = "Product id or slug"), ("device" = String, Path, description = "Device id or name")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn update(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, device)): Path<(String, String)>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let change = DeviceChange::read(body)?;
    Ok(Json(shown_alone(&state.control.update_product_device(&actor, &product, &device, change).await?)))
}

/// Take a device out of a product.
#[utoipa::path(delete, path = "/v1/products/{product}/devices/{device}", tag = "devices", params(("product" = String, Path, description = "Product id or slug"), ("device" = String, Path, description = "Device id or name")), responses((status = 204)))]
pub(crate) async fn remove(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, device)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    state.control.remove_product_device(&actor, &product, &device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a device of a product away from who claimed it.
#[utoipa::path(delete, path = "/v1/products/{product}/devices/{device}/owner", tag = "devices", params(("product" = String, Path, description = "Product id or slug"), ("device" = String, Path, description = "Device id or name")), responses((status = 204)))]
pub(crate) async fn remove_owner(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path((product, device)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    state.control.remove_device_owner(&actor, &product, &device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The devices that the caller has claimed.
#[utoipa::path(get, path = "/v1/devices", tag = "devices", responses((status = 200, body = Value)))]
pub(crate) async fn list_own(
    State(state): State<AppState>,
    Caller(actor): Caller,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(state.control.list_own_devices(&actor).await?.iter().map(shown).collect()))
}

/// A device that the caller has claimed.
#[utoipa::path(get, path = "/v1/devices/{device}", tag = "devices", params(("device" = String, Path, description = "Device id or name")), responses((status = 200, body = Value)))]
pub(crate) async fn show_own(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shown_alone(&state.control.own_device_row(&actor, &device, Action::GetDevice).await?)))
}

/// Claim a device: `{id, claim_code?}`. One in a product needs the right to change its devices, or a code of that product.
#[utoipa::path(post, path = "/v1/devices", tag = "devices", request_body = Value, responses((status = 200, body = Value), (status = 400, body = Value), (status = 403, body = Value)))]
pub(crate) async fn claim(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let id = state.control.claim_device(&actor, body).await?;
    Ok(Json(
        json!({"ok": true, "id": id, "deviceID": id, "user_id": actor.user, "claimed": true, "connected": false}),
    ))
}

/// Change name and notes of a device that the caller has claimed.
#[utoipa::path(put, path = "/v1/devices/{device}", tag = "devices", params(("device" = String, Path, description = "Device id or name")), request_body = Value, responses((status = 200, body = Value)))]
pub(crate) async fn update_own(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(device): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let change = DeviceChange::read(body)?;
    Ok(Json(shown_alone(&state.control.update_own_device(&actor, &device, change).await?)))
}

/// Give a claimed device up.
#[utoipa::path(delete, path = "/v1/devices/{device}", tag = "devices", params(("device" = String, Path, description = "Device id or name")), responses((status = 200, body = Value)))]
pub(crate) async fn unclaim(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    state.control.unclaim_device(&actor, &device).await?;
    Ok(Json(json!({"ok": true})))
}

/// Agree that a product whose team one is not on takes a device that one has claimed: `{product_id}`; `null` takes it back.
#[utoipa::path(put, path = "/v1/devices/{device}/agreement", tag = "devices", params(("device" = String, Path, description = "Device id or name")), request_body = Value, responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn agree(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(device): Path<String>,
    Body(body): Body,
) -> Result<Json<Value>, ApiError> {
    let product = state.control.agree_to_product(&actor, &device, body).await?;
    Ok(Json(json!({"ok": true, "product_id": product})))
}

/// Give out a code with which one device of the product can be claimed, once and within a day.
#[utoipa::path(post, path = "/v1/products/{product}/device_claims", tag = "devices", params(("product" = String, Path, description = "Product id or slug")), responses((status = 200, body = Value), (status = 400, body = Value)))]
pub(crate) async fn create_claim_code(
    State(state): State<AppState>,
    Caller(actor): Caller,
    Path(product): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let code = state.control.create_claim_code(&actor, &product).await?;
    Ok(Json(json!({"claim_code": code.code, "device_ids": [], "expires_at": code.expires_at})))
}
