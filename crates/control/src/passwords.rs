//! Hashing passwords with argon2id, away from the threads that serve requests.

use std::{sync::Arc, thread::available_parallelism};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash,
};
use tokio::sync::Semaphore;

use crate::Error;

/// Memory for hashing one password, in KiB: what OWASP recommends for two passes.
pub(crate) const MEMORY_KIB: u32 = 19_456;
/// Most passwords hashed at once, whatever the machine: each takes a core and that memory.
const AT_ONCE: usize = 4;
/// Passwords that are hashed or wait for it; more are turned away with 503. With one core that is a wait of a few seconds.
const WAITING: usize = 128;
/// Passes over the memory.
const PASSES: u32 = 2;
/// Length of a salt in bytes.
const SALT_BYTES: usize = 16;

/// Half of the cores: right passwords and sign-ups leave the rest to events and their deliveries.
fn at_once(cores: usize) -> usize {
    (cores / 2).clamp(1, AT_ONCE)
}

/// Hashes and checks passwords, few at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    argon2: Argon2<'static>,
    queue: Arc<Semaphore>,
    running: Arc<Semaphore>,
    random: fn(&mut [u8]),
}

impl Passwords {
    /// With this memory for each password, in KiB; too little is raised to the least that argon2 takes.
    pub(crate) fn new(memory_kib: u32, random: fn(&mut [u8])) -> Passwords {
        let params = Params::new(memory_kib.max(Params::MIN_M_COST), PASSES, 1, None).unwrap_or_default();
        Passwords {
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            queue: Arc::new(Semaphore::new(WAITING)),
            running: Arc::new(Semaphore::new(at_once(available_parallelism().map_or(1, usize::from)))),
            random,
        }
    }

    /// The hash of a password, with its salt and parameters, as one text.
    pub(crate) async fn hash(&self, password: &str) -> Result<String, Error> {
        let (argon2, password, mut salt) = (self.argon2.clone(), password.to_owned(), [0; SALT_BYTES]);
        (self.random)(&mut salt);
        let hash =
            move || argon2.hash_password_with_salt(password.as_bytes(), &salt).map(|hash| hash.to_string());
        self.run(hash).await?.map_err(|error| Error::Internal(error.to_string().into()))
    }

    /// Whether a password is the one of this hash. Without a hash it is not, which takes as long to find out.
    pub(crate) async fn matches(&self, password: &str, hash: Option<String>) -> Result<bool, Error> {
        let Some(hash) = hash else {
            self.hash(password).await?;
            return Ok(false);
        };
        let (argon2, password) = (self.argon2.clone(), password.to_owned());
        let verify = move || {
            let hash = PasswordHash::new(&hash).map_err(|error| error.to_string())?;
            Ok(argon2.verify_password(password.as_bytes(), &hash).is_ok())
        };
        self.run(verify).await?.map_err(|error: String| Error::Internal(error.into()))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let _waiting = self.queue.try_acquire().map_err(|_| Error::Unavailable)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Error::Unavailable)?;
        // The permit goes along, so that a caller who leaves does not make room before the work is done.
        let work = move || {
            let done = work();
            drop(running);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hashing_leaves_half_of_the_cores_to_the_rest() {
        for (cores, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (64, 4)] {
            assert_eq!(at_once(cores), expected, "{cores} cores");
        }
    }

    #[tokio::test]
    async fn what_is_more_than_may_wait_is_turned_away_and_the_rest_is_done() {
        let passwords = Passwords::new(8, |bytes| bytes.fill(7));
        let held = Arc::clone(&passwords.running);
        let all = u32::try_from(held.available_permits()).unwrap();
        let busy = held.acquire_many_owned(all).await.unwrap();
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..WAITING + 20 {
            let passwords = passwords.clone();
            calls.spawn(async move { passwords.hash("correct horse").await });
        }
        for _ in 0..20 {
            let refused = calls.join_next().await.unwrap().unwrap();
            assert!(matches!(refused, Err(Error::Unavailable)), "{refused:?}");
        }
        drop(busy);
        let mut done = 0;
        while let Some(one) = calls.join_next().await {
            one.unwrap().unwrap();
            done += 1;
        }
        assert_eq!(done, WAITING);
    }

    #[tokio::test]
    async fn a_hash_matches_its_password_alone_and_no_hash_matches_none() {
        let passwords = Passwords::new(8, |bytes| bytes.fill(7));
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=2,p=1$"), "{hash}");
        assert!(passwords.matches("correct horse", Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches("Correct horse", Some(hash.clone())).await.unwrap());
        assert!(!passwords.matches("correct horse", None).await.unwrap());
        let larger = Passwords::new(16, |bytes| bytes.fill(7));
        assert!(larger.matches("correct horse", Some(hash)).await.unwrap(), "hashed with other parameters");
    }
}
