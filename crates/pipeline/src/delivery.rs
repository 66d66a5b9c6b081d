//! Delivery: one attempt, and what follows from it.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tributary_domain::{
    MemberId, Timestamp,
    outcome::{AttemptClass, Health, Next, Outcome, decide_retry},
};
use tributary_targets::{Attempt, Clients, Variables};

use crate::{
    lanes::Job,
    metrics::Metrics,
    outcome::{Finished, hook_events},
    recorder::{Report, Verdict},
    routes::Route,
    streams::Streams,
};

/// Sends messages and reports how it went. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    pub(crate) clients: Clients,
    pub(crate) streams: Streams,
    pub(crate) retry_delays_ms: Arc<[i64]>,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Delivery {
    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// The variables that an event offers to an integration's templates.
    pub(crate) fn variables<'a>(route: &'a Route, event: &'a tributary_domain::Event) -> Variables<'a> {
        let (counted, compiled) = (&route.counted, &route.compiled);
        let recipient = counted.member.unwrap_or(MemberId(counted.integration.0));
        Variables::new(event, counted.product, route.product_user, &compiled.secrets)
            .with_parameters(&compiled.parameters)
            .received_by(recipient)
    }

    pub(crate) async fn send(&self, job: &Job) -> Attempt {
        job.route.compiled.target.send(&job.message, &self.clients).await
    }

    /// Shows what the attempt caused, decides what follows, and reports it to the recorder.
    pub(crate) fn finish(&self, job: Job, lane: &Arc<str>, mut attempt: Attempt, took: Duration) {
        let now = self.now();
        self.metrics.attempt(&attempt.class);
        self.log_line(&job, &attempt, took);
        self.show(&job.route, &job.event, &attempt, now);
        // Only what is shown of a reply needs all of a long one.
        attempt.reply.iter_mut().for_each(tributary_targets::Reply::shorten);
        let (id, seq) = (job.id, job.seq);
        let delays_ms = job.route.compiled.retry_delays_ms.as_deref().unwrap_or(&self.retry_delays_ms);
        let verdict = match decide_retry(attempt.class, job.attempt, now, delays_ms) {
            Next::RetryAt { at, attempt } => Verdict::Waits {
                lane: lane.clone(),
                due_at: at,
                attempt,
                counted: job.route.counted,
                event: job.event,
            },
            Next::Done(outcome) => Verdict::Ended(Box::new(Finished {
                route: job.route,
                event: job.event,
                outcome,
                at: now,
                attempt: job.attempt,
                duration: took,
                test: false,
                message: Some(job.message),
                result: attempt,
            })),
        };
        // The recorder outlives the lanes; when it is gone, so is the process.
        let _ = self.reports.send(Report::Completed { id, seq, verdict });
    }

    /// Lets a delivery that was not attempted wait in the pending table.
    pub(crate) fn postpone(&self, job: Job, lane: &Arc<str>, wait: Duration) {
        self.metrics.spilled(1);
        let verdict = Verdict::Waits {
            lane: lane.clone(),
            due_at: self.now().plus_ms(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
            attempt: job.attempt,
            counted: job.route.counted,
            event: job.event,
        };
        // The recorder outlives the lanes; when it is gone, so is the process.
        let _ = self.reports.send(Report::Completed { id: job.id, seq: job.seq, verdict });
    }

    /// A destination fell asleep, failed in its sleep, or woke up.
    pub(crate) fn slept(&self, lane: &Arc<str>, health: Option<Health>) {
        // The recorder outlives the lanes; when it is gone, so is the process.
        let _ = self.reports.send(Report::Slept { lane: lane.clone(), health });
    }

    /// A delivery that ends before anything could be sent: its request could not be built, or its integration went
    /// away while it waited.
    pub(crate) fn ended_unsent(
        &self,
        route: Arc<Route>,
        event: Arc<tributary_domain::Event>,
        attempt: u32,
        class: AttemptClass,
        error: String,
    ) -> Finished {
        let outcome = if class == AttemptClass::Sleeping { Outcome::Skipped } else { Outcome::Error };
        let result = Attempt { class, error: Some(error), reply: None };
        let now = self.now();
        self.show(&route, &event, &result, now);
        Finished {
            route,
            event,
            outcome,
            at: now,
            attempt,
            duration: Duration::ZERO,
            test: false,
            message: None,
            result,
        }
    }

    fn show(&self, route: &Route, event: &tributary_domain::Event, attempt: &Attempt, now: Timestamp) {
        if self.streams.count() == 0 {
            return;
        }
        for hook_event in hook_events(route, event, attempt, now) {
            self.streams.show_hook(&hook_event);
        }
    }

    /// One line per attempt, the same fields everywhere; payloads and addresses stay out of it.
    fn log_line(&self, job: &Job, attempt: &Attempt, took: Duration) {
        tracing::debug!(
            integration.id = %job.route.counted.integration,
            product.id = job.route.counted.product.map(|p| p.0),
            event.id = %job.event.id,
            delivery.attempt = job.attempt,
            delivery.destination = job.message.destination,
            delivery.status = attempt.reply.as_ref().map(|r| r.status),
            delivery.error = attempt.error,
            delivery.ms = took.as_millis(),
            "attempt"
        );
    }
}
