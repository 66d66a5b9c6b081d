//! What holds for every template and all data.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value};
use tributary_template::{Piece, RenderError, Template};

/// Enough for most of the renderings made here, in bytes.
const LIMIT: usize = 100_000;

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "[<>&'\"a]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[abc]", inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Sources made of the bits that mean something, so that many of them parse.
fn source() -> impl Strategy<Value = String> {
    let name = || "[abc]|[abc]\\.[abc0]|\\.|0";
    let piece = prop_oneof![
        4 => name().prop_map(|n| format!("{{{{{n}}}}}")),
        2 => name().prop_map(|n| format!("{{{{{{{n}}}}}}}")),
        1 => name().prop_map(|n| format!("{{{{& {n} }}}}")),
        4 => ".{0,6}",
        4 => "[ \t\r\n]{0,4}",
        1 => Just("{{! comment\n}}".to_owned()),
        1 => Just("{{=<% %>=}}<%a%><%={{ }}=%>".to_owned()),
    ];
    let text = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    text.prop_recursive(4, 32, 4, move |inner| {
        let section = (name(), prop::sample::select(vec!["#", "^"]), inner.clone())
            .prop_map(|(n, sigil, body)| format!("{{{{{sigil}{n}}}}}{body}{{{{/{n}}}}}"));
        prop::collection::vec(prop_oneof![section, inner], 1..4).prop_map(|parts| parts.concat())
    })
}

/// Anything: mostly broken templates.
fn noise() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[{}#^/!=>&<%|ab. \n\u{e9}]{0,40}"]
}

/// The rendering by pieces, up to a limit.
fn by_pieces(template: &Template, data: &Value, limit: usize) -> Result<String, RenderError> {
    let mut out = String::new();
    template.render_pieces(data, &mut |piece| {
        let (Piece::Literal(text) | Piece::Value(text)) = piece;
        assert!(!text.is_empty());
        if out.len() + text.len() > limit {
            return Err(RenderError::TooLong { limit });
        }
        out.push_str(text);
        Ok(())
    })?;
    Ok(out)
}

fn in_one(template: &Template, data: &Value, limit: usize) -> Result<String, RenderError> {
    let mut out = String::new();
    template.render_into(data, &mut out, limit)?;
    Ok(out)
}

proptest! {
    #[test]
    fn no_source_and_no_data_make_it_panic(source in noise(), data in json()) {
        match Template::parse(&source) {
            Ok(template) => {
                let names = template.variables().count();
                prop_assert!(names <= source.len());
                let _ = in_one(&template, &data, LIMIT);
            }
            Err(error) => {
                let line = source.split('\n').nth(error.line - 1);
                prop_assert!(line.is_some_and(|line| error.column <= line.chars().count()), "{}", error);
            }
        }
    }

    #[test]
    fn pieces_put_together_are_the_rendering(source in source(), data in json()) {
        if let Ok(template) = Template::parse(&source) {
            prop_assert_eq!(by_pieces(&template, &data, LIMIT), in_one(&template, &data, LIMIT));
        }
    }

    #[test]
    fn output_never_passes_the_limit(source in source(), data in json(), limit in 0usize..200) {
        if let Ok(template) = Template::parse(&source) {
            match (in_one(&template, &data, limit), in_one(&template, &data, LIMIT)) {
                (Ok(out), full) => {
                    prop_assert!(out.len() <= limit);
                    prop_assert_eq!(Ok(out), full);
                }
                (Err(_), Ok(full)) => prop_assert!(full.len() > limit),
                (Err(_), Err(_)) => {}
            }
        }
    }

    #[test]
    fn a_text_without_tags_renders_to_itself(text in any::<String>(), data in json()) {
        prop_assume!(!text.contains("{{"));
        let template = Template::parse(&text).unwrap();
        prop_assert_eq!(template.as_literal(), Some(text.as_str()));
        prop_assert_eq!(in_one(&template, &data, text.len()), Ok(text));
    }

    #[test]
    fn escaped_values_have_no_special_characters(value in any::<String>()) {
        let out = in_one(&Template::parse("{{x}}").unwrap(), &serde_json::json!({ "x": value }), LIMIT).unwrap();
        prop_assert!(!out.contains(['<', '>', '"', '\'']));
        let plain = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
        prop_assert_eq!(plain.replace("&amp;", "&"), value);
    }
}
