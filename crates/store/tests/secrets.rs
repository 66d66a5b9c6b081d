//! Secrets in the store (contract 2.3).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::{HashMap, HashSet};

use support::{NOW, OWNER, USER, by, world};
use tributary_domain::Owner;
use tributary_store::delivery::Batch;
use tributary_store::secrets::{SecretWrite, SecretWritten};

#[tokio::test]
async fn a_secret_is_created_once_updated_touched_and_deleted() {
    let w = world().await;
    let write = async |value, how, at| w.store.write_secret(OWNER, "KEY", value, how, by(at)).await.unwrap();
    assert_eq!(write("one", SecretWrite::Create, NOW).await, SecretWritten::Created);
    assert_eq!(write("two", SecretWrite::Create, NOW).await, SecretWritten::Exists);
    assert_eq!(w.store.secrets_of(OWNER).await.unwrap()["KEY"], "one");
    assert_eq!(write("two", SecretWrite::Put, NOW.plus_ms(5)).await, SecretWritten::Updated);
    assert_eq!(w.store.secrets_of(OWNER).await.unwrap()["KEY"], "two");

    let used = HashSet::from(["KEY".to_owned(), "NONE".to_owned()]);
    let batch = Batch { accessed: HashMap::from([(OWNER, (NOW.plus_ms(9), used))]), ..Batch::default() };
    w.store.commit_batch(&batch).await.unwrap();
    let row = w.store.secret(OWNER, "KEY").await.unwrap().unwrap();
    assert_eq!(
        (row.created_by.as_str(), row.created_at, row.updated_at),
        ("ada@example.com", NOW, NOW.plus_ms(5))
    );
    assert_eq!(row.last_accessed_at, Some(NOW.plus_ms(9)));
    assert_eq!(w.store.secrets(OWNER).await.unwrap(), [row]);

    assert!(w.store.delete_secret(OWNER, "KEY", by(NOW)).await.unwrap());
    assert!(!w.store.delete_secret(OWNER, "KEY", by(NOW)).await.unwrap());
    assert_eq!(w.actions().await, ["secret.delete", "secret.update", "secret.create"]);
}

#[tokio::test]
async fn each_owner_has_secrets_of_its_own_and_no_value_is_in_the_file() {
    let w = world().await;
    let mine = Owner::User(USER);
    for (owner, value) in [(OWNER, "theirs-whisper"), (mine, "mine-whisper")] {
        w.store.write_secret(owner, "KEY", value, SecretWrite::Put, by(NOW)).await.unwrap();
    }
    assert_eq!(w.store.secrets_of(mine).await.unwrap()["KEY"], "mine-whisper");
    assert!(w.store.delete_secret(mine, "KEY", by(NOW)).await.unwrap());
    assert_eq!(w.store.secret(mine, "KEY").await.unwrap(), None);
    assert_eq!(w.store.secrets_of(OWNER).await.unwrap()["KEY"], "theirs-whisper");
    w.store.close().await;
    for entry in std::fs::read_dir(w.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"whisper"));
    }
}
