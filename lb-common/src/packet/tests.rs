//! The parser against packets written out by hand, and against noise.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

fn ethernet(ethertype: u16, tags: &[u16]) -> Vec<u8> {
    let mut frame = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
    for tag in tags {
        frame.extend(ETHERTYPE_VLAN.to_be_bytes());
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame
}

fn ipv4(options: usize, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = 20 + options * 4;
    let mut packet = std::vec![0u8; header];
    packet[0] = 0x40 | u8::try_from(header / 4).unwrap();
    packet[2..4].copy_from_slice(&u16::try_from(header + payload.len()).unwrap().to_be_bytes());
    packet[8] = 64;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&[198, 51, 100, 7]);
    packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = std::vec![0u8; 40];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet[6] = next;
    packet[7] = 64;
    packet[8..24].copy_from_slice(&[0x20; 16]);
    packet[24..40].copy_from_slice(&[0x21; 16]);
    packet.extend(payload);
    packet
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut segment = std::vec![0u8; 20];
    segment[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
    segment[12] = 0x50;
    segment[13] = flags;
    segment
}

type Parsed = (Link, Ends, Network, Transport);

fn parse(frame: &[u8]) -> Result<Parsed, Reason> {
    let link = Link::parse(frame)?;
    let ends = Ends::parse(frame, link.l3, link.is_v6)?;
    let network = Network::parse(frame, link.l3, link.is_v6)?;
    Ok((link, ends, network, Transport::parse(frame, &network)?))
}

#[test]
fn ipv4_options_move_the_transport_header() {
    for options in 0..=10 {
        let mut frame = ethernet(ETHERTYPE_IPV4, &[]);
        frame.extend(ipv4(options, protocol::TCP, &tcp(tcp_flags::SYN)));
        let (_, ends, network, transport) = parse(&frame).unwrap();
        assert_eq!(ends.dst, Addr::v4([192, 0, 2, 1]));
        assert_eq!(network.l4, 34 + options * 4);
        assert_eq!(transport.dst_port, Be16::new(80));
        assert!(transport.is_syn());
    }
}

#[test]
fn tags_are_looked_through_and_told() {
    for (tags, has_vlan) in [
        (&[][..], false),
        (&[0], false),
        (&[0, 5], true),
        (&[7], true),
    ] {
        let mut frame = ethernet(ETHERTYPE_IPV4, tags);
        frame.extend(ipv4(0, protocol::TCP, &tcp(0)));
        let (link, ..) = parse(&frame).unwrap();
        assert_eq!((link.l3, link.has_vlan), (14 + 4 * tags.len(), has_vlan));
    }
}

#[test]
fn extension_headers_are_walked_to_the_payload() {
    // Hop-by-hop of 8 bytes, destination options of 16, atomic fragment, then TCP.
    let mut payload = std::vec![60, 0, 0, 0, 0, 0, 0, 0];
    payload.extend([44, 1]);
    payload.extend([0; 14]);
    payload.extend([6, 0, 0, 0, 0, 0, 0, 9]);
    payload.extend(tcp(tcp_flags::ACK));
    let mut frame = ethernet(ETHERTYPE_IPV6, &[]);
    frame.extend(ipv6(0, &payload));
    let (_, _, network, transport) = parse(&frame).unwrap();
    assert_eq!(network.l4, 14 + 40 + 32);
    assert_eq!(network.l4_len, 20);
    assert_eq!(transport.src_port, Be16::new(12345));
}

#[test]
fn what_contradicts_itself_has_its_reason() {
    let good = |edit: fn(&mut Vec<u8>)| {
        let mut frame = ethernet(ETHERTYPE_IPV4, &[]);
        frame.extend(ipv4(0, protocol::TCP, &tcp(0)));
        edit(&mut frame);
        parse(&frame).map(|_| ())
    };
    assert_eq!(good(|_| ()), Ok(()));
    assert_eq!(good(|f| f[14] = 0x65), Err(Reason::Malformed));
    assert_eq!(good(|f| f[14] = 0x44), Err(Reason::Malformed));
    assert_eq!(good(|f| f[17] = 10), Err(Reason::Malformed));
    assert_eq!(good(|f| f[17] = 41), Err(Reason::Truncated));
    assert_eq!(good(|f| f[20] = 0x20), Err(Reason::Fragment));
    assert_eq!(good(|f| f[21] = 1), Err(Reason::Fragment));
    assert_eq!(good(|f| f[20] = 0x40), Ok(()), "do not fragment");
    assert_eq!(good(|f| f[22] = 0), Err(Reason::Ttl));
    assert_eq!(good(|f| f[23] = 47), Err(Reason::Protocol));
    assert_eq!(good(|f| f[46] = 0x40), Err(Reason::Malformed));
    assert_eq!(good(|f| f[46] = 0x60), Err(Reason::Malformed));
    assert_eq!(good(|f| f[12] = 0x99), Err(Reason::NotIp));
    assert_eq!(good(|f| f.truncate(33)), Err(Reason::TooShort));
}

#[test]
fn chains_too_long_and_routing_headers_are_refused() {
    let mut payload = Vec::new();
    for _ in 0..7 {
        payload.extend([60, 0, 0, 0, 0, 0, 0, 0]);
    }
    let mut frame = ethernet(ETHERTYPE_IPV6, &[]);
    frame.extend(ipv6(60, &payload));
    assert_eq!(parse(&frame), Err(Reason::ExtensionHeaders));

    let mut frame = ethernet(ETHERTYPE_IPV6, &[]);
    frame.extend(ipv6(43, &[6, 0, 0, 1, 0, 0, 0, 0]));
    assert_eq!(parse(&frame), Err(Reason::RoutingHeader));
}

#[test]
fn mapped_addresses_on_ipv6_are_not_ipv4() {
    let mut frame = ethernet(ETHERTYPE_IPV6, &[]);
    frame.extend(ipv6(6, &tcp(0)));
    frame[38..54].copy_from_slice(&Addr::v4([192, 0, 2, 1]).0);
    assert_eq!(parse(&frame), Err(Reason::NotOurs));
    assert!(is_martian(&Addr::v4([192, 0, 2, 9]), true));
}

#[test]
fn martians_and_link_locals() {
    for (addr, martian, unroutable) in [
        ([127, 0, 0, 1], true, true),
        ([0, 1, 2, 3], true, true),
        ([224, 0, 0, 1], true, true),
        ([255, 255, 255, 255], true, true),
        ([169, 254, 1, 1], false, true),
        ([198, 51, 100, 1], false, false),
    ] {
        let addr = Addr::v4(addr);
        assert_eq!(is_martian(&addr, false), martian, "{addr:?}");
        assert_eq!(is_unroutable(&addr, false), unroutable, "{addr:?}");
    }
    let mut one = [0; 16];
    one[15] = 1;
    assert!(is_martian(&Addr::v6(one), true));
    assert!(is_martian(&Addr::v6([0; 16]), true));
    let mut link_local = [0x11; 16];
    link_local[..2].copy_from_slice(&[0xfe, 0x80]);
    assert!(!is_martian(&Addr::v6(link_local), true));
    assert!(is_unroutable(&Addr::v6(link_local), true));
}

/// Fails the test when the parser asks for a byte it did not ask a run for.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a [u8]);

impl Bytes for Strict<'_> {
    type Run = Self;
    fn len(self) -> usize {
        self.0.len()
    }
    fn run<const LEN: usize>(self, offset: usize) -> Option<Self> {
        self.0.get(offset..offset + LEN).map(Strict)
    }
}

