//! The house rules that a compiler does not know.
//!
//! - Crates depend in one direction only (design: the tree).
//! - No source file above [`LINES_MAX`] lines; the ten longest are printed.
//! - Every module opens with `//!`.
//! - Local security rules: patterns that must not stand in the tree.
//! - The lock file is committed and up to date.

mod layers;
mod security;
mod sources;

use crate::{cargo::cargo, shell};

/// Longest source file, in lines.
const LINES_MAX: usize = 800;

/// Runs every rule; all findings are printed before it fails.
pub fn tidy() -> anyhow::Result<()> {
    let files = sources::rust_files()?;
    let mut findings = Vec::new();
    findings.extend(sources::too_long(&files, LINES_MAX));
    findings.extend(sources::without_docs(&files));
    findings.extend(security::forbidden(&files));
    findings.extend(layers::upward()?);
    for (lines, path) in sources::longest(&files, 10) {
        shell::say(&format!("tidy: {lines:>5} lines  {path}"));
    }
    if shell::output("git", ["ls-files", "Cargo.lock"])?
        .trim()
        .is_empty()
    {
        findings.push("Cargo.lock is not committed".to_owned());
    }
    let metadata =
        cargo(&["metadata", "--locked", "--format-version", "1", "--no-deps"]).output()?;
    if !metadata.status.success() {
        findings.push("Cargo.lock does not match the manifests: run `cargo check`".to_owned());
    }
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        shell::say(&format!("tidy: {finding}"));
    }
    anyhow::bail!("{} findings", findings.len())
}
