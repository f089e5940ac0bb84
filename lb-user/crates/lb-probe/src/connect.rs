//! A TCP connect from a chosen source address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::{TcpSocket, TcpStream};

/// Connects to `target`, from `source` when there is one.
///
/// # Errors
///
/// What the kernel says. There is no deadline here: the caller has its own.
pub async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    if let Some(source) = source {
        lb_sys::bind::leave_port_to_connect(&socket).map_err(|error| error.source)?;
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(target).await
}
