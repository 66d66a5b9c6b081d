//! One integration: what it does, whether it arrives, since when not; and the small writes that start from here.

use askama::Template;
use axum::{
    extract::{Query, RawPathParams, State},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value, json};
use tributary_control::{
    Error,
    failed::{WaitingDeliveries, WaitingRow},
    history::{Counts, History},
    integrations::{MemberView, View},
    place::Place,
    test_run::TestResult,
};
use tributary_domain::{Owner, ProductId, Timestamp, access::Action, time::date_of};

use super::{logs::LogRow, shown};
use crate::{
    Console, chart,
    error::{PageError, sentence},
    form::Signed,
    format::Moment,
    here::Here,
    page::{Page, render},
    request_head::RequestHead,
};

/// What the configuration's list leaves out, since the head of the page says it.
const SAID_ABOVE: [&str; 5] = ["name", "event", "integration_type", "url", "requestType"];

/// What one product overrides of an integration's parameters.
struct Overridable {
    slug: String,
    product: String,
    /// Name, default, and the product's own value, empty for none.
    values: Vec<(String, String, String)>,
}

fn overridable(view: &View) -> Vec<Overridable> {
    let Some(Value::Object(declared)) = view.integration.config.get("parameters") else { return Vec::new() };
    let of = |product: &MemberView| Overridable {
        slug: product.slug.clone(),
        product: product.name.clone(),
        values: declared
            .iter()
            .map(|(name, default)| {
                let own =
                    product.overrides.as_ref().and_then(|own| own.get(name)).cloned().unwrap_or_default();
                (name.clone(), shown::text_of(default), own)
            })
            .collect(),
    };
    view.products.iter().map(of).collect()
}

/// The history of one product.
struct ProductDays {
    name: String,
    slug: String,
    spark: String,
    total: Counts,
}

/// A day of the table.
struct Day {
    date: String,
    counts: Counts,
}

/// A product on which it executes.
pub(super) struct On {
    pub(super) id: ProductId,
    slug: String,
    pub(super) name: String,
}

#[derive(Template)]
#[template(path = "integrations/view.html")]
struct ViewPage {
    page: Page,
    address: String,
    list: String,
    id: String,
    name: String,
    event: String,
    kind: String,
    method: String,
    url: String,
    disabled: bool,
    sleeps: bool,
    version: String,
    parameters: Vec<Overridable>,
    shared: bool,
    is_org: bool,
    /// The product from which it is looked at: slug and name.
    product: Option<(String, String)>,
    /// In a product of an organization: where the shared integration is edited for all; empty when the person is not in it.
    for_all: String,
    products: Vec<On>,
    updated: Moment,
    chart: String,
    total: Counts,
    days: Vec<Day>,
    per_product: Vec<ProductDays>,
    /// Where its failed deliveries are.
    failed: String,
    waiting: Vec<WaitingShown>,
    /// How many deliveries wait.
    waits: i64,
    errors: Vec<LogRow>,
    successes: Vec<LogRow>,
    fields: Vec<(String, String)>,
    refusal: String,
    test: Option<Tested>,
    example_event: String,
    origin: String,
}

impl ViewPage {
    fn others(&self) -> Vec<&str> {
        let own = self.product.as_ref().map(|(slug, _)| slug.as_str());
        self.products.iter().filter(|on| Some(on.slug.as_str()) != own).map(|on| on.name.as_str()).collect()
    }
}

/// A delivery that waits.
struct WaitingShown {
    due: Moment,
    attempt: i64,
    product: String,
    device: String,
    event: String,
    data: String,
}

/// What waits, due first.
fn waiting_of(found: &WaitingDeliveries, history: &History, now: Timestamp) -> Vec<WaitingShown> {
    let name_of = |id: ProductId| {
        let names = history.products.iter().find(|one| one.product == id).and_then(|one| one.names.clone());
        names.map_or_else(String::new, |(_, name)| name)
    };
    let shown = |row: &WaitingRow| {
        let event = row.event.as_ref();
        WaitingShown {
            due: Moment::due(row.due_at, now),
            attempt: row.attempt,
            product: row.product.map(name_of).unwrap_or_default(),
            device: event.map(|event| event.coreid.to_string()).unwrap_or_default(),
            event: event.map(|event| event.name.to_string()).unwrap_or_default(),
            data: event.and_then(|event| event.data.as_deref().map(str::to_owned)).unwrap_or_default(),
        }
    };
    found.first.iter().map(shown).collect()
}

/// What came of a test.
#[derive(Template)]
#[template(path = "integrations/tested.html")]
struct Tested {
    passed: bool,
    text: String,
}

#[derive(serde::Deserialize)]
pub(crate) struct Notice {
    #[serde(default)]
    done: String,
}

