//! What is known of a cluster: who leads the partitions of a topic; and the connections with its brokers.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tributary_domain::outcome::AttemptClass;

use super::{
    SCHEMES,
    codec::Input,
    connection::{Connection, Login, unreadable},
    errors::{Code, announced},
    protocol::{Api, Found, METADATA, metadata},
};
use crate::{
    Attempt, Clients,
    broker::{Place, Tls, key},
    net::{Kept, Reached, failure::NO_REPLY_IN_TIME, passing},
};

/// Most connections of an integration.
const CONNECTIONS: usize = 16;
/// How long what is known of a topic is believed without a sign that it has changed.
const KNOWN_FOR: Duration = Duration::from_secs(300);
/// Most topics that something is known of, and that are asked for at once: names may be made from events.
const TOPICS: usize = 64;
/// Most partitions of all topics that something is known of.
const PARTITIONS: usize = 20_000;
/// How long one of several brokers is waited for before the next is asked.
const NEXT_BROKER_AFTER: Duration = Duration::from_secs(4);

/// What is known of a topic.
pub(super) struct Topic {
    pub(super) code: Code,
    /// By partition; `None` while nobody leads it.
    pub(super) leaders: Vec<Option<Arc<Place>>>,
    since: Instant,
}

/// What an attempt has for speaking with brokers.
pub(super) struct Way<'a> {
    pub(super) clients: &'a Clients,
    pub(super) reached: &'a Reached,
    pub(super) tls: &'a Tls,
    pub(super) login: Login<'a>,
}

/// The cluster of an integration.
pub(super) struct Cluster {
    /// The brokers of the configuration; there is at least one.
    brokers: Vec<Place>,
    /// The one to ask next: the last that has answered.
    next: AtomicUsize,
    topics: Mutex<HashMap<String, Arc<Topic>>>,
    kept: Kept<Connection>,
}

impl Cluster {
    pub(super) fn new(brokers: Vec<Place>) -> Cluster {
        Cluster { brokers, next: AtomicUsize::new(0), topics: Mutex::default(), kept: Kept::new(CONNECTIONS) }
    }

    /// What is known of these topics, and of which of them it is news.
    pub(super) async fn topics<'t>(
        &self,
        names: impl IntoIterator<Item = &'t str>,
        way: &Way<'_>,
    ) -> Result<BTreeMap<&'t str, (Arc<Topic>, bool)>, Attempt> {
        let (mut all, mut unknown) = (BTreeMap::new(), Vec::new());
        for name in names {
            match self.known(name) {
                _ if all.contains_key(name) || unknown.contains(&name) => {}
                Some(topic) => drop(all.insert(name, (topic, false))),
                None => unknown.push(name),
            }
        }
        for names in unknown.chunks(TOPICS) {
            let mut found = self.found(names, way).await?;
            for name in names {
                let topic = found.remove(*name).ok_or_else(unreadable)?;
                all.insert(name, (topic, true));
            }
        }
        Ok(all)
    }

    fn known(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.lock().get(name).filter(|topic| topic.since.elapsed() < KNOWN_FOR).map(Arc::clone)
    }

    /// Forgets what was known of a topic.
    pub(super) fn forget(&self, name: &str) {
        self.topics.lock().remove(name);
    }

    /// The broker that the texts of errors name.
    pub(super) fn host(&self) -> &str {
        self.brokers.first().map_or("", |place| &place.host)
    }

    /// Asks the brokers of the configuration, one after the other until one answers.
    async fn found(&self, names: &[&str], way: &Way<'_>) -> Result<HashMap<String, Arc<Topic>>, Attempt> {
        let (first, body) = (self.next.load(Ordering::Relaxed), metadata(names));
        let mut failed = None;
        for n in 0..self.brokers.len() {
            let at = (first + n) % self.brokers.len();
            let asked = self.ask(&self.brokers[at], METADATA, &body, way);
            let answer = if n + 1 == self.brokers.len() {
                asked.await
            } else {
                timeout(NEXT_BROKER_AFTER, asked).await.unwrap_or_else(|_| Err(passing(NO_REPLY_IN_TIME)))
            };
            match answer {
                Ok((_, mut answer)) => {
                    self.next.store(at, Ordering::Relaxed);
                    let found = Found::read(&mut answer).ok_or_else(unreadable)?;
                    return self.learn(found).ok_or_else(unreadable);
                }
                Err(attempt) => match attempt.class {
                    AttemptClass::Final => return Err(attempt),
                    _ => failed = failed.or(Some(attempt)),
                },
            }
        }
        Err(failed.unwrap_or_else(unreadable))
    }

    /// Remembers what a broker has said.
    fn learn(&self, found: Found) -> Option<HashMap<String, Arc<Topic>>> {
        let place = |(number, host, port): (i32, String, i32)| Some((number, Arc::new(place(&host, port)?)));
        // One that has no usable address leads nothing.
        let brokers: HashMap<i32, Arc<Place>> = found.brokers.into_iter().filter_map(place).collect();
        let mut topics = HashMap::new();
        for topic in found.topics {
            let mut leaders = vec![None; topic.partitions.len()];
            for (number, leader) in topic.partitions {
                *leaders.get_mut(usize::try_from(number).ok()?)? = brokers.get(&leader).map(Arc::clone);
            }
            if leaders.is_empty() && topic.code == Code(0) {
                return None;
            }
            topics.insert(topic.name, Arc::new(Topic { code: topic.code, leaders, since: Instant::now() }));
        }
        let mut known = self.topics.lock();
        for (name, topic) in topics.iter().filter(|(_, topic)| topic.code == Code(0)) {
            known.insert(name.clone(), Arc::clone(topic));
        }
        shrink(&mut known);
        Some(topics)
    }

    /// Sends a broker a request over a connection that nobody else uses, and gives its answer.
    pub(super) async fn ask(
        &self,
        place: &Place,
        api: Api,
        body: &[u8],
        way: &Way<'_>,
    ) -> Result<(i16, Input), Attempt> {
        let login = &way.login;
        let key = key(&[Some(&place.url), Some(login.username), Some(login.password)]);
        let _turn = self.kept.turn().await;
        let mut connection = match self.kept.take(&key) {
            Some(connection) => {
                way.reached.note();
                connection
            }
            None => self.open(place, way).await?,
        };
        let answer = connection.ask(api, body).await?;
        self.kept.put(&key, connection);
        Ok(answer)
    }

    async fn open(&self, place: &Place, way: &Way<'_>) -> Result<Connection, Attempt> {
        let opened = async {
            let wire = place.connect(way.clients, way.reached, way.tls).await?;
            Connection::open(wire, &place.host, &way.login).await
        };
        let opened = opened.await;
        if self.brokers.contains(place) {
            return opened;
        }
        opened.map_err(|attempt| announced(attempt, &place.destination()))
    }
}

/// Forgets the oldest topics until there are few enough.
fn shrink(known: &mut HashMap<String, Arc<Topic>>) {
    while known.len() > TOPICS || known.values().map(|topic| topic.leaders.len()).sum::<usize>() > PARTITIONS
    {
        let oldest = known.iter().min_by_key(|(_, topic)| topic.since).map(|(name, _)| name.clone());
        let Some(oldest) = oldest else { return };
        known.remove(&oldest);
    }
}

/// Where a broker says that another one is.
fn place(host: &str, port: i32) -> Option<Place> {
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    Place::parse(&format!("kafka://{host}:{port}"), SCHEMES).ok()
}
