//! The configuration of every role: one file, laid over the defaults; environment variables
//! (`LBAAS_SECTION__KEY`) over the file; flags (`--set section.key=value`) over both.
//!
//! Invariant: a [`Config`] that exists is sound. Whatever is wrong is told once, with the place, the
//! key, the value and what would be right, and ends the process with exit code 64.

mod agent;
mod auth;
mod database;
mod deployment;
mod front;
mod key_manager;
mod keystone;
mod network;
mod providers;
mod quotas;
mod reader;
mod server;
mod show;
mod simulated;
mod source;

use std::{
    fmt,
    path::{Path, PathBuf},
};

pub(crate) use agent::Agent;
pub(crate) use auth::Policy;
pub(crate) use key_manager::KeyManager;
pub(crate) use keystone::Keystone;
pub(crate) use network::{Network, NetworkDriver, network_named};
pub(crate) use server::{Api, Controller};

use ipnet::IpNet;
use lb_model::{provider::Provider, quota::PerClass, vip::VipRules};
use reader::Section;
use source::{Layers, Origin};

/// Read when `--config` names no other.
pub(crate) const DEFAULT_FILE: &str = "/etc/lbaas/lb.toml";

const STATE_DIR: &str = "/var/lib/lbaas";
const RUN_DIR: &str = "/run/lbaas";

/// Everything that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Database, CA, credentials, the agent's state.
    pub(crate) state_dir: PathBuf,
    /// Sockets and pid files.
    pub(crate) run_dir: PathBuf,
    /// Where everything is stored.
    pub(crate) database: lb_store::DatabaseSettings,
    /// systemd's directory of credentials.
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) api: Api,
    pub(crate) policy: Policy,
    pub(crate) keystone: Option<Keystone>,
    pub(crate) key_manager: KeyManager,
    /// The providers that requests may name.
    pub(crate) providers: Vec<Provider>,
    /// Limits of projects that have none of their own.
    pub(crate) quotas: PerClass<i64>,
    pub(crate) controller: Controller,
    pub(crate) network_driver: NetworkDriver,
    /// What is allowed of VIPs.
    pub(crate) vip_rules: VipRules,
    pub(crate) networks: Vec<Network>,
    /// Addresses no member may have, besides the built-in ones.
    pub(crate) deny_cidrs: Vec<IpNet>,
    pub(crate) agent: Agent,
}

/// What is wrong, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    pub(crate) origin: Origin,
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    pub(crate) fix: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}", self.fix)
    }
}

impl std::error::Error for ConfigError {}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// `--config`.
    pub(crate) file: Option<PathBuf>,
    /// `--set`, in order.
    pub(crate) settings: Vec<String>,
    /// Environment variables, all of them.
    pub(crate) environment: Vec<(String, String)>,
    /// `--simulate`: the defaults of a server that simulates its host.
    pub(crate) simulated: bool,
}

impl Config {
    /// Reads all layers. A file named on the command line must exist, the default one need not.
    pub(crate) fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        let path = sources.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => layers.file(path, &text)?,
            Err(error)
                if sources.file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(ConfigError {
                    origin: Origin::File(path.to_owned()),
                    key: "the file".to_owned(),
                    value: None,
                    fix: format!("cannot be read: {error}"),
                });
            }
        }
        layers.environment(sources.environment.iter().cloned())?;
        for setting in &sources.settings {
            layers.flag(setting)?;
        }
        if sources.simulated {
            if !layers.gives("network") && !layers.gives("networks") {
                layers.beneath(simulated::NETWORK_DEFAULTS)?;
            }
            layers.beneath(simulated::DEFAULTS)?;
        }
        let mut config = Self::read(Section::root(layers.into_root()))?;
        let handed = sources.environment.iter();
        let handed = handed.filter(|(name, _)| name == "CREDENTIALS_DIRECTORY");
        for (_, directory) in handed {
            config
                .database
                .secrets_key
                .or_credential(Path::new(directory));
            config.credentials = Some(PathBuf::from(directory));
        }
        Ok(config)
    }

    /// What is in force when nothing is set.
    pub(crate) fn defaults() -> Result<Self, ConfigError> {
        Self::read(Section::root(Layers::default().into_root()))
    }

    fn read(mut root: Section) -> Result<Self, ConfigError> {
        let directory = "an absolute path";
        let state_dir = absolute(&mut root, "state_dir", STATE_DIR, directory)?;
        let run_dir = absolute(&mut root, "run_dir", RUN_DIR, directory)?;
        let mut database = database::read(root.section("database")?)?;
        database.secrets_key = key_manager::read_key(root.section("secrets")?)?;
        let providers = providers::read(&mut root)?;
        let mut api = Api::read(root.section("api")?, &providers)?;
        api.front.read_cors(root.section("cors")?)?;
        let policy = Policy::read(root.section("policy")?)?;
        let keystone = Keystone::read(root.section("keystone")?, api.auth_strategy)?;
        let key_manager = KeyManager::read(root.section("key_manager")?, keystone.is_some())?;
        let quotas = quotas::read(root.section("quotas")?)?;
        let controller = Controller::read(root.section("controller")?)?;
        let (network_driver, vip_rules) = network::read_driver(root.section("network")?)?;
        let networks = network::read(&mut root)?;
        let mut members = root.section("members")?;
        let deny_cidrs = members.list("deny_cidrs", "networks such as \"10.0.0.0/8\"")?;
        members.finish()?;
        let agent = Agent::read(root.section("agent")?, &networks, &state_dir, &controller)?;
        root.finish()?;
        Ok(Self {
            state_dir,
            run_dir,
            database,
            credentials: None,
            api,
            policy,
            keystone,
            key_manager,
            providers,
            quotas,
            controller,
            network_driver,
            vip_rules,
            networks,
            deny_cidrs,
            agent,
        })
    }
}

fn absolute(
    section: &mut Section,
    key: &'static str,
    default: &str,
    expected: &str,
) -> Result<PathBuf, ConfigError> {
    let path: PathBuf = section
        .parsed(key, expected)?
        .unwrap_or_else(|| PathBuf::from(default));
    if path.is_absolute() {
        Ok(path)
    } else {
        let value = Some(format!("{:?}", path.display().to_string()));
        Err(section.wrong(key, value, format!("must be {expected}")))
    }
}

#[cfg(test)]
mod tests;
