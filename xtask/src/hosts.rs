//! No file names the host of a package registry: where packages come from is the business of each machine.

use crate::files::{File, Finding, Tree};

/// Host names in parts, so that this file does not hold them.
const REGISTRY_HOSTS: [&[&str]; 6] = [
    &["static", "crates", "io"],
    &["index", "crates", "io"],
    &["registry", "npmjs", "org"],
    &["pypi", "org"],
    &["files", "pythonhosted", "org"],
    &["deb", "debian", "org"],
];

/// No text file has one of [`REGISTRY_HOSTS`] in it.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let hosts: Vec<String> = REGISTRY_HOSTS.iter().map(|parts| parts.join(".")).collect();
    tree.files.iter().flat_map(|file| check_file(file, &hosts)).collect()
}

fn check_file(file: &File, hosts: &[String]) -> Vec<Finding> {
    let lines = file.text.lines().enumerate();
    let named = lines.filter_map(|(index, line)| {
        let line = line.to_ascii_lowercase();
        let host = hosts.iter().find(|host| line.contains(host.as_str()))?;
        Some(file.finding(index + 1, format!("names the registry host {host}: leave that to the machine")))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::files::{File, Tree};

    #[test]
    fn hosts_are_found_and_the_index_of_the_lock_file_is_not_one() {
        let npm = ["https://registry", "npmjs", "org/a"].join(".");
        let table = [
            (npm.as_str(), 1),
            ("source = \"registry+https://github.com/rust-lang/crates.io-index\"", 0),
            ("https://crates.io/crates/axum", 0),
        ];
        for (text, count) in table {
            assert_eq!(check(&Tree::of(vec![File::new("a.lock", text)], &[])).len(), count, "{text}");
        }
    }
}
