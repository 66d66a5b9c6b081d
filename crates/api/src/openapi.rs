//! The description of the API, put together from the handlers.

use utoipa::OpenApi;

use crate::{
    described, devices, events, invitations, moving, oauth, ops, orgs, products, streams, team, test_run,
    users,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "tributary",
        description = "Integrations for fleets of devices, over the Particle Cloud API"
    ),
    paths(
        oauth::create,
        oauth::current,
        oauth::end_current,
        oauth::end,
        oauth::end_all,
        users::sign_up,
        users::show,
        users::change,
        orgs::list,
        orgs::create,
        orgs::show,
        orgs::update,
        team::list_org,
        team::add_org,
        team::update_org,
        team::remove_org,
        team::list_product,
        team::add_product,
        team::update_product,
        team::remove_product,
        invitations::list_org,
        invitations::revoke_org,
        invitations::list_product,
        invitations::revoke_product,
        invitations::accept,
        invitations::transfer,
        products::list,
        products::list_sandbox,
        products::list_org,
        products::create_sandbox,
        products::create_org,
        products::show,
        products::remove,
        moving::to_org,
        devices::list,
        devices::add,
        devices::show,
        devices::update,
        devices::remove,
        devices::remove_owner,
        devices::list_own,
        devices::show_own,
        devices::claim,
        devices::update_own,
        devices::unclaim,
        devices::agree,
        devices::create_claim_code,
        test_run::sandbox,
        test_run::product,
        test_run::org,
        events::publish_sandbox,
        events::publish_product,
        events::publish_batch,
        events::publish_org,
        streams::without_prefix,
        streams::everything,
        streams::own,
        streams::own_device,
        streams::product,
        streams::product_device,
        streams::org,
        streams::org_product,
        ops::health,
        ops::ready,
        ops::metrics,
        ops::description,
    )
)]
struct Description;

/// The description as JSON.
pub fn json() -> String {
    let mut description = Description::openapi();
    described::describe(&mut description);
    // It is made of constants, so it always serializes; a test reads it.
    description.to_pretty_json().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_names_its_paths() {
        let description: serde_json::Value = serde_json::from_str(&super::json()).expect("JSON");
        assert!(description["paths"]["/v1/orgs/{org}/team"]["post"].is_object());
    }
}
