//! What may become of stored sensitive values: they stay where they were entered for, at the same scheme, host and port
//! (contract 3.1), whichever way a destination moves.

use serde_json::{Map, Value};
use tributary_domain::{
    FieldError, MemberId,
    integration::{Config, Integration},
    parameters::{self, Parameters, declared},
    sensitive,
};
use tributary_targets::destination::places;

use crate::Error;

/// Whether a configuration in the place of the stored one sends anywhere else, through any of its members or through one
/// that is added. With `separated` it becomes that member's own.
pub(crate) fn moves(stored: &Integration, new: &Config, separated: Option<MemberId>) -> bool {
    if let Some(member) = separated {
        let mut own = new.clone();
        parameters::inherit(&mut own, &stored.config);
        parameters::fold(&mut own, stored, member);
        return !is_within(&own, &declared(&own), stored, &stored.effective(member));
    }
    let after = Integration { config: new.clone(), ..stored.clone() };
    let of_member =
        |member: &MemberId| !is_within(new, &after.effective(*member), stored, &stored.effective(*member));
    !is_within(new, &declared(new), stored, &declared(&stored.config))
        || stored.overrides.keys().any(of_member)
}

fn is_within(new: &Config, parameters: &Parameters, stored: &Integration, before: &Parameters) -> bool {
    places(new, parameters).is_subset(&places(&stored.config, before))
}

/// Refuses a whole stored configuration, such as that of a version, where it would send its sensitive values elsewhere
/// than the present one does.
pub(crate) fn check_restored(stored: &Integration, version: &Config) -> Result<(), Error> {
    let (_, sensitive) = sensitive::split(version);
    if sensitive.is_empty() || !moves(stored, version, None) {
        return Ok(());
    }
    Err(invalid(sensitive::moved(sensitive.keys())))
}

/// Refuses overrides of a member that would send the shared sensitive values elsewhere, unless `given`, the request's
/// body, has these values too: who knows them gives nothing away.
pub(crate) fn check_overrides(
    stored: &Integration,
    member: MemberId,
    overrides: &Parameters,
    given: &Map<String, Value>,
) -> Result<(), Error> {
    let mut after = stored.clone();
    after.overrides.insert(member, overrides.clone());
    let effective = after.effective(member);
    let at_home = [declared(&stored.config), stored.effective(member)];
    if at_home.iter().any(|before| is_within(&stored.config, &effective, stored, before)) {
        return Ok(());
    }
    let errors: Vec<FieldError> = unproved(stored, overrides, given);
    if errors.is_empty() { Ok(()) } else { Err(invalid(errors)) }
}

fn unproved(stored: &Integration, overrides: &Parameters, given: &Map<String, Value>) -> Vec<FieldError> {
    let given = Value::Object(given.clone());
    let is_overridden =
        |place: &str| place.strip_prefix("/parameters/").is_some_and(|name| overrides.contains_key(name));
    let (_, sensitive) = sensitive::split(&stored.config);
    let hidden = sensitive.into_iter().filter(|(place, value)| {
        !sensitive::only_refers(value) && !is_overridden(place) && given.pointer(place) != Some(value)
    });
    sensitive::moved(hidden.map(|(place, _)| place).collect::<Vec<_>>().iter())
}

fn invalid(errors: Vec<FieldError>) -> Error {
    Error::Invalid { code: "invalid_integration", errors }
}
