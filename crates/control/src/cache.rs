//! What publishing asks for again and again, kept in memory: who a token is, what a product is to somebody, which
//! devices a product has.
//!
//! The change feed says what of it to forget. What was read before that must not come back after it, so a fill carries
//! the generation that was current before its read, and is dropped when that is over.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use parking_lot::RwLock;
use tributary_domain::{
    DeviceId, ProductId, Timestamp, UserId,
    access::{Actor, Standing},
    account::{Device, Product},
};
use tributary_store::{changes::Change, tokens::TokenHash};

/// Most entries of each kind; a full map is emptied before the next one.
const ENTRIES: usize = 10_000;
/// Most devices: a large fleet publishes through one product.
const DEVICES: usize = 100_000;

/// The count of changes at some moment. Taken before a read, given back with what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u64);

#[derive(Default)]
struct Maps {
    generation: u64,
    actors: HashMap<TokenHash, (Actor, Option<Timestamp>)>,
    products: HashMap<(UserId, String), (Product, Standing)>,
    devices: HashMap<(ProductId, DeviceId), Device>,
}

/// The cache. Its lock is never held while something waits.
#[derive(Default)]
pub(crate) struct Cache(RwLock<Maps>);

impl Cache {
    /// To be taken before the read of what will be put.
    pub(crate) fn generation(&self) -> Generation {
        Generation(self.0.read().generation)
    }

    /// Forgets what these changes are about, also what is being read just now.
    pub(crate) fn forget<'c>(&self, changes: impl Iterator<Item = &'c Change>) {
        let mut maps = self.0.write();
        let (mut users, mut products) = (HashSet::new(), HashSet::new());
        let mut teams = false;
        for change in changes {
            teams |= matches!(change, Change::Team(..));
            match change {
                Change::Token(token) => drop(maps.actors.remove(token)),
                Change::User(user) | Change::Team(user, _) => drop(users.insert(*user)),
                Change::Product(product) => drop(products.insert(*product)),
                Change::Device(product, device) => drop(maps.devices.remove(&(*product, *device))),
                Change::Unknown => {
                    *maps = Maps { generation: maps.generation, ..Maps::default() };
                }
                Change::Integration(_)
                | Change::RoutesOf(_)
                | Change::Sandbox(_)
                | Change::Secrets(_)
                | Change::Claims(_) => continue,
            }
            maps.generation += 1;
        }
        if !users.is_empty() {
            maps.actors.retain(|_, (actor, _)| !users.contains(&actor.user));
        }
        if teams {
            // Whose a device's events are follows from what its claimer may see. Teams change seldom.
            maps.devices.clear();
        } else if !products.is_empty() {
            maps.devices.retain(|(product, _), _| !products.contains(product));
        }
        if !users.is_empty() || !products.is_empty() {
            maps.products
                .retain(|(user, _), (product, _)| !users.contains(user) && !products.contains(&product.id));
        }
    }

    /// Who a token is, and until when.
    pub(crate) fn actor(&self, token: &TokenHash) -> Option<(Actor, Option<Timestamp>)> {
        self.0.read().actors.get(token).cloned()
    }

    pub(crate) fn put_actor(&self, read_in: Generation, token: TokenHash, actor: (Actor, Option<Timestamp>)) {
        self.put(read_in, |maps| insert(&mut maps.actors, ENTRIES, token, actor));
    }

    /// A product under the id or slug that somebody asks with, and what that somebody is to it.
    pub(crate) fn product(&self, user: UserId, key: &str) -> Option<(Product, Standing)> {
        self.0.read().products.get(&(user, key.to_owned())).cloned()
    }

    pub(crate) fn put_product(
        &self,
        read_in: Generation,
        user: UserId,
        key: &str,
        product: (Product, Standing),
    ) {
        self.put(read_in, |maps| insert(&mut maps.products, ENTRIES, (user, key.to_owned()), product));
    }

    /// A device of a product.
    pub(crate) fn device(&self, product: ProductId, id: DeviceId) -> Option<Device> {
        self.0.read().devices.get(&(product, id)).cloned()
    }

    pub(crate) fn put_device(&self, read_in: Generation, product: ProductId, device: Device) {
        self.put(read_in, |maps| insert(&mut maps.devices, DEVICES, (product, device.id), device));
    }

    fn put(&self, read_in: Generation, insert: impl FnOnce(&mut Maps)) {
        let mut maps = self.0.write();
        if maps.generation == read_in.0 {
            insert(&mut maps);
        }
    }
}

fn insert<K: Eq + Hash, V>(map: &mut HashMap<K, V>, most: usize, key: K, value: V) {
    if map.len() >= most {
        map.clear();
    }
    map.insert(key, value);
}

#[cfg(test)]
mod tests {
    use tributary_domain::Owner;

    use super::*;

    fn actor() -> (Actor, Option<Timestamp>) {
        (Actor { user: UserId([1; 12]), username: "ada".to_owned(), scopes: None }, None)
    }

    #[test]
    fn what_was_read_before_a_change_does_not_come_back_after_it() {
        let cache = Cache::default();
        let before = cache.generation();
        let ended = Change::Token([0; 32]);
        cache.forget([&ended].into_iter());
        cache.put_actor(before, [0; 32], actor());
        assert!(cache.actor(&[0; 32]).is_none());
        cache.put_actor(cache.generation(), [0; 32], actor());
        assert!(cache.actor(&[0; 32]).is_some());
        cache.forget([&ended].into_iter());
        assert!(cache.actor(&[0; 32]).is_none());
    }

    #[test]
    fn a_change_of_one_leaves_the_others() {
        let cache = Cache::default();
        for token in [1, 2] {
            let (mut one, until) = actor();
            one.user = UserId([token; 12]);
            cache.put_actor(cache.generation(), [token; 32], (one, until));
        }
        cache.forget([Change::User(UserId([1; 12])), Change::Secrets(Owner::User(UserId([2; 12])))].iter());
        assert!(cache.actor(&[1; 32]).is_none() && cache.actor(&[2; 32]).is_some());
        cache.forget([Change::Unknown].iter());
        assert!(cache.actor(&[2; 32]).is_none(), "what is not known may be about anything");
    }

    #[test]
    fn a_full_map_does_not_grow() {
        let mut map = HashMap::new();
        for n in 0..100 {
            insert(&mut map, 10, n, ());
            assert!(map.len() <= 10 && map.contains_key(&n));
        }
    }
}
