//! Whose a device is: claims, the codes that products give out for them, and what a claimer agrees to (contract 2.2).

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use tributary_domain::{
    DeviceId, Owner, ProductId, Timestamp, UserId,
    access::{Action, Role},
};

use crate::{
    Store, StoreError,
    audit::{self, By},
    device_products::count_of,
    read::{parsed, parsed_option},
    tokens::TokenHash,
};

/// What became of a device that was to be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is the caller's now, or was before.
    Yes,
    /// It is somebody else's, or in a product where the caller may not claim.
    Taken,
    /// The caller would have more devices than one owner may.
    TooMany,
}

/// A claim that a migration ended: the claimer was not on the product's team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedClaim {
    /// The device.
    pub device: String,
    /// The user name of who had claimed it.
    pub username: String,
    /// The product that it is in.
    pub product: ProductId,
}

/// A claim, as the audit tells of it.
pub(crate) struct Claim {
    pub(crate) device: DeviceId,
    pub(crate) user: UserId,
    pub(crate) product: Option<(ProductId, Owner)>,
}

/// Writes the audit rows of a claim, for the claimer and for the product's owner; `[before, after]` say when it stands.
pub(crate) async fn audit_claim(
    tx: &mut SqliteConnection,
    by: By,
    action: &'static str,
    claim: Claim,
    sides: [bool; 2],
) -> Result<(), StoreError> {
    let username: Option<String> = sqlx::query("SELECT username FROM users WHERE id = $1")
        .bind(claim.user.to_string())
        .fetch_optional(&mut *tx)
        .await?
        .map(|row| row.get(0));
    let subject = claim.device.to_string();
    let product = claim.product.map(|(product, _)| product);
    let shown = json!({"name": subject, "claimed_by": username, "product_id": product});
    let own = Owner::User(claim.user);
    let other = claim.product.map(|(_, owner)| owner).filter(|owner| *owner != own);
    for owner in [Some(own), other].into_iter().flatten() {
        let change = sides.map(|stands| stands.then(|| shown.clone()));
        audit::write(tx, by, owner, action, &subject, change).await?;
    }
    Ok(())
}

