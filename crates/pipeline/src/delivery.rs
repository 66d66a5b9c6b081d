//! Delivery: one attempt, and what follows from it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;
use tributary_domain::{
    Event, MemberId, Timestamp, limits,
    outcome::{AttemptClass, Health, Next, Outcome, decide_retry},
};
use tributary_targets::{Attempt, Clients, Message, Variables};

use crate::{
    Settings,
    lanes::{Job, PLACE_BYTES, lane_name, unresolved_lane},
    metrics::Metrics,
    outcome::{Finished, hook_events},
    recorder::{Report, Verdict},
    routes::{Entry, Route, Routes},
    share::{Part, Shares},
    streams::Streams,
};

/// Steps of template work that are done at once; a delivery that needs more takes a turn for them.
const QUICK_STEPS: usize = 4_000;
/// What the templates of one delivery may put out together, in bytes.
const OUTPUT_BYTES: usize = 2 * limits::RENDERED_BYTES;
/// The largest request, with address and headers, in bytes.
pub(crate) const RENDER_BYTES: usize = 2 * limits::RENDERED_BYTES;
/// Wait before an integration that could not be read is read again.
const READ_RETRY: Duration = Duration::from_millis(500);
/// What is remembered of a body for the log: more than it shows, so that a secret at its end is seen whole.
const LOGGED_BYTES: usize = 2 * 102_400;

/// Sends messages and reports how it went. Cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    pub(crate) clients: Clients,
    pub(crate) streams: Streams,
    pub(crate) retry_delays_ms: Arc<[i64]>,
    pub(crate) now: fn() -> Timestamp,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where integrations are read from.
    pub(crate) routes: Routes,
    /// Turns of renderings that take much work: one at a time in all.
    pub(crate) hard_work: Shares,
}

/// Why a delivery is not sent.
pub(crate) enum NotSent {
    /// Its integration is gone, or does not compile.
    Gone,
    /// It cannot be built: the text of a final error.
    Failed(String),
}

/// A delivery that can be sent.
pub struct Prepared {
    /// The delivery.
    pub(crate) job: Job,
    /// Its integration, compiled.
    pub(crate) route: Arc<Route>,
    /// What is sent.
    pub(crate) message: Message,
    /// What it takes of its owner's share of the places.
    part: Part,
}

impl Prepared {
    /// Once it was sent, it takes what there is to remember of it.
    pub(crate) fn sent(&mut self, attempt: &Attempt) {
        let reply = attempt.reply.as_ref().map_or(0, |reply| reply.body.len());
        self.part.shrink(size_of_message(&self.message).min(LOGGED_BYTES) + reply);
    }
}

/// Where a delivery waits: where its destination depends on the event, with all of its owner's that do, since there may be
/// ever new ones.
fn waits_in(entry: &Entry, lane: &Arc<str>) -> Arc<str> {
    if entry.has_lane() { lane.clone() } else { unresolved_lane(entry.owner()).into() }
}

/// The bytes of a message that templates and events make.
fn size_of_message(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    message.url.len() + headers + message.body.len()
}

/// A message without what the log does not show anyway.
fn for_the_log(mut message: Message) -> Message {
    if message.body.len() > LOGGED_BYTES {
        // A copy: a slice would keep all of it.
        message.body = Bytes::copy_from_slice(&message.body[..LOGGED_BYTES]);
    }
    message
}

impl Delivery {
    pub(crate) fn new(
        clients: Clients,
        routes: &Routes,
        streams: &Streams,
        reports: &mpsc::UnboundedSender<Report>,
        metrics: &Arc<Metrics>,
        settings: &Settings,
    ) -> Delivery {
        Delivery {
            clients,
            routes: routes.clone(),
            streams: streams.clone(),
            retry_delays_ms: settings.retry_delays_ms.as_slice().into(),
            now: settings.now,
            reports: reports.clone(),
            metrics: metrics.clone(),
            hard_work: Shares::new(1),
        }
    }

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

    /// Renders a delivery. `part` is room for all that it may render; it is reduced to what it takes, at least `least`.
    ///
    /// # Errors
    /// The job, with why it is not sent.
    pub(crate) async fn prepare(
        &self,
        job: Job,
        mut part: Part,
        least: usize,
    ) -> Result<Prepared, (Box<Job>, NotSent)> {
        let Some(route) = self.route_of(&job.entry).await else { return Err((Box::new(job), NotSent::Gone)) };
        match self.render(&route, &job.event).await {
            Ok(message) => {
                let alone = least >= PLACE_BYTES;
                let reply = if alone { route.compiled.target.response().reply_bytes() } else { 0 };
                // What is compiled for one that is large cannot be given up while it is being sent.
                let compiled = if alone { job.entry.configuration_bytes() } else { 0 };
                part.shrink(least.max(size_of_message(&message) + reply + compiled));
                Ok(Prepared { job, route, message, part })
            }
            Err(error) => Err((Box::new(job), NotSent::Failed(error))),
        }
    }

