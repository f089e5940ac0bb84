//! The operator's policy file, read again when it changes.
//!
//! A broken new file changes nothing: the rules before it stay in force, and the log says what is
//! wrong, once. A file that is gone for a moment (editors write another and rename it) likewise.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use lb_policy::{FILE_BYTES_MAX, Policy, PolicyError, PolicySet};
use tokio::{
    io::AsyncReadExt as _,
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The rules in force; they change when the operator's file does.
pub type Rules = watch::Receiver<Arc<Policy>>;

/// Why there are no rules to begin with.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It says something wrong.
    #[error("{path}: {source}")]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What.
        source: PolicyError,
    },
}

/// A set of defaults without a file: rules that never change.
#[must_use]
pub fn default_rules(set: PolicySet) -> Rules {
    watch::Sender::new(Arc::new(Policy::defaults(set))).subscribe()
}

/// A policy file and the defaults it lies over.
#[derive(Debug)]
pub struct PolicyFile {
    set: PolicySet,
    path: PathBuf,
    text: String,
    rules: watch::Sender<Arc<Policy>>,
}

impl PolicyFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be read or is wrong.
    pub fn open(set: PolicySet, path: &Path) -> Result<Self, PolicyFileError> {
        let fail = |source| PolicyFileError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(fail)?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::io::Read::take(file, LIMIT), &mut text)
            .map_err(fail)?;
        let policy = Policy::new(set, Some(&text)).map_err(|source| PolicyFileError::Wrong {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            set,
            path: path.to_owned(),
            text,
            rules: watch::Sender::new(Arc::new(policy)),
        })
    }

    /// The rules in force, now and later.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules.subscribe()
    }

    /// Follows the file until `shutdown`.
    pub async fn follow(mut self, shutdown: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complaint = None;
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            let told = self.look().await.err();
            if let Some(text) = told
                .as_ref()
                .filter(|text| complaint.as_ref() != Some(*text))
            {
                tracing::error!(
                    file = %self.path.display(),
                    error = %text,
                    "the policy file is not usable; the rules before stay in force"
                );
            }
            complaint = told;
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let text = read(&self.path).await.map_err(|error| error.to_string())?;
        if text == self.text {
            return Ok(());
        }
        let policy = Policy::new(self.set, Some(&text)).map_err(|error| error.to_string())?;
        self.text = text;
        self.rules.send_replace(Arc::new(policy));
        tracing::info!(file = %self.path.display(), "policy file was read again");
        Ok(())
    }
}

/// One byte more than a policy may have, so that a longer file is seen to be too long.
const LIMIT: u64 = FILE_BYTES_MAX as u64 + 1;

async fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(LIMIT).read_to_string(&mut text).await?;
    Ok(text)
}
