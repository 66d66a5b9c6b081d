//! Storing records: to which partition each belongs, a request to each leader, and what became of each record.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::timeout;
use tributary_domain::outcome::AttemptClass;

use super::{
    DELIVERY_ID, KEY, NOT_SENT, TIMESTAMP, TOPIC,
    cluster::{Cluster, Way},
    connection::unreadable,
    errors::Code,
    partition,
    protocol::{PRODUCE, Stored, produce as produce_request},
    records::{Compression, Record, batch},
};
use crate::{
    Attempt, Message, Reply,
    broker::{Place, header},
    net::{failure::NO_REPLY_IN_TIME, passing},
    service::final_error,
};

/// How long a leader's answer is waited for, so that one that hangs does not let all run out of time: longer than it waits
/// for its replicas.
const LEADER_TIMEOUT: Duration = Duration::from_secs(12);

/// Records of one partition that go together.
struct Batch<'m> {
    topic: &'m str,
    partition: usize,
    leader: Arc<Place>,
    /// Whether who leads was asked for just now.
    is_news: bool,
    /// The messages by their numbers; there is at least one.
    numbers: Vec<usize>,
}

struct Sending<'a> {
    cluster: &'a Cluster,
    way: &'a Way<'a>,
    compression: Compression,
    messages: &'a [Message],
    attempts: Vec<Option<Attempt>>,
    waiting: Vec<Batch<'a>>,
    /// Whether it was asked once more who leads.
    was_moved: bool,
}

/// Stores messages; the attempts are in their order.
///
/// A request is followed by another one in two cases, in both of which nothing of its batch was stored: when it went to a
/// broker that leads no more, once, to the one that does; and when records are too much together, in halves.
pub(super) async fn produce(
    cluster: &Cluster,
    way: &Way<'_>,
    messages: &[Message],
    compression: Compression,
) -> Vec<Attempt> {
    let (attempts, waiting) = (vec![None; messages.len()], Vec::new());
    let mut sending = Sending { cluster, way, compression, messages, attempts, waiting, was_moved: false };
    sending.assign((0..messages.len()).collect()).await;
    while !sending.waiting.is_empty() {
        let round = sending.round();
        let answers = join_all(round.into_iter().map(|batches| sending.ask(batches))).await;
        let mut moved = Vec::new();
        for (batch, answer) in answers.into_iter().flatten() {
            moved.extend(sending.conclude(batch, answer));
        }
        if !moved.is_empty() {
            sending.was_moved = true;
            sending.assign(moved).await;
        }
    }
    sending.attempts.into_iter().map(|attempt| attempt.unwrap_or_else(unreadable)).collect()
}

impl<'a> Sending<'a> {
    /// Finds the partitions and their leaders.
    async fn assign(&mut self, numbers: Vec<usize>) {
        let messages = self.messages;
        let topic = |number: usize| header(&messages[number], TOPIC).unwrap_or_default();
        let topics = match self.cluster.topics(numbers.iter().map(|number| topic(*number)), self.way).await {
            Ok(topics) => topics,
            Err(attempt) => {
                for number in numbers {
                    self.attempts[number] = Some(attempt.clone());
                }
                return;
            }
        };
        let mut batches: BTreeMap<(&str, usize), Batch<'a>> = BTreeMap::new();
        for number in numbers {
            let name = topic(number);
            let Some((found, is_news)) = topics.get(name) else { continue };
            let partition = partition(&messages[number], found.leaders.len());
            let is_good = found.code == Code(0);
            match found.leaders.get(partition).filter(|_| is_good) {
                Some(Some(leader)) => {
                    let new = || Batch {
                        topic: name,
                        partition,
                        leader: Arc::clone(leader),
                        is_news: *is_news,
                        numbers: Vec::new(),
                    };
                    batches.entry((name, partition)).or_insert_with(new).numbers.push(number);
                }
                _ => {
                    let code = if is_good { Code::LEADER_NOT_AVAILABLE } else { found.code };
                    self.cluster.forget(name);
                    self.attempts[number] = Some(code.attempt(self.cluster.host(), "", &[]));
                }
            }
        }
        self.waiting.extend(batches.into_values());
    }

