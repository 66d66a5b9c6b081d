//! Events that integrations cause: hook-sent, responses and errors (contract 4.3).
//!
//! They are a type of their own and go to the live streams only. They never enter the log that the router reads, so
//! they cannot trigger an integration, whatever their name is.

use crate::{
    EventId,
    ids::{IntegrationId, OrgId, ProductId, UserId},
    limits,
    time::Timestamp,
};

/// `coreid` of every event that an integration caused.
pub const INTERNAL_COREID: &str = "particle-internal";
/// The data of a hook-sent event, as the original sends it.
pub const HOOK_SENT_DATA: &str = "undefined";

/// What happened of which an integration's event tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// The request was sent.
    Sent,
    /// A reply, or a piece of one.
    Response,
    /// It failed, or was skipped.
    Error,
}

impl HookKind {
    /// As the console's stream says it.
    pub fn as_str(self) -> &'static str {
        match self {
            HookKind::Sent => "sent",
            HookKind::Response => "response",
            HookKind::Error => "error",
        }
    }
}

/// Where an integration's event comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The event that fired it.
    pub event: EventId,
    /// That event's name.
    pub name: String,
    /// That event's device.
    pub coreid: String,
    /// The integration.
    pub integration: IntegrationId,
    /// What happened.
    pub kind: HookKind,
}

/// An event that an integration caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookEvent {
    /// Where it comes from.
    pub cause: Cause,
    /// The product of the event that caused it.
    pub product: Option<ProductId>,
    /// The organization that owns the product.
    pub org: Option<OrgId>,
    /// The people in whose own streams it appears: the sandbox's owner, the device's owner.
    pub users: Vec<UserId>,
    /// Full name, with the chunk's number where there is one.
    pub name: String,
    /// The text.
    pub data: String,
    /// When it was made.
    pub published_at: Timestamp,
}

/// The default topic of responses: in a sandbox `hook-response/EVENT`, in products `DEVICE/hook-response/EVENT`.
pub fn response_topic(sandbox: bool, device: &str, event: &str) -> String {
    if sandbox { format!("hook-response/{event}") } else { format!("{device}/hook-response/{event}") }
}

/// The default topic of errors.
pub fn error_topic(event: &str) -> String {
    format!("hook-error/{event}")
}

/// Cuts a reply into chunks of at most 512 bytes, none of which splits a character; at most the first 100 KB.
pub fn chunks(reply: &str) -> Vec<&str> {
    let mut rest = &reply[..reply.floor_char_boundary(limits::REPLY_BYTES)];
    let mut parts = Vec::with_capacity(rest.len() / limits::RESPONSE_CHUNK_BYTES + 1);
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(rest.floor_char_boundary(limits::RESPONSE_CHUNK_BYTES));
        parts.push(head);
        rest = tail;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_512_bytes_and_split_no_character() {
        assert!(chunks("").is_empty());
        assert_eq!(chunks("ab"), ["ab"]);
        let lengths = |text: &str| chunks(text).iter().map(|c| c.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&"ä".repeat(600)), [512, 512, 176]);
        assert_eq!(lengths(&format!("x{}", "ä".repeat(300))), [511, 90]);
        assert_eq!(lengths(&"z".repeat(200_000)).iter().sum::<usize>(), 102_400);
    }

    #[test]
    fn default_topics_name_the_device_in_products() {
        assert_eq!(response_topic(true, "d1", "door"), "hook-response/door");
        assert_eq!(response_topic(false, "d1", "door"), "d1/hook-response/door");
        assert_eq!(error_topic("door"), "hook-error/door");
    }
}
