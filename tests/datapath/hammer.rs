//! A few blocks of the flow table from all CPUs at once, beside the sweep: no packet reaches another
//! flow's member, and what was counted is all gone when the flows are.

use std::{thread, time::Duration};

use anyhow::{Context as _, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use lb_common::{
    hash,
    maps::{
        Addr, Be16, ListenerRecord, algorithm,
        flow::{self, BLOCKS4_MIN, BLOCKS6_MIN, Block4, Block6},
        listener_kind,
        live::{LbLive, ListenerLive},
        names,
    },
    packet::tcp_flags,
};
use tokio::time::Instant;

use super::{
    flows,
    frames::{Family, Frame},
    nat::{PORT, answer, back, forward, listener, members},
    world::{FLOW_BLOCKS, LB, SEED, World},
};

const THREADS: u64 = 4;
/// Flows that are established and stay.
const KEPT: usize = 4;
/// Flows that come and go: far more than a block has slots.
const OTHERS: usize = 60;
/// Of them so many at a time; the others are idle and swept.
const WINDOW: usize = 12;
const HAMMERED: Duration = Duration::from_secs(5);

/// Block in which a flow is sought first.
fn block(family: Family, client: &Addr, port: u16) -> u32 {
    let is_v6 = family == Family::V6;
    let run = hash::flow_run(SEED, client, Be16::new(port), listener(family), is_v6);
    let (each, blocks) = if is_v6 {
        (size_of::<Block6>(), BLOCKS6_MIN)
    } else {
        (size_of::<Block4>(), BLOCKS4_MIN)
    };
    let page = u32::try_from(run & 0xffff_ffff).unwrap() & (flow::pages(FLOW_BLOCKS, each) - 1);
    let group = u32::from(port >> 2) + u32::try_from(run >> 59).unwrap();
    page * blocks + (group & (blocks - 1))
}

/// Clients and ports that share their first block.
fn crowd(family: Family) -> Vec<(Addr, u16)> {
    let all = (1..=250_u8).flat_map(|host| {
        let client = family.addr(1, host);
        (40_000..40_060_u16).map(move |port| (client, port))
    });
    let wanted = block(family, &family.addr(1, 1), 40_000);
    all.filter(|(client, port)| block(family, client, *port) == wanted)
        .take(KEPT + OTHERS)
        .collect()
}

/// Bytes of a packet's outer addresses and what follows them: different for every member.
fn way(family: Family, bytes: &[u8]) -> Option<&[u8]> {
    match family {
        Family::V4 => bytes.get(26..36),
        Family::V6 => bytes.get(22..56),
    }
}

fn run(xdp: &Xdp, frame: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = vec![0; frame.len() + 256];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut bytes);
    let size = xdp.test_run(options)?.data_size_out;
    bytes.truncate(usize::try_from(size)?);
    Ok(bytes)
}

/// Packets of a flow: SYN, ACK, FIN, RST.
fn packets(family: Family, (client, port): (Addr, u16)) -> anyhow::Result<[Vec<u8>; 4]> {
    let frame = |flags| {
        let frame = Frame::tcp(family, PORT, flags).from(client, port);
        frame.build()
    };
    Ok([
        frame(tcp_flags::SYN)?,
        frame(tcp_flags::ACK)?,
        frame(tcp_flags::FIN | tcp_flags::ACK)?,
        frame(tcp_flags::RST)?,
    ])
}

/// What one thread sends.
fn hammer(
    xdp: &Xdp,
    family: Family,
    kept: &[([Vec<u8>; 4], Vec<u8>)],
    others: &[[Vec<u8>; 4]],
    seed: u64,
) -> anyhow::Result<u64> {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).unwrap_or_default() % below
    };
    let begin = Instant::now();
    let mut sent = 0;
    while begin.elapsed() < HAMMERED {
        sent += 1;
        if next(4) == 0 {
            let (packets, expected) = &kept[next(kept.len())];
            let bytes = run(xdp, &packets[1])?;
            ensure!(
                way(family, &bytes) == Some(expected),
                "after {sent} packets one of an established flow went elsewhere"
            );
            continue;
        }
        let first = usize::try_from(begin.elapsed().as_millis() / 700)? * WINDOW;
        let flow = &others[(first + next(WINDOW)) % others.len()];
        // Half of them ACK.
        run(xdp, &flow[[0, 1, 1, 1, 2, 3][next(6)]])?;
    }
    Ok(sent)
}