impl Run for Strict<'_> {
    fn u8(self, at: usize) -> u8 {
        self.0[at]
    }
    fn u16(self, at: usize) -> u16 {
        u16::from_ne_bytes(self.0[at..at + 2].try_into().unwrap())
    }
    fn u32(self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }
    fn u64(self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }
}

fn parse_strict(frame: &[u8]) -> Result<(), Reason> {
    let bytes = Strict(frame);
    let link = Link::parse(bytes)?;
    Ends::parse(bytes, link.l3, link.is_v6)?;
    let network = Network::parse(bytes, link.l3, link.is_v6)?;
    assert!(network.l4 + network.l4_len <= frame.len());
    assert_eq!(network.l4 + network.l4_len, link.l3 + network.ip_len);
    let _inner = Inner::parse(bytes, network.l4, link.is_v6);
    Transport::parse(bytes, &network).map(|_| ())
}

proptest! {
    #[test]
    fn never_reads_out_of_bounds(mut frame in proptest::collection::vec(any::<u8>(), 0..160), kind in 0..4u8) {
        if let Some(ethertype) = frame.get_mut(12..14) {
            match kind {
                0 => ethertype.copy_from_slice(&[0x08, 0x00]),
                1 => ethertype.copy_from_slice(&[0x86, 0xdd]),
                2 => ethertype.copy_from_slice(&[0x81, 0x00]),
                _ => (),
            }
        }
        if let (Some(version), 0..=1) = (frame.get_mut(14), kind) {
            *version = if kind == 0 { 0x40 | (*version & 0x0f) } else { 0x60 };
        }
        let _verdict = parse_strict(&frame);
    }

    #[test]
    fn every_cut_of_a_good_packet_is_handled(v6 in any::<bool>(), cut in 0..120usize) {
        let mut frame = ethernet(if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 }, &[]);
        frame.extend(if v6 { ipv6(6, &tcp(2)) } else { ipv4(3, 6, &tcp(2)) });
        let whole = frame.len();
        frame.truncate(cut);
        prop_assert_eq!(parse_strict(&frame).is_ok(), cut >= whole);
    }
}
