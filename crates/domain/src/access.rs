//! Who may do what (contract 2.2): one pure function, [`allows`], asked once per use-case.

use std::str::FromStr;

use crate::ids::{DeviceId, UserId};

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The person or API user.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// What its token is limited to: `None` for a person's token, the granted scopes for an API user's.
    pub scopes: Option<Vec<Scope>>,
}

impl Actor {
    /// Whether it may publish as this device, or as none.
    ///
    /// # Errors
    /// What it may do instead.
    pub fn may_send_as(&self, device: Option<DeviceId>) -> Result<(), String> {
        let Some(scopes) = &self.scopes else { return Ok(()) };
        let mut senders = scopes.iter().filter(|scope| scope.covers(Action::SendEvents)).map(Scope::device);
        match senders.any(|only| only.is_none() || only == device) {
            true => Ok(()),
            false => {
                Err("this token publishes only as the device that its scope names; give as_device_id"
                    .to_owned())
            }
        }
    }
}

/// A team member's role, in rising order: each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks at everything.
    ViewOnly,
    /// As view-only; a separate word for people who help customers.
    Support,
    /// Builds: integrations, devices, events, secrets, products.
    Developer,
    /// Manages the team and removes products.
    Administrator,
    /// The one who answers for it: also changes plan and name.
    Owner,
}

impl Role {
    /// All roles in rising order.
    pub const ALL: [Role; 5] =
        [Role::ViewOnly, Role::Support, Role::Developer, Role::Administrator, Role::Owner];

    /// Whether it may do nothing but look.
    pub fn only_looks(self) -> bool {
        Action::ALL.iter().all(|action| action.role() == Role::ViewOnly || action.role() > self)
    }

    /// The name used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::ViewOnly => "View-only",
            Role::Support => "Support",
            Role::Developer => "Developer",
            Role::Administrator => "Administrator",
            Role::Owner => "Administrator (Owner)",
        }
    }
}

/// A word that names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of View-only, Support, Developer, Administrator")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        Role::ALL.into_iter().find(|role| role.as_str().eq_ignore_ascii_case(text)).ok_or(UnknownRole)
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $action:ident: $role:ident, $scope:literal;)*) => {
        /// Something that a use-case does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($(#[$doc])* $action,)* }

        impl Action {
            /// All actions.
            pub const ALL: &'static [Action] = &[$(Action::$action),*];

            /// The lowest role that may do it.
            pub fn role(self) -> Role {
                match self { $(Action::$action => Role::$role,)* }
            }

            /// The scope that lets an API user do it; empty when none does.
            pub fn scope(self) -> &'static str {
                match self { $(Action::$action => $scope,)* }
            }
        }
    };
}

actions! {
    /// See the organization.
    GetOrg: ViewOnly, "organization:get";
    /// Change its name or plan.
    UpdateOrg: Owner, "";
    /// List products.
    ListProducts: ViewOnly, "products:list";
    /// See a product.
    GetProduct: ViewOnly, "products:get";
    /// Create a product.
    CreateProduct: Developer, "";
    /// Delete a product.
    RemoveProduct: Administrator, "";
    /// List integrations.
    ListIntegrations: ViewOnly, "integrations:list";
    /// See an integration, its history and log.
    GetIntegration: ViewOnly, "integrations:get";
    /// Create, or add a product to, an integration.
    CreateIntegration: Developer, "integrations:create";
    /// Change, separate or merge an integration.
    UpdateIntegration: Developer, "integrations:update";
    /// Delete an integration or take a product out of it.
    RemoveIntegration: Developer, "integrations:remove";
    /// Send a test through an integration.
    TestIntegration: Developer, "integrations:test";
    /// Subscribe to events.
    GetEvents: ViewOnly, "events:get";
    /// Publish events.
    SendEvents: Developer, "events:send";
    /// Read metrics.
    GetMetrics: ViewOnly, "metrics.integrations:get";
    /// List devices.
    ListDevices: ViewOnly, "devices:list";
    /// See a device.
    GetDevice: ViewOnly, "devices:get";
    /// Change a device's name or notes.
    UpdateDevice: Developer, "devices:update";
    /// Add devices to a product.
    ImportDevices: Developer, "devices:import";
    /// Remove a device from a product.
    RemoveDevice: Developer, "devices:remove";
    /// See the team.
    ListTeam: ViewOnly, "teams.users:list";
    /// Add to the team.
    InviteTeam: Administrator, "teams.users:invite";
    /// Change a member's role or scopes.
    UpdateTeam: Administrator, "teams.users:update";
    /// Remove from the team.
    RemoveTeam: Administrator, "teams.users:remove";
    /// See the names and uses of secrets.
    ListSecrets: ViewOnly, "";
    /// Create, change and delete secrets.
    WriteSecrets: Developer, "";
    /// Read who changed what.
    ReadAudit: Administrator, "";
}

