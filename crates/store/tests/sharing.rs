//! Separating and merging with their counters, logs and waiting deliveries (contract 1 and 1.2).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::{NOW, OWNER, World, by, counted, counts, fresh, world};
use tributary_domain::{
    IntegrationId, MemberId,
    integration::{Integration, Member},
    outcome::Outcome,
};
use tributary_store::integrations::{NotWritten, Seen, Which};

async fn separate(w: &World, shared: &Integration, member: Member) -> Result<Integration, NotWritten> {
    let own = Integration { id: IntegrationId(fresh()), members: vec![member], ..shared.clone() };
    w.store.separate(Seen::of(shared), member.id, &own, by(NOW)).await.unwrap().map(|()| own)
}

async fn now(w: &World, id: IntegrationId) -> Option<Integration> {
    w.store.integration(Which::One(OWNER, id)).await.unwrap()
}

#[tokio::test]
async fn a_separated_member_keeps_its_id_and_what_was_counted_stays() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    let member = made.members[1];
    for member in &made.members {
        w.count(&made, *member, Outcome::Success).await;
    }
    w.wait(1, &made, member).await;
    w.wait(2, &made, made.members[0]).await;

    let own = separate(&w, &made, member).await.unwrap();
    assert_eq!(now(&w, own.id).await.unwrap(), own);
    assert_eq!(now(&w, made.id).await.unwrap().members, [made.members[0], made.members[2]]);
    assert_eq!(w.total(made.id).await, counts(3, 0, 0), "sums never fall");
    assert_eq!(w.total(own.id).await, counts(0, 0, 0), "and nothing is counted twice");
    assert_eq!(w.waiting().await, [counted(&own, member), counted(&made, made.members[0])]);

    w.count(&own, member, Outcome::Error).await;
    assert_eq!(w.total_of_member(member.id).await, counts(1, 1, 0), "the product's history goes on");
    let log = w.store.log_of_member(OWNER, member.id).await.unwrap();
    assert_eq!(
        log.iter().map(|entry| entry["outcome"].as_str().unwrap()).collect::<Vec<_>>(),
        ["error", "success"]
    );
    assert_eq!(w.actions().await, ["integration.separate", "integration.create"]);
}

