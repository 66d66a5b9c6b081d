//! A person's own devices: what they have claimed (contract 2.2).
//!
//! Who claimed a device that is in a product sees and changes there only what their place on the product's team lets them.

use serde_json::{Map, Value};
use tributary_domain::{
    DeviceId, ProductId, Timestamp,
    access::{Action, Actor},
    account::Device,
};
use tributary_store::{device_claims::Claimed, devices::DeviceRow};

use crate::{
    Control, Error,
    access::{decide, hash_token},
    devices::{DeviceChange, too_many_devices},
    fields::Fields,
};

/// Most devices in the list of a person's own.
const OWN_DEVICES: i64 = 10_000;
/// Codes of one product that wait to be used.
const CLAIM_CODES: i64 = 1_000;
/// How long one can be used, in milliseconds.
const CLAIM_CODE_MS: i64 = 24 * 3_600_000;
/// Unguessable bytes in a code.
const CLAIM_CODE_BYTES: usize = 24;

/// A code with which one device of a product can be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimCode {
    /// The code. It is not kept; only its hash is.
    pub code: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

impl Control {
    /// The devices that the actor has claimed, the first 10,000.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user.
    pub async fn list_own_devices(&self, actor: &Actor) -> Result<Vec<DeviceRow>, Error> {
        self.sandbox(actor, Action::ListDevices)?;
        let rows = self.store.devices_of_user(actor.user, OWN_DEVICES).await?;
        Ok(rows.into_iter().map(seen_by_claimer).collect())
    }

    /// A device that the actor has claimed, by id or name, if the actor may do this.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user.
    pub async fn own_device_row(&self, actor: &Actor, key: &str, action: Action) -> Result<DeviceRow, Error> {
        Ok(seen_by_claimer(self.claimed(actor, key, action).await?))
    }

    /// As [`Control::own_device_row`], just the device.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user.
    pub async fn own_device(&self, actor: &Actor, key: &str, action: Action) -> Result<Device, Error> {
        Ok(self.own_device_row(actor, key, action).await?.device)
    }

    /// Changes name and notes of a device that the actor has claimed; in a product that is a right of its team.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user and without that right.
    pub async fn update_own_device(
        &self,
        actor: &Actor,
        key: &str,
        change: DeviceChange,
    ) -> Result<DeviceRow, Error> {
        let row = self.claimed(actor, key, Action::UpdateDevice).await?;
        if let Some(product) = row.device.product {
            let refused = || Error::Forbidden("the device is in a product, whose team changes it".to_owned());
            let found = self.product_and_standing(actor, &product.to_string()).await;
            let (_, standing) = found.map_err(|error| match error {
                Error::NotFound(_) => refused(),
                other => other,
            })?;
            decide(standing, actor, Action::UpdateDevice, String::new).map_err(|error| match error {
                Error::NotFound(_) => refused(),
                other => other,
            })?;
        }
        self.write_device(row, change).await
    }

    /// Claims a device: one that is not known yet, or in a product with the right to change its devices or a code of it.
    ///
    /// # Errors
    /// A field error for what is no id, [`Error::Forbidden`] when somebody else has it, whoever that is, and a 400
    /// `quota_exceeded` when the actor would have more than one owner may.
    pub async fn claim_device(&self, actor: &Actor, body: Map<String, Value>) -> Result<DeviceId, Error> {
        self.sandbox(actor, Action::UpdateDevice)?;
        let mut fields = Fields::of(body);
        let text = fields.required_name("id");
        let code = fields.text("claim_code").filter(|code| !code.is_empty());
        fields.finish()?;
        let id: DeviceId = text.parse().map_err(|_| Error::field("id", "must be 24 hexadecimal digits"))?;
        let (code, most) = (code.as_deref().map(hash_token), self.most_devices());
        let claimed = self.store.claim_device(id, code.as_ref(), most, self.by(actor)).await?;
        match claimed {
            Claimed::Yes => Ok(id),
            // One text for all reasons: it tells a stranger nothing else.
            Claimed::Taken => Err(Error::Forbidden("this device is taken and not yours to claim".to_owned())),
            Claimed::TooMany => Err(too_many_devices(most, 0)),
        }
    }

    /// Gives a claimed device up.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user.
    pub async fn unclaim_device(&self, actor: &Actor, key: &str) -> Result<(), Error> {
        let row = self.claimed(actor, key, Action::UpdateDevice).await?;
        self.store.end_claim(actor.user, row.device.id, self.by(actor)).await?;
        Ok(())
    }

    /// Agrees, or no longer, that a product whose team the actor is not on takes a device that the actor has claimed. Says
    /// nothing about whether there is such a product.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user, a field error for what is no product id.
    pub async fn agree_to_product(
        &self,
        actor: &Actor,
        key: &str,
        mut body: Map<String, Value>,
    ) -> Result<Option<ProductId>, Error> {
        let row = self.claimed(actor, key, Action::UpdateDevice).await?;
        let product = match body.remove("product_id") {
            Some(Value::Null) => None,
            Some(Value::Number(id)) if id.as_i64().is_some() => id.as_i64().map(ProductId),
            Some(Value::String(id)) if id.parse::<i64>().is_ok() => id.parse().ok().map(ProductId),
            _ => return Err(Error::field("product_id", "must be the number of a product, or null for none")),
        };
        if !self.store.agree_to_product(row.device.id, product, self.by(actor)).await? {
            return Err(Error::not_found(format!("device {key}")));
        }
        Ok(product)
    }

    /// Gives out a code with which one device of the product can be claimed, once and within a day.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], a 400 `quota_exceeded` while too many wait to be used.
    pub async fn create_claim_code(&self, actor: &Actor, product: &str) -> Result<ClaimCode, Error> {
        let product = self.product(actor, product, Action::UpdateDevice).await?;
        let mut bytes = [0; CLAIM_CODE_BYTES];
        (self.sources.random)(&mut bytes);
        let code: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expires_at = self.now().plus_ms(CLAIM_CODE_MS);
        let (hash, by) = (hash_token(&code), self.by(actor));
        if !self.store.create_claim_code(product.id, &hash, expires_at, CLAIM_CODES, by).await? {
            let text = format!("a product may have {CLAIM_CODES} claim codes that wait to be used");
            return Err(Error::refused("quota_exceeded", text));
        }
        Ok(ClaimCode { code, expires_at })
    }

    async fn claimed(&self, actor: &Actor, key: &str, action: Action) -> Result<DeviceRow, Error> {
        self.sandbox(actor, action)?;
        let row = self.store.device_of_user(actor.user, key).await?;
        row.ok_or_else(|| Error::not_found(format!("device {key}")))
    }
}

/// What the claimer may see of it: of a device in a product whose team they are not on, that it is theirs.
fn seen_by_claimer(mut row: DeviceRow) -> DeviceRow {
    if !row.claimer_sees {
        (row.device.name, row.device.notes, row.device.product) = (None, None, None);
        row.platform_id = None;
    }
    row
}
