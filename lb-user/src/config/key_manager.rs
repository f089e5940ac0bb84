//! Sections `[secrets]` and `[key_manager]`: the key that secrets are sealed with, and where
//! listeners' references lead to.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use lb_openstack::BarbicanConfig;
use lb_store::KeySource;

use super::{ConfigError, reader::Section};

const TIMEOUT_SECS: u64 = 10;
const RECHECK_SECS: u64 = 600;

/// Where secrets come from.
#[derive(Clone, Debug)]
pub(crate) enum KeyManager {
    /// Our own store.
    Embedded,
    /// The Key Manager service.
    Barbican {
        /// How it is asked.
        client: BarbicanConfig,
        /// How often every secret in use is looked for.
        recheck: Duration,
    },
}

/// Reads `[secrets]`.
pub(super) fn read_key(mut section: Section) -> Result<KeySource, ConfigError> {
    let path: Option<PathBuf> = section.parsed("key_file", "an absolute path")?;
    if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
        let value = Some(format!("{:?}", path.display().to_string()));
        return Err(section.wrong("key_file", value, "must be an absolute path"));
    }
    section.finish()?;
    Ok(path.map_or(KeySource::StateDir, KeySource::File))
}

impl KeyManager {
    /// Reads `[key_manager]`.
    pub(super) fn read(mut section: Section, has_keystone: bool) -> Result<Self, ConfigError> {
        let drivers = "\"embedded\" or \"barbican\"";
        let driver: Option<String> = section.parsed("driver", drivers)?;
        let endpoint: Option<String> =
            section.parsed("endpoint", "a URL such as \"http://barbican.example:9311\"")?;
        let cafile = section.parsed("cafile", "a PEM file's path")?;
        let timeout = section
            .integer("timeout_secs", 1..=60)?
            .unwrap_or(TIMEOUT_SECS);
        let recheck = section
            .integer("recheck_secs", 1..=86_400)?
            .unwrap_or(RECHECK_SECS);
        let endpoint = endpoint.filter(|text| !text.is_empty());
        let barbican = match driver.as_deref() {
            None => endpoint.is_some(),
            Some("embedded") => false,
            Some("barbican") => true,
            Some(other) => {
                let value = Some(format!("{other:?}"));
                return Err(section.wrong("driver", value, format!("must be {drivers}")));
            }
        };
        if barbican && endpoint.is_none() && !has_keystone {
            return Err(section.wrong(
                "endpoint",
                None,
                "is missing: without [keystone] there is no catalogue to find it in",
            ));
        }
        section.finish()?;
        if !barbican {
            return Ok(Self::Embedded);
        }
        Ok(Self::Barbican {
            client: BarbicanConfig {
                endpoint,
                cafile,
                timeout: Duration::from_secs(timeout),
            },
            recheck: Duration::from_secs(recheck),
        })
    }

    /// How often every secret in use is looked for; `None`: the embedded store does not lose them.
    pub(crate) const fn recheck(&self) -> Option<Duration> {
        match self {
            Self::Embedded => None,
            Self::Barbican { recheck, .. } => Some(*recheck),
        }
    }

    /// As a file would have it.
    pub(super) fn write(&self, out: &mut String, key: &KeySource) -> std::fmt::Result {
        writeln!(out, "\n[secrets]")?;
        match key {
            KeySource::File(path) => writeln!(out, "key_file = {:?}", path.display().to_string())?,
            KeySource::StateDir => writeln!(
                out,
                "# key_file = \"/etc/lbaas/secrets.key\"  # default: systemd's credential \
                 secrets.key, else made in state_dir"
            )?,
        }
        writeln!(out, "\n[key_manager]")?;
        match self {
            Self::Embedded => writeln!(out, "driver = \"embedded\""),
            Self::Barbican {
                client: config,
                recheck,
            } => {
                writeln!(out, "driver = \"barbican\"")?;
                match &config.endpoint {
                    Some(endpoint) => writeln!(out, "endpoint = {endpoint:?}")?,
                    None => writeln!(out, "# endpoint = \"…\"  # default: the catalogue's")?,
                }
                if let Some(cafile) = &config.cafile {
                    writeln!(out, "cafile = {:?}", cafile.display().to_string())?;
                }
                writeln!(out, "timeout_secs = {}", config.timeout.as_secs())?;
                let looked_for = "# how often every secret in use is looked for";
                writeln!(out, "recheck_secs = {}  {looked_for}", recheck.as_secs())
            }
        }
    }
}
