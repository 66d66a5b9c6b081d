//! Every case of the Mustache specification's required modules but partials
//! (`tests/mustache-spec`, from github.com/mustache/spec, under its own licence).
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tributary_template::Template;

/// No output of the specification is longer, in bytes.
const LIMIT: usize = 4096;

/// The cases that use a partial. The contract (section 3.3) has no partials, so these templates
/// must be refused, with a message that says so.
const WITH_PARTIALS: [&str; 2] = ["Partial Inheritence", "Post-Partial Behavior"];

/// Runs every case of one file, and gives how many were rendered and how many refused.
fn run(file: &str) -> (usize, usize) {
    let suite: Value = serde_json::from_str(file).unwrap();
    let (mut rendered, mut refused) = (0, 0);
    for case in suite["tests"].as_array().unwrap() {
        let (name, source) = (case["name"].as_str().unwrap(), case["template"].as_str().unwrap());
        let parsed = Template::parse(source);
        if WITH_PARTIALS.contains(&name) {
            let message = parsed.unwrap_err().to_string();
            assert!(message.contains("partials are not supported"), "{name}: {message}");
            refused += 1;
            continue;
        }
        assert!(case.get("partials").is_none(), "{name}");
        let mut out = String::new();
        parsed.unwrap().render_into(&case["data"], &mut out, LIMIT).unwrap();
        assert_eq!(out, case["expected"].as_str().unwrap(), "{name}: {source:?} with {}", case["data"]);
        rendered += 1;
    }
    (rendered, refused)
}

#[test]
fn comments_follow_the_specification() {
    assert_eq!(run(include_str!("mustache-spec/comments.json")), (12, 0));
}

#[test]
fn delimiters_follow_the_specification_and_partials_are_refused() {
    assert_eq!(run(include_str!("mustache-spec/delimiters.json")), (12, 2));
}

#[test]
fn interpolation_follows_the_specification() {
    assert_eq!(run(include_str!("mustache-spec/interpolation.json")), (42, 0));
}

#[test]
fn inverted_sections_follow_the_specification() {
    assert_eq!(run(include_str!("mustache-spec/inverted.json")), (22, 0));
}

#[test]
fn sections_follow_the_specification() {
    assert_eq!(run(include_str!("mustache-spec/sections.json")), (34, 0));
}
