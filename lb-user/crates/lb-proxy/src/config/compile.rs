//! From a load balancer's spec to a [`Snapshot`].

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use lb_model::{
    amphora::{AmphoraConfig, ListenerFailure},
    enums::ListenerProtocol,
    id::{ListenerId, PoolId},
    resource::L7Policy,
    spec::{CertificateSpec, ListenerPath, ListenerSpec, LoadBalancerSpec, PoolSpec},
};
use lb_probe::{health::MemberHealth, schedule::Prober, source::Sources};
use rustls::ServerConfig;

use super::{Action, InsertHeaders, ListenerConfig, MemberConfig, PoolConfig, Snapshot};
use crate::{
    l7,
    tls::{self, TlsError},
};

/// The longest anyone is waited for.
const WITHOUT_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A compiled configuration, and what could not be.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) snapshot: Snapshot,
    pub(crate) failures: Vec<ListenerFailure>,
    /// To compile the next one from.
    pub(crate) tls: TlsCache,
}

/// TLS by listener with what it was made of. Reused while that is equal, so that sessions resume
/// across changes of everything else.
pub(crate) type TlsCache = HashMap<ListenerId, (Vec<CertificateSpec>, Arc<ServerConfig>)>;

/// Why a listener cannot be served.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    #[error("an amphora does not serve protocol {0}")]
    Protocol(ListenerProtocol),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Rules(#[from] l7::CompileError),
}

/// Compiles `config`. The prober already runs its plans: members share their health words.
pub(crate) fn compile(config: &AmphoraConfig, prober: &Prober, before: &TlsCache) -> Compiled {
    let spec = &config.load_balancer;
    let pools: HashMap<PoolId, _> = spec
        .pools
        .iter()
        .map(|pool| {
            (
                pool.id,
                Arc::new(pool_config(pool, &sources(config), prober)),
            )
        })
        .collect();
    let mut compiled = Compiled {
        snapshot: Snapshot {
            listeners: Vec::new(),
            pools,
        },
        failures: Vec::new(),
        tls: TlsCache::new(),
    };
    let served = spec
        .listeners
        .iter()
        .filter(|listener| spec.enabled && listener.path == ListenerPath::Amphora);
    for listener in served {
        match listener_config(listener, spec, &compiled.snapshot.pools, before) {
            Ok((config, tls)) => {
                compiled.snapshot.listeners.push(Arc::new(config));
                compiled.tls.extend(tls.map(|tls| (listener.id, tls)));
            }
            Err(reason) => compiled.failures.push(ListenerFailure {
                listener_id: listener.id,
                reason: reason.to_string(),
                permanent: true,
            }),
        }
    }
    compiled
}

/// The addresses this amphora may speak to members from.
pub(crate) fn sources(config: &AmphoraConfig) -> Sources {
    config
        .load_balancer
        .amphorae
        .iter()
        .find(|amphora| amphora.id == config.amphora_id)
        .map(|amphora| Sources::new(amphora, &config.load_balancer.vips))
        .unwrap_or_default()
}

fn pool_config(pool: &PoolSpec, sources: &Sources, prober: &Prober) -> PoolConfig {
    let members = pool
        .members
        .iter()
        .map(|member| MemberConfig {
            address: SocketAddr::new(member.address, member.port),
            source: sources.towards(member.address, member.subnet_id),
            weight: member.weight,
            backup: member.backup,
            health: prober
                .health(pool.id, member.id)
                .unwrap_or_else(|| Arc::new(MemberHealth::unmonitored())),
        })
        .collect();
    PoolConfig {
        id: pool.id,
        protocol: pool.protocol,
        members,
    }
}

type Tls = (Vec<CertificateSpec>, Arc<ServerConfig>);

fn listener_config(
    spec: &ListenerSpec,
    load_balancer: &LoadBalancerSpec,
    pools: &HashMap<PoolId, Arc<PoolConfig>>,
    before: &TlsCache,
) -> Result<(ListenerConfig, Option<Tls>), Unserved> {
    let tls = match spec.protocol {
        ListenerProtocol::Http => None,
        ListenerProtocol::TerminatedHttps => {
            Some(listener_tls(spec, &load_balancer.certificates, before)?)
        }
        ListenerProtocol::Https
        | ListenerProtocol::Tcp
        | ListenerProtocol::Udp
        | ListenerProtocol::Sctp
        | ListenerProtocol::Prometheus => return Err(Unserved::Protocol(spec.protocol)),
    };
    let mut ranked: Vec<(&L7Policy, Action)> = spec
        .l7policies
        .iter()
        .filter(|policy| policy.common.admin_state_up)
        .filter_map(|policy| {
            let action = Action::of(policy, |id| pools.contains_key(&id))?;
            Some((policy, action))
        })
        .collect();
    // Stable: position decides within a class.
    ranked.sort_by_key(|(_, action)| action.class());
    let (policies, actions): (Vec<_>, Vec<_>) = ranked.into_iter().unzip();
    let config = ListenerConfig {
        id: spec.id,
        addresses: load_balancer
            .vips
            .iter()
            .map(|vip| SocketAddr::new(vip.address, spec.port))
            .collect(),
        tls: tls.as_ref().map(|(_, config)| Arc::clone(config)),
        engine: l7::compile(&policies)?,
        actions,
        default_pool: spec.default_pool_id,
        insert: insert_headers(&spec.insert_headers),
        client_timeout: patience(spec.timeout_client_data_ms),
        connect_timeout: patience(spec.timeout_member_connect_ms),
        member_timeout: patience(spec.timeout_member_data_ms),
    };
    Ok((config, tls))
}

fn listener_tls(
    spec: &ListenerSpec,
    certificates: &[CertificateSpec],
    before: &TlsCache,
) -> Result<Tls, TlsError> {
    let named = tls::named(spec, certificates)?;
    if let Some((made_of, config)) = before.get(&spec.id)
        && made_of.iter().eq(named.iter().copied())
    {
        return Ok((made_of.clone(), Arc::clone(config)));
    }
    let config = tls::server_config(spec, certificates)?;
    Ok((named.into_iter().cloned().collect(), config))
}

/// 0 means without limit, as in HAProxy; a day is as good.
fn patience(milliseconds: u64) -> Duration {
    match milliseconds {
        0 => WITHOUT_LIMIT,
        limit => Duration::from_millis(limit).min(WITHOUT_LIMIT),
    }
}

fn insert_headers(names: &[String]) -> InsertHeaders {
    let has = |wanted: &str| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
    InsertHeaders {
        forwarded_for: has("x-forwarded-for"),
        forwarded_port: has("x-forwarded-port"),
        forwarded_proto: has("x-forwarded-proto"),
    }
}
