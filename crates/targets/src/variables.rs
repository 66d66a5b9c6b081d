//! The names that templates see (contract 3.3): those of the event first, then secrets, then the integration's
//! parameters, then the event's data.

use std::{
    borrow::Cow,
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use tributary_domain::{Event, MemberId, ProductId, UserId, parameters::Parameters};
use tributary_template::{Budget, Scope, Var, json};

/// Most names that [`Used`] notes.
const USED_NAMES: usize = 1_000;

/// The secrets of an owner by name.
#[derive(Clone, Default)]
pub struct Secrets(pub HashMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// What one event offers to the templates of one integration.
pub struct Variables<'a> {
    /// The event.
    pub event: &'a Event,
    /// The product in which the integration executes; `None` in a sandbox.
    pub product: Option<ProductId>,
    /// `PRODUCT_USER_ID`: the product's owner.
    pub product_user: Option<UserId>,
    /// The owner's secrets.
    pub secrets: &'a Secrets,
    parameters: Option<&'a Parameters>,
    /// What receives the event: the product's membership in the integration, in a sandbox the integration. With the
    /// event it names the delivery, the same for all its attempts.
    pub recipient: Option<MemberId>,
    data: OnceCell<Option<Value>>,
    used: Option<&'a RefCell<Used>>,
    budget: Option<Budget>,
}

/// Which names the templates of a rendering needed, each by its whole path.
#[derive(Debug, Default)]
pub struct Used(pub BTreeMap<String, Was>);

/// What a name stood for, at its best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Was {
    /// Nothing.
    Missing,
    /// Something that is neither number nor flag.
    Other,
    /// A number or a flag of JSON.
    Unquoted,
}

impl<'a> Variables<'a> {
    /// The variables of `event`.
    pub fn new(
        event: &'a Event,
        product: Option<ProductId>,
        product_user: Option<UserId>,
        secrets: &'a Secrets,
    ) -> Variables<'a> {
        Variables {
            event,
            product,
            product_user,
            secrets,
            parameters: None,
            recipient: None,
            data: OnceCell::new(),
            used: None,
            budget: None,
        }
    }

    /// The same with this many steps of work, and bytes of output, for all that is rendered with them.
    #[must_use]
    pub fn within(self, steps: usize, bytes: usize) -> Variables<'a> {
        Variables { budget: Some(Budget::new(steps, bytes)), ..self }
    }

    /// The steps of work that are left.
    pub fn steps_left(&self) -> usize {
        self.budget.as_ref().map_or(usize::MAX, Budget::steps_left)
    }

    /// Whether something needed more work or output than there was room for.
    pub fn is_over_budget(&self) -> bool {
        self.budget.as_ref().is_some_and(Budget::is_over)
    }

    /// The same, noting which names are needed.
    pub fn noting(self, used: &'a RefCell<Used>) -> Variables<'a> {
        Variables { used: Some(used), ..self }
    }

    /// The same with the parameters of the integration.
    #[must_use]
    pub fn with_parameters(self, parameters: &'a Parameters) -> Variables<'a> {
        Variables { parameters: Some(parameters), ..self }
    }

    /// The same with what receives the event.
    pub fn received_by(mut self, recipient: MemberId) -> Variables<'a> {
        self.recipient = Some(recipient);
        self
    }

    /// The event's data, empty when there is none.
    pub fn data(&self) -> &str {
        self.event.data.as_deref().unwrap_or_default()
    }

    /// The event's data as JSON when it is an object; parsed once, when first asked for.
    pub fn object(&self) -> Option<&Value> {
        let parse = || json::parse(self.data()).filter(Value::is_object);
        self.data
            .get_or_init(|| if self.data().trim_start().starts_with('{') { parse() } else { None })
            .as_ref()
    }

    /// What no data of a device can replace: a predefined name, a secret or a parameter.
    fn own(&self, name: &str) -> Option<Cow<'_, str>> {
        let secret = || self.secrets.0.get(name);
        let parameter = || self.parameters?.get(name);
        self.predefined(name).or_else(|| secret().or_else(parameter).map(|text| Cow::Borrowed(text.as_str())))
    }

    fn event_json(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("event".into(), (&*self.event.name).into());
        object.insert("data".into(), self.data().into());
        object.insert("published_at".into(), self.event.published_at.to_string().into());
        object.insert("coreid".into(), (&*self.event.coreid).into());
        Value::Object(object).to_string()
    }

    fn predefined(&self, name: &str) -> Option<Cow<'_, str>> {
        let shown = |value: Option<String>| Cow::Owned(value.unwrap_or_default());
        Some(match name {
            "PARTICLE_DEVICE_ID" | "SPARK_CORE_ID" => Cow::Borrowed(&*self.event.coreid),
            "PARTICLE_EVENT_NAME" | "SPARK_EVENT_NAME" => Cow::Borrowed(&*self.event.name),
            "PARTICLE_EVENT_VALUE" | "SPARK_EVENT_VALUE" => Cow::Borrowed(self.data()),
            "PARTICLE_PUBLISHED_AT" | "SPARK_PUBLISHED_AT" => self.event.published_at.to_string().into(),
            "PARTICLE_EVENT_ID" => self.event.id.to_string().into(),
            "PARTICLE_EVENT_JSON" => self.event_json().into(),
            "PARTICLE_EVENT_BASE64" => BASE64.encode(self.event_json()).into(),
            "PRODUCT_ID" => shown(self.product.map(|id| id.to_string())),
            "PRODUCT_USER_ID" => shown(self.product_user.map(|id| id.to_string())),
            "PRODUCT_VERSION" => shown(self.event.version.map(|v| v.to_string())),
            _ => return None,
        })
    }
}

