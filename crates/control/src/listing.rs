//! Pages of integrations: what the parameters of a list mean, and where the next page begins. The parameters are the
//! same in all three places; without any of them a list is complete.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tributary_domain::{
    FieldError, IntegrationId, Owner, ProductId,
    access::{Action, Actor},
    integration::Integration,
    limits,
};
use tributary_store::lists::{ListOf, ListQuery, Listed, OrderBy, SortKey};
use tributary_targets::kinds;

use crate::{
    Control, Error,
    integrations::{View, member_views, view},
    place::{Place, PlaceKey},
};

/// The names that a list can be ordered by.
const ORDERS: [(&str, OrderBy); 10] = [
    ("name", OrderBy::Name),
    ("event", OrderBy::Event),
    ("address", OrderBy::Address),
    ("products", OrderBy::Products),
    ("state", OrderBy::State),
    ("created_at", OrderBy::CreatedAt),
    ("updated_at", OrderBy::UpdatedAt),
    ("success", OrderBy::Success),
    ("error", OrderBy::Error),
    ("skipped", OrderBy::Skipped),
];
/// The parameters that make a list other than complete.
const PARAMETERS: [&str; 8] = ["search", "event", "type", "product", "state", "order", "limit", "cursor"];

/// The parameters of a list, as given.
#[derive(Clone, Debug, Default)]
pub struct ListParams(Vec<(String, String)>);

impl ListParams {
    /// Those of a request that a list knows; the others are left aside.
    pub fn of(pairs: Vec<(String, String)>) -> ListParams {
        ListParams(pairs.into_iter().filter(|(name, _)| PARAMETERS.contains(&name.as_str())).collect())
    }

    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// As [`ListParams::get`] for a parameter that means nothing when it is empty.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its rows.
    pub views: Vec<View>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

impl Control {
    /// A page of the integrations of a place.
    ///
    /// # Errors
    /// Every wrong parameter at once; as [`Control::list_integrations`].
    pub async fn list_integrations_page(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        params: &ListParams,
    ) -> Result<Page, Error> {
        let place = self.place(actor, key, Action::ListIntegrations).await?;
        let mut errors = Vec::new();
        let product = self.product_filter(&place, params, &mut errors).await?;
        let mut query = read(params, product, &mut errors);
        if !errors.is_empty() {
            return Err(Error::Invalid { code: "invalid_request", errors });
        }
        query.day = self.now().day();
        let rows = query.rows;
        // One more than is shown tells whether there is a next page.
        query.rows += 1;
        let of = match &place {
            Place::Sandbox(user) => ListOf::Sandbox(*user),
            Place::Product(product) => ListOf::Product(product.owner, product.id),
            Place::Org(org) => ListOf::Owner(Owner::Org(org.id)),
        };
        let mut found = self.store.list_page(of, &query).await?;
        let more = found.len() > rows;
        found.truncate(rows);
        let next = found.last().filter(|_| more).map(|last| cursor_after(last, &query));
        Ok(Page { views: self.listed_views(&place, found).await?, next })
    }

    async fn listed_views(&self, place: &Place, found: Vec<Listed>) -> Result<Vec<View>, Error> {
        let names = match place {
            Place::Org(_) => {
                let products = found.iter().flat_map(|one| one.integration.members.iter().map(|m| m.product));
                let mut products: Vec<ProductId> = products.collect();
                products.sort_unstable();
                products.dedup();
                self.store.names_of_products(place.owner(), &products).await?
            }
            _ => Default::default(),
        };
        let member = |one: &Integration| match place {
            Place::Product(product) => one.members.iter().find(|m| m.product == product.id).copied(),
            _ => None,
        };
        let shown = |one: Listed| {
            let products = match place {
                Place::Org(_) => member_views(&one.integration, &names),
                _ => Vec::new(),
            };
            let member = member(&one.integration);
            View { today: one.today, products, ..view(one.integration, member) }
        };
        Ok(found.into_iter().map(shown).collect())
    }

