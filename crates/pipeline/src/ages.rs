//! Whether what looks too old to be kept may be dropped. A clock that is far ahead makes everything look so, and what is
//! dropped does not come back when the clock is put right.

use std::time::Duration;

use tokio::time::Instant;
use tributary_domain::{Timestamp, time::DAY_MS};

/// How far the clock may be ahead of what is known of the time, in milliseconds, without being doubted.
const JUMP_MS: i64 = 2 * DAY_MS;
/// How long a clock that is doubted must go on before it is believed: time for somebody to see the warning.
const BELIEVED_AFTER: Duration = Duration::from_secs(86_400);

/// What the clock is held against: what it said last, and the time since by a clock that cannot be set.
pub(crate) struct Ages {
    last: Option<(Timestamp, Instant)>,
    doubted_until: Option<Instant>,
}

impl Ages {
    /// With the newest time in the store; `None` when nothing is kept yet.
    pub(crate) fn new(newest: Option<Timestamp>) -> Ages {
        Ages { last: newest.map(|newest| (newest, Instant::now())), doubted_until: None }
    }

    /// Whether history may be dropped by this time; `instant` is the same moment by the clock that cannot be set.
    pub(crate) fn may_drop(&mut self, now: Timestamp, instant: Instant) -> bool {
        if let Some((last, at)) = self.last {
            let passed = i64::try_from(instant.saturating_duration_since(at).as_millis()).unwrap_or(i64::MAX);
            let ahead_ms = now.0.saturating_sub(last.0).saturating_sub(passed);
            if ahead_ms > JUMP_MS {
                self.doubted_until = Some(instant + BELIEVED_AFTER);
                tracing::warn!(
                    ahead_days = ahead_ms / DAY_MS,
                    "the clock is far ahead of the newest history: nothing is dropped by its age for a day"
                );
            } else if ahead_ms < -JUMP_MS {
                // It was put right again.
                self.doubted_until = None;
            }
        }
        self.last = Some((now, instant));
        self.doubted_until.is_none_or(|until| until <= instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn days(days: i64) -> Timestamp {
        NOW.plus_ms(days * DAY_MS)
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_far_ahead_at_the_start_drops_nothing_until_it_has_gone_on_for_a_day() {
        let mut ages = Ages::new(Some(NOW));
        assert!(!ages.may_drop(days(40), after(0)));
        assert!(!ages.may_drop(days(41), after(86_000)), "not believed yet");
        assert!(ages.may_drop(days(41), after(86_410)));
    }

    #[test]
    fn one_that_jumps_while_the_server_runs_is_doubted_and_believed_once_it_is_put_right() {
        let mut ages = Ages::new(Some(days(-1)));
        assert!(ages.may_drop(NOW, after(0)));
        assert!(!ages.may_drop(days(365), after(600)));
        assert!(ages.may_drop(NOW, after(1_200)), "it is right again");
    }

    #[test]
    fn time_that_passes_is_no_jump() {
        let mut ages = Ages::new(None);
        for day in [0, 1, 2, 30, 31, 400_u32] {
            assert!(ages.may_drop(days(day.into()), after(u64::from(day) * 86_400)), "day {day}");
        }
    }
}