/// Whether a name is one of the predefined ones, which neither a secret nor a device can replace.
pub fn is_predefined(name: &str) -> bool {
    const OTHERS: [&str; 3] = ["PRODUCT_ID", "PRODUCT_USER_ID", "PRODUCT_VERSION"];
    const OF_EVENT: [&str; 11] = [
        "PARTICLE_DEVICE_ID",
        "PARTICLE_EVENT_NAME",
        "PARTICLE_EVENT_VALUE",
        "PARTICLE_PUBLISHED_AT",
        "PARTICLE_EVENT_ID",
        "PARTICLE_EVENT_JSON",
        "PARTICLE_EVENT_BASE64",
        "SPARK_CORE_ID",
        "SPARK_EVENT_NAME",
        "SPARK_EVENT_VALUE",
        "SPARK_PUBLISHED_AT",
    ];
    OTHERS.contains(&name) || OF_EVENT.contains(&name)
}

/// A scope that tells of the last value rendered whether the integration's owner chose it: a parameter or a secret, and
/// nothing that a device sent.
pub(crate) struct Origins<'s> {
    scope: &'s dyn Scope,
    is_owners: Cell<bool>,
}

impl<'s> Origins<'s> {
    pub(crate) fn new(scope: &'s dyn Scope) -> Origins<'s> {
        Origins { scope, is_owners: Cell::new(false) }
    }

    pub(crate) fn is_owners(&self) -> bool {
        self.is_owners.get()
    }
}

impl Scope for Origins<'_> {
    fn lookup(&self, name: &str) -> Option<Var<'_>> {
        self.scope.lookup(name)
    }

    fn rendered(&self, path: &str, found: Option<&Var<'_>>) {
        // What a device sends is JSON, or has one of the predefined names; inside a section over one of those `.` has it.
        let is_text = matches!(found, Some(Var::Text(_)));
        self.is_owners.set(is_text && !matches!(path, "" | ".") && !is_predefined(path));
        self.scope.rendered(path, found);
    }
}

impl Scope for Variables<'_> {
    fn lookup(&self, name: &str) -> Option<Var<'_>> {
        self.fixed(name).or_else(|| self.object()?.get(name).map(Var::Json))
    }

    fn fixed(&self, name: &str) -> Option<Var<'_>> {
        self.own(name).map(Var::Text)
    }

    fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    fn rendered(&self, path: &str, found: Option<&Var<'_>>) {
        let Some(used) = self.used else { return };
        let was = match found {
            None => Was::Missing,
            Some(Var::Json(value)) if value.is_boolean() || json::is_number(value) => Was::Unquoted,
            Some(_) => Was::Other,
        };
        let mut used = used.borrow_mut();
        if let Some(known) = used.0.get_mut(path) {
            *known = was.max(*known);
        } else if used.0.len() < USED_NAMES && !path.is_empty() {
            used.0.insert(path.to_owned(), was);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tributary_domain::Timestamp;
    use tributary_template::Template;

    use super::*;
    use crate::test_support::event;

    fn render(source: &str, data: &str) -> String {
        let mut event = event(data);
        event.published_at = Timestamp(0);
        let secrets = Secrets([("REGION_HOST".into(), "eu.example".into())].into());
        let parameters = Parameters::from([("SITE".into(), "one".into())]);
        let variables =
            Variables::new(&event, Some(ProductId(7)), None, &secrets).with_parameters(&parameters);
        let mut out = String::new();
        Template::parse(source).unwrap().render_into(&variables, &mut out, 100_000).unwrap();
        out
    }

    #[test]
    fn a_device_forges_no_name_in_any_section() {
        const NAMES: [&str; 17] = [
            "PARTICLE_DEVICE_ID",
            "PARTICLE_EVENT_NAME",
            "PARTICLE_EVENT_VALUE",
            "PARTICLE_PUBLISHED_AT",
            "PARTICLE_EVENT_ID",
            "PARTICLE_EVENT_JSON",
            "PARTICLE_EVENT_BASE64",
            "SPARK_CORE_ID",
            "SPARK_EVENT_NAME",
            "SPARK_EVENT_VALUE",
            "SPARK_PUBLISHED_AT",
            "PRODUCT_ID",
            "PRODUCT_USER_ID",
            "PRODUCT_VERSION",
            "REGION_HOST",
            "SITE",
            "OTHER",
        ];
        for name in NAMES {
            let forged = serde_json::json!({name: "forged", "in": {name: "forged"}});
            let data = serde_json::json!({"list": [forged], "one": forged, name: "forged"}).to_string();
            let tag = format!("{{{{{{{name}}}}}}}");
            let plain = render(&tag, &data);
            for around in ["list", "one"] {
                let inside = render(
                    &format!("{{{{#{around}}}}}{tag}{{{{#in}}}}{tag}{{{{/in}}}}{{{{/{around}}}}}"),
                    &data,
                );
                assert_eq!(inside, plain.repeat(2), "{name} in {around}");
            }
            assert_eq!(plain == "forged", name == "OTHER", "{name}");
        }
    }

    #[test]
    fn the_whole_event_is_there_as_json_and_as_base64_of_the_same() {
        for data in ["", "text", "{\"a\":\"ß\\n\"}"] {
            let json = render("{{{PARTICLE_EVENT_JSON}}}", data);
            let decoded = BASE64.decode(render("{{{PARTICLE_EVENT_BASE64}}}", data)).unwrap();
            assert_eq!(String::from_utf8(decoded).unwrap(), json);
            let parsed: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(
                (&parsed["data"], &parsed["published_at"]),
                (&data.into(), &"1970-01-01T00:00:00.000Z".into())
            );
            assert!(parsed["event"].is_string() && parsed["coreid"].is_string());
        }
    }
}
