//! Devices (contract 2.2).

use std::collections::HashSet;

use serde_json::{Map, Value};
use tributary_domain::{
    DeviceId,
    access::{Action, Actor},
    account::{Device, Product},
    limits,
};
pub use tributary_store::devices::DeviceRow;
use tributary_store::devices::{Claimed, DeviceFilter};

use crate::{Control, Error, fields::Fields};

/// Most devices added by one request.
const ADDED_AT_ONCE: usize = 10_000;
/// Most devices in the list of a person's own.
const OWN_DEVICES: i64 = 10_000;
/// Rows on a page unless the caller says otherwise.
const PAGE_ROWS: i64 = 25;
/// Longest notes, in characters.
const NOTES_CHARS: usize = 10_000;
/// Longest text that is repeated as an id that is none, in characters.
const ECHOED_CHARS: usize = 100;

/// Devices to add to a product, as texts that may or may not be ids.
#[derive(Clone, Debug)]
pub struct NewDevices(Vec<String>);

impl NewDevices {
    /// Reads `{id}` or `{ids: []}`.
    ///
    /// # Errors
    /// When neither is there, or there are too many.
    pub fn read(body: Map<String, Value>) -> Result<NewDevices, Error> {
        let mut fields = Fields::of(body);
        let mut texts: Vec<String> = fields.text("id").into_iter().collect();
        match fields.take("ids") {
            None => {}
            Some(Value::String(text)) => texts.push(text),
            Some(Value::Array(list)) => {
                for value in list {
                    match value {
                        Value::String(text) => texts.push(text),
                        // A number is no id either; it is named among the invalid ones.
                        other => texts.push(other.to_string()),
                    }
                }
            }
            Some(_) => fields.wrong("ids", "must be a list of device ids"),
        }
        fields.finish()?;
        NewDevices::of(texts)
    }

    /// Reads a file with one id a line. Blank lines do not count.
    ///
    /// # Errors
    /// When it names no device or too many.
    pub fn read_file(text: &str) -> Result<NewDevices, Error> {
        NewDevices::of(text.lines().map(|line| line.trim().trim_matches('"').to_owned()).collect())
    }

    fn of(texts: Vec<String>) -> Result<NewDevices, Error> {
        let mut seen = HashSet::new();
        let texts: Vec<String> = texts
            .into_iter()
            .map(|text| text.trim().to_lowercase())
            .filter(|text| !text.is_empty() && seen.insert(text.clone()))
            .collect();
        match texts.len() {
            0 => {
                Err(Error::field("id", "give a device id, a list of them as ids, or a file with one a line"))
            }
            n if n > ADDED_AT_ONCE => {
                Err(Error::field("ids", format!("at most {ADDED_AT_ONCE} at once, not {n}")))
            }
            _ => Ok(NewDevices(texts)),
        }
    }
}

/// What became of devices that were to be added to a product.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddedDevices {
    /// They are now in the product.
    pub updated: Vec<DeviceId>,
    /// They were before.
    pub existing: Vec<DeviceId>,
    /// They belong to another product and stay there.
    pub nonmember: Vec<DeviceId>,
    /// They are no ids.
    pub invalid: Vec<String>,
}

/// A change of a device; the outer `None` = it stays, the inner = it is taken away.
#[derive(Clone, Debug)]
pub struct DeviceChange {
    name: Option<Option<String>>,
    notes: Option<Option<String>>,
}

impl DeviceChange {
    /// Reads `{name?, notes?}`; `null` takes the value away.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(body: Map<String, Value>) -> Result<DeviceChange, Error> {
        let (names, notes) = (body.contains_key("name"), body.contains_key("notes"));
        let mut fields = Fields::of(body);
        let name = fields.name("name");
        let text = fields.text("notes");
        if text.as_deref().is_some_and(|text| text.chars().count() > NOTES_CHARS) {
            fields.wrong("notes", format!("must have at most {NOTES_CHARS} characters"));
        }
        fields.finish()?;
        Ok(DeviceChange { name: names.then_some(name), notes: notes.then_some(text) })
    }
}

/// Which devices of a product are asked for, and which page of them.
#[derive(Clone, Debug, Default)]
pub struct DevicePage {
    /// Part of the id.
    pub id: Option<String>,
    /// Part of the name.
    pub name: Option<String>,
    /// Counted from 1; the first unless given.
    pub page: Option<String>,
    /// Rows on a page: 25 unless given, at most 100.
    pub per_page: Option<String>,
}

