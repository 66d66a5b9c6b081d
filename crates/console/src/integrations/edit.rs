//! Creating, editing and separating: one editor, whose text is never lost by a refused save.

use askama::Template;
use axum::{
    extract::{RawPathParams, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Map, Value};
use tributary_control::{Error, expecting::NOT_PRESENT, integrations::View, place::Place};
use tributary_domain::{FieldError, access::Action};

use super::{
    draft::{Draft, PEM_PARTS, Part, Tab, is_webhook, own_parts, read_object},
    meanwhile::{Newer, Read},
    shown,
};
use crate::{
    Console,
    error::{PageError, sentence},
    form::{Fields, Signed, go_to},
    here::Here,
    page::{Page, render},
};

/// What the editor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    New,
    Edit,
    Separate,
}

/// A product that can be ticked.
pub(super) struct Pick {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) on: bool,
}

/// What is wrong, by the field of the form beside which it is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wrong(pub(crate) Vec<(String, String)>);

/// The fields of the builder that have a place for what is wrong with them, in every kind.
const COMMON: [&str; 6] =
    ["name", "event", "responseTopic", "errorResponseTopic", "responseTemplate", "more"];
const OF_WEBHOOKS: [&str; 8] = ["url", "requestType", "json", "form", "body", "query", "headers", "auth"];

/// The fields of a kind's own that have such a place.
fn own_places(kind: &str) -> Vec<&'static str> {
    match is_webhook(kind) {
        true => OF_WEBHOOKS.to_vec(),
        // A box can only be ticked or not.
        false => {
            let can_be_wrong = |part: &Part| !matches!(part, Part::Switch | Part::Certificate);
            own_parts(kind)
                .iter()
                .filter(|(_, part)| can_be_wrong(part))
                .map(|(field, _)| field.name)
                .collect()
        }
    }
}

/// The places of a form.
pub(super) fn places(tab: Tab, kind: &str, place: &Place) -> Vec<&'static str> {
    let mut places: Vec<&str> = match tab {
        Tab::Json => vec!["config"],
        Tab::Builder => COMMON.into_iter().chain(own_places(kind)).collect(),
    };
    match place {
        Place::Org(_) => places.push("product_ids"),
        Place::Sandbox(_) if tab == Tab::Builder => places.push("deviceID"),
        _ => {}
    }
    places
}

impl Wrong {
    /// Sorts errors to the places of a form; what has no place of its own stands beside the text of all other fields.
    pub(crate) fn new(errors: &[FieldError], tab: Tab, kind: &str) -> Wrong {
        let own = own_places(kind);
        let place = |error: &FieldError| {
            let field = error.field.split(['.', '[']).next().unwrap_or_default();
            let is_known = field == "deviceID" || COMMON.contains(&field) || own.contains(&field);
            match (tab, field) {
                (_, "product_ids" | "config") => (field.to_owned(), sentence(&error.message)),
                (Tab::Json, _) => ("config".to_owned(), error.to_string()),
                _ if is_known && field == error.field => (field.to_owned(), sentence(&error.message)),
                _ if is_known => (field.to_owned(), error.to_string()),
                _ => ("more".to_owned(), error.to_string()),
            }
        };
        Wrong(errors.iter().map(place).collect())
    }

    /// The fields that are wrong: where each is on the page, and its label.
    pub(crate) fn to_mend(&self) -> Vec<(String, String)> {
        let mut fields: Vec<&str> = self.0.iter().map(|(place, _)| place.as_str()).collect();
        fields.dedup();
        let place = |field: &str| match field {
            "product_ids" => ("picks".to_owned(), "Products".to_owned()),
            "more" => ("f-more".to_owned(), "Everything else".to_owned()),
            "auth" => ("f-auth".to_owned(), "User name and password".to_owned()),
            "config" => ("f-config".to_owned(), "Configuration".to_owned()),
            "json" => ("f-json".to_owned(), "JSON".to_owned()),
            field => (format!("f-{field}"), shown::label_of(field)),
        };
        fields.into_iter().map(place).collect()
    }

    /// What is wrong with a field; empty when nothing is.
    pub(crate) fn of(&self, field: &str) -> String {
        let found = self.0.iter().filter(|(place, _)| place == field).map(|(_, text)| text.as_str());
        found.collect::<Vec<_>>().join(" ")
    }
}

