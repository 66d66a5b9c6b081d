//! Whose a device is, and how many an owner has (contract 2.2).
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use support::{NOW, OWNER, USER, World, by, fresh, world};
use tributary_domain::{DeviceId, Owner, ProductId, UserId};
use tributary_store::{
    audit::By,
    device_claims::Claimed,
    device_products::{Added, Import},
};

const MANY: i64 = 1_000_000;

async fn add(w: &World, product: ProductId, ids: &[DeviceId]) -> Added {
    match w.store.add_devices(product, ids, MANY, by(NOW)).await.unwrap() {
        Import::Done(added) => added,
        other => panic!("{other:?}"),
    }
}

async fn stranger(w: &World) -> By {
    let user = UserId(fresh());
    w.store.create_user(user, &format!("{user}@example.com"), "hash", NOW, false).await.unwrap();
    By { user, at: NOW }
}

#[tokio::test]
async fn a_device_is_in_one_product_and_claimed_by_one_person() {
    let w = world().await;
    let (device, other) = (DeviceId(fresh()), stranger(&w).await);
    assert_eq!(add(&w, w.products[0], &[device]).await.updated, [device]);
    assert_eq!(add(&w, w.products[0], &[device]).await.existing, [device]);
    assert_eq!(add(&w, w.products[1], &[device]).await.elsewhere, [device]);
    let claim = async |by| w.store.claim_device(device, None, MANY, by).await.unwrap();
    assert_eq!(claim(other).await, Claimed::Taken);
    assert_eq!(claim(by(NOW)).await, Claimed::Yes);
    assert_eq!(claim(other).await, Claimed::Taken);
    assert!(!w.store.end_claim(other.user, device, other).await.unwrap());
    let row = w.store.device_of_product(w.products[0], device).await.unwrap().unwrap();
    assert_eq!((row.owner.as_deref(), row.platform_id), (Some("ada@example.com"), Some(13)));
    assert!(w.store.remove_device(w.products[0], device, by(NOW)).await.unwrap());
    assert_eq!(add(&w, w.products[1], &[device]).await.updated, [device]);
    let own = w.store.device_of_user(USER, &device.to_string()).await.unwrap().unwrap();
    assert_eq!(own.device.product, Some(w.products[1]));
}

#[tokio::test]
async fn what_is_nobodys_is_forgotten_with_its_name_and_notes() {
    let w = world().await;
    let (device, other) = (DeviceId(fresh()), stranger(&w).await);
    add(&w, w.products[0], &[device]).await;
    let mut row = w.store.device_of_product(w.products[0], device).await.unwrap().unwrap();
    (row.device.name, row.device.notes) = (Some("Vault".to_owned()), Some("code 1234".to_owned()));
    assert!(w.store.update_device(&row.device).await.unwrap());
    w.store.remove_device(w.products[0], device, by(NOW)).await.unwrap();
    assert!(!w.store.update_device(&row.device).await.unwrap(), "it is no longer where it was read");
    assert_eq!(w.store.claim_device(device, None, MANY, other).await.unwrap(), Claimed::Yes);
    let own = w.store.device_of_user(other.user, &device.to_string()).await.unwrap().unwrap();
    assert_eq!((own.device.name, own.device.notes), (None, None));
}

