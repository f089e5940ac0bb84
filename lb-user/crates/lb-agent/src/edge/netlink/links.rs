//! Interfaces: found, made, switched on, removed.

use std::{collections::BTreeMap, os::fd::RawFd};

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::{
    InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{ENODEV, Netlink, absent_is_fine, netlink_error};
use crate::Result;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address (zero when it has none).
    pub mac: [u8; 6],
    /// Largest packet.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
    /// Has carrier.
    pub carrier: bool,
    /// Number of the other end of a veth, in that end's namespace.
    pub peer: Option<u32>,
    /// A device's own driver is behind it, not a kind that the kernel makes (veth, bond, bridge).
    pub hardware: bool,
}

impl Link {
    /// From a message about one; `None` when it lacks a name.
    #[must_use]
    pub fn from_message(message: &LinkMessage) -> Option<Self> {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: [0; 6],
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            peer: None,
            hardware: true,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) => {
                    link.mac = mac.as_slice().try_into().unwrap_or_default();
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::LinkInfo(infos) => {
                    let made = |info: &LinkInfo| matches!(info, LinkInfo::Kind(_));
                    link.hardware = !infos.iter().any(made);
                }
                LinkAttribute::Link(peer) => link.peer = Some(*peer),
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

impl Netlink {
    /// All interfaces by name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn links(&self) -> Result<BTreeMap<String, Link>> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(netlink_error("list interfaces"))?;
        let links = messages.iter().filter_map(Link::from_message);
        Ok(links.map(|link| (link.name.clone(), link)).collect())
    }

    /// One interface by name.
    ///
    /// # Errors
    /// When the kernel refuses for another reason than that there is none.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        let found: std::result::Result<Vec<LinkMessage>, _> = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute()
            .try_collect()
            .await;
        match found.map_err(netlink_error(format!("find interface {name}"))) {
            Ok(messages) => Ok(messages.iter().find_map(Link::from_message)),
            Err(error) if error.is_errno(ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a veth pair: `name` here, the other end in the namespace behind `netns` (`None`: here
    /// too) with the given number (`None`: the kernel's choice).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_veth(
        &self,
        name: &str,
        mtu: u32,
        (inner, inner_index, netns): (&str, Option<u32>, Option<RawFd>),
    ) -> Result<()> {
        let mut peer = LinkUnspec::new_with_name(inner).mtu(mtu);
        if let Some(index) = inner_index {
            peer = peer.index(index);
        }
        if let Some(netns) = netns {
            peer = peer.setns_by_fd(netns);
        }
        let message = LinkMessageBuilder::<LinkVeth>::new(name, inner)
            .mtu(mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
            .build();
        let outcome = self.handle.link().add(message).execute().await;
        outcome.map_err(netlink_error(format!("make veth {name}")))
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_up(&self, index: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let outcome = self.handle.link().change(message).execute().await;
        outcome.map_err(netlink_error(format!("switch on interface {index}")))
    }

    /// Gives an interface that is switched off another name.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn rename(&self, index: u32, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).name(name).build();
        let outcome = self.handle.link().change(message).execute().await;
        outcome.map_err(netlink_error(format!("rename interface {index} to {name}")))
    }

    /// Switches off neighbour resolution on an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_noarp(&self, index: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(index).arp(false).build();
        let outcome = self.handle.link().change(message).execute().await;
        outcome.map_err(netlink_error(format!(
            "switch off ARP on interface {index}"
        )))
    }

    /// Removes an interface; one that is gone is fine.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn delete_link(&self, index: u32) -> Result<()> {
        let outcome = self.handle.link().del(index).execute().await;
        absent_is_fine(outcome.map_err(netlink_error(format!("remove interface {index}"))))
    }
}
