//! Choosing a source address without choosing a source port.

#![expect(unsafe_code, reason = "a socket option the safe crates do not have")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

use crate::{Doing as _, Result};

/// Makes a later `bind` to port 0 leave the port to `connect`: then one port serves many
/// destinations, where it would otherwise be taken for all of them (IP_BIND_ADDRESS_NO_PORT).
///
/// # Errors
/// When it is no IP socket.
pub fn leave_port_to_connect(socket: impl AsFd) -> Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: the option takes an int, which outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if outcome < 0 {
        return Err(io::Error::last_os_error()).doing(|| "leave the port to connect");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn the_port_is_chosen_by_connect() {
        for (domain, address) in [(Domain::IPV4, "127.0.0.1:0"), (Domain::IPV6, "[::1]:0")] {
            let address: std::net::SocketAddr = address.parse().unwrap();
            let Ok(server) = TcpListener::bind(address) else {
                continue;
            };
            let socket = Socket::new(domain, Type::STREAM, None).unwrap();
            leave_port_to_connect(&socket).unwrap();
            socket.bind(&address.into()).unwrap();
            let bound = socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!((bound.ip(), bound.port()), (address.ip(), 0));
            socket
                .connect(&server.local_addr().unwrap().into())
                .unwrap();
            let bound = socket.local_addr().unwrap().as_socket().unwrap();
            assert_ne!(bound.port(), 0);
        }
    }
}
