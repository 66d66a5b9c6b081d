//! Shares: what all owners use of one thing (bytes, places), divided so that nobody can use it up.
//!
//! An owner may take as long as it would not have more than is left for everybody else (the dynamic threshold of
//! Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998). One alone gets half,
//! two that want all get a third each, and something is always left for those who want little. What does not fit waits,
//! in a queue for each owner, and owners take turns.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tributary_domain::Owner;

/// Owners that are looked at for a release before the rest waits for the next one.
const LOOKED_AT: usize = 16;

/// Something that owners share. Cheap to clone.
#[derive(Clone)]
pub struct Shares(Arc<Inner>);

struct Inner {
    total: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    used: HashMap<Owner, usize>,
    waiting: HashMap<Owner, VecDeque<Waiter>>,
    /// The owners that wait, in the order of their turns.
    turns: VecDeque<Owner>,
}

struct Waiter {
    amount: usize,
    granted: oneshot::Sender<Part>,
}

/// What an owner has taken; it is given back when this is dropped.
pub struct Part {
    of: Shares,
    owner: Owner,
    amount: usize,
}

impl Shares {
    /// Nothing of `total` is taken yet.
    pub fn new(total: usize) -> Shares {
        Shares(Arc::new(Inner { total: total.max(1), state: Mutex::default() }))
    }

    /// Takes at once, if it fits. More than there is in all counts as all.
    pub fn try_take(&self, owner: Owner, amount: usize) -> Option<Part> {
        let amount = amount.min(self.0.total);
        let took = self.0.state.lock().take(self.0.total, owner, amount);
        took.then(|| Part { of: self.clone(), owner, amount })
    }

    /// Takes once it fits and those of the owner that came before have theirs.
    pub async fn take(&self, owner: Owner, amount: usize) -> Part {
        let amount = amount.min(self.0.total);
        loop {
            let granted = {
                let mut state = self.0.state.lock();
                if !state.waiting.contains_key(&owner) && state.take(self.0.total, owner, amount) {
                    return Part { of: self.clone(), owner, amount };
                }
                let (sender, granted) = oneshot::channel();
                state.wait(owner, Waiter { amount, granted: sender });
                granted
            };
            // The sender is never dropped without a grant while this is alive; should it be, it is asked for again.
            if let Ok(part) = granted.await {
                return part;
            }
        }
    }

    /// How near an owner is to the end of its share, in percent of what is left for everybody else; 100 = at the end.
    pub fn pressure(&self, owner: Owner) -> usize {
        let state = self.0.state.lock();
        let used = state.used.get(&owner).copied().unwrap_or_default();
        used * 100 / self.0.total.saturating_sub(state.taken).max(1)
    }

    /// What an owner has.
    pub fn used(&self, owner: Owner) -> usize {
        self.0.state.lock().used.get(&owner).copied().unwrap_or_default()
    }

    /// What all have together.
    pub fn taken(&self) -> usize {
        self.0.state.lock().taken
    }

    fn give_back(&self, owner: Owner, amount: usize) {
        let mut granted = Vec::new();
        {
            let mut state = self.0.state.lock();
            state.give_back(owner, amount);
            if !state.turns.is_empty() {
                state.grant(self.0.total, &mut granted);
            }
        }
        // Outside of the lock: a part whose taker has gone is given back at once.
        for (owner, Waiter { amount, granted }) in granted {
            let _ = granted.send(Part { of: self.clone(), owner, amount });
        }
    }
}

impl State {
    fn take(&mut self, total: usize, owner: Owner, amount: usize) -> bool {
        let used = self.used.get(&owner).copied().unwrap_or_default();
        // Where nobody has anything, everything fits: the last resort for what is larger than any share.
        if self.taken > 0 && used + amount > total.saturating_sub(self.taken) {
            return false;
        }
        self.taken += amount;
        *self.used.entry(owner).or_default() += amount;
        true
    }

    fn give_back(&mut self, owner: Owner, amount: usize) {
        self.taken -= amount;
        if let Some(used) = self.used.get_mut(&owner) {
            *used -= amount;
            if *used == 0 {
                self.used.remove(&owner);
            }
        }
    }

    fn wait(&mut self, owner: Owner, waiter: Waiter) {
        let queue = self.waiting.entry(owner).or_default();
        if queue.is_empty() {
            self.turns.push_back(owner);
        }
        queue.push_back(waiter);
    }

