//! Offload switches and identity of an interface, by the ethtool and interface ioctls.
//!
//! All of them look at the calling thread's network namespace.

#![expect(unsafe_code, reason = "ioctls with structures of the kernel's")]

use std::{
    io,
    net::UdpSocket,
    os::fd::{AsFd as _, AsRawFd as _},
};

use crate::{Doing as _, Result};

/// linux/ethtool.h
const ETHTOOL_STXCSUM: u32 = 0x17;
/// linux/ethtool.h
const ETHTOOL_SGRO: u32 = 0x2c;

/// A switch of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Generic receive offload. On a veth it also turns on NAPI, without which nothing can be
    /// redirected to its peer by XDP.
    GenericReceive,
    /// Checksums of what is sent are filled in later. Lost when XDP redirects the packet, so it is
    /// off at ends whose packets enter XDP.
    TransmitChecksum,
}

#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Turns an offload on or off.
///
/// # Errors
/// When there is no such interface, or without CAP_NET_ADMIN.
pub fn set_offload(interface: &str, offload: Offload, on: bool) -> Result<()> {
    let doing = || format!("set {offload:?} of {interface} to {on}");
    let mut value = EthtoolValue {
        command: match offload {
            Offload::GenericReceive => ETHTOOL_SGRO,
            Offload::TransmitChecksum => ETHTOOL_STXCSUM,
        },
        data: u32::from(on),
    };
    let mut request = request(interface).doing(doing)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = socket().doing(doing)?;
    // SAFETY: SIOCETHTOOL takes an ifreq whose ifru_data points at a structure that begins with the
    // command; both commands use ethtool_value, which `EthtoolValue` mirrors and which outlives the
    // call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    check(outcome).doing(doing)
}

/// Number of an interface.
///
/// # Errors
/// When there is none of this name.
pub fn index(interface: &str) -> Result<u32> {
    let doing = || format!("find interface {interface}");
    let socket = socket().doing(doing)?;
    rustix::net::netdevice::name_to_index(socket.as_fd(), interface).doing(doing)
}

/// Ethernet address of an interface.
///
/// # Errors
/// When there is none of this name.
pub fn mac(interface: &str) -> Result<[u8; 6]> {
    let doing = || format!("read the address of {interface}");
    let mut request = request(interface).doing(doing)?;
    let socket = socket().doing(doing)?;
    // SAFETY: SIOCGIFHWADDR fills ifru_hwaddr of the ifreq it is given.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) };
    check(outcome).doing(doing)?;
    // SAFETY: the call above succeeded, so ifru_hwaddr is what is in the union.
    let data = unsafe { request.ifr_ifru.ifru_hwaddr.sa_data };
    let [a, b, c, d, e, f, ..] = data.map(i8::cast_unsigned);
    Ok([a, b, c, d, e, f])
}

fn socket() -> io::Result<UdpSocket> {
    UdpSocket::bind(("127.0.0.1", 0)).or_else(|_lo_is_down| UdpSocket::bind(("0.0.0.0", 0)))
}

fn request(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_number_one_and_no_address() {
        assert_eq!(index("lo").unwrap(), 1);
        assert_eq!(mac("lo").unwrap(), [0; 6]);
        assert!(index("no-such-if").is_err());
        assert!(mac("a-name-that-is-too-long-for-linux").is_err());
    }
}