/// The page.
pub(crate) async fn show(
    State(console): State<Console>,
    here: Here,
    Query(notice): Query<Notice>,
    headers: RequestHead,
) -> Result<Response, PageError> {
    let mut page = page_of(&console, &here, &headers, None).await?;
    page.page.notice = match notice.done.as_str() {
        "created" => "The integration is created. It runs from the next event on.",
        "saved" if page.is_org && page.shared => "Saved for all products, from the next event on.",
        "saved" => "Saved. It holds from the next event on.",
        "separated" => "This product has its own integration now; the others stay shared.",
        "overridden" => "Saved. This product uses its own values; every other change still reaches it.",
        "restored" => "Restored. It is a new version, and holds from the next event on.",
        "merged" => "Merged. One configuration executes on all these products now.",
        "disabled" => "Disabled. Events are not sent until it is enabled again.",
        "enabled" => "Enabled. It runs from the next event on.",
        _ => "",
    }
    .to_owned();
    Ok(render(&page)?.into_response())
}

async fn page_of(
    console: &Console,
    here: &Here,
    headers: &RequestHead,
    test: Option<Tested>,
) -> Result<ViewPage, PageError> {
    let actor = &here.session.actor;
    let view = console.get_integration(actor, here.key(), &here.id).await?;
    let history = console.history(actor, here.key(), &here.id, None).await?;
    let waiting = console.waiting_deliveries(actor, here.key(), &here.id).await?;
    let sleeping = console.sleeping_destinations(actor, here.key()).await?;
    let integration = &view.integration;
    let products = products_of(console, here, &view).await?;
    let (successes, errors) = logs_of(&view, &history, here.page.now);
    let dates = (history.from..).zip(&history.total);
    let mut days: Vec<Day> = dates.map(|(day, counts)| Day { date: date_of(day), counts: *counts }).collect();
    days.reverse();
    let name = shown::name(integration);
    let is_org = matches!(here.place, Place::Org(_));
    let for_all = match (&here.place, here.page.is_org) {
        (Place::Product(_), true) => format!("{}/integrations/{}", here.page.base, integration.id),
        _ => String::new(),
    };
    let per_product = history.products.iter().map(|one| {
        let (slug, name) = one
            .names
            .clone()
            .unwrap_or_else(|| (String::new(), format!("Product {} (deleted)", one.product)));
        let spark = chart::spark(&one.days, history.from, &name);
        ProductDays { spark, slug, name, total: chart::sum(&one.days) }
    });
    Ok(ViewPage {
        list: format!("{}/integrations", here.base()),
        address: format!("{}/integrations/{}", here.base(), here.id),
        id: here.id.clone(),
        event: integration.text("event").to_owned(),
        kind: shown::kind_name(integration.text("integration_type")).to_owned(),
        method: integration.text("requestType").to_owned(),
        url: integration.text("url").to_owned(),
        disabled: shown::is_disabled(integration),
        sleeps: shown::sleeps(integration, &sleeping),
        version: view.version.map(|version| version.to_string()).unwrap_or_default(),
        parameters: overridable(&view),
        shared: integration.is_shared(),
        is_org,
        product: here.product().map(|product| (product.slug.clone(), product.name.clone())),
        for_all,
        products,
        updated: Moment::new(integration.updated_at, here.page.now),
        chart: chart::days(&history.total, history.from, "History"),
        total: chart::sum(&history.total),
        days,
        per_product: if is_org { per_product.collect() } else { Vec::new() },
        failed: format!("{}/failed?integration={}", here.base(), here.id),
        waits: waiting.count,
        waiting: waiting_of(&waiting, &history, here.page.now),
        errors,
        successes,
        fields: fields_of(&integration.config),
        refusal: here.refusal(console, Action::UpdateIntegration).await?,
        test,
        example_event: example_event(integration.text("event")),
        origin: headers.base(),
        page: match here.product() {
            Some(_) => here.page.clone().titled("Products", &name),
            None => here.page.clone().titled("Integrations", &name),
        },
        name,
    })
}

/// The newest entries of the log: what succeeded, and the rest.
fn logs_of(view: &View, history: &History, now: Timestamp) -> (Vec<LogRow>, Vec<LogRow>) {
    let name_of = |id: i64| {
        let names = history.products.iter().find(|one| one.product.0 == id)?.names.as_ref()?;
        Some(names.1.clone())
    };
    let rows = view.logs.iter().flatten().map(|row| LogRow::new(row, now, name_of));
    rows.partition(|row| row.outcome == "success")
}

/// The configuration besides what the head says, in the words of the API.
fn fields_of(config: &Map<String, Value>) -> Vec<(String, String)> {
    let rest = config.iter().filter(|(field, _)| !SAID_ABOVE.contains(&field.as_str()));
    rest.map(|(field, value)| (field.clone(), shown::text_of(value))).collect()
}

/// A name of an event that fires a prefix.
fn example_event(prefix: &str) -> String {
    if prefix.ends_with('/') { format!("{prefix}example") } else { prefix.to_owned() }
}

