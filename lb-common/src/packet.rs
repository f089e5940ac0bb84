//! The packet parser: Ethernet with up to two VLAN tags, IPv4 with options, IPv6 with extension
//! headers, TCP, UDP, SCTP, and the packet inside an ICMP error.
//!
//! It reads through [`Bytes`], which owns every bounds check: packet pointers in XDP, a slice in
//! tests and user space. Steps, so that what is not ours is left alone however broken it is:
//!
//! ```text
//! Link::parse ── Ends::parse ── (ours? see maps) ── Network::parse ── Transport::parse
//! ```
//!
//! The first two fail with a reason to pass, the others with a reason to drop. Left out on purpose:
//! reassembly, and checksums on the way in (hosts check them).

mod bytes;
pub mod sctp;

pub use bytes::{Bytes, Run, SliceRun};

use crate::{
    maps::{Addr, Be16},
    reason::Reason,
};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;
/// Most VLAN tags that are looked through.
const TAGS_MAX: usize = 2;
/// Most IPv6 extension headers that are walked.
const EXTENSIONS_MAX: usize = 6;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// IP protocol numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
}

/// TCP flags.
pub mod tcp_flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// The link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where the IP header begins.
    pub l3: usize,
    /// IPv6, not IPv4.
    pub is_v6: bool,
    /// A tag names a VLAN (priority tags, VLAN 0, do not).
    pub has_vlan: bool,
    /// To a group address.
    pub is_group: bool,
}

impl Link {
    /// Reads the link header.
    ///
    /// # Errors
    /// [`Reason::TooShort`], or [`Reason::NotIp`].
    #[inline(always)]
    pub fn parse<B: Bytes>(bytes: B) -> Result<Self, Reason> {
        let run = bytes.run::<ETHERNET_LEN>(0).ok_or(Reason::TooShort)?;
        let is_group = run.u8(0) & 1 != 0;
        let mut ethertype = run.be16(12);
        let mut l3 = ETHERNET_LEN;
        let mut has_vlan = false;
        for _ in 0..TAGS_MAX {
            if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
                break;
            }
            let tag = bytes.run::<4>(l3).ok_or(Reason::TooShort)?;
            has_vlan |= tag.be16(0) & 0x0fff != 0;
            ethertype = tag.be16(2);
            l3 += 4;
        }
        let is_v6 = match ethertype {
            ETHERTYPE_IPV4 => false,
            ETHERTYPE_IPV6 => true,
            _ => return Err(Reason::NotIp),
        };
        Ok(Self {
            l3,
            is_v6,
            has_vlan,
            is_group,
        })
    }
}

/// Whom a packet is from and to; nothing else is checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
}

impl Ends {
    /// Reads the addresses.
    ///
    /// # Errors
    /// [`Reason::TooShort`]; [`Reason::NotOurs`] for an IPv6 packet to an IPv4-mapped address, which
    /// would otherwise be taken for IPv4.
    #[inline(always)]
    pub fn parse<B: Bytes>(bytes: B, l3: usize, is_v6: bool) -> Result<Self, Reason> {
        if is_v6 {
            let run = bytes.run::<40>(l3).ok_or(Reason::TooShort)?;
            let dst = run.addr_v6(24);
            if dst.is_v4() {
                return Err(Reason::NotOurs);
            }
            let src = run.addr_v6(8);
            Ok(Self { src, dst })
        } else {
            let run = bytes.run::<20>(l3).ok_or(Reason::TooShort)?;
            Ok(Self {
                src: run.addr_v4(12),
                dst: run.addr_v4(16),
            })
        }
    }
}

/// Whether no honest packet has this source: loopback, multicast, unspecified, broadcast, and
/// IPv4-mapped on IPv6.
#[must_use]
#[inline(always)]
pub fn is_martian(addr: &Addr, is_v6: bool) -> bool {
    let (first, second) = addr.words();
    if is_v6 {
        let one = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]);
        first.to_ne_bytes()[0] == 0xff
            || (first == 0 && (second == 0 || second == one))
            || addr.is_v4()
    } else {
        let top = second.to_ne_bytes()[4];
        top == 0 || top == 127 || top >= 224
    }
}

