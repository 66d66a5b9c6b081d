//! Reading the log: what was sent and what came back.

use serde_json::{Map, Value};
use sqlx::{Row, sqlite::SqliteRow};
use tributary_domain::{IntegrationId, MemberId, Owner, limits};

use crate::{Store, StoreError};

/// The version of a stored entry.
const VERSION: u64 = 1;
/// Rows that the log of an integration of many products shows: successes, and as many errors.
const SHOWN_OF_ALL: usize = 5 * limits::LOG_SUCCESSES;

impl Store {
    /// The newest entries of an integration over all its products, newest first.
    ///
    /// # Errors
    /// When the database does not answer or an entry cannot be read.
    pub async fn log_of_integration(
        &self,
        owner: Owner,
        id: IntegrationId,
    ) -> Result<Vec<Value>, StoreError> {
        let sql = "SELECT id, entry, redelivered, EXISTS (SELECT 1 FROM kept WHERE kept.id = logs.kept_id AND redelivery_id IS NULL)
             FROM logs WHERE success = $3
             AND integration_id = (SELECT id FROM integrations WHERE id = $1 AND owner = $2)
             ORDER BY id DESC LIMIT $4";
        self.log(sql, &id.to_string(), owner, [SHOWN_OF_ALL; 2]).await
    }

    /// The newest entries of a member, whatever integration it belonged to at the time, newest first.
    ///
    /// # Errors
    /// When the database does not answer or an entry cannot be read.
    pub async fn log_of_member(&self, owner: Owner, member: MemberId) -> Result<Vec<Value>, StoreError> {
        let sql = "SELECT id, entry, redelivered, EXISTS (SELECT 1 FROM kept WHERE kept.id = logs.kept_id AND redelivery_id IS NULL)
             FROM logs WHERE success = $3 AND member_id = (
                 SELECT members.id FROM members JOIN integrations ON integrations.id = integration_id
                 WHERE members.id = $1 AND owner = $2)
             ORDER BY id DESC LIMIT $4";
        self.log(sql, &member.to_string(), owner, [limits::LOG_SUCCESSES, limits::LOG_ERRORS]).await
    }

    async fn log(
        &self,
        sql: &'static str,
        id: &str,
        owner: Owner,
        most: [usize; 2],
    ) -> Result<Vec<Value>, StoreError> {
        let mut rows: Vec<(i64, SqliteRow)> = Vec::new();
        for (success, limit) in [true, false].into_iter().zip(most) {
            let some = sqlx::query(sql)
                .bind(id)
                .bind(owner.to_string())
                .bind(success)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .fetch_all(&self.pool)
                .await?;
            rows.extend(some.into_iter().map(|row| (row.get(0), row)));
        }
        rows.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
        rows.iter()
            .map(|(id, row)| {
                let mut entry = read(*id, row.get(1))?;
                if let Value::Object(shown) = &mut entry {
                    for (at, name) in [(2, "redelivered"), (3, "kept")] {
                        if row.get::<bool, _>(at) {
                            shown.insert(name.to_owned(), true.into());
                        }
                    }
                }
                Ok(entry)
            })
            .collect()
    }
}

/// An entry as it was written, with the row's id.
fn read(id: i64, text: &str) -> Result<Value, StoreError> {
    let unreadable = |why: String| StoreError::Unreadable { what: "log entry", why };
    let mut form: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| unreadable(error.to_string()))?;
    if form.get("v").and_then(Value::as_u64) != Some(VERSION) {
        return Err(unreadable("its version is not known".to_owned()));
    }
    match form.remove("entry") {
        Some(Value::Object(entry)) => {
            let mut shown = Map::with_capacity(entry.len() + 1);
            shown.insert("id".to_owned(), id.to_string().into());
            shown.extend(entry);
            Ok(Value::Object(shown))
        }
        _ => Err(unreadable("it has no entry".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn version_1_of_an_entry_is_read_and_another_is_told() {
        let entry = read(7, r#"{"v":1,"entry":{"at":"t","outcome":"success"}}"#).unwrap();
        assert_eq!(entry, json!({"id": "7", "at": "t", "outcome": "success"}));
        assert_eq!(read(7, r#"{"v":1,"entry":{"id":"own","at":"t"}}"#).unwrap()["id"], "own");
        for text in ["", "{}", r#"{"v":2,"entry":{}}"#, r#"{"v":1}"#, r#"{"v":1,"entry":5}"#] {
            assert!(read(7, text).is_err(), "{text}");
        }
    }
}
