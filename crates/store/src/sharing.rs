//! Separating a product from a shared integration, and merging integrations (contract 1 and 1.2).

use sqlx::SqliteConnection;
use tributary_domain::{IntegrationId, MemberId, Owner, Timestamp, integration::Integration, limits};

use crate::{
    Store, StoreError,
    audit::{self, By},
    integrations::{NotWritten, Seen, Which, Written, delete, insert, unchanged},
    lookup::load,
    members::next_position,
    versions::{self, Made, named},
};

impl Store {
    /// Moves a member of a shared integration, with its id and its waiting deliveries, to `new`, which is created with it
    /// as its one member and overrides no parameter of it. What was counted so far stays with the shared one.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn separate(&self, seen: Seen, member: MemberId, new: &Integration, by: By) -> Written<()> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let old = match unchanged(&mut tx, &self.vault, new.owner, seen).await? {
            Ok(old) => old,
            Err(why) => return Ok(Err(why)),
        };
        if !old.members.iter().any(|other| other.id == member) {
            // It left meanwhile, perhaps into an integration of its own.
            return Ok(Err(NotWritten::Changed));
        }
        if !old.is_shared() {
            return Ok(Err(NotWritten::NotShared));
        }
        if let Err(why) = insert(&mut tx, &self.vault, new).await? {
            return Ok(Err(why));
        }
        for sql in [
            "UPDATE members SET integration_id = $1, position = 0, overrides = NULL WHERE id = $2 AND integration_id = $3",
            "UPDATE pending SET integration_id = $1 WHERE member_id = $2 AND integration_id = $3",
            "UPDATE kept SET integration_id = $1 WHERE member_id = $2 AND integration_id = $3",
        ] {
            sqlx::query(sql)
                .bind(new.id.to_string())
                .bind(member.to_string())
                .bind(old.id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        versions::write(&mut tx, &self.vault, by, &Made::Separated(named(&old)), Some(&old), new).await?;
        let change = [Some(audit::shown(&old)), Some(audit::shown(new))];
        audit::write(&mut tx, by, new.owner, "integration.separate", &new.id.to_string(), change).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Moves the members of `from`, with their ids, history, log and waiting deliveries, into `into`, and deletes `from`.
    /// Where `into` executes on a product already, its member there takes over the history. Gives the integration as it
    /// is then.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn merge(&self, owner: Owner, into: Seen, from: &[Seen], by: By) -> Written<Integration> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let first = match unchanged(&mut tx, &self.vault, owner, into).await? {
            Ok(first) => first,
            Err(why) => return Ok(Err(why)),
        };
        let (mut now, mut merged) = (first.clone(), Vec::with_capacity(from.len()));
        for seen in from {
            let old = match unchanged(&mut tx, &self.vault, owner, *seen).await? {
                Ok(old) => old,
                Err(why) => return Ok(Err(why)),
            };
            for member in &old.members {
                match now.members.iter().find(|kept| kept.product == member.product).copied() {
                    Some(kept) => join_member(&mut tx, member.id, kept.id, by.at).await?,
                    None => {
                        move_member(&mut tx, member.id, into.id).await?;
                        now.members.push(*member);
                        now.overrides.extend(
                            old.overrides.get_key_value(&member.id).map(|(id, own)| (*id, own.clone())),
                        );
                    }
                }
            }
            join_integration(&mut tx, old.id, into.id).await?;
            delete(&mut tx, old.id).await?;
            merged.push(named(&old));
            let change = [Some(audit::shown(&old)), Some(audit::shown(&now))];
            audit::write(&mut tx, by, owner, "integration.merge", &old.id.to_string(), change).await?;
        }
        if now.members.len() > limits::MEMBERS {
            return Ok(Err(NotWritten::TooManyProducts));
        }
        let Some(now) = load(&mut tx, &self.vault, Which::One(owner, into.id)).await?.pop() else {
            return Ok(Err(NotWritten::Gone));
        };
        versions::write(&mut tx, &self.vault, by, &Made::Merged(merged), Some(&first), &now).await?;
        tx.commit().await?;
        Ok(Ok(now))
    }
}

