//! Live streams end with the right to them: each is known by its token, its person and its products, and looks at its right
//! again when one of these changes.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tributary_domain::{ProductId, UserId};
use tributary_store::{changes::Change, tokens::TokenHash};

/// The open streams.
#[derive(Default)]
pub(crate) struct Rights {
    open: Mutex<HashMap<u64, Arc<Right>>>,
    next: AtomicU64,
}

/// The right to one stream.
pub(crate) struct Right {
    token: TokenHash,
    user: UserId,
    /// The products that it hears of; until they are known, any may be one.
    products: OnceLock<Vec<ProductId>>,
    in_doubt: AtomicBool,
    doubted: Notify,
}

impl Right {
    fn is_touched_by(&self, change: &Change) -> bool {
        match change {
            Change::Token(token) => self.token == *token,
            Change::User(user) | Change::Team(user, _) | Change::Claims(user) => self.user == *user,
            Change::Product(product) => self.products.get().is_none_or(|own| own.contains(product)),
            _ => false,
        }
    }

    /// It is to be looked at again.
    pub(crate) fn doubt(&self) {
        self.in_doubt.store(true, Ordering::Release);
        self.doubted.notify_one();
    }

    /// Whether it was to be looked at again; from now on it was.
    pub(crate) fn take_doubt(&self) -> bool {
        self.in_doubt.swap(false, Ordering::AcqRel)
    }

    /// Waits until it is to be looked at again.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// Tells which products it is about.
    pub(crate) fn is_about(&self, products: Vec<ProductId>) {
        // It is told once.
        let _ = self.products.set(products);
    }
}

/// A right that is known as long as this is kept.
pub(crate) struct Held {
    pub(crate) right: Arc<Right>,
    rights: Arc<Rights>,
    id: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.rights.open.lock().remove(&self.id);
    }
}

impl Rights {
    /// A right that is about to be looked at for the first time.
    pub(crate) fn hold(self: &Arc<Rights>, token: TokenHash, user: UserId) -> Held {
        let right = Arc::new(Right {
            token,
            user,
            products: OnceLock::new(),
            in_doubt: AtomicBool::new(false),
            doubted: Notify::new(),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(id, right.clone());
        Held { right, rights: self.clone(), id }
    }

    /// Lets the streams that these changes touch look at their rights again.
    pub(crate) fn changed(&self, changes: &[Change]) {
        for right in self.open.lock().values() {
            if changes.iter().any(|change| right.is_touched_by(change)) {
                right.doubt();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tributary_store::changes::TeamChanged;

    use super::*;

    #[test]
    fn a_right_is_in_doubt_after_what_touches_it_alone() {
        let rights = Arc::new(Rights::default());
        let (ada, bob) = (UserId([1; 12]), UserId([2; 12]));
        let held = rights.hold([1; 32], ada);
        let touched = |change: Change| {
            rights.changed(&[change]);
            held.right.take_doubt()
        };
        assert!(touched(Change::Product(ProductId(2))), "its products are not known yet");
        held.right.is_about(vec![ProductId(1)]);
        for (change, expected) in [
            (Change::Product(ProductId(1)), true),
            (Change::Product(ProductId(2)), false),
            (Change::Token([1; 32]), true),
            (Change::Token([2; 32]), false),
            (Change::Team(ada, TeamChanged::Product), true),
            (Change::Team(bob, TeamChanged::Product), false),
            (Change::User(ada), true),
            (Change::Claims(bob), false),
            (Change::RoutesOf(ProductId(1)), false),
        ] {
            assert_eq!(touched(change), expected, "{change:?}");
        }
        drop(held);
        assert!(rights.open.lock().is_empty());
    }
}