impl Store {
    /// Claims a device for the person who asks; one that is not known yet is created. One in a product needs the right to
    /// change devices there, or a code of that product, which is then used up.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn claim_device(
        &self,
        id: DeviceId,
        code: Option<&TokenHash>,
        most: i64,
        by: By,
    ) -> Result<Claimed, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let found = find(&mut tx, id).await?;
        let product = match &found {
            Some(Found { user: Some(user), .. }) if *user == by.user => return Ok(Claimed::Yes),
            Some(Found { user: Some(_), .. }) => return Ok(Claimed::Taken),
            Some(Found { product, .. }) => *product,
            None => None,
        };
        let may = match (product, code) {
            (None, None) => true,
            // A code is for the devices of its product.
            (None, Some(_)) => false,
            (Some(product), code) => may_claim(&mut tx, product, code, by).await?,
        };
        if !may {
            return Ok(Claimed::Taken);
        }
        sqlx::query(
            "INSERT INTO devices (id, user_id, created_at) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, agreed_product = NULL",
        )
        .bind(id.to_string())
        .bind(by.user.to_string())
        .bind(by.at.0)
        .execute(&mut *tx)
        .await?;
        if product.is_none() && count_of(&mut tx, Owner::User(by.user)).await? > most {
            return Ok(Claimed::TooMany);
        }
        let claim = Claim { device: id, user: by.user, product };
        audit_claim(&mut tx, by, "device.claim", claim, [false, true]).await?;
        tx.commit().await?;
        Ok(Claimed::Yes)
    }

    /// Ends the claim of a person, who may be the one that asks or not. A device that is in no product is forgotten with its
    /// name and notes. Says whether that person had claimed it.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn end_claim(&self, user: UserId, id: DeviceId, by: By) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let Some(found) = find(&mut tx, id).await?.filter(|found| found.user == Some(user)) else {
            return Ok(false);
        };
        let sql = match found.product {
            Some(_) => "UPDATE devices SET user_id = NULL, agreed_product = NULL WHERE id = $1",
            None => "DELETE FROM devices WHERE id = $1",
        };
        sqlx::query(sql).bind(id.to_string()).execute(&mut *tx).await?;
        let claim = Claim { device: id, user, product: found.product };
        audit_claim(&mut tx, by, "device.unclaim", claim, [true, false]).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes which product may take the device that this person has claimed; `None` = none but those that they are in the
    /// team of. Says whether they have claimed it.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn agree_to_product(
        &self,
        id: DeviceId,
        product: Option<ProductId>,
        by: By,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let done = sqlx::query("UPDATE devices SET agreed_product = $3 WHERE id = $1 AND user_id = $2")
            .bind(id.to_string())
            .bind(by.user.to_string())
            .bind(product.map(|product| product.0))
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let change = [None, Some(json!({"name": id, "product_id": product}))];
        audit::write(&mut tx, by, Owner::User(by.user), "device.agree", &id.to_string(), change).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Keeps a code with which one device of a product can be claimed. Says whether there was room for one more.
    ///
    /// # Errors
    /// When it could not be committed.
    pub async fn create_claim_code(
        &self,
        product: ProductId,
        hash: &TokenHash,
        expires_at: Timestamp,
        most: i64,
        by: By,
    ) -> Result<bool, StoreError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM device_claim_codes WHERE product_id = $1 AND expires_at <= $2")
            .bind(product.0)
            .bind(by.at.0)
            .execute(&mut *tx)
            .await?;
        let done = sqlx::query(
            "INSERT INTO device_claim_codes (hash, product_id, created_by, expires_at) SELECT $1, $2, $3, $4
             WHERE (SELECT COUNT(*) FROM device_claim_codes WHERE product_id = $2) < $5",
        )
        .bind(&hash[..])
        .bind(product.0)
        .bind(by.user.to_string())
        .bind(expires_at.0)
        .bind(most)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// The claims that a migration ended and that nobody was told of yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn ended_claims(&self) -> Result<Vec<EndedClaim>, StoreError> {
        let rows = sqlx::query(
            "SELECT device_id, username, product_id FROM ended_claims ORDER BY product_id, device_id",
        )
        .fetch_all(&self.pool)
        .await?;
        let read = |row: &SqliteRow| EndedClaim {
            device: row.get(0),
            username: row.get(1),
            product: ProductId(row.get(2)),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Forgets them: somebody was told.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn forget_ended_claims(&self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM ended_claims").execute(&self.pool).await?;
        Ok(())
    }
}

struct Found {
    user: Option<UserId>,
    product: Option<(ProductId, Owner)>,
}

async fn find(tx: &mut SqliteConnection, id: DeviceId) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query(
        "SELECT user_id, products.id, products.owner FROM devices
         LEFT JOIN products ON products.id = devices.product_id WHERE devices.id = $1",
    )
    .bind(id.to_string())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let owner = parsed_option(row.get(2), "owner")?;
    let product = row.get::<Option<i64>, _>(1).map(ProductId).zip(owner);
    Ok(Some(Found { user: parsed_option(row.get(0), "user id")?, product }))
}

/// Whether this person may claim a device of the product: with a code, or by the right to change its devices.
async fn may_claim(
    tx: &mut SqliteConnection,
    (product, owner): (ProductId, Owner),
    code: Option<&TokenHash>,
    by: By,
) -> Result<bool, StoreError> {
    if let Some(code) = code {
        // It is worth what its giver's place on the team is worth.
        let used = sqlx::query(
            "DELETE FROM device_claim_codes WHERE hash = $1 AND product_id = $2 AND expires_at > $3
             AND ($4 = 'u:' || created_by OR EXISTS (SELECT 1 FROM team
                  WHERE team.user_id = created_by AND team.scope IN ($4, 'p:' || $2)))",
        )
        .bind(&code[..])
        .bind(product.0)
        .bind(by.at.0)
        .bind(owner.to_string())
        .execute(&mut *tx)
        .await?;
        if used.rows_affected() > 0 {
            return Ok(true);
        }
    }
    if owner == Owner::User(by.user) {
        return Ok(true);
    }
    let rows = sqlx::query(
        "SELECT role FROM team WHERE user_id = $1 AND scope IN ($2, 'p:' || $3) AND role IS NOT NULL",
    )
    .bind(by.user.to_string())
    .bind(owner.to_string())
    .bind(product.0)
    .fetch_all(tx)
    .await?;
    for row in rows {
        let role: Role = parsed(row.get(0), "role")?;
        if role >= Action::UpdateDevice.role() {
            return Ok(true);
        }
    }
    Ok(false)
}
