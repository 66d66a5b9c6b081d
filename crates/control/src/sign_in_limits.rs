//! How often a sign-in may fail (contract 2.2): in a row for one address and user name, and within a window for one
//! address. Kept in memory, so a restart forgets it.
//!
//! An address can be many people's (a company, a proxy that is not declared), so one that is over its bound locks out who
//! fails and not everybody: a name that has not failed there may still try, and the answer to a wrong password is the wait.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

use parking_lot::Mutex;
use tributary_domain::Timestamp;

use crate::{Error, accounts_settings::AccountSettings, origin::Origin};

/// Most addresses, and most pairs of address and user name, that are remembered.
const REMEMBERED: usize = 10_000;
/// So many times the failures that an address may have, and only who has signed in there before may try.
const BEYOND: usize = 10;
/// How long it is remembered that somebody signed in from an address, in milliseconds.
const KNOWN_MS: i64 = 30 * 24 * 3_600_000;

#[derive(Clone, Copy)]
struct Row {
    failed: u32,
    last: Timestamp,
}

#[derive(Default)]
struct Failures {
    rows: HashMap<(Origin, String), Row>,
    by_origin: HashMap<Origin, VecDeque<Timestamp>>,
    /// Who signed in from where, and when last.
    known: HashMap<(Origin, String), Timestamp>,
}

/// The failed sign-ins of the last minutes.
#[derive(Default)]
pub(crate) struct SignInLimits(Mutex<Failures>);

impl SignInLimits {
    /// Whether a sign-in may be tried now.
    ///
    /// # Errors
    /// [`Error::TooMany`] with the seconds to wait.
    pub(crate) fn check(
        &self,
        settings: &AccountSettings,
        origin: Origin,
        username: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.0.lock().check(settings, origin, username, now)
    }

    /// Notes how a sign-in went. Meanwhile others may have used up the limit: then this one is refused as well, right or
    /// wrong, so that many at once learn no more than one after the other.
    ///
    /// # Errors
    /// [`Error::TooMany`] with the seconds to wait.
    pub(crate) fn note(
        &self,
        settings: &AccountSettings,
        origin: Origin,
        username: &str,
        now: Timestamp,
        right: bool,
    ) -> Result<(), Error> {
        let mut failures = self.0.lock();
        failures.check(settings, origin, username, now)?;
        let key = (origin, username.to_owned());
        if right {
            failures.rows.remove(&key);
            make_room(&mut failures.known, |last| is_over(*last, KNOWN_MS, now));
            failures.known.insert(key, now);
            return Ok(());
        }
        let over = failures.over(settings, origin, 1);
        let window = settings.failure_window_ms;
        make_room(&mut failures.rows, |row| is_over(row.last, window, now));
        let row = failures.rows.entry(key).or_insert(Row { failed: 0, last: now });
        *row = Row { failed: row.failed.saturating_add(1), last: now };
        if settings.failures_per_address > 0 {
            make_room(&mut failures.by_origin, |times| {
                times.back().is_none_or(|last| is_over(*last, window, now))
            });
            failures.by_origin.entry(origin).or_default().push_back(now);
        }
        over.map_or(Ok(()), |first| Err(wait_until(first.plus_ms(window), now)))
    }
}

impl Failures {
    fn check(
        &mut self,
        settings: &AccountSettings,
        origin: Origin,
        username: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let key = (origin, username.to_owned());
        // A failure later than now was noted before the clock was set back: it counts as one of now, so that no block
        // lasts longer than its window.
        if let Some(row) = self.rows.get_mut(&key) {
            row.last = row.last.min(now);
            let ends = row.last.plus_ms(settings.failure_window_ms);
            if is_over(row.last, settings.failure_window_ms, now) {
                self.rows.remove(&key);
            } else if settings.failures_per_user > 0 && row.failed >= settings.failures_per_user {
                return Err(wait_until(ends, now));
            }
        }
        let window = settings.failure_window_ms;
        if let Some(times) = self.by_origin.get_mut(&origin) {
            times.iter_mut().rev().take_while(|at| **at > now).for_each(|at| *at = now);
            while times.front().is_some_and(|first| is_over(*first, window, now)) {
                times.pop_front();
            }
        }
        let Some(first) = self.over(settings, origin, 1) else { return Ok(()) };
        let is_known = self.known.get(&key).is_some_and(|last| !is_over(*last, KNOWN_MS, now));
        let is_new = !self.rows.contains_key(&key) && self.over(settings, origin, BEYOND).is_none();
        if is_known || is_new { Ok(()) } else { Err(wait_until(first.plus_ms(window), now)) }
    }

    /// The first failure of an address that has so many times those it may have.
    fn over(&self, settings: &AccountSettings, origin: Origin, times: usize) -> Option<Timestamp> {
        let most = settings.failures_per_address as usize * times;
        let failed = self.by_origin.get(&origin)?;
        failed.front().copied().filter(|_| most > 0 && failed.len() >= most)
    }
}

