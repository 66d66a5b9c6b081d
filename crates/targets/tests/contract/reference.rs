//! The reference of all fields, docs/kinds.md, is made of what the kinds say of their fields.

use std::{fmt::Write as _, path::Path};

use tributary_targets::{Field, Kind, Shape, kinds};

const HEAD: &str = "# Fields of integrations\n\n\
    Made from the descriptions in `crates/targets/src/kinds/`; a test compares them. What the kinds do is in docs/targets.md.\n";

fn rows(out: &mut String, fields: &[Field]) {
    out.push_str("\n| field | value | | |\n|---|---|---|---|\n");
    for Field { name, shape, required, default, sensitive, help } in fields {
        let shape = match shape {
            Shape::Text => "text",
            Shape::Flag => "true or false",
            Shape::Object => "object",
            Shape::ObjectOrText => "object or text",
        };
        let mut notes = Vec::new();
        if *required {
            notes.push("required".to_owned());
        }
        if let Some(default) = default {
            notes.push(format!("default `{default}`"));
        }
        if *sensitive {
            notes.push("sensitive".to_owned());
        }
        writeln!(out, "| `{name}` | {shape} | {} | {help} |", notes.join(", ")).unwrap();
    }
}

fn reference() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## Every kind\n");
    rows(&mut out, kinds::COMMON);
    for kind in kinds::ALL {
        writeln!(out, "\n## {}", Kind::name(*kind)).unwrap();
        rows(&mut out, kind.fields());
    }
    out
}

#[test]
fn the_reference_of_fields_says_what_the_kinds_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kinds.md");
    let made = reference();
    if std::fs::read_to_string(&file).unwrap_or_default() != made {
        let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kinds.md");
        std::fs::write(&fresh, made).unwrap();
        panic!("docs/kinds.md is out of date; copy {} there", fresh.display());
    }
}
