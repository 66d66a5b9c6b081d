//! The list of integrations: one component for organizations, products and sandboxes.

use askama::Template;
use axum::{
    extract::{Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tributary_control::{
    Error,
    history::Counts,
    integrations::{MemberView, View},
    kinds,
    listing::ListParams,
    place::{Place, PlaceKey},
};
use tributary_domain::{access::Action, integration::Integration};

use super::shown;
use crate::{
    Console, chart,
    error::PageError,
    format::counted,
    here::Here,
    page::{Page, ProductTabs, render},
};

/// Rows of a page unless the address says otherwise.
const ROWS: &str = "50";
/// The columns that a list is ordered by: what the address says, what the head says, whether it is a figure.
const COLUMNS: [(&str, &str, bool); 8] = [
    ("name", "Name", false),
    ("event", "Event", false),
    ("address", "Destination", false),
    (PRODUCTS, "Executes on", false),
    ("success", "Success", true),
    ("error", "Error", true),
    ("skipped", "Skipped", true),
    ("state", "State", false),
];
/// The column that a sandbox does not have.
const PRODUCTS: &str = "products";

struct Row {
    id: String,
    name: String,
    event: String,
    kind: String,
    destination: String,
    /// `3 products`, or the one product's name.
    executes_on: String,
    /// The products' names, for pointing at.
    names: String,
    shared: bool,
    disabled: bool,
    sleeps: bool,
    today: Counts,
    /// Deliveries that wait, which are in no sum.
    waits: i64,
}

impl Row {
    /// The letter of its kind's mark.
    fn letter(&self) -> char {
        self.kind.chars().next().unwrap_or('?')
    }

    fn new(view: &View, place: &Place, sleeping: &[String], waits: i64) -> Row {
        let integration = &view.integration;
        let names: Vec<&str> = view.products.iter().map(|product| product.name.as_str()).collect();
        let executes_on = match (place, &names[..]) {
            (Place::Org(_), [one]) => (*one).to_owned(),
            (Place::Org(_), all) => counted(all.len(), "product"),
            (Place::Product(_), _) if integration.is_shared() => {
                counted(integration.members.len(), "product")
            }
            _ => String::new(),
        };
        Row {
            id: shown::id(view),
            name: shown::name(integration),
            event: integration.text("event").to_owned(),
            kind: shown::kind_name(integration.text("integration_type")).to_owned(),
            destination: shown::destination(integration),
            executes_on,
            names: names.join(", "),
            shared: integration.is_shared(),
            disabled: shown::is_disabled(integration),
            sleeps: shown::sleeps(integration, sleeping),
            today: view.today,
            waits,
        }
    }

    fn bar(&self) -> String {
        chart::bar(&self.today)
    }

    fn figures(&self) -> [(&'static str, i64); 3] {
        [("Success", self.today.success), ("Error", self.today.error), ("Skipped", self.today.skipped)]
    }
}

/// A column's head: its name, the address that orders by it, how it is ordered now (`aria-sort`).
struct Head {
    column: &'static str,
    name: &'static str,
    address: String,
    sort: &'static str,
    figure: bool,
}

#[derive(Template)]
#[template(path = "integrations/table.html")]
struct Table {
    base: String,
    is_org: bool,
    is_sandbox: bool,
    rows: Vec<Row>,
    heads: Vec<Head>,
    next: String,
    /// Whether the list is narrowed, so that an empty one means that nothing fits.
    narrowed: bool,
    refusal: String,
}

#[derive(Template)]
#[template(path = "integrations/list.html")]
struct ListPage {
    page: Page,
    table: Table,
    /// Where it is the list of a product.
    tabs: Option<ProductTabs>,
    filters: Filters,
    kinds: Vec<(String, String)>,
    products: Vec<(String, String)>,
    is_org: bool,
}

#[derive(Default)]
struct Filters {
    search: String,
    kind: String,
    state: String,
    product: String,
    order: String,
}

/// The list.
pub(crate) async fn show(
    State(console): State<Console>,
    here: Here,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, PageError> {
    let value = |name: &str| pairs.iter().find(|(given, _)| given == name).map_or("", |(_, v)| v).to_owned();
    let filters = Filters {
        search: value("search"),
        kind: value("type"),
        state: value("state"),
        product: value("product"),
        order: value("order"),
    };
    let mut params = pairs.clone();
    if value("limit").is_empty() {
        params.push(("limit".to_owned(), ROWS.to_owned()));
    }
    params.retain(|(_, value)| !value.is_empty());
    let found =
        console.list_integrations_page(&here.session.actor, here.key(), &ListParams::of(params)).await?;
    let base = format!("{}/integrations", here.base());
    let sleeping = console.sleeping_destinations(&here.session.actor, here.key()).await?;
    let ids: Vec<_> = found.views.iter().map(|view| view.integration.id).collect();
    let waits = console.waiting_counts(&here.session.actor, here.key(), &ids).await?;
    let waits = |view: &View| waits.get(&view.integration.id).copied().unwrap_or_default();
    let next = found.next.map(|next| with(&base, &pairs, "cursor", &next)).unwrap_or_default();
    let table = Table {
        is_org: matches!(here.place, Place::Org(_)),
        is_sandbox: matches!(here.place, Place::Sandbox(_)),
        rows: found.views.iter().map(|view| Row::new(view, &here.place, &sleeping, waits(view))).collect(),
        heads: heads(&base, &pairs, &filters.order, &here.place),
        next,
        narrowed: pairs.iter().any(|(name, value)| !value.is_empty() && name != "order"),
        refusal: here.refusal(&console, Action::CreateIntegration).await?,
        base,
    };
    if here.part {
        return Ok(render(&table)?.into_response());
    }
    let products = match here.key() {
        PlaceKey::Org(org) => console.list_org_products(&here.session.actor, org).await?,
        _ => Vec::new(),
    };
    let page = ListPage {
        is_org: table.is_org,
        tabs: ProductTabs::of(&here.place, "Integrations"),
        kinds: kinds::known_names()
            .into_iter()
            .map(|kind| (kind.to_owned(), shown::kind_name(kind).to_owned()))
            .collect(),
        page: match here.product() {
            Some(product) => here.page.clone().titled("Products", format!("{} integrations", product.name)),
            None => here.page.clone().titled("Integrations", "Integrations"),
        },
        table,
        filters,
        products: products.into_iter().map(|product| (product.slug, product.name)).collect(),
    };
    Ok(render(&page)?.into_response())
}

/// Groups of integrations that could be merged: id and name of each.
#[derive(Template)]
#[template(path = "integrations/duplicates.html")]
struct DuplicatesPart {
    base: String,
    groups: Vec<Vec<(String, String)>>,
    may_merge: bool,
}

/// The hint where identical integrations could be merged. It looks at all of them, so the list does not wait for it.
pub(crate) async fn duplicates(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    let base = format!("{}/integrations", here.base());
    if !here.part {
        return Ok(Redirect::to(&base).into_response());
    }
    let PlaceKey::Org(org) = here.key() else { return Err(Error::not_found("page").into()) };
    let groups = console.duplicates(&here.session.actor, org).await?;
    let named = |(one, _): &(Integration, Vec<MemberView>)| (one.id.to_string(), shown::name(one));
    let groups = groups.iter().map(|group| group.integrations.iter().map(named).collect()).collect();
    let may_merge = here.refusal(&console, Action::UpdateIntegration).await?.is_empty();
    Ok(render(&DuplicatesPart { base, groups, may_merge })?.into_response())
}

fn heads(base: &str, pairs: &[(String, String)], order: &str, place: &Place) -> Vec<Head> {
    let head = |(column, name, figure): (&'static str, &'static str, bool)| {
        let (ascending, descending) = (order == column, order.strip_prefix('-') == Some(column));
        // Figures are most useful with the largest first.
        let next =
            if descending || (!figure && !ascending) { column.to_owned() } else { format!("-{column}") };
        let sort = match (ascending, descending) {
            (true, _) => "ascending",
            (_, true) => "descending",
            _ => "none",
        };
        Head { column, name, address: with(base, pairs, "order", &next), sort, figure }
    };
    let in_sandbox = matches!(place, Place::Sandbox(_));
    COLUMNS.into_iter().filter(|(column, ..)| !(in_sandbox && *column == PRODUCTS)).map(head).collect()
}

/// An address with one parameter changed; a cursor belongs to one order, so it does not stay.
fn with(base: &str, pairs: &[(String, String)], name: &str, value: &str) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let kept = pairs.iter().filter(|(given, value)| given != name && given != "cursor" && !value.is_empty());
    kept.map(|(name, value)| (name.as_str(), value.as_str())).chain([(name, value)]).enumerate().fold(
        base.to_owned(),
        |address, (at, (name, value))| {
            let join = if at == 0 { '?' } else { '&' };
            format!("{address}{join}{}={}", encoded(name), encoded(value))
        },
    )
}

#[derive(Template)]
#[template(path = "integrations/days.html")]
struct Days {
    chart: String,
    total: Counts,
    last_error: Option<(crate::format::Moment, String)>,
    address: String,
}

/// The 30 days of one row.
pub(crate) async fn days(State(console): State<Console>, here: Here) -> Result<Html<String>, PageError> {
    let actor = &here.session.actor;
    let view = console.get_integration(actor, here.key(), &here.id).await?;
    let history = console.history(actor, here.key(), &here.id, None).await?;
    let errors = view.logs.iter().flatten().filter(|row| row["outcome"] != "success");
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let last_error = errors
        .map(|row| (crate::format::Moment::parse(&text(row, "at"), here.page.now), text(row, "error")))
        .next();
    render(&Days {
        chart: chart::days(&history.total, history.from, "All products"),
        total: chart::sum(&history.total),
        last_error,
        address: format!("{}/integrations/{}", here.base(), here.id),
    })
}
