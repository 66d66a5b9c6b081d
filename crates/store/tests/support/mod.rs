//! A store in a directory of its own, with an organization of three products.
#![allow(clippy::unwrap_used, dead_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tributary_domain::{
    IntegrationId, MemberId, OrgId, Owner, ProductId, Timestamp, UserId,
    account::{Org, Plan},
    integration::{Config, Integration, Member},
    outcome::Outcome,
};
use tributary_store::{
    Store, Vault,
    audit::By,
    delivery::{Batch, Counted, Ended, LogRow, PendingRow},
    history::Counts,
    products::NewProduct,
    vault::KEY_BYTES,
};

/// 2024-01-01T12:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_704_110_400_000);
pub(crate) const USER: UserId = UserId([1; 12]);
pub(crate) const ORG: OrgId = OrgId([2; 12]);
pub(crate) const OWNER: Owner = Owner::Org(ORG);

static NEXT: AtomicU32 = AtomicU32::new(10);

/// An id that no other in this process has.
pub(crate) fn fresh() -> [u8; 12] {
    let mut id = [0; 12];
    id[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) products: [ProductId; 3],
    pub(crate) dir: TempDir,
}

pub(crate) fn by(at: Timestamp) -> By {
    By { user: USER, at }
}

pub(crate) async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store.db"), Vault::new(&[7; KEY_BYTES])).await.unwrap();
    store.create_user(USER, "ada@example.com", "hash", NOW, false).await.unwrap();
    let org = Org { id: ORG, slug: String::new(), name: "Acme".into(), plan: Plan::Basic };
    store.create_org(org, &["acme".to_owned()], by(NOW)).await.unwrap();
    let mut products = [ProductId(0); 3];
    for (n, id) in products.iter_mut().enumerate() {
        *id = product(&store, OWNER, &format!("product-{n}")).await;
    }
    World { store, products, dir }
}

pub(crate) async fn product(store: &Store, owner: Owner, name: &str) -> ProductId {
    let new = NewProduct { owner, name: name.to_owned(), description: String::new(), platform_id: 13 };
    store.create_product(&new, &[name.to_owned()], by(NOW)).await.unwrap().id
}

pub(crate) fn config(value: &Value) -> Config {
    value.as_object().unwrap().clone()
}

/// A webhook on these products, not stored yet.
pub(crate) fn webhook(owner: Owner, products: &[ProductId]) -> Integration {
    let config = config(&json!({
        "integration_type": "Webhook", "event": "e", "name": "n", "url": "https://example.com",
        "headers": {"Authorization": "hush"},
    }));
    let member = |product: &ProductId| Member { id: MemberId(fresh()), product: *product };
    let members = products.iter().map(member).collect();
    let (id, overrides) = (IntegrationId(fresh()), Default::default());
    Integration { id, owner, config, members, overrides, created_at: NOW, updated_at: NOW }
}

impl World {
    pub(crate) async fn shared(&self, products: &[ProductId]) -> Integration {
        let new = webhook(OWNER, products);
        self.store.create_integration(&new, by(NOW)).await.unwrap().unwrap();
        new
    }

    /// Counts one outcome of a member now, with a log row.
    pub(crate) async fn count(&self, integration: &Integration, member: Member, outcome: Outcome) {
        let counted = counted(integration, member);
        let ended = Ended { pending: None, counted, outcome, at: NOW };
        let entry = json!({"v": 1, "entry": {"outcome": outcome, "product_id": member.product}}).to_string();
        let log = LogRow { counted, success: outcome == Outcome::Success, at: NOW, entry };
        let batch = Batch { ended: vec![ended], logs: vec![log], ..Batch::default() };
        self.store.commit_batch(&batch).await.unwrap();
    }

    /// Leaves a delivery of a member waiting.
    pub(crate) async fn wait(&self, id: i64, integration: &Integration, member: Member) {
        let counted = counted(integration, member);
        let row = PendingRow { id, lane: "lane".into(), due_at: NOW, counted, attempt: 2, event: [1].into() };
        self.store.commit_batch(&Batch { pending: vec![row], ..Batch::default() }).await.unwrap();
    }

    pub(crate) async fn waiting(&self) -> Vec<Counted> {
        let rows = self.store.pending_of_lane("lane", None, 100).await.unwrap();
        rows.into_iter().map(|row| row.counted).collect()
    }

    pub(crate) async fn total(&self, id: IntegrationId) -> Counts {
        let today = NOW.day();
        sum(self.store.history_of_integration(OWNER, id, [today, today]).await.unwrap())
    }

    pub(crate) async fn total_of_member(&self, id: MemberId) -> Counts {
        let today = NOW.day();
        sum(self.store.history_of_member(OWNER, id, [today, today]).await.unwrap())
    }

    /// What was done to integrations and secrets, newest first.
    pub(crate) async fn actions(&self) -> Vec<String> {
        let rows = self.store.audit_of(OWNER, 100).await.unwrap();
        let ours = |action: &String| action.starts_with("integration.") || action.starts_with("secret.");
        rows.into_iter().map(|row| row.action).filter(ours).collect()
    }
}

pub(crate) fn counted(integration: &Integration, member: Member) -> Counted {
    Counted { integration: integration.id, member: Some(member.id), product: Some(member.product) }
}

fn sum(rows: Vec<tributary_store::history::DayRow>) -> Counts {
    let mut total = Counts::default();
    for row in rows {
        total += row.counts;
    }
    total
}

pub(crate) fn counts(success: i64, error: i64, skipped: i64) -> Counts {
    Counts { success, error, skipped }
}
