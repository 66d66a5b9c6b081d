//! The agenda: when lanes are looked at next for what waits. Owners take turns, so that one with very many lanes does not
//! keep another one's waiting.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tributary_domain::Timestamp;

/// See the module.
#[derive(Default)]
pub(crate) struct Agenda {
    due: HashMap<Arc<str>, Timestamp>,
    /// The lanes of each owner in the order in which they are due.
    lanes: HashMap<Arc<str>, BTreeSet<(Timestamp, Arc<str>)>>,
    /// The owners in the order of their turns: by when their first lane is due, but behind those that waited while they
    /// had a turn.
    owners: BTreeSet<(Timestamp, Arc<str>)>,
    turns: HashMap<Arc<str>, Timestamp>,
}

/// Whose a lane is, as far as turns go.
fn owner_of(lane: &str) -> &str {
    lane.split_once('|').map_or(lane, |(owner, _)| owner)
}

impl Agenda {
    /// A lane has something due at this time; what is earlier stays.
    pub(crate) fn wake(&mut self, lane: &str, at: Timestamp) {
        let (lane, before) = match self.due.get_key_value(lane) {
            Some((_, before)) if *before <= at => return,
            Some((lane, before)) => (lane.clone(), Some(*before)),
            None => (Arc::from(lane), None),
        };
        let owner: Arc<str> = self
            .lanes
            .get_key_value(owner_of(&lane))
            .map_or_else(|| owner_of(&lane).into(), |(owner, _)| owner.clone());
        let lanes = self.lanes.entry(owner.clone()).or_default();
        if let Some(before) = before {
            lanes.remove(&(before, lane.clone()));
        }
        lanes.insert((at, lane.clone()));
        self.due.insert(lane, at);
        if self.turns.get(&owner).is_none_or(|turn| at < *turn) {
            self.set_turn(owner, at);
        }
    }

    /// Takes the lane that is next, of those that are due at `now`.
    pub(crate) fn take(&mut self, now: Timestamp) -> Option<Arc<str>> {
        let (_, owner) = self.owners.first().filter(|(at, _)| *at <= now)?.clone();
        self.end_turn(&owner);
        let lanes = self.lanes.get_mut(&owner)?;
        let (_, lane) = lanes.pop_first()?;
        self.due.remove(&lane);
        match lanes.first().map(|(at, _)| *at) {
            // Behind all that are due by now.
            Some(next) => self.set_turn(owner, next.max(now)),
            None => drop(self.lanes.remove(&owner)),
        }
        Some(lane)
    }

    /// When the first owner has its turn.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.owners.first().map(|(at, _)| *at)
    }

    /// When the last lane is due.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        // The last turn need not be of the owner with the last lane, but no owner's last lane is before its turn.
        self.lanes.values().filter_map(|lanes| lanes.last()).map(|(at, _)| *at).max()
    }

    /// What is due after `latest` is due at `now`.
    pub(crate) fn bring_forward(&mut self, latest: Timestamp, now: Timestamp) {
        let late: Vec<Arc<str>> =
            self.due.iter().filter(|(_, at)| **at > latest).map(|(lane, _)| lane.clone()).collect();
        for lane in late {
            self.wake(&lane, now);
        }
    }

    fn set_turn(&mut self, owner: Arc<str>, at: Timestamp) {
        self.end_turn(&owner);
        self.owners.insert((at, owner.clone()));
        self.turns.insert(owner, at);
    }

    fn end_turn(&mut self, owner: &Arc<str>) {
        if let Some(at) = self.turns.remove(owner) {
            self.owners.remove(&(at, owner.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(agenda: &mut Agenda, now: i64) -> Vec<String> {
        std::iter::from_fn(|| agenda.take(Timestamp(now))).map(|lane| lane.to_string()).collect()
    }

    #[test]
    fn lanes_are_taken_when_they_are_due_and_the_earliest_time_counts() {
        let mut agenda = Agenda::default();
        agenda.wake("u:1|a", Timestamp(20));
        agenda.wake("u:1|a", Timestamp(10));
        agenda.wake("u:1|a", Timestamp(30));
        agenda.wake("u:1|b", Timestamp(5));
        assert_eq!((agenda.first(), agenda.last()), (Some(Timestamp(5)), Some(Timestamp(10))));
        assert!(taken(&mut agenda, 4).is_empty());
        assert_eq!(taken(&mut agenda, 9), ["u:1|b"]);
        assert_eq!(taken(&mut agenda, 10), ["u:1|a"]);
        assert_eq!((agenda.first(), agenda.last()), (None, None));
    }

    #[test]
    fn an_owner_with_very_many_lanes_that_are_due_takes_turns_with_others() {
        let mut agenda = Agenda::default();
        for n in 0..1_000 {
            agenda.wake(&format!("u:1|{n:04}"), Timestamp(1));
        }
        agenda.wake("u:2|x", Timestamp(3));
        agenda.wake("redelivery/r", Timestamp(3));
        let first: Vec<String> =
            (0..4).filter_map(|_| agenda.take(Timestamp(5))).map(|l| l.to_string()).collect();
        assert_eq!(first, ["u:1|0000", "redelivery/r", "u:2|x", "u:1|0001"]);
    }

    #[test]
    fn what_a_clock_that_was_set_back_left_too_late_is_due_at_once() {
        let mut agenda = Agenda::default();
        agenda.wake("u:1|a", Timestamp(1_000));
        agenda.wake("u:1|b", Timestamp(8));
        agenda.bring_forward(Timestamp(100), Timestamp(5));
        assert_eq!(taken(&mut agenda, 8), ["u:1|a", "u:1|b"]);
    }
}
