//! What the data plane counts for operators, since the start of the process.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use tributary_domain::{
    Timestamp,
    outcome::{AttemptClass, Outcome},
};

/// Counters in the Prometheus sense: they only grow.
#[derive(Debug, Default)]
pub struct Metrics {
    events: AtomicU64,
    attempts: [AtomicU64; 5],
    outcomes: [AtomicU64; 3],
    commits: AtomicU64,
    commit_failures: AtomicU64,
    spilled: AtomicU64,
    unread: AtomicU64,
    backlogs: AtomicU64,
    /// When the oldest event was accepted that waits in a backlog, in unix milliseconds; 0 = none waits.
    oldest_unrouted: AtomicI64,
    /// Since when the oldest delivery has been due that is not sent, in unix milliseconds; 0 = none is.
    oldest_due: AtomicI64,
    /// When each stage last came round, in unix milliseconds.
    alive: [AtomicI64; 2],
}

/// The stages that tell that they are alive.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Router,
    Recorder,
}

const STAGES: [&str; 2] = ["router", "recorder"];
/// How long a stage may take before the server says that it is not ready, in milliseconds.
const STANDS_STILL_MS: i64 = 10_000;

const ATTEMPTS: [&str; 5] = ["success", "final", "passing", "sleeping", "not_made"];
const OUTCOMES: [Outcome; 3] = [Outcome::Success, Outcome::Error, Outcome::Skipped];

impl Metrics {
    /// Nothing counted yet.
    pub(crate) fn begin(now: Timestamp) -> Metrics {
        let metrics = Metrics::default();
        metrics.alive.iter().for_each(|at| at.store(now.0, Ordering::Relaxed));
        metrics
    }

    pub(crate) fn events_read(&self, n: usize) {
        self.events.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// How many events the reading of the log is behind, the oldest event of a backlog, and how many backlogs there are.
    pub(crate) fn reads(&self, unread: u64, oldest: Option<Timestamp>, backlogs: usize) {
        self.unread.store(unread, Ordering::Relaxed);
        self.backlogs.store(backlogs as u64, Ordering::Relaxed);
        self.oldest_unrouted.store(oldest.map_or(0, |at| at.0), Ordering::Relaxed);
    }

    /// Since when the oldest delivery has been due that is not sent.
    pub(crate) fn oldest_due(&self, at: Option<Timestamp>) {
        self.oldest_due.store(at.map_or(0, |at| at.0), Ordering::Relaxed);
    }

    pub(crate) fn attempt(&self, class: &AttemptClass) {
        let index = match class {
            AttemptClass::Success => 0,
            AttemptClass::Final => 1,
            AttemptClass::Passing { .. } => 2,
            AttemptClass::Sleeping => 3,
            AttemptClass::NotMade => 4,
        };
        self.attempts[index].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn outcome(&self, outcome: Outcome) {
        let index = OUTCOMES.iter().position(|o| *o == outcome).unwrap_or_default();
        self.outcomes[index].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn commit_failed(&self) {
        self.commit_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spilled(&self, n: usize) {
        self.spilled.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Notes that a stage of the data plane does its work, or waits for others to give it some.
    pub(crate) fn alive(&self, stage: Stage, now: Timestamp) {
        self.alive[stage as usize].store(now.0, Ordering::Relaxed);
    }

    /// What stands still, in words, if anything does: a stage that has not come round for ten seconds.
    pub fn stands_still(&self, now: Timestamp) -> Option<String> {
        STAGES.iter().zip(&self.alive).find_map(|(name, at)| {
            let since_ms = now.0 - at.load(Ordering::Relaxed);
            (since_ms >= STANDS_STILL_MS)
                .then(|| format!("the {name} has stood still for {} s", since_ms / 1_000))
        })
    }

    /// The counters and gauges in Prometheus' text format.
    pub fn render(&self, now: Timestamp) -> String {
        let mut out = String::new();
        self.gauges(&mut out, now);
        let mut family = |name: &str, help: &str, samples: &[(String, &AtomicU64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
            for (labels, value) in samples {
                let _ = writeln!(out, "{name}{labels} {}", value.load(Ordering::Relaxed));
            }
        };
        let plain = |value| [(String::new(), value)];
        family("tributary_events_total", "Events taken from the log.", &plain(&self.events));
        let attempts: Vec<_> =
            ATTEMPTS.iter().zip(&self.attempts).map(|(n, v)| (format!("{{result=\"{n}\"}}"), v)).collect();
        family("tributary_attempts_total", "Delivery attempts by result.", &attempts);
        let outcomes: Vec<_> = OUTCOMES
            .iter()
            .zip(&self.outcomes)
            .map(|(o, v)| (format!("{{outcome=\"{}\"}}", o.as_str()), v))
            .collect();
        family("tributary_deliveries_total", "Ended deliveries by outcome.", &outcomes);
        family("tributary_commits_total", "Batches committed to the store.", &plain(&self.commits));
        family(
            "tributary_commit_failures_total",
            "Batches that could not be committed at once.",
            &plain(&self.commit_failures),
        );
        family("tributary_spilled_total", "Deliveries moved to the pending table.", &plain(&self.spilled));
        out
    }

    fn gauges(&self, out: &mut String, now: Timestamp) {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
        };
        let since = |at: &AtomicI64| match at.load(Ordering::Relaxed) {
            0 => 0.0,
            #[expect(
                clippy::cast_precision_loss,
                reason = "a span of time in milliseconds is far below 2^52"
            )]
            at => (now.0 - at).max(0) as f64 / 1_000.0,
        };
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let count = |value: &AtomicU64| value.load(Ordering::Relaxed) as f64;
        gauge("tributary_unread_events", "Accepted events that are not routed yet.", count(&self.unread));
        gauge("tributary_backlogs", "Owners whose events wait in the log.", count(&self.backlogs));
        let help = "Age of the oldest accepted event that is not routed yet.";
        gauge("tributary_oldest_unrouted_seconds", help, since(&self.oldest_unrouted));
        let help = "For how long the oldest delivery has been due that is not in its lane yet.";
        gauge("tributary_oldest_due_seconds", help, since(&self.oldest_due));
    }
}
