//! Why a command did not succeed, and with which exit code.

use std::{io::Write as _, process::ExitCode};

use crate::config::ConfigError;

/// Wrong usage or configuration (EX_USAGE of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// What ends the process.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The operator has to mend the configuration or the command line.
    Usage(String),
    /// Everything else: one sentence.
    Failed(String),
}

impl Failure {
    /// A failure, told with its causes in one line.
    pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Self {
        Self::Failed(format!("{:#}", error.into()))
    }

    /// Tells the operator; the exit code to end with.
    pub(crate) fn report(&self) -> ExitCode {
        let (text, code) = match self {
            Self::Usage(text) => (text, ExitCode::from(EXIT_USAGE)),
            Self::Failed(text) => (text, ExitCode::FAILURE),
        };
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(std::io::stderr(), "lbaas: {text}"));
        code
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}
