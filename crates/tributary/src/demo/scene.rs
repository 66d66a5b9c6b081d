//! The demo's organization, products, devices and integrations, and what the devices publish.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::api::Api;
use crate::Result;

/// The demo's account.
pub(crate) const USERNAME: &str = "demo@acme.example";
/// Its password. The server listens on this machine only.
pub(crate) const PASSWORD: &str = "acme-demo";
/// The form that signs in.
const SIGN_IN: &str = "grant_type=password&client_id=particle&client_secret=particle&username=demo%40acme.example&password=acme-demo";

/// A product of the demo.
pub(crate) struct Product {
    id: i64,
    /// Used in paths.
    pub(crate) slug: String,
    device: String,
}

/// Everything that the demo made.
pub(crate) struct Scene {
    /// Signed in.
    pub(crate) token: String,
    /// The organization's slug.
    pub(crate) org: String,
    /// The shared integration's id.
    pub(crate) shared: String,
    /// The products that share it.
    pub(crate) pumps: Vec<Product>,
    gateway: Product,
}

fn text(value: &Value, path: &str) -> String {
    match value.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

impl Scene {
    /// Makes what is not there yet; a data folder that was used before goes on as it was, except for the receiver's
    /// address.
    pub(crate) async fn build(api: &Api, receiver: SocketAddr) -> Result<Scene> {
        let account = json!({"username": USERNAME, "password": PASSWORD});
        let signed_up = api.post("", "/v1/users", &account).await;
        let signed_in = api.sign_in(SIGN_IN.to_owned()).await;
        let token = match (signed_in, signed_up) {
            (Ok(answer), _) => text(&answer, "/access_token"),
            (Err(_), Err(error)) | (Err(error), _) => {
                return Err(format!(
                    "the data folder holds other accounts; give the demo a folder of its own ({error})"
                )
                .into());
            }
        };
        let orgs = api.get(&token, "/v1/orgs").await?;
        let org = match orgs.pointer("/organizations/0/slug") {
            Some(Value::String(slug)) => slug.clone(),
            _ => {
                let body = json!({"name": "Acme Sensors", "plan": "enterprise"});
                text(&api.post(&token, "/v1/orgs", &body).await?, "/organization/slug")
            }
        };
        let pumps = vec![
            product(api, &token, &org, "Pump mk1", 6, "e00fce68aaaaaaaaaaaa0001").await?,
            product(api, &token, &org, "Pump mk2", 13, "e00fce68bbbbbbbbbbbb0002").await?,
        ];
        let gateway = product(api, &token, &org, "Gateway", 26, "e00fce68cccccccccccc0003").await?;
        for old in
            api.get(&token, &format!("/v1/orgs/{org}/integrations")).await?.as_array().into_iter().flatten()
        {
            let id = text(old, "/id");
            if old.pointer("/name").is_some_and(|name| name == "Telemetry to lake" || name == "Position") {
                api.delete(&token, &format!("/v1/orgs/{org}/integrations/{id}")).await?;
            }
        }
        let shared = json!({
            "integration_type": "Webhook", "event": "temp/", "name": "Telemetry to lake",
            "url": format!("http://{receiver}/lake"), "noDefaults": true,
            "json": {"product": "{{{PRODUCT_ID}}}", "device": "{{{PARTICLE_DEVICE_ID}}}", "celsius": "{{{celsius}}}", "at": "{{{PARTICLE_PUBLISHED_AT}}}"},
            "product_ids": pumps.iter().map(|pump| pump.id).collect::<Vec<_>>(),
        });
        let shared = text(&api.post(&token, &format!("/v1/orgs/{org}/integrations"), &shared).await?, "/id");
        let position = json!({"event": "loc", "name": "Position", "url": format!("http://{receiver}/positions"), "noDefaults": true, "json": {"device": "{{{PARTICLE_DEVICE_ID}}}", "lat": "{{{lat}}}", "lng": "{{{lng}}}"}});
        api.post(&token, &format!("/v1/products/{}/integrations", gateway.id), &position).await?;
        Ok(Scene { token, org, shared, pumps, gateway })
    }

    /// Publishes the event of this turn as one of the devices.
    pub(crate) async fn publish(&self, api: &Api, turn: u64) -> Result<()> {
        #[allow(clippy::cast_precision_loss, reason = "only the look of a changing temperature")]
        let wave = (turn as f64 / 9.0).sin();
        let (product, name, data) = match turn % 3 {
            2 => (&self.gateway, "loc", json!({"lat": 52.52 + wave / 100.0, "lng": 13.4 - wave / 100.0})),
            n => {
                let pump = &self.pumps[usize::from(n == 1)];
                (pump, "temp/7", json!({"celsius": (215.0 + wave * 40.0).round() / 10.0}))
            }
        };
        let event = json!({"name": name, "data": data.to_string(), "as_device_id": product.device});
        api.post(&self.token, &format!("/v1/products/{}/events", product.id), &event).await?;
        Ok(())
    }
}

async fn product(
    api: &Api,
    token: &str,
    org: &str,
    name: &str,
    platform: i64,
    device: &str,
) -> Result<Product> {
    let existing = api.get(token, &format!("/v1/orgs/{org}/products")).await?;
    let found = existing["products"].as_array().into_iter().flatten().find(|p| p["name"] == name).cloned();
    let found = match found {
        Some(found) => found,
        None => {
            let body = json!({"product": {"name": name, "platform_id": platform}});
            api.post(token, &format!("/v1/orgs/{org}/products"), &body).await?["product"].clone()
        }
    };
    let id = found["id"].as_i64().unwrap_or_default();
    api.post(token, &format!("/v1/products/{id}/devices"), &json!({"id": device})).await?;
    Ok(Product { id, slug: text(&found, "/slug"), device: device.to_owned() })
}
