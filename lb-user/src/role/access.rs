//! Who callers are and what they may, as the configuration has it.

use std::sync::Arc;

use lb_api::{ApiConfig, BarbicanKeyManager, PolicyFile, Rules, default_rules};
use lb_openstack::{Barbican, Keystone, ServiceUser};
use lb_store::KeyManager;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config},
    failure::Failure,
};

/// What the API judges callers by.
#[derive(Debug)]
pub(crate) struct Access {
    rules: Rules,
    file: Option<PolicyFile>,
    keystone: Option<Keystone>,
    key_manager: Option<Arc<dyn KeyManager>>,
}

impl Access {
    /// Reads the policy file; a rule in it that nobody knows ends the start.
    pub(crate) fn prepare(config: &Config) -> Result<Self, Failure> {
        let keystone = config.keystone.as_ref();
        let keystone = keystone
            .map(|keystone| Keystone::new(&keystone.client))
            .transpose()
            .map_err(|error| Failure::Usage(format!("keystone: {error}")))?;
        let key_manager = key_manager(config, keystone.as_ref())?;
        let policy = &config.policy;
        let Some(path) = &policy.file else {
            return Ok(Self {
                rules: default_rules(policy.defaults),
                file: None,
                keystone,
                key_manager,
            });
        };
        let file = PolicyFile::open(policy.defaults, path)
            .map_err(|error| Failure::Usage(format!("policy.file: {error}")))?;
        Ok(Self {
            rules: file.rules(),
            file: Some(file),
            keystone,
            key_manager,
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
        api.key_manager = self.key_manager.clone();
    }

    /// The rules in force now.
    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The Key Manager service, when it is not the embedded store.
    pub(crate) fn key_manager(&self) -> Option<Arc<dyn KeyManager>> {
        self.key_manager.clone()
    }

    /// Follows the policy file, when there is one, until `shutdown`.
    pub(crate) async fn follow(self, shutdown: CancellationToken) {
        match self.file {
            Some(file) => file.follow(shutdown).await,
            None => shutdown.cancelled().await,
        }
    }
}

/// The service user of a Key Manager service that runs without the Identity service.
const NOBODY: &str = "lbaas";

/// The Key Manager service, when it is not the embedded store.
fn key_manager(
    config: &Config,
    keystone: Option<&Keystone>,
) -> Result<Option<Arc<dyn KeyManager>>, Failure> {
    let config::KeyManager::Barbican {
        client: settings, ..
    } = &config.key_manager
    else {
        return Ok(None);
    };
    let user = match keystone {
        Some(keystone) => ServiceUser::Keystone(keystone.clone()),
        None => ServiceUser::Unauthenticated {
            project_id: config.api.default_project.clone(),
            user_id: NOBODY.to_owned(),
        },
    };
    let client = Barbican::new(settings, user)
        .map_err(|error| Failure::Usage(format!("key_manager: {error}")))?;
    Ok(Some(BarbicanKeyManager::new(client, keystone.is_none())))
}
