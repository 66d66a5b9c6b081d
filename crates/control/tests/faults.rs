//! A crash in the middle of a use-case leaves the old state or the new one, never something between.
//!
//! What a crash can leave is modelled exactly: the database writes its write-ahead log from front to back, a page at a
//! time, and at a new start takes as much of it as is whole. So each use-case is run on a store of its own, and then
//! every beginning of what it wrote - up to each page, and torn inside of it - is opened again as after a crash, and
//! every row of every table is compared. A use-case of two transactions shows the state between them.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "faults/files.rs"]
mod files;
#[path = "faults/world.rs"]
mod world;

use serde_json::json;
use tributary_control::{
    Control,
    accounts::NewUser,
    orgs::{NewOrg, OrgChange},
    place::PlaceKey,
    products::NewProduct,
    team::{MemberChange, NewMember},
};

use files::{Files, State};
use world::{World, actor, body, webhook};

const ORG: PlaceKey<'_> = PlaceKey::Org("acme");

/// Whether outcomes and waiting deliveries together stay as many as they were.
#[derive(Clone, Copy, PartialEq)]
enum Books {
    Kept,
    Changed,
}

/// Runs `use_case` on a prepared store and looks at each state that a crash during it can leave.
async fn old_or_new(books: Books, use_case: impl AsyncFnOnce(&Control, &World)) {
    let folder = tempfile::tempdir().unwrap();
    let world = World::prepare(folder.path()).await;
    let control = world::control(folder.path()).await;
    world.prepare_further(&control).await;
    let before = Files::of(folder.path());
    use_case(&control, &world).await;
    let after = Files::of(folder.path());
    after.assert_grown_from(&before);

    let (old, new) = (before.state(), after.state());
    assert_ne!(old, new, "the use-case changes something");
    if books == Books::Kept {
        assert_eq!(old.outcomes(), new.outcomes(), "no outcome and no waiting delivery comes or goes");
    }
    assert!(new.orphans().is_empty(), "rows without their owner: {:?}", new.orphans());
    let mut committed = false;
    for cut in after.cuts_since(&before) {
        let found = cut.files.state();
        assert!(
            found == old || found == new,
            "{}: neither old nor new: {}",
            cut.place,
            between(&old, &found)
        );
        assert!(cut.torn || !committed || found == new, "{}: what was committed is gone", cut.place);
        committed |= found == new;
    }
    assert!(committed, "the whole log gives the new state");
    assert!(world::can_be_opened(&after).await, "the new state can be worked with");
}

fn between(old: &State, found: &State) -> String {
    format!("{:#?}", found.differences(old))
}

