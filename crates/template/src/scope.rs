//! Names and values: what the outermost names stand for, and how a path is walked in JSON.

use std::borrow::Cow;

use serde_json::Value;

use crate::budget::Budget;
use crate::json;
use crate::program::{Part, list_index};

/// The outermost names of a rendering.
pub trait Scope {
    /// What `name` stands for; `None` for a name it does not know. Also asked for `"."`, the
    /// implicit iterator outside of any section.
    ///
    /// A lookup may happen many times in one rendering, so it should be cheap.
    fn lookup(&self, name: &str) -> Option<Var<'_>>;

    /// What `name` stands for everywhere, also in a section whose own value has a member of that name.
    fn fixed(&self, _name: &str) -> Option<Var<'_>> {
        None
    }

    /// Told of every tag and section that is rendered: its whole path, and what it stands for there. For those who
    /// want to know which names a rendering needed.
    fn rendered(&self, _path: &str, _found: Option<&Var<'_>>) {}

    /// What all renderings with these names may cost together; `None` = each has the whole limit for itself.
    fn budget(&self) -> Option<&Budget> {
        None
    }
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Var<'a> {
    /// A text. In a section it is true unless it is empty.
    Text(Cow<'a, str>),
    /// A JSON value, in which paths can be followed.
    Json(&'a Value),
}

/// The keys of an object, the positions of a list, and `.` for the value itself.
impl Scope for Value {
    fn lookup(&self, name: &str) -> Option<Var<'_>> {
        if name == "." {
            return Some(Var::Json(self));
        }
        let index = list_index(name).map(|i| i as usize);
        member(self, Part { name, index }).map(Var::Json)
    }
}

/// A value that is being rendered, borrowed from the scope or from a section around.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    Text(&'a str),
    Json(&'a Value),
}

impl<'a> Item<'a> {
    pub(crate) fn of(var: &'a Var<'_>) -> Item<'a> {
        match var {
            Var::Text(text) => Item::Text(text),
            Var::Json(value) => Item::Json(value),
        }
    }

    pub(crate) fn to_var(self) -> Var<'a> {
        match self {
            Item::Text(text) => Var::Text(Cow::Borrowed(text)),
            Item::Json(value) => Var::Json(value),
        }
    }

    /// The value at `part`, when this is an object or a list that has it.
    pub(crate) fn member(self, part: Part<'_>) -> Option<&'a Value> {
        match self {
            Item::Text(_) => None,
            Item::Json(value) => member(value, part),
        }
    }

    /// The text of this when it has one as it is: null is the empty text. `None` for what is
    /// rendered as JSON.
    pub(crate) fn as_text(self) -> Option<&'a str> {
        match self {
            Item::Text(text) => Some(text),
            Item::Json(Value::String(text)) => Some(json::integer(text).unwrap_or(text)),
            Item::Json(Value::Null) => Some(""),
            Item::Json(_) => None,
        }
    }

    /// Whether a section over this is rendered. The specification's fixtures name false, null and
    /// the empty list; that 0 and the empty text are false too is mustache.js. An object is true.
    pub(crate) fn is_true(self) -> bool {
        match self {
            Item::Text(text) => !text.is_empty(),
            Item::Json(Value::Null) => false,
            Item::Json(Value::Bool(b)) => *b,
            Item::Json(Value::Number(n)) => n.as_f64() != Some(0.0),
            Item::Json(Value::String(text)) => !text.is_empty(),
            Item::Json(Value::Array(list)) => !list.is_empty(),
            Item::Json(Value::Object(_)) => true,
        }
    }
}

/// The value at `part` of an object or a list.
pub(crate) fn member<'a>(value: &'a Value, part: Part<'_>) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(part.name),
        Value::Array(list) => list.get(part.index?),
        _ => None,
    }
}
