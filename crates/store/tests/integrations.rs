//! Integrations, their members and their history in the store (contract 1, the model).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;

use serde_json::json;
use support::{NOW, ORG, OWNER, USER, by, config, counted, counts, fresh, product, webhook, world};
use tributary_domain::{
    IntegrationId, MemberId, Owner, ProductId, UserId,
    integration::{Integration, Member},
    outcome::Outcome,
};
use tributary_store::{
    integrations::{NotWritten, Seen, Which},
    members::MemberKey,
    routing::RouteRow,
};

#[tokio::test]
async fn an_integration_is_read_back_by_every_way_in_and_only_by_its_owner() {
    let w = world().await;
    let [one, two, three] = w.products;
    let made = w.shared(&[two, one]).await;
    let sandboxed = webhook(Owner::User(USER), &[]);
    w.store.create_integration(&sandboxed, by(NOW)).await.unwrap().unwrap();
    let found = async |which: Which<'_>| w.store.integration(which).await.unwrap();

    assert_eq!(found(Which::One(OWNER, made.id)).await.as_ref(), Some(&made));
    assert_eq!(found(Which::WithMember(OWNER, made.members[1].id)).await.as_ref(), Some(&made));
    assert_eq!(found(Which::In(OWNER, one)).await.as_ref(), Some(&made));
    assert_eq!(found(Which::Of(OWNER)).await.as_ref(), Some(&made));
    assert_eq!(found(Which::Sandbox(USER)).await.as_ref(), Some(&sandboxed));
    assert_eq!(found(Which::In(OWNER, three)).await, None);
    let stranger = Owner::User(UserId([9; 12]));
    for which in [
        Which::One(stranger, made.id),
        Which::WithMember(stranger, made.members[0].id),
        Which::In(stranger, one),
        Which::Of(stranger),
        Which::Sandbox(UserId([9; 12])),
    ] {
        assert_eq!(found(which).await, None, "{which:?}");
    }
    let rows = w.store.route_rows_of_products(&[one, two, three]).await.unwrap();
    let routed: Vec<_> = rows.iter().map(|row| (row.integration, row.member.unwrap().id)).collect();
    assert_eq!(routed, made.members.iter().map(|member| (made.id, member.id)).collect::<Vec<_>>());
    assert_eq!((rows[0].event.as_str(), rows[0].updated_at), (made.text("event"), made.updated_at));
    let sandbox = w.store.route_rows_of_sandbox(USER).await.unwrap();
    assert_eq!((sandbox[0].integration, sandbox[0].member), (sandboxed.id, None));
    let ids = |rows: Vec<RouteRow>| rows.iter().map(|row| row.integration).collect::<BTreeSet<_>>();
    let first = ids(w.store.all_route_rows(None, 1).await.unwrap());
    let second = ids(w.store.all_route_rows(first.first().copied(), 1).await.unwrap());
    let mut all: Vec<IntegrationId> = first.into_iter().chain(second).collect();
    assert!(w.store.all_route_rows(Some(all[1]), 1).await.unwrap().is_empty());
    all.sort();
    let mut expected = vec![made.id, sandboxed.id];
    expected.sort();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn sensitive_values_are_neither_in_the_file_nor_in_the_audit() {
    let w = world().await;
    let made = w.shared(&[w.products[0]]).await;
    let mut new = made.config.clone();
    new.insert("api_key".into(), "whisper".into());
    w.store.replace_integration(OWNER, Seen::of(&made), &new, None, None, by(NOW)).await.unwrap().unwrap();
    let rows = w.store.audit_of(OWNER, 10).await.unwrap();
    let text = format!("{rows:?}");
    assert!(text.contains("[[SENSITIVE]]") && !text.contains("hush") && !text.contains("whisper"), "{text}");
    w.store.close().await;
    for entry in std::fs::read_dir(w.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for word in ["hush", "whisper"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
        }
    }
}

#[tokio::test]
async fn a_product_of_another_owner_is_no_member_and_nothing_is_stored() {
    let w = world().await;
    let foreign = product(&w.store, Owner::User(USER), "foreign").await;
    for id in [foreign, ProductId(987_654)] {
        let new = webhook(OWNER, &[w.products[0], id]);
        assert_eq!(w.store.create_integration(&new, by(NOW)).await.unwrap(), Err(NotWritten::NoProduct(id)));
    }
    assert!(w.store.integrations(Which::Of(OWNER)).await.unwrap().is_empty());
    assert!(w.actions().await.is_empty());
}

#[tokio::test]
async fn replacing_keeps_member_ids_and_refuses_what_was_judged_by_an_older_reading() {
    let w = world().await;
    let [one, two, three] = w.products;
    let made = w.shared(&[one, two]).await;
    let wanted = [three, one].map(|product| Member { id: MemberId(fresh()), product });
    let new = config(&json!({"event": "other", "name": "n", "integration_type": "Webhook"}));
    let seen = Seen::of(&made);
    let replace = async |seen, only| {
        w.store.replace_integration(OWNER, seen, &new, Some(&wanted), only, by(NOW)).await.unwrap()
    };
    assert_eq!(replace(seen, Some(made.members[0].id)).await, Err(NotWritten::Shared));
    let now = replace(seen, None).await.unwrap();
    assert_eq!(now.config, new);
    assert_eq!(now.members, [made.members[0], wanted[0]]);
    assert!(now.updated_at > made.updated_at, "in the same millisecond too");
    assert_eq!(replace(seen, None).await, Err(NotWritten::Changed));
    let gone = Seen { id: IntegrationId([0; 12]), ..seen };
    assert_eq!(replace(gone, None).await, Err(NotWritten::Gone));
    assert_eq!(w.actions().await, ["integration.update", "integration.create"]);
}

#[tokio::test]
async fn adding_a_member_twice_is_one_member() {
    let w = world().await;
    let [one, two, _] = w.products;
    let made = w.shared(&[one]).await;
    let add = async |product| {
        let member = Member { id: MemberId(fresh()), product };
        w.store.add_member(OWNER, made.id, member, by(NOW)).await.unwrap()
    };
    let first = add(two).await.unwrap();
    assert_eq!(first.members.len(), 2);
    assert_eq!(add(two).await.unwrap().members, first.members);
    assert_eq!(add(ProductId(5_555)).await, Err(NotWritten::NoProduct(ProductId(5_555))));
    assert_eq!(
        w.store.integration(Which::One(OWNER, made.id)).await.unwrap().unwrap().members,
        first.members
    );
}

#[tokio::test]
async fn a_removed_member_leaves_its_counts_and_its_waiting_deliveries_end_as_skipped() {
    let w = world().await;
    let [one, two, _] = w.products;
    let made = w.shared(&[one, two]).await;
    let [first, second] = [made.members[0], made.members[1]];
    w.count(&made, first, Outcome::Success).await;
    w.count(&made, second, Outcome::Error).await;
    for id in 1..=3 {
        w.wait(id, &made, first).await;
    }
    w.wait(4, &made, second).await;
    let remove = async |key| w.store.remove_member(OWNER, key, by(NOW)).await.unwrap();

    remove(MemberKey::Of(made.id, one)).await.unwrap();
    assert_eq!(w.total(made.id).await, counts(1, 1, 3));
    assert_eq!(w.waiting().await, [counted(&made, second)]);
    let hours = w.store.hours_of_product(OWNER, one, [NOW.hour(), NOW.hour()]).await.unwrap();
    assert_eq!(hours, [(NOW.hour(), counts(1, 0, 3))]);
    assert_eq!(remove(MemberKey::Of(made.id, one)).await, Err(NotWritten::Gone));
    assert_eq!(remove(MemberKey::Id(first.id)).await, Err(NotWritten::Gone));

    remove(MemberKey::Id(second.id)).await.unwrap();
    assert_eq!(w.store.integration(Which::One(OWNER, made.id)).await.unwrap(), None);
    assert_eq!(w.total(made.id).await, counts(0, 0, 0));
    assert!(w.waiting().await.is_empty());
    assert_eq!(w.actions().await[..2], ["integration.delete", "integration.remove_product"]);
}

#[tokio::test]
async fn disabling_ends_what_waits_as_skipped() {
    let w = world().await;
    let made = w.shared(&w.products).await;
    for (id, member) in (1..).zip(&made.members) {
        w.wait(id, &made, *member).await;
    }
    let mut off = made.config.clone();
    off.insert("disabled".into(), true.into());
    w.store.replace_integration(OWNER, Seen::of(&made), &off, None, None, by(NOW)).await.unwrap().unwrap();
    assert_eq!(w.total(made.id).await, counts(0, 0, 3));
    assert!(w.waiting().await.is_empty());
}

#[tokio::test]
async fn a_deleted_integration_takes_its_traffic_with_it_but_not_the_history_of_former_members() {
    let w = world().await;
    let [one, two, three] = w.products;
    let made = w.shared(&[one, two, three]).await;
    let gone = made.members[0];
    w.count(&made, gone, Outcome::Success).await;
    w.count(&made, made.members[1], Outcome::Success).await;
    let own = Integration { id: IntegrationId(fresh()), members: vec![gone], ..made.clone() };
    w.store.separate(Seen::of(&made), gone.id, &own, by(NOW)).await.unwrap().unwrap();
    w.store.delete_integration(OWNER, made.id, by(NOW)).await.unwrap().unwrap();
    assert_eq!(w.total_of_member(gone.id).await, counts(1, 0, 0));
    assert_eq!(w.store.log_of_member(OWNER, gone.id).await.unwrap().len(), 1);
    assert_eq!(w.total_of_member(made.members[1].id).await, counts(0, 0, 0));
    assert_eq!(w.store.delete_integration(OWNER, made.id, by(NOW)).await.unwrap(), Err(NotWritten::Gone));
    assert_eq!(
        w.store.delete_integration(Owner::User(USER), own.id, by(NOW)).await.unwrap(),
        Err(NotWritten::Gone)
    );
    assert_ne!(OWNER, Owner::User(UserId(ORG.0)));
}
