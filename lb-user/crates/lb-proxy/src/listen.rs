//! Listening sockets: one per endpoint and worker, so that workers share nothing.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted, per socket (the kernel caps it at somaxconn).
const BACKLOG: i32 = 4096;

/// An address and the protocol on it: a port may have a TCP and a UDP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// UDP; else TCP and what is on it.
    pub(crate) datagrams: bool,
}

/// An open socket of an endpoint.
#[derive(Debug)]
pub(crate) enum Listening {
    Stream(TcpListener),
    Datagram(UdpSocket),
}

impl Listening {
    /// What a predecessor listened on.
    pub(crate) fn inherit(endpoint: Endpoint, socket: OwnedFd) -> Self {
        if endpoint.datagrams {
            Self::Datagram(socket.into())
        } else {
            Self::Stream(socket.into())
        }
    }

    /// A second handle on the same socket.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Stream(socket) => socket.as_fd().try_clone_to_owned(),
            Self::Datagram(socket) => socket.as_fd().try_clone_to_owned(),
        }
    }
}

/// Opens a socket on `endpoint`, whose address need not be configured yet (the agent may add it a
/// moment later).
pub(crate) fn open(endpoint: Endpoint) -> io::Result<Listening> {
    let Endpoint { address, datagrams } = endpoint;
    let (kind, protocol) = if datagrams {
        (Type::DGRAM, Protocol::UDP)
    } else {
        (Type::STREAM, Protocol::TCP)
    };
    let socket = Socket::new(
        Domain::for_address(address),
        kind.nonblocking(),
        Some(protocol),
    )?;
    if !datagrams {
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    if datagrams {
        return Ok(Listening::Datagram(socket.into()));
    }
    socket.listen(BACKLOG)?;
    Ok(Listening::Stream(socket.into()))
}
