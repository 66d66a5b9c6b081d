//! Backlogs: owners whose events came faster than they can be dealt with. Their further events stay in the log, are passed
//! over by the reading that serves all others, and are read apart, in turns. So nobody waits for what another one sent.
//!
//! Which events a backlog holds is a matter of the log alone: those of its products and sandboxes (its sources), each
//! from behind a place on, up to a last place once it has caught up. That is stored in the commit that moves the shard's
//! cursor past them, so that a restart finds each event in exactly one of them.

use std::collections::{HashMap, VecDeque};

use tributary_domain::Owner;
use tributary_eventlog::Record;
use tributary_store::backlogs::StoredBacklog;

use crate::routes::RouteKey;

/// Stretches of the log that one backlog remembers as its own; nearer ones are joined past that.
const STRETCHES: usize = 1_024;
/// Records between two events up to which both are one stretch.
const NEAR: u64 = 512;

/// The events of one owner that are read apart.
pub(crate) struct Backlog {
    pub(crate) id: i64,
    /// Whose share of the memory held it up; unknown after a restart, until its first event is read.
    pub(crate) owner: Option<Owner>,
    /// How far it has been read.
    pub(crate) read: u64,
    /// Its last event; `None` = all that are still to come.
    pub(crate) until: Option<u64>,
    /// Each from behind a place of the log on.
    sources: HashMap<RouteKey, u64>,
    /// Where in the log its events are, behind `read`: first and last.
    stretches: VecDeque<(u64, u64)>,
    /// Records that were read and not yet dealt with.
    pub(crate) page: VecDeque<Record>,
    /// It did not fit when its owner had this much; it is tried again when that is less.
    pub(crate) starved_at: Option<usize>,
}

impl Backlog {
    /// Whether an event is one of its own.
    pub(crate) fn holds(&self, source: RouteKey, seq: u64) -> bool {
        self.until.is_none_or(|until| seq <= until)
            && self.sources.get(&source).is_some_and(|after| seq > *after)
    }

    /// Where the next reading begins (behind this number), and the last number of the stretch; `None` = nothing is left.
    pub(crate) fn next_stretch(&mut self) -> Option<(u64, u64)> {
        while let Some((first, last)) = self.stretches.front().copied() {
            if last > self.read {
                return Some((self.read.max(first - 1), last));
            }
            self.stretches.pop_front();
        }
        None
    }

    fn note(&mut self, seq: u64) {
        let full = self.stretches.len() >= STRETCHES;
        match self.stretches.back_mut() {
            Some((_, last)) if full || seq - *last <= NEAR => *last = seq,
            _ => self.stretches.push_back((seq, seq)),
        }
    }
}

/// All backlogs of a shard.
#[derive(Default)]
pub(crate) struct Backlogs {
    all: HashMap<i64, Backlog>,
    /// In the order of their turns.
    turns: VecDeque<i64>,
    /// Which of them takes the further events of a source.
    open: HashMap<RouteKey, i64>,
    /// Which of them takes what does not fit of an owner.
    of_owner: HashMap<Owner, i64>,
    /// How many of them have caught up before the restart and are not read again yet.
    closed: usize,
    next_id: i64,
}

impl Backlogs {
    /// As they were when the shard's cursor was at `cursor`.
    pub(crate) fn restore(stored: &[StoredBacklog], cursor: u64) -> Backlogs {
        let mut backlogs = Backlogs { next_id: 1, ..Backlogs::default() };
        for one in stored {
            backlogs.next_id = backlogs.next_id.max(one.id + 1);
            let sources: HashMap<RouteKey, u64> = one
                .sources
                .iter()
                .filter_map(|(source, after)| Some((RouteKey::from_text(source)?, *after)))
                .collect();
            backlogs.closed += usize::from(one.until.is_some());
            if one.until.is_none() {
                backlogs.open.extend(sources.keys().map(|source| (*source, one.id)));
            }
            // What the shard's reading has not come to yet is noted when it does.
            let last = one.until.map_or(cursor, |until| until.min(cursor));
            let stretches =
                if last > one.cursor { VecDeque::from([(one.cursor + 1, last)]) } else { VecDeque::new() };
            backlogs.turns.push_back(one.id);
            backlogs.all.insert(
                one.id,
                Backlog {
                    id: one.id,
                    owner: None,
                    read: one.cursor,
                    until: one.until,
                    sources,
                    stretches,
                    page: VecDeque::new(),
                    starved_at: None,
                },
            );
        }
        backlogs
    }

    /// Whether there are none: then every event is the shard's own.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether an event is in a backlog; it is noted there. Asked for each event as the shard's reading comes to it.
    pub(crate) fn take(&mut self, source: RouteKey, seq: u64) -> bool {
        if let Some(backlog) = self.open.get(&source).and_then(|id| self.all.get_mut(id))
            && backlog.holds(source, seq)
        {
            backlog.note(seq);
            return true;
        }
        if self.closed == 0 {
            return false;
        }
        // Those that have caught up hold what lies before their end: met again after a restart alone.
        let closed = |backlog: &&mut Backlog| backlog.until.is_some() && backlog.holds(source, seq);
        self.all.values_mut().find(closed).map(|backlog| backlog.note(seq)).is_some()
    }

