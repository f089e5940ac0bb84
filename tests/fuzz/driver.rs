//! libFuzzer around one target, whose name is in `LB_FUZZ_TARGET`. `cargo xtask fuzz` builds and starts
//! it; arguments are libFuzzer's.

#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<Option<lb_fuzz::Run>> = LazyLock::new(|| {
    let name = std::env::var("LB_FUZZ_TARGET").ok()?;
    lb_fuzz::target(&name)
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let run = TARGET.expect("LB_FUZZ_TARGET names a target");
    if let Err(found) = run(input) {
        panic!("{found}");
    }
});