    /// Takes what can be sent at once, by leader: of each partition one batch.
    fn round(&mut self) -> Vec<Vec<Batch<'a>>> {
        let (mut leaders, mut taken, mut later) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for batch in std::mem::take(&mut self.waiting) {
            if taken.insert((batch.topic, batch.partition)) {
                leaders.entry(batch.leader.url.clone()).or_insert_with(Vec::new).push(batch);
            } else {
                later.push(batch);
            }
        }
        self.waiting = later;
        leaders.into_values().collect()
    }

    /// Sends batches to their leader.
    async fn ask(&self, mut batches: Vec<Batch<'a>>) -> Vec<(Batch<'a>, Result<Stored, Attempt>)> {
        batches.sort_by_key(|batch| batch.topic);
        let asked = match batches.first().map(|batch| Arc::clone(&batch.leader)) {
            Some(leader) => timeout(LEADER_TIMEOUT, self.stored(&leader, &batches)).await,
            None => return Vec::new(),
        };
        let answer = asked.unwrap_or_else(|_| Err(passing(NO_REPLY_IN_TIME)));
        let each = |batch: Batch<'a>| {
            let is_its = |stored: &&Stored| {
                stored.topic == batch.topic && usize::try_from(stored.partition) == Ok(batch.partition)
            };
            let stored = match &answer {
                Ok(all) => all.iter().find(is_its).cloned().ok_or_else(unreadable),
                Err(attempt) => Err(attempt.clone()),
            };
            (batch, stored)
        };
        batches.into_iter().map(each).collect()
    }

    async fn stored(&self, leader: &Place, batches: &[Batch<'a>]) -> Result<Vec<Stored>, Attempt> {
        let mut parts = Vec::with_capacity(batches.len());
        for part in batches {
            let records: Vec<_> = part.numbers.iter().map(|number| record(&self.messages[*number])).collect();
            let bytes = batch(&records, self.compression)
                .map_err(|error| final_error(format!("compression: {error}")))?;
            parts.push((part.topic, i32::try_from(part.partition).unwrap_or(i32::MAX), bytes));
        }
        let doubt = Doubt { cluster: self.cluster, topics: parts.iter().map(|(topic, ..)| *topic).collect() };
        let (version, mut answer) =
            self.cluster.ask(leader, PRODUCE, &produce_request(&parts), self.way).await?;
        doubt.end();
        Stored::read(&mut answer, version).ok_or_else(unreadable)
    }

    /// Notes what became of a batch; gives the messages whose leader is to be asked for again.
    fn conclude(&mut self, mut batch: Batch<'a>, answer: Result<Stored, Attempt>) -> Vec<usize> {
        let stored = match answer {
            Ok(stored) if stored.code == Code(0) => {
                for (place, number) in (0..).zip(batch.numbers) {
                    self.attempts[number] = Some(success(&stored, place));
                }
                return Vec::new();
            }
            Ok(stored) => stored,
            Err(attempt) => {
                for number in batch.numbers {
                    self.attempts[number] = Some(attempt.clone());
                }
                return Vec::new();
            }
        };
        if stored.code.is_of_batch() && batch.numbers.len() > 1 {
            let numbers = batch.numbers.split_off(batch.numbers.len() / 2);
            self.waiting.push(Batch { numbers, leader: Arc::clone(&batch.leader), ..batch });
            self.waiting.push(batch);
            return Vec::new();
        }
        if stored.code.is_stale() {
            self.cluster.forget(batch.topic);
            if !batch.is_news && !self.was_moved {
                return batch.numbers;
            }
        }
        for number in batch.numbers {
            let hide = [self.way.login.password];
            self.attempts[number] = Some(stored.code.attempt(&batch.leader.host, &stored.text, &hide));
        }
        Vec::new()
    }
}

/// While a leader is asked it is in doubt whether it leads: should it never answer, whoever comes next asks again.
struct Doubt<'a> {
    cluster: &'a Cluster,
    topics: Vec<&'a str>,
}

impl Doubt<'_> {
    /// The leader has answered.
    fn end(mut self) {
        self.topics.clear();
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        for topic in &self.topics {
            self.cluster.forget(topic);
        }
    }
}

/// The partition that a message belongs to; one without a key belongs to any, though not to another one when it is sent again.
fn partition(message: &Message, partitions: usize) -> usize {
    let key = header(message, KEY).or_else(|| header(message, DELIVERY_ID)).unwrap_or_default();
    partition::of_key(key.as_bytes(), partitions)
}

/// A message as a record.
fn record(message: &Message) -> Record<'_> {
    let sent = message.headers.iter().filter(|(name, _)| !NOT_SENT.contains(&name.as_str()));
    Record {
        timestamp: header(message, TIMESTAMP).and_then(|text| text.parse().ok()).unwrap_or_default(),
        key: header(message, KEY).map(str::as_bytes),
        value: &message.body,
        headers: sent.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
    }
}

/// What a record that is stored comes to: it says where.
fn success(stored: &Stored, place: i64) -> Attempt {
    let at = |name: &str, number: i64| (name.to_owned(), number.to_string());
    let headers =
        vec![at("Partition", stored.partition.into()), at("Offset", stored.offset.saturating_add(place))];
    let reply = Reply { status: 0, headers, body: Bytes::new(), ..Reply::default() };
    Attempt { class: AttemptClass::Success, error: None, reply: Some(reply) }
}
