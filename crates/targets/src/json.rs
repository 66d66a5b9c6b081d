//! A JSON object whose keys and texts are templates: flattened once, then written without building a tree.

use serde_json::{Map, Value};
use tributary_template::{RenderError, Scope, json};

use crate::{
    fields::Reader,
    text::{self, Text, within},
};

/// The members of an object, without its braces.
#[derive(Clone, Debug, Default)]
pub(crate) struct JsonTemplate {
    segments: Box<[Segment]>,
    /// The keys of the outermost object.
    keys: Box<[Text]>,
}

#[derive(Clone, Debug)]
enum Segment {
    /// Written as it is.
    Raw(Box<str>),
    /// Rendered into the inside of a JSON string.
    String(Text),
}

impl JsonTemplate {
    /// Flattens `object`, which stands at `path`; errors go to `reader`.
    pub(crate) fn compile(reader: &mut Reader<'_>, path: &str, object: &Map<String, Value>) -> JsonTemplate {
        let mut flattener = Flattener { reader, segments: Vec::new(), raw: String::new() };
        flattener.members(object, path);
        flattener.flush();
        let segments = flattener.segments.into();
        let keys = object.keys().filter_map(|key| Text::parse(key).ok()).collect();
        JsonTemplate { segments, keys }
    }

    /// Whether the object has no member.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys of the outermost object.
    pub(crate) fn keys(&self) -> &[Text] {
        &self.keys
    }

    /// Appends the members, separated by commas; fails once `out` is longer than `limit` bytes.
    pub(crate) fn push_members(
        &self,
        scope: &dyn Scope,
        out: &mut String,
        limit: usize,
    ) -> Result<(), RenderError> {
        for segment in &self.segments {
            match segment {
                Segment::Raw(raw) => out.push_str(raw),
                Segment::String(text) => text.push_escaped(scope, out, limit, text::json)?,
            }
        }
        within(out, limit)
    }
}

/// Walks a value and joins neighbouring literal parts.
struct Flattener<'r, 'c> {
    reader: &'r mut Reader<'c>,
    segments: Vec<Segment>,
    raw: String,
}

impl Flattener<'_, '_> {
    fn members(&mut self, object: &Map<String, Value>, path: &str) {
        for (n, (key, value)) in object.iter().enumerate() {
            let path = format!("{path}.{key}");
            self.raw.push_str(if n > 0 { "," } else { "" });
            self.string(key, &path);
            self.raw.push(':');
            self.value(value, &path);
        }
    }

    fn value(&mut self, value: &Value, path: &str) {
        match value {
            Value::String(text) => self.string(text, path),
            Value::Array(list) => {
                self.raw.push('[');
                for (n, element) in list.iter().enumerate() {
                    self.raw.push_str(if n > 0 { "," } else { "" });
                    self.value(element, &format!("{path}.{n}"));
                }
                self.raw.push(']');
            }
            Value::Object(object) => {
                self.raw.push('{');
                self.members(object, path);
                self.raw.push('}');
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => self.raw.push_str(&json::text(value)),
        }
    }

    fn string(&mut self, source: &str, path: &str) {
        self.raw.push('"');
        match self.reader.template(path, source) {
            Some(Text::Literal(literal)) => text::json(&mut self.raw, &literal),
            Some(template) => {
                self.flush();
                self.segments.push(Segment::String(template));
            }
            None => {}
        }
        self.raw.push('"');
    }

    fn flush(&mut self) {
        if !self.raw.is_empty() {
            self.segments.push(Segment::Raw(std::mem::take(&mut self.raw).into()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn render(template: &Value, scope: &Value) -> Value {
        let config = Map::new();
        let mut reader = Reader::new(&config);
        let compiled = JsonTemplate::compile(&mut reader, "json", template.as_object().unwrap());
        reader.finish().unwrap();
        let mut out = String::from("{");
        compiled.push_members(scope, &mut out, 1_000).unwrap();
        out.push('}');
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn keys_and_texts_are_templates_and_everything_else_stays() {
        let template = json!({
            "{{k}}": "{{{v}}}", "n": 1.50, "flag": true, "none": null, "list": ["{{k}}", 2, {"x\"{{k}}": []}], "o": {}
        });
        let rendered = render(&template, &json!({"k": "a\"b", "v": "line\nnext\\"}));
        assert_eq!(
            rendered,
            json!({
                "a&quot;b": "line\nnext\\", "n": 1.50, "flag": true, "none": null,
                "list": ["a&quot;b", 2, {"x\"a&quot;b": []}], "o": {}
            })
        );
    }

    #[test]
    fn an_object_without_tags_is_one_segment() {
        let config = Map::new();
        let mut reader = Reader::new(&config);
        let object = json!({"a": [1, {"b": "c"}], "d": "e"});
        let compiled = JsonTemplate::compile(&mut reader, "json", object.as_object().unwrap());
        assert_eq!(compiled.segments.len(), 1);
    }

    #[test]
    fn a_part_that_does_not_parse_is_named_by_its_path() {
        let config = Map::new();
        let mut reader = Reader::new(&config);
        let object = json!({"a": {"b": ["x", "{{#open}}"]}, "{{": 1});
        JsonTemplate::compile(&mut reader, "json", object.as_object().unwrap());
        let fields: Vec<_> = reader.finish().unwrap_err().into_iter().map(|error| error.field).collect();
        assert_eq!(fields, ["json.a.b.1", "json.{{"]);
    }

    #[test]
    fn the_limit_holds() {
        let config = Map::new();
        let mut reader = Reader::new(&config);
        let object = json!({"a": "{{x}}", "b": "literal"});
        let compiled = JsonTemplate::compile(&mut reader, "json", object.as_object().unwrap());
        let scope = json!({"x": "12345"});
        assert!(compiled.push_members(&scope, &mut String::new(), 25).is_ok());
        assert!(compiled.push_members(&scope, &mut String::new(), 24).is_err());
    }
}
