//! An organization of four products with three integrations, all of which have counted, logged and left something waiting.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tributary_control::{
    Control, Settings, Sources,
    accounts_settings::{AccountSettings, Signup},
    team::{NewMember, TeamKey},
};
use tributary_domain::{
    IntegrationId, MemberId, OrgId, Owner, ProductId, Timestamp, UserId,
    access::Actor,
    account::{Org, Plan},
    integration::{Integration, Member},
    outcome::Outcome,
};
use tributary_pipeline::{EventLog, LogOptions, Pipeline, Routes};
use tributary_store::{
    Store, Vault,
    audit::By,
    delivery::{Batch, Counted, Ended, LogRow, PendingRow},
    products::NewProduct,
    vault::KEY_BYTES,
};
use tributary_targets::{AddressPolicy, Clients, net::ClientSettings};

use crate::files::{DATABASE, Files};

/// 2024-01-01T12:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_704_110_400_000);
pub(crate) const USER: UserId = UserId([1; 12]);
pub(crate) const OWNER: Owner = Owner::Org(OrgId([2; 12]));
const BY: By = By { user: USER, at: NOW };

/// What the use-cases are run on.
pub(crate) struct World {
    folder: std::path::PathBuf,
    pub(crate) products: [ProductId; 4],
    /// On the first three products.
    pub(crate) shared: String,
    /// The second product's id of it.
    pub(crate) member_of_two: String,
    /// Equal but for its name, on the first two products.
    pub(crate) twin: String,
    /// Equal but for its name, on the third product.
    pub(crate) alone: String,
    members: Vec<Counted>,
}

pub(crate) fn actor() -> Actor {
    Actor { user: USER, username: "ada@example.com".to_owned(), scopes: None }
}