    async fn product_filter(
        &self,
        place: &Place,
        params: &ListParams,
        errors: &mut Vec<FieldError>,
    ) -> Result<Option<ProductId>, Error> {
        let Some(key) = params.filled("product") else { return Ok(None) };
        let Place::Org(_) = place else {
            errors.push(FieldError::new("product", "is for the list of an organization"));
            return Ok(None);
        };
        let found = self.store.product(key).await?.filter(|product| product.owner == place.owner());
        if found.is_none() {
            errors.push(FieldError::new("product", crate::place::not_a_product(key)));
        }
        Ok(found.map(|product| product.id))
    }
}

/// Reads what does not depend on the place.
fn read(params: &ListParams, product: Option<ProductId>, errors: &mut Vec<FieldError>) -> ListQuery {
    let mut wrong = |field: &str, message: String| errors.push(FieldError::new(field, message));
    if let Some(kind) = params.filled("type").filter(|kind| kinds::find(kind).is_none()) {
        wrong("type", format!("{kind} is not known; there are {}", kinds::known_names().join(", ")));
    }
    let disabled = match params.filled("state") {
        None => None,
        Some("enabled") => Some(false),
        Some("disabled") => Some(true),
        Some(_) => {
            wrong("state", "must be enabled or disabled".to_owned());
            None
        }
    };
    let (mut order, mut descending) = (OrderBy::CreatedAt, false);
    let asked = params.filled("order");
    if let Some(text) = asked {
        let name = text.strip_prefix('-').unwrap_or(text);
        match ORDERS.iter().find(|(known, _)| *known == name) {
            Some((_, by)) => (order, descending) = (*by, name != text),
            None => {
                let known = ORDERS.map(|(known, _)| known).join(", ");
                wrong("order", format!("must be one of {known}, with - before it for the largest first"));
            }
        }
    }
    let is_paged = params.get("limit").is_some() || params.get("cursor").is_some();
    let mut rows = if is_paged { limits::PAGE_ROWS } else { limits::INTEGRATIONS_PER_OWNER };
    if let Some(text) = params.get("limit") {
        match text.parse() {
            Ok(limit) if (1..=limits::PAGE_ROWS).contains(&limit) => rows = limit,
            _ => wrong("limit", format!("must be a number from 1 to {}", limits::PAGE_ROWS)),
        }
    }
    let mut after = None;
    if let Some(text) = params.filled("cursor") {
        match read_cursor(text) {
            Some((by, down, start)) if asked.is_none() || (by, down) == (order, descending) => {
                (order, descending, after) = (by, down, Some(start));
            }
            Some(_) => wrong("cursor", "belongs to a list in another order".to_owned()),
            None => wrong("cursor", "is not one that a list gave".to_owned()),
        }
    }
    ListQuery {
        search: params
            .filled("search")
            .map(|text| text.trim().to_lowercase())
            .filter(|text| !text.is_empty()),
        event: params.filled("event").map(str::to_owned),
        integration_type: params.filled("type").map(str::to_owned),
        product,
        disabled,
        order,
        descending,
        after,
        rows,
        day: 0,
    }
}

/// Where the page after this row begins.
fn cursor_after(last: &Listed, query: &ListQuery) -> String {
    let order = ORDERS.iter().find(|(_, by)| *by == query.order).map(|(name, _)| *name);
    let key = match &last.key {
        SortKey::Text(text) => json!(text),
        SortKey::Number(number) => json!(number),
    };
    let cursor = json!([order, query.descending, key, last.integration.id]);
    URL_SAFE_NO_PAD.encode(cursor.to_string())
}

fn read_cursor(text: &str) -> Option<(OrderBy, bool, (SortKey, IntegrationId))> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (order, descending, key, id): (String, bool, Value, String) = serde_json::from_slice(&bytes).ok()?;
    let (_, order) = ORDERS.iter().find(|(name, _)| *name == order)?;
    let key = match (order, key) {
        (OrderBy::Name | OrderBy::Event | OrderBy::Address, Value::String(text)) => SortKey::Text(text),
        (OrderBy::Name | OrderBy::Event | OrderBy::Address, _) => return None,
        (_, number) => SortKey::Number(number.as_i64()?),
    };
    Some((*order, descending, (key, id.parse().ok()?)))
}
