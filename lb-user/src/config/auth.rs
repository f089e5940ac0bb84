//! `api.auth_strategy` and the section `[policy]`: who callers are, and what they may.

use std::{fmt::Write as _, path::PathBuf};

use lb_api::AuthStrategy;
use lb_policy::PolicySet;

use super::{Config, ConfigError, keystone, reader::Section};

/// The rules of access.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Where they begin.
    pub(crate) defaults: PolicySet,
    /// The operator's own, laid over them.
    pub(crate) file: Option<PathBuf>,
}

impl Policy {
    pub(super) fn read(mut section: Section) -> Result<Self, ConfigError> {
        let sets = PolicySet::ALL.map(PolicySet::name).join(", ");
        let defaults = section
            .parsed("defaults", &format!("one of {sets}"))?
            .unwrap_or_default();
        let file: Option<PathBuf> = section.parsed("file", "a policy file's path")?;
        if let Some(path) = file.as_ref().filter(|path| !path.is_absolute()) {
            return Err(section.wrong(
                "file",
                Some(format!("{:?}", path.display().to_string())),
                "must be an absolute path",
            ));
        }
        section.finish()?;
        Ok(Self { defaults, file })
    }
}

/// `api.auth_strategy`.
pub(super) fn strategy(section: &mut Section) -> Result<AuthStrategy, ConfigError> {
    let names = AuthStrategy::ALL.map(AuthStrategy::name);
    let expected = names.map(|name| format!("{name:?}")).join(", ");
    let Some(text) = section.parsed::<String>("auth_strategy", &format!("one of {expected}"))?
    else {
        return Ok(AuthStrategy::Noauth);
    };
    let named = AuthStrategy::ALL
        .into_iter()
        .find(|strategy| strategy.name() == text);
    named.ok_or_else(|| {
        section.wrong(
            "auth_strategy",
            Some(format!("{text:?}")),
            format!("must be one of {expected}"),
        )
    })
}

/// The sections of `lbaas config show`.
pub(super) fn write(out: &mut String, config: &Config) -> std::fmt::Result {
    let policy = &config.policy;
    writeln!(out, "\n[policy]\ndefaults = \"{}\"", policy.defaults)?;
    match &policy.file {
        Some(path) => writeln!(out, "file = {path:?}")?,
        None => writeln!(
            out,
            "# file = \"…\"  # rules in oslo.policy's language, laid over the defaults"
        )?,
    }
    keystone::write(out, config.keystone.as_ref())
}
