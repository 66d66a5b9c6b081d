//! Every kind of destination shows the requests that it makes, as inline snapshots in its own file.

use crate::files::{Finding, Tree};
use crate::mask;

const FOLDER: &str = "crates/targets/src/kinds/";

/// A file in [`FOLDER`] other than `mod.rs` has at least one inline snapshot.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let kinds = tree.rust().filter(|file| {
        file.path.strip_prefix(FOLDER).is_some_and(|name| name != "mod.rs" && !name.contains('/'))
    });
    kinds
        .filter(|file| !has_inline_snapshot(&file.text))
        .map(|file| {
            file.finding(1, "no inline snapshot (`assert_snapshot!(request, @\"…\")`) shows its requests")
        })
        .collect()
}

/// An insta macro whose last argument is `@` and a literal.
fn has_inline_snapshot(text: &str) -> bool {
    let code = mask::code_only(text);
    let mut calls = code.match_indices("_snapshot!").map(|(at, _)| &code[at..]);
    calls.any(|call| call.split_once(';').map_or(call, |(statement, _)| statement).contains('@'))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::files::{File, Tree};

    #[test]
    fn a_kind_without_an_inline_snapshot_is_found() {
        let inline = "#[test]\nfn t() {\n  insta::assert_snapshot!(request, @r#\"POST; /\"#);\n}";
        let table = [
            ("crates/targets/src/kinds/webhook.rs", inline, 0),
            ("crates/targets/src/kinds/webhook.rs", "assert_json_snapshot!(r, @\"\");", 0),
            ("crates/targets/src/kinds/webhook.rs", "fn f() {}", 1),
            ("crates/targets/src/kinds/webhook.rs", "// assert_snapshot!(r, @\"\");", 1),
            ("crates/targets/src/kinds/webhook.rs", "assert_snapshot!(\"name@host\", r);", 1),
            ("crates/targets/src/kinds/mod.rs", "", 0),
            ("crates/targets/src/lanes.rs", "", 0),
        ];
        for (path, text, count) in table {
            assert_eq!(check(&Tree::of(vec![File::new(path, text)], &[])).len(), count, "{path} {text}");
        }
    }
}
