#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tempfile::TempDir;
use tributary_domain::{
    EventId, Timestamp,
    account::{Org, Plan},
    integration::Member,
};
use tributary_store::{Vault, audit::By, integrations::Seen, products::NewProduct, secrets::SecretWrite};

use super::*;

const NOW: Timestamp = Timestamp(1_704_110_400_000);
const ADA: UserId = UserId([1; 12]);
const ACME: OrgId = OrgId([2; 12]);
const OWNER: Owner = Owner::Org(ACME);
const BY: By = By { user: ADA, at: NOW };

struct World {
    store: Store,
    products: Vec<ProductId>,
    _dir: TempDir,
}

async fn world(products: usize) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.db"), Vault::new(&[7; 32])).await.unwrap();
    store.create_user(ADA, "ada@example.com", "hash", NOW, false).await.unwrap();
    let org = Org { id: ACME, slug: String::new(), name: "Acme".into(), plan: Plan::Basic };
    store.create_org(org, &["acme".to_owned()], BY).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..products {
        let name = format!("product-{n}");
        let new =
            NewProduct { owner: OWNER, name: name.clone(), description: String::new(), platform_id: 13 };
        ids.push(store.create_product(&new, &[name], BY).await.unwrap().id);
    }
    World { store, products: ids, _dir: dir }
}

impl World {
    async fn webhook(&self, n: u8, products: &[ProductId], extra: Value) -> Integration {
        let mut config =
            json!({"integration_type": "Webhook", "event": "e", "name": "n", "url": "https://example.com"});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let member = |(place, product): (usize, &ProductId)| {
            let mut id = [n; 12];
            id[..2].copy_from_slice(&u16::try_from(place).unwrap().to_be_bytes());
            Member { id: MemberId(id), product: *product }
        };
        let new = Integration {
            id: IntegrationId([n; 12]),
            owner: OWNER,
            config: config.as_object().unwrap().clone(),
            members: products.iter().enumerate().map(member).collect(),
            overrides: Default::default(),
            created_at: NOW,
            updated_at: NOW,
        };
        self.store.create_integration(&new, BY).await.unwrap().unwrap();
        new
    }

    async fn routes(&self) -> Routes {
        Routes::load(self.store.clone(), Settings::default()).await.unwrap()
    }

    async fn edit(&self, old: &Integration, field: &str, value: &str) -> Integration {
        let mut config = old.config.clone();
        config.insert(field.to_owned(), value.into());
        let written = self.store.replace_integration(OWNER, Seen::of(old), &config, None, None, BY).await;
        written.unwrap().unwrap()
    }

    fn keys(&self) -> Vec<RouteKey> {
        self.products.iter().copied().map(RouteKey::Product).collect()
    }
}

fn event(product: ProductId) -> Event {
    Event {
        id: EventId([0; 16]),
        product: Some(product),
        user: None,
        coreid: "api".into(),
        name: "e".into(),
        data: None,
        ttl: 60,
        published_at: NOW,
        version: None,
    }
}

async fn find(routes: &Routes, counted: Counted, event: &Event) -> Option<Arc<Route>> {
    match routes.find(counted, event) {
        Some(entry) => routes.route_of(&entry).await.unwrap(),
        None => None,
    }
}

async fn matching(routes: &Routes, product: ProductId) -> Vec<Arc<Route>> {
    let mut found = Vec::new();
    let mut entries = Vec::new();
    routes.matching(&event(product), &mut entries);
    for entry in entries {
        found.extend(routes.route_of(&entry).await.unwrap());
    }
    found
}

#[tokio::test]
async fn an_integration_of_100_products_is_compiled_once_and_when_it_first_fires() {
    let w = world(100).await;
    w.webhook(1, &w.products, json!({})).await;
    let routes = w.routes().await;
    assert_eq!(routes.compilations(), 0, "nothing is compiled at the start");
    let first = matching(&routes, w.products[0]).await.remove(0);
    for product in &w.products {
        let again = matching(&routes, *product).await.remove(0);
        assert!(Arc::ptr_eq(&first.compiled, &again.compiled));
        assert_eq!(again.counted.product, Some(*product));
    }
    assert_eq!(routes.compilations(), 1);
}

