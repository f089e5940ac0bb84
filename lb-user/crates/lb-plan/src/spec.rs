//! From one load balancer's objects to what a host must carry: [`LoadBalancerSpec`].
//!
//! What: [`build`] leaves out what is switched off or being deleted, decides who handles each
//! listener's packets, fills in defaults, and says which listeners cannot be served and why.
//!
//! Invariants: pure; the same objects give the same spec, whatever their statuses. A listener that
//! cannot be served never keeps the others from being served.

use std::collections::{BTreeMap, BTreeSet};

use lb_model::{
    defaults,
    enums::{L7PolicyAction, OperatingStatus, ProvisioningStatus},
    id::{ListenerId, MemberId, PoolId, SubnetId},
    resource::{Common, HealthMonitor, L7Policy, Listener, LoadBalancer, Member, Pool, Vip},
    secret_refs::SecretRefs,
    spec::{
        AmphoraSpec, CertificateSpec, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec,
        PortSpec, SubnetSpec, VipSpec,
    },
    tree::Tree,
    written::WrittenAddr,
};

mod path;
mod tls;

#[cfg(test)]
mod tests;

pub use path::{Families, PathInputs, PathReason, PoolInputs, decide, decide_in};

/// Everything a spec is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The load balancer with everything below it.
    pub tree: &'a Tree,
    /// Its amphorae with their addresses, by slot.
    pub amphorae: &'a [AmphoraSpec],
    /// Source addresses for XDP NAT.
    pub snat: &'a [PortSpec],
    /// Every subnet there is.
    pub subnets: &'a [SubnetSpec],
    /// The certificates that its listeners and pools name and that could be read.
    pub certificates: &'a [CertificateSpec],
    /// CAs by reference, PEM, as far as they could be read.
    pub authorities: &'a BTreeMap<String, String>,
    /// Lists of revoked certificates by reference, PEM, as far as they could be read.
    pub revocation_lists: &'a BTreeMap<String, String>,
    /// Last known health of its members; one never probed is not in it.
    pub health: &'a BTreeMap<MemberId, bool>,
}

/// A spec, and what had to stay out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// What the host must carry.
    pub spec: LoadBalancerSpec,
    /// Enabled listeners that cannot be served.
    pub unservable: Vec<Unservable>,
}

/// A listener that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unservable {
    /// Which one.
    pub listener_id: ListenerId,
    /// Why, for the operator.
    pub reason: String,
}

/// A load balancer that cannot be carried at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A subnet in use was taken out of the configuration.
    #[error("subnet {0} is not in the configuration any more")]
    UnknownSubnet(SubnetId),
    /// Amphora rows are made with the load balancer; without them there is nothing to steer to.
    #[error("it has no amphora")]
    NoAmphora,
}

/// Makes the spec.
///
/// # Errors
/// When the load balancer as a whole cannot be carried.
pub fn build(inputs: Inputs<'_>) -> Result<Built, SpecError> {
    let Tree {
        load_balancer,
        listeners,
        pools,
    } = inputs.tree;
    if inputs.amphorae.is_empty() {
        return Err(SpecError::NoAmphora);
    }
    let in_use_pools = || pools.iter().filter(|pool| in_use(&pool.common));
    let usable: BTreeSet<PoolId> = in_use_pools().map(|pool| pool.id).collect();
    // Without what it must check members by, a pool is not used at all.
    let unreadable: BTreeMap<PoolId, String> = in_use_pools()
        .filter_map(|pool| Some((pool.id, tls::missing(&tls::pool_refs(pool), &inputs)?)))
        .collect();
    let mut unservable = Vec::new();
    let mut served = Vec::new();
    for listener in listeners.iter().filter(|listener| in_use(&listener.common)) {
        let spec = listener_spec(listener, &usable, &inputs);
        let mut targets = targets(&spec);
        let missing = tls::without_certificate(listener)
            .or_else(|| tls::missing(&tls::listener_refs(listener), &inputs))
            .or_else(|| targets.find_map(|id| unreadable.get(&id).cloned()));
        drop(targets);
        match missing {
            None => served.push(spec),
            Some(reason) => unservable.push(Unservable {
                listener_id: listener.id,
                reason,
            }),
        }
    }
    let reachable = reachable(&served);
    let pools: Vec<PoolSpec> = pools
        .iter()
        .filter(|pool| usable.contains(&pool.id) && !unreadable.contains_key(&pool.id))
        .filter(|pool| reachable.contains(&pool.id) || monitor(pool).is_some())
        .map(|pool| pool_spec(pool, load_balancer, &inputs))
        .collect();
    let vips: Vec<VipSpec> = vips(load_balancer)
        .map(|vip| VipSpec {
            address: vip.address,
            subnet_id: vip.subnet_id,
        })
        .collect();
    let certificates = tls::named_certificates(&served, &pools, inputs.certificates);
    let subnets = named_subnets(&vips, &pools, &inputs)?;
    let spec = LoadBalancerSpec {
        id: load_balancer.id,
        project_id: load_balancer.project_id.clone(),
        generation: load_balancer.generation,
        enabled: load_balancer.common.admin_state_up,
        topology: load_balancer.topology,
        failover_count: load_balancer.failover_count,
        forwarding_mode: load_balancer.placement.forwarding_mode,
        l4_path: load_balancer.placement.l4_path,
        vips,
        amphorae: inputs.amphorae.to_vec(),
        snat: inputs.snat.to_vec(),
        subnets,
        listeners: served,
        pools,
        certificates,
    };
    Ok(Built { spec, unservable })
}

