//! What is refused, where, and with which advice.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use tributary_template::{
    MAX_DELIMITER_BYTES, MAX_NAME_BYTES, MAX_NESTING, MAX_SOURCE_BYTES, ParseError, Template,
};

fn refusal(source: &str) -> ParseError {
    Template::parse(source).unwrap_err()
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (source, expected) in [
        ("ab {{x", "line 1, column 4: the tag opened with `{{` is not closed; add `}}` to it"),
        ("é\nü {{x}", "line 2, column 3: the tag opened with `{{` is not closed; add `}}` to it"),
        ("{{! never", "line 1, column 1: the tag opened with `{{` is not closed; add `}}` to it"),
        ("{{{x}} {{{y}}}", "line 1, column 1: the tag opened with `{{{` is not closed; add `}}}` to it"),
        ("{{=<% %>=}}<%{x%>", "line 1, column 12: the tag opened with `<%{` is not closed; add `}%>` to it"),
        (
            "{{x {{y}}",
            "line 1, column 1: there is a `{{` inside this tag; add the `}}` that is missing before it",
        ),
        ("{{}}", "line 1, column 1: the tag has no name; write it between `{{` and `}}`"),
        ("{{# }}", "line 1, column 1: the tag has no name; write it between `{{` and `}}`"),
        ("{{{}}}", "line 1, column 1: the tag has no name; write it between `{{` and `}}`"),
        (
            "{{#never}}closed",
            "line 1, column 1: the section `never` is not closed; add `{{/never}}` where it ends",
        ),
        (
            "a\n {{^x}}{{#y}}{{/y}}",
            "line 2, column 2: the section `x` is not closed; add `{{/x}}` where it ends",
        ),
        (
            "x{{/a}}",
            "line 1, column 2: `{{/a}}` closes a section that is not open; remove it, or add `{{#a}}` before it",
        ),
        (
            "{{#a}}\n{{#b}}{{/a}}",
            "line 2, column 7: `{{/a}}` closes a section while `b` (line 2, column 1) is open; add `{{/b}}` before it",
        ),
        (
            "{{> other}}",
            "line 1, column 1: partials are not supported; write the text itself in place of `{{>…}}`",
        ),
    ] {
        assert_eq!(refusal(source).to_string(), expected, "{source}");
    }
}

#[test]
fn delimiters_that_cannot_be_used_are_refused() {
    let long = "<".repeat(MAX_DELIMITER_BYTES + 1);
    let too_long = format!("{{{{={long} >=}}}}");
    for source in ["{{=a=}}", "{{==}}", "{{=a b c=}}", "{{=a b}}", "{{=a b", "{{=a = b=}}", &too_long] {
        let message = refusal(&format!("\n {source}")).to_string();
        assert!(
            message.starts_with("line 2, column 2: delimiters cannot be set like this"),
            "{source}: {message}"
        );
    }
    let longest = "<".repeat(MAX_DELIMITER_BYTES);
    let source = format!("{{{{={longest} >=}}}}{longest}x>");
    let mut out = String::new();
    Template::parse(&source).unwrap().render_into(&json!({"x": 1}), &mut out, 10).unwrap();
    assert_eq!(out, "1");
}

#[test]
fn size_nesting_and_names_are_bounded() {
    assert!(Template::parse(&"x".repeat(MAX_SOURCE_BYTES)).is_ok());
    let error = refusal(&"x".repeat(MAX_SOURCE_BYTES + 1)).to_string();
    assert_eq!(error, "line 1, column 1: the template has 1048577 bytes; make it at most 1048576 bytes");

    let nested = |depth| format!("{}{}", "{{#a}}".repeat(depth), "{{/a}}".repeat(depth));
    assert!(Template::parse(&nested(MAX_NESTING)).is_ok());
    let error = refusal(&nested(MAX_NESTING + 1));
    assert_eq!((error.line, error.column), (1, 6 * MAX_NESTING + 1));
    assert_eq!(error.message, "more than 64 sections inside each other; nest fewer");
    assert!(Template::parse(&"{{#a}}".repeat(MAX_SOURCE_BYTES / 6)).is_err());

    let named = |bytes| format!("{{{{{}}}}}", "n".repeat(bytes));
    assert!(Template::parse(&named(MAX_NAME_BYTES)).is_ok());
    assert_eq!(
        refusal(&named(MAX_NAME_BYTES + 1)).message,
        "the name has 257 bytes; use one of up to 256 bytes"
    );
}

#[test]
fn the_most_nested_template_renders_on_a_small_stack() {
    let source = format!("{}{{{{x}}}}{}", "{{#a}}".repeat(MAX_NESTING), "{{/a}}".repeat(MAX_NESTING));
    let render = move || {
        let mut out = String::new();
        let data = json!({"a": [{"k": 1}], "x": "deep"});
        Template::parse(&source).unwrap().render_into(&data, &mut out, 100).unwrap();
        out
    };
    let thread = std::thread::Builder::new().stack_size(256 * 1024).spawn(render).unwrap();
    assert_eq!(thread.join().unwrap(), "deep");
}
