//! Tokens, teams, devices and what goes with a product (contract 2).
#![allow(clippy::unwrap_used)]

mod support;

use support::{NOW, ORG, OWNER, USER, by, counts, fresh, world};
use tributary_domain::{Timestamp, UserId, access::Role, outcome::Outcome, time::DAY_MS};
use tributary_store::{
    Store, StoreError,
    integrations::Which,
    team::{Changed, TeamOf},
    tokens::NewToken,
};

fn token(n: u16, user: UserId, created_at: Timestamp, expires_at: Option<Timestamp>) -> NewToken {
    let mut hash = [0; 32];
    hash[..2].copy_from_slice(&n.to_be_bytes());
    let refresh_hash = Some(hash.map(|byte| !byte));
    NewToken { hash, refresh_hash, user, client: "particle".into(), scopes: None, created_at, expires_at }
}

#[tokio::test]
async fn a_deleted_product_leaves_shared_integrations_and_takes_its_own_along() {
    let w = world().await;
    let (shared, own) = (w.shared(&w.products).await, w.shared(&w.products[..1]).await);
    let (leaving, staying) = (shared.members[0], shared.members[1]);
    for (integration, member) in [(&shared, leaving), (&shared, staying), (&own, own.members[0])] {
        w.count(integration, member, Outcome::Success).await;
    }
    w.wait(1, &shared, leaving).await;
    w.wait(2, &shared, staying).await;
    w.wait(3, &own, own.members[0]).await;

    let product = w.store.product(&w.products[0].to_string()).await.unwrap().unwrap();
    assert!(w.store.delete_product(&product, by(NOW)).await.unwrap());
    assert!(!w.store.delete_product(&product, by(NOW)).await.unwrap());

    let left = w.store.integration(Which::One(OWNER, shared.id)).await.unwrap().unwrap();
    assert_eq!(left.members, shared.members[1..]);
    assert_eq!(w.store.integration(Which::One(OWNER, own.id)).await.unwrap(), None);
    let waiting = w.waiting().await;
    assert_eq!(waiting.iter().map(|counted| counted.member).collect::<Vec<_>>(), [Some(staying.id)]);
    assert_eq!(
        w.total(shared.id).await,
        counts(2, 0, 1),
        "what it did as a member stays counted, what waited is skipped"
    );
    assert_eq!(w.total(own.id).await, counts(0, 0, 0));
    let audit = w.store.audit_of(OWNER, 1).await.unwrap();
    assert_eq!((audit[0].action.as_str(), audit[0].actor), ("product.delete", USER));
}

#[tokio::test]
async fn a_product_is_deleted_only_for_its_owner() {
    let w = world().await;
    let mut product = w.store.product(&w.products[0].to_string()).await.unwrap().unwrap();
    product.owner = tributary_domain::Owner::User(USER);
    assert!(!w.store.delete_product(&product, by(NOW)).await.unwrap());
    assert!(w.store.product(&w.products[0].to_string()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_user_keeps_the_newest_thousand_tokens() {
    let w = world().await;
    for n in 0..1_003_u16 {
        let at = Timestamp(NOW.0 + i64::from(n));
        w.store.insert_token(&token(n, USER, at, None)).await.unwrap();
    }
    for (n, kept) in [(0, false), (2, false), (3, true), (1_002, true)] {
        let found = w.store.token(&token(n, USER, NOW, None).hash).await.unwrap();
        assert_eq!(found.is_some(), kept, "{n}");
    }
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_rotation_until_a_year_after_its_token() {
    let w = world().await;
    let rotate = async |store: &Store, n: u16, client: &str, at: Timestamp| {
        let refresh = token(n, USER, NOW, None).refresh_hash.unwrap();
        store.rotate_token(&refresh, client, |user| token(n + 100, user, at, None)).await.unwrap().is_some()
    };
    for n in 0..3 {
        w.store.insert_token(&token(n, USER, NOW, Some(NOW))).await.unwrap();
    }
    assert!(!rotate(&w.store, 0, "particle-cli", NOW).await, "another client's");
    assert!(rotate(&w.store, 0, "particle", NOW).await);
    assert!(!rotate(&w.store, 0, "particle", NOW).await, "used");
    assert!(w.store.token(&token(0, USER, NOW, None).hash).await.unwrap().is_none());
    assert!(rotate(&w.store, 1, "particle", NOW.plus_ms(365 * DAY_MS - 1)).await);
    assert!(!rotate(&w.store, 2, "particle", NOW.plus_ms(365 * DAY_MS)).await, "too old");
}

#[tokio::test]
async fn an_organization_never_loses_its_last_owner() {
    let w = world().await;
    let (other, team) = (UserId(fresh()), TeamOf::Org(ORG));
    w.store.create_user(other, "bob@example.com", "hash", NOW, false).await.unwrap();
    let bob = w.store.user_by_name("bob@example.com").await.unwrap().unwrap();
    w.store.add_to_team(team, &bob, Role::Administrator, by(NOW)).await.unwrap();
    let again = w.store.add_to_team(team, &bob, Role::Support, by(NOW)).await;
    assert!(matches!(again, Err(StoreError::Taken("username"))));

    let members = w.store.team(team).await.unwrap();
    let [bob, ada] =
        ["bob", "ada"].map(|name| members.iter().find(|m| m.username.starts_with(name)).unwrap());
    assert_eq!(w.store.set_role(team, ada, Role::Developer, by(NOW)).await.unwrap(), Changed::LastOwner);
    assert_eq!(w.store.remove_from_team(team, ada, by(NOW)).await.unwrap(), Changed::LastOwner);
    assert_eq!(w.store.set_role(team, bob, Role::Owner, by(NOW)).await.unwrap(), Changed::Done);
    let outdated = w.store.remove_from_team(team, bob, by(NOW)).await.unwrap();
    assert_eq!(outdated, Changed::NotThere, "judged by a role that has changed since");
    assert_eq!(w.store.remove_from_team(team, ada, by(NOW)).await.unwrap(), Changed::Done);
    let actions: Vec<String> =
        w.store.audit_of(OWNER, 3).await.unwrap().into_iter().map(|row| row.action).collect();
    assert_eq!(actions, ["team.remove", "team.update", "team.add"]);
}

#[tokio::test]
async fn only_the_first_person_is_created_as_the_first() {
    let w = world().await;
    assert!(!w.store.create_user(UserId(fresh()), "bob@example.com", "hash", NOW, true).await.unwrap());
    let taken = w.store.create_user(UserId(fresh()), "ada@example.com", "hash", NOW, false).await;
    assert!(matches!(taken, Err(StoreError::Taken("username"))));
}
