//! Which of an amphora's addresses a connection to a member comes from: never the VIP.

use std::net::IpAddr;

use lb_model::{
    id::SubnetId,
    spec::{AmphoraSpec, PortSpec, VipSpec},
};

/// The addresses to choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    ports: Vec<PortSpec>,
    vip_subnets: Vec<SubnetId>,
}

impl Sources {
    /// Of one amphora behind `vips`.
    #[must_use]
    pub fn new(amphora: &AmphoraSpec, vips: &[VipSpec]) -> Self {
        Self {
            ports: amphora.ports.clone(),
            vip_subnets: vips.iter().map(|vip| vip.subnet_id).collect(),
        }
    }

    /// Own address in `subnet`, else in a VIP's subnet, of the family of `target`. `None` when the
    /// amphora was given none: then the kernel chooses.
    #[must_use]
    pub fn towards(&self, target: IpAddr, subnet: SubnetId) -> Option<IpAddr> {
        let own = |wanted: SubnetId| {
            self.ports
                .iter()
                .filter(|port| port.address.is_ipv4() == target.is_ipv4())
                .find(|port| port.subnet_id == wanted)
                .map(|port| port.address)
        };
        own(subnet).or_else(|| self.vip_subnets.iter().copied().find_map(own))
    }
}

#[cfg(test)]
mod tests {
    use lb_model::id::AmphoraId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_members_subnet_wins_then_the_vips_and_the_family_fits() {
        let subnet = |n: u128| SubnetId(Uuid::from_u128(n));
        let port = |n, address: &str| PortSpec {
            subnet_id: subnet(n),
            address: address.parse().expect("an address"),
        };
        let amphora = AmphoraSpec {
            id: AmphoraId(Uuid::from_u128(9)),
            ports: vec![
                port(1, "192.0.2.10"),
                port(2, "2001:db8::10"),
                port(3, "198.51.100.10"),
            ],
        };
        let vips = [1, 2].map(|n| VipSpec {
            address: "192.0.2.1".parse().expect("an address"),
            subnet_id: subnet(n),
        });
        let sources = Sources::new(&amphora, &vips);
        let towards = |target: &str, n| {
            sources
                .towards(target.parse().expect("an address"), subnet(n))
                .map(|address| address.to_string())
        };
        assert_eq!(towards("198.51.100.7", 3).as_deref(), Some("198.51.100.10"));
        assert_eq!(towards("203.0.113.7", 8).as_deref(), Some("192.0.2.10"));
        assert_eq!(towards("2001:db8::7", 8).as_deref(), Some("2001:db8::10"));
        assert_eq!(towards("2001:db8::7", 3).as_deref(), Some("2001:db8::10"));
        assert_eq!(
            Sources::default().towards("192.0.2.7".parse().expect("an address"), subnet(1)),
            None
        );
    }
}