    /// Puts the events of a source from `seq` on into the owner's backlog. Gives its number, and whether it is a new one.
    pub(crate) fn join(&mut self, owner: Owner, source: RouteKey, seq: u64) -> (i64, bool) {
        let known = self.of_owner.get(&owner).copied().filter(|id| self.all.contains_key(id));
        let id = known.unwrap_or(self.next_id);
        if known.is_none() {
            self.next_id += 1;
            self.of_owner.insert(owner, id);
            self.turns.push_back(id);
            let backlog = Backlog {
                id,
                owner: Some(owner),
                read: seq - 1,
                until: None,
                sources: HashMap::new(),
                stretches: VecDeque::new(),
                page: VecDeque::new(),
                starved_at: None,
            };
            self.all.insert(id, backlog);
        }
        self.open.insert(source, id);
        if let Some(backlog) = self.all.get_mut(&id) {
            backlog.sources.insert(source, seq - 1);
            backlog.note(seq);
        }
        (id, known.is_none())
    }

    /// The next one in turn.
    pub(crate) fn next_turn(&mut self) -> Option<&mut Backlog> {
        let id = self.turns.pop_front()?;
        self.turns.push_back(id);
        self.all.get_mut(&id)
    }

    /// One of them.
    pub(crate) fn get(&mut self, id: i64) -> Option<&mut Backlog> {
        self.all.get_mut(&id)
    }

    /// It has caught up: later events of its sources are the shard's own again.
    pub(crate) fn end(&mut self, id: i64) {
        self.closed -= usize::from(self.all.remove(&id).is_some_and(|backlog| backlog.until.is_some()));
        self.turns.retain(|other| *other != id);
        self.open.retain(|_, other| *other != id);
        self.of_owner.retain(|_, other| *other != id);
    }

    /// All of them, for operators.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Backlog> {
        self.all.values()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tributary_domain::{ProductId, UserId};

    use super::*;

    const ONE: RouteKey = RouteKey::Product(ProductId(1));
    const TWO: RouteKey = RouteKey::Sandbox(UserId([2; 12]));
    const OWNER: Owner = Owner::User(UserId([9; 12]));

    #[test]
    fn a_backlog_holds_its_sources_from_where_they_joined_and_finds_them_by_stretches() {
        let mut backlogs = Backlogs::restore(&[], 0);
        let (id, new) = backlogs.join(OWNER, ONE, 10);
        assert!(new && !backlogs.take(TWO, 11) && backlogs.take(ONE, 12) && !backlogs.take(ONE, 9));
        assert_eq!(backlogs.join(OWNER, TWO, 20), (id, false));
        assert!(backlogs.take(TWO, 5_000) && backlogs.take(ONE, 5_001));
        let backlog = backlogs.get(id).unwrap();
        assert_eq!(backlog.next_stretch(), Some((9, 20)));
        backlog.read = 20;
        assert_eq!(backlog.next_stretch(), Some((4_999, 5_001)), "what lies between is not read again");
        backlog.read = 5_001;
        assert_eq!(backlog.next_stretch(), None);
        backlogs.end(id);
        assert!(backlogs.is_empty() && !backlogs.take(ONE, 5_002));
    }

    #[test]
    fn stretches_are_bounded_however_events_lie() {
        let mut backlogs = Backlogs::restore(&[], 0);
        let (id, _) = backlogs.join(OWNER, ONE, 1);
        for n in 1..100_000_u64 {
            assert!(backlogs.take(ONE, n * 10_000));
        }
        let backlog = backlogs.get(id).unwrap();
        assert!(backlog.stretches.len() <= STRETCHES);
        assert_eq!(backlog.stretches.back().unwrap().1, 99_999 * 10_000);
    }

    #[test]
    fn after_a_restart_each_event_is_in_exactly_one_reading() {
        let stored = [
            StoredBacklog { id: 3, cursor: 40, until: Some(90), sources: vec![(ONE.to_text(), 30)] },
            StoredBacklog { id: 4, cursor: 120, until: None, sources: vec![(ONE.to_text(), 110)] },
        ];
        // The shard's cursor lies before the end of the first and the begin of the second.
        let mut backlogs = Backlogs::restore(&stored, 80);
        let taken: Vec<u64> = (81..130).filter(|seq| backlogs.take(ONE, *seq)).collect();
        let expected: Vec<u64> = (81..=90).chain(111..130).collect();
        assert_eq!(taken, expected, "91 to 110 are the shard's own");
        assert_eq!(backlogs.get(3).unwrap().next_stretch(), Some((40, 90)));
        let second = backlogs.get(4).unwrap();
        assert_eq!(second.next_stretch(), Some((120, 129)), "111 to 120 were dealt with before");
        assert_eq!(backlogs.join(OWNER, TWO, 131), (5, true));
    }
}
