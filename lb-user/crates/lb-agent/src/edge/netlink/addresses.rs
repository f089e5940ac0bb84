//! Addresses of interfaces, and routes.

use std::{fmt::Display, net::IpAddr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use netlink_packet_route::{
    address::{AddressAttribute, AddressHeaderFlags},
    route::{RouteMessage, RouteScope},
};
use rtnetlink::RouteMessageBuilder;

use super::{ESRCH, Netlink, absent_is_fine, existing_is_fine, netlink_error};
use crate::{Error, Result};

/// A route through an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// Interface.
    pub index: u32,
    /// Next hop, which is taken to be on the link whatever its address.
    pub via: Option<IpAddr>,
    /// Source address when the sender names none.
    pub source: Option<IpAddr>,
}

impl Route {
    fn message(&self) -> Result<RouteMessage> {
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(self.to.network(), self.to.prefix_len())
            .map_err(wrong_route)?
            .output_interface(self.index);
        if let Some(via) = self.via {
            builder = builder.gateway(via).map_err(wrong_route)?.onlink();
        } else if matches!(self.to, IpNet::V4(_)) {
            builder = builder.scope(RouteScope::Link);
        }
        if let Some(source) = self.source {
            builder = builder.pref_source(source).map_err(wrong_route)?;
        }
        Ok(builder.build())
    }
}

impl Netlink {
    /// Addresses of all interfaces, or of one.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn addresses(&self, index: Option<u32>) -> Result<Vec<IpNet>> {
        let mut request = self.handle.address().get();
        if let Some(index) = index {
            request = request.set_link_index_filter(index);
        }
        let messages: Vec<_> = request
            .execute()
            .try_collect()
            .await
            .map_err(netlink_error("list addresses"))?;
        let mut found = Vec::new();
        for message in messages {
            let length = message.header.prefix_len;
            // On point-to-point links IFA_ADDRESS is the other side; IFA_LOCAL is ours.
            let local = message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(address) => Some(*address),
                _ => None,
            });
            let other = message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            });
            found.extend(local.or(other).and_then(|a| IpNet::new(a, length).ok()));
        }
        Ok(found)
    }

    /// Gives an interface an address, which can be used when this returns: without the flag an IPv6
    /// one is tentative until a work queue of the kernel comes round to it, and until then no route
    /// may name it as its source, whatever `accept_dad` says.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<()> {
        let mut add = self
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len());
        add.message_mut().header.flags = AddressHeaderFlags::Nodad;
        let outcome = add.execute().await;
        existing_is_fine(
            outcome.map_err(netlink_error(format!("add {address} to interface {index}"))),
        )
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn delete_address(&self, index: u32, address: IpNet) -> Result<()> {
        // The very message that adds it names it.
        let mut add = self
            .handle
            .address()
            .add(index, address.addr(), address.prefix_len());
        let message = add.message_mut().clone();
        let outcome = self.handle.address().del(message).execute().await;
        absent_is_fine(outcome.map_err(netlink_error(format!(
            "take {address} from interface {index}"
        ))))
    }

    /// Adds or replaces a route.
    ///
    /// # Errors
    /// When the kernel refuses, or the addresses are not of one family.
    pub async fn set_route(&self, route: &Route) -> Result<()> {
        let doing = format!("route {} through interface {}", route.to, route.index);
        let outcome = self.handle.route().add(route.message()?).replace();
        outcome.execute().await.map_err(netlink_error(doing))
    }

    /// Removes a route; one that is gone is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn delete_route(&self, route: &Route) -> Result<()> {
        let doing = format!("remove route {}", route.to);
        let outcome = self.handle.route().del(route.message()?).execute().await;
        match outcome.map_err(netlink_error(doing)) {
            Err(error) if error.is_errno(ESRCH) => Ok(()),
            other => absent_is_fine(other),
        }
    }
}

fn wrong_route(error: impl Display) -> Error {
    Error::Other(error.to_string())
}
