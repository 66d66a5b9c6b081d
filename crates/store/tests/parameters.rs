//! Overrides of parameters as they are kept.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use support::*;
use tributary_domain::parameters::Parameters;
use tributary_store::integrations::{NotWritten, Seen, Which};

fn one(name: &str, value: &str) -> Parameters {
    Parameters::from([(name.to_owned(), value.to_owned())])
}

#[tokio::test]
async fn overriding_is_audited_with_before_and_after_and_shows_no_key() {
    let w = world().await;
    let shared = w.shared(&w.products[..2]).await;
    let member = shared.members[1];
    let by = by(NOW);
    let write = |seen, own: Parameters| {
        let store = w.store.clone();
        async move { store.override_parameters(OWNER, seen, member, &own, by).await.unwrap() }
    };
    let now = write(Seen::of(&shared), one("A_KEY", "hush")).await.unwrap();
    assert_eq!(now.overrides_of(member.id), Some(&one("A_KEY", "hush")));
    assert_eq!(write(Seen::of(&shared), one("SITE", "us")).await, Err(NotWritten::Changed), "as seen before");
    let again = write(Seen::of(&now), one("A_KEY", "hush")).await.unwrap();
    assert_eq!(again.updated_at, now.updated_at, "the same overrides are no change");
    write(Seen::of(&now), one("SITE", "us")).await.unwrap();

    let rows = w.store.audit_of(OWNER, 100).await.unwrap();
    let rows: Vec<_> =
        rows.into_iter().filter(|row| row.action == "integration.override_parameters").collect();
    let shown = |parameters| Some(json!({"product_id": member.product, "parameters": parameters}));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].before, shown(json!({})));
    assert_eq!(rows[1].after, shown(json!({"A_KEY": "[[SENSITIVE]]"})));
    assert_eq!((&rows[0].before, &rows[0].after), (&rows[1].after, &shown(json!({"SITE": "us"}))));
}

#[tokio::test]
async fn overrides_of_what_is_no_longer_declared_go_with_the_edit_and_all_go_with_the_separation() {
    let w = world().await;
    let mut shared = webhook(OWNER, &w.products[..2]);
    shared.config.insert("parameters".to_owned(), json!({"SITE": "eu", "LINE": "1"}));
    w.store.create_integration(&shared, by(NOW)).await.unwrap().unwrap();
    let member = shared.members[0];
    let mut own = one("SITE", "us");
    own.extend(one("LINE", "2"));
    let seen = Seen::of(&shared);
    let now = w.store.override_parameters(OWNER, seen, member, &own, by(NOW)).await.unwrap().unwrap();
    let mut config = shared.config.clone();
    config.insert("parameters".to_owned(), json!({"LINE": "1"}));
    let edit = w.store.replace_integration(OWNER, Seen::of(&now), &config, None, None, by(NOW));
    let now = edit.await.unwrap().unwrap();
    assert_eq!(now.overrides_of(member.id), Some(&one("LINE", "2")));

    let mut alone = webhook(OWNER, &[]);
    alone.members = vec![member];
    w.store.separate(Seen::of(&now), member.id, &alone, by(NOW)).await.unwrap().unwrap();
    let alone = w.store.integration(Which::One(OWNER, alone.id)).await.unwrap().unwrap();
    assert!(alone.overrides.is_empty() && alone.members == [member]);
}
