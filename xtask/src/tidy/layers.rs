//! The direction of dependencies between our crates (design: the tree), checked from
//! `cargo metadata`, so that an invariant like "lb-api never talks to an agent" is a build error.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;

use crate::cargo::cargo;

/// Crate, and which of ours it may depend on. `lb-telemetry` is open to all but the pure ones.
const ALLOWED: &[(&str, &[&str])] = &[
    ("lb-common", &[]),
    ("lb-ebpf", &["lb-common"]),
    ("lb-model", &[]),
    ("lb-telemetry", &[]),
    ("lb-sys", &["lb-common"]),
    ("lb-plan", &["lb-common", "lb-model"]),
    ("lb-store", &["lb-model", "lb-telemetry"]),
    ("lb-wire", &["lb-model", "lb-telemetry"]),
    ("lb-probe", &["lb-model", "lb-sys", "lb-telemetry"]),
    ("lb-policy", &[]),
    ("lb-openstack", &["lb-telemetry"]),
    (
        "lb-api",
        &[
            "lb-model",
            "lb-openstack",
            "lb-policy",
            "lb-store",
            "lb-telemetry",
        ],
    ),
    (
        "lb-control",
        &["lb-model", "lb-plan", "lb-store", "lb-telemetry", "lb-wire"],
    ),
    (
        "lb-agent",
        &[
            "lb-common",
            "lb-model",
            "lb-plan",
            "lb-sys",
            "lb-telemetry",
            "lb-wire",
        ],
    ),
    (
        "lb-proxy",
        &[
            "lb-common",
            "lb-model",
            "lb-probe",
            "lb-sys",
            "lb-telemetry",
        ],
    ),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Dependencies that point the wrong way (dev-dependencies do not count).
pub fn upward() -> anyhow::Result<Vec<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let ours: Vec<&str> = metadata
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let Some(may) = allowed.get(package.name.as_str()) else {
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if dependency.kind.is_none() && ours.contains(&name) && !may.contains(&name) {
                findings.push(format!("{} must not depend on {name}", package.name));
            }
        }
    }
    Ok(findings)
}
