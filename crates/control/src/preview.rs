//! Previews: what an integration would send for sample events, or for those that came lately, before it is saved.
//!
//! It is rendered by the code that deliveries use. Nothing is sent, counted or stored.

mod request;
mod warnings;

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
};

use serde_json::{Map, Value};
use tributary_domain::{
    Event, EventId, ProductId,
    access::{Action, Actor},
    integration::{Integration, Member},
    limits, parameters,
};
use tributary_pipeline::{
    Route, RouteKey,
    preview::{Mask, Recent, Rendered},
};
use tributary_targets::{AddressPolicy, Used};

pub use self::warnings::Warning;
use self::{
    request::{Request, Sample, Source},
    warnings::Warnings,
};
use crate::{
    Control, Error,
    drafting::Checked,
    place::{Found, Place, PlaceKey},
};

/// Most requests that one preview renders, over all products.
pub const RENDERED_EVENTS: usize = 500;
/// Bytes of bodies and urls after which no further request is shown, over all products.
pub const SHOWN_BYTES: usize = 8 << 20;

/// Steps of template work after which no further request is rendered, over all products.
pub const STEPS: usize = 4 * limits::RENDER_STEPS;

/// What an integration would do.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// For each product on which it would execute; one without a product in a sandbox.
    pub products: Vec<ProductPreview>,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
}

/// What it would do on one product.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductPreview {
    /// The product; `None` in a sandbox.
    pub product: Option<ProductId>,
    /// Its slug and name; empty in a sandbox.
    pub named: (String, String),
    /// How many events were looked at.
    pub looked_at: usize,
    /// How many of them it would be sent for.
    pub matched: usize,
    /// How many of those are not shown because there are too many in all.
    pub left_out: usize,
    /// The others, and those that the present version alone sends, in the order in which they came.
    pub events: Vec<EventPreview>,
}

/// What it would do for one event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPreview {
    /// The event.
    pub event: Event,
    /// What would be sent; `None` when only the present version sends something.
    pub sent: Option<Sent>,
    /// With an existing integration: what its present version sends, if it does.
    pub before: Option<Option<Sent>>,
    /// With an existing integration: what differs.
    pub changed: Vec<String>,
}

/// A masked request, or why there is none.
pub type Sent = Result<Value, String>;

/// One version of an integration on the products that are previewed.
struct Version {
    prefix: String,
    routes: HashMap<Option<ProductId>, Route>,
    /// Whether it can run at all.
    runs: bool,
}

impl Version {
    fn of(integration: &Integration, routes: Vec<(RouteKey, Route)>) -> Version {
        let prefix = integration.text("event").to_owned();
        let runs = !routes.is_empty();
        let routes = routes.into_iter().map(|(_, route)| (route.counted.product, route)).collect();
        Version { prefix, routes, runs }
    }

    /// What it sends for an event in a product; `None` when it does not fire.
    fn render(
        &self,
        product: Option<ProductId>,
        event: &Event,
        used: &RefCell<Used>,
        steps: &mut usize,
    ) -> Option<Result<Rendered, String>> {
        let route = self.routes.get(&product)?;
        route.fires(&self.prefix, event).then(|| route.preview(event, used, steps))
    }
}

/// What is left of the bounds of one preview.
struct Room {
    events: usize,
    bytes: usize,
    steps: usize,
}