impl DevicePage {
    fn numbers(&self) -> Result<(i64, i64), Error> {
        let mut fields = Fields::of(Map::new());
        let mut positive = |field: &str, text: &Option<String>, default: i64| {
            let number = text.as_deref().filter(|text| !text.is_empty()).map_or(Ok(default), str::parse);
            number.ok().filter(|n| *n >= 1).unwrap_or_else(|| {
                fields.wrong(field, "must be a whole number from 1 up");
                default
            })
        };
        let page = positive("page", &self.page, 1);
        let per_page = positive("perPage", &self.per_page, PAGE_ROWS);
        fields.finish()?;
        Ok((page, per_page.min(i64::try_from(limits::PAGE_ROWS).unwrap_or(PAGE_ROWS))))
    }
}

impl Control {
    /// A page of a product's devices, and how many pages there are.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], a field error for a page that is none.
    pub async fn list_devices(
        &self,
        actor: &Actor,
        product: &str,
        asked: &DevicePage,
    ) -> Result<(Vec<DeviceRow>, i64), Error> {
        let product = self.product(actor, product, Action::ListDevices).await?;
        let (page, per_page) = asked.numbers()?;
        let filter =
            DeviceFilter { id: asked.id.as_ref().map(|id| id.to_lowercase()), name: asked.name.clone() };
        let (rows, total) = self.store.devices_of_product(product.id, &filter, page, per_page).await?;
        Ok((rows, (total + per_page - 1) / per_page))
    }

