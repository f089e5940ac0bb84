//! The store against real databases: every test runs on SQLite and on PostgreSQL.

/// Tests of the same text on both engines.
macro_rules! on_both {
    ($(async fn $name:ident() $body:block)+) => {$(
        mod $name {
            use super::*;

            async fn body() $body

            #[tokio::test]
            async fn sqlite() {
                $crate::tests::on($crate::tests::Engine::Sqlite, body()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $crate::tests::on($crate::tests::Engine::Postgres, body()).await;
            }
        }
    )+};
}

mod addresses;
mod backups;
mod capabilities;
mod events;
mod lists;
mod migrations;
mod observed;
mod quotas;
mod secrets;
mod servers;
mod statements;
mod trees;

use std::{collections::BTreeMap, future::Future, net::IpAddr, path::Path, sync::Arc};

use lb_model::{
    enums::{
        ClientAuthentication, HealthMonitorType, L7PolicyAction, L7RuleCompareType, L7RuleType,
        LbAlgorithm, ListenerProtocol, OperatingStatus, PoolProtocol, ProvisioningStatus,
        SessionPersistenceType, Topology,
    },
    id::{
        HealthMonitorId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId, MemberId, NetworkId,
        PoolId, SubnetId,
    },
    request::load_balancer::VipRequest,
    resource::{
        Common, HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool,
        SessionPersistence,
    },
    time::Timestamp,
    tree::Tree,
};
use uuid::Uuid;

use lb_testkit::postgres::Postgres;
use std::time::Duration;

use crate::{
    DatabaseSettings, NetworkCatalog, Store, StoreError, Vips,
    network::{AllocationPool, Network, Subnet},
};

pub(crate) const PROJECT: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const FIRST_TIME: i64 = 1_750_000_000_000_000;

pub(crate) fn network_id() -> NetworkId {
    NetworkId(Uuid::from_u128(1))
}

/// 192.0.2.0/24
pub(crate) fn v4() -> SubnetId {
    SubnetId(Uuid::from_u128(4))
}

/// 2001:db8::/64
pub(crate) fn v6() -> SubnetId {
    SubnetId(Uuid::from_u128(6))
}

/// 198.51.100.0/29 in a network of its own, with four addresses to give out.
pub(crate) fn small() -> SubnetId {
    SubnetId(Uuid::from_u128(8))
}

fn subnet(id: SubnetId, name: &str, cidr: &str, gateway: Option<&str>) -> Subnet {
    Subnet {
        id,
        name: name.into(),
        cidr: cidr.parse().unwrap(),
        gateway_ip: gateway.map(|address| address.parse().unwrap()),
        allocation_pools: Vec::new(),
    }
}

pub(crate) fn networks() -> Vec<Network> {
    let mut small = subnet(small(), "small-v4", "198.51.100.0/29", Some("198.51.100.1"));
    small.allocation_pools = vec![AllocationPool {
        start: address("198.51.100.1"),
        end: address("198.51.100.5"),
    }];
    vec![
        Network {
            id: network_id(),
            name: "public".into(),
            segment: 1,
            project_id: None,
            subnets: vec![
                subnet(v6(), "public-v6", "2001:db8::/64", None),
                subnet(v4(), "public-v4", "192.0.2.0/24", Some("192.0.2.1")),
            ],
        },
        Network {
            id: NetworkId(Uuid::from_u128(2)),
            name: "small".into(),
            segment: 2,
            project_id: None,
            subnets: vec![small],
        },
    ]
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

tokio::task_local! {
    static ENGINE: Engine;
}

pub(crate) async fn on(engine: Engine, test: impl Future<Output = ()>) {
    ENGINE.scope(engine, Box::pin(test)).await;
}

/// The engine of this test; SQLite where nothing is said.
pub(crate) fn engine() -> Engine {
    ENGINE.try_with(|engine| *engine).unwrap_or(Engine::Sqlite)
}

/// The database that belongs to a state directory; a copy of the directory has the same.
pub(crate) fn settings(dir: &Path) -> DatabaseSettings {
    if engine() == Engine::Sqlite {
        return DatabaseSettings::default();
    }
    let file = dir.join("database-url");
    if !file.exists() {
        let url = Postgres::shared().unwrap().new_database().unwrap();
        std::fs::write(&file, url).unwrap();
    }
    let url = std::fs::read_to_string(&file).unwrap();
    DatabaseSettings {
        secrets_key: crate::KeySource::StateDir,
        url: Some(url.parse().unwrap()),
        connections: 8,
        connect_timeout: Duration::from_secs(10),
    }
}

pub(crate) async fn open(dir: &Path) -> Store {
    let catalog = NetworkCatalog::new(networks()).unwrap();
    Store::open_on(&settings(dir), dir, "test", Arc::new(catalog))
        .await
        .unwrap()
}

pub(crate) fn on_subnet(subnet_id: SubnetId) -> VipRequest {
    VipRequest {
        port_id: None,
        network_id: None,
        subnet_id: Some(subnet_id),
        address: None,
        additional: Vec::new(),
    }
}

pub(crate) fn common(name: &str) -> Common {
    Common {
        name: name.into(),
        description: String::new(),
        admin_state_up: true,
        provisioning_status: ProvisioningStatus::PendingCreate,
        operating_status: OperatingStatus::Offline,
        created_at: Timestamp(FIRST_TIME),
        updated_at: None,
        tags: Vec::new(),
    }
}

/// A load balancer without children.
pub(crate) fn bare(id: LoadBalancerId, name: &str, topology: Topology, vips: Vips) -> Tree {
    Tree {
        load_balancer: LoadBalancer {
            id,
            project_id: PROJECT.into(),
            common: common(name),
            vip: vips.vip,
            additional_vips: vips.additional,
            provider: "amphora".into(),
            topology,
            vip_options: lb_model::resource::VipOptions::default(),
            placement: lb_model::resource::Placement::default(),
            generation: 1,
            failover_count: 0,
        },
        listeners: Vec::new(),
        pools: Vec::new(),
    }
}

/// Creates a load balancer without children.
pub(crate) async fn create(
    store: &Store,
    name: &str,
    vips: &VipRequest,
) -> Result<Tree, StoreError> {
    let topology = Topology::ActiveStandby;
    let id = LoadBalancerId(Uuid::new_v4());
    store
        .create_tree(id, PROJECT, vips, topology, |vips| {
            Ok(bare(id, name, topology, vips))
        })
        .await
}

pub(crate) fn member(name: &str, at: &str, subnet_id: Option<SubnetId>) -> Member {
    Member {
        id: MemberId(Uuid::new_v4()),
        common: common(name),
        address: address(at).into(),
        protocol_port: 8080,
        weight: 1,
        backup: false,
        subnet_id,
        monitor_address: None,
        monitor_port: None,
        vnic_type: lb_model::enums::VnicType::Normal,
    }
}

pub(crate) fn pool(name: &str, protocol: PoolProtocol, members: Vec<Member>) -> Pool {
    Pool {
        id: PoolId(Uuid::new_v4()),
        common: common(name),
        protocol,
        lb_algorithm: LbAlgorithm::SourceIpPort,
        session_persistence: None,
        tls_enabled: false,
        tls_container_ref: None,
        ca_tls_container_ref: None,
        crl_container_ref: None,
        tls_ciphers: None,
        tls_versions: None,
        alpn_protocols: None,
        members,
        health_monitor: None,
    }
}

pub(crate) fn listener(name: &str, protocol: ListenerProtocol, port: u16) -> Listener {
    Listener {
        id: ListenerId(Uuid::new_v4()),
        common: common(name),
        protocol,
        protocol_port: port,
        connection_limit: Some(-1),
        default_pool_id: None,
        default_tls_container_ref: None,
        sni_container_refs: Vec::new(),
        insert_headers: BTreeMap::new(),
        timeout_client_data: Some(50_000),
        timeout_member_connect: Some(5_000),
        timeout_member_data: Some(50_000),
        timeout_tcp_inspect: Some(0),
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

pub(crate) fn rule(value: &str) -> L7Rule {
    L7Rule {
        id: L7RuleId(Uuid::new_v4()),
        common: common(""),
        kind: L7RuleType::Header,
        compare_type: L7RuleCompareType::StartsWith,
        key: Some("X-Test".into()),
        value: value.into(),
        invert: true,
    }
}

pub(crate) fn policy(name: &str, rules: Vec<L7Rule>) -> L7Policy {
    L7Policy {
        id: L7PolicyId(Uuid::new_v4()),
        common: common(name),
        action: L7PolicyAction::RedirectToUrl,
        redirect_pool_id: None,
        redirect_url: Some("https://example.test/".into()),
        redirect_prefix: None,
        redirect_http_code: Some(307),
        rules,
    }
}

/// Fills a tree with every kind of object and every field set.
pub(crate) fn furnish(tree: &mut Tree) {
    let mut web = pool(
        "web",
        PoolProtocol::Http,
        vec![
            member("m1", "192.0.2.101", Some(v4())),
            member("m2", "198.51.100.6", Some(small())),
        ],
    );
    web.common.tags = vec!["z".into(), "a".into()];
    web.session_persistence = Some(SessionPersistence {
        kind: SessionPersistenceType::AppCookie,
        cookie_name: Some("id".into()),
        persistence_timeout: Some(3),
        persistence_granularity: Some("255.255.255.0".into()),
    });
    web.tls_versions = Some(vec!["TLSv1.3".into()]);
    web.members[0].monitor_address = Some(address("192.0.2.9").into());
    web.members[0].monitor_port = Some(81);
    web.members[1].backup = true;
    web.health_monitor = Some(HealthMonitor {
        id: HealthMonitorId(Uuid::new_v4()),
        common: common("probe"),
        kind: HealthMonitorType::Http,
        delay: 1,
        timeout: 2,
        max_retries: 3,
        max_retries_down: 4,
        http_method: Some("GET".into()),
        url_path: Some("/health".into()),
        expected_codes: Some("200-204".into()),
        http_version: Some("1.1".into()),
        domain_name: Some("example.test".into()),
    });
    let raw = pool(
        "raw",
        PoolProtocol::Tcp,
        vec![member("m3", "192.0.2.103", None)],
    );
    let mut https = listener("https", ListenerProtocol::TerminatedHttps, 443);
    https.common.tags = vec!["edge".into()];
    https.common.updated_at = Some(Timestamp(FIRST_TIME + 1));
    https.default_pool_id = Some(web.id);
    https.default_tls_container_ref = Some(format!("https://x/v1/secrets/{}", Uuid::from_u128(77)));
    https.sni_container_refs = vec![Uuid::from_u128(78).to_string()];
    https.insert_headers = BTreeMap::from([("X-Forwarded-For".into(), "true".into())]);
    https.allowed_cidrs = vec![
        "203.0.113.0/24".parse().unwrap(),
        "2001:db8:1::/48".parse().unwrap(),
    ];
    https.alpn_protocols = Some(vec!["h2".into()]);
    https.hsts_max_age = Some(60);
    https.hsts_preload = true;
    https.l7policies = vec![
        policy("first", vec![rule("a"), rule("b")]),
        policy("second", vec![rule("c")]),
    ];
    let mut tcp = listener("tcp", ListenerProtocol::Tcp, 9000);
    tcp.default_pool_id = Some(raw.id);
    tree.load_balancer.common.tags = vec!["blue".into(), "green".into()];
    tree.listeners = vec![https, tcp];
    tree.pools = vec![web, raw];
}
