//! How deliveries end, and whether they are tried again (contract 4.3). Decisions only: nothing here waits or writes.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The three ways in which a delivery ends. The history counts exactly one of them per matched event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The destination answered 2xx.
    Success,
    /// The last attempt failed.
    Error,
    /// The last attempt was not made: the destination was sleeping, or the integration went away before it.
    Skipped,
}

impl Outcome {
    /// The name used in the API, the log and the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Error => "error",
            Outcome::Skipped => "skipped",
        }
    }
}

/// What one attempt came to, as far as retrying is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptClass {
    /// 2xx.
    Success,
    /// A 4xx other than 408 and 429, a 3xx, or a request that could not be built: trying again cannot help.
    Final,
    /// A timeout, network error, 5xx, 408 or 429; with the `Retry-After` of a 429 or 503, in milliseconds.
    Passing {
        /// What the destination asked for.
        retry_after_ms: Option<i64>,
    },
    /// Not attempted: the destination sleeps.
    Sleeping,
    /// Not attempted: the server itself had nothing to attempt it with, such as a free file descriptor. That is no fault of
    /// the destination and uses up none of its attempts.
    NotMade,
}

impl AttemptClass {
    /// Classifies an HTTP status.
    pub fn of_status(status: u16, retry_after_ms: Option<i64>) -> AttemptClass {
        match status {
            200..=299 => AttemptClass::Success,
            429 | 503 => AttemptClass::Passing { retry_after_ms },
            408 | 500..=599 => AttemptClass::Passing { retry_after_ms: None },
            _ => AttemptClass::Final,
        }
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The delivery has ended so.
    Done(Outcome),
    /// Try again at this time; the attempt after has this number, counted from 1.
    RetryAt {
        /// When.
        at: Timestamp,
        /// The number of that attempt.
        attempt: u32,
    },
}

/// Longest `Retry-After` that is honoured, in milliseconds; a longer one counts as this.
pub const RETRY_AFTER_MAX_MS: i64 = 15 * 60_000;

/// The wait after which an attempt that could not be made is made, in milliseconds.
pub const NOT_MADE_MS: i64 = 1_000;

/// Decides what follows attempt number `attempt` (1 = the first) of class `class` that ended at `now`.
///
/// `delays_ms[n]` is the wait before attempt `n + 2`; after the last one the delivery is dropped. A destination that asks
/// for a longer wait gets it; a shorter one would only use up the attempts.
pub fn decide_retry(class: AttemptClass, attempt: u32, now: Timestamp, delays_ms: &[i64]) -> Next {
    let (ended, asked) = match class {
        AttemptClass::Success => return Next::Done(Outcome::Success),
        AttemptClass::Final => return Next::Done(Outcome::Error),
        AttemptClass::Passing { retry_after_ms } => (Outcome::Error, retry_after_ms),
        AttemptClass::Sleeping => (Outcome::Skipped, None),
        AttemptClass::NotMade => return Next::RetryAt { at: now.plus_ms(NOT_MADE_MS), attempt },
    };
    let usual = usize::try_from(attempt).ok().and_then(|n| delays_ms.get(n.saturating_sub(1)));
    match usual {
        None => Next::Done(ended),
        Some(usual) => {
            let asked = asked.unwrap_or_default().min(RETRY_AFTER_MAX_MS);
            Next::RetryAt { at: now.plus_ms(asked.max(*usual)), attempt: attempt + 1 }
        }
    }
}

/// How a destination did of late, for one owner and host:port. Kept by its lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Failures beyond successes; each success takes as much away as [`SUCCESS_WORTH`] failures add.
    pub score: u32,
    /// When the last attempt that counted as a failure ended.
    pub last_failure: Timestamp,
    /// A probe was let through at this time and has not ended.
    pub probing_since: Option<Timestamp>,
}

/// Failures that put a destination to sleep.
pub const SLEEP_AFTER_FAILURES: u32 = 20;
/// Highest score: bounds how many successes end a long failure.
pub const SCORE_MAX: u32 = 30;
/// How many failures one success makes good.
pub const SUCCESS_WORTH: u32 = 5;
/// How long a sleeping destination is left alone before one attempt is let through, in milliseconds.
pub const QUIET_MS: i64 = 5_000;
/// A probe that has not ended in this time is given up for another, in milliseconds (longer than a delivery's timeout).
pub const PROBE_MAX_MS: i64 = 30_000;

