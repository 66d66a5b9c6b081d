//! Organizations (contract 2.2).

use serde_json::{Map, Value};
use tributary_domain::{
    OrgId,
    access::{Action, Actor, Standing},
    account::{Org, Plan},
};

use crate::{Control, Error, access::decide, fields::Fields, slugs::is_slug};

/// Most organizations on whose team one person may be as their founder.
const ORGS_PER_USER: usize = 1_000;

/// An organization to create.
#[derive(Clone, Debug)]
pub struct NewOrg {
    name: String,
    slug: Option<String>,
    plan: Option<Plan>,
}

impl NewOrg {
    /// Reads `{name, slug?, plan?}`.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(body: Map<String, Value>) -> Result<NewOrg, Error> {
        let mut fields = Fields::of(body);
        let name = fields.required_name("name");
        let slug = fields.name("slug");
        if slug.as_deref().is_some_and(|slug| !is_slug(slug)) {
            fields.wrong(
                "slug",
                "must be lower-case letters and digits joined by dashes, and not look like an id",
            );
        }
        let plan = read_plan(&mut fields);
        fields.finish()?;
        Ok(NewOrg { name, slug, plan })
    }
}

/// A change of an organization; what is `None` stays.
#[derive(Clone, Debug)]
pub struct OrgChange {
    name: Option<String>,
    plan: Option<Plan>,
}

impl OrgChange {
    /// Reads `{name?, plan?}`.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn read(body: Map<String, Value>) -> Result<OrgChange, Error> {
        let mut fields = Fields::of(body);
        let (name, plan) = (fields.name("name"), read_plan(&mut fields));
        fields.finish()?;
        Ok(OrgChange { name, plan })
    }
}

fn read_plan(fields: &mut Fields) -> Option<Plan> {
    let plan = fields.text("plan")?.parse();
    plan.map_err(|error: tributary_domain::account::UnknownPlan| fields.wrong("plan", error.to_string())).ok()
}

impl Control {
    /// The organizations on whose team the actor is.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user without the scope.
    pub async fn list_orgs(&self, actor: &Actor) -> Result<Vec<Org>, Error> {
        if actor.scopes.is_some() {
            decide(Standing::ApiUser, actor, Action::GetOrg, String::new)?;
        }
        Ok(self.store.orgs_of(actor.user).await?)
    }

    /// Creates an organization; the actor becomes its owner.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for an API user, a field error when the slug asked for is taken.
    pub async fn create_org(&self, actor: &Actor, new: NewOrg) -> Result<Org, Error> {
        self.person(actor)?;
        if self.store.orgs_of(actor.user).await?.len() >= ORGS_PER_USER {
            let text = format!("you are on the team of {ORGS_PER_USER} organizations, which is the limit");
            return Err(Error::conflict("limit_reached", text));
        }
        let slugs = new.slug.map_or_else(|| self.slugs_for(&new.name, "org"), |slug| vec![slug]);
        let plan = new.plan.unwrap_or(self.settings.accounts.default_plan);
        let org = Org { id: OrgId(self.new_id()), slug: String::new(), name: new.name, plan };
        let org = self.store.create_org(org, &slugs, self.by(actor)).await?;
        Ok(org)
    }

    /// Changes name or plan; for the owner alone.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn update_org(&self, actor: &Actor, key: &str, change: OrgChange) -> Result<Org, Error> {
        let old = self.org(actor, key, Action::UpdateOrg).await?;
        let mut org = old.clone();
        org.name = change.name.unwrap_or(org.name);
        org.plan = change.plan.unwrap_or(org.plan);
        self.store.update_org(&old, &org, self.by(actor)).await?;
        Ok(org)
    }
}
