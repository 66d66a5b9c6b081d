//! Files and functions that are short enough to be read at once.

use crate::files::{File, Finding, Tree};
use crate::mask;

/// Lines of a Rust file, tests included.
const FILE_LINES: usize = 600;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES: usize = 70;

/// A Rust file is at most [`FILE_LINES`] lines long.
pub(crate) fn check_files(tree: &Tree) -> Vec<Finding> {
    let long = tree.rust().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > FILE_LINES).then(|| {
            file.finding(
                FILE_LINES + 1,
                format!("the file has {lines} lines, {FILE_LINES} are allowed: split it"),
            )
        })
    });
    long.collect()
}

/// A function is at most [`FUNCTION_LINES`] lines long, test functions included.
pub(crate) fn check_functions(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(long_functions).collect()
}

fn long_functions(file: &File) -> Vec<Finding> {
    let found = functions(&mask::code_only(&file.text));
    let long = found.into_iter().filter(|function| function.lines > FUNCTION_LINES);
    long.map(|Function { name, line, lines }| {
        file.finding(
            line,
            format!("the function `{name}` has {lines} lines, {FUNCTION_LINES} are allowed: split it"),
        )
    })
    .collect()
}

#[derive(Debug, PartialEq)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// The functions with a body in masked source, nested ones too, in the order in which they begin.
fn functions(code: &str) -> Vec<Function> {
    let starts = code.match_indices("fn").filter_map(|(at, _)| {
        let name = function_name(code, at)?;
        let end = body_end(code, at)?;
        let line_of = |position: usize| code[..position].matches('\n').count() + 1;
        let line = line_of(at);
        Some(Function { name: name.to_owned(), line, lines: line_of(end) - line + 1 })
    });
    starts.collect()
}

/// The name after the word `fn` at `at`; none for the type `fn(…)`, for `Fn`, and for a longer word.
fn function_name(code: &str, at: usize) -> Option<&str> {
    let begins = at == 0 || !mask::is_word(code.as_bytes()[at - 1]);
    let after = &code[at + 2..];
    let name = after.trim_start();
    let length = name.bytes().take_while(|&b| mask::is_word(b) || b == b'#').count();
    (begins && name.len() < after.len() && length > 0).then(|| &name[..length])
}

/// The position of the brace that closes the body of the function at `at`; none when it has no body.
fn body_end(code: &str, at: usize) -> Option<usize> {
    let mut brackets = 0_usize;
    let mut braces = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            // A semicolon inside brackets is an array's length.
            b';' if brackets == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' if braces <= 1 => return (braces == 1).then_some(offset),
            b'}' => braces -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Name, line and number of lines of each function.
    type Functions = &'static [(&'static str, usize, usize)];

    fn lengths(source: &str) -> Vec<(String, usize, usize)> {
        let found = functions(&mask::code_only(source));
        found.into_iter().map(|f| (f.name, f.line, f.lines)).collect()
    }

    #[test]
    fn a_function_is_counted_from_fn_to_its_closing_brace() {
        let table: [(&str, Functions); 9] = [
            ("fn a() {}", &[("a", 1, 1)]),
            ("#[test]\n/// fn no() {\npub(crate) async fn a(\n  x: u8,\n) -> u8 {\n  x\n}\n", &[("a", 3, 5)]),
            ("fn a() {\n let s = \"}\";\n let c = '}';\n // }\n}\nfn b() {}", &[("a", 1, 5), ("b", 6, 1)]),
            ("fn a() {\n fn b() {\n }\n}", &[("a", 1, 4), ("b", 2, 2)]),
            ("trait T {\n fn a(&self);\n fn b(&self) {\n }\n}", &[("b", 3, 2)]),
            ("fn a(x: [u8; 4]) -> [u8; 4] {\n x\n}", &[("a", 1, 3)]),
            ("struct S { f: fn(u8) -> u8, g: Box<dyn Fn(u8)> }\nconst F: fn() = || {};", &[]),
            ("fn a<T>() where T: Fn(u8) -> u8,\n{\n if true {\n }\n}", &[("a", 1, 5)]),
            ("fn r#type() {}\nlet fnord = 1;", &[("r#type", 1, 1)]),
        ];
        for (source, expected) in table {
            let expected: Vec<_> = expected.iter().map(|(n, l, c)| ((*n).to_owned(), *l, *c)).collect();
            assert_eq!(lengths(source), expected, "{source}");
        }
    }

    #[test]
    fn one_line_more_than_allowed_is_found() {
        let body = |lines: usize| format!("\nfn long() {{\n{}}}\n", "  x();\n".repeat(lines - 2));
        let check = |lines| check_functions(&Tree::of(vec![File::new("a.rs", &body(lines))], &[]));
        assert_eq!(check(FUNCTION_LINES), []);
        let found = check(FUNCTION_LINES + 1);
        assert_eq!((found[0].line, found.len()), (2, 1));
        assert!(found[0].message.contains("`long` has 71 lines"), "{}", found[0]);
    }

    #[test]
    fn a_file_may_be_as_long_as_allowed_and_no_longer() {
        let check = |lines| check_files(&Tree::of(vec![File::new("a.rs", &"//\n".repeat(lines))], &[]));
        assert_eq!(check(FILE_LINES), []);
        assert_eq!(check(FILE_LINES + 1)[0].line, FILE_LINES + 1);
    }
}
