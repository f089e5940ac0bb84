//! Section `[database]`: SQLite in the state directory, or PostgreSQL.

use std::{fmt::Write as _, time::Duration};

use lb_store::{DatabaseSettings, DatabaseUrl};

use super::{ConfigError, reader::Section};

const CONNECTIONS: std::ops::RangeInclusive<u64> = 2..=1_000;
const TIMEOUT_SECS: std::ops::RangeInclusive<u64> = 1..=60;

/// Reads the section. A URL may hold a password, so what is wrong with it is told without it.
pub(super) fn read(mut section: Section) -> Result<DatabaseSettings, ConfigError> {
    let mut settings = DatabaseSettings::default();
    let url: Option<String> = section.secret("url", "a text")?;
    if let Some(text) = url.filter(|text| !text.is_empty()) {
        let parsed: Result<DatabaseUrl, _> = text.parse();
        settings.url = Some(parsed.map_err(|error| section.wrong("url", None, error.to_string()))?);
    }
    if let Some(connections) = section.integer("connections", CONNECTIONS)? {
        settings.connections = u32::try_from(connections).unwrap_or(u32::MAX);
    }
    if let Some(seconds) = section.integer("connect_timeout_secs", TIMEOUT_SECS)? {
        settings.connect_timeout = Duration::from_secs(seconds);
    }
    section.finish()?;
    Ok(settings)
}

/// As a file would have it; the password is left out.
pub(super) fn write(out: &mut String, settings: &DatabaseSettings) -> std::fmt::Result {
    writeln!(out, "\n[database]")?;
    match &settings.url {
        Some(url) => writeln!(out, "url = \"{url}\"  # a password is not shown")?,
        None => writeln!(
            out,
            "# url = \"postgresql://user:password@host/database\"  # default: SQLite in state_dir"
        )?,
    }
    writeln!(
        out,
        "connections = {}  # to PostgreSQL, at most",
        settings.connections
    )?;
    writeln!(
        out,
        "connect_timeout_secs = {}",
        settings.connect_timeout.as_secs()
    )
}
