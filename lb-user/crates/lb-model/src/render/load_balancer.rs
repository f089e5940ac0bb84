//! `loadbalancer`, its statistics, and `amphora`.

use std::net::IpAddr;

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Value, json};

use super::{listener, pool};
use crate::{
    enums::AmphoraRole,
    id::{ListenerId, PoolId, PortId, SubnetId},
    resource::{Amphora, Listener, LoadBalancer, Pool, Vip},
    spec::ListenerReport,
    tree::Tree,
    view::LoadBalancerView,
};

/// A load balancer as its document, which is written without being built first: lists are made of
/// thousands of these.
#[derive(Debug)]
pub struct LoadBalancerDocument<'a> {
    load_balancer: &'a LoadBalancer,
    listeners: Children<'a, ListenerId, Listener>,
    pools: Children<'a, PoolId, Pool>,
}

/// Children as ids alone, or whole.
#[derive(Debug)]
enum Children<'a, Id, Whole> {
    Ids(&'a [Id]),
    Whole(&'a [Whole]),
}

impl<'a> From<&'a LoadBalancerView> for LoadBalancerDocument<'a> {
    fn from(view: &'a LoadBalancerView) -> Self {
        Self {
            load_balancer: &view.load_balancer,
            listeners: Children::Ids(&view.listeners),
            pools: Children::Ids(&view.pools),
        }
    }
}

impl<'a> From<&'a Tree> for LoadBalancerDocument<'a> {
    fn from(tree: &'a Tree) -> Self {
        Self {
            load_balancer: &tree.load_balancer,
            listeners: Children::Whole(&tree.listeners),
            pools: Children::Whole(&tree.pools),
        }
    }
}

/// Takes the entries of a document, one after the other.
pub(super) trait Put {
    type Error;

    fn put<V: Serialize + ?Sized>(&mut self, key: &str, value: &V) -> Result<(), Self::Error>;
}

impl LoadBalancerDocument<'_> {
    /// Keys in alphabetical order, as in every other document; those of `packed` are the same.
    pub(super) fn each<P: Put>(&self, to: &mut P) -> Result<(), P::Error> {
        let it = self.load_balancer;
        let (common, placement) = (&it.common, &it.placement);
        to.put("additional_vips", &AdditionalVips(&it.additional_vips))?;
        to.put("admin_state_up", &common.admin_state_up)?;
        to.put("availability_zone", &placement.availability_zone)?;
        to.put("created_at", &common.created_at)?;
        to.put("description", &common.description)?;
        to.put("flavor_id", &placement.flavor_id)?;
        to.put("id", &it.id)?;
        match &self.listeners {
            Children::Ids(ids) => to.put("listeners", &References(ids, |id| *id))?,
            Children::Whole(all) => to.put("listeners", &References(all, |child| child.id))?,
        }
        to.put("name", &common.name)?;
        to.put("operating_status", &common.operating_status)?;
        match &self.pools {
            Children::Ids(ids) => to.put("pools", &References(ids, |id| *id))?,
            Children::Whole(all) => to.put("pools", &References(all, |child| child.id))?,
        }
        to.put("project_id", &it.project_id)?;
        to.put("provider", &it.provider)?;
        to.put("provisioning_status", &common.provisioning_status)?;
        to.put("tags", &common.tags)?;
        to.put("tenant_id", &it.project_id)?;
        to.put("updated_at", &common.updated_at)?;
        to.put("vip_address", &it.vip.address)?;
        to.put("vip_network_id", &it.vip.network_id)?;
        to.put("vip_port_id", &it.vip.port_id)?;
        to.put("vip_qos_policy_id", &it.vip_options.qos_policy_id)?;
        to.put("vip_sg_ids", &it.vip_options.sg_ids)?;
        to.put("vip_subnet_id", &it.vip.subnet_id)?;
        to.put("vip_vnic_type", &placement.vip_vnic_type)
    }
}

struct MapEntries<M>(M);

impl<M: SerializeMap> Put for MapEntries<M> {
    type Error = M::Error;

    fn put<V: Serialize + ?Sized>(&mut self, key: &str, value: &V) -> Result<(), M::Error> {
        self.0.serialize_entry(key, value)
    }
}

impl Serialize for LoadBalancerDocument<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = MapEntries(serializer.serialize_map(None)?);
        self.each(&mut entries)?;
        entries.0.end()
    }
}

