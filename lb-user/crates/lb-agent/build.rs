//! Puts the kernel programs into the binary. `cargo xtask build-ebpf` builds them; without them the
//! crate compiles all the same and says so when it should load them.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=LBAAS_EBPF_OBJECT");
    let given = env::var_os("LBAAS_EBPF_OBJECT").map(PathBuf::from);
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no manifest directory")?);
    let object = given.unwrap_or_else(|| manifest.join("../../../target/bpf/lbaas.bpf.o"));
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no output directory")?);
    // The decapsulator's lies beside the data path's.
    let decap = object.with_file_name("lbaas-decap.bpf.o");
    for (object, name) in [(object, "lbaas.bpf.o"), (decap, "lbaas-decap.bpf.o")] {
        println!("cargo:rerun-if-changed={}", object.display());
        let bytes = if object.is_file() {
            fs::read(&object)?
        } else {
            Vec::new()
        };
        fs::write(out.join(name), bytes)?;
    }
    Ok(())
}
