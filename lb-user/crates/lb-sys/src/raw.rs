//! Raw sockets: opening them, and sending from a chosen address: one socket serves every source, by
//! IP_PKTINFO.

#![expect(
    unsafe_code,
    reason = "sendmsg with a control message the safe crates do not have"
)]

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Doing as _, Result};

/// IP protocol number.
const SCTP: i32 = 132;

/// Opens the raw SCTP socket of one IP version in the namespace of the calling thread. It gets every
/// SCTP packet that arrives there, whether the kernel knows SCTP or not.
///
/// # Errors
/// Without CAP_NET_RAW, or without that IP version.
pub fn open_sctp(is_v6: bool) -> io::Result<OwnedFd> {
    let domain = if is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let kind = Type::RAW.nonblocking().cloexec();
    Ok(Socket::new(domain, kind, Some(Protocol::from(SCTP)))?.into())
}

/// Room for one control message of either version, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends `packet` to `target` from `source`, which must be an address of this namespace. Does not
/// wait.
///
/// # Errors
/// The kernel's; addresses of two versions.
pub fn send_from(socket: impl AsFd, packet: &[u8], source: IpAddr, target: IpAddr) -> Result<()> {
    let doing = || format!("send from {source} to {target}");
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(source.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let name = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: 0,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(target.octets()),
                },
                sin_zero: [0; 8],
            };
            let kind = (libc::IPPROTO_IP, libc::IP_PKTINFO);
            send(&socket, packet, name, kind, info).doing(doing)
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: source.octets(),
                },
                ipi6_ifindex: 0,
            };
            let name = libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr {
                    s6_addr: target.octets(),
                },
                sin6_scope_id: 0,
            };
            let kind = (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
            send(&socket, packet, name, kind, info).doing(doing)
        }
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)).doing(doing),
    }
}

fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or_default()
}

/// One message with one control message, both plain structures of the kernel's.
fn send<N: Copy, I: Copy>(
    socket: &impl AsFd,
    packet: &[u8],
    mut name: N,
    (level, kind): (libc::c_int, libc::c_int),
    info: I,
) -> io::Result<()> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec {
        iov_base: packet.as_ptr().cast_mut().cast(),
        iov_len: packet.len(),
    };
    let bytes = u32::try_from(size_of::<I>()).unwrap_or(u32::MAX);
    let name_bytes = u32::try_from(size_of::<N>()).unwrap_or(u32::MAX);
    // SAFETY: `msghdr` is plain data, for which zeros are valid. The control message is written
    // within `control`: CMSG_SPACE of either structure is 40 bytes at most, and CMSG_FIRSTHDR is not
    // null for a buffer of 64. All that the message points at lives across the call, and sendmsg
    // writes to none of it.
    let sent = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_name = (&raw mut name).cast();
        message.msg_namelen = name_bytes;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(bytes) as _;
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = level;
        (*head).cmsg_type = kind;
        (*head).cmsg_len = libc::CMSG_LEN(bytes) as _;
        libc::CMSG_DATA(head).cast::<I>().write_unaligned(info);
        libc::sendmsg(
            socket.as_fd().as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_source_is_the_one_that_was_chosen() {
        // A datagram socket takes the same control message as a raw one, and needs no privilege;
        // only the port of the target is missing, so the kernel must refuse that and nothing else.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = "127.0.0.1".parse().unwrap();
        let odd = send_from(&socket, b"x", "::1".parse().unwrap(), to);
        assert_eq!(odd.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let strange = send_from(&socket, b"x", "192.0.2.200".parse().unwrap(), to);
        assert!(strange.is_err(), "not an address of ours");
    }
}
