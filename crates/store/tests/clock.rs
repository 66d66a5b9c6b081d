//! Waiting deliveries whose time was told by a clock that has been set back.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::{NOW, counted, world};
use tributary_domain::outcome::Outcome;
use tributary_store::delivery::{Batch, Ended, PendingRow};

#[tokio::test]
async fn only_deliveries_that_are_due_too_late_are_brought_forward() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    let row = |id: i64, ms: i64| PendingRow {
        id,
        lane: format!("lane {}", id % 2),
        due_at: NOW.plus_ms(ms),
        counted: counted(&made, made.members[0]),
        attempt: 2,
        event: [1].into(),
    };
    let pending = vec![row(1, -5), row(2, 60_000), row(3, 60_001), row(4, 3_600_000)];
    w.store.commit_batch(&Batch { pending, ..Batch::default() }).await.unwrap();

    assert_eq!(w.store.bring_forward(NOW.plus_ms(60_000), NOW).await.unwrap(), 2);
    let mut due = Vec::new();
    for lane in ["lane 0", "lane 1"] {
        let rows = w.store.pending_of_lane(lane, None, 10).await.unwrap();
        due.extend(rows.iter().map(|row| (row.id, row.due_at.0 - NOW.0, row.attempt)));
    }
    due.sort_unstable();
    assert_eq!(due, [(1, -5, 2), (2, 60_000, 2), (3, 0, 2), (4, 0, 2)]);
    assert_eq!(w.store.bring_forward(NOW.plus_ms(60_000), NOW).await.unwrap(), 0);
}

#[tokio::test]
async fn the_newest_time_is_that_of_the_last_change_or_the_last_day_of_the_history() {
    let w = world().await;
    assert_eq!(w.store.newest_time().await.unwrap(), Some(NOW), "the organization was made then");
    let made = w.shared(&w.products).await;
    let later = NOW.plus_ms(3 * tributary_domain::time::DAY_MS);
    let ended = Ended {
        pending: None,
        counted: counted(&made, made.members[0]),
        outcome: Outcome::Success,
        at: later,
    };
    w.store.commit_batch(&Batch { ended: vec![ended], ..Batch::default() }).await.unwrap();
    let newest = w.store.newest_time().await.unwrap().unwrap();
    assert_eq!(newest.day(), later.day());
}