/// `[{"id": …}]`.
struct References<'a, T, Id>(&'a [T], fn(&T) -> Id);

impl<T, Id: Serialize> Serialize for References<'_, T, Id> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Reference<Id> {
            id: Id,
        }
        let references = self.0.iter().map(|child| Reference {
            id: (self.1)(child),
        });
        serializer.collect_seq(references)
    }
}

struct AdditionalVips<'a>(&'a [Vip]);

impl Serialize for AdditionalVips<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Additional {
            ip_address: IpAddr,
            port_id: PortId,
            subnet_id: SubnetId,
        }
        let additional = self.0.iter().map(|vip| Additional {
            ip_address: vip.address,
            port_id: vip.port_id,
            subnet_id: vip.subnet_id,
        });
        serializer.collect_seq(additional)
    }
}

/// A load balancer with references to its children.
#[must_use]
pub fn load_balancer(tree: &Tree) -> Value {
    // Nothing in it can fail to be written: no maps with odd keys, no numbers that JSON has not.
    serde_json::to_value(LoadBalancerDocument::from(tree)).unwrap_or_default()
}

/// The answer to a create: the whole tree, every object in full.
#[must_use]
pub fn load_balancer_expanded(tree: &Tree) -> Value {
    let mut value = load_balancer(tree);
    let listeners: Vec<Value> = tree
        .listeners
        .iter()
        .map(|listener| listener::expanded(tree, listener))
        .collect();
    let pools: Vec<Value> = tree
        .pools
        .iter()
        .map(|pool| pool::expanded(tree, pool))
        .collect();
    if let Some(object) = value.as_object_mut() {
        object.insert("listeners".to_owned(), Value::Array(listeners));
        object.insert("pools".to_owned(), Value::Array(pools));
    }
    value
}

/// The five counters, summed over listeners; zeros when nothing was measured yet.
#[must_use]
pub fn stats<'a>(reports: impl IntoIterator<Item = &'a ListenerReport>) -> Value {
    let mut sum = [0_u64; 5];
    for report in reports {
        let counters = [
            report.bytes_in,
            report.bytes_out,
            report.active_connections,
            report.total_connections,
            report.request_errors,
        ];
        for (total, counter) in sum.iter_mut().zip(counters) {
            *total = total.saturating_add(counter);
        }
    }
    let [
        bytes_in,
        bytes_out,
        active_connections,
        total_connections,
        request_errors,
    ] = sum;
    json!({
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "active_connections": active_connections,
        "total_connections": total_connections,
        "request_errors": request_errors,
    })
}

/// The interface inside an amphora that has its VIPs, as its agent makes it.
const VIP_INTERFACE: &str = "eth0";
/// Octavia's, for every pair.
const VRRP_ID: i64 = 1;

const fn vrrp_priority(role: AmphoraRole) -> i64 {
    match role {
        AmphoraRole::Backup => 90,
        AmphoraRole::Master | AmphoraRole::Standalone => 100,
    }
}

/// An amphora (contract 2.12). `vip` is its load balancer's primary VIP.
///
/// What Octavia's virtual machines have and ours do not is null: a management address (agents reach
/// amphorae over a Unix socket), a certificate, an image, a compute flavor. The zone is the host,
/// and `compute_id` an id of it. The interface is the amphora's own; a pair's priorities are those that Octavia gives the roles.
#[must_use]
pub fn amphora(amphora: &Amphora, vip: Option<&Vip>) -> Value {
    json!({
            "id": amphora.shown_id,
            "loadbalancer_id": amphora.load_balancer_id,
            "compute_id": amphora.compute_id(),
            "lb_network_ip": null,
            "vrrp_ip": amphora.vrrp_ip,
            "ha_ip": vip.map(|vip| vip.address),
            "vrrp_port_id": amphora.vrrp_port_id,
            "ha_port_id": vip.map(|vip| vip.port_id),
            "cert_expiration": null,
            "cert_busy": false,
            "role": amphora.role,
            "status": amphora.status,
            "vrrp_interface": VIP_INTERFACE,
            "vrrp_id": VRRP_ID,
            "vrrp_priority": vrrp_priority(amphora.role),
            "cached_zone": amphora.host,
            "created_at": amphora.created_at,
            "updated_at": amphora.updated_at,
            "image_id": null,
            "compute_flavor": null,
    })
}
