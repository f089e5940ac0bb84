//! Specs with the contract's defaults and nothing below them, to be filled in by struct update:
//! `ListenerSpec { path, ..ListenerSpec::new(id, protocol, port) }`.

use std::net::IpAddr;

use super::{ListenerPath, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec};
use crate::{
    defaults,
    enums::{LbAlgorithm, ListenerProtocol, PoolProtocol, Topology},
    id::{ListenerId, LoadBalancerId, MemberId, PoolId, SubnetId},
};

impl LoadBalancerSpec {
    /// Switched on, first generation, without addresses.
    #[must_use]
    pub fn new(id: LoadBalancerId, topology: Topology) -> Self {
        Self {
            id,
            project_id: String::new(),
            generation: 1,
            enabled: true,
            topology,
            failover_count: 0,
            forwarding_mode: Default::default(),
            l4_path: Default::default(),
            vips: Vec::new(),
            amphorae: Vec::new(),
            snat: Vec::new(),
            subnets: Vec::new(),
            listeners: Vec::new(),
            pools: Vec::new(),
            certificates: Vec::new(),
        }
    }
}

impl ListenerSpec {
    /// By the amphora, open to everyone, without a pool.
    #[must_use]
    pub fn new(id: ListenerId, protocol: ListenerProtocol, port: u16) -> Self {
        Self {
            id,
            protocol,
            port,
            path: ListenerPath::Amphora,
            connection_limit: None,
            allowed_cidrs: Vec::new(),
            default_certificate: None,
            sni_certificates: Vec::new(),
            insert_headers: Vec::new(),
            timeout_client_data_ms: defaults::TIMEOUT_DATA_MS.unsigned_abs(),
            timeout_member_connect_ms: defaults::TIMEOUT_MEMBER_CONNECT_MS.unsigned_abs(),
            timeout_member_data_ms: defaults::TIMEOUT_DATA_MS.unsigned_abs(),
            timeout_tcp_inspect_ms: defaults::TIMEOUT_TCP_INSPECT_MS.unsigned_abs(),
            tls: Default::default(),
            default_pool_id: None,
            l7policies: Vec::new(),
        }
    }
}

impl PoolSpec {
    /// In clear, without members, monitor or persistence.
    #[must_use]
    pub const fn new(id: PoolId, protocol: PoolProtocol, lb_algorithm: LbAlgorithm) -> Self {
        Self {
            id,
            protocol,
            lb_algorithm,
            members: Vec::new(),
            health_monitor: None,
            session_persistence: None,
            tls: None,
        }
    }
}

impl MemberSpec {
    /// A primary of the usual weight, probed where it serves.
    #[must_use]
    pub const fn new(id: MemberId, address: IpAddr, port: u16, subnet_id: SubnetId) -> Self {
        Self {
            id,
            address,
            port,
            weight: defaults::MEMBER_WEIGHT,
            backup: false,
            subnet_id,
            monitor_address: None,
            monitor_port: None,
            last_known_up: None,
        }
    }
}
