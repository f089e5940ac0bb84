//! What the data path cannot do yet: one table, asked after everything else (contract 3.4: the
//! provider's 501 comes last). Nothing becomes ACTIVE that does not work.
//!
//! A row looks at an object as it would be stored, so that POST, PUT, a batch and a single-call
//! create are judged alike. Each row names the capability that lifts it; agents declare theirs, and
//! [`Facts::capabilities`] holds what all of them have.
//!
//! A few 501 are the contract's own, whatever the data path: L7 policies on listeners that are not
//! HTTP, members of a UDP or SCTP pool whose IP version no VIP has, and TLS with nothing newer than
//! TLSv1.1. One is the flavor's: members on another port than their listener's under direct server
//! return ([`direct`]).

mod direct;
mod set;
mod table;

use std::net::IpAddr;

pub use self::set::{Capability, CapabilitySet};
use crate::{
    ctx::Facts,
    defaults,
    enums::{ListenerProtocol, PoolProtocol},
    fault::Fault,
    resource::{HealthMonitor, L7Rule, Listener, Member, Placement, Pool},
    tree::Tree,
};

/// What the flavor and the availability zone of a load balancer decided.
pub(crate) fn placement(placement: &Placement, facts: &Facts) -> Result<(), Fault> {
    table::walk(table::PLACEMENT, placement, &facts.capabilities)
}

/// A listener as it would be stored, with its default pool.
pub(crate) fn listener(tree: &Tree, listener: &Listener, facts: &Facts) -> Result<(), Fault> {
    table::walk(table::LISTENER, listener, &facts.capabilities)?;
    if listener.protocol == ListenerProtocol::TerminatedHttps {
        modern_tls(listener.tls_versions.as_deref())?;
    }
    match listener.default_pool_id {
        None => Ok(()),
        Some(id) => {
            let pool = tree.pool(id)?;
            pair(listener, pool, facts)?;
            same_family(tree, pool)?;
            all_reached(tree, listener, pool)
        }
    }
}

/// A pool as it would be stored, with the listeners that use it.
pub(crate) fn pool(tree: &Tree, pool: &Pool, facts: &Facts) -> Result<(), Fault> {
    table::walk(table::POOL, pool, &facts.capabilities)?;
    if pool.tls_enabled {
        modern_tls(pool.tls_versions.as_deref())?;
    }
    tree.listeners_using(pool.id).try_for_each(|listener| {
        pair(listener, pool, facts)?;
        same_family(tree, pool)?;
        all_reached(tree, listener, pool)
    })
}

/// Whether packets of a listener reach every member of its pool.
fn all_reached(tree: &Tree, listener: &Listener, pool: &Pool) -> Result<(), Fault> {
    let placement = &tree.load_balancer.placement;
    let mut members = pool.members.iter();
    members.try_for_each(|member| direct::reaches(placement, listener, pool, member))
}

/// A member as it would be stored: its address must be of a family we have an address of.
pub(crate) fn member(
    tree: &Tree,
    pool: &Pool,
    member: &Member,
    facts: &Facts,
) -> Result<(), Fault> {
    table::walk(table::MEMBER, member, &facts.capabilities)?;
    tree.listeners_using(pool.id).try_for_each(|listener| {
        direct::reaches(&tree.load_balancer.placement, listener, pool, member)
    })?;
    // As with Octavia, what no listener uses may hold what none could use.
    let is_used = tree.listeners_using(pool.id).next().is_some();
    let any_family = if is_datagram(pool) {
        !is_used
    } else {
        facts.capabilities.has(Capability::MemberFamilies)
    };
    if any_family {
        return Ok(());
    }
    let vip_has = |address| vip_has(tree, address);
    let project_id = &tree.load_balancer.project_id;
    let subnet = member.subnet_id.and_then(|id| facts.subnet(id, project_id));
    let made_up = facts.any_subnet && member.subnet_id.is_some();
    let reaches = |address: IpAddr| {
        subnet.is_some_and(|subnet| subnet.cidr.addr().is_ipv4() == address.is_ipv4())
            || vip_has(address)
            || made_up
    };
    // NAT keeps the family, whatever subnet the member is in.
    let usable = match pool.protocol {
        PoolProtocol::Tcp | PoolProtocol::Udp | PoolProtocol::Sctp => vip_has(member.address.ip()),
        _ => reaches(member.address.ip()),
    };
    if !usable {
        return Err(Fault::not_implemented(
            "address",
            &member.address,
            "its IP version is none of the VIPs'",
        ));
    }
    match &member.monitor_address {
        Some(address) if !reaches(address.ip()) => Err(Fault::not_implemented(
            "monitor_address",
            address,
            "its IP version is none of the VIPs'",
        )),
        _ => Ok(()),
    }
}

fn vip_has(tree: &Tree, address: IpAddr) -> bool {
    tree.vip_addresses()
        .any(|vip| vip.is_ipv4() == address.is_ipv4())
}

const fn is_datagram(pool: &Pool) -> bool {
    matches!(pool.protocol, PoolProtocol::Udp | PoolProtocol::Sctp)
}

/// Members of a UDP or SCTP pool that a listener is to use.
fn same_family(tree: &Tree, pool: &Pool) -> Result<(), Fault> {
    let mut members = pool.members.iter();
    match members.find(|member| !vip_has(tree, member.address.ip())) {
        Some(member) if is_datagram(pool) => Err(Fault::not_implemented(
            "address",
            &member.address,
            "its IP version is none of the VIPs'",
        )),
        _ => Ok(()),
    }
}

/// A monitor as it would be stored.
pub(crate) fn health_monitor(monitor: &HealthMonitor, facts: &Facts) -> Result<(), Fault> {
    table::walk(table::HEALTH_MONITOR, monitor, &facts.capabilities)
}

/// Whether a listener can have policies at all.
pub(crate) fn l7policy(listener: &Listener) -> Result<(), Fault> {
    if listener.protocol.is_http() {
        return Ok(());
    }
    Err(Fault::not_implemented(
        "listener_id",
        listener.id,
        format!(
            "L7 policies need an HTTP listener, this one is {}",
            listener.protocol
        ),
    ))
}

/// A rule as it would be stored.
pub(crate) fn l7rule(rule: &L7Rule, facts: &Facts) -> Result<(), Fault> {
    table::walk(table::L7RULE, rule, &facts.capabilities)
}

/// What the protocol matrix allows but no path serves.
fn pair(listener: &Listener, pool: &Pool, facts: &Facts) -> Result<(), Fault> {
    let proxied = listener.protocol == ListenerProtocol::Tcp && pool.protocol != PoolProtocol::Tcp;
    if proxied && !facts.capabilities.has(Capability::ListenerTcpProxied) {
        return Err(Fault::not_implemented(
            "protocol",
            pool.protocol,
            "a TCP listener is served with TCP pools only",
        ));
    }
    Ok(())
}

/// SSLv3, TLSv1 and TLSv1.1 beside something newer are not offered; alone they leave nothing.
fn modern_tls(versions: Option<&[String]>) -> Result<(), Fault> {
    let modern = |version: &String| defaults::TLS_VERSIONS.contains(&version.as_str());
    match versions {
        Some(versions) if !versions.iter().any(modern) => Err(Fault::not_implemented(
            "tls_versions",
            versions.join(","),
            "TLSv1.2 and TLSv1.3 are served",
        )),
        _ => Ok(()),
    }
}