    /// Gives to those who wait, one for each owner in turn. Looks at a bounded number of owners that do not fit; at all
    /// of them where nothing is taken any more, since no release would come to look again.
    fn grant(&mut self, total: usize, granted: &mut Vec<(Owner, Waiter)>) {
        let mut in_vain = 0;
        while in_vain < self.turns.len() && (in_vain < LOOKED_AT || self.taken == 0) {
            let Some(owner) = self.turns.pop_front() else { return };
            let Some(queue) = self.waiting.get_mut(&owner) else { continue };
            while queue.front().is_some_and(|waiter| waiter.granted.is_closed()) {
                queue.pop_front();
            }
            let Some(amount) = queue.front().map(|waiter| waiter.amount) else {
                self.waiting.remove(&owner);
                continue;
            };
            if !self.take(total, owner, amount) {
                self.turns.push_back(owner);
                in_vain += 1;
                continue;
            }
            in_vain = 0;
            let Some(queue) = self.waiting.get_mut(&owner) else { continue };
            granted.extend(queue.pop_front().map(|waiter| (owner, waiter)));
            if queue.is_empty() {
                self.waiting.remove(&owner);
            } else {
                self.turns.push_back(owner);
            }
        }
    }
}

impl Part {
    /// Takes `amount` of it apart, as far as there is as much.
    pub fn split(&mut self, amount: usize) -> Part {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Part { of: self.of.clone(), owner: self.owner, amount }
    }

    /// Gives back all but `amount`; keeps what there is when that is less.
    pub fn shrink(&mut self, amount: usize) {
        let back = self.amount.saturating_sub(amount);
        if back > 0 {
            self.amount -= back;
            self.of.give_back(self.owner, back);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.of.give_back(self.owner, self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tributary_domain::UserId;

    use super::*;

    fn owner(n: u8) -> Owner {
        Owner::User(UserId([n; 12]))
    }

    fn fill(shares: &Shares, who: Owner, amount: usize) -> Vec<Part> {
        std::iter::from_fn(|| shares.try_take(who, amount)).collect()
    }

    #[test]
    fn one_alone_gets_half_and_every_further_one_gets_something() {
        let shares = Shares::new(1_000);
        let first = fill(&shares, owner(1), 1);
        assert_eq!(first.len(), 500);
        let others: Vec<Vec<Part>> = (2..30).map(|n| fill(&shares, owner(n), 1)).collect();
        assert_eq!((others[0].len(), others[1].len()), (250, 125));
        assert!(shares.taken() <= 1_000);
        drop(first);
        assert!(!fill(&shares, owner(40), 1).is_empty());
    }

    #[test]
    fn what_is_larger_than_any_share_fits_when_nothing_is_taken() {
        let shares = Shares::new(100);
        let all = shares.try_take(owner(1), 5_000).unwrap();
        assert!(shares.try_take(owner(2), 1).is_none());
        drop(all);
        assert_eq!(shares.taken(), 0);
        assert!(shares.try_take(owner(2), 1).is_some());
    }

    #[test]
    fn parts_can_be_taken_apart_and_pressure_tells_how_near_the_end_is() {
        let shares = Shares::new(100);
        let mut part = shares.try_take(owner(1), 40).unwrap();
        assert_eq!((shares.pressure(owner(1)), shares.pressure(owner(2))), (66, 0));
        let rest = part.split(30);
        drop(part);
        assert_eq!(shares.used(owner(1)), 30);
        drop(rest);
        assert_eq!(shares.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn owners_that_wait_take_turns_and_those_who_gave_up_are_passed_over() {
        let shares = Shares::new(1);
        let held = shares.take(owner(1), 1).await;
        let (done, mut order) = tokio::sync::mpsc::channel(16);
        let spawn = |n: u8| {
            let (shares, done) = (shares.clone(), done.clone());
            tokio::spawn(async move {
                let _part = shares.take(owner(n), 1).await;
                done.send(n).await.unwrap();
            })
        };
        let mut tasks = Vec::new();
        for n in [1, 1, 1, 2, 3] {
            tasks.push(spawn(n));
            tokio::task::yield_now().await;
        }
        tasks[4].abort();
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(held);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(order.recv().await.unwrap());
        }
        assert_eq!(seen, [1, 2, 1, 1], "the second owner need not wait for all of the first");
        assert_eq!(shares.taken(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_whatever_the_sizes() {
        let shares = Shares::new(1_000);
        let tasks: Vec<_> = (0..200_u16)
            .map(|n| {
                let shares = shares.clone();
                tokio::spawn(async move {
                    let who = owner(u8::try_from(n % 50).unwrap());
                    let mut part = shares.take(who, 1 + usize::from(n) * 37 % 2_000).await;
                    tokio::time::sleep(Duration::from_millis(u64::from(n % 7))).await;
                    part.shrink(5);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        }
        assert_eq!(shares.taken(), 0);
    }
}
