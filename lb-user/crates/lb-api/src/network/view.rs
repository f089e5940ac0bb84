//! The objects of the Network API in Neutron's field names.

use lb_store::{Network, Place, Port, PortPurpose, UserPort};
use serde_json::{Value, json};
use uuid::Uuid;

/// A network.
pub(super) fn network_view(network: &Network) -> Value {
    let owner = network.project_id.as_deref().unwrap_or_default();
    json!({
        "id": network.id,
        "name": network.name,
        "description": "",
        "project_id": owner,
        "tenant_id": owner,
        "status": "ACTIVE",
        "admin_state_up": true,
        "shared": network.project_id.is_none(),
        "router:external": false,
        "port_security_enabled": true,
        "availability_zones": [],
        "availability_zone_hints": [],
        "subnets": network.subnets.iter().map(|subnet| subnet.id).collect::<Vec<_>>(),
        "tags": [],
    })
}

/// A subnet.
pub(super) fn subnet_view(place: &Place) -> Value {
    let Place { network, subnet } = place;
    let owner = network.project_id.as_deref().unwrap_or_default();
    json!({
        "id": subnet.id,
        "name": subnet.name,
        "description": "",
        "project_id": owner,
        "tenant_id": owner,
        "network_id": network.id,
        "ip_version": if subnet.is_ipv6() { 6 } else { 4 },
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway_ip,
        "allocation_pools": subnet.allocation_pools,
        "enable_dhcp": false,
        "dns_nameservers": [],
        "host_routes": [],
        "ipv6_address_mode": null,
        "ipv6_ra_mode": null,
        "subnetpool_id": null,
        "tags": [],
    })
}

/// A load balancer's port.
pub(super) fn port_view(port: &Port) -> Value {
    let owner = port
        .load_balancer_id
        .map(|id| id.to_string())
        .unwrap_or_default();
    let name = match port.purpose {
        PortPurpose::Vip | PortPurpose::AdditionalVip => format!("octavia-lb-{owner}"),
        PortPurpose::Amphora | PortPurpose::Snat | PortPurpose::User => {
            format!("octavia-lb-{}-{}", port.purpose, port.id)
        }
    };
    json!({
        "id": port.id,
        "name": name,
        "description": "",
        "project_id": port.project_id,
        "tenant_id": port.project_id,
        "network_id": port.network_id,
        "fixed_ips": [{"subnet_id": port.subnet_id, "ip_address": port.address}],
        "device_id": format!("lb-{owner}"),
        "device_owner": "Octavia",
        "status": "ACTIVE",
        "admin_state_up": true,
        "security_groups": [],
        "allowed_address_pairs": [],
        "created_at": port.created_at,
        "tags": [],
    })
}

/// A port that a user made.
pub(super) fn user_port_view(port: &UserPort) -> Value {
    let fixed_ips = port
        .fixed_ips
        .iter()
        .map(|(subnet_id, address)| json!({"subnet_id": subnet_id, "ip_address": address}));
    let user = port.load_balancer_id;
    json!({
        "id": port.id,
        "name": port.name,
        "description": "",
        "project_id": port.project_id,
        "tenant_id": port.project_id,
        "network_id": port.network_id,
        "fixed_ips": fixed_ips.collect::<Vec<_>>(),
        "device_id": user.map(|id| format!("lb-{id}")).unwrap_or_default(),
        "device_owner": user.map_or("", |_| "Octavia"),
        "status": if user.is_some() { "ACTIVE" } else { "DOWN" },
        "admin_state_up": true,
        "security_groups": [],
        "allowed_address_pairs": [],
        "created_at": port.created_at,
        "tags": [],
    })
}

/// A security group or QoS policy of a driver in which every one exists.
pub(super) fn made_up_view(id: Uuid) -> Value {
    json!({
        "id": id,
        "name": id,
        "description": "",
        "project_id": "",
        "tenant_id": "",
        "shared": true,
        "tags": [],
    })
}
