//! The one commit per batch (contract 4.3): what is counted, what is logged, what waits.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::json;
use support::{NOW, OWNER, by, counted, counts, world};
use tributary_domain::{
    Timestamp,
    outcome::{Health, Outcome},
    time::DAY_MS,
};
use tributary_store::{
    delivery::{Batch, Ended, LogRow, PendingRow},
    integrations::Seen,
    members::MemberKey,
};

fn ended(of: tributary_store::delivery::Counted, pending: Option<i64>, outcome: Outcome) -> Ended {
    Ended { pending, counted: of, outcome, at: NOW }
}

#[tokio::test]
async fn a_batch_counts_each_delivery_once_and_moves_the_cursor() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    let [one, two, _] = [0, 1, 2].map(|n| counted(&made, made.members[n]));
    let outcomes =
        [(one, Outcome::Success), (one, Outcome::Success), (two, Outcome::Error), (two, Outcome::Skipped)];
    let batch = Batch {
        cursor: Some((0, 41)),
        ended: outcomes.into_iter().map(|(of, outcome)| ended(of, None, outcome)).collect(),
        ..Batch::default()
    };
    w.store.commit_batch(&batch).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(2, 1, 1));
    assert_eq!(w.total_of_member(made.members[1].id).await, counts(0, 1, 1));
    assert_eq!(w.store.cursor(0).await.unwrap(), 41);
    assert_eq!(w.store.cursor(1).await.unwrap(), 0);
}

#[tokio::test]
async fn destinations_that_sleep_are_kept_until_they_wake_or_have_long_not_failed() {
    let w = world().await;
    let asleep = |score, at| Some(Health { score, last_failure: Timestamp(at), probing_since: None });
    let batch =
        |lane: &str, health| Batch { sleeping: [(lane.to_owned(), health)].into(), ..Batch::default() };
    for (lane, health) in [
        ("one", asleep(20, 1_000)),
        ("two", asleep(21, 2_000)),
        ("three", asleep(22, 3_000)),
        ("two", asleep(30, 4_000)),
        ("three", None),
        ("never", None),
    ] {
        assert!(!batch(lane, health).is_empty());
        w.store.commit_batch(&batch(lane, health)).await.unwrap();
    }
    let sleeping = w.store.sleeping_lanes(Timestamp(1_001)).await.unwrap();
    assert_eq!(sleeping, [("two".to_owned(), asleep(30, 4_000).unwrap())]);
}

#[tokio::test]
async fn a_waiting_delivery_that_was_ended_elsewhere_is_not_counted_again() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    let leaving = made.members[2];
    w.wait(7, &made, leaving).await;
    w.wait(8, &made, made.members[0]).await;
    w.store.remove_member(OWNER, MemberKey::Id(leaving.id), by(NOW)).await.unwrap().unwrap();
    assert_eq!(w.total(made.id).await, counts(0, 0, 1), "taking a product out ends what it had waiting");

    let both = vec![
        ended(counted(&made, leaving), Some(7), Outcome::Success),
        ended(counted(&made, made.members[0]), Some(8), Outcome::Success),
    ];
    let batch = Batch { ended: both, ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(1, 0, 1));
    w.store.commit_batch(&batch).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(1, 0, 1), "nor when a batch is written twice");
    assert_eq!(w.store.pending_count().await.unwrap(), 0);
}