#[tokio::test]
async fn creating_an_integration() {
    old_or_new(Books::Kept, async |control, world| {
        let new = body(json!({"event": "x", "url": "https://new.example", "product_ids": world.products}));
        control.create_integration(&actor(), ORG, new).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn changing_a_shared_integration() {
    old_or_new(Books::Kept, async |control, world| {
        let new = body(json!({"event": "other", "url": "https://other.example", "headers": {"X-Key": "k"}}));
        control.replace_integration(&actor(), ORG, &world.shared, new).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn disabling_a_shared_integration_ends_what_waits() {
    old_or_new(Books::Kept, async |control, world| {
        let mut new = webhook("shared");
        new.insert("disabled".to_owned(), true.into());
        control.replace_integration(&actor(), ORG, &world.shared, new).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn changing_the_list_of_products() {
    old_or_new(Books::Kept, async |control, world| {
        let [one, _, three, four] = world.products;
        let mut new = webhook("shared");
        new.insert("product_ids".to_owned(), json!([four, three, one]));
        control.replace_integration(&actor(), ORG, &world.shared, new).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn adding_a_product() {
    old_or_new(Books::Kept, async |control, world| {
        let four = world.products[3].to_string();
        control.add_product(&actor(), "acme", &world.shared, &four, body(json!({}))).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn removing_a_product_ends_what_waits() {
    old_or_new(Books::Kept, async |control, world| {
        let two = world.products[1].to_string();
        control.remove_product(&actor(), "acme", &world.shared, &two).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn removing_the_last_product_deletes_the_integration() {
    old_or_new(Books::Changed, async |control, world| {
        let three = world.products[2].to_string();
        control.remove_product(&actor(), "acme", &world.alone, &three).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn deleting_an_integration() {
    old_or_new(Books::Changed, async |control, world| {
        control.delete_integration(&actor(), ORG, &world.shared).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn separating_a_product() {
    old_or_new(Books::Kept, async |control, world| {
        let two = world.products[1].to_string();
        control.separate(&actor(), &two, &world.member_of_two, webhook("its own")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn merging_integrations_that_share_products() {
    old_or_new(Books::Kept, async |control, world| {
        let from = body(json!({"from": [world.twin, world.alone]}));
        control.merge_integrations(&actor(), "acme", &world.shared, &from).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn restoring_a_version() {
    old_or_new(Books::Kept, async |control, world| {
        control.restore_version(&actor(), ORG, &world.alone, "1").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn overriding_a_parameter_of_a_product_that_joins() {
    old_or_new(Books::Kept, async |control, world| {
        let four = world.products[3].to_string();
        let overrides = body(json!({"parameters": {"SITE": "us"}}));
        let all = control.list_integrations(&actor(), ORG).await.unwrap();
        let sited = all.iter().find(|one| one.integration.text("name") == "sited").unwrap();
        let id = sited.integration.id.to_string();
        control.add_product(&actor(), "acme", &id, &four, overrides).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn moving_a_product_to_an_organization() {
    old_or_new(Books::Kept, async |control, _| {
        control.move_product(&actor(), "own", body(json!({"org": "acme"}))).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn making_a_product() {
    old_or_new(Books::Kept, async |control, _| {
        let new = NewProduct::read(body(json!({"name": "Fifth"}))).unwrap();
        control.create_org_product(&actor(), "acme", new).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn deleting_a_product() {
    old_or_new(Books::Changed, async |control, world| {
        control.delete_product(&actor(), &world.products[1].to_string()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn making_an_organization() {
    old_or_new(Books::Kept, async |control, _| {
        let new = NewOrg::read(body(json!({"name": "Second", "plan": "basic"}))).unwrap();
        control.create_org(&actor(), new).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn changing_an_organization() {
    old_or_new(Books::Kept, async |control, _| {
        let change = OrgChange::read(body(json!({"name": "Acme & Sons", "plan": "enterprise"}))).unwrap();
        control.update_org(&actor(), "acme", change).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn writing_a_secret() {
    old_or_new(Books::Kept, async |control, _| {
        let new = body(json!({"secret": {"name": "TOKEN", "value": "one"}}));
        control.create_secret(&actor(), ORG, new).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn deleting_a_secret() {
    old_or_new(Books::Kept, async |control, _| {
        control.delete_secret(&actor(), ORG, "UNUSED").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn signing_up() {
    old_or_new(Books::Kept, async |control, _| {
        let new = body(json!({"username": "new@example.com", "password": "long enough"}));
        control.sign_up(NewUser::read(new).unwrap()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn joining_a_team() {
    old_or_new(Books::Kept, async |control, _| {
        let new = body(json!({"username": "bob@example.com", "role": "Developer"}));
        control.add_to_team(&actor(), &world::team(), NewMember::read(new).unwrap()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn making_an_api_user() {
    old_or_new(Books::Kept, async |control, _| {
        let new = body(json!({"friendly_name": "second", "scopes": ["events:send"]}));
        control.add_to_team(&actor(), &world::team(), NewMember::read(new).unwrap()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn changing_an_api_user() {
    old_or_new(Books::Kept, async |control, _| {
        let change = MemberChange::read(body(json!({"scopes": ["events:get"]}))).unwrap();
        let robot = world::robot(control).await;
        control.update_member(&actor(), &world::team(), &robot, change).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn removing_an_api_user() {
    old_or_new(Books::Kept, async |control, _| {
        let robot = world::robot(control).await;
        control.remove_member(&actor(), &world::team(), &robot).await.unwrap();
    })
    .await;
}

/// Not a use-case, but the one commit of the data plane, by the same measure.
#[tokio::test]
async fn the_batch_of_the_recorder() {
    old_or_new(Books::Changed, async |_, world| {
        world.store().await.commit_batch(&world.batch()).await.unwrap();
    })
    .await;
}
