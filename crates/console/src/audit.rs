//! Who changed what in an organization.

use std::collections::HashMap;

use askama::Template;
use axum::{
    Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use tributary_control::{
    audit::{AuditRow, subject_kind, subject_name},
    newest::Newest,
};

use crate::{
    Console,
    error::PageError,
    format::Moment,
    here::{Here, ORG, SANDBOX},
    page::{Page, render},
};

pub(crate) fn routes() -> Router<Console> {
    [SANDBOX, ORG]
        .iter()
        .fold(Router::new(), |router, place| router.route(&format!("{place}/audit"), get(show)))
}

struct Row {
    at: Moment,
    who: String,
    action: String,
    kind: String,
    subject: String,
    /// Where the subject is looked at; empty when it has no page.
    address: String,
    before: String,
    after: String,
}

#[derive(Template)]
#[template(path = "audit/list.html")]
struct AuditPage {
    page: Page,
    base: String,
    rows: Vec<Row>,
    next: Option<i64>,
}

#[derive(serde::Deserialize)]
struct Asked {
    before: Option<String>,
}

fn row_of(row: &AuditRow, page: &Page, names: &HashMap<String, String>) -> Row {
    let text = |side: &Option<serde_json::Value>| {
        side.as_ref().and_then(|side| serde_json::to_string_pretty(side).ok()).unwrap_or_default()
    };
    Row {
        at: Moment::new(row.at, page.now),
        who: row.actor_name.clone().unwrap_or_else(|| "somebody who is gone".to_owned()),
        action: row.action.split('.').next_back().unwrap_or_default().replace('_', " "),
        kind: subject_kind(row).to_owned(),
        subject: match names.get(&row.subject) {
            // A row that names nothing itself, as one of a redelivery.
            Some(name) if subject_name(row) == row.subject => name.clone(),
            _ => subject_name(row).to_owned(),
        },
        address: match (subject_kind(row), names.contains_key(&row.subject)) {
            ("integration", true) => format!("{}/integrations/{}", page.base, row.subject),
            _ => String::new(),
        },
        before: text(&row.before),
        after: text(&row.after),
    }
}

async fn show(
    State(console): State<Console>,
    here: Here,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let page = Newest { before: asked.before, limit: None };
    let found = console.audit(&here.session.actor, here.key(), &page).await?;
    let page = here.page.clone().titled("Audit", "Audit");
    let known = console.list_integrations(&here.session.actor, here.key()).await?;
    let names =
        known.iter().map(|view| (view.integration.id.to_string(), view.integration.text("name").to_owned()));
    let names = names.collect();
    let rows = found.rows.iter().map(|row| row_of(row, &page, &names)).collect();
    let base = format!("{}/audit", here.base());
    Ok(render(&AuditPage { page, base, rows, next: found.next })?.into_response())
}
