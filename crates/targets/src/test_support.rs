//! What the tests of several modules need.

use std::sync::OnceLock;

use tributary_domain::{Event, EventId, Timestamp};

use crate::{Message, Secrets};

/// An event `door/front` of the device `d1` at 2024-01-02T03:04:05.678Z.
pub(crate) fn event(data: &str) -> Event {
    Event {
        id: EventId([7; 16]),
        product: None,
        user: None,
        coreid: "d1".into(),
        name: "door/front".into(),
        data: Some(data.into()),
        ttl: 60,
        published_at: Timestamp(1_704_164_645_678),
        version: Some(3),
    }
}

/// An owner without secrets.
pub(crate) fn no_secrets() -> &'static Secrets {
    static NONE: OnceLock<Secrets> = OnceLock::new();
    NONE.get_or_init(Secrets::default)
}

/// A message as a snapshot shows it: without the header that every request has.
pub(crate) fn shown(message: &Message) -> String {
    let mut out = format!("{} {}\n", message.method, message.url);
    for (name, value) in message.headers.iter().filter(|(name, _)| name != "User-Agent") {
        out.push_str(&format!("{name}: {value}\n"));
    }
    out + "\n" + &String::from_utf8_lossy(&message.body)
}
