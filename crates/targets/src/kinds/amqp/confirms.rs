//! Which of the messages that were published together the broker has taken.
//!
//! It numbers the messages of a channel from 1 and confirms them by these numbers, several at once where it likes to. One that
//! reaches no queue comes back first, and is confirmed then.

use bytes::Bytes;
use tributary_domain::outcome::AttemptClass;

use super::frame::Publish;
use crate::{Attempt, Reply, broker::said, net::passing, service::final_error};

/// Messages that were published together.
pub(super) struct Confirms<'a> {
    messages: &'a [Publish<'a>],
    host: &'a str,
    /// The number of the first.
    first: u64,
    /// How many of them are sent.
    pub(super) sent: usize,
    /// Why a message has come back.
    returned: Vec<Option<String>>,
    each: Vec<Option<Attempt>>,
}

impl<'a> Confirms<'a> {
    /// None of them is sent yet.
    pub(super) fn new(messages: &'a [Publish<'a>], host: &'a str, first: u64) -> Confirms<'a> {
        let none = || (0..messages.len()).map(|_| None).collect::<Vec<_>>();
        let each = messages.iter().map(|_| None).collect();
        Confirms { messages, host, first, sent: 0, returned: none(), each }
    }

    /// Whether each has been confirmed.
    pub(super) fn is_complete(&self) -> bool {
        self.each.iter().all(Option::is_some)
    }

    /// Notes that the message with this id has come back; false when there is none.
    pub(super) fn come_back(&mut self, message_id: &str, code: u16, text: &str) -> bool {
        let waits = |n: &usize| self.each[*n].is_none() && self.returned[*n].is_none();
        let at = (0..self.sent).filter(waits).find(|n| self.messages[*n].message_id == message_id);
        let Some(at) = at else { return false };
        let Publish { exchange, routing_key, .. } = &self.messages[at];
        let why = match *exchange {
            "" => format!("there is no queue '{routing_key}'"),
            exchange => format!("exchange '{exchange}' has no queue for the routing key '{routing_key}'"),
        };
        let error = format!("error {code} {} from {}: ", said(text, &[]), self.host);
        self.returned[at] = Some(error + &said(&why, &[]));
        true
    }

    /// Notes what the broker says of the message with this number, or of all up to it.
    pub(super) fn confirmed(&mut self, tag: u64, multiple: bool, taken: bool) {
        // The number 0 means all that are sent.
        let last = if tag == 0 && multiple { u64::MAX } else { tag };
        for n in 0..self.sent {
            let number = self.first + n as u64;
            if (number == last || multiple && number < last) && self.each[n].is_none() {
                self.each[n] = Some(match self.returned[n].take() {
                    _ if !taken => passing(format!("error NACK from {}: not stored", self.host)),
                    Some(error) => final_error(error),
                    None => stored(),
                });
            }
        }
    }

    /// What became of each; `None` of those that the broker has said nothing of.
    pub(super) fn into_each(self) -> Vec<Option<Attempt>> {
        self.each
    }
}

fn stored() -> Attempt {
    let reply = Reply { status: 0, headers: Vec::new(), body: Bytes::new(), ..Reply::default() };
    Attempt { class: AttemptClass::Success, error: None, reply: Some(reply) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages<'a>(ids: &[&'a str]) -> Vec<Publish<'a>> {
        let of = |id: &&'a str| Publish {
            exchange: "doors",
            routing_key: "front",
            mandatory: true,
            persistent: true,
            content_type: None,
            message_id: id,
            timestamp: 0,
            headers: Vec::new(),
            payload: b"",
        };
        ids.iter().map(of).collect()
    }

    fn shown(confirms: Confirms<'_>) -> Vec<String> {
        let text = |attempt: Option<Attempt>| match attempt {
            None => "?".to_owned(),
            Some(Attempt { class: AttemptClass::Success, .. }) => "taken".to_owned(),
            Some(Attempt { class, error, .. }) => {
                let passes = if class == AttemptClass::Final { "" } else { " (may pass)" };
                error.unwrap_or_default() + passes
            }
        };
        confirms.into_each().into_iter().map(text).collect()
    }

    #[test]
    fn confirms_come_in_any_order_and_for_several_at_once() {
        let messages = messages(&["a", "b", "c", "d", "e"]);
        let mut confirms = Confirms::new(&messages, "b.example", 11);
        confirms.sent = 5;
        confirms.confirmed(13, false, true);
        confirms.confirmed(12, true, true);
        confirms.confirmed(10, true, true);
        confirms.confirmed(15, false, false);
        confirms.confirmed(99, false, true);
        assert!(!confirms.is_complete());
        let nack = "error NACK from b.example: not stored (may pass)";
        assert_eq!(shown(confirms), ["taken", "taken", "taken", "?", nack]);
    }

    #[test]
    fn number_0_means_all_that_are_sent_and_no_others() {
        let messages = messages(&["a", "b", "c"]);
        let mut confirms = Confirms::new(&messages, "b.example", 1);
        confirms.sent = 2;
        confirms.confirmed(0, true, true);
        assert_eq!(shown(confirms), ["taken", "taken", "?"]);
    }

    #[test]
    fn a_message_that_has_come_back_is_an_error_once_it_is_confirmed() {
        let mut messages = messages(&["a", "b", "b", "c"]);
        messages[3].exchange = "";
        let mut confirms = Confirms::new(&messages, "b.example", 1);
        confirms.sent = 4;
        assert!(confirms.come_back("b", 312, "NO_ROUTE"));
        assert!(confirms.come_back("c", 312, "NO_ROUTE"));
        assert!(!confirms.come_back("x", 312, "NO_ROUTE"));
        confirms.confirmed(4, true, true);
        let no_route = |why: &str| format!("error 312 NO_ROUTE from b.example: {why}");
        let expected = [
            "taken",
            &no_route("exchange 'doors' has no queue for the routing key 'front'"),
            "taken",
            &no_route("there is no queue 'front'"),
        ];
        assert_eq!(shown(confirms), expected);
    }
}
