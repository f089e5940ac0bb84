//! UDP-CONNECT: a datagram, and whether somebody says that nobody is there.
//!
//! As Octavia's: a member is up unless its host answers with an ICMP error in time. So silence
//! passes, also that of a host that is off; any answer passes at once.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use crate::check::CheckError;

/// Of the caller's patience, kept back so that silence is not taken for its end.
const MARGIN: u32 = 20;

/// Passes unless refused within `patience`.
pub(crate) async fn unrefused(
    target: SocketAddr,
    source: Option<IpAddr>,
    patience: Duration,
) -> Result<(), CheckError> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(source.unwrap_or(any), 0)).await?;
    socket.connect(target).await?;
    socket.send(b"\n").await?;
    let mut answer = [0; 1];
    match timeout(patience - patience / MARGIN, socket.recv(&mut answer)).await {
        Err(_silence) => Ok(()),
        Ok(Ok(_bytes)) => Ok(()),
        Ok(Err(refused)) => Err(refused.into()),
    }
}
