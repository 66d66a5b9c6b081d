//! Settings: the person's own (password, tokens, new organizations) and those of an organization; joining by invitation.

use askama::Template;
use axum::{
    Router,
    extract::{Path, Query, RawForm, RawPathParams, State},
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde_json::{Map, Value};
use tributary_control::{
    Error,
    accounts::PasswordChange,
    invitations::JoinedPlace,
    orgs::{NewOrg, OrgChange},
    place::Place,
    tokens::SESSION_SECONDS,
};
use tributary_domain::access::Action;

use crate::{
    Console,
    error::PageError,
    form::{Fields, Refused, Signed},
    here::{Here, ORG, SANDBOX},
    page::{Done, Page, may, render},
    request_head::RequestHead,
    session::{self, set_cookie},
};

/// The plans that can be chosen, with what they include.
const PLANS: [(&str, &str); 3] = [
    ("free", "products with integrations of their own"),
    ("basic", "organization integrations besides"),
    ("enterprise", "organization integrations besides"),
];
/// Lifetimes that a new token can have: days, and in words.
const LIFETIMES: [(i64, &str); 4] = [(1, "a day"), (30, "30 days"), (90, "90 days"), (365, "a year")];

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route(&format!("{SANDBOX}/settings"), get(own))
        .route(&format!("{SANDBOX}/settings/password"), post(change_password))
        .route(&format!("{SANDBOX}/settings/token"), post(new_token))
        .route(&format!("{SANDBOX}/settings/sign-out-everywhere"), post(end_all))
        .route(&format!("{SANDBOX}/settings/organization"), post(new_org))
        .route(&format!("{ORG}/settings"), get(of_org).post(change_org))
        .route("/invitations/{token}", get(invitation).post(accept))
}

