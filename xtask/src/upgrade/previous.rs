//! An earlier commit, built beside this tree with the same third-party code.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::{
    cargo::{cargo, target_dir},
    shell,
};

/// Builds `lbaas` of a commit, unless that was done before; the program and the commit's short name.
pub fn build(commit: &str) -> anyhow::Result<(PathBuf, String)> {
    let short = shell::output("git", ["rev-parse", "--short=12", commit])?;
    let short = short.trim().to_owned();
    let dir = target_dir().join("previous");
    let program = dir.join(format!("lbaas-{short}"));
    if program.is_file() {
        return Ok((program, short));
    }
    std::fs::create_dir_all(&dir)?;
    let tree = dir.join(&short);
    let tree_text = tree.to_str().context("the target directory is no text")?;
    if !tree.join("Cargo.toml").is_file() {
        shell::run(
            "git",
            ["worktree", "add", "--force", "--detach", tree_text, &short],
        )?;
    }
    // The same target directory: what is not ours is built already.
    let built = shell::run_command(
        cargo(&[
            "build",
            "--locked",
            "--package",
            "lb-user",
            "--bin",
            "lbaas",
        ])
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", target_dir()),
    );
    let copied = built.and_then(|()| {
        std::fs::copy(target_dir().join("debug/lbaas"), &program)?;
        Ok(())
    });
    shell::run("git", ["worktree", "remove", "--force", tree_text])?;
    copied?;
    Ok((program, short))
}