#[tokio::test]
async fn what_was_under_way_during_a_merge_counts_where_its_member_is_now() {
    let w = world().await;
    let [one, two, _] = w.products;
    let (into, from) = (w.shared(&[one]).await, w.shared(&[two]).await);
    let under_way = counted(&from, from.members[0]);
    w.store.merge(OWNER, Seen::of(&into), &[Seen::of(&from)], by(NOW)).await.unwrap().unwrap();
    let batch = Batch { ended: vec![ended(under_way, None, Outcome::Success)], ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
    assert_eq!(w.total(into.id).await, counts(1, 0, 0));
}

#[tokio::test]
async fn what_was_under_way_for_a_member_that_was_merged_away_counts_for_the_one_that_was_kept() {
    let w = world().await;
    let [one, _, _] = w.products;
    let (into, from) = (w.shared(&[one]).await, w.shared(&[one]).await);
    let (first_attempt, retry) = (counted(&from, from.members[0]), counted(&from, from.members[0]));
    w.wait(9, &from, from.members[0]).await;
    w.store.merge(OWNER, Seen::of(&into), &[Seen::of(&from)], by(NOW)).await.unwrap().unwrap();
    let both = vec![ended(first_attempt, None, Outcome::Success), ended(retry, Some(9), Outcome::Error)];
    w.store.commit_batch(&Batch { ended: both, ..Batch::default() }).await.unwrap();
    assert_eq!(w.total(into.id).await, counts(1, 1, 0));
    assert_eq!(w.total_of_member(into.members[0].id).await, counts(1, 1, 0));
}

#[tokio::test]
async fn what_was_under_way_for_a_deleted_integration_leaves_nothing_behind() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    let of = counted(&made, made.members[0]);
    w.store.delete_integration(OWNER, made.id, by(NOW)).await.unwrap().unwrap();
    let log = LogRow { counted: of, success: true, at: NOW, entry: json!({"v": 1, "entry": {}}).to_string() };
    let batch = Batch { ended: vec![ended(of, None, Outcome::Success)], logs: vec![log], ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(0, 0, 0));
    assert!(w.store.log_of_integration(OWNER, made.id).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_log_keeps_the_newest_ten_of_each() {
    let w = world().await;
    let made = w.shared(&w.products[..1]).await;
    let of = counted(&made, made.members[0]);
    let row = |n: i64, success: bool| LogRow {
        counted: of,
        success,
        at: NOW.plus_ms(n),
        entry: json!({"v": 1, "entry": {"n": n, "outcome": if success { "success" } else { "error" }}})
            .to_string(),
    };
    for part in 0..5 {
        let logs = (part * 5..part * 5 + 5).flat_map(|n| [row(n, true), row(n, false)]).collect();
        w.store.commit_batch(&Batch { logs, ..Batch::default() }).await.unwrap();
    }
    let log = w.store.log_of_integration(OWNER, made.id).await.unwrap();
    for outcome in ["success", "error"] {
        let kept: Vec<i64> =
            log.iter().filter(|e| e["outcome"] == outcome).map(|e| e["n"].as_i64().unwrap()).collect();
        assert_eq!(kept, (15..25).rev().collect::<Vec<_>>(), "{outcome}, newest first");
    }
}

#[tokio::test]
async fn waiting_deliveries_are_read_by_lane_in_the_order_in_which_they_are_due() {
    let w = world().await;
    let made = w.shared(&w.products[..1]).await;
    let row = |id, lane: &str, due: i64| PendingRow {
        id,
        lane: lane.to_owned(),
        due_at: NOW.plus_ms(due),
        counted: counted(&made, made.members[0]),
        attempt: 2,
        event: [1, 2, 3].into(),
    };
    let rows = vec![row(1, "a", 30), row(2, "a", 10), row(3, "b", 5), row(4, "a", 10)];
    w.store.commit_batch(&Batch { pending: rows, ..Batch::default() }).await.unwrap();
    let ids = async |after, limit| {
        let rows = w.store.pending_of_lane("a", after, limit).await.unwrap();
        rows.iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 10).await, [2, 4, 1]);
    assert_eq!(ids(None, 2).await, [2, 4]);
    assert_eq!(ids(Some((NOW.plus_ms(10), 2)), 10).await, [4, 1]);
    let mut lanes = w.store.waiting_lanes().await.unwrap();
    lanes.sort();
    assert_eq!(lanes, [("a".to_owned(), NOW.plus_ms(10)), ("b".to_owned(), NOW.plus_ms(5))]);
    assert_eq!(w.store.last_pending_id().await.unwrap(), 4);

    let later = PendingRow { attempt: 3, ..row(2, "c", 90) };
    w.store.commit_batch(&Batch { postponed: vec![later.clone()], ..Batch::default() }).await.unwrap();
    assert_eq!(ids(None, 10).await, [4, 1]);
    assert_eq!(w.store.pending_of_lane("c", None, 10).await.unwrap(), [later]);
}

#[tokio::test]
async fn history_that_is_too_old_is_dropped() {
    let w = world().await;
    let made = w.shared(&w.products[..1]).await;
    w.count(&made, made.members[0], Outcome::Success).await;
    w.store.drop_older_than(NOW).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(1, 0, 0), "today stays");
    w.store.drop_older_than(Timestamp(NOW.0 + DAY_MS)).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(0, 0, 0));
    assert!(w.store.log_of_integration(OWNER, made.id).await.unwrap().is_empty());
}