#[derive(Template)]
#[template(path = "settings/own.html")]
struct OwnPage {
    page: Page,
    plans: [(&'static str, &'static str); 3],
    lifetimes: [(i64, &'static str); 4],
    is_new: bool,
    origin: String,
    token: String,
    refused: Refused,
    /// Which form was refused.
    form: &'static str,
}

fn own_page(here: &Here, headers: &RequestHead) -> OwnPage {
    OwnPage {
        page: here.page.clone().titled("Settings", "Settings"),
        plans: PLANS,
        lifetimes: LIFETIMES,
        is_new: false,
        origin: headers.base(),
        token: String::new(),
        refused: Refused::default(),
        form: "",
    }
}

#[derive(serde::Deserialize)]
struct New {
    new: Option<String>,
}

async fn own(
    here: Here,
    headers: RequestHead,
    Query(done): Query<Done>,
    Query(new): Query<New>,
) -> Result<Response, PageError> {
    let mut page = OwnPage { is_new: new.new.is_some(), ..own_page(&here, &headers) };
    page.page.notice = done.says(&[("password", "Your password is changed.")]);
    Ok(render(&page)?.into_response())
}

fn refused(
    here: &Here,
    headers: &RequestHead,
    form: &'static str,
    error: Error,
    mut fields: Fields,
) -> Result<Response, PageError> {
    fields.0.retain(|(name, _)| !name.contains("password"));
    let page = OwnPage { refused: Refused::new(error, fields)?, form, ..own_page(here, headers) };
    Ok((page.refused.status(), render(&page)?).into_response())
}

async fn change_password(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let changed = async {
        let change = PasswordChange::read(fields.body(&["current_password", "password"]))?;
        console
            .change_password(&here.session.actor, &here.session.token, change, headers.addressed.from())
            .await
    };
    match changed.await {
        Ok(()) => Ok(Redirect::to("/sandbox/settings?done=password").into_response()),
        Err(error) => refused(&here, &headers, "password", error, fields),
    }
}

async fn new_token(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let days = LIFETIMES.iter().map(|(days, _)| *days).find(|days| days.to_string() == fields.text("days"));
    let token = console.issue_token(&here.session.actor, days.unwrap_or(LIFETIMES[0].0)).await?;
    let page = OwnPage { token, ..own_page(&here, &headers) };
    Ok(render(&page)?.into_response())
}

async fn end_all(
    State(console): State<Console>,
    headers: RequestHead,
    Signed { session, .. }: Signed,
) -> Result<Response, PageError> {
    console.end_all_tokens(&session.actor).await?;
    let mut response = Redirect::to("/sign-in").into_response();
    if let Some(cookie) = set_cookie(&headers, "", 0) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn new_org(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let created = async {
        let new = NewOrg::read(fields.body(&["name", "plan"]))?;
        console.create_org(&here.session.actor, new).await
    };
    match created.await {
        Ok(org) => Ok(Redirect::to(&format!("/orgs/{}/products#new", org.slug)).into_response()),
        Err(error) => refused(&here, &headers, "organization", error, fields),
    }
}

#[derive(Template)]
#[template(path = "settings/org.html")]
struct OrgPage {
    page: Page,
    name: String,
    slug: String,
    id: String,
    plan: String,
    plans: [(&'static str, &'static str); 3],
    refusal: String,
    refused: Refused,
}

async fn org_page(console: &Console, here: &Here, refused: Refused) -> Result<OrgPage, PageError> {
    let Place::Org(org) = &here.place else { return Err(Error::not_found("page").into()) };
    let refusal = may(console, &here.session, here.key(), Action::UpdateOrg).await?.err();
    Ok(OrgPage {
        page: here.page.clone().titled("Settings", "Settings"),
        name: org.name.clone(),
        slug: org.slug.clone(),
        id: org.id.to_string(),
        plan: org.plan.as_str().to_owned(),
        plans: PLANS,
        refusal: refusal.unwrap_or_default(),
        refused,
    })
}

async fn of_org(
    State(console): State<Console>,
    here: Here,
    Query(done): Query<Done>,
) -> Result<Response, PageError> {
    let mut page = org_page(&console, &here, Refused::default()).await?;
    page.page.notice = done.says(&[("saved", "Saved.")]);
    Ok(render(&page)?.into_response())
}

async fn change_org(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let Place::Org(org) = &here.place else { return Err(Error::not_found("page").into()) };
    let changed = async {
        let change = OrgChange::read(fields.body(&["name", "plan"]))?;
        console.update_org(&here.session.actor, &org.slug, change).await
    };
    match changed.await {
        Ok(org) => Ok(Redirect::to(&format!("/orgs/{}/settings?done=saved", org.slug)).into_response()),
        Err(error) => {
            let page = org_page(&console, &here, Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}

#[derive(Template)]
#[template(path = "settings/invitation.html")]
struct InvitationPage {
    token: String,
    /// Who is signed in; empty for nobody.
    user: String,
    wrong: String,
}

async fn invitation(
    State(console): State<Console>,
    Path(token): Path<String>,
    headers: RequestHead,
) -> Result<Response, PageError> {
    let user = session::find(&console, &headers).await?.map(|session| session.actor.username);
    Ok(render(&InvitationPage { token, user: user.unwrap_or_default(), wrong: String::new() })?
        .into_response())
}

async fn accept(
    State(console): State<Console>,
    Path(token): Path<String>,
    headers: RequestHead,
    RawForm(bytes): RawForm,
) -> Result<Response, PageError> {
    // Nobody is signed in on this page as a rule; the link itself is what only the invited person has.
    if !headers.is_same_origin() {
        return Err(PageError::forged());
    }
    let fields = Fields::read(&bytes);
    let session = session::find(&console, &headers).await?;
    let actor = session.as_ref().map(|session| &session.actor);
    let body: Map<String, Value> = fields.body(&["password"]);
    let joined = match console.accept_invitation(actor, &token, body).await {
        Ok(joined) => joined,
        Err(error @ (Error::Invalid { .. } | Error::Conflict { .. })) => {
            let user = actor.map(|actor| actor.username.clone()).unwrap_or_default();
            let page = InvitationPage { token, user, wrong: crate::error::sentence(&error.to_string()) };
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&page)?).into_response());
        }
        Err(error) => return Err(error.into()),
    };
    let to = match &joined.place {
        JoinedPlace::Org(org) => format!("/orgs/{}/integrations", org.slug),
        JoinedPlace::Product(product) => format!("/products/{}/integrations", product.slug),
    };
    let mut response = Redirect::to(&to).into_response();
    if joined.is_new {
        let from = headers.addressed.from();
        let token = console.start_session(&joined.username, fields.text("password"), from).await?;
        if let Some(cookie) = set_cookie(&headers, &token, SESSION_SECONDS) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
    Ok(response)
}
