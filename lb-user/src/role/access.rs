//! Who callers are and what they may, as the configuration has it.

use lb_api::{ApiConfig, PolicyFile, Rules, default_rules};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, failure::Failure};

/// What the API judges callers by.
#[derive(Debug)]
pub(crate) struct Access {
    rules: Rules,
    file: Option<PolicyFile>,
}

impl Access {
    /// Reads the policy file; a rule in it that nobody knows ends the start.
    pub(crate) fn prepare(config: &Config) -> Result<Self, Failure> {
        let policy = &config.policy;
        let Some(path) = &policy.file else {
            return Ok(Self {
                rules: default_rules(policy.defaults),
                file: None,
            });
        };
        let file = PolicyFile::open(policy.defaults, path)
            .map_err(|error| Failure::Usage(format!("policy.file: {error}")))?;
        Ok(Self {
            rules: file.rules(),
            file: Some(file),
        })
    }

    pub(crate) fn apply(&self, api: &mut ApiConfig) {
        api.policy = self.rules.clone();
    }

    /// The rules in force now.
    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Follows the policy file, when there is one, until `shutdown`.
    pub(crate) async fn follow(self, shutdown: CancellationToken) {
        match self.file {
            Some(file) => file.follow(shutdown).await,
            None => shutdown.cancelled().await,
        }
    }
}
