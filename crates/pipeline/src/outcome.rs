//! Outcomes: the events that a delivery causes, and the row that the log shows of it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde_json::json;
use tributary_domain::{
    Event, Timestamp, UserId,
    hook_event::{Cause, HOOK_SENT_DATA, HookEvent, HookKind},
    outcome::Outcome,
};
use tributary_store::{delivery::LogRow, kept::KeptEvent};
use tributary_targets::{Attempt, Message, Reply, Variables};

use crate::{routes::Route, share::Part, window::Encoder};

/// How much of an error's text is kept beside its event, in bytes.
const KEPT_ERROR_BYTES: usize = 300;
/// The error text of an attempt that was sent but not answered in time.
const NO_REPLY_IN_TIME: &str = "ESOCKETTIMEDOUT";

/// A delivery that has ended, with what its log row needs.
#[derive(Clone)]
pub struct Finished {
    /// The integration in its product or sandbox.
    pub route: Arc<Route>,
    /// The event.
    pub event: Arc<Event>,
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// The number of its last attempt.
    pub attempt: u32,
    /// How long that took.
    pub duration: Duration,
    /// Whether it was a test.
    pub test: bool,
    /// What was sent; `None` when nothing could be built.
    pub message: Option<Message>,
    /// What came of it.
    pub result: Attempt,
    /// What it takes of its owner's share of the memory until it is recorded.
    pub part: Option<Arc<Part>>,
}

/// The events that an attempt causes: hook-sent once it was sent, then the reply or the error (contract 4.3).
pub(crate) fn hook_events(
    route: &Route,
    variables: &Variables<'_>,
    attempt: &Attempt,
    now: Timestamp,
) -> Vec<HookEvent> {
    let event = variables.event;
    let (response, mask) = (route.compiled.target.response(), route.compiled.mask());
    let hide = |text: &str, cut: bool| mask.hide(text, cut).into_owned();
    let sent = attempt.reply.is_some() || attempt.error.as_deref().is_none_or(|e| e == NO_REPLY_IN_TIME);
    let mut named: Vec<(HookKind, (String, String))> = Vec::new();
    if sent {
        named.push((HookKind::Sent, (format!("hook-sent/{}", event.name), HOOK_SENT_DATA.to_owned())));
    }
    let mut add =
        |kind, events: Vec<(String, String)>| named.extend(events.into_iter().map(|one| (kind, one)));
    match (&attempt.error, &attempt.reply) {
        (Some(error), _) => add(HookKind::Error, response.error_events(variables, &mask.text(error))),
        (None, Some(reply)) => {
            add(HookKind::Response, response.events(variables, route.is_sandbox(), reply, &hide));
        }
        (None, None) => {}
    }
    // Whoever may listen is told no more than the log tells. The usual names are made of the event alone.
    let own_topics = |(kind, _): &&mut (HookKind, _)| *kind != HookKind::Sent && response.names_topics();
    for (_, (name, _)) in named.iter_mut().filter(own_topics) {
        if let Cow::Owned(masked) = mask.text(name) {
            *name = masked;
        }
    }
    let users = listeners(route, event);
    let cause = |kind| Cause {
        event: event.id,
        name: event.name.to_string(),
        coreid: event.coreid.to_string(),
        integration: route.counted.integration,
        kind,
    };
    let hook_event = |(kind, (name, data))| HookEvent {
        cause: cause(kind),
        product: route.counted.product,
        org: route.org(),
        users: users.clone(),
        name,
        data,
        published_at: now,
    };
    named.into_iter().map(hook_event).collect()
}

/// In whose own streams the events of an integration appear: its owner's and the device's owner's.
fn listeners(route: &Route, event: &Event) -> Vec<UserId> {
    let owner = match route.owner {
        tributary_domain::Owner::User(user) => Some(user),
        tributary_domain::Owner::Org(_) => None,
    };
    let device_owner = event.user.filter(|user| Some(*user) != owner && !route.is_sandbox());
    owner.into_iter().chain(device_owner).collect()
}

impl Finished {
    /// Its event, to be kept, with what it is looked for by.
    pub fn kept(&self, ended: usize, encoder: &mut Encoder) -> KeptEvent {
        let error = self.result.error.as_deref().unwrap_or_default();
        let mut error = self.route.compiled.mask().text(error).into_owned();
        error.truncate(error.floor_char_boundary(KEPT_ERROR_BYTES));
        KeptEvent {
            ended,
            event: encoder.encoded(&self.event),
            name: self.event.name.to_string(),
            device: self.event.coreid.to_string(),
            status: self.result.reply.as_ref().map(|reply| reply.status).filter(|status| *status > 0),
            error,
        }
    }

    /// The row that the log keeps of it (contract 4.3), with every sensitive value masked.
    pub fn log_row(&self) -> LogRow {
        let mask = self.route.compiled.mask();
        let event = &self.event;
        let mut entry = json!({
            "at": self.at,
            "outcome": self.outcome.as_str(),
            "attempt": self.attempt,
            "duration_ms": u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX),
            "product_id": self.route.counted.product,
            "test": self.test,
            "event": {
                "name": event.name, "data": event.data, "coreid": event.coreid, "published_at": event.published_at,
            },
            "request": self.message.as_ref().map(|message| mask.request(message)),
            "response": self.result.reply.as_ref().map(|reply| mask.reply(reply)),
            "error": self.result.error.as_deref().map(|error| mask.text(error)),
        });
        if let Some(note) = self.result.reply.as_ref().and_then(Reply::note) {
            entry["note"] = mask.text(note).into();
        }
        LogRow {
            counted: self.route.counted,
            success: self.outcome == Outcome::Success,
            at: self.at,
            entry: json!({"v": 1, "entry": entry}).to_string(),
        }
    }
}
