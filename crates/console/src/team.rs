//! The team of an organization or a product: people with roles, API users with scopes, invitations.

use askama::Template;
use axum::{
    Router,
    extract::{Query, RawPathParams, State},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde_json::{Map, Value};
use tributary_control::{
    Error,
    place::{Place, PlaceKey},
    team::{Added, MemberChange, NewMember, TeamKey, TeamMember},
};
use tributary_domain::access::{Action, Role};

use crate::{
    Console,
    error::PageError,
    form::{Fields, Refused, Signed},
    format::Moment,
    here::{Here, ORG, PRODUCT},
    page::{Done, Page, ProductTabs, may, render},
    request_head::RequestHead,
};

pub(crate) fn routes() -> Router<Console> {
    let mut router = Router::new();
    for place in [ORG, PRODUCT] {
        router = router
            .route(&format!("{place}/team"), get(show).post(add))
            .route(&format!("{place}/team/{{name}}"), post(change));
    }
    router
}

/// What is told once, right after it was made.
#[derive(Default)]
struct Told {
    title: String,
    secret: String,
}

struct OpenInvitation {
    username: String,
    role: &'static str,
    expires: Moment,
}

#[derive(Template)]
#[template(path = "team/list.html")]
struct TeamPage {
    page: Page,
    tabs: Option<ProductTabs>,
    base: String,
    people: Vec<TeamMember>,
    api_users: Vec<TeamMember>,
    invitations: Vec<OpenInvitation>,
    roles: Vec<&'static str>,
    scopes: Vec<&'static str>,
    refusal: String,
    is_owner: bool,
    told: Told,
    refused: Refused,
}

impl TeamPage {
    /// Whether somebody is the owner, whose role is no choice among others.
    fn owns(&self, member: &TeamMember) -> bool {
        member.role == Some(Role::Owner)
    }

    /// Whether an API user has a scope.
    fn has(&self, member: &TeamMember, scope: &str) -> bool {
        member.scopes.iter().any(|own| own == scope)
    }
}

fn team_of(here: &Here) -> Result<TeamKey, PageError> {
    match &here.place {
        Place::Org(org) => Ok(TeamKey::Org(org.slug.clone())),
        Place::Product(product) => Ok(TeamKey::Product(product.slug.clone())),
        Place::Sandbox(_) => Err(Error::not_found("page").into()),
    }
}

async fn page_of(console: &Console, here: &Here, refused: Refused) -> Result<TeamPage, PageError> {
    let (actor, team) = (&here.session.actor, team_of(here)?);
    let members = console.list_team(actor, &team).await?;
    let invitations = console.list_invitations(actor, &team).await?;
    let refusal =
        may(console, &here.session, here.key(), Action::InviteTeam).await?.err().unwrap_or_default();
    let is_org = matches!(here.place, Place::Org(_));
    let own = members.iter().find(|member| member.user == actor.user).and_then(|member| member.role);
    let (people, api_users) = members.into_iter().partition(|member| member.role.is_some());
    let mut scopes: Vec<&str> = Action::ALL.iter().map(|action| action.scope()).collect();
    scopes.retain(|scope| !scope.is_empty());
    scopes.dedup();
    Ok(TeamPage {
        tabs: ProductTabs::of(&here.place, "Team"),
        page: match here.product() {
            Some(product) => here.page.clone().titled("Products", format!("Team of {}", product.name)),
            None => here.page.clone().titled("Team", "Team"),
        },
        base: format!("{}/team", here.base()),
        people,
        api_users,
        invitations: invitations
            .into_iter()
            .map(|one| OpenInvitation {
                username: one.username,
                role: one.role.as_str(),
                expires: Moment::until(one.expires_at, here.page.now),
            })
            .collect(),
        roles: Role::ALL.iter().filter(|role| **role != Role::Owner).map(|role| role.as_str()).collect(),
        scopes,
        refusal,
        is_owner: is_org && own == Some(Role::Owner),
        told: Told::default(),
        refused,
    })
}

async fn show(
    State(console): State<Console>,
    here: Here,
    Query(done): Query<Done>,
) -> Result<Response, PageError> {
    let mut page = page_of(&console, &here, Refused::default()).await?;
    page.page.notice = done.says(&[
        ("added", "On the team now."),
        ("changed", "Changed."),
        ("removed", "No longer on the team."),
        ("transferred", "The organization has a new owner; you are an Administrator now."),
        ("revoked", "The invitation is worth nothing now."),
    ]);
    Ok(render(&page)?.into_response())
}

/// The body for a use-case: the filled fields, and the ticked scopes as a list.
fn body_of(fields: &Fields, names: &[&str]) -> Map<String, Value> {
    let mut body = fields.body(names);
    if names.contains(&"scopes") {
        body.insert("scopes".to_owned(), fields.all("scopes").map(Value::from).collect());
    }
    body
}

async fn add(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let team = team_of(&here)?;
    let is_api_user = fields.text("kind") == "api";
    let names: &[&str] = if is_api_user { &["friendly_name", "scopes"] } else { &["username", "role"] };
    let added = async {
        let new = NewMember::read(body_of(&fields, names))?;
        console.add_to_team(&here.session.actor, &team, new).await
    };
    let told = match added.await {
        Ok(Added::Person) => {
            return Ok(Redirect::to(&format!("{}/team?done=added", here.base())).into_response());
        }
        Ok(Added::ApiUser(made)) => Told {
            title: format!("The token of {}. It is shown this once.", made.username),
            secret: made.token,
        },
        Ok(Added::Invited(link)) => Told {
            title: format!(
                "{} has no account yet. Hand on this link; it can be used once, within 7 days.",
                link.username
            ),
            secret: format!("{}/invitations/{}", headers.base(), link.token),
        },
        Err(error) => {
            let page = page_of(&console, &here, Refused::new(error, fields)?).await?;
            return Ok((page.refused.status(), render(&page)?).into_response());
        }
    };
    let page = TeamPage { told, ..page_of(&console, &here, Refused::default()).await? };
    Ok(render(&page)?.into_response())
}

async fn change(
    State(console): State<Console>,
    params: RawPathParams,
    headers: RequestHead,
    Signed { session, fields }: Signed,
) -> Result<Response, PageError> {
    let here = Here::new(&console, session, &params, &headers).await?;
    let (actor, team, who) = (&here.session.actor, team_of(&here)?, here.id.as_str());
    let changed = async {
        match (fields.text("go"), here.key()) {
            ("remove", _) => {
                console.remove_member(actor, &team, who).await?;
                Ok(("removed", None))
            }
            ("revoke", _) => {
                console.revoke_invitation(actor, &team, who).await?;
                Ok(("revoked", None))
            }
            ("transfer", PlaceKey::Org(org)) => {
                let body = Map::from_iter([("username".to_owned(), Value::from(who))]);
                console.transfer_org(actor, org, body).await?;
                Ok(("transferred", None))
            }
            (go, _) => {
                let names: &[&str] = if go == "scopes" { &["scopes"] } else { &["role"] };
                let change = MemberChange::read(body_of(&fields, names))?;
                Ok::<_, Error>(("changed", console.update_member(actor, &team, who, change).await?))
            }
        }
    };
    match changed.await {
        Ok((_, Some(token))) => {
            let told = Told {
                title: format!(
                    "The new token of {}. It is shown this once; the old one has ended.",
                    token.username
                ),
                secret: token.token,
            };
            let page = TeamPage { told, ..page_of(&console, &here, Refused::default()).await? };
            Ok(render(&page)?.into_response())
        }
        Ok((done, None)) => Ok(Redirect::to(&format!("{}/team?done={done}", here.base())).into_response()),
        Err(error) => {
            let page = page_of(&console, &here, Refused::new(error, fields)?).await?;
            Ok((page.refused.status(), render(&page)?).into_response())
        }
    }
}
