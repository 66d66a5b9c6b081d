//! The files of a store as they are on disk at a moment, and as a crash can leave them.

use std::{collections::BTreeMap, fs, path::Path};

use rusqlite::Connection;

/// Bytes of the write-ahead log's header, and of that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

pub(crate) const DATABASE: &str = "tributary.db";
const LOG: &str = "tributary.db-wal";

/// The database and its write-ahead log. The index beside them is made anew from the log at every start.
#[derive(Clone)]
pub(crate) struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

/// What a crash can leave, and where it struck.
pub(crate) struct Cut {
    pub(crate) place: String,
    /// Not at the end of a page.
    pub(crate) torn: bool,
    pub(crate) files: Files,
}

impl Files {
    /// As they are now. Nobody may be writing.
    pub(crate) fn of(folder: &Path) -> Files {
        Files {
            database: fs::read(folder.join(DATABASE)).unwrap(),
            log: fs::read(folder.join(LOG)).unwrap_or_default(),
        }
    }

    pub(crate) fn write(&self, folder: &Path) {
        fs::write(folder.join(DATABASE), &self.database).unwrap();
        fs::write(folder.join(LOG), &self.log).unwrap();
    }

    /// Everything written since lies in the log: else the cuts below would not be what a crash can leave.
    pub(crate) fn assert_grown_from(&self, before: &Files) {
        assert!(self.database == before.database, "no checkpoint was made");
        assert!(self.log.starts_with(&before.log) && self.log.len() > before.log.len(), "the log has grown");
    }

    /// Every beginning of what was written since: up to each page, torn in its header and in its middle, and with its last
    /// byte not yet as it should be.
    pub(crate) fn cuts_since(&self, before: &Files) -> Vec<Cut> {
        let page = usize::from(u16::from_be_bytes([self.database[16], self.database[17]]));
        let frame = FRAME_HEADER + page;
        let start = before.log.len().max(LOG_HEADER);
        assert_eq!((self.log.len() - start) % frame, 0, "whole pages were written");
        let cut = |place: String, bytes: usize| {
            let log = self.log[..bytes].to_vec();
            Cut { place, torn: true, files: Files { database: self.database.clone(), log } }
        };
        let mut cuts = vec![cut("before the first page".to_owned(), before.log.len())];
        for (number, at) in (start..self.log.len()).step_by(frame).enumerate() {
            cuts.push(cut(format!("in the header of page {number}"), at + FRAME_HEADER / 2));
            cuts.push(cut(format!("in the middle of page {number}"), at + frame / 2));
            let mut garbled = cut(format!("page {number} with a wrong byte"), at + frame);
            garbled.files.log[at + frame - 1] ^= 0xff;
            cuts.push(garbled);
            cuts.push(Cut { torn: false, ..cut(format!("after page {number}"), at + frame) });
        }
        cuts
    }

    /// Every row of every table, as after a new start on these files.
    pub(crate) fn state(&self) -> State {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        let db = Connection::open(folder.path().join(DATABASE)).unwrap();
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let mut tables = BTreeMap::new();
        for table in texts(&db, "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name") {
            let columns =
                texts(&db, &format!("SELECT 'quote(\"' || name || '\")' FROM pragma_table_info('{table}')"));
            let rows =
                texts(&db, &format!("SELECT {} FROM \"{table}\" ORDER BY 1", columns.join(" || ', ' || ")));
            tables.insert(table, rows);
        }
        let number = |sql: &str| db.query_row(sql, [], |row| row.get(0)).unwrap();
        let outcomes = number("SELECT COALESCE(SUM(success + error + skipped), 0) FROM counters");
        let waiting: i64 = number("SELECT COUNT(*) FROM pending");
        State { tables, outcomes: outcomes + waiting, orphans: orphans(&db) }
    }
}

/// What a person, or the next start, can see of a store.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct State {
    tables: BTreeMap<String, Vec<String>>,
    outcomes: i64,
    orphans: Vec<String>,
}

impl State {
    /// Outcomes counted and deliveries waiting, over all integrations.
    pub(crate) fn outcomes(&self) -> i64 {
        self.outcomes
    }

    /// Rows that refer to something that is not there.
    pub(crate) fn orphans(&self) -> &[String] {
        &self.orphans
    }

    /// The rows that one has and the other has not, by table.
    pub(crate) fn differences(&self, other: &State) -> Vec<String> {
        let mut all = Vec::new();
        for (table, rows) in &self.tables {
            let others = other.tables.get(table).cloned().unwrap_or_default();
            all.extend(
                rows.iter().filter(|row| !others.contains(row)).map(|row| format!("+ {table}: {row}")),
            );
            all.extend(
                others.iter().filter(|row| !rows.contains(row)).map(|row| format!("- {table}: {row}")),
            );
        }
        all
    }
}

fn orphans(db: &Connection) -> Vec<String> {
    let mut found = Vec::new();
    for sql in [
        "SELECT 'member ' || id FROM members WHERE integration_id NOT IN (SELECT id FROM integrations)",
        "SELECT 'organization integration without products ' || id FROM integrations
         WHERE owner LIKE 'o:%' AND id NOT IN (SELECT integration_id FROM members)",
        "SELECT 'waiting delivery ' || id FROM pending WHERE member_id NOT IN (SELECT id FROM members)",
        "SELECT 'waiting delivery of another integration ' || p.id FROM pending AS p JOIN members AS m
         ON m.id = p.member_id WHERE m.integration_id <> p.integration_id",
        "SELECT 'counter ' || integration_id FROM counters WHERE integration_id NOT IN (SELECT id FROM integrations)",
        "SELECT 'log row ' || id FROM logs WHERE integration_id NOT IN (SELECT id FROM integrations)",
        "SELECT 'token of nobody' FROM tokens WHERE user_id NOT IN (SELECT id FROM users)",
        "SELECT 'API user without a team ' || username FROM users
         WHERE password_hash IS NULL AND id NOT IN (SELECT user_id FROM team)",
    ] {
        found.extend(texts(db, sql));
    }
    found
}

fn texts(db: &Connection, sql: &str) -> Vec<String> {
    let mut query = db.prepare(sql).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