impl Control {
    /// Shows what an integration of this body would send; see [`Preview`].
    ///
    /// # Errors
    /// As creating or replacing it would have, except that a shared integration may be previewed in one product.
    pub async fn preview_integration(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        body: Map<String, Value>,
    ) -> Result<Preview, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        let mut request = Request::read(body)?;
        if matches!(request.source, Source::Last(_)) {
            // It shows events of the place.
            self.place(actor, key, Action::GetEvents).await?;
        }
        let old = match &request.id {
            Some(id) => Some(self.find_integration(&place, id).await?),
            None => None,
        };
        let only = request.take_products(old.is_some(), place.level());
        let stored = old.as_ref().map(|found| &found.integration);
        let separated = old.as_ref().and_then(|found| found.member.filter(|_| found.integration.is_shared()));
        let separated = separated.map(|member| member.id);
        let Checked { mut config, products, .. } =
            self.check_draft(&place, request.config, stored, separated).await?;
        let mut overrides = stored.map(|stored| stored.overrides.clone()).unwrap_or_default();
        if let Some(Found { integration: shared, member: Some(member) }) = &old
            && shared.is_shared()
        {
            // A shared one can only be separated from here.
            parameters::inherit(&mut config, &shared.config);
            parameters::fold(&mut config, shared, member.id);
            overrides.clear();
        }
        let mut new = self.new_integration(place.owner(), config, Vec::new());
        new.overrides = overrides;
        new.members = self.previewed_members(&place, products, old.as_ref());
        if let Some(only) = only {
            self.narrow(&place, &mut new, only).await?;
        }
        let now = Version::of(&new, self.routes.routes_of(&new).await?);
        let before = match stored {
            Some(stored) => Some(Version::of(stored, self.routes.routes_of(stored).await?)),
            None => None,
        };
        let keys: Vec<RouteKey> = match &place {
            Place::Sandbox(user) => vec![RouteKey::Sandbox(*user)],
            Place::Product(_) | Place::Org(_) => {
                new.members.iter().map(|member| RouteKey::Product(member.product)).collect()
            }
        };
        let turn = self.pipeline.preview_place(place.owner()).await;
        let events = self.events_to_preview(&new, &keys, request.source).await?;
        let names = match place {
            Place::Sandbox(_) => HashMap::new(),
            Place::Product(_) | Place::Org(_) => self.product_names(place.owner()).await?,
        };
        let addresses = self.settings.targets.addresses.clone();
        // Beside the threads that serve everybody: it is bounded, but by far more than one request should hold them.
        let preview = tokio::task::spawn_blocking(move || {
            // Held until it is done, also when the caller has gone.
            let _turn = turn;
            preview_of(&addresses, &new, &keys, &events, &now, before.as_ref())
        });
        // It neither panics nor is aborted, but for the end of the process.
        let mut preview = preview.await.map_err(|_| Error::Unavailable)?;
        for product in &mut preview.products {
            product.named = product.product.and_then(|id| names.get(&id).cloned()).unwrap_or_default();
        }
        Ok(preview)
    }

    /// The products on which it would execute: where it does already, with the same members.
    fn previewed_members(
        &self,
        place: &Place,
        products: Option<Vec<ProductId>>,
        old: Option<&Found>,
    ) -> Vec<Member> {
        let old_members = old.map_or(&[][..], |old| &old.integration.members);
        let products = match place {
            Place::Sandbox(_) => return Vec::new(),
            Place::Product(product) => vec![product.id],
            Place::Org(_) => match products {
                Some(products) => products,
                None => return old_members.to_vec(),
            },
        };
        let mut members = self.new_members(&products);
        for member in &mut members {
            if let Some(known) = old_members.iter().find(|known| known.product == member.product) {
                *member = *known;
            }
        }
        members
    }

    /// Leaves only these of the products on which it would execute.
    async fn narrow(&self, place: &Place, new: &mut Integration, only: Vec<Value>) -> Result<(), Error> {
        let mut errors = Vec::new();
        let only = self.check_products(place, Some(only), false, &mut errors).await?.unwrap_or_default();
        if !errors.is_empty() {
            return Err(Error::Invalid { code: "invalid_request", errors });
        }
        if let Some(other) = only.iter().find(|id| !new.members.iter().any(|m| m.product == **id)) {
            let message = format!("the integration would not execute on product {other}");
            return Err(Error::field("product_ids", message));
        }
        new.members.retain(|member| only.contains(&member.product));
        Ok(())
    }

    async fn events_to_preview(
        &self,
        new: &Integration,
        keys: &[RouteKey],
        source: Source,
    ) -> Result<Recent, Error> {
        let samples = match source {
            Source::Last(count) => {
                return self.pipeline.recent(keys, count).await.map_err(|error| {
                    tracing::error!(%error, "recent events cannot be read for a preview");
                    Error::Unavailable
                });
            }
            Source::Samples(samples) => samples,
        };
        let event = |key: &RouteKey, sample: &Sample| {
            let mut id = [0; 16];
            (self.sources.random)(&mut id);
            let (product, user) = match key {
                RouteKey::Product(product) => (Some(*product), None),
                RouteKey::Sandbox(user) => (None, Some(*user)),
            };
            let name = sample.name.as_deref().unwrap_or_else(|| new.text("event"));
            Event {
                id: EventId(id),
                product,
                user,
                coreid: sample.device.as_str().into(),
                name: name.into(),
                data: sample.data.as_deref().map(Into::into),
                ttl: tributary_domain::event::DEFAULT_TTL_SECONDS,
                published_at: sample.published_at.unwrap_or_else(|| self.now()),
                version: None,
            }
        };
        let of = |key: &RouteKey| (*key, samples.iter().map(|sample| event(key, sample)).collect());
        Ok(keys.iter().map(of).collect())
    }
}