/// The products on which it executes, with their names as far as the person may know them.
pub(super) async fn products_of(console: &Console, here: &Here, view: &View) -> Result<Vec<On>, PageError> {
    let on = |id, slug: &str, name: &str| On { id, slug: slug.to_owned(), name: name.to_owned() };
    if !view.products.is_empty() {
        let shown = |one: &MemberView| on(one.member.product, &one.slug, &one.name);
        return Ok(view.products.iter().map(shown).collect());
    }
    let Owner::Org(org) = view.integration.owner else { return Ok(Vec::new()) };
    let known = match console.list_org_products(&here.session.actor, &org.to_string()).await {
        Ok(known) => known,
        Err(Error::NotFound(_) | Error::Forbidden(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let name = |product| match known.iter().find(|known| known.id == product) {
        Some(known) => on(product, &known.slug, &known.name),
        None => on(product, &product.to_string(), &format!("product {product}")),
    };
    Ok(view.integration.members.iter().map(|member| name(member.product)).collect())
}

/// Sends one event for real and shows what came back.
pub(crate) async fn test(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let body = fields.body(&["data", "device_id", "product_id"]);
    let tested = match console.test_integration(&here.session.actor, here.key(), &here.id, &body).await {
        Ok(TestResult::Passed(reply)) => Tested { passed: true, text: reply.unwrap_or_default() },
        Ok(TestResult::Failed(why)) => Tested { passed: false, text: why },
        Err(error @ Error::Invalid { .. }) => Tested { passed: false, text: sentence(&error.to_string()) },
        Err(error) => return Err(error.into()),
    };
    if here.part {
        return Ok(render(&tested)?.into_response());
    }
    Ok(render(&page_of(&console, &here, &headers, Some(tested)).await?)?.into_response())
}

/// Switches an integration off or on.
pub(crate) async fn set_state(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Redirect, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let actor = &here.session.actor;
    let disabled = fields.text("state") == "disabled";
    let mut config = console.get_integration(actor, here.key(), &here.id).await?.integration.config;
    config.insert("disabled".to_owned(), json!(disabled));
    console.replace_integration(actor, here.key(), &here.id, config).await?;
    let done = if disabled { "disabled" } else { "enabled" };
    Ok(Redirect::to(&format!("{}/integrations/{}?done={done}", here.base(), here.id)))
}

/// Sets what a product overrides. An empty value follows the default.
pub(crate) async fn set_overrides(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Redirect, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let Place::Org(org) = &here.place else { return Err(Error::not_found("page").into()) };
    let value = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    let own: Map<String, Value> = fields
        .0
        .iter()
        .filter_map(|(name, text)| Some((name.strip_prefix("parameter.")?.to_owned(), value(text))))
        .collect();
    let body = Map::from_iter([("parameters".to_owned(), Value::Object(own))]);
    console.add_product(&here.session.actor, &org.slug, &here.id, fields.text("product"), body).await?;
    Ok(Redirect::to(&format!("{}/integrations/{}?done=overridden", here.base(), here.id)))
}

#[derive(Template)]
#[template(path = "integrations/delete.html")]
struct Confirm {
    page: Page,
    address: String,
    name: String,
    shared: bool,
    is_org: bool,
    products: Vec<On>,
    product: Option<(String, String)>,
    refusal: String,
    wrong: String,
}

async fn confirmation(console: &Console, here: &Here, wrong: String) -> Result<Confirm, PageError> {
    let view = console.get_integration(&here.session.actor, here.key(), &here.id).await?;
    let name = shown::name(&view.integration);
    Ok(Confirm {
        page: here.page.clone().titled("Integrations", format!("Delete {name}")),
        address: format!("{}/integrations/{}", here.base(), here.id),
        shared: view.integration.is_shared(),
        is_org: matches!(here.place, Place::Org(_)),
        products: products_of(console, here, &view).await?,
        product: here.product().map(|product| (product.slug.clone(), product.name.clone())),
        refusal: here.refusal(console, Action::RemoveIntegration).await?,
        name,
        wrong,
    })
}

/// Asks before deleting, and says what stops working where.
pub(crate) async fn confirm(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    Ok(render(&confirmation(&console, &here, String::new()).await?)?.into_response())
}

/// Deletes an integration: in an organization for all its products, in a product for this one.
pub(crate) async fn delete(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let asked = confirmation(&console, &here, "This is not its name.".to_owned()).await?;
    if !asked.refusal.is_empty() {
        return Err(Error::Forbidden(asked.refusal).into());
    }
    let needs_name = asked.shared && asked.is_org;
    if needs_name && fields.text("name") != asked.name {
        return Ok((axum::http::StatusCode::UNPROCESSABLE_ENTITY, render(&asked)?).into_response());
    }
    console.delete_integration(&here.session.actor, here.key(), &here.id).await?;
    Ok(Redirect::to(&format!("{}/integrations", here.base())).into_response())
}
