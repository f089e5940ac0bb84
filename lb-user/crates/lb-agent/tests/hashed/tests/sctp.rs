//! SCTP over veths. Raw sockets stand for both ends, since few kernels have the protocol built in; so the
//! chunks are ours, and addresses, ports and checksums are what the data path made of them.

use std::net::UdpSocket;

use lb_common::{crc32c, packet::sctp::chunk};

use super::*;

const CLIENT_PORT: u16 = 41_000;
const TAG: u32 = 0x1234_5678;
const COOKIE_ECHO: u8 = 10;
const DATA: u8 = 0;

/// A raw socket in the caller's namespace. The standard library's datagram socket reads and writes any
/// descriptor.
fn raw(is_v6: bool) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::from(lb_sys::raw::open_sctp(is_v6)?);
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(LIMIT))?;
    Ok(socket)
}

/// A packet with one chunk and a right checksum.
fn packet(from: u16, to: u16, tag: u32, kind: u8, body: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend([kind, 0]);
    bytes.extend(u16::try_from(4 + body)?.to_be_bytes());
    bytes.extend((0..=u8::MAX).cycle().take(body.next_multiple_of(4)));
    let sum = crc32c::full(&bytes);
    bytes[8..12].copy_from_slice(&sum);
    Ok(bytes)
}

/// Ports, tag and chunk of the next packet, whose checksum is right; and who sent it.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    from: IpAddr,
    ports: (u16, u16),
    tag: u32,
    kind: u8,
    length: usize,
}

fn receive(socket: &UdpSocket) -> anyhow::Result<Got> {
    let mut bytes = [0; 2048];
    let (length, from) = socket
        .recv_from(&mut bytes)
        .with_context(|| format!("no packet came to {:?}", socket.local_addr()))?;
    // IPv4 comes with its header.
    let start = if from.is_ipv4() { 20 } else { 0 };
    let packet = &mut bytes[start..length];
    let stored: [u8; 4] = packet[8..12].try_into()?;
    packet[8..12].fill(0);
    ensure!(stored == crc32c::full(packet), "CRC32c");
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    Ok(Got {
        from: from.ip(),
        ports: (word(0), word(2)),
        tag: u32::from_be_bytes(packet[4..8].try_into()?),
        kind: packet[12],
        length: packet.len(),
    })
}

/// Sends a chunk from the client and returns what arrives at a member.
fn there(
    client: &UdpSocket,
    member: &UdpSocket,
    vip: IpAddr,
    (kind, body): (u8, usize),
) -> anyhow::Result<Got> {
    let tag = if kind == chunk::INIT { 0 } else { TAG };
    let bytes = packet(CLIENT_PORT, PORT, tag, kind, body)?;
    client.send_to(&bytes, SocketAddr::new(vip, 0))?;
    let got = receive(member)?;
    ensure!((got.tag, got.kind) == (tag, kind), "{got:?}");
    ensure!(got.length == bytes.len(), "{got:?}");
    Ok(got)
}

#[test]
fn an_association_is_translated_both_ways() -> anyhow::Result<()> {
    if !require_root("an_association_is_translated_both_ways")? {
        return Ok(());
    }
    let mut world = World::new()?;
    for family in families()? {
        let mut spec = spec(&family)?;
        spec.listeners[0].protocol = ListenerProtocol::Sctp;
        spec.pools[0].protocol = PoolProtocol::Sctp;
        spec.pools[0].members.truncate(1);
        world.carry(&spec)?;
        let is_v6 = family.vip.is_ipv6();
        let client = world.topology.in_client(|| raw(is_v6))??;
        let member = lb_sys::netns::run_in(world.topology.member(), || raw(is_v6))??;

        // What nobody has heard of.
        let stray = packet(CLIENT_PORT, PORT, TAG, DATA, 40)?;
        client.send_to(&stray, SocketAddr::new(family.vip, 0))?;
        let told = receive(&client)?;
        let abort = Got {
            from: family.vip,
            ports: (PORT, CLIENT_PORT),
            tag: TAG,
            kind: chunk::ABORT,
            length: 16,
        };
        ensure!(told == abort, "{told:?}");

        let init = there(&client, &member, family.vip, (chunk::INIT, 16))?;
        ensure!(
            (init.from, init.ports.1) == (family.snat, PORT + 1),
            "{init:?}"
        );
        for (kind, body, answer) in [
            (COOKIE_ECHO, 100, chunk::COOKIE_ACK),
            (DATA, 1200, DATA),
            (DATA, 13, 3),
            (chunk::SHUTDOWN, 4, chunk::SHUTDOWN_ACK),
        ] {
            let reply = if kind == COOKIE_ECHO {
                chunk::INIT_ACK
            } else {
                DATA
            };
            for kind in [reply, answer] {
                let bytes = packet(PORT + 1, init.ports.0, TAG, kind, 20)?;
                // The namespace has the other member's address, too.
                lb_sys::raw::send_from(&member, &bytes, family.servers[0], init.from)?;
                let back = receive(&client)?;
                let expected = Got {
                    from: family.vip,
                    ports: (PORT, CLIENT_PORT),
                    tag: TAG,
                    kind,
                    length: bytes.len(),
                };
                ensure!(back == expected, "{back:?}");
            }
            let next = there(&client, &member, family.vip, (kind, body))?;
            ensure!(next.ports == init.ports, "{next:?}");
        }
        let index = world.allocations.listener(spec.id, spec.listeners[0].id);
        let index = index.context("an index")?;
        let view = world.datapath()?.view();
        let counters = view.listener_counters(index)?;
        ensure!(counters.flows == 1, "{counters:?}");
        ensure!(
            live::active(view.flows_of_listener(index)) == 0,
            "it was shut down"
        );
    }
    ensure!(world.count(Reason::AbortSent)? == 2);
    Ok(())
}
