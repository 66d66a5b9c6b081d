//! Failed deliveries: what is kept, narrowed by what one knows, and delivered again row by row.

use askama::Template;
use axum::{
    Router,
    extract::{Query, RawPathParams, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tributary_control::{
    Error,
    failed::{FailedParams, FailedRow},
    place::{Place, PlaceKey},
};
use tributary_domain::{IntegrationId, ProductId, access::Action};

use crate::{
    Console,
    error::{PageError, sentence},
    form::{Signed, go_to},
    format::{Moment, counted},
    here::{Here, PLACES},
    integrations::shown_id,
    page::{Page, ProductTabs, render},
};

pub(crate) fn routes() -> Router<Console> {
    PLACES.iter().fold(Router::new(), |router, place| {
        router.route(&format!("{place}/failed"), get(show).post(redeliver))
    })
}

struct Row {
    id: i64,
    at: Moment,
    exact: String,
    outcome: String,
    integration: String,
    address: String,
    product: String,
    device: String,
    event: String,
    data: String,
    status: String,
    error: String,
    under_way: bool,
}

/// The filters as the address has them.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Filters {
    integration: String,
    product: String,
    outcome: String,
    from: String,
    to: String,
    device: String,
    event: String,
    status: String,
    text: String,
    before: String,
    done: String,
}

impl Filters {
    fn pairs(&self) -> [(&'static str, &str); 9] {
        [
            ("integration", &self.integration),
            ("product", &self.product),
            ("outcome", &self.outcome),
            ("from", &self.from),
            ("to", &self.to),
            ("device", &self.device),
            ("event", &self.event),
            ("status", &self.status),
            ("text", &self.text),
        ]
    }

    /// The address of a page with these filters and something more.
    fn address(&self, base: &str, more: &[(&str, &str)]) -> String {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let all = self.pairs().into_iter().chain(more.iter().copied()).filter(|(_, value)| !value.is_empty());
        let pairs: Vec<String> = all.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        if pairs.is_empty() { base.to_owned() } else { format!("{base}?{}", pairs.join("&")) }
    }

    fn params(&self) -> FailedParams {
        // A browser gives a time as it was filled in, without a zone; the form says UTC.
        let time = |text: &str| match text.matches(':').count() {
            _ if text.is_empty() || text.ends_with('Z') => text.to_owned(),
            1 => format!("{text}:00Z"),
            _ => format!("{text}Z"),
        };
        FailedParams {
            integration: self.integration.clone(),
            product: self.product.clone(),
            outcome: self.outcome.clone(),
            from: time(&self.from),
            to: time(&self.to),
            device: self.device.clone(),
            event: self.event.clone(),
            status: self.status.clone(),
            text: self.text.clone(),
            before: self.before.clone(),
        }
    }
}

#[derive(Template)]
#[template(path = "failed/table.html")]
struct Table {
    base: String,
    csrf: String,
    /// The address that the form goes back to.
    here: String,
    rows: Vec<Row>,
    next: String,
    narrowed: bool,
    refusal: String,
    refused: String,
}

#[derive(Template)]
#[template(path = "failed/list.html")]
struct FailedPageShown {
    page: Page,
    tabs: Option<ProductTabs>,
    filters: Filters,
    /// Id and name.
    integrations: Vec<(String, String)>,
    products: Vec<(String, String)>,
    table: Table,
}

/// What ids are called here.
struct Names {
    integrations: Vec<(IntegrationId, String, String)>,
    products: Vec<(ProductId, String, String)>,
}

async fn names(console: &Console, here: &Here) -> Result<Names, PageError> {
    let actor = &here.session.actor;
    let views = console.list_integrations(actor, here.key()).await?;
    let named = |view: &tributary_control::integrations::View| {
        (view.integration.id, shown_id(view), view.integration.text("name").to_owned())
    };
    let products = match here.key() {
        PlaceKey::Org(org) => console.list_org_products(actor, org).await?,
        _ => here.product().into_iter().cloned().collect(),
    };
    Ok(Names {
        integrations: views.iter().map(named).collect(),
        products: products.into_iter().map(|one| (one.id, one.slug, one.name)).collect(),
    })
}

fn row_of(row: &FailedRow, names: &Names, here: &Here) -> Row {
    let integration = names.integrations.iter().find(|(id, ..)| *id == row.integration);
    let product = row.product.map(|id| {
        let known = names.products.iter().find(|(known, ..)| *known == id);
        known.map_or_else(|| format!("product {id}"), |(.., name)| name.clone())
    });
    let event = row.event.as_ref();
    Row {
        id: row.id,
        at: Moment::new(row.at, here.page.now),
        exact: row.at.to_string().replace('T', " ").trim_end_matches('Z').to_owned(),
        outcome: row.outcome.clone(),
        integration: integration.map(|(.., name)| name.clone()).unwrap_or_default(),
        address: integration
            .map(|(_, id, _)| format!("{}/integrations/{id}", here.base()))
            .unwrap_or_default(),
        product: product.unwrap_or_default(),
        device: event.map(|event| event.coreid.to_string()).unwrap_or_default(),
        event: event.map(|event| event.name.to_string()).unwrap_or_default(),
        data: event.and_then(|event| event.data.as_deref().map(str::to_owned)).unwrap_or_default(),
        status: row.status.map_or_else(|| "no reply".to_owned(), |status| status.to_string()),
        error: row.error.clone(),
        under_way: row.under_way,
    }
}

async fn page_of(
    console: &Console,
    here: &Here,
    filters: Filters,
    refused: String,
) -> Result<FailedPageShown, PageError> {
    let names = names(console, here).await?;
    let base = format!("{}/failed", here.base());
    let (found, refused) =
        match console.failed_deliveries(&here.session.actor, here.key(), &filters.params()).await {
            Ok(found) => (Some(found), refused),
            Err(error @ Error::Invalid { .. }) => (None, sentence(&error.to_string())),
            Err(error) => return Err(error.into()),
        };
    let next = found.as_ref().and_then(|found| found.next).map(|next| next.to_string());
    let table = Table {
        rows: found.iter().flat_map(|found| &found.rows).map(|row| row_of(row, &names, here)).collect(),
        next: next.map(|next| filters.address(&base, &[("before", &next)])).unwrap_or_default(),
        narrowed: filters.pairs().iter().any(|(_, value)| !value.is_empty()) || !filters.before.is_empty(),
        refusal: here.refusal(console, Action::UpdateIntegration).await?,
        csrf: here.page.csrf.clone(),
        here: filters.address(&base, &[("before", &filters.before)]),
        base,
        refused,
    };
    let is_org = matches!(here.place, Place::Org(_));
    Ok(FailedPageShown {
        tabs: ProductTabs::of(&here.place, "Failed"),
        page: match here.product() {
            Some(product) => {
                here.page.clone().titled("Products", format!("Failed deliveries of {}", product.name))
            }
            None => here.page.clone().titled("Failed", "Failed deliveries"),
        },
        integrations: names.integrations.into_iter().map(|(_, id, name)| (id, name)).collect(),
        products: match is_org {
            true => names.products.into_iter().map(|(_, slug, name)| (slug, name)).collect(),
            false => Vec::new(),
        },
        filters,
        table,
    })
}

async fn show(
    State(console): State<Console>,
    here: Here,
    Query(filters): Query<Filters>,
) -> Result<Response, PageError> {
    let done: usize = filters.done.parse().unwrap_or_default();
    let part = here.part;
    let mut page = page_of(&console, &here, filters, String::new()).await?;
    if done > 0 {
        page.page.notice = format!("{} delivered again; each run is shown at its integration.", are(done));
    }
    match part {
        true => Ok(render(&page.table)?.into_response()),
        false => Ok(render(&page)?.into_response()),
    }
}

fn are(count: usize) -> String {
    format!("{} {} being", counted(count, "delivery"), if count == 1 { "is" } else { "are" })
}

/// Delivers the ticked rows again.
async fn redeliver(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Query(filters): Query<Filters>,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let ids: Vec<i64> = fields.all("kept").filter_map(|id| id.parse().ok()).collect();
    let begun = match ids.is_empty() {
        true => Err(Error::field("rows", "tick at least one")),
        false => console.redeliver_kept(&here.session.actor, here.key(), &ids).await,
    };
    let base = format!("{}/failed", here.base());
    match begun {
        Ok(count) => Ok(go_to(here.part, &filters.address(&base, &[("done", &count.to_string())]))),
        Err(error @ (Error::Invalid { .. } | Error::Refused { .. } | Error::Conflict { .. })) => {
            let page = page_of(&console, &here, filters, sentence(&error.to_string())).await?;
            Ok((axum::http::StatusCode::UNPROCESSABLE_ENTITY, render(&page)?).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
