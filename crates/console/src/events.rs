//! The live stream of events, and publishing one.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use askama::Template;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, RawPathParams, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tributary_control::{
    place::PlaceKey,
    publish::NewEvent,
    streaming::{Heard, StreamOf},
};
use tributary_domain::{UserId, access::Action};

use crate::{
    Console,
    error::PageError,
    form::{Fields, Refused, Signed},
    here::{Here, PLACES},
    integrations::shown_id,
    page::{Done, Page, ProductTabs, may, render},
};

/// A byte at least this often, so that nothing between takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// Streams that are open at the pages of one person.
const OPEN_STREAMS: usize = 100;

/// Open streams by person.
#[derive(Clone, Default)]
pub(crate) struct OpenStreams(Arc<Mutex<HashMap<UserId, usize>>>);

/// One open stream, until it is dropped.
struct Opened {
    streams: OpenStreams,
    user: UserId,
}

impl OpenStreams {
    /// One more of this person; `None` where that is one too many.
    fn open(&self, user: UserId) -> Option<Opened> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(user).or_default();
        if *count >= OPEN_STREAMS {
            return None;
        }
        *count += 1;
        Some(Opened { streams: self.clone(), user })
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

pub(crate) fn routes() -> Router<Console> {
    let mut router = Router::new();
    for place in PLACES {
        router = router
            .route(&format!("{place}/events"), get(show).post(publish))
            .route(&format!("{place}/events/stream"), get(listen));
    }
    router
}

#[derive(Template)]
#[template(path = "events/live.html")]
struct LivePage {
    page: Page,
    tabs: Option<ProductTabs>,
    base: String,
    /// In an organization: the products to publish in; slug and name.
    products: Vec<(String, String)>,
    /// Names by id, as JSON: of products, and of integrations with their addresses.
    product_names: String,
    integration_names: String,
    /// The filters, as the address has them.
    wanted: Wanted,
    publish_refusal: String,
    refused: Refused,
}

async fn page_of(console: &Console, here: &Here, refused: Refused) -> Result<LivePage, PageError> {
    let products = match here.key() {
        PlaceKey::Org(org) => console.list_org_products(&here.session.actor, org).await?,
        _ => Vec::new(),
    };
    let seen = console.list_integrations(&here.session.actor, here.key()).await?;
    let named = |view: &tributary_control::integrations::View| {
        let integration = &view.integration;
        (integration.id.to_string(), json!([shown_id(view), integration.text("name")]))
    };
    let integrations: serde_json::Map<String, Value> = seen.iter().map(named).collect();
    let of_product = here.product().map(|product| (product.id.to_string(), product.name.clone()));
    let names =
        products.iter().map(|product| (product.id.to_string(), product.name.clone())).chain(of_product);
    let names: serde_json::Map<String, Value> = names.map(|(id, name)| (id, name.into())).collect();
    let refusal = may(console, &here.session, here.key(), Action::SendEvents).await?.err();
    Ok(LivePage {
        tabs: ProductTabs::of(&here.place, "Events"),
        page: match here.product() {
            Some(product) => here.page.clone().titled("Products", format!("Events of {}", product.name)),
            None => here.page.clone().titled("Events", "Events"),
        },
        base: format!("{}/events", here.base()),
        product_names: Value::Object(names).to_string(),
        integration_names: Value::Object(integrations).to_string(),
        wanted: Wanted::default(),
        products: products.into_iter().map(|product| (product.slug, product.name)).collect(),
        publish_refusal: refusal.unwrap_or_default(),
        refused,
    })
}

async fn show(
    State(console): State<Console>,
    here: Here,
    Query(done): Query<Done>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, PageError> {
    let mut page = page_of(&console, &here, Refused::default()).await?;
    page.wanted = wanted;
    page.page.notice = done.says(&[("published", "The event is accepted.")]);
    Ok(render(&page)?.into_response())
}

async fn publish(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let actor = &here.session.actor;
    let published = async {
        let new = NewEvent::read(body_of(&fields))?;
        match here.key() {
            PlaceKey::Sandbox => console.publish_sandbox(actor, new).await,
            PlaceKey::Product(product) => console.publish_product(actor, product, new).await,
            PlaceKey::Org(org) => match fields.text("product") {
                "" => console.publish_org(actor, org, new).await,
                product => console.publish_product(actor, product, new).await,
            },
        }
    };
    match published.await {
        // The page goes on listening where a script sent the form.
        Ok(()) if here.part => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(()) => Ok(Redirect::to(&format!("{}/events?done=published", here.base())).into_response()),
        Err(error) => {
            let page = page_of(&console, &here, Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}

fn body_of(fields: &Fields) -> serde_json::Map<String, Value> {
    fields.body(&["name", "data"])
}

/// What the page shows of all events.
#[derive(Default, serde::Deserialize)]
struct Wanted {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    device: String,
}

/// The stream itself. The cookie says who listens, so it is no part of the API.
async fn listen(
    State(console): State<Console>,
    here: Here,
    Query(Wanted { prefix, .. }): Query<Wanted>,
) -> Result<Response, PageError> {
    let of = match here.key() {
        PlaceKey::Sandbox => StreamOf::Own,
        PlaceKey::Product(product) => StreamOf::Product(product.to_owned()),
        PlaceKey::Org(org) => StreamOf::Org(org.to_owned()),
    };
    let Some(place) = console.streams().open(here.session.actor.user) else {
        return Ok(StatusCode::TOO_MANY_REQUESTS.into_response());
    };
    let listening = console.listen_traced(&here.session.token, of, prefix).await?;
    let head = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b":ok\n\n"))]);
    let events = stream::unfold((listening, place), |(mut listening, place)| async move {
        let bytes = match listening.next(KEEP_ALIVE).await? {
            Heard::Event(bytes) => bytes,
            Heard::Nothing => Bytes::from_static(b"\n"),
        };
        Some((Ok(bytes), (listening, place)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
    ];
    Ok((headers, Body::from_stream(head.chain(events))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_so_many_streams_and_takes_none_from_others() {
        let (streams, [ada, bob]) = (OpenStreams::default(), [1, 2].map(|n| UserId([n; 12])));
        let mut open: Vec<_> = (0..OPEN_STREAMS).filter_map(|_| streams.open(ada)).collect();
        assert_eq!(open.len(), OPEN_STREAMS);
        assert!(streams.open(ada).is_none());
        assert!(streams.open(bob).is_some());
        open.pop();
        assert!(streams.open(ada).is_some());
    }
}
