//! `lbaas server`: the API, and what brings hosts to the state it was asked for.

use std::{
    collections::BTreeSet,
    future::Future,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
};

use futures_util::future::OptionFuture;
use lb_api::{ApiConfig, ApiState};
use lb_control::{Controller, Settings};
use lb_model::capability::CapabilitySet;
use lb_store::{
    AllocationPool, Network, NetworkCatalog, NetworkDriver, NoopNetworks, StateLock, Store, Subnet,
};
use lb_wire::{ca::CertificateAuthority, files, tls};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Config},
    failure::Failure,
    role::{
        access::Access,
        addresses,
        process::{bind, run_until_signal},
        ready,
        roles::{self, Role, Roles},
    },
};

/// The server's own machine among the hosts whose addresses no member may have. Not a name an agent
/// could have.
const SERVER_HOST: &str = "@server";

pub(crate) fn run(config: &Config, options: &roles::Options) -> Result<(), Failure> {
    lb_telemetry::logging::init();
    let roles = Roles::from(options);
    let prepared = prepare(config, &roles.name(), roles)?;
    run_until_signal(async |shutdown| Box::pin(serve(config, prepared, shutdown)).await)
}

/// What must be had before threads exist: sockets of the namespace the process was started in, and
/// credentials.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// As the lock on the state directory names this process.
    name: String,
    roles: Roles,
    networks: Arc<dyn NetworkDriver>,
    addresses: BTreeSet<IpAddr>,
    api: Option<TcpListener>,
    /// Where agents connect, and who signs for both ends.
    sync: Option<(TcpListener, CertificateAuthority)>,
    access: Access,
    /// A host whose data path is known before its agent asks.
    pub(crate) declares: Option<(String, CapabilitySet)>,
}

impl Prepared {
    /// Where agents connect: with the port that was really bound.
    pub(crate) fn sync_address(&self) -> Result<Option<SocketAddr>, Failure> {
        let sync = self.sync.as_ref();
        sync.map(|(listener, _)| listener.local_addr())
            .transpose()
            .map_err(Failure::failed)
    }

    fn api_address(&self) -> Result<Option<SocketAddr>, Failure> {
        let api = self.api.as_ref();
        api.map(TcpListener::local_addr)
            .transpose()
            .map_err(Failure::failed)
    }
}

/// Checks what can be checked, binds sockets, makes the CA and the local agent's credentials.
pub(crate) fn prepare(config: &Config, name: &str, roles: Roles) -> Result<Prepared, Failure> {
    let networks = networks(config)?;
    let access = Access::prepare(config)?;
    require_free(config, name)?;
    let api = roles
        .has(Role::Api)
        .then(|| bind("api.listen", config.api.listen))
        .transpose()?;
    let sync = roles
        .has(Role::Reconciler)
        .then(|| prepare_sync(config))
        .transpose()?;
    Ok(Prepared {
        name: name.to_owned(),
        roles,
        networks,
        addresses: addresses::of_this_machine(),
        api,
        sync,
        access,
        declares: None,
    })
}

/// The socket agents connect to, the CA, and the local agent's credentials.
fn prepare_sync(config: &Config) -> Result<(TcpListener, CertificateAuthority), Failure> {
    let listener = bind("controller.sync_listen", config.controller.sync_listen)?;
    let authority = CertificateAuthority::open(&config.state_dir).map_err(Failure::failed)?;
    authority
        .ensure_agent(&config.state_dir, &config.agent.host)
        .map_err(Failure::failed)?;
    if let Some(host) = &config.controller.host {
        authority
            .ensure_agent(&config.state_dir, host)
            .map_err(Failure::failed)?;
    }
    Ok((listener, authority))
}

/// Asked before anything else: a second process is told who the first is, not that a port is taken.
pub(crate) fn require_free(config: &Config, role: &str) -> Result<(), Failure> {
    files::private_dir(&config.state_dir).map_err(Failure::failed)?;
    // On PostgreSQL several servers may share a state directory: keys and credentials.
    if config.database.url.is_none() {
        let lock = StateLock::acquire(&config.state_dir, role).map_err(Failure::failed)?;
        drop(lock);
    }
    Ok(())
}

