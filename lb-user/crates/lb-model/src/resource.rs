//! What a tenant owns, one struct a resource, as stored. Field meanings, ranges and defaults:
//! contract section 2. References between objects are ids; [`crate::tree::Tree`] holds one load
//! balancer's objects together.
//!
//! `name` and `description` are `""` when unset, as in every answer.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    enums::{
        AmphoraRole, AmphoraStatus, ClientAuthentication, ForwardingMode, HealthMonitorType,
        L4Path, L7PolicyAction, L7RuleCompareType, L7RuleType, LbAlgorithm, ListenerProtocol,
        OperatingStatus, PoolProtocol, ProvisioningStatus, SessionPersistenceType, Topology,
        VnicType,
    },
    id::{
        AmphoraId, FlavorId, HealthMonitorId, L7PolicyId, L7RuleId, ListenerId, LoadBalancerId,
        MemberId, NetworkId, PoolId, PortId, SubnetId,
    },
    time::Timestamp,
    written::WrittenAddr,
};

/// What every object has: life cycle, switch, times, tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Common {
    /// At most 255 characters.
    pub name: String,
    /// At most 255 characters; always `""` for members, monitors and rules.
    pub description: String,
    /// `false` takes the object out of service (contract 4.3).
    pub admin_state_up: bool,
    /// See [`ProvisioningStatus`].
    pub provisioning_status: ProvisioningStatus,
    /// See [`OperatingStatus`].
    pub operating_status: OperatingStatus,
    /// Set once.
    pub created_at: Timestamp,
    /// `None` until the first change.
    pub updated_at: Option<Timestamp>,
    /// A set: no duplicates, in the order first given.
    pub tags: Vec<String>,
}

/// A VIP address and the port that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// The address clients use.
    pub address: IpAddr,
    /// The port that reserves it.
    pub port_id: PortId,
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// Its network.
    pub network_id: NetworkId,
}

/// A load balancer (contract 2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Identity.
    pub id: LoadBalancerId,
    /// Owner; children take it over.
    pub project_id: String,
    /// Shared part.
    #[serde(flatten)]
    pub common: Common,
    /// The primary VIP.
    pub vip: Vip,
    /// Further VIPs of the same network (contract 2.1 rule 3).
    pub additional_vips: Vec<Vip>,
    /// Provider name as given, else the default.
    pub provider: String,
    /// How many amphorae.
    pub topology: Topology,
    /// What it was made of.
    #[serde(default)]
    pub placement: Placement,
    /// What is enforced on its VIPs.
    #[serde(default)]
    pub vip_options: VipOptions,
    /// Goes up with every change that a host must carry; 1 at create.
    pub generation: u64,
    /// Goes up with every planned failover asked for.
    pub failover_count: u64,
}

/// The flavor and the availability zone of a load balancer, and what they decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Flavor asked for.
    pub flavor_id: Option<FlavorId>,
    /// Availability zone asked for, by name.
    pub availability_zone: Option<String>,
    /// The kind of the VIP's port.
    pub vip_vnic_type: VnicType,
    /// Whether members may ask for SR-IOV ports.
    pub member_sriov: bool,
    /// How the data path hands packets to members.
    #[serde(default)]
    pub forwarding_mode: ForwardingMode,
    /// Who may handle listeners that the data path could serve.
    #[serde(default)]
    pub l4_path: L4Path,
}

/// What a network service enforces on the VIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipOptions {
    /// QoS policy.
    pub qos_policy_id: Option<Uuid>,
    /// Security groups.
    pub sg_ids: Vec<Uuid>,
}

/// A listener (contract 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Identity.
    pub id: ListenerId,
    /// Shared part.
    #[serde(flatten)]
    pub common: Common,
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// 1..=65535.
    pub protocol_port: u16,
    /// -1: the default limit. `None` when null was sent at create.
    pub connection_limit: Option<i64>,
    /// Pool for requests no policy takes.
    pub default_pool_id: Option<PoolId>,
    /// Certificate served when SNI matches none.
    pub default_tls_container_ref: Option<String>,
    /// Further certificates, chosen by SNI.
    pub sni_container_refs: Vec<String>,
    /// Header name to `"true"` (any case) or anything else, which means off.
    pub insert_headers: BTreeMap<String, String>,
    /// Milliseconds.
    pub timeout_client_data: Option<i64>,
    /// Milliseconds.
    pub timeout_member_connect: Option<i64>,
    /// Milliseconds.
    pub timeout_member_data: Option<i64>,
    /// Milliseconds.
    pub timeout_tcp_inspect: Option<i64>,
    /// CA for client certificates.
    pub client_ca_tls_container_ref: Option<String>,
    /// Whether clients must show one.
    pub client_authentication: ClientAuthentication,
    /// CRL for client certificates.
    pub client_crl_container_ref: Option<String>,
    /// Host bits masked, no duplicates. Empty: everyone (shown as null).
    pub allowed_cidrs: Vec<IpNet>,
    /// OpenSSL list.
    pub tls_ciphers: Option<String>,
    /// As on the wire.
    pub tls_versions: Option<Vec<String>>,
    /// As on the wire.
    pub alpn_protocols: Option<Vec<String>>,
    /// Seconds.
    pub hsts_max_age: Option<i64>,
    /// Part of the HSTS header.
    pub hsts_include_subdomains: bool,
    /// Part of the HSTS header.
    pub hsts_preload: bool,
    /// In position order: index 0 has position 1.
    pub l7policies: Vec<L7Policy>,
}