async fn move_member(
    tx: &mut SqliteConnection,
    member: MemberId,
    into: IntegrationId,
) -> Result<(), StoreError> {
    let position = next_position(tx, into).await?;
    sqlx::query("UPDATE members SET integration_id = $1, position = $2 WHERE id = $3")
        .bind(into.to_string())
        .bind(i64::try_from(position).unwrap_or(i64::MAX))
        .bind(member.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

/// Gives everything that `member` ever did to `kept`, a member for the same product, and deletes it.
async fn join_member(
    tx: &mut SqliteConnection,
    member: MemberId,
    kept: MemberId,
    at: Timestamp,
) -> Result<(), StoreError> {
    for sql in [
        "INSERT INTO counters (integration_id, member_id, product_id, day, success, error, skipped,
             redelivered_success, redelivered_error, redelivered_skipped)
         SELECT integration_id, $2, product_id, day, success, error, skipped,
             redelivered_success, redelivered_error, redelivered_skipped FROM counters WHERE member_id = $1
         ON CONFLICT (integration_id, member_id, day) DO UPDATE SET success = success + excluded.success,
             error = error + excluded.error, skipped = skipped + excluded.skipped,
             redelivered_success = redelivered_success + excluded.redelivered_success,
             redelivered_error = redelivered_error + excluded.redelivered_error,
             redelivered_skipped = redelivered_skipped + excluded.redelivered_skipped",
        "UPDATE logs SET member_id = $2 WHERE member_id = $1",
        "UPDATE pending SET member_id = $2 WHERE member_id = $1",
        "UPDATE kept SET member_id = $2 WHERE member_id = $1",
        "UPDATE redeliveries SET member_id = $2 WHERE member_id = $1",
        "UPDATE merged_members SET into_id = $2 WHERE into_id = $1",
    ] {
        sqlx::query(sql).bind(member.to_string()).bind(kept.to_string()).execute(&mut *tx).await?;
    }
    sqlx::query("INSERT INTO merged_members (member_id, into_id, at) VALUES ($1, $2, $3)")
        .bind(member.to_string())
        .bind(kept.to_string())
        .bind(at.0)
        .execute(&mut *tx)
        .await?;
    for sql in ["DELETE FROM counters WHERE member_id = $1", "DELETE FROM members WHERE id = $1"] {
        sqlx::query(sql).bind(member.to_string()).execute(&mut *tx).await?;
    }
    Ok(())
}

/// Gives everything that ran as `from` to `into`.
async fn join_integration(
    tx: &mut SqliteConnection,
    from: IntegrationId,
    into: IntegrationId,
) -> Result<(), StoreError> {
    for sql in [
        "INSERT INTO counters (integration_id, member_id, product_id, day, success, error, skipped,
             redelivered_success, redelivered_error, redelivered_skipped)
         SELECT $2, member_id, product_id, day, success, error, skipped,
             redelivered_success, redelivered_error, redelivered_skipped FROM counters WHERE integration_id = $1
         ON CONFLICT (integration_id, member_id, day) DO UPDATE SET success = success + excluded.success,
             error = error + excluded.error, skipped = skipped + excluded.skipped,
             redelivered_success = redelivered_success + excluded.redelivered_success,
             redelivered_error = redelivered_error + excluded.redelivered_error,
             redelivered_skipped = redelivered_skipped + excluded.redelivered_skipped",
        "UPDATE logs SET integration_id = $2 WHERE integration_id = $1",
        "UPDATE pending SET integration_id = $2 WHERE integration_id = $1",
        "UPDATE kept SET integration_id = $2 WHERE integration_id = $1",
        "UPDATE redeliveries SET integration_id = $2 WHERE integration_id = $1",
    ] {
        sqlx::query(sql).bind(from.to_string()).bind(into.to_string()).execute(&mut *tx).await?;
    }
    sqlx::query("DELETE FROM counters WHERE integration_id = $1").bind(from.to_string()).execute(tx).await?;
    Ok(())
}
