//! The noop driver: every network, subnet and port exists (as with Octavia's driver of that name).
//!
//! Names, networks, subnets and addresses follow from the ids alone, so that two servers and two
//! starts tell the same. What the request says is believed: a subnet is in the network that was named
//! with it, and holds the address that was given with it.
//!
//! Left out on purpose: lists of what exists, for everything does; a list answers what it was asked
//! about by id or by name.

use std::{
    future::ready,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use lb_model::{
    id::{NetworkId, PortId, SubnetId},
    vip::PortInfo,
};
use uuid::Uuid;

use super::{Answer, Near, Network, NetworkDriver, Place, Subnet, Which};

/// Room for a million addresses, so that a great many load balancers fit into one subnet.
const IPV4_PREFIX: u8 = 12;
const IPV6_PREFIX: u8 = 64;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopNetworks;

impl NetworkDriver for NoopNetworks {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn makes_everything_up(&self) -> bool {
        true
    }

    fn network(&self, id: NetworkId, near: Near) -> Answer<'_, Option<Arc<Network>>> {
        let subnet = SubnetId(derived(id.0, "subnet"));
        let made = network(id, subnet, near.address);
        Box::pin(ready(Ok(Some(Arc::new(made)))))
    }

    fn subnet(&self, id: SubnetId, near: Near) -> Answer<'_, Option<Place>> {
        Box::pin(ready(Ok(Some(place(id, near)))))
    }

    fn port(&self, id: PortId, near: Near) -> Answer<'_, Option<PortInfo>> {
        let subnet_id = near.subnet_id;
        let subnet_id = subnet_id.unwrap_or(SubnetId(derived(id.0, "subnet")));
        let network_id = near.network_id;
        let network_id = network_id.unwrap_or(NetworkId(derived(id.0, "network")));
        let address = near.address.unwrap_or_else(|| {
            let IpNet::V4(net) = cidr(subnet_id, None) else {
                return IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            };
            // Inside, and neither of the ends.
            let offset = number(id.0) % (u32::MAX >> IPV4_PREFIX).saturating_sub(1);
            let first = u32::from(net.network()).saturating_add(1);
            IpAddr::V4(Ipv4Addr::from(first.saturating_add(offset)))
        });
        Box::pin(ready(Ok(Some(PortInfo {
            id,
            network_id,
            device_id: String::new(),
            fixed_ips: vec![(subnet_id, address)],
        }))))
    }

    fn networks<'a>(&'a self, which: Which<'a, NetworkId>) -> Answer<'a, Vec<Arc<Network>>> {
        let id = match which {
            Which::All => None,
            Which::Id(id) => Some(id),
            Which::Named(name) => of_name(name, "network").map(NetworkId),
        };
        let made = id.map(|id| {
            let mut made = network(id, SubnetId(derived(id.0, "subnet")), None);
            if let Which::Named(name) = which {
                name.clone_into(&mut made.name);
            }
            Arc::new(made)
        });
        Box::pin(ready(Ok(made.into_iter().collect())))
    }

    fn subnets<'a>(&'a self, which: Which<'a, SubnetId>) -> Answer<'a, Vec<Place>> {
        let id = match which {
            Which::All => None,
            Which::Id(id) => Some(id),
            Which::Named(name) => of_name(name, "subnet").map(SubnetId),
        };
        let made = id.map(|id| {
            let mut made = place(id, Near::default());
            if let Which::Named(name) = which {
                name.clone_into(&mut made.subnet.name);
            }
            made
        });
        Box::pin(ready(Ok(made.into_iter().collect())))
    }
}

fn place(id: SubnetId, near: Near) -> Place {
    let network_id = near.network_id;
    let network_id = network_id.unwrap_or(NetworkId(derived(id.0, "network")));
    let network = network(network_id, id, near.address);
    Place {
        network: Arc::new(network),
        subnet: subnet(id, near.address),
    }
}

fn network(id: NetworkId, subnet_id: SubnetId, near: Option<IpAddr>) -> Network {
    Network {
        id,
        name: id.to_string(),
        segment: number(id.0),
        project_id: None,
        subnets: vec![subnet(subnet_id, near)],
    }
}

