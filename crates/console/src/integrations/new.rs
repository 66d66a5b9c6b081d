//! The gallery, and from one of its cards to the editor.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    extract::{Query, RawPathParams, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use tributary_control::Error;
use tributary_domain::access::Action;

use super::edit::{Wrong, new_with};
use crate::{
    Console,
    error::{PageError, sentence},
    form::{Fields, Signed},
    gallery::{self, Card},
    here::Here,
    page::{Page, render},
};

#[derive(Template)]
#[template(path = "integrations/gallery.html")]
struct GalleryPage {
    page: Page,
    base: String,
    cards: Vec<&'static Card>,
    categories: Vec<&'static str>,
    category: String,
    search: String,
    refusal: String,
}

#[derive(Template)]
#[template(path = "integrations/card.html")]
struct CardPage {
    page: Page,
    base: String,
    card: &'static Card,
    values: Fields,
    wrong: Wrong,
}

#[derive(serde::Deserialize)]
pub(crate) struct Narrowed {
    #[serde(default)]
    search: String,
    #[serde(default)]
    category: String,
}

/// All cards, or those that fit.
pub(crate) async fn gallery(
    State(console): State<Console>,
    here: Here,
    Query(Narrowed { search, category }): Query<Narrowed>,
) -> Result<Response, PageError> {
    let fits = |card: &&Card| card.fits(&search) && (category.is_empty() || card.category == category);
    let part = if here.product().is_some() { "Products" } else { "Integrations" };
    let page = GalleryPage {
        base: format!("{}/integrations", here.base()),
        cards: gallery::cards().iter().filter(fits).collect(),
        categories: gallery::categories(),
        refusal: here.refusal(&console, Action::CreateIntegration).await?,
        page: here.page.titled(part, "New integration"),
        category,
        search,
    };
    Ok(render(&page)?.into_response())
}

fn card_of(here: &Here) -> Result<&'static Card, PageError> {
    gallery::card(&here.id).ok_or_else(|| Error::not_found(format!("card {}", here.id)).into())
}

fn card_page(here: &Here, card: &'static Card, values: Fields, wrong: Wrong) -> CardPage {
    let part = if here.product().is_some() { "Products" } else { "Integrations" };
    let base = format!("{}/integrations", here.base());
    CardPage { page: here.page.clone().titled(part, card.name.as_str()), base, card, values, wrong }
}

/// What a card wants to know; without questions, the editor.
pub(crate) async fn card(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    let card = card_of(&here)?;
    if card.fields.is_empty() {
        let config = card.fill(&BTreeMap::new()).unwrap_or_default();
        return new_with(&console, &here, config).await;
    }
    Ok(render(&card_page(&here, card, Fields::default(), Wrong::default()))?.into_response())
}

/// The editor, filled in with a card and the answers to its questions.
pub(crate) async fn fill(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let card = card_of(&here)?;
    let values: BTreeMap<String, String> = fields.0.iter().cloned().collect();
    match card.fill(&values) {
        Ok(config) => new_with(&console, &here, config).await,
        Err(errors) => {
            let wrong = errors.into_iter().map(|error| (error.field, sentence(&error.message))).collect();
            let page = card_page(&here, card, fields, Wrong(wrong));
            Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&page)?).into_response())
        }
    }
}
