//! The desired state of one load balancer on one host: what the server sends and an agent carries
//! out (`…Spec`), and what the agent reports back (`…Report`).
//!
//! A spec is complete: with it alone, and without a server, an agent brings the load balancer up
//! after a reboot. Objects that are switched off (`admin_state_up = false`) or being deleted are
//! left out by the server, so a spec holds only what must work.

mod new;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    enums::{
        ClientAuthentication, ForwardingMode, L4Path, L4Protocol, LbAlgorithm, ListenerProtocol,
        PoolProtocol, Topology,
    },
    id::{AmphoraId, ListenerId, LoadBalancerId, MemberId, NetworkId, PoolId, SubnetId},
    resource::{HealthMonitor, L7Policy, SessionPersistence},
    secret::Secret,
};

/// One load balancer as a host must carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerSpec {
    /// Identity.
    pub id: LoadBalancerId,
    /// Owner, for logs and shares.
    pub project_id: String,
    /// Orders specs of one load balancer; the newest wins.
    pub generation: u64,
    /// Off: its addresses still answer ARP and NDP, every packet is dropped with its reason.
    pub enabled: bool,
    /// How many amphorae share it.
    pub topology: Topology,
    /// A planned failover is due when this is above what the agent has carried out.
    pub failover_count: u64,
    /// How XDP hands packets to members; decided by the flavor.
    #[serde(default)]
    pub forwarding_mode: ForwardingMode,
    /// Who may handle listeners that the data path could serve; decided by the flavor.
    #[serde(default)]
    pub l4_path: L4Path,
    /// Primary first.
    pub vips: Vec<VipSpec>,
    /// One for SINGLE, two for ACTIVE_STANDBY. Their order is not their role: the agent decides
    /// who is active.
    pub amphorae: Vec<AmphoraSpec>,
    /// Source addresses for XDP NAT, one per member subnet and family that an L4 pool uses.
    pub snat: Vec<PortSpec>,
    /// Every subnet named below.
    pub subnets: Vec<SubnetSpec>,
    /// Enabled listeners.
    pub listeners: Vec<ListenerSpec>,
    /// Enabled pools that are reachable from a listener, and monitored ones.
    pub pools: Vec<PoolSpec>,
    /// Certificates that listeners name.
    pub certificates: Vec<CertificateSpec>,
}

/// A VIP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipSpec {
    /// Address.
    pub address: IpAddr,
    /// Subnet it belongs to.
    pub subnet_id: SubnetId,
}

/// A subnet and where it is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetSpec {
    /// Identity.
    pub id: SubnetId,
    /// Its network. An agent's configuration maps a network to interface and segment.
    pub network_id: NetworkId,
    /// Segment of the network: the first part of every key that holds an address.
    pub segment: u32,
    /// Its addresses.
    pub cidr: IpNet,
    /// Router to what is outside, when there is one.
    pub gateway_ip: Option<IpAddr>,
}

/// An address of ours towards members or clients, taken from a subnet by IPAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Subnet it is from.
    pub subnet_id: SubnetId,
    /// Address.
    pub address: IpAddr,
}

/// One amphora.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmphoraSpec {
    /// Identity; survives restarts of the process.
    pub id: AmphoraId,
    /// Its own addresses: first the one in the primary VIP's subnet (`vrrp_ip`), then one per
    /// further VIP subnet and per member subnet.
    pub ports: Vec<PortSpec>,
}

/// Who handles a listener's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerPath {
    /// XDP steers to the active amphora.
    Amphora,
    /// XDP hashes straight to members.
    Xdp,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerSpec {
    /// Identity.
    pub id: ListenerId,
    /// Protocol.
    pub protocol: ListenerProtocol,
    /// Port on every VIP.
    pub port: u16,
    /// Who handles it.
    pub path: ListenerPath,
    /// `None`: the default limit.
    pub connection_limit: Option<u64>,
    /// Empty: everyone.
    pub allowed_cidrs: Vec<IpNet>,
    /// Certificate served when SNI matches none (id in [`LoadBalancerSpec::certificates`]).
    pub default_certificate: Option<String>,
    /// Certificates chosen by SNI.
    pub sni_certificates: Vec<String>,
    /// Names of headers to insert, in canonical case, only those switched on.
    pub insert_headers: Vec<String>,
    /// Milliseconds.
    pub timeout_client_data_ms: u64,
    /// Milliseconds.
    pub timeout_member_connect_ms: u64,
    /// Milliseconds.
    pub timeout_member_data_ms: u64,
    /// Milliseconds to wait for the first bytes of a TCP connection; 0: not at all.
    #[serde(default)]
    pub timeout_tcp_inspect_ms: u64,
    /// What TLS towards clients is like; as default on listeners that speak none.
    #[serde(default)]
    pub tls: ListenerTlsSpec,
    /// Pool for what no policy takes.
    pub default_pool_id: Option<PoolId>,
    /// Enabled policies with at least one enabled rule, in position order; only enabled rules.
    pub l7policies: Vec<L7Policy>,
}

impl ListenerSpec {
    /// The L4 protocol of its port.
    #[must_use]
    pub const fn l4(&self) -> L4Protocol {
        self.protocol.l4()
    }
}

