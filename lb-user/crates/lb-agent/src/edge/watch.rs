//! What the kernel tells about interfaces and neighbours of the edge, as it happens.

use futures_util::StreamExt as _;
use netlink_packet_route::{
    RouteNetlinkMessage,
    neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState},
};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
};
use tokio::sync::mpsc;

use super::{
    members::NextHop,
    netlink::{Link, Netlink, neighbour_address},
};
use crate::{Error, Result};

/// What became of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// Its number.
    pub ifindex: u32,
    /// It exists, is on and has carrier.
    pub usable: bool,
}

/// What became of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourEvent {
    /// Who.
    pub hop: NextHop,
    /// Its Ethernet address, when it can be used.
    pub mac: Option<[u8; 6]>,
}

/// Sends events from now on, beginning with what is known of neighbours, until the receivers are
/// gone. To be called in the edge.
///
/// # Errors
/// When no socket can be opened.
pub async fn watch(
    links: mpsc::UnboundedSender<LinkEvent>,
    neighbours: mpsc::UnboundedSender<NeighbourEvent>,
) -> Result<()> {
    let groups = [MulticastGroup::Link, MulticastGroup::Neigh];
    let (connection, _handle, mut messages) = rtnetlink::new_multicast_connection(&groups)
        .map_err(|error| Error::Other(format!("watch the kernel's events: {error}")))?;
    let connection = lb_telemetry::task::spawn("netlink-events", connection);
    // After subscribing, so that nothing falls between.
    for message in Netlink::here()?.neighbours().await? {
        let event = neighbour_event(&message);
        if event.is_some_and(|event| neighbours.send(event).is_err()) {
            return Ok(());
        }
    }
    lb_telemetry::task::spawn("edge-watch", async move {
        while let Some((message, _)) = messages.next().await {
            let told = tell(&message, &links, &neighbours);
            if told.is_err() {
                break;
            }
        }
        connection.abort();
    });
    Ok(())
}

/// The receivers are gone.
struct Gone;

fn tell(
    message: &NetlinkMessage<RouteNetlinkMessage>,
    links: &mpsc::UnboundedSender<LinkEvent>,
    neighbours: &mpsc::UnboundedSender<NeighbourEvent>,
) -> std::result::Result<(), Gone> {
    let NetlinkPayload::InnerMessage(inner) = &message.payload else {
        return Ok(());
    };
    match inner {
        RouteNetlinkMessage::NewLink(message) => {
            let Some(link) = Link::from_message(message) else {
                return Ok(());
            };
            let usable = link.up && link.carrier;
            let event = LinkEvent {
                ifindex: link.index,
                usable,
            };
            links.send(event).map_err(|_closed| Gone)
        }
        RouteNetlinkMessage::DelLink(message) => {
            let event = LinkEvent {
                ifindex: message.header.index,
                usable: false,
            };
            links.send(event).map_err(|_closed| Gone)
        }
        RouteNetlinkMessage::NewNeighbour(message) => match neighbour_event(message) {
            Some(event) => neighbours.send(event).map_err(|_closed| Gone),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn neighbour_event(message: &NeighbourMessage) -> Option<NeighbourEvent> {
    let address = neighbour_address(message)?;
    let usable = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let mac = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    });
    Some(NeighbourEvent {
        hop: NextHop {
            ifindex: message.header.ifindex,
            address,
        },
        mac: mac.filter(|_| usable),
    })
}
