//! The interfaces of the edge that the configuration names.

use std::{collections::BTreeMap, net::IpAddr};

use lb_model::id::NetworkId;

use super::{
    netlink::{Link, Netlink},
    sysctl::Sysctls,
};
use crate::{AgentConfig, Error, Origin, Result};

/// Interfaces with XDP, as they are now.
#[derive(Clone, Debug, Default)]
pub struct Uplinks {
    by_network: BTreeMap<NetworkId, Link>,
    all: Vec<Link>,
}

impl Uplinks {
    /// Finds them and sets the switches that let the kernel answer for addresses on them.
    ///
    /// # Errors
    /// When one does not exist or a switch cannot be set.
    pub async fn prepare(
        config: &AgentConfig,
        netlink: &Netlink,
        sysctls: &mut Sysctls,
    ) -> Result<Self> {
        let mut links = netlink.links().await?;
        let mut uplinks = Self::default();
        for interface in &config.interfaces {
            let name = &interface.name;
            let link = links
                .remove(name)
                .ok_or_else(|| Error::NoInterface { name: name.clone() })?;
            set_switches(name, sysctls)?;
            for network in &interface.networks {
                uplinks.by_network.insert(*network, link.clone());
            }
            uplinks.all.push(link);
        }
        Ok(uplinks)
    }

    /// The interface a network is reached by.
    #[must_use]
    pub fn of(&self, network: NetworkId) -> Option<&Link> {
        self.by_network.get(&network)
    }

    /// Networks and their interfaces.
    pub fn iter(&self) -> impl Iterator<Item = (NetworkId, &Link)> {
        self.by_network.iter().map(|(id, link)| (*id, link))
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Link] {
        &self.all
    }
}

/// Only switches of the interface itself, never global ones.
fn set_switches(name: &str, sysctls: &mut Sysctls) -> Result<()> {
    // Forwarding makes an interface deaf to router advertisements unless it is told otherwise.
    let accept_ra = format!("net/ipv6/conf/{name}/accept_ra");
    if Sysctls::value(&accept_ra).as_deref() == Some("1") {
        sysctls.set(&accept_ra, "2")?;
    }
    // Without these the kernel answers for no address but its own.
    sysctls.set(&format!("net/ipv4/conf/{name}/forwarding"), "1")?;
    sysctls.set_if_present(&format!("net/ipv6/conf/{name}/forwarding"), "1")?;
    sysctls.set_if_present(&format!("net/ipv6/conf/{name}/force_forwarding"), "1")?;
    sysctls.set_if_present(&format!("net/ipv6/conf/{name}/proxy_ndp"), "1")?;
    // The default makes the first packet of a client wait up to 0.8 s.
    sysctls.set(&format!("net/ipv4/neigh/{name}/proxy_delay"), "0")?;
    sysctls.set_if_present(&format!("net/ipv6/neigh/{name}/proxy_delay"), "0")
}

/// Every address of the host: of the edge, and of the namespace the agent was started in. No member
/// may have one of them.
///
/// # Errors
/// When one of the namespaces cannot be asked.
pub async fn host_addresses(edge: &Netlink, origin: &Origin) -> Result<Vec<IpAddr>> {
    let runtime = tokio::runtime::Handle::current();
    let there = origin.run(|| {
        let _entered = runtime.enter();
        Netlink::here()
    })??;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for netlink in [edge, &there] {
        let found = netlink.addresses(None).await?;
        addresses.extend(found.iter().map(ipnet::IpNet::addr));
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}
