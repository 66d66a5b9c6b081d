//! What templates render to where the specification's cases leave off, and the limits.
#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Value, json};
use tributary_template::{BYTES_PER_STEP, MAX_RENDER_STEPS, Piece, RenderError, Scope, Template, Var};

fn render(source: &str, data: &Value) -> String {
    let mut out = String::new();
    Template::parse(source).unwrap().render_into(data, &mut out, 1 << 20).unwrap();
    out
}

fn check(cases: &[(&str, Value, &str)]) {
    for (source, data, expected) in cases {
        assert_eq!(render(source, data), *expected, "{source:?} with {data}");
    }
}

#[test]
fn escaping_covers_the_five_characters_and_nothing_else() {
    check(&[
        ("{{x}}", json!({"x": "& < > \" ' / ` ="}), "&amp; &lt; &gt; &quot; &#39; / ` ="),
        ("{{{x}}}{{&x}}", json!({"x": "&<>\"'"}), "&<>\"'&<>\"'"),
        ("{{x}}", json!({"x": "é<ü"}), "é&lt;ü"),
        ("'{{x}}'", json!({"x": "plain"}), "'plain'"),
    ]);
}

#[test]
fn values_that_are_no_text_render_as_json() {
    check(&[
        (
            "{{i}} {{f}} {{t}} {{n}}|{{missing}}",
            json!({"i": 10, "f": 0.25, "t": true, "n": null}),
            "10 0.25 true |",
        ),
        ("{{x}} {{y}}", json!({"x": -3, "y": u64::MAX}), "-3 18446744073709551615"),
        (
            "{{{o}}} {{{l}}}",
            json!({"o": {"b": "'", "a": 1}, "l": [1, "x", null]}),
            r#"{"b":"'","a":1} [1,"x",null]"#,
        ),
        ("{{o}}", json!({"o": {"a": "<"}}), "{&quot;a&quot;:&quot;&lt;&quot;}"),
        ("{{{.}}}", json!({"a": 1}), r#"{"a":1}"#),
    ]);
}

#[test]
fn paths_walk_objects_and_lists() {
    check(&[
        ("{{c.0.ca}}", json!({"c": [{"ca": 7}]}), "7"),
        ("{{c.1}}{{c.01}}{{c.-1}}{{c.x}}", json!({"c": [7]}), ""),
        ("{{c.0}}", json!({"c": {"0": "key"}}), "key"),
        ("{{#rows}}{{0}}-{{1}} {{/rows}}", json!({"rows": [[1, 2], [3, 4]]}), "1-2 3-4 "),
        ("{{0.a}}", json!([{"a": 1}]), "1"),
        ("{{x.y}}", json!({"x": "text"}), ""),
        ("{{#a}}{{b.c}}{{/a}}", json!({"a": {"b": 1}, "b": {"c": 2}}), ""),
        ("{{Device Name}}", json!({"Device Name": "x"}), "x"),
        ("{{a..b}}", json!({"a": {"": {"b": 1}}}), "1"),
    ]);
}

#[test]
fn sections_take_what_is_false_from_mustache_js() {
    let truths = [
        (json!(false), false),
        (json!(null), false),
        (json!([]), false),
        (json!(""), false),
        (json!(0), false),
        (json!(-0.0), false),
        (json!(true), true),
        (json!("0"), true),
        (json!(0.5), true),
        (json!({}), true),
        (json!([0]), true),
    ];
    for (value, truth) in truths {
        let expected = if truth { "yes" } else { "no" };
        assert_eq!(render("{{#x}}yes{{/x}}{{^x}}no{{/x}}", &json!({ "x": value })), expected, "{value}");
    }
}

#[test]
fn sections_nest_and_shadow() {
    check(&[
        ("{{#l}}{{#l}}{{.}}{{/l}};{{/l}}", json!({"l": [1, 2]}), "12;12;"),
        ("{{#l}}{{.}}{{/l}}", json!({"l": [0, "", null, false]}), "0false"),
        ("{{#o}}{{x}}{{/o}}", json!({"o": {"x": null}, "x": "outer"}), ""),
        ("{{^a}}{{^b}}neither{{/b}}{{/a}}", json!({}), "neither"),
        ("{{#t}}{{.}}{{/t}}", json!({"t": true}), "true"),
    ]);
}

#[test]
fn standalone_lines_disappear_whole() {
    check(&[
        ("one\n{{#y}}\ntwo\n{{/y}}\nthree\n", json!({"y": true}), "one\ntwo\nthree\n"),
        ("a\n  {{#y}} {{! both }}  \nb\n {{/y}} \t\r\nc", json!({"y": true}), "a\nb\nc"),
        ("a\n {{#y}}{{/y}} \nb", json!({"y": true}), "a\nb"),
        ("a {{! x\n}} \nb", json!({}), "a  \nb"),
        (" {{#y}} {{y}} {{/y}} \n", json!({"y": 1}), "  1  \n"),
        ("{{#y}}\n\n{{/y}}\n\n", json!({"y": 1}), "\n\n"),
        ("{{=<% %>=}}\n<%={{ }}=%>\n{{y}}", json!({"y": 1}), "1"),
        ("  {{! only }}  ", json!({}), ""),
    ]);
}

#[test]
fn tags_may_be_spaced_and_delimiters_changed() {
    check(&[
        ("{{ # y }}{{ & y }}{{ { y }}}{{\ny\n}}{{ / y }}{{ ! c }}", json!({"y": "<"}), "<<&lt;"),
        ("{{=<% %>=}}<%{y}%><%&y%><%y%>{{y}}", json!({"y": "<"}), "<<&lt;{{y}}"),
        ("{{= [[ ]] = }}[[y]]", json!({"y": 1}), "1"),
        ("{{=| |=}}|y|{{y}}", json!({"y": 1}), "1{{y}}"),
        (r#"{"a":{{y}}}"#, json!({"y": 1}), r#"{"a":1}"#),
        (r#"{"a":{{{y}}}}"#, json!({"y": 1}), r#"{"a":1}"#),
    ]);
}

#[test]
fn a_value_is_never_rendered_as_a_template() {
    check(&[("{{{x}}}", json!({"x": "{{y}}", "y": "no"}), "{{y}}")]);
}

/// Names that are texts, as the variables of a delivery are.
struct Texts(HashMap<&'static str, &'static str>);

impl Scope for Texts {
    fn lookup(&self, name: &str) -> Option<Var<'_>> {
        self.0.get(name).map(|text| Var::Text(Cow::Borrowed(text)))
    }
}

/// JSON, and a text that is made anew for each lookup.
struct Made<'a>(&'a Value);

impl Scope for Made<'_> {
    fn lookup(&self, name: &str) -> Option<Var<'_>> {
        match name {
            "MADE" => Some(Var::Text(Cow::Owned("m".repeat(10 * BYTES_PER_STEP)))),
            _ => self.0.lookup(name),
        }
    }
}

