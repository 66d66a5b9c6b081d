//! The versions of an integration: who changed what, and going back to one.

use askama::Template;
use axum::{
    extract::{Query, RawPathParams, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use serde_json::Value;
use tributary_control::{newest::Newest, versions::VersionRow};
use tributary_domain::{access::Action, changes::Change};

use super::shown;
use crate::{
    Console,
    error::PageError,
    form::{Refused, Signed},
    format::Moment,
    here::Here,
    page::{Page, render},
};

struct Row {
    version: i64,
    at: Moment,
    who: String,
    action: String,
    /// Field, before, after.
    changes: Vec<(String, String, String)>,
}

#[derive(Template)]
#[template(path = "integrations/versions.html")]
struct VersionsPage {
    page: Page,
    address: String,
    name: String,
    rows: Vec<Row>,
    next: Option<i64>,
    /// The present one.
    last: i64,
    refusal: String,
    refused: Refused,
}

#[derive(Default, serde::Deserialize)]
pub(crate) struct Asked {
    before: Option<String>,
}

fn row_of(row: &VersionRow, page: &Page) -> Row {
    let who = row.by.as_ref().and_then(|who| who.username.clone());
    let restored = row.note.get("restored_from").map(|from| format!("restored version {from}"));
    Row {
        version: row.version,
        at: Moment::new(row.at, page.now),
        who: who.unwrap_or_else(|| "somebody".to_owned()),
        action: restored.unwrap_or_else(|| match row.action.as_str() {
            "create" => "created it".to_owned(),
            "update" => "changed it".to_owned(),
            "separate" => "separated it".to_owned(),
            "merge" => "merged others into it".to_owned(),
            other => other.to_owned(),
        }),
        changes: shown_changes(&row.changes),
    }
}

fn shown_changes(changes: &[Change]) -> Vec<(String, String, String)> {
    let text = |value: &Value| if value.is_null() { String::new() } else { shown::text_of(value) };
    let shown = |change: &Change| (change.field.clone(), text(&change.before), text(&change.after));
    changes.iter().map(shown).collect()
}

async fn page_of(
    console: &Console,
    here: &Here,
    asked: Asked,
    refused: Refused,
) -> Result<VersionsPage, PageError> {
    let actor = &here.session.actor;
    let view = console.get_integration(actor, here.key(), &here.id).await?;
    let newest = Newest { before: asked.before, limit: None };
    let found = console.list_versions(actor, here.key(), &here.id, &newest).await?;
    let name = shown::name(&view.integration);
    let part = if here.product().is_some() { "Products" } else { "Integrations" };
    let page = here.page.clone().titled(part, format!("Versions of {name}"));
    let shared_here = here.product().is_some() && view.integration.is_shared();
    let refusal = match shared_here {
        true => "It is shared: go back to a version in the organization.".to_owned(),
        false => here.refusal(console, Action::UpdateIntegration).await?,
    };
    Ok(VersionsPage {
        address: format!("{}/integrations/{}", here.base(), here.id),
        rows: found.rows.iter().map(|row| row_of(row, &page)).collect(),
        last: view.version.unwrap_or_default(),
        next: found.next,
        page,
        name,
        refusal,
        refused,
    })
}

/// The list, newest first.
pub(crate) async fn show(
    State(console): State<Console>,
    here: Here,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    Ok(render(&page_of(&console, &here, asked, Refused::default()).await?)?.into_response())
}

#[derive(Template)]
#[template(path = "integrations/restore.html")]
struct RestorePage {
    page: Page,
    address: String,
    name: String,
    row: Row,
    /// The products that it reaches.
    products: Vec<String>,
    /// Product, and the parameters whose values are lost there.
    lost: Vec<(String, String)>,
    refusal: String,
}

#[derive(serde::Deserialize)]
pub(crate) struct Chosen {
    version: String,
}

/// Asks before going back, and says what changes where.
pub(crate) async fn confirm(
    State(console): State<Console>,
    here: Here,
    Query(Chosen { version }): Query<Chosen>,
) -> Result<Response, PageError> {
    let listed = page_of(&console, &here, Asked::default(), Refused::default()).await?;
    let actor = &here.session.actor;
    let view = console.get_integration(actor, here.key(), &here.id).await?;
    let compared = console.compare_version(actor, here.key(), &here.id, &version).await?;
    let products = super::view::products_of(&console, &here, &view).await?;
    let name_of =
        |id| products.iter().find(|on| on.id == id).map_or(format!("product {id}"), |on| on.name.clone());
    let page = RestorePage {
        row: Row { changes: shown_changes(&compared.changes), ..row_of(&compared.row, &listed.page) },
        lost: compared.lost.iter().map(|(product, names)| (name_of(*product), names.join(", "))).collect(),
        products: products.iter().map(|on| on.name.clone()).collect(),
        address: listed.address,
        name: listed.name,
        refusal: listed.refusal,
        page: listed.page,
    };
    Ok(render(&page)?.into_response())
}

/// Goes back to a version, which makes a new one.
pub(crate) async fn restore(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let version = fields.text("version").to_owned();
    match console.restore_version(&here.session.actor, here.key(), &here.id, &version).await {
        Ok(_) => {
            let to = format!("{}/integrations/{}?done=restored", here.base(), here.id);
            Ok(Redirect::to(&to).into_response())
        }
        Err(error) => {
            let refused = Refused::new(error, fields)?;
            let page = page_of(&console, &here, Asked::default(), refused).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}