#[tokio::test]
async fn only_a_shared_integration_that_is_still_as_seen_can_be_separated() {
    let w = world().await;
    let [one, two, _] = w.products;
    let alone = w.shared(&[one]).await;
    assert_eq!(separate(&w, &alone, alone.members[0]).await, Err(NotWritten::NotShared));
    let shared = w.shared(&[one, two]).await;
    let older = Integration { updated_at: NOW.plus_ms(-1), ..shared.clone() };
    assert_eq!(separate(&w, &older, shared.members[0]).await, Err(NotWritten::Changed));
    let stranger = Member { id: MemberId(fresh()), product: one };
    assert_eq!(separate(&w, &shared, stranger).await, Err(NotWritten::Changed));
    assert_eq!(w.store.integrations(Which::Of(OWNER)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn of_two_separations_at_the_same_moment_the_last_one_finds_nothing_shared() {
    let w = world().await;
    let [one, two, _] = w.products;
    for _ in 0..10 {
        let shared = w.shared(&[one, two]).await;
        let both = tokio::join!(
            separate(&w, &shared, shared.members[0]),
            separate(&w, &shared, shared.members[1]),
            separate(&w, &shared, shared.members[0]),
        );
        let done = [&both.0, &both.1, &both.2].into_iter().filter(|result| result.is_ok()).count();
        assert_eq!(done, 1, "{both:?}");
        assert_eq!(now(&w, shared.id).await.unwrap().members.len(), 1);
    }
}

#[tokio::test]
async fn merging_moves_members_and_joins_history_logs_and_waiting_deliveries() {
    let w = world().await;
    let [one, two, three] = w.products;
    let into = w.shared(&[one]).await;
    let from = w.shared(&[two, one]).await;
    let also = w.shared(&[three]).await;
    let [kept, moved, joined] = [into.members[0], from.members[0], from.members[1]];
    w.count(&into, kept, Outcome::Success).await;
    w.count(&from, moved, Outcome::Error).await;
    w.count(&from, joined, Outcome::Success).await;
    w.count(&also, also.members[0], Outcome::Skipped).await;
    w.wait(1, &from, joined).await;
    w.wait(2, &from, moved).await;

    let seen = [Seen::of(&from), Seen::of(&also)];
    let merged = w.store.merge(OWNER, Seen::of(&into), &seen, by(NOW)).await.unwrap().unwrap();
    assert_eq!(merged.members, [kept, moved, also.members[0]]);
    assert_eq!((now(&w, from.id).await, now(&w, also.id).await), (None, None));
    assert_eq!(w.total(into.id).await, counts(2, 1, 1));
    assert_eq!(w.total_of_member(kept.id).await, counts(2, 0, 0));
    assert_eq!(w.total_of_member(moved.id).await, counts(0, 1, 0));
    assert_eq!(w.waiting().await, [counted(&into, kept), counted(&into, moved)]);
    assert_eq!(w.store.log_of_integration(OWNER, into.id).await.unwrap().len(), 4);
    assert_eq!(w.store.log_of_member(OWNER, kept.id).await.unwrap().len(), 2);
    assert_eq!(w.actions().await[..2], ["integration.merge", "integration.merge"]);
}

#[tokio::test]
async fn a_product_that_separated_and_was_added_anew_gets_its_whole_history_back_when_merged() {
    let w = world().await;
    let [one, two, _] = w.products;
    let shared = w.shared(&[one, two]).await;
    let old = shared.members[0];
    w.count(&shared, old, Outcome::Success).await;
    let own = separate(&w, &shared, old).await.unwrap();
    w.count(&own, old, Outcome::Success).await;
    let anew = Member { id: MemberId(fresh()), product: one };
    let shared = w.store.add_member(OWNER, shared.id, anew, by(NOW)).await.unwrap().unwrap();
    w.count(&shared, anew, Outcome::Success).await;

    w.store.merge(OWNER, Seen::of(&shared), &[Seen::of(&own)], by(NOW)).await.unwrap().unwrap();
    assert_eq!(w.total(shared.id).await, counts(3, 0, 0));
    assert_eq!(w.total_of_member(anew.id).await, counts(3, 0, 0));
}

#[tokio::test]
async fn a_merge_judged_by_an_older_reading_is_not_made() {
    let w = world().await;
    let [one, two, _] = w.products;
    let (into, from) = (w.shared(&[one]).await, w.shared(&[two]).await);
    let merge = async |into, from| w.store.merge(OWNER, into, &[from], by(NOW)).await.unwrap();
    let older = |seen: Seen| Seen { updated_at: NOW.plus_ms(-1), ..seen };
    let (into, from) = (Seen::of(&into), Seen::of(&from));
    assert_eq!(merge(older(into), from).await, Err(NotWritten::Changed));
    assert_eq!(merge(into, older(from)).await, Err(NotWritten::Changed));
    let gone = Seen { id: IntegrationId([0; 12]), ..from };
    assert_eq!(merge(into, gone).await, Err(NotWritten::Gone));
    assert_eq!(w.store.integrations(Which::Of(OWNER)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn today_is_summed_over_products_and_follows_the_member() {
    let w = world().await;
    let [one, two, _] = w.products;
    let shared = w.shared(&[one, two]).await;
    let other = w.shared(&[one]).await;
    w.count(&shared, shared.members[0], Outcome::Success).await;
    w.count(&shared, shared.members[1], Outcome::Skipped).await;
    w.count(&other, other.members[0], Outcome::Error).await;
    let own = separate(&w, &shared, shared.members[0]).await.unwrap();
    w.count(&own, shared.members[0], Outcome::Success).await;

    let of_owner = w.store.day_of_owner(OWNER, NOW.day()).await.unwrap();
    assert_eq!(of_owner[&shared.id], counts(1, 0, 1));
    assert_eq!(of_owner[&own.id], counts(1, 0, 0));
    assert_eq!(of_owner[&other.id], counts(0, 1, 0));
    let of_product = w.store.day_of_product(OWNER, one, NOW.day()).await.unwrap();
    assert_eq!(of_product[&shared.members[0].id], counts(2, 0, 0));
    assert_eq!(of_product[&other.members[0].id], counts(0, 1, 0));
    assert_eq!(of_product.len(), 2);
    assert!(w.store.day_of_owner(OWNER, NOW.day() - 1).await.unwrap().is_empty());
}
