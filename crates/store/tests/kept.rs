//! Failed and skipped deliveries are kept, made again, and counted beside the history.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::{NOW, OWNER, World, by, counted, counts, world};
use tributary_domain::{
    Timestamp,
    integration::{Integration, Member},
    outcome::Outcome,
};
use tributary_store::{
    delivery::{Batch, Ended},
    integrations::Seen,
    kept::KeptEvent,
    members::MemberKey,
    redelivery::{Begun, Chosen},
};

const LANE: &str = "redelivery";

fn chosen(of: &Integration) -> Chosen {
    Chosen {
        integration: of.id,
        member: None,
        kept: None,
        from: Timestamp(0),
        to: NOW.plus_ms(1_000_000),
        outcome: None,
        products: None,
    }
}

/// Ends deliveries of a member, each with an event of ten bytes.
async fn end(w: &World, of: &Integration, member: Member, outcomes: &[Outcome], at: Timestamp) {
    let counted = counted(of, member);
    let ended = |outcome: &Outcome| Ended { pending: None, counted, outcome: *outcome, at };
    let kept = (0..outcomes.len()).filter(|n| outcomes[*n] != Outcome::Success).map(kept_event).collect();
    let batch = Batch { ended: outcomes.iter().map(ended).collect(), kept, ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
}

/// Ends what waits in the lane of redeliveries.
async fn end_waiting(w: &World, outcome: Outcome) {
    let rows = w.store.pending_of_lane(LANE, None, 100).await.unwrap();
    let ended =
        rows.iter().map(|row| Ended { pending: Some(row.id), counted: row.counted, outcome, at: NOW });
    let kept = (0..rows.len()).map(kept_event);
    let kept = if outcome == Outcome::Success { Vec::new() } else { kept.collect() };
    let batch = Batch { ended: ended.collect(), kept, ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
}

async fn kept(w: &World, of: &Integration) -> i64 {
    w.store.count_kept(OWNER, &chosen(of)).await.unwrap().iter().map(|(_, n)| n).sum()
}

#[tokio::test]
async fn each_failed_or_skipped_delivery_is_kept_once_and_counted_by_product() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    let [one, two, _] = [0, 1, 2].map(|n| made.members[n]);
    end(&w, &made, one, &[Outcome::Success, Outcome::Error, Outcome::Skipped], NOW).await;
    end(&w, &made, two, &[Outcome::Error], NOW.plus_ms(5)).await;
    let count = async |chosen: &Chosen| w.store.count_kept(OWNER, chosen).await.unwrap();
    assert_eq!(count(&chosen(&made)).await, [(Some(w.products[0]), 2), (Some(w.products[1]), 1)]);
    let only = Chosen { outcome: Some(Outcome::Skipped), ..chosen(&made) };
    assert_eq!(count(&only).await, [(Some(w.products[0]), 1)]);
    let late = Chosen { from: NOW.plus_ms(1), ..chosen(&made) };
    assert_eq!(count(&late).await, [(Some(w.products[1]), 1)]);
    let listed = Chosen { products: Some(vec![w.products[1]]), ..chosen(&made) };
    assert_eq!(count(&listed).await, [(Some(w.products[1]), 1)]);
    assert_eq!(w.store.kept_bytes().await.unwrap(), 30);
}

#[tokio::test]
async fn a_run_counts_beside_the_history_and_what_failed_again_stays_kept_once() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    end(&w, &made, made.members[0], &[Outcome::Error, Outcome::Error], NOW).await;
    let (begun, _) = w.store.begin_redelivery(OWNER, "a", &chosen(&made), by(NOW)).await.unwrap();
    assert_eq!(begun, Begun::Yes);
    assert_eq!(w.store.send_redelivery("a", LANE, [100, 1], NOW).await.unwrap(), 1);
    end_waiting(&w, Outcome::Error).await;
    assert_eq!(
        w.store.send_redelivery("a", LANE, [200, 9], NOW).await.unwrap(),
        1,
        "not the first one again"
    );
    assert_eq!(kept(&w, &made).await, 1, "what is being made again is not chosen by another run");
    end_waiting(&w, Outcome::Success).await;
    assert_eq!(w.store.send_redelivery("a", LANE, [300, 9], NOW).await.unwrap(), 0);

    let run = w.store.redeliveries(OWNER, made.id, None, Some("a")).await.unwrap().pop().unwrap();
    assert_eq!((run.state.as_str(), run.total, run.sent, run.ended), ("finished", 2, 2, [1, 1, 0]));
    assert_eq!(kept(&w, &made).await, 1);
    assert_eq!(w.store.kept_bytes().await.unwrap(), 10);
    assert_eq!(w.total(made.id).await, counts(0, 2, 0), "the history says what happened to the events");
    assert_eq!(w.store.redelivered(OWNER, made.id, None, [NOW.day(); 2]).await.unwrap(), counts(1, 1, 0));
}

