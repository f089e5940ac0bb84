//! The packets of the cases: as small as a link allows, sums right.

use lb_common::{
    checksum::{full, full_transport},
    maps::Addr,
};

use super::{case::Case, world};

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0];
const CLIENT_MAC: [u8; 6] = [2, 0xcc, 0, 0, 0, 1];
/// Shortest frame of a link without its checksum.
const SHORTEST: usize = 60;
const CLIENT_PORT: u16 = 1024;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

fn client(is_v6: bool) -> Addr {
    if is_v6 {
        Addr::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    } else {
        Addr::v4([10, 1, 0, 0])
    }
}

fn stranger(is_v6: bool) -> Addr {
    if is_v6 {
        Addr::v6([0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9])
    } else {
        Addr::v4([10, 9, 9, 9])
    }
}

/// What a packet is made of.
struct Tuple {
    src: Addr,
    dst: Addr,
    ports: [u16; 2],
    protocol: u8,
    tcp_flags: u8,
}

/// The packet that the row measures.
pub fn of(case: Case) -> Vec<u8> {
    let is_syn = matches!(case, Case::Syn4 | Case::New);
    from_client(case, if is_syn { SYN } else { ACK })
}

/// The one that its flow begins with.
pub fn first_of(case: Case) -> Vec<u8> {
    from_client(case, SYN)
}

fn from_client(case: Case, tcp_flags: u8) -> Vec<u8> {
    let is_v6 = case.is_v6();
    frame(&Tuple {
        src: client(is_v6),
        dst: if case == Case::NotVip {
            stranger(is_v6)
        } else {
            world::vip(is_v6)
        },
        ports: [CLIENT_PORT, world::PORT],
        protocol: case.protocol(),
        tcp_flags,
    })
}

/// What a member answers to an IPv4 packet as the member got it.
pub fn reply(received: &[u8]) -> Option<Vec<u8>> {
    let addr = |at: usize| -> Option<Addr> {
        let bytes = received.get(at..at + 4)?.try_into().ok()?;
        Some(Addr::v4(bytes))
    };
    let port = |at: usize| -> Option<u16> {
        let bytes = received.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    Some(frame(&Tuple {
        src: addr(30)?,
        dst: addr(26)?,
        ports: [port(36)?, port(34)?],
        protocol: *received.get(23)?,
        tcp_flags: ACK,
    }))
}

fn frame(tuple: &Tuple) -> Vec<u8> {
    let is_v6 = !tuple.src.is_v4();
    let segment = segment(tuple);
    let mut frame = Vec::with_capacity(SHORTEST);
    frame.extend(OUR_MAC);
    frame.extend(CLIENT_MAC);
    if is_v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(length(segment.len()));
        frame.extend([tuple.protocol, 64]);
        frame.extend(tuple.src.0);
        frame.extend(tuple.dst.0);
    } else {
        let [total_high, total_low] = length(20 + segment.len());
        let mut header = vec![0x45, 0, total_high, total_low, 0, 1, 0x40, 0];
        header.extend([64, tuple.protocol, 0, 0]);
        header.extend(tuple.src.0.iter().skip(12));
        header.extend(tuple.dst.0.iter().skip(12));
        let sum = full(&header);
        put(&mut header, 10, sum);
        frame.extend([8, 0]);
        frame.extend(header);
    }
    frame.extend(segment);
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

fn segment(tuple: &Tuple) -> Vec<u8> {
    let mut segment: Vec<u8> = tuple
        .ports
        .iter()
        .flat_map(|port| port.to_be_bytes())
        .collect();
    let sum_at = if tuple.protocol == 17 {
        segment.extend([0, 26, 0, 0]);
        segment.resize(26, 0x55);
        6
    } else {
        segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, tuple.tcp_flags]);
        segment.extend([0x20, 0, 0, 0, 0, 0]);
        16
    };
    let sum = full_transport(&tuple.src, &tuple.dst, tuple.protocol, &segment);
    put(&mut segment, sum_at, sum);
    segment
}

fn put(bytes: &mut [u8], at: usize, stored: u16) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&stored.to_ne_bytes());
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or_default().to_be_bytes()
}