pub(crate) fn body(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn webhook(name: &str) -> Map<String, Value> {
    body(json!({
        "integration_type": "Webhook", "event": "e", "name": name, "url": "https://example.com",
        "headers": {"Authorization": "hush"},
    }))
}

async fn open(folder: &Path) -> Store {
    Store::open(&folder.join(DATABASE), Vault::new(&[7; KEY_BYTES])).await.unwrap()
}

impl World {
    pub(crate) async fn prepare(folder: &Path) -> World {
        let store = open(folder).await;
        store.create_user(USER, "ada@example.com", "hash", NOW, false).await.unwrap();
        store.create_user(UserId([3; 12]), "bob@example.com", "hash", NOW, false).await.unwrap();
        let org = Org { id: OrgId([2; 12]), slug: String::new(), name: "Acme".into(), plan: Plan::Basic };
        store.create_org(org, &["acme".to_owned()], BY).await.unwrap();
        let mut products = [ProductId(0); 4];
        for (n, id) in products.iter_mut().enumerate() {
            let name = format!("product-{n}");
            let new =
                NewProduct { owner: OWNER, name: name.clone(), description: String::new(), platform_id: 13 };
            *id = store.create_product(&new, &[name], BY).await.unwrap().id;
        }
        let mut made = Vec::new();
        for (n, (name, on)) in
            [("shared", &products[..3]), ("twin", &products[..2]), ("alone", &products[2..3])]
                .iter()
                .enumerate()
        {
            made.push(integration(&store, u8::try_from(n).unwrap(), name, on).await);
        }
        let members = made.iter().flat_map(counted).collect();
        let mut world = World {
            folder: folder.to_owned(),
            products,
            shared: made[0].id.to_string(),
            member_of_two: made[0].members[1].id.to_string(),
            twin: made[1].id.to_string(),
            alone: made[2].id.to_string(),
            members: Vec::new(),
        };
        world.members = members;
        store.commit_batch(&world.first_batch()).await.unwrap();
        store.close().await;
        world
    }

    /// What is quicker made by the use-cases themselves: a secret, an API user, a second version of an integration,
    /// one with parameters, and a product of the sandbox with an integration.
    pub(crate) async fn prepare_further(&self, control: &Control) {
        let secret = body(json!({"secret": {"name": "UNUSED", "value": "value"}}));
        control.create_secret(&actor(), crate::ORG, secret).await.unwrap();
        let robot = body(json!({"friendly_name": "robot", "scopes": ["events:send"]}));
        control.add_to_team(&actor(), &team(), NewMember::read(robot).unwrap()).await.unwrap();
        control.replace_integration(&actor(), crate::ORG, &self.alone, webhook("lonely")).await.unwrap();
        let mut sited = webhook("sited");
        sited.insert("parameters".to_owned(), json!({"SITE": "eu"}));
        sited.insert("product_ids".to_owned(), json!([self.products[0]]));
        control.create_integration(&actor(), crate::ORG, sited).await.unwrap();
        let own = body(json!({"name": "Own"}));
        let own = tributary_control::products::NewProduct::read(own).unwrap();
        let own = control.create_sandbox_product(&actor(), own).await.unwrap();
        let place = tributary_control::place::PlaceKey::Product(&own.slug);
        control.create_integration(&actor(), place, webhook("of my own")).await.unwrap();
    }

    pub(crate) async fn store(&self) -> Store {
        open(&self.folder).await
    }

    /// One outcome with its log row, and one waiting delivery, for each member.
    fn first_batch(&self) -> Batch {
        let mut batch = Batch { cursor: Some((0, 12)), ..Batch::default() };
        for (id, counted) in (1..).zip(&self.members) {
            batch.ended.push(Ended { pending: None, counted: *counted, outcome: Outcome::Success, at: NOW });
            batch.logs.push(log_row(*counted));
            batch.pending.push(waiting(id, *counted));
        }
        batch
    }

    /// What a batch of the recorder may have in it: outcomes of waiting deliveries and of new ones, rows that wait again.
    pub(crate) fn batch(&self) -> Batch {
        let mut batch = Batch { cursor: Some((0, 20)), ..Batch::default() };
        for (id, counted) in (1..).zip(&self.members) {
            let pending = (id % 2 == 0).then_some(id);
            batch.ended.push(Ended { pending, counted: *counted, outcome: Outcome::Error, at: NOW });
            batch.logs.push(log_row(*counted));
            if pending.is_none() {
                batch.postponed.push(PendingRow { attempt: 3, ..waiting(id, *counted) });
                batch.pending.push(waiting(id + 100, *counted));
            }
        }
        batch
    }
}

async fn integration(store: &Store, n: u8, name: &str, on: &[ProductId]) -> Integration {
    let member =
        |(at, product): (u8, &ProductId)| Member { id: MemberId([10 * n + at + 1; 12]), product: *product };
    let members = (0..).zip(on).map(member).collect();
    let id = IntegrationId([100 + n; 12]);
    let new = Integration {
        id,
        owner: OWNER,
        config: webhook(name),
        members,
        overrides: Default::default(),
        created_at: NOW,
        updated_at: NOW,
    };
    store.create_integration(&new, BY).await.unwrap().unwrap();
    new
}

fn counted(integration: &Integration) -> Vec<Counted> {
    let of = |member: &Member| Counted {
        integration: integration.id,
        member: Some(member.id),
        product: Some(member.product),
    };
    integration.members.iter().map(of).collect()
}

fn log_row(counted: Counted) -> LogRow {
    let entry = json!({"v": 1, "entry": {"product_id": counted.product}}).to_string();
    LogRow { counted, success: true, at: NOW, entry }
}

fn waiting(id: i64, counted: Counted) -> PendingRow {
    PendingRow {
        id,
        lane: "lane".into(),
        due_at: NOW.plus_ms(30_000),
        counted,
        attempt: 2,
        event: [1].into(),
    }
}

/// The control plane on this folder. Its clock stands still, so that nothing that waits becomes due.
pub(crate) async fn control(folder: &Path) -> Control {
    let store = open(folder).await;
    let addresses = Arc::new(AddressPolicy::default());
    let targets = tributary_targets::Settings { addresses: addresses.clone(), ..Default::default() };
    let routes = Routes::load(store.clone(), targets.clone()).await.unwrap();
    let log = EventLog::open(&folder.join("events.db"), LogOptions::default()).unwrap();
    let clients = Clients::new(&ClientSettings {
        timeout: Duration::from_secs(1),
        addresses,
        ..ClientSettings::default()
    })
    .unwrap();
    let now = || NOW;
    let delivery = tributary_pipeline::Settings {
        retry_delays_ms: vec![30_000, 60_000],
        lane_concurrency: 1,
        total_concurrency: 1,
        redelivery: Default::default(),
        now,
    };
    let pipeline = Pipeline::start(store.clone(), log, routes.clone(), clients, delivery).await.unwrap();
    let accounts = AccountSettings { signup: Signup::Open, ..AccountSettings::default() };
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).unwrap();
    Control::new(
        store,
        routes,
        pipeline,
        Sources { now, random },
        Settings { accounts, targets, quotas: Default::default() },
    )
}

pub(crate) fn team() -> TeamKey {
    TeamKey::Org("acme".to_owned())
}

/// The name of the API user.
pub(crate) async fn robot(control: &Control) -> String {
    let members = control.list_team(&actor(), &team()).await.unwrap();
    members.into_iter().find(|member| member.role.is_none()).unwrap().username
}

/// Whether a server would start on these files and find its integrations.
pub(crate) async fn can_be_opened(files: &Files) -> bool {
    let folder = tempfile::tempdir().unwrap();
    files.write(folder.path());
    let control = control(folder.path()).await;
    control.list_integrations(&actor(), crate::ORG).await.is_ok_and(|all| !all.is_empty())
}
