//! `lbaas backup` and `lbaas restore`: everything an installation cannot do without, as one file.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use lb_store::backup::{self, BackupError, Belonging, Installation, KeyIn, Summary};

use crate::{cli::print, config::Config, failure::Failure};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The archive: it holds every key, so keep it as you keep those.
    file: PathBuf,
    /// Overwrite what is there.
    #[arg(long)]
    force: bool,
}

/// Writes a backup; servers may run.
pub(crate) fn write(options: &Options, config: &Config) -> Result<(), Failure> {
    let summary = on_runtime(backup::write(
        &installation(config),
        &options.file,
        options.force,
    ))?;
    print(&written(options, &summary))
}

/// Restores a backup; servers must not run.
pub(crate) fn restore(options: &Options, config: &Config) -> Result<(), Failure> {
    let summary = on_runtime(backup::restore(
        &installation(config),
        &options.file,
        options.force,
    ))?;
    print(&restored(config, &summary))
}

/// What belongs to an installation, wherever its configuration has it.
fn installation(config: &Config) -> Installation<'_> {
    let authority = lb_wire::ca::files(&config.state_dir);
    Installation {
        settings: &config.database,
        state_dir: &config.state_dir,
        credentials: config.credentials.as_deref(),
        belongings: authority
            .into_iter()
            .map(|(name, path)| Belonging {
                name: format!("ca/{name}"),
                path,
            })
            .collect(),
    }
}

/// Runs one thing to its end.
pub(super) fn on_runtime<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    E: Into<anyhow::Error>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    runtime.block_on(work).map_err(Failure::failed)
}

fn written(options: &Options, summary: &Summary) -> String {
    let mut text = format!(
        "{}: {} load balancers, {} rows of {}; {}\n",
        options.file.display(),
        summary.load_balancers,
        summary.rows,
        summary.manifest.engine,
        match summary.files.as_slice() {
            [] => "no files".to_owned(),
            files => files.join(", "),
        }
    );
    match summary.manifest.key {
        KeyIn::Archive => {}
        KeyIn::Credential => text.push_str(
            "The key of the secrets is a systemd credential and is not in it: keep that one too.\n",
        ),
        KeyIn::Nowhere => {
            text.push_str("There is no key of the secrets yet: no secret was ever stored.\n");
        }
    }
    text
}

fn restored(config: &Config, summary: &Summary) -> String {
    let made = jiff::Timestamp::from_microsecond(summary.manifest.made_at);
    let mut text = format!(
        "Restored {} load balancers ({} rows) as of {} from a backup of {}; epoch {} begins.\n",
        summary.load_balancers,
        summary.rows,
        made.map(|made| made.to_string()).unwrap_or_default(),
        summary.manifest.engine,
        summary.epoch.unwrap_or_default(),
    );
    // Writing into a String cannot fail.
    for name in &summary.files {
        writeln!(text, "Put back {name}.").unwrap_or_default();
    }
    for path in &summary.aside {
        writeln!(text, "What was there before is {}.", path.display()).unwrap_or_default();
    }
    if summary.manifest.key == KeyIn::Credential {
        text.push_str("The key of the secrets was a systemd credential: hand it over again.\n");
    } else if summary.manifest.key == KeyIn::Archive && config.credentials.is_some() {
        text.push_str("The key of the secrets comes from systemd here: it must be the same.\n");
    }
    text.push_str("What hosts carry beyond this is kept: see `lbaas orphans`.\n");
    text
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        Self::failed(error)
    }
}
