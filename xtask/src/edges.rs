//! Which crate of the workspace may use which: the picture in ARCHITECTURE.md as a table.

use toml::{Table, Value};

use crate::files::{File, Finding, Tree};

/// What the names of the workspace's crates begin with.
const PREFIX: &str = "tributary-";

/// Crate (without prefix) and the crates it may use, tests included. The binary may use every crate.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("domain", &[]),
    ("template", &[]),
    ("store", &["domain"]),
    ("eventlog", &["domain"]),
    ("targets", &["domain", "template"]),
    ("pipeline", &["domain", "template", "store", "eventlog", "targets"]),
    ("control", &["domain", "template", "store", "targets", "pipeline"]),
    ("api", &["domain", "control", "pipeline"]),
    ("console", &["domain", "control", "pipeline"]),
    ("sources", &["domain", "control", "pipeline"]),
];

/// Every crate under `crates/` uses only what the table allows it.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let manifests = tree.files.iter().filter(|file| is_manifest(&file.path));
    manifests.flat_map(check_manifest).collect()
}

fn is_manifest(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["crates", _, "Cargo.toml"])
}

fn check_manifest(file: &File) -> Vec<Finding> {
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![file.finding(1, format!("not a manifest: {error}"))],
    };
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let Some(crate_name) = name.and_then(|name| name.strip_prefix(PREFIX)) else {
        let known = name == Some("tributary");
        return if known {
            Vec::new()
        } else {
            vec![file.finding(1, format!("crate names begin with `{PREFIX}`"))]
        };
    };
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == crate_name) else {
        return vec![
            file.finding(1, format!("`{crate_name}` has no row in the table of xtask/src/edges.rs")),
        ];
    };
    let used = dependencies(&manifest);
    let forbidden = used.into_iter().filter(|used| !allowed.iter().any(|name| used == name));
    forbidden
        .map(|used| {
            let line = file.text.lines().position(|line| line.contains(&format!("{PREFIX}{used}")));
            let message =
                format!("`{crate_name}` must not use `{used}` (ARCHITECTURE.md has the directions)");
            file.finding(line.map_or(1, |index| index + 1), message)
        })
        .collect()
}

/// The workspace crates in every table of dependencies, those for one platform included.
fn dependencies(manifest: &Table) -> Vec<String> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter();
    let tables = platforms.flat_map(Table::values).filter_map(Value::as_table).chain([manifest]);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let listed = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    let names =
        listed.flatten().map(|(key, value)| value.get("package").and_then(Value::as_str).unwrap_or(key));
    names.filter_map(|name| name.strip_prefix(PREFIX)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::files::{File, Tree, told};

    fn findings(folder: &str, text: &str) -> Vec<String> {
        told(&check(&Tree::of(vec![File::new(&format!("crates/{folder}/Cargo.toml"), text)], &[])))
    }

    #[test]
    fn only_the_edges_of_the_table_are_allowed() {
        let manifest = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}\n");
        let table = [
            ("tributary-store", "[dependencies]\ntributary-domain.workspace = true\nserde = \"1\"", None),
            ("tributary-domain", "[dependencies]\ntributary-store.workspace = true", Some(4)),
            ("tributary-api", "[dev-dependencies]\ntributary-store = { path = \"../store\" }", Some(4)),
            (
                "tributary-api",
                "[target.'cfg(unix)'.dependencies]\nx = { package = \"tributary-store\" }",
                Some(4),
            ),
            ("tributary-api", "[build-dependencies]\n\ntributary-targets = \"1\"", Some(5)),
            ("tributary", "[dependencies]\ntributary-store.workspace = true", None),
            ("tributary-new", "", Some(1)),
            ("elsewhere", "", Some(1)),
        ];
        for (name, rest, line) in table {
            let found = findings("x", &manifest(name, rest));
            let expected = line.map(|line| format!("crates/x/Cargo.toml:{line}: "));
            assert_eq!(found.len(), usize::from(expected.is_some()), "{name} {rest}: {found:?}");
            assert!(expected.is_none_or(|start| found[0].starts_with(&start)), "{found:?}");
        }
    }
}
