//! Products of a sandbox or an organization: the list, creating and deleting.

use askama::Template;
use axum::{
    Router,
    extract::{Query, RawPathParams, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use tributary_control::{
    Error,
    place::{Place, PlaceKey},
    products::NewProduct,
};
use tributary_domain::{access::Action, account::Product};

use crate::{
    Console,
    error::PageError,
    form::{Fields, Refused, Signed},
    here::{Here, ORG, PRODUCT, SANDBOX},
    page::{Done, Page, may, render},
};

pub(crate) fn routes() -> Router<Console> {
    let mut router = Router::new();
    for place in [SANDBOX, ORG] {
        router = router.route(&format!("{place}/products"), get(show).post(create));
    }
    router.route(PRODUCT, get(first_page)).route(&format!("{PRODUCT}/delete"), get(confirm).post(delete))
}

#[derive(Template)]
#[template(path = "products/list.html")]
struct ListPage {
    page: Page,
    products: Vec<Product>,
    create_refusal: String,
    is_owner: bool,
    refused: Refused,
}

async fn page_of(console: &Console, here: &Here, refused: Refused) -> Result<ListPage, PageError> {
    let actor = &here.session.actor;
    let products = match here.key() {
        PlaceKey::Org(org) => console.list_org_products(actor, org).await?,
        _ => console.list_sandbox_products(actor).await?,
    };
    let create_refusal =
        may(console, &here.session, here.key(), Action::CreateProduct).await?.err().unwrap_or_default();
    let is_owner = may(console, &here.session, here.key(), Action::RemoveProduct).await?.is_ok();
    let page = here.page.clone().titled("Products", "Products");
    Ok(ListPage { page, products, create_refusal, is_owner, refused })
}

async fn show(
    State(console): State<Console>,
    here: Here,
    Query(done): Query<Done>,
) -> Result<Response, PageError> {
    let mut page = page_of(&console, &here, Refused::default()).await?;
    page.page.notice = done.says(&[
        ("created", "The product is created. Add its devices next."),
        ("deleted", "The product is deleted."),
    ]);
    Ok(render(&page)?.into_response())
}

async fn create(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let actor = &here.session.actor;
    let created = async {
        let new = NewProduct::read(fields.body(&["name", "description", "platform_id"]))?;
        match here.key() {
            PlaceKey::Org(org) => console.create_org_product(actor, org, new).await,
            _ => console.create_sandbox_product(actor, new).await,
        }
    };
    match created.await {
        Ok(_) => Ok(Redirect::to(&format!("{}/products?done=created", here.base())).into_response()),
        Err(error) => {
            let page = page_of(&console, &here, Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}

/// The first page of a product.
async fn first_page(here: Here) -> Redirect {
    Redirect::to(&format!("{}/integrations", here.base()))
}

#[derive(Template)]
#[template(path = "products/delete.html")]
struct Confirm {
    page: Page,
    product: Product,
    integrations: Vec<(String, bool)>,
    refusal: String,
    wrong: String,
}

async fn confirmation(console: &Console, here: &Here, wrong: &str) -> Result<Confirm, PageError> {
    let Place::Product(product) = &here.place else { return Err(Error::not_found("page").into()) };
    let all = console.list_integrations(&here.session.actor, here.key()).await?;
    let integrations = all
        .iter()
        .map(|view| (view.integration.text("name").to_owned(), view.integration.is_shared()))
        .collect();
    let refusal =
        may(console, &here.session, here.key(), Action::RemoveProduct).await?.err().unwrap_or_default();
    Ok(Confirm {
        page: here.page.clone().titled("Products", format!("Delete {}", product.name)),
        product: product.clone(),
        integrations,
        refusal,
        wrong: wrong.to_owned(),
    })
}

async fn confirm(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    Ok(render(&confirmation(&console, &here, "").await?)?.into_response())
}

async fn delete(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let asked = confirmation(&console, &here, "This is not its name.").await?;
    if !asked.refusal.is_empty() {
        return Err(Error::Forbidden(asked.refusal).into());
    }
    if named(&fields) != asked.product.name {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&asked)?).into_response());
    }
    console.delete_product(&here.session.actor, &asked.product.slug).await?;
    Ok(Redirect::to(&format!("{}/products?done=deleted", here.page.base)).into_response())
}

fn named(fields: &Fields) -> &str {
    fields.text("name")
}
