//! What the data plane counts for operators, since the start of the process.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use tributary_domain::outcome::{AttemptClass, Outcome};

/// Counters in the Prometheus sense: they only grow.
#[derive(Debug, Default)]
pub struct Metrics {
    events: AtomicU64,
    attempts: [AtomicU64; 4],
    outcomes: [AtomicU64; 3],
    commits: AtomicU64,
    commit_failures: AtomicU64,
    spilled: AtomicU64,
}

const ATTEMPTS: [&str; 4] = ["success", "final", "passing", "sleeping"];
const OUTCOMES: [Outcome; 3] = [Outcome::Success, Outcome::Error, Outcome::Skipped];

impl Metrics {
    pub(crate) fn events_read(&self, n: usize) {
        self.events.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn attempt(&self, class: &AttemptClass) {
        let index = match class {
            AttemptClass::Success => 0,
            AttemptClass::Final => 1,
            AttemptClass::Passing { .. } => 2,
            AttemptClass::Sleeping => 3,
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

    /// The counters in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut out = String::new();
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
}
