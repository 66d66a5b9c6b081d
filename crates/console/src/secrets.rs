//! Cloud secrets: names and uses, never values.

use askama::Template;
use axum::{
    Router,
    extract::{Query, RawPathParams, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde_json::{Map, Value, json};
use tributary_control::{Error, secrets::SecretView};
use tributary_domain::access::Action;

use crate::{
    Console,
    error::PageError,
    form::{Refused, Signed},
    format::Moment,
    here::{Here, ORG, SANDBOX},
    page::{Done, Page, may, render},
};

pub(crate) fn routes() -> Router<Console> {
    let mut router = Router::new();
    for place in [SANDBOX, ORG] {
        router = router
            .route(&format!("{place}/secrets"), get(show).post(create))
            .route(&format!("{place}/secrets/{{name}}"), post(change));
    }
    router
}

struct Row {
    name: String,
    /// Address and name of each integration that uses it.
    uses: Vec<(String, String)>,
    accessed: Option<Moment>,
    updated: Moment,
    updated_by: String,
}

impl Row {
    fn new(view: SecretView, here: &Here) -> Row {
        let address = |id: String| format!("{}/integrations/{id}", here.base());
        let one = |one: &tributary_control::secrets::SecretUse| {
            let name = one.integration.text("name").to_owned();
            match (&one.product_slug, here.page.is_org) {
                (Some(slug), false) => (format!("/products/{slug}/integrations"), name),
                _ => (address(one.integration.id.to_string()), name),
            }
        };
        Row {
            uses: view.uses.iter().map(one).collect(),
            accessed: view.row.last_accessed_at.map(|at| Moment::new(at, here.page.now)),
            updated: Moment::new(view.row.updated_at, here.page.now),
            updated_by: view.row.updated_by,
            name: view.row.name,
        }
    }
}

#[derive(Template)]
#[template(path = "secrets/list.html")]
struct SecretsPage {
    page: Page,
    base: String,
    rows: Vec<Row>,
    refusal: String,
    refused: Refused,
}

async fn page_of(console: &Console, here: &Here, refused: Refused) -> Result<SecretsPage, PageError> {
    let all = console.list_secrets(&here.session.actor, here.key()).await?;
    let refusal =
        may(console, &here.session, here.key(), Action::WriteSecrets).await?.err().unwrap_or_default();
    Ok(SecretsPage {
        page: here.page.clone().titled("Secrets", "Secrets"),
        base: format!("{}/secrets", here.base()),
        rows: all.into_iter().map(|view| Row::new(view, here)).collect(),
        refusal,
        refused,
    })
}

async fn show(
    State(console): State<Console>,
    here: Here,
    Query(done): Query<Done>,
) -> Result<Response, PageError> {
    let mut page = page_of(&console, &here, Refused::default()).await?;
    page.page.notice = done.says(&[
        ("created", "The secret is stored. Its value cannot be read again."),
        ("changed", "The secret has its new value, from the next event on."),
        ("deleted", "The secret is deleted."),
    ]);
    Ok(render(&page)?.into_response())
}

fn body_of(secret: Value) -> Map<String, Value> {
    Map::from_iter([("secret".to_owned(), secret)])
}

async fn create(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, mut fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let body = body_of(json!({"name": fields.text("name"), "value": fields.text("value")}));
    match console.create_secret(&here.session.actor, here.key(), body).await {
        Ok(_) => Ok(Redirect::to(&format!("{}/secrets?done=created", here.base())).into_response()),
        Err(error) => {
            // A value never comes back, not even in the form that it was typed into.
            fields.0.retain(|(name, _)| name != "value");
            let page = page_of(&console, &here, Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}

async fn change(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, mut fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let changed = async {
        let actor = &here.session.actor;
        if fields.text("go") == "delete" {
            console.delete_secret(actor, here.key(), &here.id).await?;
            return Ok("deleted");
        }
        let body = body_of(json!({"value": fields.text("value")}));
        console.put_secret(actor, here.key(), &here.id, body).await?;
        Ok::<_, Error>("changed")
    };
    match changed.await {
        Ok(done) => Ok(Redirect::to(&format!("{}/secrets?done={done}", here.base())).into_response()),
        Err(error) => {
            fields.0.retain(|(name, _)| name != "value");
            let page = page_of(&console, &here, Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}
