//! SCTP (RFC 9260): ports, verification tag, and what the chunks of a packet say of their association, in
//! the words of TCP's flags, so that one set of states serves both.
//!
//! | chunk | as if TCP had |
//! |---|---|
//! | INIT (alone, tag 0) | SYN |
//! | INIT ACK | SYN, ACK |
//! | SHUTDOWN, SHUTDOWN ACK | FIN, ACK |
//! | ABORT, SHUTDOWN COMPLETE | RST |
//! | all others | ACK |
//!
//! Left out on purpose: addresses listed in INIT and INIT ACK (multi-homing; they go as they are), checking
//! the tag (a flow's entry has no room for it; TCP's sequence numbers are not checked either), and the
//! checksum on the way in.

use super::{Bytes, Network, Run, Transport, tcp_flags};
use crate::reason::Reason;

/// Bytes of the common header: ports, tag, checksum.
pub const HEADER_LEN: usize = 12;
/// Most chunks of a packet that are looked at. ABORT may stand behind others, but nobody puts it behind many.
const CHUNKS_MAX: usize = 4;
/// Beyond this no chunk is looked for; no frame that XDP sees is longer.
const OFFSET_MAX: usize = 0x3fff;

/// Types of chunks.
pub mod chunk {
    /// INIT.
    pub const INIT: u8 = 1;
    /// INIT ACK.
    pub const INIT_ACK: u8 = 2;
    /// ABORT.
    pub const ABORT: u8 = 6;
    /// SHUTDOWN.
    pub const SHUTDOWN: u8 = 7;
    /// SHUTDOWN ACK.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// COOKIE ACK.
    pub const COOKIE_ACK: u8 = 11;
    /// SHUTDOWN COMPLETE.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// What a chunk is to its association.
#[inline(always)]
const fn flags_of(kind: u8) -> u8 {
    match kind {
        chunk::INIT => tcp_flags::SYN,
        chunk::INIT_ACK => tcp_flags::SYN | tcp_flags::ACK,
        chunk::SHUTDOWN | chunk::SHUTDOWN_ACK => tcp_flags::FIN | tcp_flags::ACK,
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE => tcp_flags::RST,
        _ => tcp_flags::ACK,
    }
}

/// Checks and reads an SCTP packet's header and chunks.
///
/// # Errors
/// [`Reason::Truncated`]; [`Reason::Malformed`] when its first chunk is none, or an INIT has company or a
/// tag (RFC 9260, 8.5.1), or anything else has none.
#[inline(always)]
pub fn parse<B: Bytes>(bytes: B, network: &Network) -> Result<Transport, Reason> {
    if network.l4_len < HEADER_LEN + 4 {
        return Err(Reason::Truncated);
    }
    let run = bytes
        .run::<{ HEADER_LEN + 4 }>(network.l4)
        .ok_or(Reason::Truncated)?;
    let first = run.u8(HEADER_LEN);
    let length = run.be16(HEADER_LEN + 2) as usize;
    let left = network.l4_len - HEADER_LEN;
    if length < 4 || length > left {
        return Err(Reason::Malformed);
    }
    let is_init = first == chunk::INIT;
    // What follows the padding to a multiple of four is another chunk.
    let has_more = left > length + 3;
    if is_init != (run.u32(4) == 0) || (is_init && has_more) {
        return Err(Reason::Malformed);
    }
    let mut flags = flags_of(first);
    if has_more {
        flags |= flags_of_rest(bytes, network.l4 + HEADER_LEN, length, left);
    }
    Ok(Transport {
        src_port: run.port(0),
        dst_port: run.port(2),
        flags,
        bytes: network.ip_len,
    })
}

/// What the chunks behind the first say, which is at `at` and has `length` of `left` bytes. What is broken
/// there is the receiver's to judge.
#[inline(always)]
fn flags_of_rest<B: Bytes>(bytes: B, at: usize, length: usize, left: usize) -> u8 {
    let (mut at, mut length, mut left) = (at, length, left);
    let mut flags = 0;
    for _ in 1..CHUNKS_MAX {
        let padded = (length + 3) & !3;
        if padded + 4 > left {
            break;
        }
        at += padded;
        left -= padded;
        if at > OFFSET_MAX {
            break;
        }
        let Some(run) = bytes.run::<4>(at) else {
            break;
        };
        length = run.be16(2) as usize;
        if length < 4 || length > left {
            break;
        }
        flags |= flags_of(run.u8(0));
    }
    flags
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::maps::Be16;

    const TAG: u32 = 0x0102_0304;

    fn packet(tag: u32, chunks: &[(u8, usize)]) -> Vec<u8> {
        let mut packet = [40_000_u16.to_be_bytes(), 80_u16.to_be_bytes()].concat();
        packet.extend(tag.to_be_bytes());
        packet.extend([0; 4]);
        for (kind, body) in chunks {
            packet.extend([*kind, 0]);
            packet.extend(u16::try_from(4 + body).unwrap().to_be_bytes());
            packet.extend(core::iter::repeat_n(0, body.next_multiple_of(4)));
        }
        packet
    }

    fn read(packet: &[u8]) -> Result<Transport, Reason> {
        let network = Network {
            protocol: super::super::protocol::SCTP,
            ttl: 64,
            l4: 0,
            l4_len: packet.len(),
            ip_len: packet.len() + 20,
        };
        parse(packet, &network)
    }

    #[test]
    fn chunks_are_read_as_flags() {
        const DATA: u8 = 0;
        const SACK: u8 = 3;
        const COOKIE_ECHO: u8 = 10;
        use tcp_flags::{ACK, FIN, RST, SYN};
        for (tag, chunks, flags) in [
            (0, &[(chunk::INIT, 16)][..], SYN),
            (TAG, &[(chunk::INIT_ACK, 40)], SYN | ACK),
            (TAG, &[(COOKIE_ECHO, 9), (DATA, 13)], ACK),
            (TAG, &[(chunk::COOKIE_ACK, 0), (SACK, 12)], ACK),
            (TAG, &[(chunk::SHUTDOWN, 4)], FIN | ACK),
            (TAG, &[(SACK, 12), (chunk::SHUTDOWN, 4)], FIN | ACK),
            (TAG, &[(chunk::SHUTDOWN_ACK, 0)], FIN | ACK),
            (TAG, &[(chunk::SHUTDOWN_COMPLETE, 0)], RST),
            (TAG, &[(chunk::ABORT, 0)], RST),
            (TAG, &[(SACK, 13), (chunk::ABORT, 0)], ACK | RST),
            (TAG, &[(DATA, 1), (DATA, 2), (DATA, 3), (DATA, 5)], ACK),
        ] {
            let transport = read(&packet(tag, chunks)).unwrap();
            assert_eq!(transport.flags, flags, "{chunks:?}");
            let ports = (transport.src_port, transport.dst_port);
            assert_eq!(ports, (Be16::new(40_000), Be16::new(80)));
        }
        assert!(read(&packet(0, &[(chunk::INIT, 16)])).unwrap().is_syn());
    }

    #[test]
    fn what_no_honest_peer_sends_is_malformed() {
        for bad in [
            packet(TAG, &[(chunk::INIT, 16)]),
            packet(0, &[(chunk::INIT, 16), (0, 20)]),
            packet(0, &[(0, 20)]),
            packet(0, &[(chunk::ABORT, 0)]),
        ] {
            assert_eq!(read(&bad), Err(Reason::Malformed));
        }
        for length in [0_u16, 3, 9] {
            let mut lying = packet(TAG, &[(0, 4)]);
            lying[14..16].copy_from_slice(&length.to_be_bytes());
            assert_eq!(read(&lying), Err(Reason::Malformed), "{length}");
        }
        assert_eq!(read(&packet(TAG, &[])), Err(Reason::Truncated));
    }
}