fn is_nothing_counted(world: &World, family: Family) -> anyhow::Result<bool> {
    let of = listener(family).to_ne_bytes();
    let listener: ListenerLive = world.get(names::LISTENER_LIVE, &of)?.context("counts")?;
    let lb: LbLive = world
        .get(names::LB_LIVE, &LB.to_ne_bytes())?
        .context("counts")?;
    let mut counts = vec![listener.flows, lb.flows, lb.ports];
    for (member, _) in members(family) {
        let of = u32::from(member).to_ne_bytes();
        counts.push(world.get(names::MEMBER_LIVE, &of)?.context("counts")?);
    }
    Ok(counts.iter().all(|count| *count == 0))
}

fn everything_at_once(test: &str, kind: u32, family: Family) -> anyhow::Result<()> {
    let change = |record: &mut ListenerRecord| {
        record.kind = kind;
        // With a hash a wrong slot could name the right member.
        record.algorithm = algorithm::ROUND_ROBIN;
        record.idle_s = 2;
    };
    let Some(world) = flows::world(test, change)? else {
        return Ok(());
    };
    let crowd = crowd(family);
    ensure!(crowd.len() == KEPT + OTHERS, "the table is too large");
    let xdp: &Xdp = world
        .ebpf()
        .program(names::PROGRAM_XDP)
        .context("no program")?
        .try_into()?;
    let (first, rest) = crowd.split_at(KEPT);
    if kind == listener_kind::NAT {
        for (client, port) in first {
            let syn = Frame::syn(family, PORT).from(*client, *port);
            let seen = forward(&world, &syn)?.unwrap();
            let reply = answer(&seen, &syn, tcp_flags::SYN | tcp_flags::ACK);
            back(&world, &reply)?.unwrap();
            // Back in the clients' segment.
            forward(&world, &Frame::ack(family, PORT).from(*client, *port))?.unwrap();
        }
    }
    let mut kept = Vec::new();
    for flow in first {
        let packets = packets(family, *flow)?;
        if kind != listener_kind::NAT {
            run(xdp, &packets[0])?;
        }
        run(xdp, &packets[1])?;
        let bytes = run(xdp, &packets[1])?;
        let way = way(family, &bytes).context("a short packet")?.to_vec();
        kept.push((packets, way));
    }
    let others: Vec<_> = rest
        .iter()
        .map(|flow| packets(family, *flow))
        .collect::<anyhow::Result<_>>()?;
    world.start_sweep()?;
    let sent = thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|seed| {
                let (kept, others) = (&kept, &others);
                scope.spawn(move || hammer(xdp, family, kept, others, seed))
            })
            .collect();
        let mut sent = 0;
        for thread in threads {
            sent += thread.join().ok().context("a thread panicked")??;
        }
        anyhow::Ok(sent)
    })?;
    println!("{sent} packets");
    let begin = Instant::now();
    loop {
        // Two CPUs that open one flow at once make two entries of it, and a packet finds but one: the
        // other is found when the first has had its time.
        for [.., reset] in kept.iter().map(|(packets, _)| packets).chain(&others) {
            run(xdp, reset)?;
        }
        let left = world.flows()?;
        if left.is_empty() {
            break;
        }
        ensure!(
            begin.elapsed() < Duration::from_secs(60),
            "flows stay: {left:?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(world.ports_in_use()?, 0, "a port stays without a flow");
    assert!(is_nothing_counted(&world, family)?, "counts have drifted");
    Ok(())
}

#[test]
fn one_bucket_from_all_cpus_under_dsr() -> anyhow::Result<()> {
    everything_at_once("hammer dsr", listener_kind::DSR_IPIP, Family::V4)
}

#[test]
fn one_bucket_from_all_cpus_under_nat() -> anyhow::Result<()> {
    everything_at_once("hammer nat", listener_kind::NAT, Family::V6)
}
