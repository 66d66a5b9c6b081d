//! Sending several events in one request, where a service takes them so.
//!
//! Deliveries stay what they are, one for each event, each with its own outcome: those that are under way at the same
//! time meet here. The first of them leads: it sends for all and tells each what became of its event. Nothing outlives
//! the deliveries themselves: where the time of the first is over, so is that of the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    time::timeout,
};
use tributary_domain::outcome::AttemptClass;

use crate::{
    Attempt, BoxFuture, Clients, Field, Message, Shape,
    fields::{Reader, scalar},
    kinds::field,
    net::{Reached, passing},
};

/// The field of the kinds that have it.
pub(crate) const FIELD: Field = field(
    NAME,
    Shape::Object,
    "Events in one request: max_events, max_bytes, and max_wait_ms, how long the first waits for others. If absent, those go together that wait while requests are under way.",
);

const NAME: &str = "batch";
/// Requests of an integration that run at once: what comes meanwhile gathers.
const REQUESTS: usize = 8;
/// Lowest `max_bytes`.
const BYTES_MIN: usize = 1_024;
/// Longest wait for others, in milliseconds: a delivery has 20 s in all.
const WAIT_MS_MAX: u64 = 5_000;

/// The most that a request of a kind can have in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// What a request came to.
pub(crate) enum Answer {
    /// The same for all of it.
    Whole(Attempt),
    /// One attempt for each message, in their order.
    Each(Vec<Attempt>),
    /// The same; a message without one is sent again by itself.
    Some(Vec<Option<Attempt>>),
}

/// What can send several messages in one request.
pub(crate) trait Together: Send + Sync {
    /// Sends messages that have the same key; there is at least one.
    fn send_together<'a>(&'a self, messages: &'a [Message], clients: &'a Clients) -> BoxFuture<'a, Answer>;
}

/// Where the deliveries of an integration meet.
pub(crate) struct Gather {
    most: Most,
    wait: Duration,
    /// By key; only those that still take messages.
    open: Mutex<HashMap<Box<str>, Arc<Group>>>,
    requests: Semaphore,
}

/// Messages that will go together.
#[derive(Default)]
struct Group {
    gathered: Mutex<Gathered>,
    /// Told when no more fits in.
    full: Notify,
    /// Whether its leader has a connection.
    reached: Arc<Reached>,
}

#[derive(Default)]
struct Gathered {
    messages: Vec<Message>,
    /// Who waits for the second message and those after it; the first is the leader's.
    waiting: Vec<oneshot::Sender<Attempt>>,
    bytes: usize,
    is_closed: bool,
}

enum Joined {
    First(Arc<Group>),
    /// With whether the leader has a connection.
    Waiting(oneshot::Receiver<Attempt>, Arc<Reached>),
}

impl Gather {
    /// Reads the field.
    pub(crate) fn read(reader: &mut Reader<'_>, most: Most) -> Gather {
        let given = reader.object(NAME);
        let mut number = |name: &str, low: usize, high: usize, absent: usize| {
            let value = given.and_then(|object| object.get(name));
            let Some(value) = value.filter(|value| !value.is_null() && value.as_str() != Some("")) else {
                return absent;
            };
            let number = scalar(value).and_then(|text| text.trim().parse().ok());
            number.filter(|number| (low..=high).contains(number)).unwrap_or_else(|| {
                let path = format!("{NAME}.{name}");
                reader.error(path, format!("must be a whole number from {low} to {high}"));
                absent
            })
        };
        let events = number("max_events", 1, most.events, most.events);
        let bytes = number("max_bytes", BYTES_MIN, most.bytes, most.bytes);
        #[expect(clippy::cast_possible_truncation, reason = "5,000 fits everywhere")]
        let wait = number("max_wait_ms", 0, WAIT_MS_MAX as usize, 0);
        for name in given.into_iter().flat_map(serde_json::Map::keys) {
            if !["max_events", "max_bytes", "max_wait_ms"].contains(&&**name) {
                reader.error(
                    format!("{NAME}.{name}"),
                    "is not known; there are max_events, max_bytes and max_wait_ms",
                );
            }
        }
        Gather {
            most: Most { events, bytes },
            wait: Duration::from_millis(wait as u64),
            open: Mutex::default(),
            requests: Semaphore::new(REQUESTS),
        }
    }

