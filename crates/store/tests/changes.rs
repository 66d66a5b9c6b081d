//! The change feed: everything that routes and caches are made from is told, and nothing of the data plane.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::json;
use support::{NOW, ORG, OWNER, USER, World, by, webhook, world};
use tributary_domain::{
    DeviceId, Owner, UserId, access::Role, integration::Member, outcome::Outcome, parameters::Parameters,
};
use tributary_store::{
    changes::{Change, Listens, TeamChanged},
    delivery::Batch,
    device_claims::Claimed,
    integrations::Seen,
    members::MemberKey,
    secrets::SecretWrite,
    team::{TeamMember, TeamOf},
    tokens::NewToken,
    users::{EndTokens, UserRow},
};

const BOB: UserId = UserId([5; 12]);

/// What was told since the last call.
struct Follower<'w> {
    w: &'w World,
    last: i64,
}

impl Follower<'_> {
    async fn told(&mut self) -> Vec<Change> {
        let rows = self.w.store.changes_after(self.last, 1_000).await.unwrap();
        assert!(rows.is_sorted_by_key(|row| row.0));
        self.last = rows.last().map_or(self.last, |row| row.0);
        assert_eq!(self.w.store.last_change().await.unwrap(), self.last);
        rows.into_iter().map(|row| row.1).collect()
    }
}

#[tokio::test]
async fn whatever_changes_an_integration_tells_where_it_listens() {
    let w = world().await;
    let [one, two, three] = w.products;
    let mut feed = Follower { w: &w, last: w.store.last_change().await.unwrap() };
    let made = w.shared(&[one, two]).await;
    assert_eq!(feed.told().await, [Change::RoutesOf(one), Change::RoutesOf(two)]);
    let edit = w.store.replace_integration(OWNER, Seen::of(&made), &made.config, None, None, by(NOW)).await;
    let made = edit.unwrap().unwrap();
    assert_eq!(feed.told().await, [Change::Integration(made.id)]);
    let listens = w.store.where_listening(&[made.id]).await.unwrap();
    assert_eq!(listens, [Listens::Product(one), Listens::Product(two)]);
    let member = Member { id: tributary_domain::MemberId(support::fresh()), product: three };
    w.store.add_member(OWNER, made.id, member, by(NOW)).await.unwrap().unwrap();
    assert_eq!(feed.told().await, [Change::RoutesOf(three)]);
    w.store.remove_member(OWNER, MemberKey::Of(made.id, one), by(NOW)).await.unwrap().unwrap();
    assert_eq!(feed.told().await, [Change::RoutesOf(one)]);
    let own = webhook(OWNER, &[]);
    w.store.separate(Seen::of(&made), member.id, &own, by(NOW)).await.unwrap().unwrap();
    assert!(feed.told().await.contains(&Change::RoutesOf(three)), "the member moved");
    let sandboxed = webhook(Owner::User(USER), &[]);
    w.store.create_integration(&sandboxed, by(NOW)).await.unwrap().unwrap();
    assert_eq!(feed.told().await, [Change::Sandbox(USER)]);
    assert_eq!(w.store.where_listening(&[sandboxed.id]).await.unwrap(), [Listens::Sandbox(USER)]);
    w.store.delete_integration(Owner::User(USER), sandboxed.id, by(NOW)).await.unwrap().unwrap();
    assert_eq!(feed.told().await, [Change::Sandbox(USER)]);
    let product = w.store.product(&two.to_string()).await.unwrap().unwrap();
    assert!(w.store.delete_product(&product, by(NOW)).await.unwrap());
    let told = feed.told().await;
    assert!(told.contains(&Change::RoutesOf(two)) && told.contains(&Change::Product(two)), "{told:?}");
}

