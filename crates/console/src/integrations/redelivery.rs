//! Redelivery: what failed is counted, delivered again, followed and cancelled.

use askama::Template;
use axum::{
    extract::{RawPathParams, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use tributary_control::redelivery::{Redelivering, Run};
use tributary_domain::{ProductId, access::Action};

use super::{shown, view::products_of};
use crate::{
    Console,
    error::PageError,
    form::{Refused, Signed},
    format::Moment,
    here::Here,
    page::{Page, render},
};

struct RunRow {
    id: String,
    at: Moment,
    state: String,
    total: i64,
    ended: i64,
    success: i64,
    error: i64,
    skipped: i64,
}

#[derive(Template)]
#[template(path = "integrations/redelivery.html")]
struct RedeliveryPage {
    page: Page,
    address: String,
    name: String,
    /// What was counted: product and number; `None` before.
    counted: Option<Vec<(String, i64)>>,
    /// The fields as they were filled in.
    from: String,
    to: String,
    outcome: String,
    /// The products: id, name, and whether they are ticked.
    products: Vec<(i64, String, bool)>,
    /// Whether one of the runs goes on.
    running: bool,
    runs: Vec<RunRow>,
    refusal: String,
    refused: Refused,
}

fn row_of(run: &Run, page: &Page) -> RunRow {
    let [success, error, skipped] = run.ended;
    RunRow {
        id: run.id.clone(),
        at: Moment::new(run.created_at, page.now),
        state: run.state.clone(),
        total: run.total,
        ended: success + error + skipped,
        success,
        error,
        skipped,
    }
}

async fn page_of(
    console: &Console,
    here: &Here,
    [from, to, outcome]: [String; 3],
    ticked: &[String],
    counted: Option<&Redelivering>,
    refused: Refused,
) -> Result<RedeliveryPage, PageError> {
    let actor = &here.session.actor;
    let view = console.get_integration(actor, here.key(), &here.id).await?;
    let name = shown::name(&view.integration);
    let part = if here.product().is_some() { "Products" } else { "Integrations" };
    let page = here.page.clone().titled(part, format!("Redelivery of {name}"));
    let runs = console.redeliveries(actor, here.key(), &here.id).await?;
    let products = products_of(console, here, &view).await?;
    let name_of = |product: ProductId| {
        let on = products.iter().find(|on| on.id == product);
        on.map_or_else(|| format!("product {product}"), |on| on.name.clone())
    };
    let count = |(product, count): &(Option<ProductId>, i64)| {
        (product.map_or_else(|| "sandbox".to_owned(), name_of), *count)
    };
    Ok(RedeliveryPage {
        address: format!("{}/integrations/{}", here.base(), here.id),
        counted: counted.map(|counted| counted.counts.iter().map(count).collect()),
        from,
        to,
        outcome,
        products: match here.product() {
            Some(_) => Vec::new(),
            None => products
                .iter()
                .map(|on| (on.id.0, on.name.clone(), ticked.contains(&on.id.to_string())))
                .collect(),
        },
        running: runs.iter().any(|run| run.state == "running"),
        runs: runs.iter().map(|run| row_of(run, &page)).collect(),
        refusal: here.refusal(console, Action::UpdateIntegration).await?,
        page,
        name,
        refused,
    })
}

/// The last runs, and a form for another one.
pub(crate) async fn show(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    let page = page_of(&console, &here, Default::default(), &[], None, Refused::default()).await?;
    Ok(render(&page)?.into_response())
}

/// Counts, begins or cancels, as the button says; a row of the log brings its id.
pub(crate) async fn act(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let (actor, id) = (&here.session.actor, here.id.as_str());
    let mut body = fields.body(&["from", "to", "outcome"]);
    for at in ["from", "to"] {
        // The browser gives the time as it was filled in, without a zone; the form says UTC.
        if let Some(value) = body.get_mut(at)
            && let Some(text) = value.as_str()
        {
            let seconds = if text.matches(':').count() == 1 { ":00" } else { "" };
            *value = format!("{text}{seconds}Z").into();
        }
    }
    let ticked: Vec<String> = fields.all("product_ids").map(str::to_owned).collect();
    if !ticked.is_empty() {
        body.insert("product_ids".to_owned(), ticked.clone().into());
    }
    let dry = fields.text("do") == "count";
    body.insert("dry_run".to_owned(), dry.into());
    let done = if fields.has("log") {
        console.redeliver_one(actor, here.key(), id, fields.text("log")).await.map(|_| None)
    } else if fields.has("cancel") {
        console.cancel_redelivery(actor, here.key(), id, fields.text("cancel")).await.map(|_| None)
    } else {
        console.redeliver(actor, here.key(), id, &body).await.map(Some)
    };
    let filled = ["from", "to", "outcome"].map(|name| fields.text(name).to_owned());
    match done {
        Ok(Some(counted)) if counted.run.is_none() => {
            let page = page_of(&console, &here, filled, &ticked, Some(&counted), Refused::default()).await?;
            Ok(render(&page)?.into_response())
        }
        Ok(_) => Ok(Redirect::to(&format!("{}/integrations/{id}/redelivery", here.base())).into_response()),
        Err(error) => {
            let refused = Refused::new(error, fields)?;
            let page = page_of(&console, &here, filled, &ticked, None, refused).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}
