//! Live streams: every accepted event, and every event that an integration caused, to whoever listens now.
//!
//! Nothing is kept here. A subscriber that does not keep up is cut off rather than waited for; its client reconnects. What
//! waited for it is dropped at that moment, by whoever sends: its connection may be one that nobody reads any more.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tributary_domain::{
    Event, EventId, OrgId, ProductId, Timestamp, UserId,
    event::DEFAULT_TTL_SECONDS,
    hook_event::{Cause, HookEvent, INTERNAL_COREID},
};

/// How far behind a subscriber may be before it is cut off, in bytes.
const SUBSCRIBER_BYTES: usize = 8 * 1024 * 1024;
/// How far behind all subscribers together may be, in bytes; beyond it those are cut off that are behind by more than
/// [`SMALL_BYTES`].
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// See [`ALL_BYTES`].
const SMALL_BYTES: usize = 32 * 1024;
/// What an event costs besides its text, in bytes.
const FRAME_BYTES: usize = 96;

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

/// What waits for a subscriber.
#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    cut_off: bool,
}

struct Subscriber {
    wanted: Wanted,
    queue: Mutex<Queue>,
    /// There is something to take, or it was cut off.
    changed: Notify,
}

fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_BYTES
}

#[derive(Default)]
struct Hub {
    by_channel: RwLock<HashMap<Channel, Vec<Arc<Subscriber>>>>,
    count: AtomicUsize,
    /// What waits for all subscribers.
    bytes: AtomicUsize,
}

/// The live streams. Cheap to clone.
#[derive(Clone, Default)]
pub struct Streams(Arc<Hub>);

/// A subscription: ends when it is dropped.
pub struct Subscription {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
}

impl Subscription {
    /// The next event as it goes over the wire (`event: …\ndata: …\n\n`); `None` when this subscriber was cut off.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            {
                let mut queue = self.subscriber.queue.lock();
                if queue.cut_off {
                    return None;
                }
                if let Some(frame) = queue.frames.pop_front() {
                    queue.bytes -= cost(&frame);
                    self.hub.bytes.fetch_sub(cost(&frame), Ordering::Relaxed);
                    return Some(frame);
                }
            }
            // One that came meanwhile is remembered.
            self.subscriber.changed.notified().await;
        }
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
        drop(by_channel);
        self.hub.cut_off(&mut self.subscriber.queue.lock());
    }
}

impl Hub {
    /// Ends a queue and gives back its memory; whether it had not ended before.
    fn cut_off(&self, queue: &mut Queue) -> bool {
        if std::mem::replace(&mut queue.cut_off, true) {
            return false;
        }
        queue.frames = VecDeque::new();
        self.bytes.fetch_sub(std::mem::take(&mut queue.bytes), Ordering::Relaxed);
        self.count.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Adds a frame to what waits for a subscriber, or cuts it off when it is too far behind.
    fn push(&self, subscriber: &Subscriber, frame: Bytes) {
        let mut queue = subscriber.queue.lock();
        if queue.cut_off {
            return;
        }
        let cost = cost(&frame);
        let behind = queue.bytes + cost;
        let all = self.bytes.fetch_add(cost, Ordering::Relaxed) + cost;
        queue.bytes = behind;
        // The one frame of a subscriber that keeps up is never too much.
        let fits = queue.frames.is_empty()
            || behind <= SUBSCRIBER_BYTES && (all <= ALL_BYTES || behind <= SMALL_BYTES);
        if fits {
            queue.frames.push_back(frame);
        } else if self.cut_off(&mut queue) {
            tracing::info!(
                stream.prefix = subscriber.wanted.prefix,
                "a stream does not keep up and is cut off"
            );
        }
        drop(queue);
        subscriber.changed.notify_one();
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
        let subscriber = Arc::new(Subscriber { wanted, queue: Mutex::default(), changed: Notify::new() });
        let mut by_channel = self.0.by_channel.write();
        for channel in &subscriber.wanted.channels {
            by_channel.entry(*channel).or_default().push(subscriber.clone());
        }
        self.0.count.fetch_add(1, Ordering::Relaxed);
        drop(by_channel);
        Subscription { hub: self.0.clone(), subscriber }
    }

    /// How many listen; those that were cut off do so no more, whatever their connections are about.
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
            self.0.push(subscriber, frame);
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
    use futures_util::FutureExt as _;
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
        assert!(both.subscriber.queue.lock().frames.is_empty());
        assert!(other.next().now_or_never().is_none());
        drop((both, other));
        assert_eq!(streams.count(), 0);
        assert!(streams.0.by_channel.read().is_empty());
    }

    fn of_size(bytes: usize) -> Event {
        Event { data: Some("x".repeat(bytes).into()), ..event("temp") }
    }

    #[tokio::test]
    async fn a_subscriber_that_does_not_keep_up_is_cut_off_and_its_memory_given_back_at_once() {
        let streams = Streams::default();
        let mut slow = streams.subscribe(wanted(&[Channel::Product(PRODUCT)], ""));
        let event = of_size(16_000);
        for _ in 0..SUBSCRIBER_BYTES / 16_000 - 100 {
            streams.show(&event, None);
        }
        assert_eq!(streams.count(), 1);
        assert!(slow.next().await.is_some(), "behind, and within the bound");
        for _ in 0..200 {
            streams.show(&event, None);
        }
        // Nobody has polled the stream since.
        assert_eq!(streams.count(), 0);
        assert_eq!(streams.0.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(slow.subscriber.queue.lock().frames.capacity(), 0);
        assert!(slow.next().await.is_none());
        drop(slow);
        assert_eq!(streams.count(), 0);
    }

    #[tokio::test]
    async fn many_unread_streams_together_are_bounded_and_who_reads_hears_on() {
        let streams = Streams::default();
        let listen = || streams.subscribe(wanted(&[Channel::Product(PRODUCT)], ""));
        let unread: Vec<_> = (0..100).map(|_| listen()).collect();
        let mut reads = listen();
        let event = of_size(16_000);
        for _ in 0..SUBSCRIBER_BYTES / 16_000 - 100 {
            streams.show(&event, None);
            assert!(reads.next().await.is_some());
            let all = streams.0.bytes.load(Ordering::Relaxed);
            assert!(all <= ALL_BYTES + 101 * SMALL_BYTES, "{all}");
        }
        assert!(streams.count() < 100, "{}", streams.count());
        drop(unread);
        assert_eq!(streams.0.bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_event_larger_than_all_bounds_reaches_who_keeps_up() {
        let streams = Streams::default();
        let mut reads = streams.subscribe(wanted(&[Channel::Product(PRODUCT)], ""));
        streams.show(&of_size(SUBSCRIBER_BYTES), None);
        assert!(reads.next().await.is_some_and(|frame| frame.len() > SUBSCRIBER_BYTES));
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
