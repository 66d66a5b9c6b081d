//! Live streams: every accepted event, and every event that an integration caused, to whoever listens now.
//!
//! Nothing is kept here. A subscriber that does not keep up is cut off rather than waited for; its client reconnects.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::mpsc;
use tributary_domain::{
    Event, EventId, OrgId, ProductId, Timestamp, UserId,
    event::DEFAULT_TTL_SECONDS,
    hook_event::{Cause, HookEvent, INTERNAL_COREID},
};

/// Events that a subscriber may be behind before it is cut off.
const SUBSCRIBER_QUEUE: usize = 1_024;

/// Where an event is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// A person's own stream.
    User(UserId),
    /// A product's stream.
    Product(ProductId),
    /// An organization's stream: all its products.
    Org(OrgId),
}

/// What a subscriber wants to hear.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The streams; an event that is in several is heard once.
    pub channels: Vec<Channel>,
    /// Only events of this device.
    pub device: Option<String>,
    /// Only events whose name starts so; empty = all.
    pub prefix: String,
    /// Whether frames also say which event is which and what caused it. What integrations caused is then chosen by the name of
    /// the event that fired them.
    pub traced: bool,
}

struct Subscriber {
    wanted: Wanted,
    queue: mpsc::Sender<Bytes>,
    cut_off: AtomicBool,
}

#[derive(Default)]
struct Hub {
    by_channel: RwLock<HashMap<Channel, Vec<Arc<Subscriber>>>>,
    count: AtomicUsize,
}

/// The live streams. Cheap to clone.
#[derive(Clone, Default)]
pub struct Streams(Arc<Hub>);

/// A subscription: ends when it is dropped.
pub struct Subscription {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
    queue: mpsc::Receiver<Bytes>,
}

impl Subscription {
    /// The next event as it goes over the wire (`event: …\ndata: …\n\n`); `None` when this subscriber was cut off.
    pub async fn next(&mut self) -> Option<Bytes> {
        if self.subscriber.cut_off.load(Ordering::Relaxed) {
            return None;
        }
        self.queue.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut by_channel = self.hub.by_channel.write();
        for channel in &self.subscriber.wanted.channels {
            if let Some(list) = by_channel.get_mut(channel) {
                list.retain(|s| !Arc::ptr_eq(s, &self.subscriber));
                if list.is_empty() {
                    by_channel.remove(channel);
                }
            }
        }
        self.hub.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a stream shows of an event.
struct Shown<'a> {
    channels: &'a [Channel],
    name: &'a str,
    data: Option<&'a str>,
    ttl: u32,
    published_at: Timestamp,
    coreid: &'a str,
    product: Option<ProductId>,
    version: Option<u32>,
    origin: Origin<'a>,
}

/// Which event it is, or where it comes from.
enum Origin<'a> {
    Event(EventId),
    Hook(&'a Cause),
}

impl Streams {
    /// Begins to listen.
    pub fn subscribe(&self, wanted: Wanted) -> Subscription {
        let (sender, queue) = mpsc::channel(SUBSCRIBER_QUEUE);
        let subscriber = Arc::new(Subscriber { wanted, queue: sender, cut_off: AtomicBool::new(false) });
        let mut by_channel = self.0.by_channel.write();
        for channel in &subscriber.wanted.channels {
            by_channel.entry(*channel).or_default().push(subscriber.clone());
        }
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Subscription { hub: self.0.clone(), subscriber, queue }
    }

    /// How many listen.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Shows an accepted event. `org` is the organization that owns the product.
    pub fn show(&self, event: &Event, org: Option<OrgId>) {
        if self.count() == 0 {
            return;
        }
        let channels: Vec<Channel> =
            [event.user.map(Channel::User), event.product.map(Channel::Product), org.map(Channel::Org)]
                .into_iter()
                .flatten()
                .collect();
        self.send(&Shown {
            channels: &channels,
            name: &event.name,
            data: event.data.as_deref(),
            ttl: event.ttl,
            published_at: event.published_at,
            coreid: &event.coreid,
            product: event.product,
            version: event.version,
            origin: Origin::Event(event.id),
        });
    }