    /// The route of an entry, compiled if it is not; `None` when its integration is gone or does not compile. A store that
    /// cannot be read now is asked again: no delivery may be lost by that.
    async fn route_of(&self, entry: &Entry) -> Option<Arc<Route>> {
        loop {
            match self.routes.route_of(entry).await {
                Ok(route) => return route,
                Err(error) => {
                    tracing::error!(%error, "an integration cannot be read and is tried again");
                    tokio::time::sleep(READ_RETRY).await;
                }
            }
        }
    }

    /// The lane of a delivery whose destination was not known.
    ///
    /// # Errors
    /// Why it is not sent.
    pub(crate) async fn lane_of(&self, job: &Job) -> Result<Arc<str>, NotSent> {
        let route = self.route_of(&job.entry).await.ok_or(NotSent::Gone)?;
        if let Some(lane) = job.entry.learn_lane(&route) {
            return Ok(lane);
        }
        let destination = self.destination(&route, &job.event).await.map_err(NotSent::Failed)?;
        Ok(lane_name(route.owner, &destination).into())
    }

    /// The integration of a delivery is gone, or does not compile: it is as if it had not been.
    pub(crate) fn gone(&self, job: &Job) {
        let verdict = Verdict::Gone { counted: job.entry.counted };
        // The recorder outlives the lanes; when it is gone, so is the process.
        let _ = self.reports.send(Report::Completed { id: job.id, place: job.place, verdict });
    }

    /// Builds what is sent of an event, within the budget of one delivery: at once where that takes little work, else
    /// beside the threads that serve everybody, one for each owner in turn.
    ///
    /// # Errors
    /// The text of a final error.
    pub(crate) async fn render(&self, route: &Arc<Route>, event: &Arc<Event>) -> Result<Message, String> {
        self.with_budget(route, event, |route, variables| {
            let message = route.compiled.target.render(variables)?;
            match size_of_message(&message) {
                bytes if bytes > RENDER_BYTES => Err(format!(
                    "the request is too large: {bytes} bytes with its headers, {RENDER_BYTES} are allowed"
                )),
                _ => Ok(message),
            }
        })
        .await
    }

    /// Where a delivery goes, as [`Delivery::render`].
    ///
    /// # Errors
    /// The text of a final error.
    pub(crate) async fn destination(&self, route: &Arc<Route>, event: &Arc<Event>) -> Result<String, String> {
        self.with_budget(route, event, |route, variables| route.compiled.target.destination(variables)).await
    }