#[derive(Template)]
#[template(path = "integrations/edit.html")]
struct Editor {
    page: Page,
    title: String,
    mode: Mode,
    /// Where the form is sent to.
    action: String,
    /// Where the form is checked while it is written.
    check: String,
    cancel: String,
    id: String,
    kind: String,
    draft: Draft,
    tab: Tab,
    config: String,
    picks: Vec<Pick>,
    is_org: bool,
    is_sandbox: bool,
    /// The products that a change reaches, where there are several.
    reaches: Vec<String>,
    wrong: Wrong,
    /// What a save was refused for besides fields.
    refused: String,
    /// Whether a save was refused, so that the check goes on to say what is missing.
    again: bool,
    /// What was read of the integration, and what others have done to it since.
    read: Read,
    newer: Option<Newer>,
    sample_event: String,
}

impl Editor {
    /// The areas of a certificate of one's own: field, label, and what stands in it.
    fn pem(&self, field: &str) -> Vec<(String, &'static str, &str)> {
        let area = |(part, label): &(&str, &'static str)| {
            let name = format!("{field}.{part}");
            (name.clone(), *label, self.draft.text(&name))
        };
        PEM_PARTS.iter().map(area).collect()
    }

    fn is_webhook(&self) -> bool {
        is_webhook(&self.kind)
    }

    /// The fields of a kind other than a webhook: name, label, help, and whether it is a text, an area or a box.
    fn own(&self) -> Vec<(&'static str, String, &'static str, &'static str)> {
        let look = |part| match part {
            Part::Text => Some("text"),
            Part::Structure | Part::Lines | Part::Long => Some("area"),
            Part::Pem => Some("pem"),
            Part::Switch => Some("box"),
            Part::Certificate => None,
        };
        let own = own_parts(&self.kind).into_iter();
        own.filter_map(|(field, part)| {
            Some((field.name, shown::label_of(field.name), field.help, look(part)?))
        })
        .collect()
    }

    /// Whether it checks the certificate of its destination, so that this can be switched off.
    fn checks_certificate(&self) -> bool {
        self.is_webhook() || own_parts(&self.kind).iter().any(|(_, part)| *part == Part::Certificate)
    }

    fn to_mend(&self) -> Vec<(String, String)> {
        self.wrong.to_mend()
    }

    /// Whether something is wrong with one of these fields, so that what hides them is open.
    fn is_wrong(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| !self.wrong.of(field).is_empty())
    }

    /// Lines that a field is high: what stands in it and one more.
    fn rows(&self, field: &str) -> usize {
        (self.draft.text(field).lines().count() + 1).clamp(3, 20)
    }
}

/// What a form sent: the body for a use-case, and what cannot be read of it.
pub(super) struct Sent {
    pub(super) tab: Tab,
    pub(super) draft: Draft,
    pub(super) text: String,
    pub(super) body: Map<String, Value>,
    pub(super) errors: Vec<FieldError>,
}

/// Reads the editor's form. In an organization the ticked products are part of the body.
pub(super) fn read(fields: &Fields, is_org: bool) -> Sent {
    let tab = if fields.text("tab") == "json" { Tab::Json } else { Tab::Builder };
    let (draft, text, mut body, errors) = match tab {
        Tab::Builder => {
            let draft = Draft::sent(fields);
            let (config, errors) = draft.config();
            let text = shown::text_of(&Value::Object(config.clone()));
            (draft, text, config, errors)
        }
        Tab::Json => {
            let text = fields.text("config").to_owned();
            match read_object(&text) {
                Ok(config) => (Draft::of(&config), text, config, Vec::new()),
                Err(why) => (Draft::default(), text, Map::new(), vec![FieldError::new("config", why)]),
            }
        }
    };
    if is_org {
        body.insert("product_ids".to_owned(), fields.all("products").map(Value::from).collect());
    }
    Sent { tab, draft, text, body, errors }
}

async fn picks(console: &Console, here: &Here, on: impl Fn(&str) -> bool) -> Result<Vec<Pick>, PageError> {
    let Place::Org(org) = &here.place else { return Ok(Vec::new()) };
    let products = console.list_org_products(&here.session.actor, &org.slug).await?;
    let pick = |product: tributary_domain::account::Product| {
        let id = product.id.to_string();
        Pick { on: on(&id), name: product.name, id }
    };
    Ok(products.into_iter().map(pick).collect())
}