    /// How many messages a request has at most.
    pub(crate) fn most_events(&self) -> usize {
        self.most.events
    }

    /// Sends a message, with others of this key where there are some, within the time that a delivery has.
    pub(crate) async fn send(
        &self,
        together: &dyn Together,
        key: &str,
        message: &Message,
        clients: &Clients,
    ) -> Attempt {
        let reached = Arc::new(Reached::default());
        reached.note();
        self.send_by(together, key, message, clients, &reached).await
    }

    /// The same where `together` makes the connections itself, and notes in `reached` that it has one.
    pub(crate) async fn send_by(
        &self,
        together: &dyn Together,
        key: &str,
        message: &Message,
        clients: &Clients,
        reached: &Arc<Reached>,
    ) -> Attempt {
        if self.most.events == 1 {
            let mut own = None;
            let sent = async {
                settle(together, std::slice::from_ref(message), clients, |_, attempt| own = Some(attempt))
                    .await;
                own.unwrap_or_else(untold)
            };
            return clients.in_time_by(reached, sent).await;
        }
        match self.join(key, message, reached) {
            Joined::First(group) => {
                clients.in_time_by(reached, self.lead(together, key, group, clients)).await
            }
            Joined::Waiting(told, reached) => {
                // A leader that is gone has run out of time.
                let told = async { told.await.unwrap_or_else(|_| reached.out_of_time()) };
                clients.in_time_by(&reached, told).await
            }
        }
    }

    fn join(&self, key: &str, message: &Message, reached: &Arc<Reached>) -> Joined {
        let mut open = self.open.lock();
        if let Some(group) = open.get(key) {
            let mut gathered = group.gathered.lock();
            let bytes = gathered.bytes + message.body.len();
            if !gathered.is_closed && bytes <= self.most.bytes {
                let (tell, told) = oneshot::channel();
                gathered.messages.push(message.clone());
                gathered.waiting.push(tell);
                gathered.bytes = bytes;
                if gathered.messages.len() >= self.most.events {
                    gathered.is_closed = true;
                    group.full.notify_one();
                }
                return Joined::Waiting(told, Arc::clone(&group.reached));
            }
            gathered.is_closed = true;
            group.full.notify_one();
        }
        let group = Arc::new(Group { reached: Arc::clone(reached), ..Group::default() });
        let mut gathered = group.gathered.lock();
        gathered.messages.push(message.clone());
        gathered.bytes = message.body.len();
        drop(gathered);
        open.insert(key.into(), Arc::clone(&group));
        Joined::First(group)
    }

    async fn lead(
        &self,
        together: &dyn Together,
        key: &str,
        group: Arc<Group>,
        clients: &Clients,
    ) -> Attempt {
        let lead = Lead { gather: self, key, group };
        // Those that were started at the same time come first.
        tokio::task::yield_now().await;
        if !self.wait.is_zero() {
            // Either way it is time to go.
            let _ = timeout(self.wait, lead.group.full.notified()).await;
        }
        // The semaphore is never closed, so there always is one.
        let _turn = self.requests.acquire().await.ok();
        let Gathered { messages, waiting, .. } = lead.close();
        let (mut own, mut waiting) = (None, waiting.into_iter().map(Some).collect::<Vec<_>>());
        settle(together, &messages, clients, |n, attempt| match n.checked_sub(1) {
            None => own = Some(attempt),
            Some(n) => {
                if let Some(tell) = waiting.get_mut(n).and_then(Option::take) {
                    // Who does not wait any more has run out of time.
                    let _ = tell.send(attempt);
                }
            }
        })
        .await;
        own.unwrap_or_else(untold)
    }
}