#[tokio::test]
async fn an_edit_leaves_the_neighbours_as_they_are() {
    let w = world(3).await;
    let shared = w.webhook(1, &w.products, json!({})).await;
    let own = w.webhook(2, &w.products[..1], json!({})).await;
    let routes = w.routes().await;
    let of = async |id: IntegrationId, product: usize| {
        let found = matching(&routes, w.products[product]).await;
        found.into_iter().find(|route| route.counted.integration == id).unwrap()
    };
    let (before, other) = (of(shared.id, 0).await, of(own.id, 0).await);
    assert_eq!(routes.compilations(), 2);
    w.edit(&own, "url", "https://example.org").await;
    routes.refresh(&w.keys()[..1]).await.unwrap();
    assert!(Arc::ptr_eq(&before, &of(shared.id, 0).await), "the neighbour's route is the same one");
    assert!(Arc::ptr_eq(&before.compiled, &of(shared.id, 1).await.compiled));
    assert!(!Arc::ptr_eq(&other.compiled, &of(own.id, 0).await.compiled));
    assert_eq!(routes.compilations(), 3, "the one that was edited");
    let now = w.edit(&shared, "name", "other").await;
    assert!(now.updated_at > shared.updated_at);
    routes.refresh(&w.keys()).await.unwrap();
    assert!(!Arc::ptr_eq(&before.compiled, &of(shared.id, 2).await.compiled));
    assert!(Arc::ptr_eq(&of(shared.id, 0).await.compiled, &of(shared.id, 2).await.compiled));
    assert_eq!(routes.compilations(), 4);
}

#[tokio::test]
async fn another_value_of_a_secret_is_used_by_the_next_event_and_compiles_nothing() {
    let w = world(2).await;
    w.webhook(1, &w.products, json!({"headers": {"X": "{{{KEY}}}"}})).await;
    let put = async |name: &str, value: &str| {
        w.store.write_secret(OWNER, name, value, SecretWrite::Put, BY).await.unwrap();
    };
    put("KEY", "one").await;
    put("OTHER", "not used").await;
    let routes = w.routes().await;
    let before = matching(&routes, w.products[0]).await.remove(0);
    let value = |route: &Route| route.compiled.secrets.0.get("KEY").cloned();
    assert_eq!(value(&before).as_deref(), Some("one"));
    assert_eq!(before.compiled.secrets.0.len(), 1, "only what its templates use is kept");
    put("KEY", "two").await;
    routes.secrets_changed(OWNER);
    let after = matching(&routes, w.products[0]).await.remove(0);
    let other = matching(&routes, w.products[1]).await.remove(0);
    assert_eq!(value(&after).as_deref(), Some("two"));
    assert!(after.compiled.sensitive.contains(&"two".to_owned()));
    assert!(Arc::ptr_eq(&before.compiled.target, &after.compiled.target), "its connections stay");
    assert!(Arc::ptr_eq(&after.compiled, &other.compiled));
    assert_eq!(routes.compilations(), 1);
}

#[tokio::test]
async fn a_member_has_its_own_parameters_also_when_it_was_merged_in() {
    let w = world(2).await;
    let parameters = json!({"parameters": {"PLACE": "here"}});
    let into = w.webhook(1, &w.products[..1], parameters.clone()).await;
    let from = w.webhook(2, &w.products[1..], parameters).await;
    let own: tributary_domain::parameters::Parameters =
        [("PLACE".to_owned(), "there".to_owned())].into_iter().collect();
    let from = w
        .store
        .override_parameters(OWNER, Seen::of(&from), from.members[0], &own, BY)
        .await
        .unwrap()
        .unwrap();
    let routes = w.routes().await;
    let place = async |n: usize| {
        let route = matching(&routes, w.products[n]).await.remove(0);
        (route.counted.integration, route.compiled.parameters["PLACE"].clone())
    };
    assert_eq!(place(0).await, (into.id, "here".to_owned()));
    assert_eq!(place(1).await, (from.id, "there".to_owned()));
    w.store.merge(OWNER, Seen::of(&into), &[Seen::of(&from)], BY).await.unwrap().unwrap();
    routes.refresh(&w.keys()).await.unwrap();
    assert_eq!(place(0).await, (into.id, "here".to_owned()));
    assert_eq!(place(1).await, (into.id, "there".to_owned()));
}

