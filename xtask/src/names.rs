//! Modules are named after what they do, not after the fact that several places use them.

use crate::files::{File, Finding, Tree};
use crate::mask;

const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helper", "helpers", "common", "misc"];

/// No Rust module, inline or in a file, carries one of [`EMPTY_NAMES`].
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(|file| in_path(file).into_iter().chain(in_code(file))).collect()
}

fn told(file: &File, line: usize, name: &str) -> Finding {
    file.finding(line, format!("a module named `{name}` says nothing: name it after what it does"))
}

fn in_path(file: &File) -> Option<Finding> {
    let parts = file.path.trim_end_matches(".rs").split('/');
    parts.filter(|part| EMPTY_NAMES.contains(part)).map(|part| told(file, 1, part)).next()
}

/// Inline modules only: a declared one is found by its file.
fn in_code(file: &File) -> Vec<Finding> {
    let code = mask::code_only(&file.text);
    let found = code.lines().enumerate().filter_map(|(index, line)| {
        let (_, after) = line.split_once("mod ")?;
        let name = after.trim_end().strip_suffix('{')?.trim();
        EMPTY_NAMES.contains(&name).then(|| told(file, index + 1, name))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::files::{File, Tree};

    #[test]
    fn empty_names_are_found_in_paths_and_in_code() {
        let table = [
            ("crates/a/src/utils.rs", "", 1),
            ("crates/a/tests/common/mod.rs", "", 1),
            ("crates/a/src/lib.rs", "\nmod helpers {\n}", 1),
            ("crates/a/src/lib.rs", "// mod helpers {", 0),
            ("crates/a/src/commonality.rs", "mod utilities {", 0),
        ];
        for (path, text, count) in table {
            assert_eq!(check(&Tree::of(vec![File::new(path, text)], &[])).len(), count, "{path} {text}");
        }
    }
}