/// The scope that may be limited to a device: `events:send:0123456789abcdef01234567`.
const OF_DEVICE: &str = "events:send:";

/// A scope that was granted to an API user, e.g. `integrations:list`, `teams.users:*` or `events:send:` and a device's id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(String);

/// A text that names no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a known scope")]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Scope, UnknownScope> {
        if let Some(device) = text.strip_prefix(OF_DEVICE) {
            let device = device.parse::<DeviceId>().map_err(|_| UnknownScope(text.to_owned()))?;
            return Ok(Scope(format!("{OF_DEVICE}{device}")));
        }
        let known = Action::ALL.iter().any(|a| a.scope() == text) || text == "teams.users:*";
        if known && !text.is_empty() {
            Ok(Scope(text.to_owned()))
        } else {
            Err(UnknownScope(text.to_owned()))
        }
    }
}

impl Scope {
    /// The text, e.g. `integrations:list`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The only device for which it is meant, if it is limited to one.
    pub fn device(&self) -> Option<DeviceId> {
        self.0.strip_prefix(OF_DEVICE)?.parse().ok()
    }

    /// Whether who has this one may grant the other.
    pub fn includes(&self, other: &Scope) -> bool {
        self == other
            || self.0.strip_suffix('*').is_some_and(|group| other.0.starts_with(group))
            || (self.0 == Action::SendEvents.scope() && other.device().is_some())
    }

    fn covers(&self, action: Action) -> bool {
        match self.0.strip_suffix('*') {
            Some(group) => action.scope().starts_with(group),
            None => self.0 == action.scope() || (action == Action::SendEvents && self.device().is_some()),
        }
    }
}

/// What an actor is to the resource that it acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not on the team.
    Stranger,
    /// A person on the team.
    Member(Role),
    /// An API user of the team.
    ApiUser,
}

/// The answer of [`allows`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Go on.
    Allowed,
    /// The resource is not told of: 404.
    Hidden,
    /// 403; the text says which role or scope may.
    Forbidden(String),
}