    async fn with_budget<T: Send + 'static>(
        &self,
        route: &Arc<Route>,
        event: &Arc<Event>,
        make: impl Fn(&Route, &Variables<'_>) -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        {
            let variables = Delivery::variables(route, event).within(QUICK_STEPS, OUTPUT_BYTES);
            let made = make(route, &variables);
            if !variables.is_over_budget() {
                return made;
            }
        }
        let turn = self.hard_work.take(route.owner, 1).await;
        let (route, event) = (route.clone(), event.clone());
        let made = tokio::task::spawn_blocking(move || {
            // Held until it is done, also when whoever asked for it has gone.
            let _turn = turn;
            let variables = Delivery::variables(&route, &event).within(limits::RENDER_STEPS, OUTPUT_BYTES);
            make(&route, &variables)
        });
        // It neither panics nor is aborted, but for the end of the process.
        made.await.unwrap_or_else(|_| Err("the request could not be built".to_owned()))
    }

    pub(crate) async fn send(&self, prepared: &Prepared) -> Attempt {
        prepared.route.compiled.target.send(&prepared.message, &self.clients).await
    }

    /// As [`Delivery::finish`] for a delivery of which nothing was sent.
    pub(crate) async fn finish_unsent(&self, job: Job, lane: &Arc<str>, attempt: Attempt) {
        match self.route_of(&job.entry).await {
            Some(route) => self.ended(job, route, None, lane, attempt, Duration::ZERO).await,
            None => self.gone(&job),
        }
    }

    /// Shows what the attempt caused, decides what follows, and reports it to the recorder.
    pub(crate) async fn finish(&self, prepared: Prepared, lane: &Arc<str>, attempt: Attempt, took: Duration) {
        let Prepared { job, route, message, part } = prepared;
        self.ended(job, route, Some((message, part)), lane, attempt, took).await;
    }

    async fn ended(
        &self,
        job: Job,
        route: Arc<Route>,
        sent: Option<(Message, Part)>,
        lane: &Arc<str>,
        mut attempt: Attempt,
        took: Duration,
    ) {
        let now = self.now();
        let (message, part) = sent.unzip();
        self.metrics.attempt(&attempt.class);
        self.log_line(&job, message.as_ref(), &attempt, took);
        // What was not attempted caused nothing.
        if attempt.class != AttemptClass::NotMade {
            self.show(&route, &job.event, &attempt, now).await;
        }
        // Only what is shown of a reply needs all of a long one.
        attempt.reply.iter_mut().for_each(tributary_targets::Reply::shorten);
        let (id, place) = (job.id, job.place);
        let delays_ms = route.compiled.retry_delays_ms.as_deref().unwrap_or(&self.retry_delays_ms);
        let verdict = match decide_retry(attempt.class, job.attempt, now, delays_ms) {
            Next::RetryAt { at, attempt } => Verdict::Waits {
                lane: waits_in(&job.entry, lane),
                due_at: at,
                attempt,
                counted: job.entry.counted,
                event: job.event,
            },
            Next::Done(outcome) => Verdict::Ended(Box::new(Finished {
                route,
                event: job.event,
                outcome,
                at: now,
                attempt: job.attempt,
                duration: took,
                test: false,
                message: message.map(for_the_log),
                result: attempt,
                part: part.map(Arc::new),
            })),
        };
        // The recorder outlives the lanes; when it is gone, so is the process.
        let _ = self.reports.send(Report::Completed { id, place, verdict });
    }

    /// Lets a delivery that was not attempted wait in the pending table.
    pub(crate) fn postpone(&self, job: Job, lane: &Arc<str>, wait: Duration) {
        self.metrics.spilled(1);
        let verdict = Verdict::Waits {
            lane: waits_in(&job.entry, lane),
            due_at: self.now().plus_ms(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
            attempt: job.attempt,
            counted: job.entry.counted,
            event: job.event,
        };
        // The recorder outlives the lanes; when it is gone, so is the process.
        let _ = self.reports.send(Report::Completed { id: job.id, place: job.place, verdict });
    }

    /// A destination fell asleep, failed in its sleep, or woke up.
    pub(crate) fn slept(&self, lane: &Arc<str>, health: Option<Health>) {
        // The recorder outlives the lanes; when it is gone, so is the process.
        let _ = self.reports.send(Report::Slept { lane: lane.clone(), health });
    }

    /// A delivery that ends before anything could be sent: its integration was disabled while it waited. `None` when it
    /// is gone too.
    pub(crate) async fn ended_unsent(
        &self,
        entry: &Entry,
        event: Arc<tributary_domain::Event>,
        attempt: u32,
        class: AttemptClass,
        error: String,
    ) -> Option<Finished> {
        let route = self.route_of(entry).await?;
        let outcome = if class == AttemptClass::Sleeping { Outcome::Skipped } else { Outcome::Error };
        let result = Attempt { class, error: Some(error), reply: None };
        let now = self.now();
        self.show(&route, &event, &result, now).await;
        Some(Finished {
            route,
            event,
            outcome,
            at: now,
            attempt,
            duration: Duration::ZERO,
            test: false,
            message: None,
            result,
            part: None,
        })
    }

    async fn show(&self, route: &Arc<Route>, event: &Arc<Event>, attempt: &Attempt, now: Timestamp) {
        if self.streams.count() == 0 {
            return;
        }
        let (result, shown) = (attempt.clone(), now);
        let made = self
            .with_budget(route, event, move |route, variables| {
                Ok(hook_events(route, variables, &result, shown))
            })
            .await;
        for hook_event in made.unwrap_or_default() {
            self.streams.show_hook(&hook_event);
        }
    }

    /// One line per attempt, the same fields everywhere; payloads and addresses stay out of it.
    fn log_line(&self, job: &Job, message: Option<&Message>, attempt: &Attempt, took: Duration) {
        tracing::debug!(
            integration.id = %job.entry.counted.integration,
            product.id = job.entry.counted.product.map(|p| p.0),
            event.id = %job.event.id,
            delivery.attempt = job.attempt,
            delivery.destination = message.map(|message| &*message.destination),
            delivery.status = attempt.reply.as_ref().map(|r| r.status),
            delivery.error = attempt.error,
            delivery.ms = took.as_millis(),
            "attempt"
        );
    }
}
