//! Previews: what would be sent for events that came lately. Nothing is sent, counted or kept.

use std::{cell::RefCell, collections::HashMap};

use serde_json::Value;
use tributary_domain::{Event, Owner, limits};
use tributary_eventlog::LogError;
use tributary_targets::{Message, Used, net::added_headers};

use crate::{
    Pipeline, Route, RouteKey,
    delivery::{Delivery, RENDER_BYTES},
    mask::Masker,
    share::Part,
};

/// Previews that are made at once; further ones wait, so that neither their memory nor their work adds up.
pub(crate) const AT_ONCE: usize = 2;
/// Most events of the log that one preview goes through.
pub const SCAN_EVENTS: usize = 20_000;
/// Bytes of the log after which a preview looks no further.
pub const SCAN_BYTES: usize = 64 << 20;
/// Events of the log that are read at once.
const PAGE_EVENTS: usize = 1_000;
/// Bytes of the log that are read at once.
const PAGE_BYTES: usize = 2 << 20;

/// The newest events of some products and sandboxes, oldest first.
pub type Recent = HashMap<RouteKey, Vec<Event>>;

/// A request as a delivery would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What is sent.
    pub message: Message,
    /// Headers that HTTP itself adds to it.
    pub added: Vec<(&'static str, String)>,
}

impl Route {
    /// Renders an event as a delivery does, with at most `steps` of work, and notes which names that needed; takes the
    /// work from `steps`.
    ///
    /// # Errors
    /// The text of the final error outcome that the delivery would be.
    pub fn preview(
        &self,
        event: &Event,
        used: &RefCell<Used>,
        steps: &mut usize,
    ) -> Result<Rendered, String> {
        let given = limits::RENDER_STEPS.min(*steps);
        let variables = Delivery::variables(self, event).noting(used).within(given, RENDER_BYTES);
        let rendered = self.compiled.target.render(&variables);
        *steps -= given - variables.steps_left().min(given);
        let message = rendered?;
        let added = added_headers(&message)?;
        Ok(Rendered { message, added })
    }
}

/// Shows what previews found, with these values and all credentials masked.
pub struct Mask(Masker);

impl Mask {
    /// Masks these values in every spelling.
    pub fn new(sensitive: &[String]) -> Mask {
        Mask(Masker::new(sensitive))
    }

    /// The request as the log would show it, with the length of its body in bytes and what HTTP adds to it.
    pub fn request(&self, rendered: &Rendered) -> Value {
        let mut shown = self.0.request(&rendered.message);
        shown["body_bytes"] = rendered.message.body.len().into();
        let added = rendered
            .added
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(&*self.0.text(value))));
        shown["added_by_http"] = Value::Object(added.collect());
        shown
    }

    /// A text, such as that of an error.
    pub fn text(&self, text: &str) -> String {
        self.0.error(text)
    }
}

impl Pipeline {
    /// A place for one preview of an owner; the wait for one is short, since each is bounded and owners take turns.
    pub async fn preview_place(&self, owner: Owner) -> Part {
        self.0.previews.take(owner, 1).await
    }

    /// The newest `each` events of each key that the log still has, in its newest [`SCAN_EVENTS`] and [`SCAN_BYTES`].
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn recent(&self, keys: &[RouteKey], each: usize) -> Result<Recent, LogError> {
        let mut found: Recent = keys.iter().map(|key| (*key, Vec::new())).collect();
        let mut missing = if each == 0 { 0 } else { found.len() };
        let (mut before, mut looked_at, mut bytes) = (u64::MAX, 0, 0);
        while missing > 0 && looked_at < SCAN_EVENTS && bytes < SCAN_BYTES {
            let page = match self.0.log.read_before(before, PAGE_EVENTS, PAGE_BYTES).await {
                Err(LogError::Damaged { first_seq, .. }) => {
                    before = first_seq;
                    looked_at += 1;
                    continue;
                }
                page => page?,
            };
            let Some(first) = page.first() else { break };
            before = first.seq;
            looked_at += page.len();
            bytes += page.iter().map(|record| record.bytes.len()).sum::<usize>();
            for record in page.iter().rev() {
                let Ok(event) = Event::decode(&record.bytes) else { continue };
                let of = [event.product.map(RouteKey::Product), event.user.map(RouteKey::Sandbox)];
                for key in of.into_iter().flatten() {
                    let Some(events) = found.get_mut(&key).filter(|events| events.len() < each) else {
                        continue;
                    };
                    events.push(event.clone());
                    missing -= usize::from(events.len() == each);
                }
            }
            tokio::task::yield_now().await;
        }
        found.values_mut().for_each(|events| events.reverse());
        Ok(found)
    }
}
