//! What a body would change, without changing it: for forms that say so while somebody types.

use serde_json::{Map, Value};
use tributary_domain::access::{Action, Actor};
use tributary_domain::equality::NameCounts;

use crate::{Control, Error, drafting::Checked, place::PlaceKey, sharing::normal_of};

impl Control {
    /// The fields in which a body differs from an integration, after normalising (contract 1.2): the name counts, a
    /// default spelled out and the mask of a stored value do not. In an organization also `product_ids`.
    ///
    /// # Errors
    /// As replacing it would have, except that a shared integration may be compared in one product.
    pub async fn changed_fields(
        &self,
        actor: &Actor,
        key: PlaceKey<'_>,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<Vec<String>, Error> {
        let place = self.place_to_write(actor, key, Action::UpdateIntegration).await?;
        let stored = self.find_integration(&place, id).await?.integration;
        let Checked { config, products, .. } = self.check_draft(&place, body, Some(&stored), None).await?;
        let (new, old) = (normal_of(&config, NameCounts::Yes), normal_of(&stored.config, NameCounts::Yes));
        let mut changed: Vec<String> = new.differences(&old).into_iter().map(str::to_owned).collect();
        if let Some(mut products) = products {
            let mut members: Vec<_> = stored.members.iter().map(|member| member.product).collect();
            products.sort_unstable();
            members.sort_unstable();
            if products != members {
                changed.push("product_ids".to_owned());
            }
        }
        Ok(changed)
    }
}
