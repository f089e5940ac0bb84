//! The real `openstack` client, from PyPI, in a virtual environment under the target directory.

use std::{path::PathBuf, process::Command};

use crate::{cargo, shell};

/// Packages and the versions that were tried.
const PACKAGES: &[&str] = &[
    "python-openstackclient==10.5.0",
    "python-octaviaclient==3.15.0",
    "python-barbicanclient==7.6.0",
];

/// What makes up requests from the API's document, and the version that was tried.
const SCHEMATHESIS: &[&str] = &["schemathesis==4.32.5"];

/// OpenStack's own tests of Octavia's API, and the versions that were tried.
const TEMPEST: &[&str] = &["tempest==47.0.0", "octavia-tempest-plugin==3.5.0"];

/// Installs the client unless it is there; gives the directory of its programs.
pub fn client() -> anyhow::Result<PathBuf> {
    install("openstack", "openstack", PACKAGES)
}

/// Installs schemathesis unless it is there; gives the directory of its programs.
pub fn schemathesis() -> anyhow::Result<PathBuf> {
    install("schemathesis", "schemathesis", SCHEMATHESIS)
}

/// Installs tempest and Octavia's plugin for it unless they are there; gives the directory of its
/// programs.
pub fn tempest() -> anyhow::Result<PathBuf> {
    install("tempest", "tempest", TEMPEST)
}

/// Installs packages from PyPI into a virtual environment of their own below the target directory.
fn install(name: &str, program: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let venv = cargo::target_dir().join(name);
    let bin = venv.join("bin");
    // What the environment was made for: packages that are added later are installed as well.
    let made_for = venv.join("packages");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&made_for).ok().as_deref() != Some(&*wanted) {
        shell::say(&format!("installing {program} into target/{name}"));
        shell::run(
            "python3",
            ["-m".as_ref(), "venv".as_ref(), venv.as_os_str()],
        )?;
        let mut pip = Command::new(bin.join("pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"])
            .args(packages);
        // An index that does not answer looks to pip like one that has nothing.
        shell::run_command(&mut pip).or_else(|_unanswered| shell::run_command(&mut pip))?;
        std::fs::write(made_for, wanted)?;
    }
    Ok(bin)
}