#[tokio::test]
async fn what_was_not_used_for_longest_is_given_up_over_the_budget_and_compiled_again() {
    let w = world(1).await;
    let text = "x".repeat(100_000);
    for n in 1..=20 {
        w.webhook(n, &w.products, json!({"event": format!("e{n}/"), "body": text})).await;
    }
    let sources = Sources::new(w.store.clone(), Settings::default()).with_budget(4_000_000);
    let routes = Routes::load_with(w.store.clone(), Settings::default(), sources).await.unwrap();
    let fire = async |n: u8| {
        let mut found = Vec::new();
        let event = Event { name: format!("e{n}/").into(), ..event(w.products[0]) };
        routes.matching(&event, &mut found);
        assert_eq!(found.len(), 1);
        routes.route_of(&found.remove(0)).await.unwrap().unwrap()
    };
    let held = fire(2).await;
    for n in 1..=20 {
        fire(n).await;
        fire(1).await;
    }
    assert_eq!(routes.compilations(), 20, "the one that is used all the time was never given up");
    assert!(Arc::strong_count(&held) <= 2, "what is still on its way stays");
    fire(3).await;
    assert_eq!(routes.compilations(), 21, "one that was not used is compiled again");
}

#[tokio::test]
async fn what_cannot_be_compiled_fires_nothing_and_its_neighbours_do() {
    let w = world(1).await;
    w.webhook(1, &w.products, json!({"integration_type": "Gone"})).await;
    let good = w.webhook(2, &w.products, json!({})).await;
    let routes = w.routes().await;
    for _ in 0..3 {
        let found = matching(&routes, w.products[0]).await;
        assert_eq!(found.iter().map(|route| route.counted.integration).collect::<Vec<_>>(), [good.id]);
    }
    assert_eq!(routes.compilations(), 2, "it is tried once");
}

#[tokio::test]
async fn what_waited_is_found_until_its_integration_is_gone() {
    let w = world(1).await;
    let made = w.webhook(1, &w.products, json!({"disabled": true})).await;
    let routes = w.routes().await;
    let counted =
        Counted { integration: made.id, member: Some(made.members[0].id), product: Some(w.products[0]) };
    assert!(matching(&routes, w.products[0]).await.is_empty());
    assert_eq!(routes.compilations(), 0, "a disabled one fires nothing");
    let found = find(&routes, counted, &event(w.products[0])).await;
    assert!(found.is_some_and(|route| route.disabled));
    w.store.delete_integration(OWNER, made.id, BY).await.unwrap().unwrap();
    assert!(routes.find(counted, &event(w.products[0])).is_some());
    routes.refresh(&w.keys()).await.unwrap();
    assert!(routes.find(counted, &event(w.products[0])).is_none());
}

#[tokio::test]
async fn limits_of_an_integration_hold_before_it_first_fires() {
    let w = world(1).await;
    let retry = json!({"retry": {"delays": ["45m"]}, "concurrency": "3"});
    w.webhook(1, &w.products, retry).await;
    let routes = w.routes().await;
    assert_eq!(routes.longest_wait_ms(), 45 * 60_000);
    let route = matching(&routes, w.products[0]).await.remove(0);
    assert!(route.compiled.pacer.is_some());
    assert_eq!(route.compiled.retry_delays_ms.as_deref(), Some(&[45 * 60_000][..]));
}

#[tokio::test]
async fn a_store_that_another_key_sealed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = Store::open(&path, Vault::new(&[7; 32])).await.unwrap();
    store.write_secret(OWNER, "KEY", "value", SecretWrite::Put, BY).await.unwrap();
    store.close().await;
    assert!(Store::open(&path, Vault::new(&[8; 32])).await.is_err(), "before anything is compiled");
}
