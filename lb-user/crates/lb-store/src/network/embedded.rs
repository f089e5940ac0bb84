//! The embedded driver: the networks of the configuration.
//!
//! Invariant: a catalog that exists is sound (no double ids, gateways and pools inside their
//! subnet, one address family a subnet), so nobody checks again.

use std::{collections::BTreeSet, future::ready, sync::Arc};

use lb_model::{
    id::{NetworkId, PortId, SubnetId},
    vip::PortInfo,
};

use super::{Answer, CatalogError, Near, Network, NetworkDriver, Place, Subnet, Which, wrong};

/// Networks and subnets of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkCatalog {
    networks: Vec<Arc<Network>>,
}

impl NetworkDriver for NetworkCatalog {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn network(&self, id: NetworkId, _near: Near) -> Answer<'_, Option<Arc<Network>>> {
        let found = self.networks.iter().find(|network| network.id == id);
        Box::pin(ready(Ok(found.cloned())))
    }

    fn subnet(&self, id: SubnetId, _near: Near) -> Answer<'_, Option<Place>> {
        let found = self.places().find(|(_, subnet)| subnet.id == id).map(place);
        Box::pin(ready(Ok(found)))
    }

    fn port(&self, _id: PortId, _near: Near) -> Answer<'_, Option<PortInfo>> {
        Box::pin(ready(Ok(None)))
    }

    fn networks<'a>(&'a self, which: Which<'a, NetworkId>) -> Answer<'a, Vec<Arc<Network>>> {
        let meant = self.networks.iter();
        let meant = meant.filter(|network| which.is(network.id, &network.name));
        Box::pin(ready(Ok(meant.cloned().collect())))
    }

    fn subnets<'a>(&'a self, which: Which<'a, SubnetId>) -> Answer<'a, Vec<Place>> {
        let meant = self.places();
        let meant = meant.filter(|(_, subnet)| which.is(subnet.id, &subnet.name));
        Box::pin(ready(Ok(meant.map(place).collect())))
    }
}

fn place((network, subnet): (&Arc<Network>, &Subnet)) -> Place {
    Place {
        network: Arc::clone(network),
        subnet: subnet.clone(),
    }
}

impl NetworkCatalog {
    /// Checks the configured networks.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(networks: Vec<Network>) -> Result<Self, CatalogError> {
        let mut network_ids = BTreeSet::new();
        let mut segments = BTreeSet::new();
        let mut subnet_ids = BTreeSet::new();
        for network in &networks {
            if !network_ids.insert(network.id) {
                return Err(wrong(
                    "networks.id",
                    network.id,
                    "every id must be used once",
                ));
            }
            if !segments.insert(network.segment) {
                return Err(wrong(
                    "networks.segment",
                    network.segment,
                    "every network needs a segment of its own",
                ));
            }
            for (index, subnet) in network.subnets.iter().enumerate() {
                if !subnet_ids.insert(subnet.id) {
                    return Err(wrong(
                        "networks.subnets.id",
                        subnet.id,
                        "every id must be used once",
                    ));
                }
                subnet.check()?;
                let overlaps = network.subnets.iter().take(index).any(|other| {
                    other.cidr.contains(&subnet.cidr) || subnet.cidr.contains(&other.cidr)
                });
                if overlaps {
                    return Err(wrong(
                        "networks.subnets.cidr",
                        subnet.cidr,
                        "subnets of one network must not overlap",
                    ));
                }
            }
        }
        Ok(Self {
            networks: networks.into_iter().map(Arc::new).collect(),
        })
    }

    fn places(&self) -> impl Iterator<Item = (&Arc<Network>, &Subnet)> {
        let networks = self.networks.iter();
        networks.flat_map(|network| network.subnets.iter().map(move |subnet| (network, subnet)))
    }
}
