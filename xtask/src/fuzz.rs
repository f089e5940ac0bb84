//! `cargo xtask fuzz`: libFuzzer, guided by coverage, on the toolchain there is.
//!
//! The compiler's own instrumentation does without a nightly: `sancov-module` is an LLVM pass. There
//! is no address sanitizer, which needs one; what is fuzzed has no `unsafe`. Overflows and debug
//! assertions are checked.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::{cargo, shell};

/// What makes the compiler tell libFuzzer which code was reached, and what it was compared with.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks \
    -Ccodegen-units=16 -Clto=off --cfg fuzzing";

/// An input that takes longer is a finding; seconds.
const PATIENCE: u64 = 10;
/// Memory of one process; MiB.
const MEMORY: u64 = 1024;
/// Longest input that is made.
const LENGTH: usize = 4096;

const TARGETS: [&str; 7] = [
    "request_head",
    "chunked",
    "frames",
    "proxy_headers",
    "rule",
    "cookies",
    "pkcs12",
];

#[derive(Debug, Args)]
pub struct FuzzArgs {
    /// How long each target is fuzzed.
    #[arg(long, default_value = "10")]
    minutes: u64,
    /// Keep what reached new code in tests/fuzz/corpus, as few inputs as reach all of it.
    #[arg(long)]
    keep: bool,
    /// Which; all when none is named.
    targets: Vec<String>,
}

pub fn fuzz(args: &FuzzArgs) -> anyhow::Result<()> {
    let targets: Vec<&str> = if args.targets.is_empty() {
        TARGETS.to_vec()
    } else {
        args.targets.iter().map(String::as_str).collect()
    };
    let driver = build()?;
    let mut found = Vec::new();
    for target in targets {
        ensure!(TARGETS.contains(&target), "no target is called {target}");
        let corpus = unpack(target)?;
        let status = driver_of(&driver, target)
            .arg(&corpus)
            .arg(format!("-max_total_time={}", args.minutes * 60))
            .arg(format!("-max_len={LENGTH}"))
            .arg("-use_value_profile=1")
            .arg("-print_final_stats=1")
            .arg("-verbosity=1")
            .status()?;
        if !status.success() {
            found.push(target);
        }
        if args.keep {
            keep(&driver, target, &corpus)?;
        }
    }
    ensure!(found.is_empty(), "findings in {found:?}: see target/fuzz");
    Ok(())
}

fn place() -> PathBuf {
    cargo::target_dir().join("fuzz")
}

fn build() -> anyhow::Result<PathBuf> {
    let target_dir = place().join("build");
    let triple = "x86_64-unknown-linux-gnu";
    let mut command = cargo::cargo(&[
        "build",
        "--release",
        "-p",
        "lb-fuzz",
        "--features",
        "libfuzzer",
    ]);
    // With a target named, build scripts and macros are not instrumented.
    command
        .args(["--target", triple, "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", INSTRUMENTED);
    shell::run_command(&mut command)?;
    Ok(target_dir.join(triple).join("release/lb-fuzz"))
}

fn driver_of(driver: &Path, target: &str) -> Command {
    let mut command = Command::new(driver);
    command
        .current_dir(place())
        .env("LB_FUZZ_TARGET", target)
        .arg(format!("-artifact_prefix={target}-"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-rss_limit_mb={MEMORY}"));
    command
}

fn packed(target: &str) -> PathBuf {
    shell::root().join(format!("tests/fuzz/corpus/{target}.hex"))
}

/// The corpus as a directory of files, beside what earlier runs found.
fn unpack(target: &str) -> anyhow::Result<PathBuf> {
    let directory = place().join(target);
    fs::create_dir_all(&directory)?;
    let text = fs::read_to_string(packed(target)).unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        let bytes: Option<Vec<u8>> = (0..line.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(line.get(at..at + 2)?, 16).ok())
            .collect();
        let bytes = bytes.with_context(|| format!("{target}: line {number}"))?;
        fs::write(directory.join(format!("packed-{number}")), bytes)?;
    }
    Ok(directory)
}

/// As few inputs as reach what all of them do, back into one file.
fn keep(driver: &Path, target: &str, corpus: &Path) -> anyhow::Result<()> {
    let merged = tempfile::tempdir()?;
    // Without value profile: one input a piece of code, not one a value.
    let mut merging = driver_of(driver, target);
    merging.arg("-merge=1").arg(merged.path()).arg(corpus);
    shell::run_command(&mut merging)?;
    let mut lines = Vec::new();
    for entry in fs::read_dir(merged.path())? {
        let bytes = fs::read(entry?.path())?;
        let line: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push(line);
    }
    lines.sort_by_key(|line| (line.len(), line.clone()));
    fs::write(packed(target), lines.join("\n") + "\n")?;
    shell::say(&format!("{target}: {} inputs kept", lines.len()));
    Ok(())
}
