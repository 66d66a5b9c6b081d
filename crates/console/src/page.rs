//! What surrounds every page: who looks, the switcher, the sidebar, and the headers of the answer.

use askama::Template;
use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::{Html, Response},
};
use tributary_control::{Error, place::Place};
use tributary_domain::{Owner, Timestamp, access::Action, account::Product};

use crate::{Console, assets, error::PageError, session::Session};

/// What a browser may load for a page: its own things only, and no script or style in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A place that the switcher offers.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Its name.
    pub(crate) name: String,
    /// Where its pages begin, e.g. `/orgs/acme`.
    pub(crate) base: String,
    /// Whether the page is in it.
    pub(crate) current: bool,
}

/// What the layout shows.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The title.
    pub(crate) title: String,
    /// The part of the sidebar that the page belongs to, e.g. `Integrations`.
    pub(crate) part: &'static str,
    /// Who looks.
    pub(crate) user: String,
    /// For forms.
    pub(crate) csrf: String,
    /// The switcher, sandbox first.
    pub(crate) choices: Vec<Choice>,
    /// Where the sidebar's pages begin: `/sandbox`, `/orgs/acme`, or `/products/pump` of a product whose organization
    /// the person is not in.
    pub(crate) base: String,
    /// What the sidebar is about: an organization's name, `Sandbox`, a product's name.
    pub(crate) place: String,
    /// Whether the sidebar is about an organization.
    pub(crate) is_org: bool,
    /// Whether the sidebar is about a product alone.
    pub(crate) is_product: bool,
    /// Now.
    pub(crate) now: Timestamp,
    /// What just happened, said once on top of the page.
    pub(crate) notice: String,
}

impl Page {
    /// The surroundings of a page in a place.
    pub(crate) async fn new(console: &Console, session: &Session, place: &Place) -> Result<Page, PageError> {
        let orgs = console.list_orgs(&session.actor).await?;
        let in_org = match place.owner() {
            Owner::Org(id) => orgs.iter().find(|org| org.id == id),
            Owner::User(_) => None,
        };
        let own = |product: &Product| product.owner == Owner::User(session.actor.user);
        let (base, name) = match (place, in_org) {
            (_, Some(org)) => (format!("/orgs/{}", org.slug), org.name.clone()),
            (Place::Product(product), None) if !own(product) => {
                (format!("/products/{}", product.slug), product.name.clone())
            }
            _ => ("/sandbox".to_owned(), "Sandbox".to_owned()),
        };
        let sandbox = ("Sandbox".to_owned(), "/sandbox".to_owned());
        let orgs = orgs.into_iter().map(|org| (org.name, format!("/orgs/{}", org.slug)));
        let choice =
            |(name, choice): (String, String)| Choice { name, current: choice == base, base: choice };
        Ok(Page {
            title: String::new(),
            part: "",
            user: session.actor.username.clone(),
            csrf: session.csrf.clone(),
            choices: [sandbox].into_iter().chain(orgs).map(choice).collect(),
            is_org: base.starts_with("/orgs/"),
            is_product: base.starts_with("/products/"),
            base,
            place: name,
            now: console.now(),
            notice: String::new(),
        })
    }

    /// The same with a title, in a part of the sidebar.
    pub(crate) fn titled(mut self, part: &'static str, title: impl Into<String>) -> Page {
        self.part = part;
        self.title = title.into();
        self
    }

    /// The parts of the sidebar with their addresses.
    pub(crate) fn parts(&self) -> Vec<(&'static str, String)> {
        const ALL: [(&str, &str); 9] = [
            ("Integrations", "integrations"),
            ("Products", "products"),
            ("Devices", "devices"),
            ("Events", "events"),
            ("Failed", "failed"),
            ("Team", "team"),
            ("Secrets", "secrets"),
            ("Audit", "audit"),
            ("Settings", "settings"),
        ];
        let shown = |part: &&(&'static str, &str)| match part.0 {
            "Products" => !self.is_product,
            "Team" => self.is_org || self.is_product,
            "Secrets" | "Audit" | "Settings" => !self.is_product,
            _ => true,
        };
        ALL.iter().filter(shown).map(|(name, path)| (*name, format!("{}/{path}", self.base))).collect()
    }

    /// What follows the address of an asset.
    pub(crate) fn version(&self) -> u32 {
        assets::VERSION
    }
}

/// The parts of one product.
#[derive(Clone, Debug)]
pub(crate) struct ProductTabs {
    pub(crate) slug: String,
    pub(crate) name: String,
    /// The part that is shown, e.g. `Devices`.
    pub(crate) now: &'static str,
}

impl ProductTabs {
    /// Of the product of a place, if it is one.
    pub(crate) fn of(place: &Place, now: &'static str) -> Option<ProductTabs> {
        let Place::Product(product) = place else { return None };
        Some(ProductTabs { slug: product.slug.clone(), name: product.name.clone(), now })
    }

    /// Name, address, and whether it is shown.
    pub(crate) fn all(&self) -> Vec<(&'static str, String, bool)> {
        [
            ("Integrations", "integrations"),
            ("Devices", "devices"),
            ("Events", "events"),
            ("Failed", "failed"),
            ("Team", "team"),
        ]
        .map(|(name, path)| (name, format!("/products/{}/{path}", self.slug), name == self.now))
        .into()
    }
}

/// What was done just before, as the address of the page says it.
#[derive(Clone, Debug, Default, serde::Deserialize)]
pub(crate) struct Done {
    #[serde(default)]
    pub(crate) done: String,
}

impl Done {
    /// The text for it; empty for a word that is not among these.
    pub(crate) fn says(&self, texts: &[(&str, &str)]) -> String {
        texts
            .iter()
            .find(|(word, _)| *word == self.done)
            .map_or(String::new(), |(_, text)| (*text).to_owned())
    }
}

/// Renders a page.
pub(crate) fn render(page: &impl Template) -> Result<Html<String>, PageError> {
    Ok(Html(page.render()?))
}

/// Whether the person may do this in the place; else why not, as a sentence.
pub(crate) async fn may(
    console: &Console,
    session: &Session,
    key: tributary_control::place::PlaceKey<'_>,
    action: Action,
) -> Result<Result<(), String>, PageError> {
    match console.place(&session.actor, key, action).await {
        Ok(_) => Ok(Ok(())),
        Err(Error::Forbidden(why) | Error::PlanRequired(why)) => Ok(Err(crate::error::sentence(&why))),
        Err(error) => Err(error.into()),
    }
}

/// The layer that gives every page its headers.
pub(crate) async fn headers(request: Request, next: Next) -> Response {
    with_headers(next.run(request).await)
}

/// An answer with the headers of every page.
pub(crate) fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // The same address answers a script with a part.
    headers.append(header::VARY, HeaderValue::from_static("HX-Request"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
