//! The files that the rules look at: what git tracks, and what it would if all were added.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// One text file, with its path from the root of the repository.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    #[cfg(test)]
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A finding at a line of this file; lines count from 1.
    pub(crate) fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }
}

/// The repository as the rules see it.
pub(crate) struct Tree {
    /// Text files. Others are in `paths` only.
    pub(crate) files: Vec<File>,
    /// Every file and every folder that holds one.
    paths: BTreeSet<String>,
}

impl Tree {
    /// Reads the repository that this tool was built in. A file deleted but not yet committed is left out.
    pub(crate) fn read() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("xtask lies in no repository")?;
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("git does not start: {error}"))?;
        if !listed.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr).trim()));
        }
        let mut files = Vec::new();
        let mut binaries = Vec::new();
        for path in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
            let Ok(bytes) = std::fs::read(root.join(path)) else { continue };
            match String::from_utf8(bytes) {
                Ok(text) => files.push(File { path: path.to_owned(), text }),
                Err(_) => binaries.push(path.to_owned()),
            }
        }
        Ok(Self::of(files, &binaries))
    }

    /// A tree of these text files and the other paths.
    pub(crate) fn of(files: Vec<File>, others: &[String]) -> Self {
        let mut paths = BTreeSet::new();
        for path in files.iter().map(|file| &file.path).chain(others) {
            let folders = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            paths.extend(folders);
            paths.insert(path.clone());
        }
        Self { files, paths }
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// Whether the file or folder is part of the repository; the root is the empty path.
    pub(crate) fn has(&self, path: &str) -> bool {
        path.is_empty() || self.paths.contains(path)
    }
}

/// Something that breaks a rule, at a place.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Findings as text, for tests.
#[cfg(test)]
pub(crate) fn told(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}