fn subnet(id: SubnetId, near: Option<IpAddr>) -> Subnet {
    Subnet {
        id,
        name: id.to_string(),
        cidr: cidr(id, near),
        gateway_ip: None,
        allocation_pools: Vec::new(),
    }
}

/// The range around `near`; without it one of 10.0.0.0/8.
fn cidr(id: SubnetId, near: Option<IpAddr>) -> IpNet {
    let near = near.unwrap_or_else(|| {
        let [_, second, ..] = number(id.0).to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(10, second, 0, 0))
    });
    match near {
        IpAddr::V4(near) => IpNet::V4(
            Ipv4Net::new(near, IPV4_PREFIX)
                .map(|net| net.trunc())
                .unwrap_or_default(),
        ),
        IpAddr::V6(near) => IpNet::V6(
            Ipv6Net::new(near, IPV6_PREFIX)
                .map(|net| net.trunc())
                .unwrap_or_default(),
        ),
    }
}

/// The id that goes with a name. A name that is an id names nothing: clients ask for both.
fn of_name(name: &str, kind: &str) -> Option<Uuid> {
    if name.parse::<Uuid>().is_ok() {
        return None;
    }
    let text = name.bytes();
    let seed = text.fold(Uuid::nil(), |seed, byte| {
        Uuid::from_u128(mixed(seed.as_u128() ^ u128::from(byte)))
    });
    Some(derived(seed, kind))
}

/// Another id that follows from an id.
fn derived(id: Uuid, kind: &str) -> Uuid {
    let seed = kind
        .bytes()
        .fold(id.as_u128(), |seed, byte| mixed(seed ^ u128::from(byte)));
    uuid::Builder::from_random_bytes(mixed(seed).to_be_bytes()).into_uuid()
}

fn number(id: Uuid) -> u32 {
    let [a, b, c, d, ..] = mixed(id.as_u128()).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Spreads every bit over all; one to one, so different ids stay different.
const fn mixed(value: u128) -> u128 {
    const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    let value = (value ^ (value >> 67)).wrapping_mul(ODD);
    let value = (value ^ (value >> 59)).wrapping_mul(ODD);
    value ^ (value >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(network: u128, address: &str) -> Near {
        Near {
            network_id: Some(NetworkId(Uuid::from_u128(network))),
            subnet_id: None,
            address: Some(address.parse().unwrap()),
        }
    }

    #[tokio::test]
    async fn everything_exists_and_is_the_same_each_time() {
        let id = SubnetId(Uuid::from_u128(7));
        let one = NoopNetworks
            .subnet(id, Near::default())
            .await
            .unwrap()
            .unwrap();
        let again = NoopNetworks
            .subnet(id, Near::default())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(one, again);
        assert_eq!(one.subnet.id, id);
        assert!(!one.subnet.is_ipv6());
        let port = PortId(Uuid::from_u128(9));
        let port = NoopNetworks
            .port(port, Near::default())
            .await
            .unwrap()
            .unwrap();
        let (subnet, address) = port.fixed_ips[0];
        let place = NoopNetworks
            .subnet(subnet, Near::default())
            .await
            .unwrap()
            .unwrap();
        assert!(place.subnet.cidr.contains(&address));
        assert!(!place.subnet.is_reserved(address));
    }

    #[tokio::test]
    async fn what_the_request_says_is_believed() {
        let id = SubnetId(Uuid::from_u128(7));
        for address in ["198.18.33.33", "2001:db8:33:33:33:33:33:33"] {
            let near = near(3, address);
            let place = NoopNetworks.subnet(id, near).await.unwrap().unwrap();
            assert_eq!(Some(place.network.id), near.network_id);
            assert!(place.subnet.cidr.contains(&near.address.unwrap()));
        }
    }

    #[tokio::test]
    async fn names_are_found_and_lead_back_to_one_id() {
        let named = NoopNetworks.subnets(Which::Named("blue")).await.unwrap();
        let other = NoopNetworks.subnets(Which::Named("green")).await.unwrap();
        assert_eq!(named[0].subnet.name, "blue");
        assert_ne!(named[0].subnet.id, other[0].subnet.id);
        let id = named[0].subnet.id.to_string();
        assert!(
            NoopNetworks
                .subnets(Which::Named(&id))
                .await
                .unwrap()
                .is_empty()
        );
        assert!(NoopNetworks.networks(Which::All).await.unwrap().is_empty());
    }
}
