//! Packets of both families, and what must hold of a packet that comes out.

use anyhow::{Context as _, bail, ensure};
use etherparse::{
    IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6FlowLabel, Ipv6Header,
    NetHeaders, PacketBuilder, PacketHeaders, TcpHeader, TransportHeader, VlanId,
};
use lb_common::{maps::Addr, packet::tcp_flags};

pub(crate) const CLIENT_MAC: [u8; 6] = [2, 0xc1, 0, 0, 0, 1];
pub(crate) const OUR_MAC: [u8; 6] = [2, 0x0e, 0, 0, 0, 1];
pub(crate) const CLIENT_PORT: u16 = 40_000;
pub(crate) const TTL: u8 = 61;

/// Every test runs in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Host `host` of network `net`: 192.0.2.x, 203.0.113.x, 198.51.100.x or 2001:db8:net::x.
    pub(crate) fn addr(self, net: u8, host: u8) -> Addr {
        match (self, net) {
            (Self::V4, 0) => Addr::v4([192, 0, 2, host]),
            (Self::V4, 1) => Addr::v4([203, 0, 113, host]),
            (Self::V4, _) => Addr::v4([198, 51, 100, host]),
            (Self::V6, _) => {
                let mut addr = [0; 16];
                addr[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
                addr[5] = net;
                addr[15] = host;
                Addr::v6(addr)
            }
        }
    }

    pub(crate) fn vip(self) -> Addr {
        self.addr(0, 10)
    }

    pub(crate) fn client(self) -> Addr {
        self.addr(1, 7)
    }

    pub(crate) fn ports_base(self) -> u32 {
        match self {
            Self::V4 => 1024,
            Self::V6 => 2048,
        }
    }
}

/// A packet from the client to the VIP until said otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) family: Family,
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    /// TCP with these flags; `None`: UDP.
    pub(crate) flags: Option<u8>,
    pub(crate) ttl: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) tags: Vec<u16>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn tcp(family: Family, dst_port: u16, flags: u8) -> Self {
        Self {
            family,
            src: family.client(),
            dst: family.vip(),
            src_port: CLIENT_PORT,
            dst_port,
            flags: Some(flags),
            ttl: TTL,
            options: Vec::new(),
            tags: Vec::new(),
            payload: b"payload".to_vec(),
        }
    }

    pub(crate) fn syn(family: Family, dst_port: u16) -> Self {
        Self::tcp(family, dst_port, tcp_flags::SYN)
    }

    pub(crate) fn ack(family: Family, dst_port: u16) -> Self {
        Self::tcp(family, dst_port, tcp_flags::ACK)
    }

    pub(crate) fn udp(family: Family, dst_port: u16) -> Self {
        Self {
            flags: None,
            ..Self::tcp(family, dst_port, 0)
        }
    }

    pub(crate) fn from(self, src: Addr, src_port: u16) -> Self {
        Self {
            src,
            src_port,
            ..self
        }
    }

    pub(crate) fn to(self, dst: Addr, dst_port: u16) -> Self {
        Self {
            dst,
            dst_port,
            ..self
        }
    }

    pub(crate) fn ip(&self) -> anyhow::Result<IpHeaders> {
        Ok(match self.family {
            Family::V4 => {
                let (src, dst) = (self.src.0, self.dst.0);
                let mut header = Ipv4Header::new(
                    0,
                    self.ttl,
                    IpNumber::TCP,
                    [src[12], src[13], src[14], src[15]],
                    [dst[12], dst[13], dst[14], dst[15]],
                )?;
                header.options = self.options.as_slice().try_into()?;
                IpHeaders::Ipv4(header, Ipv4Extensions::default())
            }
            Family::V6 => IpHeaders::Ipv6(
                Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: 0,
                    next_header: IpNumber::TCP,
                    hop_limit: self.ttl,
                    source: self.src.0,
                    destination: self.dst.0,
                },
                Ipv6Extensions::default(),
            ),
        })
    }

    /// As bytes, with right checksums.
    pub(crate) fn build(&self) -> anyhow::Result<Vec<u8>> {
        let link = PacketBuilder::ethernet2(CLIENT_MAC, OUR_MAC);
        let ip = self.ip()?;
        let step = match self.tags[..] {
            [] => link.ip(ip),
            [one] => link.single_vlan(VlanId::try_new(one)?).ip(ip),
            [outer, inner] => link
                .double_vlan(VlanId::try_new(outer)?, VlanId::try_new(inner)?)
                .ip(ip),
            _ => bail!("at most two tags"),
        };
        let mut bytes = Vec::new();
        match self.flags {
            Some(flags) => {
                let mut header = TcpHeader::new(self.src_port, self.dst_port, 1000, 64000);
                header.syn = flags & tcp_flags::SYN != 0;
                header.ack = flags & tcp_flags::ACK != 0;
                header.fin = flags & tcp_flags::FIN != 0;
                header.rst = flags & tcp_flags::RST != 0;
                step.tcp_header(header).write(&mut bytes, &self.payload)?;
            }
            None => step
                .udp(self.src_port, self.dst_port)
                .write(&mut bytes, &self.payload)?,
        }
        Ok(bytes)
    }
}

