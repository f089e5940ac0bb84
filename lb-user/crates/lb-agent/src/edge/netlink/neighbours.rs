//! Neighbours: told once and for all, kept resolved by the kernel, answered for.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    AddressFamily,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState,
    },
};

use super::{Netlink, absent_is_fine, netlink_error};
use crate::Result;

impl Netlink {
    /// Tells the neighbour's Ethernet address once and for all.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_neighbour(&self, index: u32, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        let outcome = self
            .handle
            .neighbours()
            .add(index, address)
            .link_layer_address(&mac)
            .replace()
            .execute()
            .await;
        outcome.map_err(netlink_error(format!("set neighbour {address}")))
    }

    /// Lets the kernel resolve a neighbour now and keep it resolved.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn manage_neighbour(&self, index: u32, address: IpAddr) -> Result<()> {
        let mut request = self
            .handle
            .neighbours()
            .add(index, address)
            .state(NeighbourState::None)
            .replace();
        request
            .message_mut()
            .attributes
            .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        let outcome = request.execute().await;
        outcome.map_err(netlink_error(format!("keep neighbour {address} resolved")))
    }

    /// Forgets a neighbour; an unknown one is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn delete_neighbour(&self, index: u32, address: IpAddr) -> Result<()> {
        self.delete_entry(index, address, NeighbourFlags::empty())
            .await
    }

    /// Answers for an address on an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_proxy(&self, index: u32, address: IpAddr) -> Result<()> {
        let outcome = self
            .handle
            .neighbours()
            .add(index, address)
            .flags(NeighbourFlags::Proxy)
            .replace()
            .execute()
            .await;
        outcome.map_err(netlink_error(format!("answer for {address}")))
    }

    /// Answers no more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn delete_proxy(&self, index: u32, address: IpAddr) -> Result<()> {
        self.delete_entry(index, address, NeighbourFlags::Proxy)
            .await
    }

    /// Addresses answered for, with the interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn proxies(&self) -> Result<Vec<(u32, IpAddr)>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let request = self.handle.neighbours().get().proxies();
            let messages: Vec<NeighbourMessage> = request
                .set_address_family(family)
                .execute()
                .try_collect()
                .await
                .map_err(netlink_error("list addresses answered for"))?;
            found.extend(
                messages.iter().filter_map(|message| {
                    Some((message.header.ifindex, neighbour_address(message)?))
                }),
            );
        }
        Ok(found)
    }

    /// What is known of neighbours.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn neighbours(&self) -> Result<Vec<NeighbourMessage>> {
        let request = self.handle.neighbours().get();
        let found = request.execute().try_collect().await;
        found.map_err(netlink_error("list neighbours"))
    }

    async fn delete_entry(&self, index: u32, address: IpAddr, flags: NeighbourFlags) -> Result<()> {
        let mut add = self.handle.neighbours().add(index, address).flags(flags);
        let message = add.message_mut().clone();
        let outcome = self.handle.neighbours().del(message).execute().await;
        absent_is_fine(outcome.map_err(netlink_error(format!("forget neighbour {address}"))))
    }
}

/// Whose entry a message is about.
pub(in crate::edge) fn neighbour_address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}
