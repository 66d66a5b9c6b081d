//! The four default fields of a request (contract 4.3), which keys of the user's replace.

use std::fmt::Write as _;

use tributary_template::{RenderError, Scope};

use crate::{
    Variables,
    text::{self, Escape, Text},
};

/// Their names, in their order.
const NAMES: [&str; 4] = ["event", "data", "published_at", "coreid"];

/// Which of them are sent: a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Defaults(u8);

impl Defaults {
    pub(super) const ALL: Defaults = Defaults(0b1111);
    pub(super) const NONE: Defaults = Defaults(0);

    /// Whether there are none.
    pub(super) fn is_none(self) -> bool {
        self == Defaults::NONE
    }

    /// Without the one that `key` replaces.
    pub(super) fn without(self, key: &str) -> Defaults {
        NAMES.iter().position(|name| *name == key).map_or(self, |n| Defaults(self.0 & !(1 << n)))
    }

    /// Without those that the user's keys replace.
    pub(super) fn without_keys(
        mut self,
        keys: &[Text],
        scope: &dyn Scope,
        limit: usize,
    ) -> Result<Defaults, RenderError> {
        for key in keys {
            if self.is_none() {
                break;
            }
            self = match key.literal() {
                Some(key) => self.without(key),
                None => self.without(&key.render(scope, limit)?),
            };
        }
        Ok(self)
    }

    fn push(self, out: &mut String, variables: &Variables<'_>, dress: Dress) {
        let event = variables.event;
        for (n, name) in NAMES.iter().enumerate().filter(|(n, _)| self.0 & (1 << n) != 0) {
            out.push_str(if out.len() > dress.begins_at { dress.between } else { "" });
            out.push_str(dress.before_name);
            out.push_str(name);
            out.push_str(dress.before_value);
            match n {
                0 => (dress.escape)(out, &event.name),
                1 => (dress.escape)(out, variables.data()),
                2 if dress.before_value == "=" => (dress.escape)(out, &event.published_at.to_string()),
                // A time has no character that JSON escapes, and writing to a string cannot fail.
                2 => _ = write!(out, "{}", event.published_at),
                _ => (dress.escape)(out, &event.coreid),
            }
            out.push_str(dress.after_value);
        }
    }

    /// Appends `name=value` pairs joined by `&`, to pairs that begin at `begins_at`.
    pub(super) fn push_pairs(self, out: &mut String, begins_at: usize, variables: &Variables<'_>) {
        let dress = Dress {
            begins_at,
            between: "&",
            before_name: "",
            before_value: "=",
            after_value: "",
            escape: text::percent,
        };
        self.push(out, variables, dress);
    }

    /// Appends the members of a JSON object joined by commas, to members that begin at the end of `out`.
    pub(super) fn push_members(self, out: &mut String, variables: &Variables<'_>) {
        let dress = Dress {
            begins_at: out.len(),
            between: ",",
            before_name: "\"",
            before_value: "\":\"",
            after_value: "\"",
            escape: text::json,
        };
        self.push(out, variables, dress);
    }
}

/// What stands around names and values.
#[derive(Clone, Copy)]
struct Dress {
    begins_at: usize,
    between: &'static str,
    before_name: &'static str,
    before_value: &'static str,
    after_value: &'static str,
    escape: Escape,
}
