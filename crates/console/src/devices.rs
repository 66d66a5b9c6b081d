//! Devices of a product, and those that the person has claimed.

use askama::Template;
use axum::{
    Router,
    extract::{Query, RawPathParams, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde_json::{Map, Value};
use tributary_control::{
    Error,
    devices::{DeviceChange, DevicePage, NewDevices},
    place::{Place, PlaceKey},
};
use tributary_domain::access::Action;

use crate::{
    Console,
    error::PageError,
    form::{Fields, Refused, Signed},
    format::counted,
    here::{Here, ORG, PRODUCT, SANDBOX},
    page::{Done, Page, ProductTabs, may, render},
};

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route(&format!("{ORG}/devices"), get(choose))
        .route(&format!("{PRODUCT}/devices"), get(show).post(add))
        .route(&format!("{PRODUCT}/devices/{{id}}"), post(change))
        .route(&format!("{SANDBOX}/devices"), get(show).post(add))
        .route(&format!("{SANDBOX}/devices/{{id}}"), post(change))
}

struct Row {
    id: String,
    name: String,
    notes: String,
    owner: String,
}

#[derive(Template)]
#[template(path = "devices/list.html")]
struct ListPage {
    page: Page,
    tabs: Option<ProductTabs>,
    base: String,
    rows: Vec<Row>,
    search: String,
    number: i64,
    pages: i64,
    add_refusal: String,
    change_refusal: String,
    refused: Refused,
}

impl ListPage {
    fn has_previous(&self) -> bool {
        self.number > 1
    }

    fn has_next(&self) -> bool {
        self.number < self.pages
    }
}

/// The words after a list's `?`.
#[derive(Clone, Default, serde::Deserialize)]
struct Asked {
    #[serde(default)]
    search: String,
    #[serde(default)]
    page: String,
}

async fn page_of(
    console: &Console,
    here: &Here,
    asked: &Asked,
    refused: Refused,
) -> Result<ListPage, PageError> {
    let actor = &here.session.actor;
    let search = asked.search.trim().to_owned();
    let (rows, pages) = match here.key() {
        PlaceKey::Product(product) => {
            // An id is hexadecimal digits; everything else can only be part of a name.
            let is_id = search.len() >= 6 && search.chars().all(|c| c.is_ascii_hexdigit());
            let given = Some(search.clone()).filter(|search| !search.is_empty());
            let (id, name) = if is_id { (given, None) } else { (None, given) };
            let page =
                DevicePage { id, name, page: Some(asked.page.clone()), per_page: Some("50".to_owned()) };
            console.list_devices(actor, product, &page).await?
        }
        _ => {
            let mut all = console.list_own_devices(actor).await?;
            let wanted = search.to_lowercase();
            all.retain(|row| {
                let name = row.device.name.as_deref().unwrap_or_default().to_lowercase();
                name.contains(&wanted) || row.device.id.to_string().contains(&wanted)
            });
            (all, 1)
        }
    };
    let refusal = async |action| {
        Ok::<_, PageError>(may(console, &here.session, here.key(), action).await?.err().unwrap_or_default())
    };
    Ok(ListPage {
        tabs: ProductTabs::of(&here.place, "Devices"),
        page: match here.product() {
            Some(product) => here.page.clone().titled("Products", format!("Devices of {}", product.name)),
            None => here.page.clone().titled("Devices", "Devices"),
        },
        base: format!("{}/devices", here.base()),
        rows: rows
            .into_iter()
            .map(|row| Row {
                id: row.device.id.to_string(),
                name: row.device.name.unwrap_or_default(),
                notes: row.device.notes.unwrap_or_default(),
                owner: row.owner.unwrap_or_default(),
            })
            .collect(),
        search,
        number: asked.page.parse().unwrap_or(1),
        pages,
        add_refusal: refusal(Action::ImportDevices).await?,
        change_refusal: refusal(Action::UpdateDevice).await?,
        refused,
    })
}

async fn show(
    State(console): State<Console>,
    here: Here,
    Query(asked): Query<Asked>,
    Query(done): Query<Done>,
) -> Result<Response, PageError> {
    let mut page = page_of(&console, &here, &asked, Refused::default()).await?;
    page.page.notice = match done.says(&[
        ("changed", "The device is changed."),
        ("removed", "The device is removed."),
        ("claimed", "The device is yours."),
    ]) {
        text if text.is_empty() => added_text(&done.done),
        text => text,
    };
    Ok(render(&page)?.into_response())
}

/// What adding said: four numbers joined by dots.
fn added_text(done: &str) -> String {
    let numbers: Vec<usize> = done.split('.').filter_map(|number| number.parse().ok()).collect();
    let [added, there, elsewhere, invalid] = numbers[..] else { return String::new() };
    let mut said = vec![format!("{} added", counted(added, "device"))];
    let mut also = |count: usize, text: &str| {
        if count > 0 {
            said.push(format!("{count} {text}"));
        }
    };
    also(there, "there already");
    also(elsewhere, "of another product or person, where they stay");
    also(invalid, "not an id of 24 hexadecimal digits");
    format!("{}.", said.join(", "))
}

async fn add(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let actor = &here.session.actor;
    let added = async {
        match here.key() {
            PlaceKey::Product(product) => {
                let new = NewDevices::read_file(fields.text("ids"))?;
                let added = console.add_devices(actor, product, new).await?;
                let counts =
                    [added.updated.len(), added.existing.len(), added.nonmember.len(), added.invalid.len()];
                Ok::<_, Error>(counts.map(|count| count.to_string()).join("."))
            }
            _ => {
                let body = Map::from_iter([("id".to_owned(), Value::from(fields.text("ids").trim()))]);
                console.claim_device(actor, body).await?;
                Ok("claimed".to_owned())
            }
        }
    };
    match added.await {
        Ok(done) => Ok(Redirect::to(&format!("{}/devices?done={done}", here.base())).into_response()),
        Err(error) => {
            let page = page_of(&console, &here, &Asked::default(), Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}

async fn change(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let changed = async {
        let done = if fields.text("go") == "remove" { "removed" } else { "changed" };
        let actor = &here.session.actor;
        match (here.key(), done) {
            (PlaceKey::Product(product), "removed") => {
                console.remove_product_device(actor, product, &here.id).await?;
            }
            (_, "removed") => console.unclaim_device(actor, &here.id).await?,
            (PlaceKey::Product(product), _) => {
                console.update_product_device(actor, product, &here.id, read_change(&fields)?).await?;
            }
            _ => {
                console.update_own_device(actor, &here.id, read_change(&fields)?).await?;
            }
        }
        Ok::<_, Error>(done)
    };
    match changed.await {
        Ok(done) => Ok(Redirect::to(&format!("{}/devices?done={done}", here.base())).into_response()),
        Err(error) => {
            let page = page_of(&console, &here, &Asked::default(), Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}

/// An empty field takes the value away.
fn read_change(fields: &Fields) -> Result<DeviceChange, Error> {
    let value =
        |name: &str| Some(fields.text(name)).filter(|text| !text.is_empty()).map_or(Value::Null, Value::from);
    DeviceChange::read(["name", "notes"].into_iter().map(|name| (name.to_owned(), value(name))).collect())
}

#[derive(Template)]
#[template(path = "devices/choose.html")]
struct ChoosePage {
    page: Page,
    products: Vec<(String, String)>,
}

/// An organization's devices are in its products.
async fn choose(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    let Place::Org(org) = &here.place else { return Err(Error::not_found("page").into()) };
    let products = console.list_org_products(&here.session.actor, &org.slug).await?;
    let page = ChoosePage {
        page: here.page.clone().titled("Devices", "Devices"),
        products: products.into_iter().map(|product| (product.slug, product.name)).collect(),
    };
    Ok(render(&page)?.into_response())
}
