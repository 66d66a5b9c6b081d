//! Handing an organization over to another owner.

use serde_json::json;
use tributary_domain::{OrgId, Owner, UserId, access::Role};

use crate::{
    Store, StoreError,
    audit::{self, By},
    team::{TeamMember, TeamOf},
};

impl Store {
    /// Makes a person on the team the owner and the present one an Administrator, in one step: there is an owner at every
    /// moment. Says whether both were still what they were.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn transfer_ownership(
        &self,
        org: OrgId,
        from: UserId,
        to: &TeamMember,
        by: By,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let scope = TeamOf::Org(org).scope();
        let sql = "UPDATE team SET role = $3 WHERE scope = $1 AND user_id = $2 AND role = $4";
        let steps = [(to.user, Role::Owner, to.role), (from, Role::Administrator, Some(Role::Owner))];
        for (user, new, old) in steps {
            let done = sqlx::query(sql)
                .bind(&scope)
                .bind(user.to_string())
                .bind(new.as_str())
                .bind(old.map(Role::as_str))
                .execute(&mut *tx)
                .await?;
            if done.rows_affected() == 0 {
                return Ok(false);
            }
        }
        let change = [json!({"owner": from}), json!({"owner": to.user, "username": to.username})].map(Some);
        audit::write(&mut tx, by, Owner::Org(org), "organization.transfer", &org.to_string(), change).await?;
        tx.commit().await?;
        Ok(true)
    }
}
