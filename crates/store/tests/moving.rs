//! A product moves from a sandbox to an organization in one transaction.
#![allow(clippy::unwrap_used)]

mod support;

use support::{NOW, OWNER, USER, World, by, counted, counts, product, webhook, world};
use tributary_domain::{Owner, account::Product, integration::Integration, outcome::Outcome};
use tributary_store::{
    StoreError,
    delivery::{Batch, Ended},
    integrations::{Seen, Which},
    moving::{Move, Moved},
    secrets::SecretWrite,
};

const MINE: Owner = Owner::User(USER);

async fn own(w: &World) -> (Product, Integration) {
    let id = product(&w.store, MINE, "mine").await;
    let made = webhook(MINE, &[id]);
    w.store.create_integration(&made, by(NOW)).await.unwrap().unwrap();
    (w.store.product("mine").await.unwrap().unwrap(), made)
}

async fn go(
    w: &World,
    product: &Product,
    seen: &[Seen],
    most_products: usize,
    names: &[String],
) -> Result<Moved, StoreError> {
    w.store.move_product(&Move { product, to: OWNER, seen, names, most_products }, by(NOW)).await
}

#[tokio::test]
async fn what_waits_and_what_is_under_way_counts_once_for_the_same_member() {
    let w = world().await;
    let (product, made) = own(&w).await;
    let member = made.members[0];
    w.count(&made, member, Outcome::Success).await;
    w.wait(5, &made, member).await;
    assert_eq!(go(&w, &product, &[Seen::of(&made)], 10, &[]).await.unwrap(), Moved::Done);

    let ended =
        |pending| Ended { pending, counted: counted(&made, member), outcome: Outcome::Error, at: NOW };
    let batch = Batch { ended: vec![ended(None), ended(Some(5))], ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(1, 2, 0), "read as the organization's");
    assert_eq!(w.total_of_member(member.id).await, counts(1, 2, 0));
    assert_eq!(w.store.pending_count().await.unwrap(), 0);
    let now = w.store.integration(Which::One(OWNER, made.id)).await.unwrap().unwrap();
    assert_eq!(now, Integration { owner: OWNER, ..made.clone() }, "sealed values open as before");
    assert_eq!(w.store.integration(Which::One(MINE, made.id)).await.unwrap(), None);
    for owner in [OWNER, MINE] {
        let row = w.store.audit_of(owner, 1).await.unwrap().remove(0);
        assert_eq!(
            (row.action.as_str(), &row.before.unwrap()["owner"]),
            ("product.move", &MINE.to_string().into())
        );
    }
}

#[tokio::test]
async fn a_move_that_was_judged_by_something_older_writes_nothing() {
    let w = world().await;
    let (product, made) = own(&w).await;
    assert_eq!(go(&w, &product, &[], 10, &[]).await.unwrap(), Moved::Changed, "one came in between");
    let older = Seen { updated_at: NOW.plus_ms(-1), ..Seen::of(&made) };
    assert_eq!(go(&w, &product, &[older], 10, &[]).await.unwrap(), Moved::Changed);
    let seen = [Seen::of(&made)];
    assert_eq!(go(&w, &product, &seen, 3, &[]).await.unwrap(), Moved::TooManyProducts(3));
    let names = ["B", "A", "NO_SECRET"].map(str::to_owned);
    for name in ["A", "B"] {
        w.store.write_secret(MINE, name, "x", SecretWrite::Create, by(NOW)).await.unwrap();
    }
    let lacking = Moved::LacksSecrets(vec!["A".to_owned(), "B".to_owned()]);
    assert_eq!(go(&w, &product, &seen, 10, &names).await.unwrap(), lacking);
    assert_eq!(w.store.product("mine").await.unwrap().unwrap(), product);
    assert!(w.store.integration(Which::One(MINE, made.id)).await.unwrap().is_some());
    assert_eq!(go(&w, &product, &seen, 10, &[]).await.unwrap(), Moved::Done);
    assert_eq!(go(&w, &product, &[], 10, &[]).await.unwrap(), Moved::Gone, "it moved already");
}
