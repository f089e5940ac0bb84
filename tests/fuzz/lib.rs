//! What bytes from outside meet first, each as a function of bytes: `cargo xtask fuzz` aims libFuzzer
//! at them, the replay test what is in `corpus/`.
//!
//! A corpus is a text file a target, an input a line, in hexadecimal: what libFuzzer kept for the
//! code it reached, what was written by hand, and what once was a crash.

use std::{fs, io, path::PathBuf};

/// What is run with an input; `Err`: what was found.
pub type Run = fn(&[u8]) -> Result<(), String>;

/// A target's name and what it runs.
pub type Target = (&'static str, Run);

/// Everything there is to aim at.
pub const TARGETS: &[Target] = &[
    ("request_head", lb_proxy::fuzz::request_head),
    ("chunked", lb_proxy::fuzz::chunked),
    ("frames", lb_proxy::fuzz::frames),
    ("proxy_headers", lb_proxy::fuzz::proxy_headers),
    ("rule", lb_proxy::fuzz::rule),
    ("cookies", lb_proxy::fuzz::cookies),
    ("pkcs12", lb_store::secret::fuzz::payload),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Run> {
    TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, run)| *run)
}

/// The inputs in `corpus/` for a target.
///
/// # Errors
/// When its file is not there, or holds something else.
pub fn corpus(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("corpus/{target}.hex"));
    fs::read_to_string(path)?.lines().map(bytes).collect()
}

fn bytes(line: &str) -> io::Result<Vec<u8>> {
    let wrong = || io::Error::other("a line is not hexadecimal");
    let digits = line.as_bytes().chunks(2);
    let digits = digits.map(|pair| std::str::from_utf8(pair).map_err(|_error| wrong()));
    digits
        .map(|pair| u8::from_str_radix(pair?, 16).map_err(|_error| wrong()))
        .collect()
}
