//! Versions of integrations and the audit, as they are kept.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use support::{NOW, ORG, OWNER, by, webhook, world};
use tributary_domain::{OrgId, Owner, Timestamp, integration::Integration, time::DAY_MS};
use tributary_store::{
    Store, Vault,
    audit::AUDIT_DAYS,
    integrations::{NotWritten, Seen},
    vault::KEY_BYTES,
};

#[tokio::test]
async fn a_version_keeps_the_sensitive_values_encrypted_and_only_its_owner_reads_it() {
    let w = world().await;
    let made = w.shared(&w.products[..2]).await;
    let mut other = made.config.clone();
    other.insert("headers".to_owned(), json!({"Authorization": "whisper"}));
    let seen = Seen::of(&made);
    let now = w.store.replace_integration(OWNER, seen, &other, None, None, by(NOW)).await.unwrap().unwrap();
    let (row, config) = w.store.version(OWNER, made.id, 1).await.unwrap().unwrap();
    assert_eq!((row.version, serde_json::to_string(&config).unwrap()), (1, json!(made.config).to_string()));
    let (_, config) = w.store.version(OWNER, made.id, 2).await.unwrap().unwrap();
    assert_eq!(config, other);
    let stranger = Owner::Org(OrgId([9; 12]));
    assert!(w.store.version(stranger, made.id, 1).await.unwrap().is_none());
    assert!(w.store.versions(stranger, made.id, None, 10).await.unwrap().is_empty());
    assert_eq!(w.store.last_version(stranger, made.id).await.unwrap(), None);

    w.store.close().await;
    for entry in std::fs::read_dir(w.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for hidden in [&b"whisper"[..], b"hush"] {
            assert!(!bytes.windows(hidden.len()).any(|part| part == hidden));
        }
    }
    assert!(now.updated_at > made.updated_at);
}

#[tokio::test]
async fn a_restore_that_was_judged_by_an_older_state_is_not_made_and_leaves_no_trace() {
    let w = world().await;
    let made = w.shared(&w.products[..1]).await;
    let seen = Seen::of(&made);
    let mut other = made.config.clone();
    other.insert("name".to_owned(), json!("other"));
    w.store.replace_integration(OWNER, seen, &other, None, None, by(NOW)).await.unwrap().unwrap();
    let audited = w.actions().await;
    let refused = w.store.restore_integration(OWNER, seen, (1, &made.config), None, by(NOW)).await.unwrap();
    assert_eq!(refused.unwrap_err(), NotWritten::Changed);
    assert_eq!(w.store.last_version(OWNER, made.id).await.unwrap(), Some(2));
    assert_eq!(w.actions().await, audited);
}

#[tokio::test]
async fn integrations_from_before_versions_were_kept_have_their_first_one() {
    let w = world().await;
    let made = w.shared(&w.products[..1]).await;
    w.store.close().await;
    let path = w.dir.path().join("store.db");
    let mut raw = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    for sql in [
        "DROP TABLE versions",
        "DROP TABLE deleted_secrets",
        "DROP INDEX audit_by_at",
        "ALTER TABLE audit DROP COLUMN actor_name",
        "DELETE FROM _sqlx_migrations WHERE version = 2",
    ] {
        sqlx::query(sql).execute(&mut raw).await.unwrap();
    }
    raw.close().await.unwrap();

    let store = Store::open(&path, Vault::new(&[7; KEY_BYTES])).await.unwrap();
    let (row, config) = store.version(OWNER, made.id, 1).await.unwrap().unwrap();
    assert_eq!((row.by, config), (None, made.config));
    let audited = store.audit_of(OWNER, 1).await.unwrap();
    assert_eq!(audited[0].actor_name.as_deref(), Some("ada@example.com"));
}