/// Whether an attempt may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Make it.
    Go,
    /// Make it: it tells whether the destination is back. The caller records it with [`Health::probe`].
    Probe,
    /// Skip it.
    Sleep,
}

impl Health {
    /// Decides whether an attempt may be made at `now`.
    pub fn admit(&self, now: Timestamp) -> Admission {
        if !self.sleeps() {
            return Admission::Go;
        }
        // A time that is still to come was told by a clock that has been set back since: it holds nothing up.
        let within = |at: Timestamp, ms: i64| (0..ms).contains(&(now.0 - at.0));
        let probe_running = self.probing_since.is_some_and(|at| within(at, PROBE_MAX_MS));
        if probe_running || within(self.last_failure, QUIET_MS) { Admission::Sleep } else { Admission::Probe }
    }

    /// Whether attempts are skipped for now, but for probes.
    pub fn sleeps(&self) -> bool {
        self.score >= SLEEP_AFTER_FAILURES
    }

    /// Notes that a probe has begun.
    pub fn probe(&mut self, now: Timestamp) {
        self.probing_since = Some(now);
    }

    /// Notes how an attempt ended. An answer that only refuses this request (a final 4xx) says nothing of the
    /// destination's health, except that it is there.
    pub fn record(&mut self, class: AttemptClass, now: Timestamp) {
        let was_probe = self.probing_since.take().is_some();
        match class {
            AttemptClass::Success if was_probe => self.score = 0,
            AttemptClass::Success => self.score = self.score.saturating_sub(SUCCESS_WORTH),
            AttemptClass::Passing { .. } => {
                self.score = (self.score + 1).min(SCORE_MAX);
                self.last_failure = now;
            }
            AttemptClass::Final if was_probe => self.score = 0,
            AttemptClass::Final | AttemptClass::Sleeping | AttemptClass::NotMade => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSING: AttemptClass = AttemptClass::Passing { retry_after_ms: None };
    const DELAYS: [i64; 2] = [30_000, 60_000];

    #[test]
    fn statuses_are_classified() {
        for (status, class) in [
            (200, AttemptClass::Success),
            (204, AttemptClass::Success),
            (301, AttemptClass::Final),
            (400, AttemptClass::Final),
            (404, AttemptClass::Final),
            (408, PASSING),
            (429, AttemptClass::Passing { retry_after_ms: Some(7) }),
            (500, PASSING),
            (502, PASSING),
            (503, AttemptClass::Passing { retry_after_ms: Some(7) }),
        ] {
            assert_eq!(AttemptClass::of_status(status, Some(7)), class, "{status}");
        }
    }

    #[test]
    fn a_passing_failure_is_tried_again_after_30_and_60_seconds_and_then_dropped() {
        let now = Timestamp(1_000);
        let asked = |ms| AttemptClass::Passing { retry_after_ms: Some(ms) };
        let at = |ms, attempt| Next::RetryAt { at: Timestamp(ms), attempt };
        for (class, attempt, next) in [
            (AttemptClass::Success, 1, Next::Done(Outcome::Success)),
            (AttemptClass::Success, 2, Next::Done(Outcome::Success)),
            (AttemptClass::Success, 3, Next::Done(Outcome::Success)),
            (AttemptClass::Final, 1, Next::Done(Outcome::Error)),
            (AttemptClass::Final, 2, Next::Done(Outcome::Error)),
            (AttemptClass::Final, 3, Next::Done(Outcome::Error)),
            (PASSING, 1, at(31_000, 2)),
            (PASSING, 2, at(61_000, 3)),
            (PASSING, 3, Next::Done(Outcome::Error)),
            (PASSING, 4, Next::Done(Outcome::Error)),
            (asked(0), 1, at(31_000, 2)),
            (asked(-1), 1, at(31_000, 2)),
            (asked(i64::MIN), 2, at(61_000, 3)),
            (asked(5_000), 1, at(31_000, 2)),
            (asked(30_001), 1, at(31_001, 2)),
            (asked(59_999), 2, at(61_000, 3)),
            (asked(60_001), 2, at(61_001, 3)),
            (asked(900_000), 1, at(901_000, 2)),
            (asked(900_001), 1, at(901_000, 2)),
            (asked(i64::MAX), 2, at(901_000, 3)),
            (asked(5_000), 3, Next::Done(Outcome::Error)),
            (AttemptClass::Sleeping, 1, at(31_000, 2)),
            (AttemptClass::Sleeping, 2, at(61_000, 3)),
            (AttemptClass::Sleeping, 3, Next::Done(Outcome::Skipped)),
            (AttemptClass::NotMade, 1, at(2_000, 1)),
            (AttemptClass::NotMade, 3, at(2_000, 3)),
        ] {
            assert_eq!(decide_retry(class, attempt, now, &DELAYS), next, "{class:?} {attempt}");
        }
    }

    #[test]
    fn without_delays_the_first_attempt_is_the_last_and_with_more_there_are_more() {
        let now = Timestamp(0);
        let asked = AttemptClass::Passing { retry_after_ms: Some(1_000) };
        for (class, outcome) in [
            (AttemptClass::Success, Outcome::Success),
            (AttemptClass::Final, Outcome::Error),
            (PASSING, Outcome::Error),
            (asked, Outcome::Error),
            (AttemptClass::Sleeping, Outcome::Skipped),
        ] {
            assert_eq!(decide_retry(class, 1, now, &[]), Next::Done(outcome), "{class:?}");
        }
        let delays: Vec<i64> = (1..=8).collect();
        for attempt in 1..=8 {
            let next = Next::RetryAt { at: Timestamp(i64::from(attempt)), attempt: attempt + 1 };
            assert_eq!(decide_retry(PASSING, attempt, now, &delays), next);
        }
        assert_eq!(decide_retry(PASSING, 9, now, &delays), Next::Done(Outcome::Error));
    }

    #[test]
    fn a_destination_that_fails_much_more_than_it_succeeds_sleeps_until_a_probe_succeeds() {
        let mut health = Health::default();
        let mut now = Timestamp(0);
        for _ in 0..SLEEP_AFTER_FAILURES {
            assert_eq!(health.admit(now), Admission::Go);
            health.record(PASSING, now);
        }
        assert_eq!(health.admit(now), Admission::Sleep);
        now = now.plus_ms(QUIET_MS);
        assert_eq!(health.admit(now), Admission::Probe);
        health.probe(now);
        assert_eq!(health.admit(now), Admission::Sleep, "one probe at a time");
        health.record(PASSING, now);
        assert_eq!(health.admit(now), Admission::Sleep);
        now = now.plus_ms(QUIET_MS);
        health.probe(now);
        health.record(AttemptClass::Success, now);
        assert_eq!(health.admit(now), Admission::Go);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_destination_asleep() {
        let hour_before = Timestamp(0);
        let now = hour_before.plus_ms(3_600_000);
        let asleep = Health { score: SCORE_MAX, last_failure: now, probing_since: None };
        assert_eq!(asleep.admit(now), Admission::Sleep);
        assert_eq!(asleep.admit(hour_before), Admission::Probe);
        let probed = Health { probing_since: Some(now), ..asleep };
        assert_eq!(probed.admit(hour_before), Admission::Probe);
    }

    #[test]
    fn mixed_results_and_refused_requests_do_not_put_it_to_sleep() {
        let mut health = Health::default();
        for n in 0..1_000 {
            health.record(if n % 5 == 0 { AttemptClass::Success } else { PASSING }, Timestamp(n));
        }
        assert_eq!(health.admit(Timestamp(1_000)), Admission::Go);
        let mut health = Health::default();
        for n in 0..1_000 {
            health.record(AttemptClass::Final, Timestamp(n));
            health.record(AttemptClass::NotMade, Timestamp(n));
        }
        assert_eq!(health.admit(Timestamp(1_000)), Admission::Go);
    }
}
