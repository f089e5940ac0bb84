//! `loadbalancer`, its statistics, and `amphora`.

use serde_json::{Value, json};

use super::{described, listener, pool, references, with};
use crate::{
    enums::AmphoraRole,
    id::{ListenerId, PoolId},
    resource::{Amphora, LoadBalancer, Vip},
    spec::ListenerReport,
    tree::Tree,
    view::LoadBalancerView,
};

/// A load balancer with references to its children.
#[must_use]
pub fn load_balancer(tree: &Tree) -> Value {
    let listeners = tree.listeners.iter().map(|listener| listener.id);
    let pools = tree.pools.iter().map(|pool| pool.id);
    object(&tree.load_balancer, listeners, pools)
}

/// The same, of what a list knows.
#[must_use]
pub fn load_balancer_view(view: &LoadBalancerView) -> Value {
    let (listeners, pools) = (view.listeners.iter(), view.pools.iter());
    object(&view.load_balancer, listeners.copied(), pools.copied())
}

fn object(
    load_balancer: &LoadBalancer,
    listeners: impl Iterator<Item = ListenerId>,
    pools: impl Iterator<Item = PoolId>,
) -> Value {
    let additional = |vip: &Vip| {
        json!({
            "subnet_id": vip.subnet_id,
            "ip_address": vip.address,
            "port_id": vip.port_id,
        })
    };
    let additional: Value = load_balancer
        .additional_vips
        .iter()
        .map(additional)
        .collect();
    with(
        described(&load_balancer.common, &load_balancer.project_id),
        json!({
            "id": load_balancer.id,
            "vip_address": load_balancer.vip.address,
            "vip_port_id": load_balancer.vip.port_id,
            "vip_subnet_id": load_balancer.vip.subnet_id,
            "vip_network_id": load_balancer.vip.network_id,
            "vip_qos_policy_id": load_balancer.vip_options.qos_policy_id,
            "vip_sg_ids": load_balancer.vip_options.sg_ids,
            "vip_vnic_type": load_balancer.placement.vip_vnic_type,
            "additional_vips": additional,
            "listeners": references(listeners),
            "pools": references(pools),
            "provider": load_balancer.provider,
            "flavor_id": load_balancer.placement.flavor_id,
            "availability_zone": load_balancer.placement.availability_zone,
        }),
    )
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
/// amphorae over a Unix socket), a certificate, an image, a compute flavor, a zone. `compute_id` is the
/// host. The interface is the amphora's own; a pair's priorities are those that Octavia gives the roles.
#[must_use]
pub fn amphora(amphora: &Amphora, vip: Option<&Vip>) -> Value {
    json!({
            "id": amphora.id,
            "loadbalancer_id": amphora.load_balancer_id,
            "compute_id": amphora.host,
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
            "cached_zone": null,
            "created_at": amphora.created_at,
            "updated_at": amphora.updated_at,
            "image_id": null,
            "compute_flavor": null,
    })
}
