//! From a load balancer's spec to a [`Snapshot`].

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use lb_model::{
    amphora::{AmphoraConfig, ListenerFailure},
    enums::{ListenerProtocol, PoolProtocol},
    id::{ListenerId, PoolId},
    resource::L7Policy,
    spec::{HstsSpec, ListenerPath, ListenerSpec, LoadBalancerSpec, PoolSpec},
};
use lb_probe::{health::MemberHealth, schedule::Prober, source::Sources};

use super::{Action, Insert, ListenerConfig, MemberConfig, Persistence, PoolConfig, Snapshot};
use crate::{
    l7,
    tls::{self, Made, MemberTls, Seed, TlsError},
};

/// Connections of a listener that asks for no limit (contract 7.5).
const CONNECTION_LIMIT: u64 = 50_000;

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

/// TLS with what it was made of, reused while that is equal.
#[derive(Debug)]
pub(crate) struct TlsCache {
    listeners: HashMap<ListenerId, Made>,
    pools: HashMap<PoolId, Arc<MemberTls>>,
    /// For tickets of a load balancer that came without one.
    own: Option<Seed>,
}

impl TlsCache {
    pub(crate) fn new() -> Self {
        Self {
            listeners: HashMap::new(),
            pools: HashMap::new(),
            own: None,
        }
    }

    fn own_seed(&self) -> Result<Seed, TlsError> {
        match &self.own {
            Some(seed) => Ok(seed.clone()),
            None => Ok(Seed::random()?),
        }
    }
}

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
    let seed = match &config.ticket_seed {
        Some(secret) => Ok(Seed::given(secret)),
        None => before.own_seed(),
    };
    let mut compiled = Compiled {
        snapshot: Snapshot::default(),
        failures: Vec::new(),
        tls: TlsCache {
            own: config
                .ticket_seed
                .is_none()
                .then(|| seed.as_ref().ok().cloned())
                .flatten(),
            ..TlsCache::new()
        },
    };
    // A pool whose TLS cannot be made is not there: requests for it are not sent in clear.
    let mut broken = HashMap::new();
    for pool in &spec.pools {
        match pool_config(pool, config, prober, before) {
            Ok(made) => {
                let tls = made.tls.clone();
                compiled.tls.pools.extend(tls.map(|tls| (pool.id, tls)));
                compiled.snapshot.pools.insert(pool.id, Arc::new(made));
            }
            Err(error) => {
                broken.insert(pool.id, error.to_string());
            }
        }
    }
    let served = spec
        .listeners
        .iter()
        .filter(|listener| spec.enabled && listener.path == ListenerPath::Amphora);
    for listener in served {
        let mut fail = |reason: String| {
            compiled.failures.push(ListenerFailure {
                listener_id: listener.id,
                reason,
                permanent: true,
            });
        };
        if let Some((id, reason)) = targets(listener).find_map(|id| broken.get_key_value(&id)) {
            fail(format!("pool {id}: {reason}"));
            continue;
        }
        let made = match &seed {
            Ok(seed) => {
                let tls = before.listeners.get(&listener.id);
                listener_config(listener, spec, &compiled.snapshot.pools, seed, tls)
            }
            Err(error) => {
                fail(error.to_string());
                continue;
            }
        };
        match made {
            Ok((config, tls)) => {
                compiled.snapshot.listeners.push(Arc::new(config));
                let tls = tls.map(|tls| (listener.id, tls));
                compiled.tls.listeners.extend(tls);
            }
            Err(reason) => fail(reason.to_string()),
        }
    }
    compiled
}

fn targets(listener: &ListenerSpec) -> impl Iterator<Item = PoolId> {
    let policies = listener.l7policies.iter();
    let redirects = policies.filter_map(|policy| policy.redirect_pool_id);
    listener.default_pool_id.into_iter().chain(redirects)
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

fn pool_config(
    pool: &PoolSpec,
    config: &AmphoraConfig,
    prober: &Prober,
    before: &TlsCache,
) -> Result<PoolConfig, TlsError> {
    let sources = sources(config);
    let tls = pool.tls.as_ref().map(|tls| {
        let certificates = &config.load_balancer.certificates;
        MemberTls::new(tls, certificates, before.pools.get(&pool.id))
    });
    let members = pool
        .members
        .iter()
        .map(|member| MemberConfig {
            id: member.id,
            address: SocketAddr::new(member.address, member.port),
            source: sources.towards(member.address, member.subnet_id),
            weight: member.weight,
            backup: member.backup,
            health: prober
                .health(pool.id, member.id)
                .unwrap_or_else(|| Arc::new(MemberHealth::unmonitored())),
        })
        .collect();
    let datagrams = matches!(pool.protocol, PoolProtocol::Udp | PoolProtocol::Sctp);
    Ok(PoolConfig {
        id: pool.id,
        protocol: pool.protocol,
        algorithm: pool.lb_algorithm,
        persistence: Persistence::of(pool.session_persistence.as_ref(), datagrams),
        members,
        tls: tls.transpose()?,
    })
}

fn listener_config(
    spec: &ListenerSpec,
    load_balancer: &LoadBalancerSpec,
    pools: &HashMap<PoolId, Arc<PoolConfig>>,
    seed: &Seed,
    before: Option<&Made>,
) -> Result<(ListenerConfig, Option<Made>), Unserved> {
    let tls = match spec.protocol {
        ListenerProtocol::Http
        | ListenerProtocol::Tcp
        | ListenerProtocol::Https
        | ListenerProtocol::Udp => None,
        ListenerProtocol::Prometheus if spec.default_certificate.is_none() => None,
        ListenerProtocol::TerminatedHttps | ListenerProtocol::Prometheus => {
            let certificates = &load_balancer.certificates;
            Some(tls::server_config(spec, certificates, seed, before)?)
        }
        ListenerProtocol::Sctp => return Err(Unserved::Protocol(spec.protocol)),
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
        protocol: spec.protocol,
        addresses: load_balancer
            .vips
            .iter()
            .map(|vip| SocketAddr::new(vip.address, spec.port))
            .collect(),
        tls: tls.as_ref().map(|made| Arc::clone(&made.config)),
        engine: l7::compile(&policies)?,
        actions,
        default_pool: spec.default_pool_id,
        insert: Insert::of(&spec.insert_headers, tls.is_some()),
        hsts: spec.tls.hsts.and_then(hsts),
        client_timeout: patience(spec.timeout_client_data_ms),
        connect_timeout: patience(spec.timeout_member_connect_ms),
        member_timeout: patience(spec.timeout_member_data_ms),
        connection_limit: spec
            .connection_limit
            .filter(|limit| *limit > 0)
            .unwrap_or(CONNECTION_LIMIT),
    };
    Ok((config, tls))
}

/// As Octavia renders it (contract 8.3).
fn hsts(hsts: HstsSpec) -> Option<HeaderValue> {
    let mut value = format!("max-age={};", hsts.max_age);
    if hsts.include_subdomains {
        value.push_str(" includeSubDomains;");
    }
    if hsts.preload {
        value.push_str(" preload;");
    }
    HeaderValue::try_from(value).ok()
}

/// 0 means without limit, as in HAProxy; a day is as good.
fn patience(milliseconds: u64) -> Duration {
    match milliseconds {
        0 => WITHOUT_LIMIT,
        limit => Duration::from_millis(limit).min(WITHOUT_LIMIT),
    }
}