#[tokio::test]
async fn a_cancelled_run_keeps_what_was_not_being_sent() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    end(&w, &made, made.members[0], &[Outcome::Error; 3], NOW).await;
    w.store.begin_redelivery(OWNER, "a", &chosen(&made), by(NOW)).await.unwrap();
    w.store.send_redelivery("a", LANE, [100, 2], NOW).await.unwrap();
    assert!(w.store.cancel_redelivery(OWNER, "a", &[100], by(NOW)).await.unwrap());
    assert!(!w.store.cancel_redelivery(OWNER, "a", &[], by(NOW)).await.unwrap());
    assert_eq!(w.store.pending_of_redelivery("a").await.unwrap(), [100]);
    assert_eq!(w.store.send_redelivery("a", LANE, [200, 9], NOW).await.unwrap(), 0);
    end_waiting(&w, Outcome::Success).await;
    assert_eq!(kept(&w, &made).await, 2);
    assert_eq!(w.actions().await[..2], ["integration.redeliver_cancel", "integration.redeliver"]);
}

#[tokio::test]
async fn kept_deliveries_are_dropped_by_age_and_then_the_oldest_first() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    for n in 0..5 {
        end(&w, &made, made.members[0], &[Outcome::Error], NOW.plus_ms(n)).await;
    }
    w.store.trim_kept(NOW.plus_ms(1), 1_000).await.unwrap();
    assert_eq!(kept(&w, &made).await, 4);
    w.store.trim_kept(Timestamp(0), 25).await.unwrap();
    assert_eq!(w.store.kept_bytes().await.unwrap(), 20);
    let newest = Chosen { from: NOW.plus_ms(3), ..chosen(&made) };
    assert_eq!(w.store.count_kept(OWNER, &newest).await.unwrap(), [(Some(w.products[0]), 2)]);
}

#[tokio::test]
async fn kept_deliveries_follow_their_member_and_go_with_it() {
    let w = world().await;
    let (one, two) = (w.shared(&w.products[..2]).await, w.shared(&w.products[1..]).await);
    end(&w, &one, one.members[1], &[Outcome::Error], NOW).await;
    end(&w, &two, two.members[0], &[Outcome::Error], NOW).await;
    w.store.merge(OWNER, Seen::of(&one), &[Seen::of(&two)], by(NOW)).await.unwrap().unwrap();
    assert_eq!(kept(&w, &one).await, 2);
    end(&w, &two, two.members[0], &[Outcome::Error], NOW).await;
    assert_eq!(kept(&w, &one).await, 3, "one that ended after the merge is kept where its member went");
    w.store.remove_member(OWNER, MemberKey::Id(one.members[1].id), by(NOW)).await.unwrap().unwrap();
    assert_eq!((kept(&w, &one).await, w.store.kept_bytes().await.unwrap()), (0, 0));
}

#[tokio::test]
async fn an_owner_has_a_bounded_number_of_runs_and_none_of_what_is_not_its_own() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    end(&w, &made, made.members[0], &[Outcome::Error], NOW).await;
    let stranger = tributary_domain::Owner::User(support::USER);
    let begin =
        async |owner, id: &str| w.store.begin_redelivery(owner, id, &chosen(&made), by(NOW)).await.unwrap().0;
    assert_eq!(begin(stranger, "x").await, Begun::Gone);
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(begin(OWNER, id).await, Begun::Yes);
    }
    assert_eq!(begin(OWNER, "f").await, Begun::TooMany);
    assert!(!w.store.cancel_redelivery(stranger, "a", &[], by(NOW)).await.unwrap());
    assert!(w.store.redeliveries(stranger, made.id, None, None).await.unwrap().is_empty());
    assert_eq!(w.store.send_redelivery("a", LANE, [100, 9], NOW).await.unwrap(), 1);
    assert_eq!(w.store.send_redelivery("b", LANE, [200, 9], NOW).await.unwrap(), 0, "it is in one run alone");
}

#[tokio::test]
async fn disabling_keeps_what_waits_and_ends_runs() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    w.wait(7, &made, made.members[0]).await;
    end(&w, &made, made.members[1], &[Outcome::Error], NOW).await;
    w.store.begin_redelivery(OWNER, "a", &chosen(&made), by(NOW)).await.unwrap();
    w.store.send_redelivery("a", LANE, [100, 9], NOW).await.unwrap();
    let mut config = made.config.clone();
    config.insert("disabled".to_owned(), true.into());
    w.store.replace_integration(OWNER, Seen::of(&made), &config, None, None, by(NOW)).await.unwrap().unwrap();
    assert_eq!(kept(&w, &made).await, 2, "both may be delivered again later");
    assert_eq!(w.total(made.id).await, counts(0, 1, 1), "the redelivery is not counted as an event");
    assert_eq!(w.store.redelivered(OWNER, made.id, None, [NOW.day(); 2]).await.unwrap(), counts(0, 0, 1));
    assert_eq!(w.store.send_redelivery("a", LANE, [200, 9], NOW).await.unwrap(), 0);
    let run = w.store.redeliveries(OWNER, made.id, None, Some("a")).await.unwrap().pop().unwrap();
    assert_eq!((run.state.as_str(), run.ended), ("cancelled", [0, 0, 1]));
}

fn kept_event(ended: usize) -> KeptEvent {
    KeptEvent {
        ended,
        event: [7; 10].into(),
        name: "door/front".to_owned(),
        device: "0123456789abcdef01234567".to_owned(),
        status: Some(503),
        error: "error status 503".to_owned(),
    }
}
