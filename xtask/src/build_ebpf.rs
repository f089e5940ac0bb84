//! Builds the kernel programs: `target/bpf/lbaas.bpf.o`, and beside it the objects of [`OBJECTS`].
//!
//! Two toolchains will do. Debian's `rustc-web` with `libstd-rust-web-dev-bpf` ships `core` for the
//! bpf target, so nothing is built but our crates; a rustup nightly with `rust-src` builds `core`
//! itself. Either needs `bpf-linker` of the same LLVM. Left out on purpose: installing anything
//! (that is `cargo xtask setup`) and hiding this in a build script.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{build, cargo, shell};

/// The Rust target.
const TARGET: &str = "bpfel-unknown-none";
/// Where Debian's `libstd-rust-web-dev-bpf` puts `core`, below the compiler's prefix.
const DEBIAN_CORE: &str = "lib/rustlib/bpfel-unknown-none/lib";
/// Between flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\x1f";

/// Binaries of lb-ebpf and what they are called in `target/bpf`; the first is what an agent loads.
const OBJECTS: [(&str, &str); 3] = [
    ("lb-ebpf", "lbaas.bpf.o"),
    ("lb-decap", "lbaas-decap.bpf.o"),
    ("lb-bench", "lbaas-bench.bpf.o"),
];

/// What compiles for the bpf target here.
enum Toolchain {
    /// A stable compiler with `core` for bpf beside it.
    WithCore { rustc: PathBuf },
    /// A rustup nightly that builds `core` from `rust-src`.
    Nightly { name: String },
}

/// Builds the objects and returns the path of the one that an agent loads.
///
/// # Errors
/// When no toolchain is there, or the build fails.
pub fn build_ebpf() -> Result<PathBuf> {
    let target_dir = cargo::target_dir().join("bpf");
    let linker = find_linker()?;
    let mut command = match find_toolchain()? {
        Toolchain::WithCore { rustc } => {
            let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            // aya-ebpf and lb-ebpf use unstable intrinsics and inline assembly of the bpf target.
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            command
        }
        Toolchain::Nightly { name } => {
            let mut command = Command::new("rustup");
            command
                .args(["run", &name, "cargo", "-Zbuild-std=core"])
                .env_remove("RUSTC")
                .env_remove("RUSTUP_TOOLCHAIN");
            command
        }
    };
    command
        .args(["build", "--release", "--locked", "--package", "lb-ebpf"])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(&linker))
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .current_dir(shell::root());
    let status = command
        .status()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !status.success() {
        bail!("building lb-ebpf failed ({status})");
    }
    let release = target_dir.join(TARGET).join("release");
    for (binary, object) in OBJECTS {
        let (built, object) = (release.join(binary), target_dir.join(object));
        std::fs::copy(&built, &object)
            .with_context(|| format!("cannot copy {} to {}", built.display(), object.display()))?;
    }
    Ok(target_dir.join("lbaas.bpf.o"))
}

/// Flags for every crate of the build. BTF comes from debug information; `v3` has 64-bit atomics.
fn rust_flags(linker: &Path) -> OsString {
    let arch = env::consts::ARCH;
    let mut flags = OsString::from(
        [
            format!("--cfg=bpf_target_arch=\"{arch}\"").as_str(),
            "-Ctarget-cpu=v3",
            "-Cdebuginfo=2",
            "-Clink-arg=--btf",
            "-Clinker=",
        ]
        .join(SEPARATOR),
    );
    flags.push(linker);
    flags
}

/// `bpf-linker` in `PATH` or among cargo's own.
fn find_linker() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|dir| dir.join("bpf-linker"))
        .chain([build::cargo_bin("bpf-linker")])
        .find(|file| file.is_file())
        .context("bpf-linker is not installed; `cargo xtask setup` installs it")
}

/// Debian's compiler, when `core` for bpf is beside it.
pub fn debian_rustc() -> Option<PathBuf> {
    let rustc = PathBuf::from(build::DEBIAN_RUSTC);
    let core = Path::new("/usr").join(DEBIAN_CORE);
    (rustc.is_file() && core.is_dir()).then_some(rustc)
}

/// Debian's compiler first: it needs no rebuild of `core`.
fn find_toolchain() -> Result<Toolchain> {
    if let Some(rustc) = debian_rustc() {
        return Ok(Toolchain::WithCore { rustc });
    }
    if let Some(name) = build::nightly_with_source() {
        return Ok(Toolchain::Nightly { name });
    }
    bail!(
        "no Rust compiler for the bpf target: neither Debian's rustc-web with \
         libstd-rust-web-dev-bpf nor a rustup nightly with rust-src; `cargo xtask setup` installs one"
    )
}