    /// Adds devices to a product. Those that are not known yet are created; those of another product stay there.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn add_devices(
        &self,
        actor: &Actor,
        product: &str,
        new: NewDevices,
    ) -> Result<AddedDevices, Error> {
        let product = self.product(actor, product, Action::ImportDevices).await?;
        let mut ids = Vec::with_capacity(new.0.len());
        let mut invalid = Vec::new();
        for text in new.0 {
            match text.parse() {
                Ok(id) => ids.push(id),
                Err(_) => invalid.push(text.chars().take(ECHOED_CHARS).collect()),
            }
        }
        let added = self.store.add_devices(product.id, &ids, self.now()).await?;
        Ok(AddedDevices {
            updated: added.updated,
            existing: added.existing,
            nonmember: added.elsewhere,
            invalid,
        })
    }

    /// A device of a product, by id or name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn get_product_device(
        &self,
        actor: &Actor,
        product: &str,
        device: &str,
    ) -> Result<DeviceRow, Error> {
        let product = self.product(actor, product, Action::GetDevice).await?;
        self.device_row(&product, device).await
    }

    /// Changes name and notes of a device of a product.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn update_product_device(
        &self,
        actor: &Actor,
        product: &str,
        device: &str,
        change: DeviceChange,
    ) -> Result<DeviceRow, Error> {
        let product = self.product(actor, product, Action::UpdateDevice).await?;
        let row = self.device_row(&product, device).await?;
        self.write_device(row, change).await
    }

    /// Takes a device out of a product. It stays with who claimed it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn remove_product_device(
        &self,
        actor: &Actor,
        product: &str,
        device: &str,
    ) -> Result<(), Error> {
        let product = self.product(actor, product, Action::RemoveDevice).await?;
        let row = self.device_row(&product, device).await?;
        self.store.remove_device(product.id, row.device.id).await?;
        Ok(())
    }

    /// Takes a device of a product away from who claimed it; it stays in the product.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn remove_device_owner(&self, actor: &Actor, product: &str, device: &str) -> Result<(), Error> {
        let product = self.product(actor, product, Action::RemoveDevice).await?;
        let row = self.device_row(&product, device).await?;
        self.store.remove_device_owner(product.id, row.device.id).await?;
        Ok(())
    }

    /// The devices that the actor has claimed, the first 10,000.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user.
    pub async fn list_own_devices(&self, actor: &Actor) -> Result<Vec<DeviceRow>, Error> {
        self.sandbox(actor, Action::ListDevices)?;
        Ok(self.store.devices_of_user(actor.user, OWN_DEVICES).await?)
    }

    /// A device that the actor has claimed, by id or name, if the actor may do this.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user.
    pub async fn own_device_row(&self, actor: &Actor, key: &str, action: Action) -> Result<DeviceRow, Error> {
        self.sandbox(actor, action)?;
        let row = self.store.device_of_user(actor.user, key).await?;
        row.ok_or_else(|| Error::not_found(format!("device {key}")))
    }

    /// As [`Control::own_device_row`], just the device.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user.
    pub async fn own_device(&self, actor: &Actor, key: &str, action: Action) -> Result<Device, Error> {
        Ok(self.own_device_row(actor, key, action).await?.device)
    }

    /// Changes name and notes of a device that the actor has claimed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user.
    pub async fn update_own_device(
        &self,
        actor: &Actor,
        key: &str,
        change: DeviceChange,
    ) -> Result<DeviceRow, Error> {
        let row = self.own_device_row(actor, key, Action::UpdateDevice).await?;
        self.write_device(row, change).await
    }

    /// Claims a device; one that is not known yet is created.
    ///
    /// # Errors
    /// A field error for what is no id, [`Error::Forbidden`] when somebody else has claimed it.
    pub async fn claim_device(&self, actor: &Actor, body: Map<String, Value>) -> Result<DeviceId, Error> {
        self.sandbox(actor, Action::UpdateDevice)?;
        let mut fields = Fields::of(body);
        let text = fields.required_name("id");
        fields.finish()?;
        let id: DeviceId = text.parse().map_err(|_| Error::field("id", "must be 24 hexadecimal digits"))?;
        let claimed = self.store.claim_device(actor.user, id, self.now()).await?;
        match claimed {
            Claimed::Yes => Ok(id),
            Claimed::Taken => Err(Error::Forbidden("somebody else has claimed this device".to_owned())),
        }
    }

    /// Gives a claimed device up.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`] for an API user.
    pub async fn unclaim_device(&self, actor: &Actor, key: &str) -> Result<(), Error> {
        let row = self.own_device_row(actor, key, Action::UpdateDevice).await?;
        self.store.unclaim_device(actor.user, row.device.id).await?;
        Ok(())
    }

    async fn device_row(&self, product: &Product, key: &str) -> Result<DeviceRow, Error> {
        let by_id = match key.parse() {
            Ok(id) => self.store.device_of_product(product.id, id).await?,
            Err(_) => None,
        };
        let row = match by_id {
            Some(row) => Some(row),
            None => self.store.device_of_product_named(product.id, key).await?,
        };
        row.ok_or_else(|| Error::not_found(format!("device {key}")))
    }

    async fn write_device(&self, mut row: DeviceRow, change: DeviceChange) -> Result<DeviceRow, Error> {
        if let Some(name) = change.name {
            row.device.name = name;
        }
        if let Some(notes) = change.notes {
            row.device.notes = notes;
        }
        self.store.update_device(&row.device).await?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_has_one_id_a_line_whatever_its_line_ends_and_blank_lines() {
        let new =
            NewDevices::read_file("\r\n0123456789ABCDEF01234567\r\n\n \"x\" \n0123456789abcdef01234567")
                .unwrap();
        assert_eq!(new.0, ["0123456789abcdef01234567", "x"]);
    }

    #[test]
    fn no_device_at_all_and_too_many_are_refused() {
        assert!(NewDevices::read_file("\n\n").is_err());
        assert!(NewDevices::read(Map::new()).is_err());
        let many: Vec<String> = (0..=ADDED_AT_ONCE).map(|n| n.to_string()).collect();
        assert!(NewDevices::of(many).is_err());
    }

    #[test]
    fn a_page_is_a_number_from_1_up_and_its_size_is_bounded() {
        let numbers = |page: &str, per_page: &str| {
            let asked = DevicePage {
                page: Some(page.to_owned()),
                per_page: Some(per_page.to_owned()),
                ..DevicePage::default()
            };
            asked.numbers().ok()
        };
        assert_eq!(numbers("2", "10"), Some((2, 10)));
        assert_eq!(numbers("", ""), Some((1, 25)));
        assert_eq!(numbers("1", "100000"), Some((1, 100)));
        for (page, per_page) in [("0", "10"), ("-1", "10"), ("x", "10"), ("1", "0"), ("1.5", "10")] {
            assert_eq!(numbers(page, per_page), None, "{page} {per_page}");
        }
    }
}