    /// Shows an event that an integration caused.
    pub fn show_hook(&self, event: &HookEvent) {
        if self.count() == 0 {
            return;
        }
        let places = event.product.map(Channel::Product).into_iter().chain(event.org.map(Channel::Org));
        let channels: Vec<Channel> = places.chain(event.users.iter().copied().map(Channel::User)).collect();
        self.send(&Shown {
            channels: &channels,
            name: &event.name,
            data: Some(&event.data),
            ttl: DEFAULT_TTL_SECONDS,
            published_at: event.published_at,
            coreid: INTERNAL_COREID,
            product: event.product,
            version: None,
            origin: Origin::Hook(&event.cause),
        });
    }

    fn send(&self, shown: &Shown<'_>) {
        let by_channel = self.0.by_channel.read();
        let mut heard: Vec<&Arc<Subscriber>> = Vec::new();
        let mut frames: [Option<Bytes>; 2] = [None, None];
        for subscriber in shown.channels.iter().filter_map(|c| by_channel.get(c)).flatten() {
            let wanted = &subscriber.wanted;
            let name = match shown.origin {
                Origin::Hook(cause) if wanted.traced => &cause.name,
                _ => shown.name,
            };
            let fits = name.starts_with(&wanted.prefix)
                && wanted.device.as_deref().is_none_or(|device| device == shown.coreid);
            if !fits || heard.iter().any(|s| Arc::ptr_eq(s, subscriber)) {
                continue;
            }
            heard.push(subscriber);
            let frame = &mut frames[usize::from(wanted.traced)];
            let frame = frame.get_or_insert_with(|| Bytes::from(render(shown, wanted.traced))).clone();
            if subscriber.queue.try_send(frame).is_err() && !subscriber.cut_off.swap(true, Ordering::Relaxed)
            {
                tracing::info!(stream.prefix = wanted.prefix, "a stream does not keep up and is cut off");
            }
        }
    }
}

/// The event as the wire has it (contract 4.1). Names of hook events come from templates: a line break in one would
/// end the frame, so control characters are left out.
fn render(shown: &Shown<'_>, traced: bool) -> String {
    let mut out = String::with_capacity(160 + shown.name.len() + shown.data.map_or(0, str::len));
    out.push_str("event: ");
    out.extend(shown.name.chars().filter(|c| !c.is_control()));
    let quoted = |text: Option<&str>| serde_json::Value::from(text).to_string();
    let _ = write!(
        out,
        "\ndata: {{\"data\":{},\"ttl\":{},\"published_at\":\"{}\",\"coreid\":{}",
        quoted(shown.data),
        shown.ttl,
        shown.published_at,
        quoted(Some(shown.coreid)),
    );
    if let Some(product) = shown.product {
        let _ = write!(out, ",\"productID\":{product}");
    }
    if let Some(version) = shown.version {
        let _ = write!(out, ",\"version\":{version}");
    }
    match shown.origin {
        _ if !traced => {}
        Origin::Event(id) => {
            let _ = write!(out, ",\"id\":\"{id}\"");
        }
        Origin::Hook(cause) => {
            let _ = write!(
                out,
                ",\"cause\":{{\"id\":\"{}\",\"name\":{},\"coreid\":{},\"integration\":\"{}\",\"kind\":\"{}\"}}",
                cause.event,
                quoted(Some(&cause.name)),
                quoted(Some(&cause.coreid)),
                cause.integration,
                cause.kind.as_str(),
            );
        }
    }
    out.push_str("}\n\n");
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tributary_domain::{IntegrationId, hook_event::HookKind};

    fn cause(name: &str) -> Cause {
        Cause {
            event: EventId([7; 16]),
            name: name.to_owned(),
            coreid: "d1".to_owned(),
            integration: IntegrationId([8; 12]),
            kind: HookKind::Sent,
        }
    }

    fn hook(name: &str, of: &str) -> HookEvent {
        HookEvent {
            cause: cause(of),
            product: Some(PRODUCT),
            org: None,
            users: vec![],
            name: name.to_owned(),
            data: "undefined".to_owned(),
            published_at: Timestamp(0),
        }
    }

    const USER: UserId = UserId([1; 12]);
    const ORG: OrgId = OrgId([2; 12]);
    const PRODUCT: ProductId = ProductId(12);

    fn event(name: &str) -> Event {
        Event {
            id: EventId([0; 16]),
            product: Some(PRODUCT),
            user: Some(USER),
            coreid: "api".into(),
            name: name.into(),
            data: Some("a \"b\"\nc".into()),
            ttl: 60,
            published_at: Timestamp(0),
            version: Some(3),
        }
    }

    fn wanted(channels: &[Channel], prefix: &str) -> Wanted {
        Wanted { channels: channels.to_vec(), device: None, prefix: prefix.to_owned(), traced: false }
    }

    #[tokio::test]
    async fn a_subscriber_hears_each_event_of_its_channels_and_prefix_once() {
        let streams = Streams::default();
        let mut both = streams.subscribe(wanted(&[Channel::User(USER), Channel::Org(ORG)], "temp"));
        let mut other = streams.subscribe(wanted(&[Channel::Product(ProductId(13))], ""));
        streams.show(&event("temp/1"), Some(ORG));
        streams.show(&event("wind/1"), Some(ORG));
        let text = String::from_utf8(both.next().await.unwrap().to_vec()).unwrap();
        assert_eq!(
            text,
            "event: temp/1\ndata: {\"data\":\"a \\\"b\\\"\\nc\",\"ttl\":60,\"published_at\":\"1970-01-01T00:00:00.000Z\",\
             \"coreid\":\"api\",\"productID\":12,\"version\":3}\n\n"
        );
        assert!(both.queue.try_recv().is_err());
        assert!(other.queue.try_recv().is_err());
        drop((both, other));
        assert_eq!(streams.count(), 0);
        assert!(streams.0.by_channel.read().is_empty());
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_keep_up_is_cut_off() {
        let streams = Streams::default();
        let mut slow = streams.subscribe(wanted(&[Channel::Product(PRODUCT)], ""));
        for _ in 0..=SUBSCRIBER_QUEUE {
            streams.show(&event("temp"), None);
        }
        assert!(slow.next().await.is_none());
    }

    #[tokio::test]
    async fn who_traces_hears_what_an_event_caused_by_the_events_name_and_with_its_id() {
        let streams = Streams::default();
        let traced = Wanted { traced: true, ..wanted(&[Channel::Product(PRODUCT)], "temp") };
        let mut traced = streams.subscribe(traced);
        let mut plain = streams.subscribe(wanted(&[Channel::Product(PRODUCT)], "hook-sent"));
        streams.show_hook(&hook("hook-sent/temp/1", "temp/1"));
        streams.show_hook(&hook("hook-sent/wind/1", "wind/1"));
        streams.show(&event("temp/2"), None);
        let heard = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        let caused = heard(traced.next().await);
        assert!(caused.starts_with("event: hook-sent/temp/1\n"), "{caused}");
        let trace = format!("\"cause\":{{\"id\":\"{}\",\"name\":\"temp/1\"", EventId([7; 16]));
        assert!(caused.contains(&trace), "{caused}");
        assert!(heard(traced.next().await).contains(&format!("\"id\":\"{}\"", EventId([0; 16]))));
        let public = heard(plain.next().await);
        assert!(!public.contains("cause") && !public.contains("\"id\""), "{public}");
    }

    #[tokio::test]
    async fn a_hook_events_name_cannot_break_out_of_its_frame() {
        let streams = Streams::default();
        let mut all = streams.subscribe(wanted(&[Channel::Product(PRODUCT)], ""));
        streams.show_hook(&hook("a\nevent: b\r\n", "door"));
        assert!(all.next().await.unwrap().starts_with(b"event: aevent: b\ndata: {"));
    }
}
