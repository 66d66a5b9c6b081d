//! `cargo xtask tidy`: the rules of this repository that no ready-made tool checks.
//!
//! Every rule is a function from files to findings, in a module of its own. None of them touches the network or
//! builds anything, so the whole runs in well under a second.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to a person")]

mod edges;
mod files;
mod hosts;
mod kinds;
mod links;
mod mask;
mod names;
mod sizes;

use std::process::ExitCode;

use files::{Finding, Tree};

/// The rules, in the order in which they are reported.
const RULES: [fn(&Tree) -> Vec<Finding>; 7] = [
    sizes::check_files,
    sizes::check_functions,
    names::check,
    edges::check,
    kinds::check,
    links::check,
    hosts::check,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["tidy"] {
        eprintln!("usage: cargo xtask tidy");
        return ExitCode::from(2);
    }
    let tree = match Tree::read() {
        Ok(tree) => tree,
        Err(reason) => {
            eprintln!("tidy: {reason}");
            return ExitCode::from(2);
        }
    };
    let findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, ok", tree.files.len());
        return ExitCode::SUCCESS;
    }
    println!("tidy: {} files, findings: {}", tree.files.len(), findings.len());
    ExitCode::FAILURE
}
