//! PING: ICMP echo over the kernel's unprivileged ICMP socket (`ping_group_range`, which the agent
//! opens in an amphora's namespace). The kernel fills in identifier and checksum, and hands over
//! only answers to this socket.

use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::check::CheckError;

/// Type of an echo request and its answer, ICMP and ICMPv6 (RFC 792, RFC 4443).
const V4: (u8, u8) = (8, 0);
const V6: (u8, u8) = (128, 129);
/// Bytes of payload, as ping(8) sends.
const PAYLOAD: [u8; 56] = [0x2a; 56];

/// Asks once and waits for the answer.
pub(crate) async fn ping(target: IpAddr, source: Option<IpAddr>) -> Result<(), CheckError> {
    let ((request, reply), domain, protocol) = match target {
        IpAddr::V4(_) => (V4, Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (V6, Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(protocol))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    // Connected, so that an unreachable host is an error and not a silence.
    socket.connect(&SocketAddr::new(target, 0).into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    let mut message = vec![request, 0, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(&PAYLOAD);
    socket.send(&message).await?;
    let mut answer = [0; 128];
    loop {
        let bytes = socket.recv(&mut answer).await?;
        if bytes >= 8 && answer.first() == Some(&reply) {
            return Ok(());
        }
    }
}