/// Renders the events with both versions and compares what would be sent.
fn preview_of(
    addresses: &AddressPolicy,
    new: &Integration,
    keys: &[RouteKey],
    events: &Recent,
    now: &Version,
    before: Option<&Version>,
) -> Preview {
    let routes = now.routes.values().chain(before.into_iter().flat_map(|before| before.routes.values()));
    let sensitive: BTreeSet<&String> = routes.flat_map(|route| &route.compiled.sensitive).collect();
    let mask = Mask::new(&sensitive.into_iter().cloned().collect::<Vec<_>>());
    let mut warnings = Warnings::new(new, addresses);
    let mut room = Room { events: RENDERED_EVENTS, bytes: SHOWN_BYTES, steps: STEPS };
    let mut products = Vec::with_capacity(keys.len());
    for key in keys {
        let product = match key {
            RouteKey::Product(product) => Some(*product),
            RouteKey::Sandbox(_) => None,
        };
        let events = events.get(key).map_or(&[][..], Vec::as_slice);
        let mut shown = ProductPreview {
            product,
            named: Default::default(),
            looked_at: events.len(),
            matched: 0,
            left_out: 0,
            events: Vec::new(),
        };
        warnings.begin(product);
        for event in events {
            preview_event(event, (now, before), &mask, &mut room, &mut shown, &mut warnings);
        }
        warnings.end(&shown);
        products.push(shown);
    }
    Preview { products, warnings: warnings.finish(&mask) }
}

fn preview_event(
    event: &Event,
    (now, before): (&Version, Option<&Version>),
    mask: &Mask,
    room: &mut Room,
    shown: &mut ProductPreview,
    warnings: &mut Warnings<'_>,
) {
    let fires = now.routes.get(&shown.product).is_some_and(|route| route.fires(&now.prefix, event));
    shown.matched += usize::from(fires);
    if room.events == 0 || room.bytes == 0 || room.steps == 0 {
        shown.left_out += usize::from(fires);
        return;
    }
    let sent = now.render(shown.product, event, warnings.used(), &mut room.steps);
    let previous = before.map(|before| before.previous(shown.product, event, &mut room.steps));
    if sent.is_none() && previous.as_ref().is_none_or(Option::is_none) {
        return;
    }
    if let Some(sent) = &sent {
        warnings.look_at(sent);
    }
    room.events -= 1;
    let all = [Some(&sent), previous.as_ref()].into_iter().flatten().flatten().flatten();
    let bytes: usize = all.map(|rendered| rendered.message.body.len() + rendered.message.url.len()).sum();
    room.bytes = room.bytes.saturating_sub(bytes);
    let changed = previous.as_ref().map(|previous| changed(previous.as_ref(), sent.as_ref()));
    let masked = |sent: Result<Rendered, String>| {
        sent.map(|rendered| mask.request(&rendered)).map_err(|error| mask.text(&error))
    };
    shown.events.push(EventPreview {
        event: event.clone(),
        sent: sent.map(masked),
        before: previous.map(|previous| previous.map(masked)),
        changed: changed.unwrap_or_default(),
    });
}

impl Version {
    /// As [`Version::render`], of the version that is stored: it may be one that no longer runs.
    fn previous(
        &self,
        product: Option<ProductId>,
        event: &Event,
        steps: &mut usize,
    ) -> Option<Result<Rendered, String>> {
        if !self.runs {
            return Some(Err("the stored configuration is no longer accepted".to_owned()));
        }
        self.render(product, event, &RefCell::default(), steps)
    }
}

/// What differs between two requests; `sent` when only one of them is made.
fn changed(before: Option<&Result<Rendered, String>>, now: Option<&Result<Rendered, String>>) -> Vec<String> {
    let (before, now) = match (before, now) {
        (None, None) => return Vec::new(),
        (Some(Err(before)), Some(Err(now))) if before == now => return Vec::new(),
        (Some(Err(_)), Some(Err(_))) => return vec!["error".to_owned()],
        (Some(Ok(before)), Some(Ok(now))) => (&before.message, &now.message),
        _ => return vec!["sent".to_owned()],
    };
    let mut changed = Vec::new();
    let mut note = |field: &str, differs: bool| {
        if differs {
            changed.push(field.to_owned());
        }
    };
    note("method", before.method != now.method);
    note("url", before.url != now.url);
    let names = before.headers.iter().chain(&now.headers).map(|(name, _)| name.to_ascii_lowercase());
    for name in names.collect::<BTreeSet<_>>() {
        let values = |headers: &[(String, String)]| {
            let same = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(&name));
            same.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        note(&format!("headers.{name}"), values(&before.headers) != values(&now.headers));
    }
    note("body", before.body != now.body);
    changed
}