impl Here {
    /// Where a form of the editor goes and where its back way leads.
    fn editor(&self, mode: Mode, name: &str) -> Editor {
        let base = format!("{}/integrations", self.base());
        let (action, title) = match mode {
            Mode::New => (base.clone(), "New integration".to_owned()),
            Mode::Edit => (format!("{base}/{}/edit", self.id), format!("Edit {name}")),
            Mode::Separate => {
                let product = self.product().map(|product| product.name.as_str()).unwrap_or_default();
                (format!("{base}/{}/separate", self.id), format!("Separate {name} for {product}"))
            }
        };
        let part = if self.product().is_some() { "Products" } else { "Integrations" };
        Editor {
            page: self.page.clone().titled(part, &title),
            title,
            mode,
            action,
            check: format!("{base}/check"),
            cancel: if mode == Mode::New { format!("{base}/new") } else { format!("{base}/{}", self.id) },
            id: if mode == Mode::New { String::new() } else { self.id.clone() },
            kind: "Webhook".to_owned(),
            draft: Draft::default(),
            tab: Tab::Builder,
            config: String::new(),
            picks: Vec::new(),
            is_org: matches!(self.place, Place::Org(_)),
            is_sandbox: matches!(self.place, Place::Sandbox(_)),
            reaches: Vec::new(),
            wrong: Wrong::default(),
            refused: String::new(),
            again: false,
            read: Read::default(),
            newer: None,
            sample_event: String::new(),
        }
    }
}

impl Editor {
    /// Says whom a change reaches.
    fn reached(&mut self, view: &View) {
        if self.mode == Mode::Edit && view.integration.is_shared() {
            self.reaches = view.products.iter().map(|product| product.name.clone()).collect();
        }
    }
}

/// The editor with a configuration in it, as it stands in the store or comes from the gallery.
async fn filled(
    console: &Console,
    here: &Here,
    mode: Mode,
    config: Map<String, Value>,
    view: Option<&View>,
) -> Result<Editor, PageError> {
    let text = |field: &str| config.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut editor = here.editor(mode, &text("name"));
    let on: Vec<String> = view.map_or_else(Vec::new, |view| {
        view.integration.members.iter().map(|member| member.product.to_string()).collect()
    });
    editor.picks = picks(console, here, |id| on.iter().any(|on| on == id)).await?;
    if let Some(view) = view {
        editor.reached(view);
        editor.read = Read::of(view);
    }
    if !text("integration_type").is_empty() {
        editor.kind = text("integration_type");
    }
    editor.sample_event = text("event");
    editor.config = shown::text_of(&Value::Object(config.clone()));
    editor.draft = Draft::of(&config);
    Ok(editor)
}

/// The editor with what was sent in it, after a switch of tabs or a refused save.
async fn again(
    console: &Console,
    here: &Here,
    mode: Mode,
    fields: &Fields,
    sent: Sent,
) -> Result<Editor, PageError> {
    let view = match mode {
        Mode::New => None,
        _ => Some(console.get_integration(&here.session.actor, here.key(), &here.id).await?),
    };
    // What cannot be read has no name of its own.
    let name = match (sent.draft.text("name"), &view) {
        ("", Some(view)) => shown::name(&view.integration),
        (name, _) => name.to_owned(),
    };
    let mut editor = here.editor(mode, &name);
    if let Some(view) = &view {
        editor.reached(view);
    }
    editor.read = Read::sent(fields);
    let on: Vec<&str> = fields.all("products").collect();
    editor.picks = picks(console, here, |id| on.contains(&id)).await?;
    let kind = match (sent.draft.text("integration_type"), &view) {
        ("", Some(view)) => view.integration.text("integration_type"),
        (kind, _) => kind,
    };
    if !kind.is_empty() {
        editor.kind = kind.to_owned();
    }
    editor.sample_event = fields.text("sample_event").to_owned();
    (editor.tab, editor.config, editor.draft) = (sent.tab, sent.text, sent.draft);
    Ok(editor)
}

/// A new integration, filled in with a configuration.
pub(super) async fn new_with(
    console: &Console,
    here: &Here,
    config: Map<String, Value>,
) -> Result<Response, PageError> {
    let mut editor = filled(console, here, Mode::New, config, None).await?;
    editor.refused = here.refusal(console, Action::CreateIntegration).await?;
    Ok(render(&editor)?.into_response())
}

/// The editor of an integration that exists.
pub(crate) async fn edit(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    open(&console, &here, Mode::Edit).await
}

/// The editor for a product that leaves a shared integration.
pub(crate) async fn separate(State(console): State<Console>, here: Here) -> Result<Response, PageError> {
    open(&console, &here, Mode::Separate).await
}