/// A pool (contract 2.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Identity.
    pub id: PoolId,
    /// Shared part.
    #[serde(flatten)]
    pub common: Common,
    /// Protocol towards members.
    pub protocol: PoolProtocol,
    /// How a member is chosen.
    pub lb_algorithm: LbAlgorithm,
    /// How a client is kept on a member.
    pub session_persistence: Option<SessionPersistence>,
    /// TLS towards members.
    pub tls_enabled: bool,
    /// Client certificate shown to members.
    pub tls_container_ref: Option<String>,
    /// CA that members' certificates must chain to.
    pub ca_tls_container_ref: Option<String>,
    /// CRL for members' certificates.
    pub crl_container_ref: Option<String>,
    /// OpenSSL list.
    pub tls_ciphers: Option<String>,
    /// As on the wire.
    pub tls_versions: Option<Vec<String>>,
    /// As on the wire.
    pub alpn_protocols: Option<Vec<String>>,
    /// In creation order.
    pub members: Vec<Member>,
    /// At most one.
    pub health_monitor: Option<HealthMonitor>,
}

/// How a pool keeps a client on its member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionPersistence {
    /// Kind.
    #[serde(rename = "type")]
    pub kind: SessionPersistenceType,
    /// For APP_COOKIE.
    pub cookie_name: Option<String>,
    /// Seconds; UDP and SCTP only.
    pub persistence_timeout: Option<i64>,
    /// Netmask; UDP and SCTP only.
    pub persistence_granularity: Option<String>,
}

/// A member of a pool (contract 2.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Identity.
    pub id: MemberId,
    /// Shared part (no description).
    #[serde(flatten)]
    pub common: Common,
    /// Where it listens.
    pub address: WrittenAddr,
    /// 1..=65535.
    pub protocol_port: u16,
    /// 0..=256; 0 drains.
    pub weight: u16,
    /// Used only when no primary is usable.
    pub backup: bool,
    /// Subnet through which it is reached; `None`: the VIP's.
    pub subnet_id: Option<SubnetId>,
    /// Probed instead of `address`.
    pub monitor_address: Option<WrittenAddr>,
    /// Probed instead of `protocol_port`.
    pub monitor_port: Option<u16>,
    /// The kind of port it is reached through.
    #[serde(default)]
    pub vnic_type: VnicType,
}

/// A pool's health monitor (contract 2.5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthMonitor {
    /// Identity.
    pub id: HealthMonitorId,
    /// Shared part (no description).
    #[serde(flatten)]
    pub common: Common,
    /// Kind of probe.
    #[serde(rename = "type")]
    pub kind: HealthMonitorType,
    /// Seconds between probes; 0 acts as 1.
    pub delay: u32,
    /// Seconds a probe may take; 0 acts as 1.
    pub timeout: u32,
    /// Successes in a row that bring a member up (rise), 1..=10.
    pub max_retries: u8,
    /// Failures in a row that take a member down (fall), 1..=10.
    pub max_retries_down: u8,
    /// HTTP and HTTPS only.
    pub http_method: Option<String>,
    /// HTTP and HTTPS only.
    pub url_path: Option<String>,
    /// HTTP and HTTPS only.
    pub expected_codes: Option<String>,
    /// "1.0" or "1.1" as text; shown as a JSON number.
    pub http_version: Option<String>,
    /// Host header of the probe.
    pub domain_name: Option<String>,
}

/// An L7 policy (contract 2.6). Its position is its place in [`Listener::l7policies`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct L7Policy {
    /// Identity.
    pub id: L7PolicyId,
    /// Shared part.
    #[serde(flatten)]
    pub common: Common,
    /// What it does.
    pub action: L7PolicyAction,
    /// For REDIRECT_TO_POOL.
    pub redirect_pool_id: Option<PoolId>,
    /// For REDIRECT_TO_URL.
    pub redirect_url: Option<String>,
    /// For REDIRECT_PREFIX.
    pub redirect_prefix: Option<String>,
    /// 301, 302, 303, 307 or 308, for the two redirects.
    pub redirect_http_code: Option<u16>,
    /// All must match.
    pub rules: Vec<L7Rule>,
}

/// A rule of an L7 policy (contract 2.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct L7Rule {
    /// Identity.
    pub id: L7RuleId,
    /// Shared part (no name, no description).
    #[serde(flatten)]
    pub common: Common,
    /// What is looked at.
    #[serde(rename = "type")]
    pub kind: L7RuleType,
    /// How it is compared.
    pub compare_type: L7RuleCompareType,
    /// Which header, cookie or DN field.
    pub key: Option<String>,
    /// What it is compared with.
    pub value: String,
    /// Negates the match.
    pub invert: bool,
}

/// An amphora row (contract 2.12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amphora {
    /// Identity of its place: what hosts know it by, over restarts and replacements.
    pub id: AmphoraId,
    /// What clients know it by: another id once it was replaced.
    pub shown_id: AmphoraId,
    /// Whose traffic it serves.
    pub load_balancer_id: LoadBalancerId,
    /// The host that carries it.
    pub host: String,
    /// Part in the pair.
    pub role: AmphoraRole,
    /// Life.
    pub status: AmphoraStatus,
    /// Its own address in the VIP's subnet.
    pub vrrp_ip: Option<IpAddr>,
    /// The port that reserves it.
    pub vrrp_port_id: Option<PortId>,
    /// Set once.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Option<Timestamp>,
}

impl Amphora {
    /// What stands for the virtual machine that Octavia would have: an id of the host.
    #[must_use]
    pub fn compute_id(&self) -> Option<Uuid> {
        compute_id(&self.host)
    }
}

/// The id of a host of that name; `None` of the empty one.
#[must_use]
pub fn compute_id(host: &str) -> Option<Uuid> {
    (!host.is_empty()).then(|| Uuid::new_v5(&Uuid::NAMESPACE_DNS, host.as_bytes()))
}
