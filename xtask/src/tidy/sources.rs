//! Reading the tree's Rust files, and the rules on their length and opening lines.

use std::fs;

use anyhow::Context as _;

use crate::shell;

/// A committed or new Rust file.
#[derive(Debug)]
pub struct SourceFile {
    /// Relative to the root.
    pub path: String,
    /// Whole text.
    pub text: String,
}

/// Every Rust file that git knows or would add.
pub fn rust_files() -> anyhow::Result<Vec<SourceFile>> {
    let list = shell::output(
        "git",
        [
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "*.rs",
        ],
    )?;
    let mut files = Vec::new();
    for path in list.lines() {
        let full = shell::root().join(path);
        if full.is_file() {
            let text = fs::read_to_string(&full).with_context(|| format!("cannot read {path}"))?;
            files.push(SourceFile {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(files)
}

/// The longest files, longest first.
pub fn longest(files: &[SourceFile], count: usize) -> Vec<(usize, &str)> {
    let mut lengths: Vec<_> = files
        .iter()
        .map(|file| (file.text.lines().count(), file.path.as_str()))
        .collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.truncate(count);
    lengths
}

/// Files above the limit.
pub fn too_long(files: &[SourceFile], max: usize) -> Vec<String> {
    files
        .iter()
        .map(|file| (file.text.lines().count(), &file.path))
        .filter(|(lines, _)| *lines > max)
        .map(|(lines, path)| format!("{path}: {lines} lines, more than {max}: split it by concept"))
        .collect()
}

/// Files that do not say what they are: `//!` comes before anything but attributes.
pub fn without_docs(files: &[SourceFile]) -> Vec<String> {
    files
        .iter()
        .filter(|file| {
            let opens = [
                "use ", "mod ", "pub ", "fn ", "const ", "struct ", "enum ", "impl ",
            ];
            let first = file.text.lines().find(|line| {
                line.starts_with("//!") || opens.iter().any(|word| line.starts_with(word))
            });
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|file| format!("{}: does not open with a module comment (//!)", file.path))
        .collect()
}
