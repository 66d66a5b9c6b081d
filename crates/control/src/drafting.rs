//! From a request to a configuration that may be stored: the rules of the domain, those of the kind, and the list of
//! products, together, so that every wrong field is named at once.

use std::collections::HashMap;

use serde_json::{Map, Value};
use tributary_domain::{
    FieldError, MemberId, ProductId,
    account::Product,
    draft::{self, DEFAULT_TYPE, Level},
    integration::{Config, Integration},
    limits, sensitive,
};
use tributary_targets::kinds;

use crate::{
    Control, Error, kept,
    parameters::check_declared,
    place::{Place, not_a_product, too_many_products},
    signing,
};

/// A request that is right.
pub(crate) struct Checked {
    /// The configuration in clear, with `integration_type`, `event` and `name`.
    pub(crate) config: Config,
    /// The products, each once, in the order given; `None` when the request has no list. Organizations only.
    pub(crate) products: Option<Vec<ProductId>>,
    /// The secret for signing that was made, to be told once.
    pub(crate) made: Option<String>,
}

impl Control {
    /// Checks a body against everything that can be wrong with it. `stored` is the integration that it replaces.
    /// With `separated` it becomes this member's own.
    pub(crate) async fn check_draft(
        &self,
        place: &Place,
        body: Map<String, Value>,
        stored: Option<&Integration>,
        separated: Option<MemberId>,
    ) -> Result<Checked, Error> {
        let default_type = stored.map_or(DEFAULT_TYPE, |stored| stored.text("integration_type"));
        let mut draft = draft::read(body, place.level(), default_type, &kinds::known_names());
        let mut errors = draft.errors;
        let stored_config = stored.map(|stored| &stored.config);
        let masks = sensitive::masks(&draft.config);
        let mut unmasked = sensitive::keep(&mut draft.config, stored_config);
        // A new destination gets a secret of its own for signing, and each other value has to be entered again.
        let moved = stored.is_some_and(|stored| kept::moves(stored, &draft.config, separated));
        let signed_before = stored_config.filter(|_| !moved);
        let made = signing::complete(&mut draft.config, signed_before, self.sources.random);
        if moved {
            unmasked.extend(sensitive::moved(&masks));
        }
        let parameters = check_declared(&mut draft.config);
        let target = self.check_target(&mut draft.config);
        for error in unmasked.into_iter().chain(parameters).chain(target) {
            if !errors.iter().any(|known| known.field == error.field) {
                errors.push(error);
            }
        }
        let products = match place.level() {
            Level::Sandbox | Level::Product => None,
            Level::Org => {
                self.check_products(place, draft.product_ids, stored.is_some(), &mut errors).await?
            }
        };
        match errors.is_empty() {
            true => Ok(Checked { config: draft.config, products, made }),
            false => Err(Error::Invalid { code: "invalid_integration", errors }),
        }
    }

    /// What its kind says of a configuration; fills in the name where there is none.
    fn check_target(&self, config: &mut Config) -> Vec<FieldError> {
        let kind = config.get("integration_type").and_then(Value::as_str).and_then(kinds::find);
        let Some(kind) = kind else { return Vec::new() };
        match kind.compile(config, &self.settings.targets) {
            Err(errors) => errors,
            Ok(_) => {
                if !config.contains_key("name") {
                    config.insert("name".to_owned(), kind.default_name(config).into());
                }
                Vec::new()
            }
        }
    }

    pub(crate) async fn check_products(
        &self,
        place: &Place,
        given: Option<Vec<Value>>,
        may_be_absent: bool,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<Vec<ProductId>>, Error> {
        let mut wrong = |message: String| errors.push(FieldError::new("product_ids", message));
        let entries = match given {
            None if may_be_absent => return Ok(None),
            Some(entries) if !entries.is_empty() => entries,
            _ => {
                wrong("list the products where the integration will execute".to_owned());
                return Ok(None);
            }
        };
        let known = self.store.products_of_owner(place.owner()).await?;
        let known = by_key(&known);
        let mut products = Vec::with_capacity(entries.len().min(limits::MEMBERS));
        for entry in &entries {
            match read_entry(entry, &known) {
                Ok(product) if products.contains(&product) => {}
                Ok(product) => products.push(product),
                Err(message) => wrong(message),
            }
            if products.len() > limits::MEMBERS {
                wrong(too_many_products());
                break;
            }
        }
        Ok(Some(products))
    }
}

/// Products by id and by slug. No slug reads as an id.
fn by_key(products: &[Product]) -> HashMap<String, ProductId> {
    let keys = |product: &Product| [(product.id.to_string(), product.id), (product.slug.clone(), product.id)];
    products.iter().flat_map(keys).collect()
}

/// One entry of a product list: an id, as number or text, or a slug.
fn read_entry(entry: &Value, known: &HashMap<String, ProductId>) -> Result<ProductId, String> {
    let key = match entry {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        other => return Err(format!("{other} names no product; give its id or slug")),
    };
    if key == "*" || key.eq_ignore_ascii_case("all") {
        return Err(format!("{key} is not allowed, list each product"));
    }
    known.get(&key).copied().ok_or_else(|| not_a_product(&key))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_an_id_or_a_slug_and_a_wrong_one_is_named() {
        let known = HashMap::from([("12".to_owned(), ProductId(12)), ("acme".to_owned(), ProductId(12))]);
        for (entry, product) in [
            (json!(12), Ok(12)),
            (json!("12"), Ok(12)),
            (json!(" acme "), Ok(12)),
            (json!("*"), Err("* is not allowed, list each product")),
            (json!("All"), Err("All is not allowed, list each product")),
            (json!(13), Err("13 is not a product of this organization")),
            (json!(1.5), Err("1.5 is not a product of this organization")),
            (json!("other"), Err("other is not a product of this organization")),
            (json!([12]), Err("[12] names no product; give its id or slug")),
            (json!(null), Err("null names no product; give its id or slug")),
        ] {
            assert_eq!(read_entry(&entry, &known), product.map(ProductId).map_err(str::to_owned), "{entry}");
        }
    }
}
