//! Everything that is kept besides the events themselves: accounts, integrations, history, logs, cursors.
//!
//! SQL lives here and nowhere else. Every query that a caller's request can reach takes the owner (or the id that was
//! resolved under that owner) as an argument. Writes of a use-case are one transaction each.

pub mod audit;
pub mod backlogs;
pub mod changes;
mod clock;
pub mod delivery;
pub mod device_claims;
pub mod device_products;
pub mod devices;
pub mod failed;
pub mod history;
pub mod integrations;
pub mod invitations;
pub mod kept;
mod key_check;
pub mod lists;
pub mod logs;
mod lookup;
pub mod members;
pub mod moving;
pub mod orgs;
mod ownership;
pub mod parameters;
pub mod products;
mod read;
pub mod redelivery;
pub mod routing;
pub mod secrets;
pub mod sharing;
pub mod sleeping;
mod stored;
pub mod team;
pub mod tokens;
pub mod users;
pub mod vault;
pub mod versions;

use std::{path::Path, sync::Arc, time::Duration};

use sqlx::{
    Connection as _,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

pub use vault::Vault;

/// Connections that may read at once. SQLite has one writer whatever this says.
const CONNECTIONS: u32 = 8;
/// How long a write waits for another one to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A unique name is taken; names which, e.g. `username`.
    #[error("{0} is already taken")]
    Taken(&'static str),
    /// The database refused or broke.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A stored value is not in a form that this version reads.
    #[error("stored {what} cannot be read: {why}")]
    Unreadable {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl StoreError {
    /// Whether the same may well succeed later: the disk is full or slow, or all connections are busy.
    pub fn is_passing(&self) -> bool {
        /// SQLite's result codes BUSY, IOERR and FULL.
        const PASSING: [i32; 3] = [5, 10, 13];
        match self {
            StoreError::Database(
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_),
            ) => true,
            StoreError::Database(sqlx::Error::Database(error)) => {
                let code = error.code().and_then(|code| code.parse::<i32>().ok());
                // The low byte is the code, the rest says more about it.
                code.is_some_and(|code| PASSING.contains(&(code & 0xff)))
            }
            _ => false,
        }
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
    vault: Vault,
    /// Whose turn it is to add many devices.
    imports: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// Opens, or creates, the database file at `path` and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, a migration fails, or the store was written with another key.
    pub async fn open(path: &Path, vault: Vault) -> Result<Store, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("journal_size_limit", "67108864");
        // On a full disk SQLite rolls a transaction back by itself; sqlx then still counts it as begun, and could never
        // begin another one on that connection.
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await?;
        sqlx::migrate!().run(&pool).await?;
        key_check::check(&pool, &vault).await?;
        Ok(Store { pool, vault, imports: Arc::default() })
    }

    /// Closes the connections after the running statements.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A cheap question, for readiness.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM cursors LIMIT 1").fetch_optional(&self.pool).await?;
        Ok(())
    }
}
