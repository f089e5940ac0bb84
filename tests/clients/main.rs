//! Clients nobody here wrote, against `lbaas all-in-one --simulate` as an unprivileged user would
//! start it: with environment variables alone.
//!
//! The clients are Python, so their scripts are too: `sdk.py` (openstacksdk), `cli.py` (`openstack
//! loadbalancer`), `key_manager.py` (`openstack secret`). Without `LBAAS_BINARY` and
//! `LBAAS_OPENSTACK`, which `cargo xtask conformance` sets, there is nothing to run and that is a
//! failure.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::simulated::Simulated;

mod simulated;

/// Runs a script of this directory to its last line, `done`.
fn runs(script: &str) -> anyhow::Result<()> {
    let server = Simulated::start("127.0.0.1:0".parse()?, &[])?;
    let directory = env::var_os("LBAAS_OPENSTACK").context(
        "LBAAS_OPENSTACK does not say where the client is; run `cargo xtask conformance`",
    )?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(script);
    let output = Command::new(PathBuf::from(directory).join("python"))
        .arg(script)
        .arg(&server.url)
        .env("HOME", env::temp_dir())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.trim_end().ends_with("done"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn openstacksdk_goes_through_every_resource() -> anyhow::Result<()> {
    runs("sdk.py")
}

#[test]
fn the_openstack_client_goes_through_every_group_of_commands() -> anyhow::Result<()> {
    runs("cli.py")
}

#[test]
fn the_key_manager_client_stores_what_listeners_are_served_with() -> anyhow::Result<()> {
    runs("key_manager.py")
}
