//! Two editors of one integration: what the page was made of, what others have done since, and bringing both together.

use serde_json::{Map, Value};
use tributary_control::{expecting::Expected, integrations::View, newest::Newest, place::Place};
use tributary_domain::{ProductId, Timestamp};

use super::{
    draft::{Draft, Tab},
    edit::Sent,
    shown,
};
use crate::{Console, error::PageError, form::Fields, format::Moment, here::Here};

/// What was read of an integration when its editor was opened, as hidden fields carry it.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    /// The number of its version.
    pub(super) version: String,
    /// When it was last changed, in milliseconds.
    pub(super) at: String,
    /// Its products, with blanks between.
    pub(super) products: String,
}

const VERSION: &str = "read_version";
const AT: &str = "read_at";
const PRODUCTS: &str = "read_products";

impl Read {
    pub(super) fn of(view: &View) -> Read {
        let products = view.integration.members.iter().map(|member| member.product.to_string());
        Read {
            version: view.version.unwrap_or_default().to_string(),
            at: view.integration.updated_at.0.to_string(),
            products: products.collect::<Vec<_>>().join(" "),
        }
    }

    pub(super) fn sent(fields: &Fields) -> Read {
        let text = |name| fields.text(name).to_owned();
        Read { version: text(VERSION), at: text(AT), products: text(PRODUCTS) }
    }

    fn store(&self, fields: &mut Fields) {
        for (name, value) in [(VERSION, &self.version), (AT, &self.at), (PRODUCTS, &self.products)] {
            fields.0.retain(|(given, _)| given != name);
            fields.0.push((name.to_owned(), value.clone()));
        }
    }

    /// What a save compares. A form that carries nothing of it, as of a program, is not compared.
    pub(super) fn expected(&self) -> Expected {
        let ids = self.products.split_whitespace().filter_map(|id| id.parse().ok());
        let products = (!self.products.is_empty()).then(|| ids.map(ProductId).collect());
        Expected { version: None, updated_at: self.at.parse().ok().map(Timestamp), products }
    }
}

/// What others have done to an integration since it was read.
pub(super) struct Newer {
    /// Version, who and what, when, and the fields.
    pub(super) versions: Vec<(i64, String, Moment, String)>,
    /// Whether its products are others now.
    pub(super) products: bool,
}

impl Newer {
    pub(super) async fn since(console: &Console, here: &Here, fields: &Fields) -> Result<Newer, PageError> {
        let (actor, read) = (&here.session.actor, Read::sent(fields));
        let newest = Newest { before: None, limit: None };
        let found = console.list_versions(actor, here.key(), &here.id, &newest).await?;
        let seen: i64 = read.version.parse().unwrap_or(i64::MAX);
        let row = |row: &tributary_control::versions::VersionRow| {
            let who = row.by.as_ref().and_then(|who| who.username.clone());
            let changed: Vec<String> = row.changes.iter().map(|change| change.field.clone()).collect();
            let who = who.unwrap_or_else(|| "somebody".to_owned());
            (row.version, who, Moment::new(row.at, here.page.now), changed.join(", "))
        };
        let versions = found.rows.iter().filter(|row| row.version > seen).map(row).collect();
        let view = console.get_integration(actor, here.key(), &here.id).await?;
        Ok(Newer { versions, products: Read::of(&view).products != read.products })
    }
}

/// What was sent, made ready to be saved over the present version: with everything that only others changed taken over where
/// `merges`, else as it is. The fields carry what is read now.
pub(super) async fn brought_up(
    console: &Console,
    here: &Here,
    fields: &mut Fields,
    mut sent: Sent,
    merges: bool,
) -> Result<Sent, PageError> {
    let actor = &here.session.actor;
    let view = console.get_integration(actor, here.key(), &here.id).await?;
    let before = Read::sent(fields);
    if merges && sent.errors.is_empty() {
        let base = console.get_version(actor, here.key(), &here.id, &before.version).await?.1;
        let mut config = sent.body.clone();
        config.remove("product_ids");
        let config = merged(&base, config, &view.integration.config);
        sent.text = shown::text_of(&Value::Object(config.clone()));
        if sent.tab == Tab::Builder {
            sent.draft = Draft::of(&config);
        }
        if matches!(here.place, Place::Org(_)) {
            let now = Read::of(&view).products;
            let base: Vec<&str> = before.products.split_whitespace().collect();
            let mine: Vec<String> = fields.all("products").map(str::to_owned).collect();
            let kept =
                now.split_whitespace().filter(|id| mine.iter().any(|own| own == id) || !base.contains(id));
            let added = mine.iter().map(String::as_str).filter(|id| !base.contains(id));
            let mut all: Vec<String> = kept.chain(added).map(str::to_owned).collect();
            all.sort_unstable();
            all.dedup();
            fields.0.retain(|(name, _)| name != "products");
            fields.0.extend(all.into_iter().map(|id| ("products".to_owned(), id)));
        }
    }
    Read::of(&view).store(fields);
    Ok(sent)
}

/// My fields where I changed them, theirs elsewhere.
fn merged(
    base: &Map<String, Value>,
    mine: Map<String, Value>,
    theirs: &Map<String, Value>,
) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, value) in theirs {
        match mine.get(name) {
            Some(own) if Some(own) != base.get(name) => all.insert(name.clone(), own.clone()),
            None if base.contains_key(name) => None,
            _ => all.insert(name.clone(), value.clone()),
        };
    }
    for (name, value) in mine {
        if !theirs.contains_key(&name) && base.get(&name) != Some(&value) {
            all.insert(name, value);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn each_side_keeps_what_it_changed_added_and_took_away() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let base = object(json!({"name": "a", "event": "e", "url": "u", "gone": 1, "taken": 2}));
        let mine = object(json!({"name": "a", "event": "mine", "url": "mine", "gone": 1, "new": 1}));
        let theirs = object(json!({"name": "theirs", "event": "e", "url": "theirs", "taken": 2, "more": 3}));
        assert_eq!(
            merged(&base, mine, &theirs),
            object(json!({"name": "theirs", "event": "mine", "url": "mine", "more": 3, "new": 1}))
        );
    }
}