/// Whether no amphora may send there: what [`is_martian`] says, and link-local addresses.
#[must_use]
#[inline(always)]
pub fn is_unroutable(addr: &Addr, is_v6: bool) -> bool {
    let (first, second) = addr.words();
    let is_link_local = if is_v6 {
        let [a, b, ..] = first.to_ne_bytes();
        a == 0xfe && b & 0xc0 == 0x80
    } else {
        let [.., a, b, _, _] = second.to_ne_bytes();
        a == 169 && b == 254
    };
    is_link_local || is_martian(addr, is_v6)
}

/// The network header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Protocol of the payload, after extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Where the payload begins.
    pub l4: usize,
    /// Bytes of the payload.
    pub l4_len: usize,
    /// Bytes from the IP header on: what is counted.
    pub ip_len: usize,
}

impl Network {
    /// Checks and reads the network header.
    ///
    /// # Errors
    /// The reason to drop.
    #[inline(always)]
    pub fn parse<B: Bytes>(bytes: B, l3: usize, is_v6: bool) -> Result<Self, Reason> {
        if is_v6 {
            Self::parse_v6(bytes, l3)
        } else {
            Self::parse_v4(bytes, l3)
        }
    }

    #[inline(always)]
    fn parse_v4<B: Bytes>(bytes: B, l3: usize) -> Result<Self, Reason> {
        let run = bytes.run::<20>(l3).ok_or(Reason::Truncated)?;
        let version_ihl = run.u8(0);
        let header = ((version_ihl & 0x0f) as usize) * 4;
        let ip_len = run.be16(2) as usize;
        if version_ihl >> 4 != 4 || header < 20 || ip_len < header {
            return Err(Reason::Malformed);
        }
        if l3 + ip_len > bytes.len() {
            return Err(Reason::Truncated);
        }
        // More fragments, or an offset.
        if run.be16(6) & 0x3fff != 0 {
            return Err(Reason::Fragment);
        }
        let ttl = run.u8(8);
        if ttl == 0 {
            return Err(Reason::Ttl);
        }
        Ok(Self {
            protocol: run.u8(9),
            ttl,
            l4: l3 + header,
            l4_len: ip_len - header,
            ip_len,
        })
    }

    #[inline(always)]
    fn parse_v6<B: Bytes>(bytes: B, l3: usize) -> Result<Self, Reason> {
        let run = bytes.run::<40>(l3).ok_or(Reason::Truncated)?;
        if run.u8(0) >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let ip_len = 40 + run.be16(4) as usize;
        if l3 + ip_len > bytes.len() {
            return Err(Reason::Truncated);
        }
        let ttl = run.u8(7);
        if ttl == 0 {
            return Err(Reason::Ttl);
        }
        let mut protocol = run.u8(6);
        let mut l4 = l3 + 40;
        if !is_final(protocol) {
            (protocol, l4) = walk_extensions(bytes, protocol, l4)?;
            if l4 > l3 + ip_len {
                return Err(Reason::Malformed);
            }
        }
        Ok(Self {
            protocol,
            ttl,
            l4,
            l4_len: l3 + ip_len - l4,
            ip_len,
        })
    }
}