/// Every secret that the listeners and pools of a tree need: what to read before [`build`].
#[must_use]
pub fn secret_refs(tree: &Tree) -> SecretRefs {
    let mut refs = SecretRefs::default();
    let listeners = tree.listeners.iter().filter(|one| in_use(&one.common));
    listeners.for_each(|listener| refs.extend(tls::listener_refs(listener)));
    let pools = tree.pools.iter().filter(|pool| in_use(&pool.common));
    pools.for_each(|pool| refs.extend(tls::pool_refs(pool)));
    refs
}

/// The subnet through which a member is reached: its own, else that of the first VIP of its family.
#[must_use]
pub fn member_subnet(load_balancer: &LoadBalancer, member: &Member) -> SubnetId {
    let same_family = |vip: &&Vip| vip.address.is_ipv4() == member.address.is_ipv4();
    member.subnet_id.unwrap_or_else(|| {
        vips(load_balancer)
            .find(same_family)
            .unwrap_or(&load_balancer.vip)
            .subnet_id
    })
}

/// Who handles the packets of a listener of `tree`, and why.
#[must_use]
pub fn path(tree: &Tree, listener: &Listener) -> PathReason {
    let owner = &tree.load_balancer;
    let pool = listener.default_pool_id.and_then(|id| {
        tree.pools
            .iter()
            .find(|pool| pool.id == id && in_use(&pool.common))
    });
    let members = |pool: &Pool| {
        let members = pool.members.iter().filter(|member| in_use(&member.common));
        Families::of(members.map(|member| member.address.ip()))
    };
    decide(&PathInputs {
        protocol: listener.protocol,
        timeout_tcp_inspect_ms: timeout(
            listener.timeout_tcp_inspect,
            defaults::TIMEOUT_TCP_INSPECT_MS,
        ),
        timeout_member_connect_ms: timeout(
            listener.timeout_member_connect,
            defaults::TIMEOUT_MEMBER_CONNECT_MS,
        ),
        pool: pool.map(|pool| PoolInputs {
            protocol: pool.protocol,
            tls_enabled: pool.tls_enabled,
            persistence: pool.session_persistence.as_ref().map(|kept| kept.kind),
            members: members(pool),
        }),
        l4_path: owner.placement.l4_path,
        forwarding_mode: owner.placement.forwarding_mode,
        vips: &Families::of(vips(owner).map(|vip| vip.address)),
    })
}

fn vips(load_balancer: &LoadBalancer) -> impl Iterator<Item = &Vip> {
    std::iter::once(&load_balancer.vip).chain(&load_balancer.additional_vips)
}

/// Switched on, and not on its way out.
fn in_use(common: &Common) -> bool {
    common.admin_state_up
        && !matches!(
            common.provisioning_status,
            ProvisioningStatus::PendingDelete | ProvisioningStatus::Deleted
        )
}

fn listener_spec(
    listener: &Listener,
    usable: &BTreeSet<PoolId>,
    inputs: &Inputs<'_>,
) -> ListenerSpec {
    let (default, sni) = if tls::terminates(listener) {
        (
            listener.default_tls_container_ref.clone(),
            listener.sni_container_refs.clone(),
        )
    } else {
        (None, Vec::new())
    };
    ListenerSpec {
        id: listener.id,
        protocol: listener.protocol,
        port: listener.protocol_port,
        path: path(inputs.tree, listener).path(),
        connection_limit: listener
            .connection_limit
            .and_then(|limit| u64::try_from(limit).ok()),
        allowed_cidrs: listener.allowed_cidrs.clone(),
        default_certificate: default,
        sni_certificates: sni,
        insert_headers: listener
            .insert_headers
            .iter()
            .filter(|(_, value)| value.eq_ignore_ascii_case("true"))
            .map(|(name, _)| name.clone())
            .collect(),
        timeout_client_data_ms: timeout(listener.timeout_client_data, defaults::TIMEOUT_DATA_MS),
        timeout_member_connect_ms: timeout(
            listener.timeout_member_connect,
            defaults::TIMEOUT_MEMBER_CONNECT_MS,
        ),
        timeout_member_data_ms: timeout(listener.timeout_member_data, defaults::TIMEOUT_DATA_MS),
        timeout_tcp_inspect_ms: timeout(
            listener.timeout_tcp_inspect,
            defaults::TIMEOUT_TCP_INSPECT_MS,
        ),
        tls: tls::listener_tls(listener, inputs),
        default_pool_id: listener.default_pool_id.filter(|id| usable.contains(id)),
        l7policies: listener
            .l7policies
            .iter()
            .filter_map(|policy| policy_spec(policy, usable))
            .collect(),
    }
}