#[test]
fn texts_of_a_scope_are_values_and_sections() {
    let scope = Texts(HashMap::from([("a", "<a>"), ("empty", "")]));
    let cases = [
        ("{{a}}{{{a}}}", "&lt;a&gt;<a>"),
        ("{{#a}}{{{.}}}{{{a}}}{{/a}}{{^a}}none{{/a}}", "<a><a>"),
        ("{{#empty}}some{{/empty}}{{^empty}}none{{/empty}}", "none"),
        ("{{a.b}}{{a.0}}{{nothing}}{{.}}", ""),
    ];
    for (source, expected) in cases {
        let mut out = String::new();
        Template::parse(source).unwrap().render_into(&scope, &mut out, 100).unwrap();
        assert_eq!(out, expected, "{source}");
    }
}

/// JSON in which some names are fixed.
struct Fixed<'a>(&'a Value);

impl Scope for Fixed<'_> {
    fn lookup(&self, name: &str) -> Option<Var<'_>> {
        self.fixed(name).or_else(|| self.0.lookup(name))
    }

    fn fixed(&self, name: &str) -> Option<Var<'_>> {
        match name {
            "ID" => Some(Var::Text(Cow::Borrowed("own"))),
            "NONE" => Some(Var::Text(Cow::Borrowed(""))),
            _ => None,
        }
    }
}

#[test]
fn a_fixed_name_is_the_same_in_every_section() {
    let forged = json!({"ID": "forged", "NONE": "forged", "k": "v"});
    let data = json!({
        "ID": "forged", "l": [forged, {"ID": {"a": "forged"}}], "o": {"ID": "forged", "i": {"ID": ["forged"]}},
        "NONE": "forged", "t": "text"
    });
    for (source, expected) in [
        ("{{ID}}{{NONE}}", "own"),
        ("{{#l}}{{ID}}{{NONE}}{{k}};{{/l}}", "ownv;own;"),
        ("{{#l}}{{ID.a}}{{ID.0}}{{/l}}", ""),
        ("{{#o}}{{#i}}{{{ID}}}{{&ID}}{{#ID}}{{.}}{{/ID}}{{/i}}{{/o}}", "ownownown"),
        ("{{#o}}{{=<% %>=}}<%ID%><%{ID}%><%#i%><%ID%><%/i%><%/o%>", "ownownown"),
        ("{{#o}}{{#NONE}}forged{{/NONE}}{{^NONE}}none{{/NONE}}{{/o}}", "none"),
        ("{{#t}}{{ID}}{{.}}{{/t}}", "owntext"),
        ("{{#ID}}{{ID}}{{#o}}{{ID}}{{/o}}{{/ID}}", "ownown"),
        // Who names the place in the data means it.
        ("{{o.ID}}{{#l}}{{k}}{{/l}}", "forgedv"),
    ] {
        let mut out = String::new();
        Template::parse(source).unwrap().render_into(&Fixed(&data), &mut out, 100).unwrap();
        assert_eq!(out, expected, "{source}");
    }
}

