//! The real `openstack` client, from PyPI, in a virtual environment under the target directory.

use std::{path::PathBuf, process::Command};

use crate::{cargo, shell};

/// Packages and the versions that were tried.
const PACKAGES: &[&str] = &[
    "python-openstackclient==10.5.0",
    "python-octaviaclient==3.15.0",
];

/// Installs it unless it is there; gives the directory of its programs.
pub fn client() -> anyhow::Result<PathBuf> {
    let venv = cargo::target_dir().join("openstack");
    let bin = venv.join("bin");
    if !bin.join("openstack").is_file() {
        shell::say("installing the openstack client into target/openstack");
        shell::run(
            "python3",
            ["-m".as_ref(), "venv".as_ref(), venv.as_os_str()],
        )?;
        let mut pip = Command::new(bin.join("pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"])
            .args(PACKAGES);
        // An index that does not answer looks to pip like one that has nothing.
        shell::run_command(&mut pip).or_else(|_unanswered| shell::run_command(&mut pip))?;
    }
    Ok(bin)
}