/// The frame with other link addresses.
pub(crate) fn with_macs(frame: &[u8], dst: [u8; 6], src: [u8; 6]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&dst);
    frame[6..12].copy_from_slice(&src);
    frame
}

/// What a packet says of itself, its checksums checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) src: Addr,
    pub(crate) dst: Addr,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) ttl: u8,
    pub(crate) dst_mac: [u8; 6],
    pub(crate) src_mac: [u8; 6],
}

/// Reads a TCP or UDP packet back with another parser and verifies all its checksums.
pub(crate) fn see(bytes: &[u8]) -> anyhow::Result<Seen> {
    let packet = PacketHeaders::from_ethernet_slice(bytes)?;
    let payload = packet.payload.slice();
    let (src, dst, ttl) = match packet.net.as_ref().context("no network header")? {
        NetHeaders::Ipv4(header, _) => {
            ensure!(
                header.header_checksum == header.calc_header_checksum(),
                "IPv4 checksum"
            );
            (
                Addr::v4(header.source),
                Addr::v4(header.destination),
                header.time_to_live,
            )
        }
        NetHeaders::Ipv6(header, _) => (
            Addr::v6(header.source),
            Addr::v6(header.destination),
            header.hop_limit,
        ),
        NetHeaders::Arp(_) => bail!("ARP"),
    };
    let (src_port, dst_port, stored, right) =
        match packet.transport.as_ref().context("no transport header")? {
            TransportHeader::Tcp(header) => (
                header.source_port,
                header.destination_port,
                header.checksum,
                match packet.net.as_ref() {
                    Some(NetHeaders::Ipv4(ip, _)) => header.calc_checksum_ipv4(ip, payload)?,
                    Some(NetHeaders::Ipv6(ip, _)) => header.calc_checksum_ipv6(ip, payload)?,
                    _ => bail!("no network header"),
                },
            ),
            TransportHeader::Udp(header) => (
                header.source_port,
                header.destination_port,
                header.checksum,
                match packet.net.as_ref() {
                    Some(NetHeaders::Ipv4(ip, _)) => header.calc_checksum_ipv4(ip, payload)?,
                    Some(NetHeaders::Ipv6(ip, _)) => header.calc_checksum_ipv6(ip, payload)?,
                    _ => bail!("no network header"),
                },
            ),
            other => bail!("not TCP or UDP: {other:?}"),
        };
    ensure!(
        stored == right,
        "transport checksum {stored:#x} is not {right:#x}"
    );
    Ok(Seen {
        src,
        dst,
        src_port,
        dst_port,
        ttl,
        dst_mac: bytes[..6].try_into()?,
        src_mac: bytes[6..12].try_into()?,
    })
}