/// Sends messages, and tells what became of each as soon as it is known.
///
/// What is refused as a whole goes again in halves, until what is refused is one message: one that spoils a request costs
/// a few more of them, and not one for each of the others.
async fn settle(
    together: &dyn Together,
    messages: &[Message],
    clients: &Clients,
    mut tell: impl FnMut(usize, Attempt),
) {
    let mut left = Vec::new();
    left.push(0..messages.len());
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < REQUESTS
            && let Some(range) = left.pop()
        {
            running.push(async move {
                let answer = together.send_together(&messages[range.clone()], clients).await;
                (range, answer)
            });
        }
        let Some((range, answer)) = running.next().await else { return };
        let attempts = match answer {
            Answer::Whole(attempt) if attempt.class == AttemptClass::Final && range.len() > 1 => {
                let middle = range.start + range.len() / 2;
                left.extend([middle..range.end, range.start..middle]);
                continue;
            }
            Answer::Whole(attempt) => vec![Some(attempt); range.len()],
            Answer::Each(attempts) => attempts.into_iter().map(Some).collect(),
            Answer::Some(attempts) => attempts,
        };
        let is_one = range.len() == 1;
        let known = attempts.into_iter().chain(std::iter::repeat(None));
        for (n, attempt) in range.zip(known) {
            match attempt {
                Some(attempt) => tell(n, attempt),
                None if is_one => tell(n, untold()),
                None => left.push(n..n + 1),
            }
        }
    }
}

fn untold() -> Attempt {
    passing("the answer does not tell of the event")
}

/// A group with its leader. When that is gone, whatever the reason, nobody waits for it.
struct Lead<'g> {
    gather: &'g Gather,
    key: &'g str,
    group: Arc<Group>,
}