#[tokio::test]
async fn parameters_and_secrets_are_told_and_their_use_is_not() {
    let w = world().await;
    let made = w.shared(&w.products[..1]).await;
    let own: Parameters = [("A".to_owned(), "b".to_owned())].into_iter().collect();
    let mut feed = Follower { w: &w, last: w.store.last_change().await.unwrap() };
    w.store
        .override_parameters(OWNER, Seen::of(&made), made.members[0], &own, by(NOW))
        .await
        .unwrap()
        .unwrap();
    let told = feed.told().await;
    assert!(told.contains(&Change::RoutesOf(w.products[0])) && told.contains(&Change::Integration(made.id)));
    for _ in 0..2 {
        w.store.write_secret(OWNER, "KEY", "value", SecretWrite::Put, by(NOW)).await.unwrap();
        assert_eq!(feed.told().await, [Change::Secrets(OWNER)]);
    }
    let used = (OWNER, (NOW, ["KEY".to_owned()].into_iter().collect()));
    let batch = Batch { accessed: [used].into_iter().collect(), ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
    w.count(&made, made.members[0], Outcome::Success).await;
    w.wait(1, &made, made.members[0]).await;
    assert_eq!(feed.told().await, [], "the recorder's commit tells nothing");
    w.store.delete_secret(OWNER, "KEY", by(NOW)).await.unwrap();
    assert_eq!(feed.told().await, [Change::Secrets(OWNER)]);
}

#[tokio::test]
async fn who_somebody_is_and_what_may_be_done_is_told() {
    let w = world().await;
    w.store.create_user(BOB, "bob@example.com", "hash", NOW, false).await.unwrap();
    let mut feed = Follower { w: &w, last: w.store.last_change().await.unwrap() };
    let team = TeamOf::Org(ORG);
    let row = UserRow { id: BOB, username: "bob@example.com".into(), password_hash: Some("hash".into()) };
    w.store.add_to_team(team, &row, Role::Developer, by(NOW)).await.unwrap();
    let changed = Change::Team(BOB, TeamChanged::Org(OWNER));
    assert_eq!(feed.told().await, [changed]);
    let member = TeamMember {
        user: BOB,
        username: row.username,
        role: Some(Role::Developer),
        friendly_name: None,
        scopes: vec![],
    };
    w.store.set_role(team, &member, Role::Support, by(NOW)).await.unwrap();
    assert_eq!(feed.told().await, [changed]);
    let member = TeamMember { role: Some(Role::Support), ..member };
    w.store.remove_from_team(team, &member, by(NOW)).await.unwrap();
    assert_eq!(feed.told().await, [changed]);
    let token = |n: u8, refresh: Option<u8>| NewToken {
        hash: [n; 32],
        refresh_hash: refresh.map(|n| [n; 32]),
        user: BOB,
        client: "particle".into(),
        scopes: None,
        created_at: NOW,
        expires_at: None,
    };
    for n in 1..=4 {
        w.store.insert_token(&token(n, Some(n))).await.unwrap();
    }
    assert_eq!(feed.told().await, [], "nobody has known it yet");
    w.store.delete_token(&[1; 32], NOW).await.unwrap();
    assert_eq!(feed.told().await, [Change::Token([1; 32])]);
    w.store.rotate_token(&[2; 32], "particle", |_| token(9, Some(9))).await.unwrap();
    assert_eq!(feed.told().await, [Change::Token([2; 32])]);
    assert!(w.store.rotate_token(&[2; 32], "particle", |_| token(8, None)).await.unwrap().is_none());
    assert_eq!(feed.told().await, [Change::Token([9; 32])], "the family has ended");
    w.store.set_password(BOB, "other", EndTokens::AllBut([3; 32])).await.unwrap();
    assert_eq!(feed.told().await, [Change::Token([4; 32])]);
}

#[tokio::test]
async fn devices_are_told_once_they_may_be_known() {
    let w = world().await;
    let product = w.products[0];
    let device = DeviceId([7; 12]);
    let mut feed = Follower { w: &w, last: w.store.last_change().await.unwrap() };
    w.store.add_devices(product, &[device], 1_000, by(NOW)).await.unwrap();
    assert_eq!(feed.told().await, []);
    assert_eq!(w.store.claim_device(device, None, 1_000, by(NOW)).await.unwrap(), Claimed::Yes);
    assert_eq!(feed.told().await, [Change::Device(product, device)]);
    w.store.end_claim(USER, device, by(NOW)).await.unwrap();
    let told = feed.told().await;
    assert!(
        told.contains(&Change::Device(product, device)) && told.contains(&Change::Claims(USER)),
        "{told:?}"
    );
    w.store.remove_device(product, device, by(NOW)).await.unwrap();
    assert_eq!(feed.told().await, [Change::Device(product, device)]);
}

#[tokio::test]
async fn changes_of_the_last_hour_stay_and_ids_go_on() {
    let w = world().await;
    w.shared(&w.products).await;
    let last = w.store.last_change().await.unwrap();
    w.store.drop_changes(last).await.unwrap();
    assert!(!w.store.changes_after(0, 1_000).await.unwrap().is_empty());
    assert_eq!(json!(last), json!(w.store.last_change().await.unwrap()));
}
