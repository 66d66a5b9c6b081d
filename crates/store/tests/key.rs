//! The key that a store was written with.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::{NOW, OWNER, by, world};
use tributary_store::{Store, Vault, secrets::SecretWrite, vault::KEY_BYTES};

fn key(byte: u8) -> Vault {
    Vault::new(&[byte; KEY_BYTES])
}

#[tokio::test]
async fn a_store_opens_with_its_own_key_alone_also_when_nothing_in_it_is_sealed() {
    let w = world().await;
    let file = w.dir.path().join("store.db");
    w.store.close().await;
    for _ in 0..2 {
        let refused = Store::open(&file, key(8)).await.err().unwrap().to_string();
        assert!(refused.contains("is the key file the one that it was written with?"), "{refused}");
        Store::open(&file, key(7)).await.unwrap().close().await;
    }
}

#[tokio::test]
async fn a_store_from_before_the_check_is_told_by_what_is_sealed_in_it() {
    let w = world().await;
    let file = w.dir.path().join("store.db");
    w.store.write_secret(OWNER, "KEY", "whisper", SecretWrite::Create, by(NOW)).await.unwrap();
    w.store.close().await;
    forget(&file).await;
    assert!(Store::open(&file, key(8)).await.is_err());
    Store::open(&file, key(7)).await.unwrap().close().await;
    assert!(Store::open(&file, key(8)).await.is_err(), "now the store itself knows");
}

/// Removes the value that tells the key, as in a store that an older version wrote.
async fn forget(file: &std::path::Path) {
    let pool = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(file)).await;
    let pool = pool.unwrap();
    sqlx::query("DELETE FROM key_check").execute(&pool).await.unwrap();
    pool.close().await;
}
