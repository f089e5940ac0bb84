//! Building what `run` and `test` start: the XDP programs first (the binary embeds them), then the
//! `lbaas` binary.

use std::path::PathBuf;

use crate::{build_ebpf, cargo, shell};

/// Debian's rustc with a `core` for the bpf target (package rustc-web).
pub const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// The name of a rustup nightly that has rust-src, if one is installed.
pub fn nightly_with_source() -> Option<String> {
    let list = shell::output("rustup", ["toolchain", "list"]).ok()?;
    list.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .find(|name| {
            shell::output("rustc", [&format!("+{name}"), "--print", "sysroot"]).is_ok_and(|root| {
                PathBuf::from(root.trim())
                    .join("lib/rustlib/src/rust/library/core")
                    .is_dir()
            })
        })
        .map(str::to_owned)
}

/// Where `cargo install` puts a program.
pub fn cargo_bin(program: &str) -> PathBuf {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    home.unwrap_or_default().join("bin").join(program)
}

/// Builds `target/bpf/lbaas.bpf.o`.
pub fn ebpf() -> anyhow::Result<PathBuf> {
    build_ebpf::build_ebpf()
}

/// Builds the `lbaas` binary as it is shipped, for what measures it.
pub fn lbaas_release() -> anyhow::Result<PathBuf> {
    ebpf()?;
    shell::run_command(&mut cargo::cargo(&[
        "build",
        "--release",
        "--package",
        "lb-user",
        "--bin",
        "lbaas",
    ]))?;
    Ok(cargo::target_dir().join("release/lbaas"))
}

/// Builds the `lbaas` binary and says where it is.
pub fn lbaas() -> anyhow::Result<PathBuf> {
    shell::run_command(&mut cargo::cargo(&[
        "build",
        "--package",
        "lb-user",
        "--bin",
        "lbaas",
    ]))?;
    Ok(cargo::target_dir().join("debug/lbaas"))
}
