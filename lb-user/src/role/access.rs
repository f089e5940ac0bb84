//! Who callers are and what they may, as the configuration has it.

use lb_api::{ApiConfig, PolicyFile, Rules, default_rules};
use lb_openstack::Keystone;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, failure::Failure};

/// What the API judges callers by.
#[derive(Debug)]
pub(crate) struct Access {
    rules: Rules,
    file: Option<PolicyFile>,
    keystone: Option<Keystone>,
}

impl Access {
    /// Reads the policy file; a rule in it that nobody knows ends the start.
    pub(crate) fn prepare(config: &Config) -> Result<Self, Failure> {
        let keystone = config.keystone.as_ref();
        let keystone = keystone
            .map(|keystone| Keystone::new(&keystone.client))
            .transpose()
            .map_err(|error| Failure::Usage(format!("keystone: {error}")))?;
        let policy = &config.policy;
        let Some(path) = &policy.file else {
            return Ok(Self {
                rules: default_rules(policy.defaults),
                file: None,
                keystone,
            });
        };
        let file = PolicyFile::open(policy.defaults, path)
            .map_err(|error| Failure::Usage(format!("policy.file: {error}")))?;
        Ok(Self {
            rules: file.rules(),
            file: Some(file),
            keystone,
        })
    }

    /// Puts it into the API's settings.
    pub(crate) fn apply(&self, config: &Config, api: &mut ApiConfig) {
        api.auth_strategy = config.api.auth_strategy;
        api.keystone = self.keystone.clone();
        if let Some(keystone) = &config.keystone {
            api.www_authenticate_uri = keystone.www_authenticate_uri.clone();
        }
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
