//! What one owner can make the process hold in memory.

use std::sync::atomic::Ordering;

use super::world::{Fleet, Scripted, World, now};
use crate::{lanes::PLACE_BYTES, router::QUEUE_BYTES};

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_the_largest_size_all_arrive_and_never_hold_more_than_their_places() {
    // Together they render to 1,280 MiB; before, more than 32 MiB in a row stopped everything for ever.
    let targets = (0..20).map(|n| Scripted::new(&format!("large{n}:80"), MIB)).collect();
    let large = Fleet::new(1, targets);
    let small = Fleet::new(2, vec![Scripted::new("small:80", 10)]);
    let world = World::start(&[large.clone(), small.clone()]).await;
    world.publish(&large, 64, 16_000).await;
    world.publish(&small, 10, 10).await;
    let mut most = 0;
    world
        .until("all arrive", || {
            most = most.max(world.pipeline.bytes_under_way());
            large.targets.iter().all(|target| target.sent() == 64)
        })
        .await;
    assert!(most <= 1_024 * PLACE_BYTES, "{most} bytes at once");
    world.until_counted(&large, 64).await;
    world.until_counted(&small, 10).await;
    assert_eq!(world.pipeline.stands_still(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_whose_large_deliveries_hang_leaves_room_for_others() {
    let targets: Vec<_> = (0..30).map(|n| Scripted::new(&format!("hang{n}:80"), MIB)).collect();
    targets.iter().for_each(|target| target.hang(true));
    let large = Fleet::new(1, targets);
    let small = Fleet::new(2, vec![Scripted::new("small:80", MIB)]);
    let world = World::start(&[large.clone(), small.clone()]).await;
    world.publish(&large, 100, 16_000).await;
    world
        .until("as many hang as there is room for", || {
            world.pipeline.bytes_under_way() > 1_024 * PLACE_BYTES / 3
        })
        .await;
    let took = {
        world.publish(&small, 5, 10).await;
        world.until("the other one's arrive", || small.targets[0].sent() == 5).await
    };
    assert!(took.as_secs() < 5, "{took:?}");
    let running: usize = large.targets.iter().map(|target| target.running.load(Ordering::SeqCst)).sum();
    assert!(running * MIB <= 1_024 * PLACE_BYTES / 2 + 4 * MIB, "{running} at once");
    large.targets.iter().for_each(|target| target.hang(false));
    world.until_counted(&large, 100).await;
    world.until_counted(&small, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_an_owner_take_no_more_than_a_share_of_the_queue() {
    let slow = Fleet::new(1, vec![Scripted::new("slow:80", 10)]);
    slow.targets[0].hang(true);
    let world = World::start(std::slice::from_ref(&slow)).await;
    let mut most = 0;
    let accepted = world.publish(&slow, 6_000, 16_000).await;
    world
        .until("all of them are read", || {
            most = most.max(world.pipeline.queued_bytes());
            world.pipeline.metrics().render(now()).contains("tributary_unread_events 0\n")
        })
        .await;
    assert!(most <= QUEUE_BYTES / 2, "{most} bytes at once");
    slow.targets[0].hang(false);
    world.until_counted(&slow, accepted.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_of_ever_new_destinations_are_forgotten() {
    let many = Fleet::new(1, vec![Scripted::ever_new(10)]);
    let world = World::start(std::slice::from_ref(&many)).await;
    world.publish(&many, 5_000, 10).await;
    world.until_counted(&many, 5_000).await;
    // A bound of its own, and those that were in use when it was reached.
    assert!(world.pipeline.lanes() <= 2_048, "{} lanes", world.pipeline.lanes());
}
