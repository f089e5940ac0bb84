//! Sections `[api]` and `[controller]`.

use std::{net::SocketAddr, time::Duration};

use lb_api::AuthStrategy;
use lb_model::{
    deployment::Deployment,
    enums::Topology,
    provider::{Provider, check_enabled},
};

use super::{ConfigError, auth, deployment, front::Front, reader::Section};

const LISTEN: &str = "127.0.0.1:9876";
const SYNC_LISTEN: &str = "127.0.0.1:9877";
const DEFAULT_PROJECT: &str = "00000000000000000000000000000001";
const PROJECT_CHARS_MAX: usize = 36;
const PENDING_TIMEOUT_SECS: u64 = 60;
const ADDRESS: &str = "an address and port such as \"127.0.0.1:9876\"";

/// The REST API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) listen: SocketAddr,
    pub(crate) auth_strategy: AuthStrategy,
    /// Owner of what is created without naming a project.
    pub(crate) default_project: String,
    pub(crate) default_provider: String,
    /// Serve without authentication beyond loopback.
    pub(crate) force_listen: bool,
    /// neutron-lbaas's dialect under `/neutron`.
    pub(crate) neutron_lbaas: bool,
    /// Everything about requests as such.
    pub(crate) front: Front,
    /// Which legal requests are taken.
    pub(crate) deployment: Deployment,
}

impl Api {
    pub(super) fn read(mut section: Section, providers: &[Provider]) -> Result<Self, ConfigError> {
        let listen = address(&mut section, "listen", LISTEN)?;
        let auth_strategy = auth::strategy(&mut section)?;
        let default_project = section
            .parsed("default_project", "a project id")?
            .unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        if default_project.is_empty() || default_project.len() > PROJECT_CHARS_MAX {
            return Err(section.wrong(
                "default_project",
                Some(format!("{default_project:?}")),
                format!("must be a project id: 1 to {PROJECT_CHARS_MAX} characters, usually 32 hexadecimal digits"),
            ));
        }
        let default_provider: String = section
            .parsed("default_provider", "a provider's name")?
            .unwrap_or_else(|| "amphora".to_owned());
        if check_enabled(&default_provider, providers).is_err() {
            let names: Vec<&str> = providers.iter().map(|it| it.name.as_str()).collect();
            return Err(section.wrong(
                "default_provider",
                Some(format!("{default_provider:?}")),
                format!("must be one of {}", names.join(", ")),
            ));
        }
        let force_listen = section.boolean("force_listen")?.unwrap_or(false);
        let neutron_lbaas = section.boolean("neutron_lbaas")?.unwrap_or(false);
        if !listen.ip().to_canonical().is_loopback() && auth_strategy.is_open() && !force_listen {
            return Err(section.wrong(
                "listen",
                Some(format!("\"{listen}\"")),
                "must be a loopback address: without authentication everyone who reaches it is an administrator (api.force_listen = true allows it)",
            ));
        }
        let front = Front::read(&mut section)?;
        let deployment = deployment::read(&mut section)?;
        section.finish()?;
        Ok(Self {
            listen,
            auth_strategy,
            default_project,
            default_provider,
            force_listen,
            neutron_lbaas,
            front,
            deployment,
        })
    }
}

/// What brings hosts to the desired state.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    /// Where agents connect.
    pub(crate) sync_listen: SocketAddr,
    /// How many amphorae a new load balancer gets.
    pub(crate) topology: Topology,
    /// Nothing stays PENDING_* longer.
    pub(crate) pending_timeout: Duration,
    /// The host new load balancers are placed on; the agent of this file when not set.
    pub(crate) host: Option<String>,
}

impl Controller {
    pub(super) fn read(mut section: Section) -> Result<Self, ConfigError> {
        let sync_listen = address(&mut section, "sync_listen", SYNC_LISTEN)?;
        let topology = section
            .parsed("loadbalancer_topology", "\"SINGLE\" or \"ACTIVE_STANDBY\"")?
            .unwrap_or(Topology::Single);
        let pending_timeout = section
            .integer("pending_timeout_secs", 1..=86_400)?
            .unwrap_or(PENDING_TIMEOUT_SECS);
        let host = section.parsed("host", "the name of an agent's host")?;
        section.finish()?;
        Ok(Self {
            sync_listen,
            topology,
            pending_timeout: Duration::from_secs(pending_timeout),
            host,
        })
    }
}

fn address(
    section: &mut Section,
    key: &'static str,
    default: &str,
) -> Result<SocketAddr, ConfigError> {
    match section.parsed(key, ADDRESS)? {
        Some(address) => Ok(address),
        None => default
            .parse()
            .map_err(|_never| section.wrong(key, None, format!("must be {ADDRESS}"))),
    }
}