/// Whether so long has passed since. A time that is still to come was told by a clock that has been set back.
fn is_over(since: Timestamp, ms: i64, now: Timestamp) -> bool {
    !(0..ms).contains(&now.0.saturating_sub(since.0))
}

fn wait_until(at: Timestamp, now: Timestamp) -> Error {
    let ms = u64::try_from(at.0.saturating_sub(now.0)).unwrap_or_default();
    Error::TooMany { retry_after_s: ms.div_ceil(1_000).max(1) }
}

/// Drops what is over when the map is full, and everything if nothing is.
fn make_room<K: Eq + Hash, V>(map: &mut HashMap<K, V>, over: impl Fn(&V) -> bool) {
    if map.len() >= REMEMBERED {
        map.retain(|_, value| !over(value));
    }
    if map.len() >= REMEMBERED {
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Origin {
        Origin::from(Some([127, 0, 0, 1].into()))
    }

    fn settings() -> AccountSettings {
        AccountSettings { failures_per_user: 3, failures_per_address: 6, ..AccountSettings::default() }
    }

    /// Tries to sign in; whether the try was let through.
    fn attempt(limits: &SignInLimits, name: &str, at_s: i64, right: bool) -> bool {
        let (settings, now) = (settings(), Timestamp(at_s * 1_000));
        limits.check(&settings, here(), name, now).is_ok()
            && limits.note(&settings, here(), name, now, right).is_ok()
    }

    #[test]
    fn a_row_of_failures_blocks_that_name_for_a_while_and_a_success_ends_the_row() {
        let limits = SignInLimits::default();
        for _ in 0..2 {
            assert!(attempt(&limits, "ada", 0, false));
        }
        assert!(attempt(&limits, "ada", 0, true));
        for _ in 0..3 {
            assert!(attempt(&limits, "ada", 1, false));
        }
        assert!(!attempt(&limits, "ada", 300, true), "even the right password");
        assert!(attempt(&limits, "bob", 2, true));
        assert!(attempt(&limits, "ada", 301, true));
    }

    #[test]
    fn an_address_with_many_failures_waits_but_who_has_not_failed_there_signs_in() {
        let limits = SignInLimits::default();
        assert!(attempt(&limits, "known", 0, true));
        for n in 0..6 {
            assert!(attempt(&limits, &format!("name {n}"), n, false));
        }
        assert!(!attempt(&limits, "a wrong one", 6, false), "a wrong password is told to wait");
        assert!(!attempt(&limits, "a wrong one", 6, true), "and so is who has failed, right or wrong");
        assert!(!attempt(&limits, "name 0", 6, true));
        assert!(attempt(&limits, "another", 6, true));
        for n in 7..60 {
            assert!(!attempt(&limits, &format!("name {n}"), 7, false));
        }
        assert!(!attempt(&limits, "yet another", 8, true), "far beyond, nobody tries who is not known there");
        assert!(attempt(&limits, "known", 8, true));
        assert!(attempt(&limits, "another", 8, true));
        assert!(attempt(&limits, "yet another", 310, true));
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_block_longer() {
        let day_s = 86_400;
        let limits = SignInLimits::default();
        for n in 0..6 {
            assert!(attempt(&limits, if n % 2 == 0 { "ada" } else { "bob" }, day_s + n, false));
        }
        let settings = settings();
        for name in ["ada", "bob"] {
            let refused = limits.check(&settings, here(), name, Timestamp(0));
            assert!(
                matches!(refused, Err(Error::TooMany { retry_after_s }) if retry_after_s <= 300),
                "{name}: {refused:?}"
            );
        }
        assert!(!attempt(&limits, "ada", 299, true));
        assert!(attempt(&limits, "ada", 300, true), "the window is over by the clock as it is now");
        assert!(attempt(&limits, "bob", 300, true));
    }

    #[test]
    fn many_at_once_learn_no_more_than_one_after_the_other() {
        let (limits, settings, now) = (SignInLimits::default(), settings(), Timestamp(0));
        for _ in 0..9 {
            assert!(limits.check(&settings, here(), "ada", now).is_ok());
        }
        let answered = (0..9).filter(|_| limits.note(&settings, here(), "ada", now, false).is_ok()).count();
        assert_eq!(answered, 3);
        assert!(limits.note(&settings, here(), "ada", now, true).is_err());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (limits, settings) = (SignInLimits::default(), AccountSettings::default());
        for n in 0..REMEMBERED + 5 {
            let address: [u8; 4] = u32::try_from(n).expect("small").to_be_bytes();
            let origin = Origin::from(Some(address.into()));
            let _ = limits.note(&settings, origin, "ada", Timestamp(0), false);
        }
        let failures = limits.0.lock();
        assert!(failures.rows.len() <= REMEMBERED && failures.by_origin.len() <= REMEMBERED);
    }
}
