//! Identical integrations of an organization, compared and merged.

use askama::Template;
use axum::{
    extract::{RawPathParams, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value};
use tributary_control::{
    Error,
    place::{Place, PlaceKey},
};
use tributary_domain::access::Action;

use super::shown;
use crate::{
    Console,
    error::PageError,
    form::Signed,
    here::Here,
    page::{Page, render},
};

/// One of the identical ones.
struct One {
    id: String,
    name: String,
    products: Vec<String>,
    kept: bool,
}

#[derive(Template)]
#[template(path = "integrations/merge.html")]
struct MergePage {
    page: Page,
    address: String,
    list: String,
    name: String,
    group: Vec<One>,
    fields: Vec<(String, String)>,
    refusal: String,
}

/// Compares the group to which an integration belongs.
pub(crate) async fn show(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    let page = page_of(&console, &here).await?;
    Ok(render(&page)?.into_response())
}

async fn page_of(console: &Console, here: &Here) -> Result<MergePage, PageError> {
    let PlaceKey::Org(org) = here.key() else { return Err(Error::not_found("page").into()) };
    let groups = console.duplicates(&here.session.actor, org).await?;
    let of = |group: &&tributary_control::merging::Duplicates| {
        group.integrations.iter().any(|(one, _)| one.id.to_string() == here.id)
    };
    let Some(group) = groups.iter().find(of) else {
        return Err(Error::not_found(format!("an integration that is identical to {}", here.id)).into());
    };
    let one = |(one, products): &(tributary_domain::integration::Integration, Vec<_>)| One {
        id: one.id.to_string(),
        name: shown::name(one),
        kept: one.id.to_string() == here.id,
        products: products
            .iter()
            .map(|product: &tributary_control::integrations::MemberView| product.name.clone())
            .collect(),
    };
    let kept = group.integrations.iter().map(|(one, _)| one).find(|one| one.id.to_string() == here.id);
    let config = kept.map(|kept| kept.config.clone()).unwrap_or_default();
    let name = kept.map(shown::name).unwrap_or_default();
    Ok(MergePage {
        page: here.page.clone().titled("Integrations", format!("Merge into {name}")),
        address: format!("{}/integrations/{}", here.base(), here.id),
        list: format!("{}/integrations", here.base()),
        name,
        group: group.integrations.iter().map(one).collect(),
        fields: fields_of(&config),
        refusal: here.refusal(console, Action::UpdateIntegration).await?,
    })
}

fn fields_of(config: &Map<String, Value>) -> Vec<(String, String)> {
    let fields = config.iter().filter(|(name, _)| *name != "name");
    fields.map(|(name, value)| (name.clone(), shown::text_of(value))).collect()
}

/// Merges the others into this one.
pub(crate) async fn merge(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Redirect, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let Place::Org(org) = &here.place else { return Err(Error::not_found("page").into()) };
    let from: Vec<Value> = fields.all("from").map(Value::from).collect();
    let body = Map::from_iter([("from".to_owned(), Value::Array(from))]);
    console.merge_integrations(&here.session.actor, &org.slug, &here.id, &body).await?;
    Ok(Redirect::to(&format!("{}/integrations/{}?done=merged", here.base(), here.id)))
}
