//! The question as people write it, and as a packet.

use std::net::{IpAddr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
/// TCP flags.
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A client, a VIP, a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) client: SocketAddr,
    pub(super) vip: SocketAddr,
    /// IP protocol number.
    pub(super) protocol: u8,
}

/// Which packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The one that opens it.
    First,
    /// One in the midst of it.
    Known,
    /// The one that ends it (TCP and SCTP).
    Reset,
}

impl Question {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "SRC:PORT -> DST:PORT/PROTO, such as \
                              '198.51.100.7:40000 -> 192.0.2.10:80/tcp'";
        let wrong = || format!("{text:?} is not {WANTED}");
        let (client, rest) = text
            .split_once("->")
            .or_else(|| text.trim().split_once(char::is_whitespace))
            .ok_or_else(wrong)?;
        let (vip, protocol) = rest.trim().rsplit_once('/').ok_or_else(wrong)?;
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => TCP,
            "udp" => UDP,
            "sctp" => SCTP,
            _ => return Err(format!("{protocol:?} is none of tcp, udp and sctp")),
        };
        let client: SocketAddr = client.trim().parse().map_err(|_error| wrong())?;
        let vip: SocketAddr = vip.trim().parse().map_err(|_error| wrong())?;
        if client.is_ipv4() != vip.is_ipv4() {
            return Err("client and VIP are of two IP versions".to_owned());
        }
        Ok(Self {
            client,
            vip,
            protocol,
        })
    }

    /// Whether a packet ends its flows.
    pub(super) const fn has_connections(&self) -> bool {
        matches!(self.protocol, TCP | SCTP)
    }

    /// An Ethernet frame without payload.
    pub(super) fn packet(&self, kind: Kind) -> Vec<u8> {
        let transport = self.transport(kind);
        // To and from locally administered addresses that nobody has.
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let length = u16::try_from(transport.len()).unwrap_or(u16::MAX);
        match (self.client.ip(), self.vip.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x08, 0x00]);
                let mut header = vec![0x45, 0];
                header.extend((length + 20).to_be_bytes());
                header.extend([0, 0, 0x40, 0, 64, self.protocol, 0, 0]);
                header.extend(from.octets());
                header.extend(to.octets());
                let sum = checksum(&header);
                if let Some(place) = header.get_mut(10..12) {
                    place.copy_from_slice(&sum.to_be_bytes());
                }
                frame.extend(header);
            }
            (from, to) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([self.protocol, 64]);
                for address in [from, to] {
                    match address {
                        IpAddr::V4(v4) => frame.extend(v4.to_ipv6_mapped().octets()),
                        IpAddr::V6(v6) => frame.extend(v6.octets()),
                    }
                }
            }
        }
        frame.extend(transport);
        frame
    }

    /// Checksums are whatever: the data path changes them by differences.
    fn transport(&self, kind: Kind) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.client.port().to_be_bytes());
        out.extend(self.vip.port().to_be_bytes());
        match self.protocol {
            TCP => {
                let flags = match kind {
                    Kind::First => SYN,
                    Kind::Known => ACK,
                    Kind::Reset => RST,
                };
                out.extend([
                    0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0x12, 0x34, 0, 0,
                ]);
            }
            UDP => out.extend([0, 8, 0x12, 0x34]),
            _ => {
                // Tag (an INIT has none) and checksum, then an INIT, a HEARTBEAT or an ABORT.
                let (tag, chunk) = match kind {
                    Kind::First => (0, 1),
                    Kind::Known => (1, 4),
                    Kind::Reset => (1, 6),
                };
                out.extend([0, 0, 0, tag, 0, 0, 0, 0]);
                out.extend([chunk, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0xff, 0xff]);
                out.extend([0, 1, 0, 1, 0, 0, 0, 1]);
            }
        }
        out
    }
}

/// The Internet checksum of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.as_chunks::<2>().0.iter();
    let sum: u32 = words.map(|two| u32::from(u16::from_be_bytes(*two))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_read_with_or_without_its_arrow() {
        for text in [
            "198.51.100.7:40000 -> 192.0.2.10:80/tcp",
            "198.51.100.7:40000->192.0.2.10:80/TCP",
            "198.51.100.7:40000 192.0.2.10:80/tcp",
        ] {
            let question = Question::parse(text).unwrap();
            assert_eq!(question.client.port(), 40_000);
            assert_eq!((question.vip.port(), question.protocol), (80, TCP));
        }
        let v6 = Question::parse("[2001:db8::7]:4 -> [2001:db8::1]:53/udp").unwrap();
        assert!(v6.vip.is_ipv6());
        for wrong in [
            "",
            "198.51.100.7 -> 192.0.2.10:80/tcp",
            "198.51.100.7:1 -> 192.0.2.10:80",
            "198.51.100.7:1 -> 192.0.2.10:80/icmp",
            "198.51.100.7:1 -> [2001:db8::1]:80/tcp",
        ] {
            assert!(Question::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn packets_are_as_long_as_they_say() {
        for (text, bytes) in [
            ("198.51.100.7:1 -> 192.0.2.10:80/tcp", 54),
            ("198.51.100.7:1 -> 192.0.2.10:80/udp", 42),
            ("198.51.100.7:1 -> 192.0.2.10:80/sctp", 66),
            ("[2001:db8::7]:4 -> [2001:db8::1]:53/udp", 62),
        ] {
            let packet = Question::parse(text).unwrap().packet(Kind::First);
            assert_eq!(packet.len(), bytes, "{text}");
            if packet[12] == 8 {
                assert_eq!(checksum(&packet[14..34]), 0);
            }
        }
    }
}
