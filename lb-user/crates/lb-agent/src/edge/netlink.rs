//! The rtnetlink requests the agent makes, in its own terms, in one namespace.

use std::{collections::BTreeMap, fmt::Display, net::IpAddr, os::fd::RawFd};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use lb_sys::netns;
use netlink_packet_route::{
    AddressFamily,
    address::AddressAttribute,
    address::AddressHeaderFlags,
    link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
        NeighbourState,
    },
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::task::AbortHandle;

use crate::{Error, Result};

/// linux/errno.h
const EEXIST: i32 = 17;
const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const EADDRNOTAVAIL: i32 = 99;

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
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) => {
                    link.mac = mac.as_slice().try_into().unwrap_or_default();
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Link(peer) => link.peer = Some(*peer),
                _ => {}
            }
        }
        (!link.name.is_empty()).then_some(link)
    }
}

/// Requests in one namespace.
#[derive(Debug)]
pub struct Netlink {
    handle: Handle,
    connection: AbortHandle,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// In the namespace of the process.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn here() -> Result<Self> {
        let made = rtnetlink::new_connection().map_err(|error| socket_failed(&error))?;
        Ok(Self::start(made.0, made.1))
    }

    /// In a named namespace.
    ///
    /// # Errors
    /// When there is none of this name, or no socket can be opened.
    pub fn inside(name: &str) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        let (connection, handle, _) = netns::run_in(name, || {
            // The socket registers with the runtime of whoever makes it.
            let _entered = runtime.enter();
            rtnetlink::new_connection()
        })?
        .map_err(|error| socket_failed(&error))?;
        Ok(Self::start(connection, handle))
    }

    fn start(connection: impl Future<Output = ()> + Send + 'static, handle: Handle) -> Self {
        let task = lb_telemetry::task::spawn("netlink", connection);
        Self {
            handle,
            connection: task.abort_handle(),
        }
    }

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
            // ESRCH
            Err(error) if error.is_errno(3) => Ok(()),
            other => absent_is_fine(other),
        }
    }

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
    fn message(&self) -> Result<netlink_packet_route::route::RouteMessage> {
        let mut builder = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(self.to.network(), self.to.prefix_len())
            .map_err(wrong_route)?
            .output_interface(self.index);
        if let Some(via) = self.via {
            builder = builder.gateway(via).map_err(wrong_route)?.onlink();
        } else if matches!(self.to, IpNet::V4(_)) {
            builder = builder.scope(netlink_packet_route::route::RouteScope::Link);
        }
        if let Some(source) = self.source {
            builder = builder.pref_source(source).map_err(wrong_route)?;
        }
        Ok(builder.build())
    }
}

/// Whose entry a message is about.
pub(super) fn neighbour_address(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    })
}

fn wrong_route(error: impl Display) -> Error {
    Error::Other(error.to_string())
}

fn socket_failed(error: &std::io::Error) -> Error {
    Error::Other(format!("open a netlink socket: {error}"))
}

fn netlink_error(doing: impl Display) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |source| Error::Netlink {
        doing: doing.to_string(),
        source,
    }
}

fn existing_is_fine(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.is_errno(EEXIST) => Ok(()),
        other => other,
    }
}

fn absent_is_fine(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error)
            if [ENOENT, ENODEV, EADDRNOTAVAIL]
                .into_iter()
                .any(|errno| error.is_errno(errno)) =>
        {
            Ok(())
        }
        other => other,
    }
}
