//! What brokers call errors, and which of them may pass.

use tributary_domain::outcome::AttemptClass;

use crate::{Attempt, broker::said, net::passing, service::final_error};

/// An error of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code(pub(super) i16);

/// What it takes for an error to be no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// Time.
    Time,
    /// To ask again who leads; and time.
    Metadata,
    /// Fewer records in a batch, for one may have spoilt it; one that is alone cannot be helped.
    Fewer,
    /// Somebody who changes something.
    Nothing,
}

/// The errors that a producer can meet: number, name, remedy, and a text for brokers that say no more.
const ERRORS: [(i16, &str, Remedy, &str); 31] = [
    (-1, "UNKNOWN_SERVER_ERROR", Remedy::Time, "an error inside the broker"),
    (2, "CORRUPT_MESSAGE", Remedy::Time, "the batch has not arrived as it was sent"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION", Remedy::Metadata, "there is no such topic"),
    (5, "LEADER_NOT_AVAILABLE", Remedy::Metadata, "nobody leads the partition"),
    (6, "NOT_LEADER_OR_FOLLOWER", Remedy::Metadata, "another broker leads the partition"),
    (7, "REQUEST_TIMED_OUT", Remedy::Time, "the replicas have not stored it in time"),
    (8, "BROKER_NOT_AVAILABLE", Remedy::Metadata, "the broker is not available"),
    (9, "REPLICA_NOT_AVAILABLE", Remedy::Metadata, "the replica is not available"),
    (10, "MESSAGE_TOO_LARGE", Remedy::Fewer, "it is larger than the topic allows"),
    (13, "NETWORK_EXCEPTION", Remedy::Metadata, "the broker lost its connection"),
    (14, "COORDINATOR_LOAD_IN_PROGRESS", Remedy::Time, "the coordinator is not ready"),
    (15, "COORDINATOR_NOT_AVAILABLE", Remedy::Time, "the coordinator is not available"),
    (16, "NOT_COORDINATOR", Remedy::Time, "the coordinator is another broker"),
    (17, "INVALID_TOPIC_EXCEPTION", Remedy::Nothing, "the topic cannot be written to"),
    (18, "RECORD_LIST_TOO_LARGE", Remedy::Fewer, "it is larger than a segment of the topic"),
    (19, "NOT_ENOUGH_REPLICAS", Remedy::Time, "fewer replicas are in sync than the topic asks for"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Remedy::Time, "fewer replicas have it than the topic asks for"),
    (29, "TOPIC_AUTHORIZATION_FAILED", Remedy::Nothing, "the user may not write to the topic"),
    (31, "CLUSTER_AUTHORIZATION_FAILED", Remedy::Nothing, "the user may not do this in the cluster"),
    (32, "INVALID_TIMESTAMP", Remedy::Fewer, "the event is older or newer than the topic allows"),
    (33, "UNSUPPORTED_SASL_MECHANISM", Remedy::Nothing, "the broker does not offer the mechanism of sasl"),
    (35, "UNSUPPORTED_VERSION", Remedy::Nothing, "the broker speaks other versions of the protocol"),
    (42, "INVALID_REQUEST", Remedy::Nothing, "the broker does not understand the request"),
    (44, "POLICY_VIOLATION", Remedy::Nothing, "a policy of the cluster forbids it"),
    (56, "KAFKA_STORAGE_ERROR", Remedy::Metadata, "the broker's disk has failed"),
    (58, "SASL_AUTHENTICATION_FAILED", Remedy::Nothing, "user name or password is wrong"),
    (72, "LISTENER_NOT_FOUND", Remedy::Metadata, "the leader cannot be reached this way"),
    (74, "FENCED_LEADER_EPOCH", Remedy::Metadata, "another broker leads the partition now"),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", Remedy::Nothing, "the broker does not take this compression"),
    (87, "INVALID_RECORD", Remedy::Fewer, "the topic does not take such a record"),
    (89, "THROTTLING_QUOTA_EXCEEDED", Remedy::Time, "a quota is used up"),
];

impl Code {
    pub(super) const LEADER_NOT_AVAILABLE: Code = Code(5);
    pub(super) const UNSUPPORTED_VERSION: Code = Code(35);

    fn known(self) -> Option<&'static (i16, &'static str, Remedy, &'static str)> {
        ERRORS.iter().find(|(code, ..)| *code == self.0)
    }

    fn remedy(self) -> Remedy {
        self.known().map_or(Remedy::Fewer, |(_, _, remedy, _)| *remedy)
    }

    /// Whether it may be that what is known of the cluster is out of date.
    pub(super) fn is_stale(self) -> bool {
        self.remedy() == Remedy::Metadata
    }

    /// Whether single records may be taken where a batch of several is not.
    pub(super) fn is_of_batch(self) -> bool {
        self.remedy() == Remedy::Fewer
    }

    /// The attempt that it ends; `text` is what the broker itself says, if anything.
    pub(super) fn attempt(self, host: &str, text: &str, hide: &[&str]) -> Attempt {
        let (name, own) = match self.known() {
            Some((_, name, _, own)) => ((*name).to_owned(), *own),
            None => (self.0.to_string(), "the broker says no more"),
        };
        let text = if text.trim().is_empty() { own.to_owned() } else { said(text, hide) };
        let error = format!("error {name} from {host}: {text}");
        match self.remedy() {
            Remedy::Time | Remedy::Metadata => passing(error),
            Remedy::Fewer | Remedy::Nothing => final_error(error),
        }
    }
}

/// Adds to an error of the network who has named the address: it need not be one that the customer wrote.
pub(super) fn announced(mut attempt: Attempt, destination: &str) -> Attempt {
    if let Some(error) = attempt.error.as_mut().filter(|_| attempt.class != AttemptClass::Success) {
        error.push_str(&format!("; the cluster announces this broker as {destination}"));
    }
    attempt
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_stays() {
        let class = |code: i16| Code(code).attempt("k.example", "", &[]).class;
        for passing in [-1, 3, 5, 6, 7, 8, 13, 14, 15, 16, 19, 20, 56, 89] {
            assert!(matches!(class(passing), AttemptClass::Passing { .. }), "{passing}");
        }
        for stays in [10, 17, 18, 29, 31, 32, 33, 35, 44, 58, 87, 9_999] {
            assert_eq!(class(stays), AttemptClass::Final, "{stays}");
        }
    }

    #[test]
    fn errors_have_the_names_of_kafka_and_show_no_secret() {
        let text = |code, text| Code(code).attempt("k.example", text, &["hush"]).error.unwrap_or_default();
        assert_snapshot!(text(58, "Authentication failed\nfor hush"), @"error SASL_AUTHENTICATION_FAILED from k.example: Authentication failed for [[SENSITIVE]]");
        assert_snapshot!(text(10, ""), @"error MESSAGE_TOO_LARGE from k.example: it is larger than the topic allows");
        assert_snapshot!(text(117, ""), @"error 117 from k.example: the broker says no more");
    }
}
