//! Backup and restore of everything that no other place has: the database, the key of the secrets,
//! and files such as the internal CA's.
//!
//! What: [`write()`] copies a database as of one moment, while servers work on it, into one file
//! ([`archive`] says how it looks); [`restore()`] fills a database of either engine with it, in one
//! transaction, and begins a new epoch ([`crate::epoch`]).
//!
//! Invariants: an archive is whole or refused, before anything is touched; a database that holds
//! something is not overwritten unasked; what a newer schema wrote is not guessed at; nobody but its
//! owner reads an archive, which holds every key.
//!
//! Left out on purpose: encryption of the archive, and incremental backups; PostgreSQL's own tools have
//! both, and a database that was put back by them is caught up with ([`crate::Store::outlive`]).

pub mod archive;
mod dump;
mod files;
mod load;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{DatabaseSettings, error::StoreError, secret::KeySource};

/// As the key of the secrets is called in an archive.
const KEY: &str = "secrets.key";

/// A file that belongs to the installation beside its database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belonging {
    /// As it is called in an archive.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// What is backed up, and to where it is restored.
#[derive(Clone, Debug)]
pub struct Installation<'a> {
    /// The database, and where the key of its secrets comes from.
    pub settings: &'a DatabaseSettings,
    /// Where SQLite's file and the key are.
    pub state_dir: &'a Path,
    /// systemd's directory of credentials: what is in it is not ours to copy or to write.
    pub credentials: Option<&'a Path>,
    /// What else belongs to it.
    pub belongings: Vec<Belonging>,
}

impl Installation<'_> {
    /// The key of the secrets; `None`: it is a credential that somebody else keeps.
    fn key(&self) -> Option<Belonging> {
        let source = &self.settings.secrets_key;
        let path = match source {
            KeySource::File(path) => path.clone(),
            KeySource::StateDir => self.state_dir.join(KEY),
        };
        let kept_elsewhere = self.credentials.is_some_and(|dir| path.starts_with(dir));
        (!kept_elsewhere).then(|| Belonging {
            name: KEY.to_owned(),
            path,
        })
    }
}

/// Where the key of the secrets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyIn {
    /// In the archive.
    Archive,
    /// It is a credential that systemd hands over: whoever keeps it there must keep it.
    Credential,
    /// There is none: no secret was ever stored.
    Nowhere,
}

/// What an archive says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the program that wrote it.
    pub version: String,
    /// When, in microseconds since the Unix epoch.
    pub made_at: i64,
    /// `sqlite` or `postgresql`.
    pub engine: String,
    /// The steps of the schema that had been taken.
    pub steps: Vec<i64>,
    /// The epoch of the database.
    pub epoch: i64,
    /// Where the key of the secrets is.
    pub key: KeyIn,
}

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What the archive says of itself.
    pub manifest: Manifest,
    /// Rows of all tables.
    pub rows: u64,
    /// Load balancers among them.
    pub load_balancers: u64,
    /// Names of the files.
    pub files: Vec<String>,
    /// After a restore: the epoch that begins with it.
    pub epoch: Option<i64>,
    /// After a restore: what was there before and was put aside.
    pub aside: Vec<PathBuf>,
}

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file that cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A file that would be overwritten.
    #[error("{}: there is such a file already (--force overwrites it)", .0.display())]
    Exists(PathBuf),
    /// Not an archive, or not a whole one.
    #[error("{}: {reason}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A newer program wrote it.
    #[error(
        "the backup is of a newer version ({version}) whose schema this one does not know (step \
         {step}); restore it with that version or a newer one"
    )]
    Newer {
        /// Which program.
        version: String,
        /// What is not known.
        step: i64,
    },
    /// There is something that would be lost.
    #[error("{0} would be lost; nothing was restored (--force overwrites it)")]
    NotEmpty(String),
    /// Servers work on the database.
    #[error("servers are connected to the database ({0} connections): stop them first")]
    ServersRun(i64),
    /// The database's, or the schema's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a backup of an installation into a new file; servers may run.
///
/// # Errors
/// When the file exists and may not be overwritten, or anything cannot be read or written. A file
/// that was there is then still as it was.
pub async fn write(
    installation: &Installation<'_>,
    file: &Path,
    overwrite: bool,
) -> Result<Summary, BackupError> {
    dump::write(installation, file, overwrite).await
}

/// Restores a backup; no server may run.
///
/// # Errors
/// What is wrong with the archive, or would be lost; nothing is changed then.
pub async fn restore(
    installation: &Installation<'_>,
    file: &Path,
    overwrite: bool,
) -> Result<Summary, BackupError> {
    load::restore(installation, file, overwrite).await
}
