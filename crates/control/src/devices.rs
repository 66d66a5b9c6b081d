//! Devices (contract 2.2).

use std::collections::HashSet;

use serde_json::{Map, Value};
use tributary_domain::{
    DeviceId,
    access::{Action, Actor},
    account::Product,
    limits,
};
pub use tributary_store::devices::DeviceRow;
use tributary_store::{
    device_products::{Added, Import},
    devices::DeviceFilter,
};

use crate::{Control, Error, fields::Fields};

/// Most devices added by one request.
const ADDED_AT_ONCE: usize = 10_000;
/// Rows on a page unless the caller says otherwise.
const PAGE_ROWS: i64 = 25;
/// Longest notes, in characters.
const NOTES_CHARS: usize = 10_000;
/// Longest text that is repeated as an id that is none, in characters.
const ECHOED_CHARS: usize = 100;

/// Devices to add to a product, and the entries that are no ids, as they were written.
#[derive(Clone, Debug, Default)]
pub struct NewDevices {
    ids: Vec<DeviceId>,
    invalid: Vec<String>,
}

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
        let (mut ids, mut invalid) = (HashSet::new(), HashSet::new());
        let mut new = NewDevices::default();
        for text in texts.into_iter().filter(|text| !text.trim().is_empty()) {
            match text.trim().to_ascii_lowercase().parse() {
                Ok(id) if ids.insert(id) => new.ids.push(id),
                Ok(_) => {}
                Err(_) if invalid.contains(&text) => {}
                Err(_) => {
                    invalid.insert(text.clone());
                    new.invalid.push(text.chars().take(ECHOED_CHARS).collect());
                }
            }
        }
        match new.ids.len() + new.invalid.len() {
            0 => {
                Err(Error::field("id", "give a device id, a list of them as ids, or a file with one a line"))
            }
            n if n > ADDED_AT_ONCE => {
                Err(Error::field("ids", format!("at most {ADDED_AT_ONCE} at once, not {n}")))
            }
            _ => Ok(new),
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
    /// They are in another product, or somebody claimed them who is not on the team and has not agreed. They stay there.
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

    /// Adds devices to a product. Those that are not known yet are created; those of another product stay there, and so
    /// do those that somebody claimed who is not on the team and has not agreed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], a 400 `quota_exceeded` when the owner would have more than it may.
    pub async fn add_devices(
        &self,
        actor: &Actor,
        product: &str,
        new: NewDevices,
    ) -> Result<AddedDevices, Error> {
        let product = self.product(actor, product, Action::ImportDevices).await?;
        let most = self.most_devices();
        let import = self.store.add_devices(product.id, &new.ids, most, self.by(actor)).await;
        match import? {
            Import::Done(Added { updated, existing, elsewhere }) => {
                Ok(AddedDevices { updated, existing, nonmember: elsewhere, invalid: new.invalid })
            }
            Import::TooMany { added } => Err(too_many_devices(most, added)),
            Import::Gone => Err(Error::not_found(format!("product {}", product.id))),
        }
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

    /// Takes a device out of a product. It stays with who claimed it, with name and notes if that person may see them; one
    /// that nobody claimed is forgotten.
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
        self.store.remove_device(product.id, row.device.id, self.by(actor)).await?;
        Ok(())
    }

    /// Takes a device of a product away from who claimed it; it stays in the product.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn remove_device_owner(&self, actor: &Actor, product: &str, device: &str) -> Result<(), Error> {
        let product = self.product(actor, product, Action::RemoveDevice).await?;
        let row = self.device_row(&product, device).await?;
        if let Some(claimer) = row.device.user {
            self.store.end_claim(claimer, row.device.id, self.by(actor)).await?;
        }
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

    pub(crate) async fn write_device(
        &self,
        mut row: DeviceRow,
        change: DeviceChange,
    ) -> Result<DeviceRow, Error> {
        if let Some(name) = change.name {
            row.device.name = name;
        }
        if let Some(notes) = change.notes {
            row.device.notes = notes;
        }
        let found = self.store.update_device(&row.device).await?;
        if found { Ok(row) } else { Err(Error::not_found(format!("device {}", row.device.id))) }
    }

    /// `[quotas] devices`.
    pub(crate) fn most_devices(&self) -> i64 {
        i64::try_from(self.settings.quotas.devices).unwrap_or(i64::MAX)
    }
}

/// Says which bound it is.
pub(crate) fn too_many_devices(most: i64, added: usize) -> Error {
    let before = match added {
        0 => String::new(),
        n => format!("; {n} of these were added before it was reached"),
    };
    Error::refused("quota_exceeded", format!("an owner may have {most} devices (quotas.devices){before}"))
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
        let ids: Vec<String> = new.ids.iter().map(ToString::to_string).collect();
        assert_eq!(ids, ["0123456789abcdef01234567"]);
        assert_eq!(new.invalid, ["x"]);
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
