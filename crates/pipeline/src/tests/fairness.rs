//! Nobody waits for what another one sent, and each event is counted once.

use std::time::Duration;

use super::world::{Fleet, Scripted, World};

fn fleets() -> (Fleet, Fleet) {
    let loud = Fleet::new(1, vec![Scripted::new("loud:80", 10)]);
    let quiet = Fleet::new(2, vec![Scripted::new("quiet:80", 10)]);
    (loud, quiet)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_event_of_another_owner_does_not_wait_for_a_flood() {
    let (loud, quiet) = fleets();
    loud.targets[0].hang(true);
    let world = World::start(&[loud.clone(), quiet.clone()]).await;
    let flood = world.publish(&loud, 60_000, 10).await;
    for n in 1..=20 {
        world.publish(&quiet, 1, 10).await;
        let took = world.until("it arrives", || quiet.targets[0].sent() == n).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    loud.targets[0].hang(false);
    world.until_counted(&loud, flood.len()).await;
    world.until_counted(&quiet, 20).await;
    let begun = std::time::Instant::now();
    while !world.store.backlogs(0).await.unwrap().is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "its backlog has ended");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.store.cursor(0).await.unwrap(), *world.log.head().borrow());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_counted_once_though_the_process_is_killed_again_and_again_in_a_flood() {
    let (loud, quiet) = fleets();
    let mut world = World::start(&[loud.clone(), quiet.clone()]).await;
    let (mut flood, mut others) = (Vec::new(), Vec::new());
    for round in 0..6 {
        loud.targets[0].hang(round % 2 == 0);
        flood.extend(world.publish(&loud, 12_000, 10).await);
        others.extend(world.publish(&quiet, 50, 10).await);
        let sent = quiet.targets[0].sent();
        flood.extend(world.publish(&loud, 3_000, 10).await);
        world.until("something goes on", || quiet.targets[0].sent() > sent || sent > 0).await;
        tokio::time::sleep(Duration::from_millis(40 * round)).await;
        world = world.kill().await;
    }
    loud.targets[0].hang(false);
    world.until_counted(&loud, flood.len()).await;
    world.until_counted(&quiet, others.len()).await;
    for (fleet, ids) in [(&loud, &flood), (&quiet, &others)] {
        let seen = fleet.targets[0].seen.lock();
        assert!(ids.iter().all(|id| seen.contains_key(id)), "each arrives at least once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_floods_through_many_integrations_leaves_the_router_to_others() {
    let targets = (0..300).map(|n| Scripted::new(&format!("fan{n}:80"), 10)).collect();
    let wide = Fleet::new(1, targets);
    wide.targets.iter().for_each(|target| target.hang(true));
    let quiet = Fleet::new(2, vec![Scripted::new("quiet:80", 10)]);
    let world = World::start(&[wide.clone(), quiet.clone()]).await;
    world.publish(&wide, 400, 1_000).await;
    world.publish(&quiet, 1, 10).await;
    let took = world.until("it arrives", || quiet.targets[0].sent() == 1).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    wide.targets.iter().for_each(|target| target.hang(false));
    world.until_counted(&wide, 400).await;
}