fn timeout(given: Option<i64>, default: i64) -> u64 {
    u64::try_from(given.unwrap_or(default)).unwrap_or(0)
}

/// A policy with what of it is in force; `None` when it can never match or has nowhere to send to.
fn policy_spec(policy: &L7Policy, usable: &BTreeSet<PoolId>) -> Option<L7Policy> {
    let nowhere = policy.action == L7PolicyAction::RedirectToPool
        && !policy
            .redirect_pool_id
            .is_some_and(|id| usable.contains(&id));
    if !in_use(&policy.common) || nowhere {
        return None;
    }
    let mut policy = policy.clone();
    policy.rules.retain(|rule| in_use(&rule.common));
    if policy.rules.is_empty() {
        return None;
    }
    settle(&mut policy.common);
    for rule in &mut policy.rules {
        settle(&mut rule.common);
    }
    Some(policy)
}

/// Statuses mean nothing on a host: without them the same objects always give the same spec.
fn settle(common: &mut Common) {
    common.provisioning_status = ProvisioningStatus::Active;
    common.operating_status = OperatingStatus::Online;
    common.updated_at = None;
}

fn pool_spec(pool: &Pool, owner: &LoadBalancer, inputs: &Inputs<'_>) -> PoolSpec {
    let health = inputs.health;
    let monitor = monitor(pool);
    let members = pool.members.iter().filter(|member| in_use(&member.common));
    PoolSpec {
        id: pool.id,
        protocol: pool.protocol,
        lb_algorithm: pool.lb_algorithm,
        members: members
            .map(|member| MemberSpec {
                id: member.id,
                address: member.address.ip(),
                port: member.protocol_port,
                weight: member.weight,
                backup: member.backup,
                subnet_id: member_subnet(owner, member),
                monitor_address: member.monitor_address.as_ref().map(WrittenAddr::ip),
                monitor_port: member.monitor_port,
                // What an earlier monitor found says nothing without one.
                last_known_up: monitor.and_then(|_| health.get(&member.id).copied()),
            })
            .collect(),
        health_monitor: monitor.map(|monitor| {
            let mut monitor = monitor.clone();
            settle(&mut monitor.common);
            monitor
        }),
        session_persistence: pool.session_persistence.clone(),
        tls: tls::pool_tls(pool, inputs),
    }
}

fn monitor(pool: &Pool) -> Option<&HealthMonitor> {
    pool.health_monitor
        .as_ref()
        .filter(|monitor| in_use(&monitor.common))
}

fn targets(listener: &ListenerSpec) -> impl Iterator<Item = PoolId> {
    let policies = listener.l7policies.iter();
    let redirects = policies.filter_map(|policy| policy.redirect_pool_id);
    listener.default_pool_id.into_iter().chain(redirects)
}

fn reachable(listeners: &[ListenerSpec]) -> BTreeSet<PoolId> {
    listeners.iter().flat_map(targets).collect()
}

fn named_subnets(
    vips: &[VipSpec],
    pools: &[PoolSpec],
    inputs: &Inputs<'_>,
) -> Result<Vec<SubnetSpec>, SpecError> {
    let members = pools.iter().flat_map(|pool| &pool.members);
    let ports = inputs.amphorae.iter().flat_map(|amphora| &amphora.ports);
    let named: BTreeSet<SubnetId> = vips
        .iter()
        .map(|vip| vip.subnet_id)
        .chain(members.map(|member| member.subnet_id))
        .chain(ports.chain(inputs.snat).map(|port| port.subnet_id))
        .collect();
    let find = |id: SubnetId| {
        let found = inputs.subnets.iter().find(|subnet| subnet.id == id);
        found.cloned().ok_or(SpecError::UnknownSubnet(id))
    };
    named.into_iter().map(find).collect()
}