/// Serves until `shutdown`.
pub(crate) async fn serve(
    config: &Config,
    prepared: Prepared,
    shutdown: CancellationToken,
) -> Result<(), Failure> {
    let (api_address, sync_address) = (prepared.api_address()?, prepared.sync_address()?);
    let Prepared {
        name,
        roles,
        networks,
        addresses,
        api,
        sync,
        access,
        declares,
    } = prepared;
    let store = Store::open_on(&config.database, &config.state_dir, &name, networks)
        .await
        .map_err(Failure::failed)?;
    store
        .report_host(&format!("{SERVER_HOST}-{}", config.agent.host), &addresses)
        .await
        .map_err(Failure::failed)?;
    if let Some((host, capabilities)) = declares {
        store
            .declare_capabilities(&host, &capabilities)
            .await
            .map_err(Failure::failed)?;
    }
    let controller = Controller::new(
        store.clone(),
        Settings {
            host: config.controller.host.clone(),
            pending_timeout: config.controller.pending_timeout,
        },
    );
    let agents = sync
        .map(|(listener, authority)| agents(listener, &authority, &controller, &shutdown))
        .transpose()?;
    let mut api_config = api_config(config);
    access.apply(config, &mut api_config);
    let secrets = access
        .key_manager()
        .filter(|_| roles.has(Role::Housekeeping))
        .zip(config.key_manager.recheck())
        .map(|(manager, period)| {
            Arc::clone(&controller).watch_secrets(manager, period, shutdown.clone())
        });
    let state = ApiState::new(store.clone(), api_config);
    // Both sockets queue what comes from here on.
    ready::tell(&name, api_address, sync_address);
    let served = tokio::join!(
        async {
            let served = match api {
                Some(listener) => lb_api::serve(listener, state, shutdown.clone()).await,
                None => {
                    let _: () = shutdown.cancelled().await;
                    Ok(())
                }
            };
            // Without an API the rest is of no use: end as a whole.
            shutdown.cancel();
            served
        },
        access.follow(shutdown.clone()),
        OptionFuture::from(agents),
        OptionFuture::from(
            roles
                .has(Role::HealthManager)
                .then(|| Arc::clone(&controller).watch_hosts(shutdown.clone()))
        ),
        OptionFuture::from(
            roles
                .has(Role::Housekeeping)
                .then(|| Arc::clone(&controller).watch_deadlines(shutdown.clone()))
        ),
        OptionFuture::from(secrets),
    );
    store.close().await;
    served.0.map_err(Failure::failed)
}

/// The reconciler: answers agents, and writes down what they tell.
fn agents(
    listener: TcpListener,
    authority: &CertificateAuthority,
    controller: &Arc<Controller>,
    shutdown: &CancellationToken,
) -> Result<impl Future<Output = ()> + use<>, Failure> {
    let credentials = authority.issue_server().map_err(Failure::failed)?;
    let tls = tls::server_config(&credentials).map_err(Failure::failed)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(Failure::failed)?;
    let (controller, shutdown) = (Arc::clone(controller), shutdown.clone());
    Ok(async move {
        tokio::join!(
            lb_wire::server::serve(listener, tls, Arc::clone(&controller), shutdown.clone()),
            controller.write_observed(shutdown.clone()),
        );
    })
}

fn api_config(config: &Config) -> ApiConfig {
    let mut api = ApiConfig::new(config.api.default_project.clone());
    api.default_provider = config.api.default_provider.clone();
    api.providers.clone_from(&config.providers);
    api.quota_defaults = config.quotas;
    api.topology = config.controller.topology;
    api.deny_cidrs = config.deny_cidrs.clone();
    api.vip_rules = config.vip_rules.clone();
    api.deployment = config.api.deployment.clone();
    api.own_addresses = vec![config.api.listen.ip(), config.controller.sync_listen.ip()];
    api.force_listen = config.api.force_listen;
    api.neutron_lbaas = config.api.neutron_lbaas;
    let front = &config.api.front;
    api.front = front.door.clone();
    api.body_bytes_max = front.body_bytes_max;
    api.page_items_max = front.page_items_max;
    api.settle_wait = front.settle_wait;
    api
}

/// Who knows the networks; those of the configuration are checked as a whole.
pub(crate) fn networks(config: &Config) -> Result<Arc<dyn NetworkDriver>, Failure> {
    let networks = config.networks.iter().map(network).collect();
    let catalog = NetworkCatalog::new(networks)
        .map_err(|error| Failure::Usage(format!("configuration: {error}")))?;
    Ok(match config.network_driver {
        config::NetworkDriver::Embedded => Arc::new(catalog),
        config::NetworkDriver::Noop => Arc::new(NoopNetworks),
    })
}

fn network(network: &config::Network) -> Network {
    let subnets = network.subnets.iter().map(|subnet| Subnet {
        id: subnet.id,
        name: subnet.name.clone(),
        cidr: subnet.cidr,
        gateway_ip: subnet.gateway_ip,
        allocation_pools: subnet
            .allocation_pools
            .iter()
            .map(|&(start, end)| AllocationPool { start, end })
            .collect(),
    });
    Network {
        id: network.id,
        name: network.name.clone(),
        segment: network.segment,
        project_id: network.project_id.clone(),
        subnets: subnets.collect(),
    }
}