/// TLS towards clients, beside the certificates. An empty list stands for the contract's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerTlsSpec {
    /// As on the wire; what cannot be offered is passed over.
    pub tls_versions: Vec<String>,
    /// OpenSSL list; what cannot be offered is passed over.
    pub tls_ciphers: String,
    /// As on the wire.
    pub alpn_protocols: Vec<String>,
    /// The Strict-Transport-Security header.
    pub hsts: Option<HstsSpec>,
    /// Whether clients must show a certificate.
    pub client_authentication: ClientAuthentication,
    /// What clients' certificates must chain to, PEM.
    pub client_ca: Option<String>,
    /// Revoked client certificates, PEM.
    pub client_crl: Option<String>,
}

/// The Strict-Transport-Security header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HstsSpec {
    /// Seconds.
    pub max_age: u64,
    /// Names below are meant too.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Browsers may know it beforehand.
    #[serde(default)]
    pub preload: bool,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Identity.
    pub id: PoolId,
    /// Protocol towards members.
    pub protocol: PoolProtocol,
    /// How a member is chosen.
    pub lb_algorithm: LbAlgorithm,
    /// Enabled members, in creation order.
    pub members: Vec<MemberSpec>,
    /// Enabled monitor.
    pub health_monitor: Option<HealthMonitor>,
    /// How a client is kept on its member.
    #[serde(default)]
    pub session_persistence: Option<SessionPersistence>,
    /// TLS towards members; `None`: in clear.
    #[serde(default)]
    pub tls: Option<PoolTlsSpec>,
}

/// TLS towards members. An empty list stands for the contract's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolTlsSpec {
    /// Certificate shown to members (id in [`LoadBalancerSpec::certificates`]).
    pub client_certificate: Option<String>,
    /// What members' certificates must chain to, PEM; `None`: they are not verified.
    pub ca: Option<String>,
    /// Revoked member certificates, PEM.
    pub crl: Option<String>,
    /// As on the wire; what cannot be offered is passed over.
    pub tls_versions: Vec<String>,
    /// OpenSSL list; what cannot be offered is passed over.
    pub tls_ciphers: String,
    /// As on the wire.
    pub alpn_protocols: Vec<String>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSpec {
    /// Identity.
    pub id: MemberId,
    /// Where it listens.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// 0..=256; 0 drains.
    pub weight: u16,
    /// Used only when no primary is usable.
    pub backup: bool,
    /// Subnet through which it is reached (the VIP's when the tenant named none).
    pub subnet_id: SubnetId,
    /// Probed instead of `address`.
    pub monitor_address: Option<IpAddr>,
    /// Probed instead of `port`.
    pub monitor_port: Option<u16>,
    /// Last known health, so that a rebuilt amphora does not start from nothing.
    pub last_known_up: Option<bool>,
}

/// A certificate chain with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSpec {
    /// How listeners name it: the reference they were given.
    pub id: String,
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// PKCS#8, PKCS#1 or SEC1, PEM.
    pub key_pem: Secret,
    /// Subject CN and SAN dNSNames, lower case; may begin with `*.`.
    pub hosts: Vec<String>,
    /// OCSP response to staple, DER in base64.
    #[serde(default)]
    pub ocsp: Option<String>,
}

/// What became of a generation on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerReport {
    /// Which load balancer.
    pub id: LoadBalancerId,
    /// Newest generation that is wholly in the data path; 0: none yet.
    pub applied_generation: u64,
    /// Planned failovers carried out so far.
    pub failover_count: u64,
    /// Why the newest generation is not applied, when it cannot be.
    pub error: Option<String>,
    /// Listeners of the applied generation that an amphora cannot serve, whatever it tries: the
    /// others are served.
    #[serde(default)]
    pub failed_listeners: Vec<ListenerFailure>,
    /// Observed amphorae.
    pub amphorae: Vec<AmphoraReport>,
    /// As seen by the amphora that carries traffic.
    pub listeners: Vec<ListenerReport>,
    /// As seen by the amphora that carries traffic.
    pub members: Vec<MemberReport>,
}

/// A listener that an amphora cannot serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerFailure {
    /// Which listener.
    pub listener_id: ListenerId,
    /// Why, for the operator.
    pub reason: String,
    /// It will not be otherwise until the listener is changed: its certificate, a rule. Else (an
    /// address that is in use) another try may do.
    #[serde(default)]
    pub permanent: bool,
}

/// An amphora as observed by its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AmphoraReport {
    /// Identity.
    pub id: AmphoraId,
    /// Carries the traffic now.
    pub active: bool,
    /// Runs and serves its newest configuration.
    pub ready: bool,
    /// Process id on the host, when it runs.
    pub pid: Option<u32>,
}

/// Counters of one listener since it was created on this host (gauge: `active_connections`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Which listener.
    pub id: ListenerId,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// Open now.
    pub active_connections: u64,
    /// Ever opened.
    pub total_connections: u64,
    /// Requests that could not be answered properly.
    pub request_errors: u64,
}

/// A member's health as probed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Which pool.
    pub pool_id: PoolId,
    /// Which member.
    pub member_id: MemberId,
    /// `None`: not monitored, or no probe has ended yet.
    pub up: Option<bool>,
}