#[test]
fn variables_are_the_first_parts_each_once_in_order() {
    let source = "{{b.c}}{{{A_KEY}}}{{#l.0}}{{.}}{{&x}}{{b}}{{/l.0}}{{^n}}{{/n}}{{! c }}";
    let template = Template::parse(source).unwrap();
    assert_eq!(template.variables().collect::<Vec<_>>(), ["b", "A_KEY", "l", "x", "n"]);
}

#[test]
fn only_a_template_without_tags_is_a_literal() {
    for (source, expected) in [
        ("", Some("")),
        ("a } { b\n", Some("a } { b\n")),
        ("a{{! no name }}", None),
        ("{{=<% %>=}}", None),
        ("{{x}}", None),
    ] {
        assert_eq!(Template::parse(source).unwrap().as_literal(), expected, "{source}");
    }
}

#[test]
fn pieces_tell_literals_from_values() {
    let template = Template::parse("a{{x}}{{missing}}b{{#l}}{{{.}}},{{/l}}{{n}}").unwrap();
    let data = json!({"x": "<1>", "l": [1, "two", {"k": []}], "n": null});
    let mut pieces = Vec::new();
    let mut sink = |piece: Piece<'_>| {
        pieces.push(match piece {
            Piece::Literal(text) => format!("literal {text}"),
            Piece::Value(text) => format!("value {text}"),
        });
        Ok(())
    };
    template.render_pieces(&data, &mut sink).unwrap();
    assert_eq!(
        pieces,
        [
            "literal a",
            "value &lt;1&gt;",
            "literal b",
            "value 1",
            "literal ,",
            "value two",
            "literal ,",
            r#"value {"k":[]}"#,
            "literal ,",
        ]
    );
}

#[test]
fn an_error_of_the_sink_ends_the_rendering() {
    let template = Template::parse("a{{x}}b").unwrap();
    let mut calls = 0;
    let result = template.render_pieces(&json!({"x": 1}), &mut |_| {
        calls += 1;
        if calls == 2 { Err(RenderError::TooLong { limit: 1 }) } else { Ok(()) }
    });
    assert_eq!((result, calls), (Err(RenderError::TooLong { limit: 1 }), 2));
}

#[test]
fn output_past_the_limit_fails_and_leaves_the_buffer_as_it_was() {
    let data = json!({"s": "<<", "o": {"a": [1, 2, 3]}});
    for (source, bytes) in [("12345", 5), ("{{s}}", 8), ("{{{s}}}", 2), ("{{{o}}}", 13), ("a{{s}}b", 10)] {
        let template = Template::parse(source).unwrap();
        let mut out = String::from("before ");
        assert_eq!(
            template.render_into(&data, &mut out, bytes - 1),
            Err(RenderError::TooLong { limit: bytes - 1 }),
            "{source}"
        );
        assert_eq!(out, "before ", "{source}");
        template.render_into(&data, &mut out, bytes).unwrap();
        assert_eq!(out.len(), "before ".len() + bytes, "{source}");
    }
}

#[test]
fn work_without_output_is_bounded() {
    let data = json!({"l": vec![0; 2_000], "deep": {"l": vec![0; 2_000]}});
    let too_much = Err(RenderError::TooMuchWork { limit: MAX_RENDER_STEPS });
    for source in [
        "{{#l}}{{#l}}{{/l}}{{/l}}",
        "{{#l}}{{#l}}{{^l}}x{{/l}}{{/l}}{{/l}}",
        "{{#deep}}{{#l}}{{#l}}{{missing.name}}{{/l}}{{/l}}{{/deep}}",
    ] {
        let mut out = String::new();
        assert_eq!(Template::parse(source).unwrap().render_into(&data, &mut out, 100), too_much, "{source}");
        assert_eq!(
            Template::parse(source).unwrap().render_pieces(&data, &mut |_| Ok(())),
            too_much,
            "{source}"
        );
    }
}

#[test]
fn large_values_count_as_work_even_when_nobody_limits_the_output() {
    let rounds = MAX_RENDER_STEPS / 10;
    let data = json!({"l": vec![0; rounds], "big": "x".repeat(10 * BYTES_PER_STEP)});
    let template = Template::parse("{{#l}}{{{big}}}{{/l}}").unwrap();
    let too_much = Err(RenderError::TooMuchWork { limit: MAX_RENDER_STEPS });
    assert_eq!(template.render_pieces(&data, &mut |_| Ok(())), too_much);

    // A text that is made for each lookup costs as much, even when nothing of it is rendered.
    let template = Template::parse("{{#l}}{{MADE.x}}{{/l}}").unwrap();
    assert_eq!(template.render_pieces(&Made(&data), &mut |_| Ok(())), too_much);
}
