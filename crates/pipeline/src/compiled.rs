//! Compiling an integration: from its stored configuration to what runs it.

use std::sync::{Arc, OnceLock};

use tributary_domain::{
    MemberId, Owner, ProductId, UserId,
    integration::Integration,
    parameters::{Parameters, declared},
    sensitive::is_sensitive_parameter,
};
use tributary_store::delivery::Counted;
use tributary_targets::{Secrets, Settings, Target, kinds, sending::Sending};

use crate::{
    mask::Masker,
    pace::Pacer,
    routes::{Route, RouteKey},
};

/// An integration ready to run: its target, and what its owner's templates and logs need.
pub struct Compiled {
    /// The destination.
    pub target: Arc<dyn Target>,
    /// Secrets of the owner: at least those that its templates use.
    pub secrets: Arc<Secrets>,
    /// The names of those that its templates use.
    pub used_secrets: Vec<String>,
    /// The parameters: the member's overrides, else the defaults.
    pub parameters: Parameters,
    /// Values that no log may show.
    pub sensitive: Vec<String>,
    /// What hides them; made when it is first needed.
    mask: OnceLock<Masker>,
    /// The limits that it sets for its deliveries.
    pub pacer: Option<Arc<Pacer>>,
    /// Its own waits before further attempts, in milliseconds.
    pub retry_delays_ms: Option<Box<[i64]>>,
}

impl Compiled {
    /// An integration with its target. What goes through no lane has no `pacer`.
    pub(crate) fn new(
        integration: &Integration,
        target: Arc<dyn Target>,
        secrets: Arc<Secrets>,
        pacer: Option<Arc<Pacer>>,
    ) -> Compiled {
        let parameters = declared(&integration.config);
        let (used_secrets, sensitive) = secrets_in(&*target, &secrets, &parameters);
        let retry_delays_ms = Sending::of(&integration.config).retry_delays_ms;
        let mask = OnceLock::new();
        Compiled { target, secrets, used_secrets, parameters, sensitive, mask, pacer, retry_delays_ms }
    }

    /// Of a target alone.
    #[cfg(test)]
    pub(crate) fn of_target(target: Arc<dyn Target>) -> Compiled {
        Compiled {
            target,
            secrets: Arc::default(),
            used_secrets: Vec::new(),
            parameters: Parameters::default(),
            sensitive: Vec::new(),
            mask: OnceLock::new(),
            pacer: None,
            retry_delays_ms: None,
        }
    }

    /// What hides its sensitive values.
    pub fn mask(&self) -> &Masker {
        self.mask.get_or_init(|| Masker::new(&self.sensitive))
    }

    /// The same with other secrets: its target knows none of them.
    pub(crate) fn with_secrets(&self, secrets: Arc<Secrets>) -> Compiled {
        let (used_secrets, sensitive) = secrets_in(&*self.target, &secrets, &self.parameters);
        Compiled {
            target: self.target.clone(),
            secrets,
            used_secrets,
            parameters: self.parameters.clone(),
            sensitive,
            mask: OnceLock::new(),
            pacer: self.pacer.clone(),
            retry_delays_ms: self.retry_delays_ms.clone(),
        }
    }

    /// As it is for a member that overrides some of its parameters.
    pub(crate) fn overridden(&self, overrides: &Parameters) -> Compiled {
        let mut parameters = self.parameters.clone();
        for (name, value) in overrides {
            if let Some(default) = parameters.get_mut(name) {
                value.clone_into(default);
            }
        }
        let mut sensitive = self.sensitive.clone();
        sensitive.extend(sensitive_values(&parameters));
        Compiled {
            target: self.target.clone(),
            secrets: self.secrets.clone(),
            used_secrets: self.used_secrets.clone(),
            parameters,
            sensitive,
            mask: OnceLock::new(),
            pacer: self.pacer.clone(),
            retry_delays_ms: self.retry_delays_ms.clone(),
        }
    }
}

/// Makes the target of a stored integration. One that this version refuses (its kind is gone, its address is no longer
/// allowed) fires nothing and is reported; it stays stored.
pub(crate) fn target_of(integration: &Integration, settings: &Settings) -> Option<Arc<dyn Target>> {
    let Some(kind) = kinds::find(integration.text("integration_type")) else {
        tracing::error!(integration.id = %integration.id, "a stored integration is of an unknown kind and will not run");
        return None;
    };
    match kind.compile(&integration.config, settings) {
        Ok(target) => Some(target),
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            tracing::error!(integration.id = %integration.id, ?errors, "a stored integration does not compile and will not run");
            None
        }
    }
}

/// The names of the secrets that a target uses, and the values that no log may show.
fn secrets_in(target: &dyn Target, secrets: &Secrets, parameters: &Parameters) -> (Vec<String>, Vec<String>) {
    let mut used = target.variables();
    used.retain(|name| secrets.0.contains_key(name));
    let mut sensitive: Vec<String> = target.sensitive_values().to_vec();
    sensitive.extend(used.iter().filter_map(|name| secrets.0.get(name)).cloned());
    sensitive.extend(sensitive_values(parameters));
    (used, sensitive)
}

fn sensitive_values(parameters: &Parameters) -> impl Iterator<Item = String> {
    parameters.iter().filter(|(name, _)| is_sensitive_parameter(name)).map(|(_, value)| value.clone())
}

/// The routes of an integration that is in no index, for previews and tests.
pub(crate) fn routes_of(
    integration: &Integration,
    user: Option<UserId>,
    compiled: &Arc<Compiled>,
) -> Vec<(RouteKey, Route)> {
    let route = |member: Option<(MemberId, ProductId)>| Route {
        counted: Counted {
            integration: integration.id,
            member: member.map(|m| m.0),
            product: member.map(|m| m.1),
        },
        owner: integration.owner,
        product_user: user,
        device: Some(integration.text("deviceID")).filter(|id| !id.is_empty()).map(Into::into),
        disabled: integration.config.get("disabled") == Some(&serde_json::Value::Bool(true)),
        compiled: match member.and_then(|(member, _)| integration.overrides_of(member)) {
            Some(overrides) => Arc::new(compiled.overridden(overrides)),
            None => compiled.clone(),
        },
    };
    match integration.owner {
        Owner::User(user) if integration.members.is_empty() => vec![(RouteKey::Sandbox(user), route(None))],
        _ => {
            let members = integration.members.iter();
            members.map(|m| (RouteKey::Product(m.product), route(Some((m.id, m.product))))).collect()
        }
    }
}
