//! What a device's driver can do with XDP, by the kernel's `netdev` family of generic netlink: asked, not
//! tried, so that nothing on a live interface changes.
//!
//! Left out on purpose: everything else of netlink.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Doing as _, Result};

const AF_NETLINK: i32 = 16;
const NETLINK_GENERIC: i32 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Bytes of nlmsghdr and genlmsghdr.
const HEADERS: usize = 16 + 4;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// linux/netdev.h
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_XDP_ACT_BASIC: u64 = 1;
const NETDEV_XDP_ACT_REDIRECT: u64 = 2;

/// What XDP can do on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// Programs run in the driver.
    pub is_native: bool,
    /// Programs there may redirect packets to other devices.
    pub redirects: bool,
}

/// Asks about an interface of the calling thread's network namespace.
///
/// # Errors
/// When there is none of that number, or the kernel does not know the question (before 6.3).
pub fn features(ifindex: u32) -> Result<Features> {
    let doing = || format!("ask what XDP can do on interface {ifindex}");
    ask_features(ifindex).doing(doing)
}

fn ask_features(ifindex: u32) -> io::Result<Features> {
    let domain = Domain::from(AF_NETLINK);
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(NETLINK_GENERIC)))?;
    let name = attribute(CTRL_ATTR_FAMILY_NAME, b"netdev\0")?;
    let answer = ask(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?;
    let family = find(&answer, CTRL_ATTR_FAMILY_ID).and_then(|value| value.first_chunk());
    let family = u16::from_ne_bytes(*family.ok_or_else(malformed)?);
    let index = attribute(NETDEV_A_DEV_IFINDEX, &ifindex.to_ne_bytes())?;
    let answer = ask(&socket, family, NETDEV_CMD_DEV_GET, &index)?;
    let bits = find(&answer, NETDEV_A_DEV_XDP_FEATURES).and_then(|value| value.first_chunk());
    let bits = u64::from_ne_bytes(*bits.ok_or_else(malformed)?);
    Ok(Features {
        is_native: bits & NETDEV_XDP_ACT_BASIC != 0,
        redirects: bits & NETDEV_XDP_ACT_REDIRECT != 0,
    })
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

/// An attribute, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(4 + value.len()).map_err(io::Error::other)?;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(bytes)
}

/// Sends a request; the attributes of the answer.
fn ask(socket: &Socket, family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(HEADERS + attributes.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(family.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence and port: one question at a time.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend_from_slice(attributes);
    socket.send(&request)?;
    let mut answer = vec![0; 8192];
    let length = io::Read::read(&mut &*socket, &mut answer)?;
    answer.truncate(length);
    let kind = answer.get(4..).and_then(|rest| rest.first_chunk());
    let kind = u16::from_ne_bytes(*kind.ok_or_else(malformed)?);
    if kind == NLMSG_ERROR {
        let code = answer.get(16..).and_then(|rest| rest.first_chunk());
        let code = i32::from_ne_bytes(*code.ok_or_else(malformed)?);
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(answer.get(HEADERS..).ok_or_else(malformed)?.to_vec())
}

/// The value of the first attribute of a kind.
fn find(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    while let [a, b, c, d, ..] = *rest {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        // The highest two bits are flags.
        let kind = u16::from_ne_bytes([c, d]) & 0x3fff;
        if length < 4 {
            return None;
        }
        if kind == wanted {
            return rest.get(4..length);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_native_xdp_and_nobody_has_no_features() {
        let index = crate::iface::index("lo").unwrap();
        let none = Features {
            is_native: false,
            redirects: false,
        };
        assert_eq!(features(index).unwrap(), none);
        assert!(features(u32::MAX >> 1).is_err());
    }

    #[test]
    fn attributes_are_found_behind_others_and_broken_ones_end_the_search() {
        let mut bytes = attribute(7, b"abc").unwrap();
        bytes.extend(attribute(9 | 0x8000, &[1, 2, 3, 4]).unwrap());
        assert_eq!(find(&bytes, 9), Some(&[1, 2, 3, 4][..]));
        assert_eq!(find(&bytes, 7), Some(&b"abc"[..]));
        assert_eq!(find(&bytes, 8), None);
        assert_eq!(find(&[3, 0, 9, 0], 9), None);
        assert_eq!(find(&[9, 0, 9, 0], 9), None);
    }
}
