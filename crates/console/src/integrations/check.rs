//! What the editor shows while somebody types: what is wrong beside its field, what a save would change, and the requests
//! that would be sent.

use askama::Template;
use axum::{
    extract::{RawPathParams, State},
    http::HeaderMap,
    response::Html,
};
use serde_json::{Map, Value, json};
use tributary_control::{
    Error,
    place::Place,
    preview::{EventPreview, Preview, Sent},
};

use super::{
    edit::{Wrong, places, read},
    logs::request_text,
    shown,
};
use crate::{
    Console,
    error::{PageError, sentence},
    form::{Fields, Signed},
    here::Here,
    page::render,
};

/// Recent events of each product that a preview looks at.
const LAST: u64 = 10;
/// Requests that are shown for each product.
const SHOWN: usize = 2;

/// One request of the preview.
struct Request {
    event: String,
    device: String,
    text: String,
    wrong: String,
    changed: String,
}

/// What would be sent on one product.
struct OnProduct {
    name: String,
    said: String,
    requests: Vec<Request>,
}

#[derive(Template)]
#[template(path = "integrations/check.html")]
struct Check {
    wrong: Wrong,
    places: Vec<&'static str>,
    /// Why there is no preview.
    none: String,
    products: Vec<OnProduct>,
    warnings: Vec<String>,
    /// Of an integration that exists: the fields that a save changes.
    changed: Option<Vec<String>>,
    /// Whether the form separates, so that a save without a change is off.
    separates: bool,
    exists: bool,
    /// Whether a save was refused before.
    again: bool,
    cancel: String,
}

/// Checks the editor's form without storing anything.
pub(crate) async fn check(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    Signed { session, fields }: Signed,
) -> Result<Html<String>, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let sent = read(&fields, matches!(here.place, Place::Org(_)));
    let kind = sent.draft.text("integration_type").to_owned();
    let id = fields.text("id");
    let base = format!("{}/integrations", here.base());
    let mut check = Check {
        wrong: Wrong::new(&sent.errors, sent.tab, &kind),
        places: places(sent.tab, &kind, &here.place),
        none: String::new(),
        products: Vec::new(),
        warnings: Vec::new(),
        changed: None,
        separates: fields.text("mode") == "separate",
        exists: !id.is_empty(),
        again: fields.has("again"),
        cancel: if id.is_empty() { format!("{base}/new") } else { format!("{base}/{id}") },
    };
    if !sent.errors.is_empty() {
        check.none = "The requests appear here once what is marked is put right.".to_owned();
        return render(&check);
    }
    let (actor, key) = (&here.session.actor, here.key());
    if !id.is_empty() {
        match console.changed_fields(actor, key, id, sent.body.clone()).await {
            Ok(changed) => check.changed = Some(changed),
            Err(Error::Invalid { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut request = Map::new();
    request.insert("integration".to_owned(), Value::Object(sent.body));
    if !id.is_empty() {
        request.insert("id".to_owned(), id.into());
    }
    let sample = fields.text("preview_of") == "sample";
    if sample {
        request = with_sample(request, &fields);
    } else {
        request.insert("last".to_owned(), LAST.into());
    }
    match console.preview_integration(actor, key, request.clone()).await {
        Ok(preview) => {
            let none_came = !sample && preview.products.iter().all(|product| product.looked_at == 0);
            let shown = match none_came {
                true => console.preview_integration(actor, key, with_sample(request, &fields)).await?,
                false => preview,
            };
            check.show(&shown, sample || none_came);
            if none_came {
                check.warnings.clear();
                check.none = "No event came yet, so this is for the sample event.".to_owned();
            }
        }
        Err(Error::Invalid { errors, .. }) => {
            // What nobody has filled in yet is not wrong while it is typed; a save says it, and then it stays said.
            let missing = |message: &str| {
                message.starts_with("is required") || message.starts_with("list the products")
            };
            let (missing, wrong): (Vec<_>, Vec<_>) =
                errors.into_iter().partition(|error| missing(&error.message));
            let said: Vec<_> =
                wrong.into_iter().chain(missing.iter().filter(|_| check.again).cloned()).collect();
            check.wrong = Wrong::new(&said, sent.tab, &kind);
            check.none = match missing.is_empty() {
                true => "The requests appear here once what is marked is put right.".to_owned(),
                false => {
                    let names = missing.iter().map(|error| shown::words_of(&error.field)).collect::<Vec<_>>();
                    format!("The requests appear here once these are filled in: {}.", names.join(", "))
                }
            };
        }
        Err(error @ (Error::Forbidden(_) | Error::PlanRequired(_) | Error::Refused { .. })) => {
            check.none = sentence(&error.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    render(&check)
}

/// The request with the sample event of the form in place of those that came. One without a name is named as the integration's.
fn with_sample(mut request: Map<String, Value>, fields: &Fields) -> Map<String, Value> {
    let name = [fields.text("sample_event"), fields.text("event")].into_iter().find(|name| !name.is_empty());
    request.remove("last");
    let sample = json!({"name": name, "data": fields.text("sample_data")});
    request.insert("events".to_owned(), json!([sample]));
    request
}

impl Check {
    fn show(&mut self, preview: &Preview, sample: bool) {
        self.warnings = preview.warnings.iter().map(|warning| warning.message.clone()).collect();
        self.products = preview
            .products
            .iter()
            .map(|product| OnProduct {
                name: product.named.1.clone(),
                said: match (product.looked_at, product.matched) {
                    (_, 0) if sample => "The sample's name does not begin with the event.".to_owned(),
                    (_, _) if sample => "Sent for the sample event.".to_owned(),
                    (0, _) => "No event came yet. Choose a sample event above to see one.".to_owned(),
                    (all, 0) => format!("None of the last {all} events begins with this name."),
                    (all, matched) => format!("Sent for {matched} of the last {all} events."),
                },
                requests: product.events.iter().rev().take(SHOWN).map(request_of).collect(),
            })
            .collect();
    }
}

fn request_of(preview: &EventPreview) -> Request {
    let event = &preview.event;
    let (text, wrong) = match &preview.sent {
        Some(Ok(request)) => (request_text(request), String::new()),
        Some(Err(why)) => (String::new(), sentence(why)),
        None => (String::new(), "No longer sent for this event.".to_owned()),
    };
    let before = preview.before.as_ref();
    let changed = match before {
        Some(None) if matches!(preview.sent, Some(Sent::Ok(_))) => {
            "new: the present version does not send it".to_owned()
        }
        Some(_) if !preview.changed.is_empty() => {
            format!("differs from the present version in {}", preview.changed.join(", "))
        }
        _ => String::new(),
    };
    Request { event: event.name.to_string(), device: event.coreid.to_string(), text, wrong, changed }
}