#[tokio::test]
async fn the_audit_forgets_what_is_too_old_and_of_each_owner_what_is_too_much() {
    let w = world().await;
    for _ in 0..4 {
        w.shared(&w.products[..1]).await;
    }
    let other = Owner::User(support::USER);
    let own = webhook(other, &[]);
    w.store.create_integration(&own, by(NOW)).await.unwrap().unwrap();
    let newest = w.store.audit_of(OWNER, 3).await.unwrap();
    w.store.trim_audit(NOW, 3).await.unwrap();
    assert_eq!(w.store.audit_of(OWNER, 100).await.unwrap(), newest);
    assert_eq!(w.store.audit_of(other, 100).await.unwrap().len(), 1, "another one's");

    let kept = Timestamp(NOW.0 + AUDIT_DAYS * DAY_MS);
    w.store.trim_audit(kept, 3).await.unwrap();
    assert_eq!(w.store.audit_of(Owner::Org(ORG), 100).await.unwrap().len(), 3);
    w.store.trim_audit(Timestamp(kept.0 + 1), 3).await.unwrap();
    assert!(w.store.audit_of(OWNER, 100).await.unwrap().is_empty());
}

/// Edits an integration: its body is so many bytes of a letter.
async fn edit(w: &support::World, made: &mut Integration, letter: &str, bytes: usize, at: Timestamp) {
    let mut config = made.config.clone();
    config.insert("body".to_owned(), letter.repeat(bytes).into());
    let written = w.store.replace_integration(OWNER, Seen::of(made), &config, None, None, by(at)).await;
    *made = written.unwrap().unwrap();
}

#[tokio::test]
async fn edits_of_large_configurations_keep_versions_within_their_bytes_and_the_audit_small() {
    let w = world().await;
    let mut made = w.shared(&w.products).await;
    for (n, letter) in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"].into_iter().enumerate() {
        edit(&w, &mut made, letter, 200_000, NOW.plus_ms(i64::try_from(n).unwrap())).await;
    }
    // A version of 200 KB has its configuration and what it changed, before and after.
    let kept = w.store.versions(OWNER, made.id, None, 100).await.unwrap();
    assert_eq!(kept.iter().map(|row| row.version).collect::<Vec<_>>(), [13, 12, 11]);
    let rows = w.store.audit_of(OWNER, 100).await.unwrap();
    let update = rows.iter().find(|row| row.action == "integration.update").unwrap();
    let body = &update.after.as_ref().unwrap()["config"]["body"];
    assert_eq!(body, &json!({"left_out_bytes": 200_002}), "the version has it");
    assert!(rows.iter().all(|row| format!("{row:?}").len() < 8_000), "no row is long");
}

#[tokio::test]
async fn an_owner_has_so_many_bytes_of_versions_and_audit_and_the_present_versions_stay() {
    let w = world().await;
    let (mut one, mut two) = (w.shared(&w.products).await, w.shared(&w.products).await);
    for n in 0..4 {
        edit(&w, &mut one, ["a", "b", "c", "d"][n], 10_000, NOW.plus_ms(1)).await;
        edit(&w, &mut two, ["a", "b", "c", "d"][n], 10_000, NOW.plus_ms(2)).await;
    }
    let versions = async |of: &Integration| {
        let rows = w.store.versions(OWNER, of.id, None, 100).await.unwrap();
        rows.into_iter().map(|row| row.version).collect::<Vec<_>>()
    };
    w.store.trim_versions(1 << 20).await.unwrap();
    assert_eq!((versions(&one).await.len(), versions(&two).await.len()), (5, 5), "it is not too much");
    w.store.trim_versions(100_000).await.unwrap();
    assert_eq!(versions(&one).await, [5], "the older ones go first");
    assert_eq!(versions(&two).await, [5, 4, 3]);
    w.store.trim_versions(0).await.unwrap();
    assert_eq!((versions(&one).await, versions(&two).await), (vec![5], vec![5]));

    let rows = w.store.audit_of(OWNER, 100).await.unwrap();
    w.store.trim_audit_bytes(1 << 20).await.unwrap();
    assert_eq!(w.store.audit_of(OWNER, 100).await.unwrap().len(), rows.len());
    w.store.trim_audit_bytes(4_000).await.unwrap();
    let left = w.store.audit_of(OWNER, 100).await.unwrap();
    assert!(!left.is_empty() && left.len() < rows.len(), "{} of {}", left.len(), rows.len());
    assert_eq!(left[0], rows[0], "the newest stay");
}
