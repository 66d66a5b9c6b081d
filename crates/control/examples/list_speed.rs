//! How long a page of an organization's integrations takes, with today's traffic summed over the products: 500 integrations
//! on each of 200 products, with one day of history and with thirty.
//!
//! usage: list_speed FOLDER [PAGES=400]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use serde_json::json;
use tributary_control::{
    Control, accounts_settings::AccountSettings, listing::ListParams, place::PlaceKey, testing,
};
use tributary_domain::{
    IntegrationId, MemberId, OrgId, Owner, ProductId, Timestamp, UserId,
    access::Actor,
    account::{Org, Plan},
    integration::{Integration, Member},
    outcome::Outcome,
    time::DAY_MS,
};
use tributary_store::{
    Store, Vault,
    audit::By,
    delivery::{Batch, Counted, Ended},
    products::NewProduct,
    vault::KEY_BYTES,
};

const PRODUCTS: usize = 200;
const INTEGRATIONS: u32 = 500;
/// 2024-01-31T12:00:00Z.
const NOW: Timestamp = Timestamp(1_706_702_400_000);
const USER: UserId = UserId([1; 12]);
const ORG: OrgId = OrgId([2; 12]);
/// The lists that are read, by their parameters.
const LISTS: [(&str, &[(&str, &str)]); 5] = [
    ("25 rows, oldest first", &[("limit", "25")]),
    ("100 rows, oldest first", &[("limit", "100")]),
    ("100 rows by name", &[("limit", "100"), ("order", "name")]),
    ("100 rows, most successes first", &[("limit", "100"), ("order", "-success")]),
    ("100 rows that a search finds", &[("limit", "100"), ("search", "example.com/4")]),
];

fn now() -> Timestamp {
    NOW
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, rest @ ..] = &args[..] else {
        eprintln!("usage: list_speed FOLDER [PAGES=400]");
        return ExitCode::from(2);
    };
    let pages: usize = rest.first().map_or(400, |pages| pages.parse().expect("PAGES is a number"));
    println!("| list | days of history | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|");
    for days in [1, 30] {
        let folder = Path::new(folder).join(format!("list_speed-{days}"));
        std::fs::create_dir_all(&folder).unwrap();
        fill(&folder, days).await;
        let control = testing::open(&folder, AccountSettings::default(), now).await.unwrap();
        for (name, params) in LISTS {
            measure(&control, name, params, days, pages).await;
        }
    }
    ExitCode::SUCCESS
}

fn id(kind: u8, first: u32, second: usize) -> [u8; 12] {
    let mut id = [0; 12];
    id[0] = kind;
    id[1..5].copy_from_slice(&first.to_be_bytes());
    id[8..].copy_from_slice(&u32::try_from(second).unwrap().to_be_bytes());
    id
}

/// Makes the organization, and counts on each day one outcome for each product of each integration.
async fn fill(folder: &Path, days: i64) {
    let store = Store::open(&folder.join("tributary.db"), Vault::new(&[7; KEY_BYTES])).await.unwrap();
    let by = By { user: USER, at: NOW };
    store.create_user(USER, "ada@example.com", "hash", NOW, false).await.unwrap();
    let org = Org { id: ORG, slug: String::new(), name: "Acme".into(), plan: Plan::Enterprise };
    store.create_org(org, &["acme".to_owned()], by).await.unwrap();
    let mut products: Vec<ProductId> = Vec::new();
    for n in 0..PRODUCTS {
        let name = format!("product-{n}");
        let new = NewProduct {
            owner: Owner::Org(ORG),
            name: name.clone(),
            description: String::new(),
            platform_id: 6,
        };
        products.push(store.create_product(&new, &[name], by).await.unwrap().id);
    }
    let integrations: Vec<Integration> = (0..INTEGRATIONS).map(|n| integration(n, &products)).collect();
    for integration in &integrations {
        store.create_integration(integration, by).await.unwrap().unwrap();
    }
    for day in 0..days {
        let at = NOW.plus_ms(-day * DAY_MS);
        let count = |(n, one): (usize, Counted)| {
            let outcome = if n % 7 == 0 { Outcome::Error } else { Outcome::Success };
            Ended { pending: None, counted: one, outcome, at }
        };
        let all = integrations.iter().flat_map(counted).enumerate().map(count).collect();
        store.commit_batch(&Batch { ended: all, ..Batch::default() }).await.unwrap();
    }
    store.close().await;
}

fn integration(n: u32, products: &[ProductId]) -> Integration {
    let member =
        |(at, product): (usize, &ProductId)| Member { id: MemberId(id(4, n, at)), product: *product };
    let config = json!({
        "integration_type": "Webhook", "event": format!("event/{n}"), "name": format!("integration {n}"),
        "url": format!("https://example.com/{n}"), "requestType": "POST", "headers": {"X-Api-Key": "hush"},
        "json": {"value": "{{PARTICLE_EVENT_VALUE}}", "device": "{{PARTICLE_DEVICE_ID}}"},
    });
    Integration {
        id: IntegrationId(id(3, n, 0)),
        owner: Owner::Org(ORG),
        config: config.as_object().unwrap().clone(),
        members: products.iter().enumerate().map(member).collect(),
        overrides: Default::default(),
        created_at: NOW.plus_ms(i64::from(n) - DAY_MS),
        updated_at: NOW.plus_ms(i64::from(n) - DAY_MS),
    }
}

fn counted(integration: &Integration) -> impl Iterator<Item = Counted> {
    let one = |member: &Member| Counted {
        integration: integration.id,
        member: Some(member.id),
        product: Some(member.product),
    };
    integration.members.iter().map(one)
}

/// Reads so many pages of a list, from its beginning again and again, as the use-case of the API does.
async fn measure(control: &Control, name: &str, params: &[(&str, &str)], days: i64, pages: usize) {
    let actor = Actor { user: USER, username: "ada@example.com".into(), scopes: None };
    let params: Vec<(String, String)> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut cursor: Option<String> = None;
    let mut took: Vec<Duration> = Vec::with_capacity(pages);
    for _ in 0..pages {
        let mut params = params.clone();
        params.extend(cursor.take().map(|cursor| ("cursor".to_owned(), cursor)));
        let params = ListParams::of(params);
        let start = Instant::now();
        let page = control.list_integrations_page(&actor, PlaceKey::Org("acme"), &params).await.unwrap();
        took.push(start.elapsed());
        let sum: i64 = page.views.iter().map(|view| view.today.success + view.today.error).sum();
        assert_eq!(
            sum,
            i64::try_from(page.views.len() * PRODUCTS).unwrap(),
            "today's traffic of all products"
        );
        cursor = page.next;
    }
    took.sort_unstable();
    let ms = |at: usize| took[at.min(pages - 1)].as_secs_f64() * 1_000.0;
    println!(
        "| {name} | {days} | {:.1} | {:.1} | {:.1} |",
        ms(pages / 2),
        ms(pages * 99 / 100),
        ms(pages - 1)
    );
}
