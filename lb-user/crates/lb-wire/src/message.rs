//! Requests and answers, their paths and their limits.
//!
//! Unknown fields are ignored on read, so that a newer peer may add some within one version.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use lb_model::{
    id::{LoadBalancerId, NetworkId, SubnetId},
    spec::{LoadBalancerReport, LoadBalancerSpec},
};
use serde::{Deserialize, Serialize};

/// Version of everything in this module; part of each path.
pub const PROTOCOL_VERSION: u32 = 1;

/// Where an agent asks what its host must carry. Held until something changed.
pub const SYNC_PATH: &str = "/v1/agent/sync";

/// Where an agent tells what its host carries.
pub const REPORT_PATH: &str = "/v1/agent/report";

/// Longest a sync is held before it is answered empty: below the usual idle limit of middleboxes.
pub const SYNC_HOLD_MAX: Duration = Duration::from_secs(55);

/// Longest request body, in bytes: a report about 10 000 load balancers fits.
pub const REQUEST_BYTES_MAX: usize = 32 << 20;

/// Longest answer body, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// Most specs in one answer; what is left comes with the next sync, which is then answered at once.
pub const SPECS_PER_RESPONSE_MAX: usize = 256;

/// What an agent asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// [`PROTOCOL_VERSION`] of the agent.
    pub version: u32,
    /// Which host it is; must be the name in its certificate.
    pub host: String,
    /// Every address of the host itself: no member may have one of them.
    pub host_addresses: Vec<IpAddr>,
    /// Everything the host holds, with the newest generation *received*, applied or not. A load
    /// balancer leaves it when [`SyncResponse::gone`] named it.
    pub known: BTreeMap<LoadBalancerId, u64>,
    /// On the wire alone: [`Self::known`] has only what is new since the question to which the server
    /// gave this number ([`SyncResponse::number`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// On the wire alone, beside [`Self::since`]: what the host no longer has of that question's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dropped: BTreeSet<LoadBalancerId>,
    /// Being taken down, not yet told in a [`ReportRequest::removed`] that was accepted.
    #[serde(default)]
    pub removing: BTreeSet<LoadBalancerId>,
    /// Names of what the host's data path can do beyond the least
    /// ([`lb_model::capability::CapabilitySet::names`]).
    #[serde(default)]
    pub capabilities: BTreeSet<String>,
    /// What [`SyncResponse::describe`] asked for, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub described: Vec<Description>,
}

/// A load balancer that the host carries and the server does not know: whose it was, and which
/// addresses nobody else must be given while it is carried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Which.
    pub id: LoadBalancerId,
    /// Its owner.
    pub project_id: String,
    /// All its addresses.
    pub addresses: Vec<DescribedAddress>,
}

/// An address of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedAddress {
    /// Its network: addresses are unique in it.
    pub network_id: NetworkId,
    /// Its subnet.
    pub subnet_id: SubnetId,
    /// The address.
    pub address: IpAddr,
}

impl Description {
    /// What a specification tells of its load balancer.
    #[must_use]
    pub fn of(spec: &LoadBalancerSpec) -> Self {
        let ports = spec.amphorae.iter().flat_map(|amphora| &amphora.ports);
        let ports = ports.chain(&spec.snat);
        let vips = spec.vips.iter().map(|vip| (vip.subnet_id, vip.address));
        let all = vips.chain(ports.map(|port| (port.subnet_id, port.address)));
        let network = |id| spec.subnets.iter().find(|subnet| subnet.id == id);
        let addresses = all.filter_map(|(subnet_id, address)| {
            Some(DescribedAddress {
                network_id: network(subnet_id)?.network_id,
                subnet_id,
                address,
            })
        });
        Self {
            id: spec.id,
            project_id: spec.project_id.clone(),
            addresses: addresses.collect(),
        }
    }
}

/// What the host must carry that it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncResponse {
    /// New, or with a newer generation than the host knows.
    pub changed: Vec<LoadBalancerSpec>,
    /// To take down, also when the host holds nothing of it: then it says removed at once. Repeated
    /// until the host says [`ReportRequest::removed`].
    pub gone: Vec<LoadBalancerId>,
    /// Not known to the server: kept, and to be told of in the next request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub describe: Vec<LoadBalancerId>,
    /// On the wire alone: the server remembers what the host said it has, under this number, for as
    /// long as the connection lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// What a host carries. Sent at once on each change, and every second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRequest {
    /// [`PROTOCOL_VERSION`] of the agent.
    pub version: u32,
    /// Which host it is; must be the name in its certificate.
    pub host: String,
    /// Any subset of what the host carries; what is not named is not judged.
    pub load_balancers: Vec<LoadBalancerReport>,
    /// Nothing is left of these on the host.
    #[serde(default)]
    pub removed: Vec<LoadBalancerId>,
}

/// The server took a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportResponse {}

/// Body of every answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For the operator.
    pub message: String,
    /// The only version the server speaks.
    pub version: u32,
}