#[tokio::test]
async fn an_owner_has_no_more_devices_than_the_bound_whichever_way_they_come() {
    let w = world().await;
    let ids: Vec<DeviceId> = (0..1_200).map(|_| DeviceId(fresh())).collect();
    let import = async |product: usize, ids: &[DeviceId], most| {
        w.store.add_devices(w.products[product], ids, most, by(NOW)).await.unwrap()
    };
    assert_eq!(import(0, &ids, 1_199).await, Import::TooMany { added: 0 });
    let row = w.store.device_of_product(w.products[0], ids[0]).await.unwrap();
    assert!(row.is_none(), "nothing is stored of what does not fit");
    assert!(matches!(import(0, &ids, 1_200).await, Import::Done(added) if added.updated == ids));
    assert!(matches!(import(0, &ids, 1_200).await, Import::Done(added) if added.existing == ids));
    assert!(matches!(import(1, &ids, 1_200).await, Import::Done(added) if added.elsewhere == ids));
    assert_eq!(import(1, &[DeviceId(fresh())], 1_200).await, Import::TooMany { added: 0 });
    w.store.remove_device(w.products[0], ids[0], by(NOW)).await.unwrap();
    assert!(matches!(import(1, &ids[..1], 1_200).await, Import::Done(added) if added.updated == ids[..1]));

    let claim = async |id, most| w.store.claim_device(id, None, most, by(NOW)).await.unwrap();
    let (one, two) = (DeviceId(fresh()), DeviceId(fresh()));
    assert_eq!(claim(one, 1).await, Claimed::Yes);
    assert_eq!(claim(two, 1).await, Claimed::TooMany);
    assert_eq!(claim(ids[1], 1).await, Claimed::Yes, "that one counts for the organization");
    assert!(w.store.end_claim(USER, one, by(NOW)).await.unwrap());
    assert_eq!(claim(two, 1).await, Claimed::Yes);

    let product = w.store.product(&w.products[0].to_string()).await.unwrap().unwrap();
    assert!(w.store.delete_product(&product, by(NOW)).await.unwrap());
    let fresh_ones: Vec<DeviceId> = (0..1_200).map(|_| DeviceId(fresh())).collect();
    assert_eq!(import(1, &fresh_ones, 1_200).await, Import::TooMany { added: 0 }, "one is there");
    assert!(matches!(import(1, &fresh_ones[1..], 1_200).await, Import::Done(_)));
    assert_eq!(
        claim(DeviceId(fresh()), 2).await,
        Claimed::TooMany,
        "the claimed one came back to its person"
    );
}

#[tokio::test]
async fn imports_at_once_do_not_pass_the_bound_together() {
    let w = world().await;
    let parts: Vec<Vec<DeviceId>> = (0..4).map(|_| (0..700).map(|_| DeviceId(fresh())).collect()).collect();
    let import =
        async |n: usize| w.store.add_devices(w.products[n % 3], &parts[n], 1_500, by(NOW)).await.unwrap();
    let ends = tokio::join!(import(0), import(1), import(2), import(3));
    let ends = [ends.0, ends.1, ends.2, ends.3];
    let stored: usize = ends
        .iter()
        .map(|end| match end {
            Import::Done(added) => added.updated.len(),
            Import::TooMany { added } => *added,
            Import::Gone => 0,
        })
        .sum();
    assert!(stored <= 1_500 && ends.iter().any(|end| matches!(end, Import::TooMany { .. })), "{stored}");
    let mut there = 0;
    for product in w.products {
        there += w.store.devices_of_product(product, &Default::default(), 1, 1).await.unwrap().1;
    }
    assert_eq!(usize::try_from(there).unwrap(), stored, "what an answer says is what is there");
}

#[tokio::test]
async fn another_write_does_not_wait_for_a_whole_import() {
    let w = world().await;
    let ids: Vec<DeviceId> = (0..5_000).map(|_| DeviceId(fresh())).collect();
    let store = w.store.clone();
    let product = w.products[0];
    let import = tokio::spawn(async move { store.add_devices(product, &ids, MANY, by(NOW)).await });
    let mut written = 0;
    while !import.is_finished() {
        w.store.claim_device(DeviceId(fresh()), None, MANY, by(NOW)).await.unwrap();
        written += 1;
    }
    assert!(matches!(import.await.unwrap().unwrap(), Import::Done(added) if added.updated.len() == 5_000));
    assert!(written >= 3, "{written} writes beside ten parts");
}

#[tokio::test]
async fn claims_are_told_in_the_audit_of_the_claimer_and_of_the_owner() {
    let w = world().await;
    let device = DeviceId(fresh());
    add(&w, w.products[0], &[device]).await;
    w.store.claim_device(device, None, MANY, by(NOW)).await.unwrap();
    w.store.end_claim(USER, device, by(NOW)).await.unwrap();
    for owner in [OWNER, Owner::User(USER)] {
        let rows = w.store.audit_of(owner, 2).await.unwrap();
        let told: Vec<_> = rows.iter().map(|row| (row.action.as_str(), row.subject.as_str())).collect();
        let id = device.to_string();
        assert_eq!(told, [("device.unclaim", id.as_str()), ("device.claim", id.as_str())], "{owner}");
        assert_eq!(rows[1].after.as_ref().unwrap()["claimed_by"], "ada@example.com");
    }
}
