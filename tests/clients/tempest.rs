//! octavia-tempest-plugin's API tests against a simulated server that asks a real Keystone:
//! `cargo xtask tempest` runs them. What they measure is written by OpenStack's own people.

use std::{env, net::TcpListener, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use lb_testkit::keystone::{Keystone, PASSWORD, SERVICE_USER};

use crate::simulated::Simulated;

mod simulated;

#[test]
fn octavias_own_api_tests_pass() -> anyhow::Result<()> {
    let tempest = env::var_os("LBAAS_TEMPEST")
        .context("LBAAS_TEMPEST does not say where tempest is; run `cargo xtask tempest`")?;
    // The catalogue names the server's port before the server is there.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let keystone = Keystone::start(Some(&format!("http://{listen}")))?;
    let _server = Simulated::start(
        listen,
        &[
            ("LBAAS_API__AUTH_STRATEGY", "keystone"),
            ("LBAAS_KEYSTONE__AUTH_URL", keystone.url()),
            ("LBAAS_KEYSTONE__TIMEOUT_SECS", "60"),
            ("LBAAS_KEYSTONE__USERNAME", SERVICE_USER),
            ("LBAAS_KEYSTONE__PASSWORD", PASSWORD),
            ("LBAAS_NETWORK__DRIVER", "noop"),
        ],
    )?;
    let directory = tempfile::tempdir()?;
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let status = Command::new(Path::new(&tempest).join("python"))
        .arg(clients.join("tempest_api.py"))
        .arg(directory.path())
        .arg(format!("{}/v3", keystone.url()))
        .arg(PASSWORD)
        .arg(env::var("LBAAS_TEMPEST_MODULES").unwrap_or_default())
        .arg(env::var("LBAAS_TEMPEST_ONLY").unwrap_or_default())
        .env("HOME", directory.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()?;
    ensure!(status.success(), "see above");
    Ok(())
}