async fn open(console: &Console, here: &Here, mode: Mode) -> Result<Response, PageError> {
    let refusal = here.refusal(console, Action::UpdateIntegration).await?;
    if !refusal.is_empty() {
        return Err(Error::Forbidden(refusal).into());
    }
    let view = console.get_integration(&here.session.actor, here.key(), &here.id).await?;
    if mode == Mode::Edit && view.integration.is_shared() && here.product().is_some() {
        // Here is nothing to edit; the page of the integration offers the two ways.
        return Ok(Redirect::to(&format!("{}/integrations/{}", here.base(), here.id)).into_response());
    }
    let config = view.integration.config.clone();
    Ok(render(&filled(console, here, mode, config, Some(&view)).await?)?.into_response())
}

/// Creates an integration.
pub(crate) async fn create(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    signed: Signed,
) -> Result<Response, PageError> {
    write(&console, &params, &headers, signed, Mode::New).await
}

/// Replaces the configuration of an integration.
pub(crate) async fn save(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    signed: Signed,
) -> Result<Response, PageError> {
    write(&console, &params, &headers, signed, Mode::Edit).await
}

/// Gives a product its own copy.
pub(crate) async fn save_separate(
    State(console): State<Console>,
    params: RawPathParams,
    headers: HeaderMap,
    signed: Signed,
) -> Result<Response, PageError> {
    write(&console, &params, &headers, signed, Mode::Separate).await
}

async fn write(
    console: &Console,
    params: &RawPathParams,
    headers: &HeaderMap,
    Signed { session, mut fields }: Signed,
    mode: Mode,
) -> Result<Response, PageError> {
    let here = Here::new(console, session, params, headers).await?;
    let is_org = matches!(here.place, Place::Org(_));
    if mode == Mode::Edit && ["theirs", "mine"].contains(&fields.text("go")) {
        let merges = fields.text("go") == "theirs";
        let sent = read(&fields, is_org);
        let merged = super::meanwhile::brought_up(console, &here, &mut fields, sent, merges).await?;
        if merges {
            return Ok(render(&again(console, &here, mode, &fields, merged).await?)?.into_response());
        }
    }
    let mut sent = read(&fields, is_org);
    let go = fields.text("go");
    if ["builder", "json"].contains(&go) {
        let wrong = Wrong::new(&sent.errors, sent.tab, sent.draft.text("integration_type"));
        let refused = match sent.errors.is_empty() {
            true => String::new(),
            false => "The other tab opens once what is marked can be read.".to_owned(),
        };
        if sent.errors.is_empty() {
            sent.tab = if go == "json" { Tab::Json } else { Tab::Builder };
        }
        let editor = Editor { wrong, refused, ..again(console, &here, mode, &fields, sent).await? };
        return Ok(render(&editor)?.into_response());
    }
    let written = match sent.errors.is_empty() {
        false => Err(Error::Invalid { code: "invalid_integration", errors: sent.errors.clone() }),
        true => store(console, &here, mode, &fields, sent.body.clone()).await,
    };
    let mut newer = None;
    let (wrong, refused) = match written {
        Ok(view) => {
            let done = match mode {
                Mode::New => "created",
                Mode::Edit => "saved",
                Mode::Separate => "separated",
            };
            let to = format!("{}/integrations/{}?done={done}", here.base(), shown::id(&view));
            return Ok(go_to(here.part, &to));
        }
        Err(Error::Invalid { errors, .. }) => {
            (Wrong::new(&errors, sent.tab, sent.draft.text("integration_type")), String::new())
        }
        Err(Error::Conflict { code: NOT_PRESENT, .. }) => {
            newer = Some(Newer::since(console, &here, &fields).await?);
            (Wrong::default(), String::new())
        }
        Err(error @ (Error::Refused { .. } | Error::Conflict { .. } | Error::Unavailable)) => {
            (Wrong::default(), sentence(&error.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    let editor = again(console, &here, mode, &fields, sent).await?;
    let editor = Editor { wrong, refused, newer, again: true, ..editor };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&editor)?).into_response())
}

async fn store(
    console: &Console,
    here: &Here,
    mode: Mode,
    fields: &Fields,
    body: Map<String, Value>,
) -> Result<View, Error> {
    let (actor, key) = (&here.session.actor, here.key());
    match mode {
        Mode::New => console.create_integration(actor, key, body).await,
        Mode::Edit => {
            let expected = Read::sent(fields).expected();
            console.replace_expected(actor, key, &here.id, body, &expected).await
        }
        Mode::Separate => {
            let product = here.product().map(|product| product.slug.as_str()).unwrap_or_default();
            console.separate(actor, product, &here.id, body).await
        }
    }
}
