//! Who changed what in an organization, or in the caller's own sandbox.

use serde_json::Value;
use tributary_domain::access::{Action, Actor};
pub use tributary_store::audit::AuditRow;

use crate::{
    Control, Error,
    accounts::API_USER_DOMAIN,
    newest::{Newest, Paged},
    place::PlaceKey,
};

impl Control {
    /// The changes of an owner, newest first.
    ///
    /// # Errors
    /// When the place is not the caller's to look at, or only an Administrator's; every wrong parameter.
    pub async fn audit(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        page: &Newest,
    ) -> Result<Paged<AuditRow>, Error> {
        let owner = self.place(actor, key, Action::ReadAudit).await?.owner();
        let page = page.read()?;
        let rows = self.store.audit_page(owner, page.before, page.asked()).await?;
        Ok(page.of(rows, |row| row.id))
    }
}

/// Whether a user name is that of an API user.
pub fn is_api_user(username: &str) -> bool {
    username.ends_with(API_USER_DOMAIN)
}

/// What a row of the audit is about: the kind of thing.
pub fn subject_kind(row: &AuditRow) -> &str {
    match row.action.split('.').next().unwrap_or_default() {
        "team" => "member",
        kind => kind,
    }
}

/// What a row of the audit is about: its name, as it is or last was.
pub fn subject_name(row: &AuditRow) -> &str {
    let sides = [&row.after, &row.before].into_iter().flatten();
    sides.into_iter().find_map(name_in).unwrap_or(&row.subject)
}

fn name_in(side: &Value) -> Option<&str> {
    let known = ["/config/name", "/name", "/friendly_name", "/member/friendly_name"];
    known.iter().find_map(|place| side.pointer(place)?.as_str())
}