/// Whether an actor with this standing, limited to these scopes (if at all), may do this.
pub fn allows(standing: Standing, scopes: Option<&[Scope]>, action: Action) -> Access {
    if standing == Standing::Stranger {
        return Access::Hidden;
    }
    if let Some(scopes) = scopes
        && !scopes.iter().any(|scope| scope.covers(action))
    {
        return Access::Forbidden(match action.scope() {
            "" => "an API user cannot do this; a person on the team can".to_owned(),
            scope => format!("this needs the scope {scope}"),
        });
    }
    match standing {
        Standing::Member(role) if role < action.role() => Access::Forbidden(format!(
            "your role is {}; this needs the role {}{}",
            role.as_str(),
            action.role().as_str(),
            // Nothing is above it.
            if action.role() == Role::Owner { "" } else { " or above" },
        )),
        // An API user without scopes would be a person's token on an API user: it may do nothing.
        Standing::ApiUser if scopes.is_none() => Access::Forbidden("an API user needs scopes".to_owned()),
        _ => Access::Allowed,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The lowest role for each action, written out once more as the contract says it.
    fn contract_says(action: Action, role: Role) -> bool {
        use Action::*;
        match action {
            GetOrg | ListProducts | GetProduct | ListIntegrations | GetIntegration | GetEvents
            | GetMetrics | ListDevices | GetDevice | ListTeam | ListSecrets => true,
            CreateProduct | CreateIntegration | UpdateIntegration | RemoveIntegration | TestIntegration
            | SendEvents | UpdateDevice | ImportDevices | RemoveDevice | WriteSecrets => {
                matches!(role, Role::Developer | Role::Administrator | Role::Owner)
            }
            RemoveProduct | InviteTeam | UpdateTeam | RemoveTeam | ReadAudit => {
                matches!(role, Role::Administrator | Role::Owner)
            }
            UpdateOrg => role == Role::Owner,
        }
    }

    #[test]
    fn every_role_may_do_what_the_contract_says_and_strangers_see_nothing() {
        for action in Action::ALL.iter().copied() {
            for role in Role::ALL {
                let answer = allows(Standing::Member(role), None, action);
                assert_eq!(answer == Access::Allowed, contract_says(action, role), "{action:?} {role:?}");
                assert_ne!(answer, Access::Hidden, "a member knows that it exists");
            }
            assert_eq!(allows(Standing::Stranger, None, action), Access::Hidden);
            assert!(matches!(allows(Standing::ApiUser, None, action), Access::Forbidden(_)));
        }
    }

    #[test]
    fn an_api_user_may_do_just_what_its_scopes_say() {
        for granted in Action::ALL.iter().filter(|a| !a.scope().is_empty()) {
            let scopes = [granted.scope().parse::<Scope>().unwrap()];
            for action in Action::ALL.iter().copied() {
                let allowed = allows(Standing::ApiUser, Some(&scopes), action) == Access::Allowed;
                assert_eq!(allowed, action.scope() == granted.scope(), "{granted:?} {action:?}");
                assert_eq!(allows(Standing::Stranger, Some(&scopes), action), Access::Hidden);
            }
        }
        let team = ["teams.users:*".parse::<Scope>().unwrap()];
        for action in Action::ALL.iter().copied() {
            let allowed = allows(Standing::ApiUser, Some(&team), action) == Access::Allowed;
            assert_eq!(allowed, action.scope().starts_with("teams.users:"), "{action:?}");
        }
        for unknown in ["", "*", "integrations:*", "integrations:fly", "Integrations:list"] {
            assert!(unknown.parse::<Scope>().is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_scope_for_one_device_lets_nothing_but_that_device_speak() {
        let (one, other) = ("0123456789abcdef01234567", "0123456789abcdef01234568");
        let id = |text: &str| Some(text.parse::<DeviceId>().unwrap());
        let scope = |text: &str| text.parse::<Scope>().unwrap();
        let limited = scope(&format!("events:send:{}", one.to_uppercase()));
        assert_eq!((limited.as_str(), limited.device()), (&*format!("events:send:{one}"), id(one)));
        for action in Action::ALL.iter().copied() {
            let allowed =
                allows(Standing::ApiUser, Some(std::slice::from_ref(&limited)), action) == Access::Allowed;
            assert_eq!(allowed, action == Action::SendEvents, "{action:?}");
        }
        let actor =
            |scopes: Option<Vec<Scope>>| Actor { user: UserId([1; 12]), username: String::new(), scopes };
        let may = |scopes: &[&Scope], device| {
            actor(Some(scopes.iter().map(|s| (*s).clone()).collect())).may_send_as(device).is_ok()
        };
        let all = scope("events:send");
        for (scopes, of_one, of_other, of_none) in [
            (vec![&limited], true, false, false),
            (vec![&all], true, true, true),
            (vec![&limited, &all], true, true, true),
        ] {
            assert_eq!(
                (may(&scopes, id(one)), may(&scopes, id(other)), may(&scopes, None)),
                (of_one, of_other, of_none)
            );
        }
        assert!(!may(&[&scope("events:get")], id(one)) && actor(None).may_send_as(None).is_ok());
        assert!(all.includes(&limited) && limited.includes(&limited) && !limited.includes(&all));
        assert!(!limited.includes(&scope(&format!("events:send:{other}"))));
        for unknown in
            ["events:send:", "events:send:*", "events:send:1", "events:get:0123456789abcdef01234567"]
        {
            assert!(unknown.parse::<Scope>().is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_persons_limited_token_is_bound_by_role_and_scope() {
        let scopes = ["integrations:create".parse::<Scope>().unwrap()];
        let may = |role, action| allows(Standing::Member(role), Some(&scopes), action) == Access::Allowed;
        assert!(may(Role::Developer, Action::CreateIntegration));
        assert!(!may(Role::ViewOnly, Action::CreateIntegration));
        assert!(!may(Role::Owner, Action::RemoveIntegration));
    }
}