impl Lead<'_> {
    /// Takes no more messages, and gives those that there are.
    fn close(&self) -> Gathered {
        let mut open = self.gather.open.lock();
        if open.get(self.key).is_some_and(|group| Arc::ptr_eq(group, &self.group)) {
            open.remove(self.key);
        }
        let mut gathered = self.group.gathered.lock();
        gathered.is_closed = true;
        std::mem::replace(&mut *gathered, Gathered { is_closed: true, ..Gathered::default() })
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

/// Several messages as one: what the list `list` of their JSON bodies has in it goes into the first's.
///
/// The lists have one element each, and the rest of the bodies is the same.
pub(crate) fn joined(messages: &[Message], list: &str) -> Option<Message> {
    let (first, others) = messages.split_first()?;
    if others.is_empty() {
        return Some(first.clone());
    }
    let mut body: Value = serde_json::from_slice(&first.body).ok()?;
    let elements = body.get_mut(list)?.as_array_mut()?;
    for other in others {
        let mut other: Value = serde_json::from_slice(&other.body).ok()?;
        elements.append(other.get_mut(list)?.as_array_mut()?);
    }
    Some(Message { body: body.to_string().into(), ..first.clone() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{net::ClientSettings, service::final_error};

    const TIME: Duration = Duration::from_secs(5);

    fn message(body: &str) -> Message {
        let text = String::new;
        Message {
            destination: text(),
            method: text(),
            url: text(),
            headers: Vec::new(),
            body: body.to_owned().into(),
        }
    }

    fn success(reply: &str) -> Attempt {
        Attempt { class: AttemptClass::Success, error: Some(reply.to_owned()), reply: None }
    }

    fn clients(timeout: Duration) -> Clients {
        Clients::new(&ClientSettings { timeout, ..ClientSettings::default() }).unwrap()
    }

    fn gather(config: &Value) -> Result<Gather, Vec<String>> {
        let config = json!({"batch": config});
        let mut reader = Reader::new(config.as_object().unwrap());
        let gather = Gather::read(&mut reader, Most { events: 10, bytes: 100_000 });
        reader.finish().map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(gather)
    }

    /// A service that tells of each request and answers when it is let to. It refuses what has `bad` in it, as a whole.
    struct Gate {
        requests: mpsc::Sender<usize>,
        let_through: Semaphore,
        count: AtomicUsize,
    }

    impl Gate {
        fn new() -> (Gate, mpsc::Receiver<usize>) {
            let (requests, heard) = mpsc::channel(100);
            (Gate { requests, let_through: Semaphore::new(0), count: AtomicUsize::new(0) }, heard)
        }
    }

    impl Together for Gate {
        fn send_together<'a>(&'a self, messages: &'a [Message], _: &'a Clients) -> BoxFuture<'a, Answer> {
            Box::pin(async move {
                self.count.fetch_add(1, Ordering::SeqCst);
                self.requests.send(messages.len()).await.unwrap();
                self.let_through.acquire().await.unwrap().forget();
                if messages.iter().any(|message| message.body == "bad") {
                    return Answer::Whole(final_error("bad"));
                }
                let text = |message: &Message| String::from_utf8_lossy(&message.body).into_owned();
                Answer::Each(messages.iter().map(|message| success(&text(message))).collect())
            })
        }
    }

    /// Sends all of `bodies` at once; gives the errors' texts, in which the answers of `Gate` are.
    async fn send_all(gather: &Gather, gate: &Gate, bodies: &[&str]) -> Vec<String> {
        let clients = clients(TIME);
        let send = |body: &str| {
            let (message, clients) = (message(body), &clients);
            async move { gather.send(gate, "k", &message, clients).await.error.unwrap() }
        };
        futures_util::future::join_all(bodies.iter().map(|body| send(body))).await
    }

    #[tokio::test]
    async fn who_waits_while_requests_run_goes_together_and_each_hears_of_its_own() {
        let gather = gather(&json!({})).unwrap();
        let (gate, mut heard) = Gate::new();
        let (gather, gate) = (Arc::new(gather), Arc::new(gate));
        let start = |bodies: Vec<String>| {
            let (gather, gate) = (Arc::clone(&gather), Arc::clone(&gate));
            tokio::spawn(async move {
                let refs: Vec<&str> = bodies.iter().map(String::as_str).collect();
                assert_eq!(send_all(&gather, &gate, &refs).await, refs);
            })
        };
        let mut sent = Vec::new();
        for n in 0..REQUESTS {
            sent.push(start(vec![n.to_string(), format!("with {n}")]));
            assert_eq!(heard.recv().await.unwrap(), 2, "what is started at the same time");
        }
        for n in 0..5 {
            sent.push(start(vec![format!("late {n}")]));
        }
        tokio::task::yield_now().await;
        gate.let_through.add_permits(REQUESTS + 1);
        assert_eq!(heard.recv().await.unwrap(), 5);
        for task in sent {
            task.await.unwrap();
        }
        assert_eq!(gate.count.load(Ordering::SeqCst), REQUESTS + 1);
        assert!(gather.open.lock().is_empty());
    }

    #[tokio::test]
    async fn the_first_waits_for_others_until_there_are_enough_events_or_bytes() {
        let gather = gather(&json!({"max_events": 3, "max_wait_ms": "50", "max_bytes": 1_024})).unwrap();
        let (gate, mut heard) = Gate::new();
        gate.let_through.add_permits(10);
        let long = "x".repeat(600);
        let answers = send_all(&gather, &gate, &["a", "b", "c", "d", &long, &long]).await;
        assert_eq!(answers, ["a", "b", "c", "d", &long, &long]);
        let mut sizes = Vec::new();
        while let Ok(size) = heard.try_recv() {
            sizes.push(size);
        }
        assert_eq!(sizes, [3, 2, 1], "three events; then two until the third's bytes are too many");
    }

    #[tokio::test]
    async fn one_that_spoils_a_request_fails_by_itself() {
        let gather = gather(&json!({"max_wait_ms": 10})).unwrap();
        let (gate, _heard) = Gate::new();
        gate.let_through.add_permits(10);
        assert_eq!(send_all(&gather, &gate, &["a", "bad", "c"]).await, ["a", "bad", "c"]);
        assert_eq!(gate.count.load(Ordering::SeqCst), 5, "together, then in halves");
    }

    #[tokio::test]
    async fn one_that_spoils_a_large_request_costs_few_more() {
        let mut messages: Vec<Message> = (0..500).map(|n| message(&n.to_string())).collect();
        messages[123] = message("bad");
        let (gate, _heard) = Gate::new();
        gate.let_through.add_permits(1_000);
        let mut told = vec![None; messages.len()];
        settle(&gate, &messages, &clients(TIME), |n, attempt| told[n] = attempt.error).await;
        for (message, error) in messages.iter().zip(told) {
            assert_eq!(error.unwrap().as_bytes(), message.body);
        }
        assert!(gate.count.load(Ordering::SeqCst) <= 19, "two for each time that 500 can be halved");
    }

    #[tokio::test]
    async fn who_waits_for_a_leader_whose_time_is_over_has_run_out_of_time_too() {
        let gather = gather(&json!({"max_wait_ms": 5_000})).unwrap();
        let (gate, _heard) = Gate::new();
        let (short, time) = (clients(Duration::from_millis(50)), clients(TIME));
        let (first, second) = (message("a"), message("b"));
        let leads = gather.send(&gate, "k", &first, &short);
        let (first, second) = tokio::join!(leads, gather.send(&gate, "k", &second, &time));
        for attempt in [first, second] {
            assert_eq!(attempt, passing("ESOCKETTIMEDOUT"));
        }
        assert_eq!(
            gate.count.load(Ordering::SeqCst),
            0,
            "a request for each would fall on a peer that hangs"
        );
        assert!(gather.open.lock().is_empty());
    }

    #[tokio::test]
    async fn what_has_no_outcome_of_its_own_is_sent_for_itself() {
        /// Tells of the first message of several alone.
        struct First(AtomicUsize);
        impl Together for First {
            fn send_together<'a>(&'a self, messages: &'a [Message], _: &'a Clients) -> BoxFuture<'a, Answer> {
                self.0.fetch_add(1, Ordering::SeqCst);
                let told = |n| (n == 0).then(|| success(&messages.len().to_string()));
                Box::pin(async move { Answer::Some((0..messages.len()).map(told).collect()) })
            }
        }
        let gather = gather(&json!({"max_wait_ms": 10})).unwrap();
        let (first, clients) = (First(AtomicUsize::new(0)), clients(TIME));
        let message = message("a");
        let all = (0..3).map(|_| gather.send(&first, "k", &message, &clients));
        let all = futures_util::future::join_all(all).await;
        assert_eq!(all.into_iter().filter_map(|attempt| attempt.error).collect::<Vec<_>>(), ["3", "1", "1"]);
        assert_eq!(first.0.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn other_keys_do_not_meet_and_one_event_each_is_no_batch() {
        let (gate, _heard) = Gate::new();
        gate.let_through.add_permits(10);
        let clients = clients(TIME);
        let (a, b) = (message("a"), message("b"));
        let waits = gather(&json!({"max_wait_ms": 100})).unwrap();
        tokio::join!(waits.send(&gate, "k", &a, &clients), waits.send(&gate, "l", &b, &clients));
        assert_eq!(gate.count.load(Ordering::SeqCst), 2);
        let single = gather(&json!({"max_events": 1, "max_wait_ms": 100})).unwrap();
        tokio::join!(single.send(&gate, "k", &a, &clients), single.send(&gate, "k", &b, &clients));
        assert_eq!(gate.count.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        for (config, errors) in [
            (json!([1]), vec!["batch: must be an object"]),
            (json!({"max_events": 0}), vec!["batch.max_events: must be a whole number from 1 to 10"]),
            (json!({"max_events": 11}), vec!["batch.max_events: must be a whole number from 1 to 10"]),
            (json!({"max_bytes": 1}), vec!["batch.max_bytes: must be a whole number from 1024 to 100000"]),
            (
                json!({"max_wait_ms": "1s", "max": 1}),
                vec![
                    "batch.max_wait_ms: must be a whole number from 0 to 5000",
                    "batch.max: is not known; there are max_events, max_bytes and max_wait_ms",
                ],
            ),
        ] {
            assert_eq!(gather(&config).err().unwrap(), errors, "{config}");
        }
        assert!(gather(&json!({"max_events": "3", "max_bytes": null, "max_wait_ms": ""})).is_ok());
    }

    #[test]
    fn bodies_are_joined_at_their_list() {
        let messages = [r#"{"a":1,"list":[{"n":1}]}"#, r#"{"a":1,"list":[{"n":2}]}"#].map(message);
        let body = |messages: &[Message]| joined(messages, "list").unwrap().body;
        assert_eq!(body(&messages), r#"{"a":1,"list":[{"n":1},{"n":2}]}"#);
        assert_eq!(body(&messages[..1]), messages[0].body);
        assert!(joined(&[], "list").is_none());
        assert!(joined(&[message("{}"), message("{}")], "list").is_none());
    }
}
