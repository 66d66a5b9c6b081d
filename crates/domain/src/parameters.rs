//! Parameters: texts that an integration declares for its templates, and that single products may override, so that they
//! stay in the shared configuration where they need another address or key.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    ids::MemberId,
    integration::{Config, Integration},
    sensitive::{MASK, is_sensitive_parameter},
};

/// The field of a configuration that declares parameters, and of a request that overrides them.
pub const FIELD: &str = "parameters";

/// Texts by name.
pub type Parameters = BTreeMap<String, String>;

/// What single members override, by member. Members that override nothing are not in it.
pub type Overrides = BTreeMap<MemberId, Parameters>;

/// The parameters that a configuration declares, with their defaults.
pub fn declared(config: &Config) -> Parameters {
    let Some(Value::Object(given)) = config.get(FIELD) else { return Parameters::new() };
    given.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// The parameters as they are shown: sensitive ones masked.
pub fn masked(parameters: &Parameters) -> Parameters {
    let shown = |(name, value): (&String, &String)| {
        let value = if is_sensitive_parameter(name) { MASK } else { value };
        (name.clone(), value.to_owned())
    };
    parameters.iter().map(shown).collect()
}

impl Integration {
    /// What a member overrides.
    pub fn overrides_of(&self, member: MemberId) -> Option<&Parameters> {
        self.overrides.get(&member)
    }

    /// The parameters with which a member executes: its overrides, else the defaults.
    pub fn effective(&self, member: MemberId) -> Parameters {
        let mut effective = declared(&self.config);
        for (name, value) in self.overrides_of(member).into_iter().flatten() {
            if let Some(default) = effective.get_mut(name) {
                value.clone_into(default);
            }
        }
        effective
    }
}

/// The parameters that a body declares when a member of `shared` becomes an integration of its own: all of the shared
/// ones where it says nothing of them.
pub fn inherit(config: &mut Config, shared: &Config) {
    if !config.contains_key(FIELD)
        && let Some(parameters) = shared.get(FIELD)
    {
        config.insert(FIELD.to_owned(), parameters.clone());
    }
}

/// Makes a member's overrides the defaults of its own integration, except where the body gives another value than the
/// shared default.
pub fn fold(config: &mut Config, shared: &Integration, member: MemberId) {
    let defaults = declared(&shared.config);
    let Some(Value::Object(own)) = config.get_mut(FIELD) else { return };
    for (name, value) in shared.overrides_of(member).into_iter().flatten() {
        let default = defaults.get(name).map(String::as_str);
        if let Some(given) = own.get_mut(name).filter(|given| given.as_str() == default) {
            *given = value.as_str().into();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::{IntegrationId, Owner, Timestamp, UserId};

    const MEMBER: MemberId = MemberId([1; 12]);

    #[allow(clippy::needless_pass_by_value, reason = "reads best where it is called")]
    fn config(value: Value) -> Config {
        value.as_object().unwrap().clone()
    }

    fn shared() -> Integration {
        let overrides =
            Parameters::from([("SITE".to_owned(), "us".to_owned()), ("OLD".to_owned(), "x".to_owned())]);
        Integration {
            id: IntegrationId([2; 12]),
            owner: Owner::User(UserId([3; 12])),
            config: config(json!({"parameters": {"SITE": "eu", "A_KEY": "k"}})),
            members: Vec::new(),
            overrides: Overrides::from([(MEMBER, overrides)]),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    #[test]
    fn a_member_executes_with_its_overrides_and_else_with_the_defaults() {
        let one = |site: &str| Parameters::from([("A_KEY".into(), "k".into()), ("SITE".into(), site.into())]);
        assert_eq!(shared().effective(MEMBER), one("us"));
        assert_eq!(shared().effective(MemberId([9; 12])), one("eu"));
        assert_eq!(masked(&one("eu"))["A_KEY"], MASK);
    }

    #[test]
    fn a_body_of_its_own_takes_over_what_was_overridden_unless_it_says_something_else() {
        for (body, own) in [
            (json!({}), json!({"parameters": {"SITE": "us", "A_KEY": "k"}})),
            (json!({"parameters": {"SITE": "eu"}}), json!({"parameters": {"SITE": "us"}})),
            (json!({"parameters": {"SITE": "asia"}}), json!({"parameters": {"SITE": "asia"}})),
            (json!({"parameters": {}}), json!({"parameters": {}})),
        ] {
            let mut given = config(body.clone());
            inherit(&mut given, &shared().config);
            fold(&mut given, &shared(), MEMBER);
            assert_eq!(Value::Object(given), own, "{body}");
        }
    }
}
