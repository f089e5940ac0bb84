//! One load balancer to change in tests: listener 1 → pool 11, with a policy to pool 12.

use std::collections::BTreeMap;

use lb_model::{
    enums::{
        ClientAuthentication, HealthMonitorType, L7PolicyAction, L7RuleCompareType, L7RuleType,
        LbAlgorithm, ListenerProtocol, OperatingStatus, PoolProtocol, ProvisioningStatus, Topology,
    },
    id::{HealthMonitorId, L7PolicyId, L7RuleId, LoadBalancerId, NetworkId, PortId},
    resource::{
        Common, HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Vip,
    },
    time::Timestamp,
    tree::Tree,
};
use uuid::Uuid;

pub(crate) const VIP_SUBNET: u128 = 0xa0;
pub(crate) const MEMBER_SUBNET: u128 = 0xa1;

pub(crate) fn id<T: From<Uuid>>(number: u128) -> T {
    T::from(Uuid::from_u128(number))
}

pub(crate) fn common() -> Common {
    Common {
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        provisioning_status: ProvisioningStatus::Active,
        operating_status: OperatingStatus::Online,
        created_at: Timestamp(0),
        updated_at: None,
        tags: Vec::new(),
    }
}

pub(crate) fn vip(address: &str, subnet: u128) -> Vip {
    Vip {
        address: address.parse().unwrap(),
        port_id: id::<PortId>(1),
        subnet_id: id(subnet),
        network_id: id::<NetworkId>(2),
    }
}

pub(crate) fn listener(number: u128, protocol: ListenerProtocol, pool: Option<u128>) -> Listener {
    Listener {
        id: id(number),
        common: common(),
        protocol,
        protocol_port: 80,
        connection_limit: Some(-1),
        default_pool_id: pool.map(id),
        default_tls_container_ref: None,
        sni_container_refs: Vec::new(),
        insert_headers: BTreeMap::new(),
        timeout_client_data: None,
        timeout_member_connect: Some(7),
        timeout_member_data: None,
        timeout_tcp_inspect: None,
        client_ca_tls_container_ref: None,
        client_authentication: ClientAuthentication::None,
        client_crl_container_ref: None,
        allowed_cidrs: Vec::new(),
        tls_ciphers: None,
        tls_versions: None,
        alpn_protocols: None,
        hsts_max_age: None,
        hsts_include_subdomains: false,
        hsts_preload: false,
        l7policies: Vec::new(),
    }
}

pub(crate) fn member(number: u128, address: &str) -> Member {
    Member {
        id: id(number),
        common: common(),
        address: address.parse().unwrap(),
        protocol_port: 8080,
        weight: 1,
        backup: false,
        subnet_id: None,
        monitor_address: None,
        monitor_port: None,
        vnic_type: lb_model::enums::VnicType::Normal,
    }
}

pub(crate) fn pool(number: u128) -> Pool {
    Pool {
        id: id(number),
        common: common(),
        protocol: PoolProtocol::Http,
        lb_algorithm: LbAlgorithm::RoundRobin,
        session_persistence: None,
        tls_enabled: false,
        tls_container_ref: None,
        ca_tls_container_ref: None,
        crl_container_ref: None,
        tls_ciphers: None,
        tls_versions: None,
        alpn_protocols: None,
        members: vec![member(number + 100, "192.0.2.50")],
        health_monitor: None,
    }
}

pub(crate) fn monitored() -> HealthMonitor {
    HealthMonitor {
        id: id::<HealthMonitorId>(0x30),
        common: common(),
        kind: HealthMonitorType::Http,
        delay: 1,
        timeout: 1,
        max_retries: 1,
        max_retries_down: 1,
        http_method: None,
        url_path: None,
        expected_codes: None,
        http_version: None,
        domain_name: None,
    }
}

pub(crate) fn policy(number: u128, pool: Option<u128>) -> L7Policy {
    L7Policy {
        id: id::<L7PolicyId>(number),
        common: common(),
        action: if pool.is_some() {
            L7PolicyAction::RedirectToPool
        } else {
            L7PolicyAction::Reject
        },
        redirect_pool_id: pool.map(id),
        redirect_url: None,
        redirect_prefix: None,
        redirect_http_code: None,
        rules: vec![L7Rule {
            id: id::<L7RuleId>(number + 1),
            common: common(),
            kind: L7RuleType::Path,
            compare_type: L7RuleCompareType::StartsWith,
            key: None,
            value: "/api".to_owned(),
            invert: false,
        }],
    }
}

pub(crate) fn tree() -> Tree {
    let mut first = listener(1, ListenerProtocol::Http, Some(11));
    first.l7policies.push(policy(0x20, Some(12)));
    Tree {
        load_balancer: LoadBalancer {
            id: id::<LoadBalancerId>(0xff),
            project_id: "p".to_owned(),
            common: common(),
            vip: vip("192.0.2.10", VIP_SUBNET),
            additional_vips: vec![vip("2001:db8::10", 0xa6)],
            provider: "amphora".to_owned(),
            topology: Topology::Single,
            placement: lb_model::resource::Placement::default(),
            vip_options: lb_model::resource::VipOptions::default(),
            generation: 9,
            failover_count: 2,
        },
        listeners: vec![first],
        pools: vec![pool(11), pool(12)],
    }
}
