//! What this project needs on a Debian or Ubuntu host beyond rustup's stable Rust, and how it gets
//! there. Says what it will install before it does; installs nothing that is there.
//!
//! The eBPF toolchain is Debian's `rustc-web` (its `libstd-rust-web-dev-bpf` ships `core` for the
//! bpf target) with `bpf-linker`; a rustup nightly with rust-src serves as well where it exists.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::{build, build_ebpf, cargo::cargo, shell};

/// How much is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To build.
    Build,
    /// To build, run and test.
    Everything,
}

/// Oldest kernel with what the data path uses: TCX and its links came with 6.6.
const KERNEL_MIN: (u32, u32) = (6, 6);
/// The linker's version, and the LLVM it must be built for (that of Debian's rustc-web).
const BPF_LINKER: &str = "0.13.0";
const LLVM: &str = "22";

/// A program and the package it comes from.
const PROGRAMS: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("ip", "iproute2"),
    ("kill", "procps"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("python3", "python3"),
];

/// Installs what is missing.
pub fn setup(scope: Scope) -> anyhow::Result<()> {
    let mut packages: Vec<&str> = Vec::new();
    for (program, package) in PROGRAMS {
        if !shell::has(program) {
            packages.push(package);
        }
    }
    let nightly = build::nightly_with_source();
    if nightly.is_none() && build_ebpf::debian_rustc().is_none() {
        packages.extend(["rustc-web", "libstd-rust-web-dev-bpf"]);
    }
    let needs_linker = !has_bpf_linker();
    if needs_linker && !Path::new("/usr/lib/llvm-22").is_dir() {
        packages.push("llvm-22-dev");
    }
    if scope == Scope::Everything && !has_venv() {
        packages.push("python3-venv");
    }
    if scope == Scope::Everything && !has_postgres() {
        packages.push("postgresql");
    }
    if scope == Scope::Everything {
        check_kernel()?;
    }
    if !packages.is_empty() {
        install(&packages)?;
    }
    if needs_linker {
        shell::say(&format!(
            "setup: building bpf-linker {BPF_LINKER} (a few minutes, once)"
        ));
        let feature = format!("llvm-{LLVM}");
        let mut command = cargo(&[
            "install",
            "bpf-linker",
            "--version",
            BPF_LINKER,
            "--locked",
            "--no-default-features",
            "--features",
            &feature,
        ]);
        // Without it the linker's build looks for libLLVM.so in /usr/lib64 alone.
        command.env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}"));
        shell::run_command(&mut command)
            .context("bpf-linker could not be built; it needs llvm-22-dev and a C++ linker")?;
    }
    if scope == Scope::Everything {
        check_root()?;
    }
    Ok(())
}

/// Installs one program that only a gate needs, unless it is there.
pub fn require(program: &str, package: &str) -> anyhow::Result<()> {
    if shell::has(program) {
        return Ok(());
    }
    install(&[package])
}

fn has_bpf_linker() -> bool {
    shell::has("bpf-linker") || build::cargo_bin("bpf-linker").is_file()
}

fn has_venv() -> bool {
    shell::output("python3", ["-c", "import venv, ensurepip"]).is_ok()
}

/// Debian keeps PostgreSQL's programs out of the path, a directory a version.
fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let complete = |bin: &Path| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|one| bin.join(one).is_file())
    };
    versions
        .filter_map(Result::ok)
        .any(|version| complete(&version.path().join("bin")))
        || ["initdb", "postgres", "psql"].into_iter().all(shell::has)
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    if !is_root() {
        bail!(
            "these packages are missing and only root can install them: {list}\n  try: sudo apt-get install {list}"
        );
    }
    if !shell::has("apt-get") {
        bail!("these packages are missing and this host has no apt-get: {list}");
    }
    shell::say(&format!("setup: installing with apt-get: {list}"));
    shell::run("apt-get", ["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(packages);
    shell::run("apt-get", arguments).with_context(|| format!("apt-get could not install: {list}"))
}

fn check_kernel() -> anyhow::Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.trim().split(['.', '-']);
    let number = |part: Option<&str>| part.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let version = (number(parts.next()), number(parts.next()));
    if version < KERNEL_MIN {
        bail!(
            "this kernel is {}; the data path needs {}.{} or newer (TCX links)",
            release.trim(),
            KERNEL_MIN.0,
            KERNEL_MIN.1
        );
    }
    if !Path::new("/sys/kernel/btf/vmlinux").is_file() {
        shell::say("setup: warning: this kernel shows no BTF (/sys/kernel/btf/vmlinux)");
    }
    Ok(())
}

fn check_root() -> anyhow::Result<()> {
    if is_root() {
        return Ok(());
    }
    bail!(
        "network namespaces and XDP need root: run this command again as root (sudo -E cargo xtask …)"
    )
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|uids| uids.split_whitespace().nth(1).map(|uid| uid == "0"))
            .unwrap_or(false)
    })
}
