//! Paths in the documentation lead somewhere.

use crate::files::{File, Finding, Tree};

/// Text in backticks is taken for a path of the repository when it begins with one of these.
const ROOTS: [&str; 6] = ["crates/", "docs/", "e2e/", "xtask/", "scripts/", ".ci/"];
/// A path with one of these stands for several.
const PLACEHOLDERS: [char; 5] = ['*', '<', '>', '{', '…'];

/// Relative links and paths in backticks, in every Markdown file, exist in the repository.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    pages.flat_map(|file| check_page(tree, file)).collect()
}

fn check_page(tree: &Tree, file: &File) -> Vec<Finding> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut fenced = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let (prose, code) = split_code(line);
        let linked = link_targets(&prose).into_iter().filter_map(|link| resolve(folder, &link));
        let mentioned = code.iter().filter_map(|text| repository_path(text));
        let missing = linked.chain(mentioned).filter(|path| !tree.has(path));
        findings.extend(
            missing.map(|path| file.finding(index + 1, format!("there is no {path} in the repository"))),
        );
    }
    findings
}

/// The line without its inline code, and the pieces of inline code.
fn split_code(line: &str) -> (String, Vec<&str>) {
    let pieces: Vec<&str> = line.split('`').collect();
    let prose: Vec<&str> = pieces.iter().step_by(2).copied().collect();
    // Where the last backtick has no partner, the rest of the line is taken for code: no link hides there.
    (prose.join("``"), pieces.iter().skip(1).step_by(2).copied().collect())
}

/// The targets of `[text](target)` and `[name]: target`.
fn link_targets(prose: &str) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for (at, _) in prose.match_indices("](") {
        let rest = &prose[at + 2..];
        targets.extend(rest.split_once(')').map(|(target, _)| target.to_owned()));
    }
    if prose.trim_start().starts_with('[') {
        targets.extend(prose.split_once("]: ").map(|(_, target)| target.to_owned()));
    }
    targets
}

/// The path in the repository that a link leads to; none for other sites, for places on the page and for placeholders.
fn resolve(folder: &str, link: &str) -> Option<String> {
    let target = link.split_whitespace().next()?.trim_start_matches('<').trim_end_matches('>');
    let path = target.split(['#', '?']).next()?;
    if path.is_empty()
        || target.contains("://")
        || target.starts_with("mailto:")
        || path.contains(PLACEHOLDERS)
    {
        return None;
    }
    let mut parts: Vec<&str> = match path.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part != ".." {
            parts.push(part);
        } else if parts.pop().is_none() {
            return Some(path.to_owned()); // outside the repository: found missing under the name it was given
        }
    }
    Some(parts.join("/"))
}

/// The path that a piece of inline code names: its first word, without a line number.
fn repository_path(code: &str) -> Option<String> {
    let word = code.split_whitespace().next()?;
    if !ROOTS.iter().any(|root| word.starts_with(root)) || word.contains(PLACEHOLDERS) {
        return None;
    }
    let path = word.split([':', '#']).next()?;
    Some(path.trim_end_matches(['/', ',', '.']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::files::{File, Tree, told};

    fn findings(page: &str, text: &str) -> Vec<String> {
        let files = vec![
            File::new("docs/guide.md", ""),
            File::new("crates/api/src/lib.rs", ""),
            File::new(page, text),
        ];
        told(&check(&Tree::of(files, &["docs/picture.png".to_owned()])))
    }

    #[test]
    fn what_is_there_or_stands_for_several_is_fine() {
        let table = [
            "[guide](docs/guide.md), [part](docs/guide.md#start \"title\"), [folder](crates/api/)",
            "![picture](docs/picture.png) [top](#top) [site](https://example.com/x.md) [mail](mailto:a@example.com)",
            "`crates/api/src/lib.rs:12` and `crates/api/`, `crates/*/src`, `docs/<name>.md`, `e2e/{a,b}.mjs`",
            "`cargo run` and `src/other.rs`, `[no](link.md)`",
            "```\n[no](link.md) `docs/none.md`\n```",
            "[name]: docs/guide.md",
        ];
        for text in table {
            assert_eq!(findings("README.md", text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(
            findings("docs/sub/page.md", "[up](../guide.md) [root](/crates/api)"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_is_missing_is_told_with_its_line() {
        let table = [
            ("x\n[guide](docs/gone.md)", "README.md:2: there is no docs/gone.md in the repository"),
            ("run `scripts/gone.sh now`", "README.md:1: there is no scripts/gone.sh in the repository"),
            ("[name]: gone.md", "README.md:1: there is no gone.md in the repository"),
            ("[out](../gone.md)", "README.md:1: there is no ../gone.md in the repository"),
            ("```\n```\n`docs/gone/`", "README.md:3: there is no docs/gone in the repository"),
        ];
        for (text, expected) in table {
            assert_eq!(findings("README.md", text), [expected], "{text}");
        }
    }
}