/// Whether this "next header" is a payload, so that nothing has to be walked.
#[inline(always)]
fn is_final(next: u8) -> bool {
    !matches!(
        next,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

/// Follows the chain of extension headers to the payload: its protocol and offset.
#[inline(always)]
fn walk_extensions<B: Bytes>(bytes: B, first: u8, start: usize) -> Result<(u8, usize), Reason> {
    let (mut next, mut at) = (first, start);
    for _ in 0..EXTENSIONS_MAX {
        if is_final(next) {
            return Ok((next, at));
        }
        let run = bytes.run::<8>(at).ok_or(Reason::Truncated)?;
        let units = run.u8(1) as usize;
        at += match next {
            protocol::FRAGMENT => {
                // An "atomic" fragment (no offset, no more to come) is a whole datagram.
                if run.be16(2) & 0xfff9 != 0 {
                    return Err(Reason::Fragment);
                }
                8
            }
            protocol::AUTHENTICATION => (units + 2) * 4,
            protocol::ROUTING => {
                if run.u8(3) != 0 {
                    return Err(Reason::RoutingHeader);
                }
                (units + 1) * 8
            }
            _ => (units + 1) * 8,
        };
        next = run.u8(0);
    }
    if is_final(next) {
        Ok((next, at))
    } else {
        Err(Reason::ExtensionHeaders)
    }
}

/// A TCP, UDP or SCTP header, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    /// [`tcp_flags`]; 0 for UDP, of SCTP what its chunks stand for ([`sctp`]).
    pub flags: u8,
    /// Bytes that are counted: payload of TCP, else those from the IP header on.
    pub bytes: usize,
}

impl Transport {
    /// Checks and reads the transport header.
    ///
    /// # Errors
    /// The reason to drop.
    #[inline(always)]
    pub fn parse<B: Bytes>(bytes: B, network: &Network) -> Result<Self, Reason> {
        match network.protocol {
            protocol::TCP => {
                if network.l4_len < 20 {
                    return Err(Reason::Truncated);
                }
                let run = bytes.run::<20>(network.l4).ok_or(Reason::Truncated)?;
                let header = ((run.u8(12) >> 4) as usize) * 4;
                if header < 20 || header > network.l4_len {
                    return Err(Reason::Malformed);
                }
                Ok(Self {
                    src_port: run.port(0),
                    dst_port: run.port(2),
                    flags: run.u8(13),
                    bytes: network.l4_len - header,
                })
            }
            protocol::UDP => {
                if network.l4_len < 8 {
                    return Err(Reason::Truncated);
                }
                let run = bytes.run::<8>(network.l4).ok_or(Reason::Truncated)?;
                let length = run.be16(4) as usize;
                if length < 8 || length > network.l4_len {
                    return Err(Reason::Malformed);
                }
                Ok(Self {
                    src_port: run.port(0),
                    dst_port: run.port(2),
                    flags: 0,
                    bytes: network.ip_len,
                })
            }
            protocol::SCTP => sctp::parse(bytes, network),
            _ => Err(Reason::Protocol),
        }
    }

    /// Whether it opens a TCP connection, or an SCTP association.
    #[must_use]
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        is_syn(self.flags)
    }
}

/// Whether flows of this protocol begin with a packet that says so, and end likewise.
#[must_use]
#[inline(always)]
pub const fn has_connections(protocol: u8) -> bool {
    matches!(protocol, protocol::TCP | protocol::SCTP)
}

/// Whether these TCP flags open a connection.
#[must_use]
#[inline(always)]
pub const fn is_syn(flags: u8) -> bool {
    flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST | tcp_flags::FIN) == tcp_flags::SYN
}

/// The packet that an ICMP error is about: as much of it as the error must carry (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// TCP, UDP or SCTP.
    pub protocol: u8,
    /// From and to.
    pub ends: Ends,
    /// Where its network header begins.
    pub l3: usize,
    /// Where its transport header begins.
    pub l4: usize,
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
}

impl Inner {
    /// Reads the packet inside an ICMP error whose ICMP header begins at `icmp`.
    ///
    /// # Errors
    /// The reason to drop.
    #[inline(always)]
    pub fn parse<B: Bytes>(bytes: B, icmp: usize, is_v6: bool) -> Result<Self, Reason> {
        let l3 = icmp + 8;
        let Ok(ends) = Ends::parse(bytes, l3, is_v6) else {
            return Err(Reason::Truncated);
        };
        let (protocol, l4) = if is_v6 {
            let run = bytes.run::<40>(l3).ok_or(Reason::Truncated)?;
            (run.u8(6), l3 + 40)
        } else {
            let run = bytes.run::<20>(l3).ok_or(Reason::Truncated)?;
            let header = ((run.u8(0) & 0x0f) as usize) * 4;
            if header < 20 {
                return Err(Reason::Malformed);
            }
            // Of a later fragment: there are no ports in it.
            if run.be16(6) & 0x1fff != 0 {
                return Err(Reason::IcmpErrorUnknown);
            }
            (run.u8(9), l3 + header)
        };
        if !matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
            return Err(Reason::IcmpErrorUnknown);
        }
        let run = bytes.run::<8>(l4).ok_or(Reason::Truncated)?;
        Ok(Self {
            protocol,
            ends,
            l3,
            l4,
            src_port: run.port(0),
            dst_port: run.port(2),
        })
    }
}

/// What an ICMP message is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp {
    /// Echo request.
    Echo,
    /// An error about another packet.
    Error,
    /// Neighbour or router discovery, or a redirect: the kernel's.
    Discovery,
    /// Anything else.
    Other,
}

impl Icmp {
    /// By type.
    #[must_use]
    #[inline(always)]
    pub const fn of(kind: u8, is_v6: bool) -> Self {
        match (is_v6, kind) {
            (false, 8) | (true, 128) => Self::Echo,
            (false, 3 | 11 | 12) | (true, 1..=4) => Self::Error,
            (true, 133..=137) => Self::Discovery,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
