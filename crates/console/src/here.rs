//! Where a page is: the same pages stand under the sandbox, under products, and under organizations.

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderMap, request::Parts},
};
use tributary_control::{
    Error,
    place::{Place, PlaceKey},
};
use tributary_domain::access::Action;

use crate::{
    Console,
    error::{PageError, sentence},
    form::is_part,
    page::{Page, may},
    session::Session,
};

/// The three beginnings of a path.
pub(crate) const SANDBOX: &str = "/sandbox";
/// As [`SANDBOX`].
pub(crate) const PRODUCT: &str = "/products/{product}";
/// As [`SANDBOX`].
pub(crate) const ORG: &str = "/orgs/{org}";
/// All of them.
pub(crate) const PLACES: [&str; 3] = [SANDBOX, PRODUCT, ORG];

#[derive(Clone, Debug)]
enum Named {
    Sandbox,
    Product(String),
    Org(String),
}

/// The place that an address names, who looks at it, and what surrounds the page.
pub(crate) struct Here {
    /// Who looks.
    pub(crate) session: Session,
    /// The place.
    pub(crate) place: Place,
    /// What surrounds the page.
    pub(crate) page: Page,
    /// The `{id}` or `{name}` in the path; empty when it has none.
    pub(crate) id: String,
    /// Whether a script asked for a part of the page.
    pub(crate) part: bool,
    named: Named,
}

impl FromRequestParts<Console> for Here {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Here, PageError> {
        let session = Session::from_request_parts(parts, console).await?;
        let params = RawPathParams::from_request_parts(parts, console)
            .await
            .map_err(|_| PageError::from(Error::not_found("page")))?;
        Here::new(console, session, &params, &parts.headers).await
    }
}

impl Here {
    /// The place of a path, for somebody who may look at it.
    pub(crate) async fn new(
        console: &Console,
        session: Session,
        params: &RawPathParams,
        headers: &HeaderMap,
    ) -> Result<Here, PageError> {
        let (mut named, mut id) = (Named::Sandbox, String::new());
        for (name, value) in params {
            match name {
                "org" => named = Named::Org(value.to_owned()),
                "product" => named = Named::Product(value.to_owned()),
                _ => id = value.to_owned(),
            }
        }
        let place = console.place(&session.actor, key_of(&named), Action::ListIntegrations).await?;
        let page = Page::new(console, &session, &place).await?;
        Ok(Here { session, place, page, id, part: is_part(headers), named })
    }

    /// The place as use-cases take it.
    pub(crate) fn key(&self) -> PlaceKey<'_> {
        key_of(&self.named)
    }

    /// Where the pages of this very place begin: of a product, the product's and not its organization's.
    pub(crate) fn base(&self) -> String {
        match &self.place {
            Place::Sandbox(_) => "/sandbox".to_owned(),
            Place::Product(product) => format!("/products/{}", product.slug),
            Place::Org(org) => format!("/orgs/{}", org.slug),
        }
    }

    /// The product, where the place is one.
    pub(crate) fn product(&self) -> Option<&tributary_domain::account::Product> {
        match &self.place {
            Place::Product(product) => Some(product),
            _ => None,
        }
    }

    /// Why the person may not do this here; empty when it may.
    pub(crate) async fn refusal(&self, console: &Console, action: Action) -> Result<String, PageError> {
        let refused = may(console, &self.session, self.key(), action).await?.err().unwrap_or_default();
        let writes = matches!(
            action,
            Action::CreateIntegration | Action::UpdateIntegration | Action::RemoveIntegration
        );
        match &self.place {
            Place::Org(org) if refused.is_empty() && writes && !org.plan.has_org_integrations() => {
                let plan = org.plan.as_str();
                let text = format!(
                    "this organization has the plan {plan}; basic and enterprise have organization integrations"
                );
                Ok(sentence(&text))
            }
            _ => Ok(refused),
        }
    }
}

fn key_of(named: &Named) -> PlaceKey<'_> {
    match named {
        Named::Sandbox => PlaceKey::Sandbox,
        Named::Product(product) => PlaceKey::Product(product),
        Named::Org(org) => PlaceKey::Org(org),
    }
}
