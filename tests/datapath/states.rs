//! How a flow lives: half-open, established, half-closed, over; and what keeps it.

use anyhow::Context as _;
use lb_common::{
    maps::{
        ListenerRecord,
        flow::{Block4, Reverse, Word, state, tick},
        listener_kind, names, segment_word,
    },
    packet::tcp_flags,
    reason::Reason,
};
use lb_sys::clock;

use super::{
    flows,
    frames::{Family, Frame, Seen},
    nat::{PORT, answer, back, forward, listener, members, world},
    world::{INGRESS, REVERSE_ENTRIES, SEGMENT, World},
};

const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;
const FIN_ACK: u8 = tcp_flags::FIN | tcp_flags::ACK;
const FAMILY: Family = Family::V4;

fn to_vip(port: u16, flags: u8) -> Frame {
    Frame::tcp(FAMILY, PORT, flags).from(FAMILY.client(), port)
}

/// The only flow of IPv4 clients, as it is or after a change.
fn flow(world: &World, change: impl Fn(Word) -> Word) -> anyhow::Result<Word> {
    let mut found = None;
    for block in 0..super::world::FLOW_BLOCKS {
        let mut value: Block4 = world
            .get(names::FLOWS4, &block.to_ne_bytes())?
            .context("a block")?;
        for slot in &mut value.slots {
            let word = Word(slot.word);
            if word.is_live() {
                slot.word = change(word).0;
                found = Some(Word(slot.word));
            }
        }
        if found.is_some() {
            world.set(names::FLOWS4, block, &value)?;
            break;
        }
    }
    found.context("no flow")
}

/// Makes the flow look as if its last packet were so old.
fn age(world: &World, ticks: u32) -> anyhow::Result<()> {
    let then = tick(clock::monotonic_ns()).wrapping_sub(ticks);
    flow(world, |word| word.with_seen(then))?;
    // The member's side has a stamp of its own, by which it asks once a tick.
    for entry in 0..REVERSE_ENTRIES {
        let value: Option<Reverse> = world.get(names::REVERSE, &entry.to_ne_bytes())?;
        let mut value = value.context("an entry")?;
        if Word(value.word).is_live() {
            value.word = Word(value.word).with_seen(then).0;
            world.set(names::REVERSE, entry, &value)?;
        }
    }
    Ok(())
}

fn age_of(world: &World) -> anyhow::Result<u32> {
    let word = flow(world, |word| word)?;
    Ok(word.age(tick(clock::monotonic_ns())))
}

fn state_of(world: &World) -> anyhow::Result<u8> {
    flow(world, |word| word).map(Word::state)
}

fn open(world: &World, port: u16) -> anyhow::Result<Seen> {
    let syn = to_vip(port, tcp_flags::SYN);
    let seen = forward(world, &syn)?.map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    back(world, &answer(&seen, &syn, SYN_ACK))?.map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    Ok(seen)
}

#[test]
fn an_answer_alone_establishes_nothing() -> anyhow::Result<()> {
    let Some(world) = world("half open", 0)? else {
        return Ok(());
    };
    let seen = open(&world, 1)?;
    assert_eq!(state_of(&world)?, state::ANSWERED);
    // Neither does the same again, from either side.
    let syn = to_vip(1, tcp_flags::SYN);
    assert_eq!(forward(&world, &syn)?.unwrap(), seen);
    back(&world, &answer(&seen, &syn, SYN_ACK))?.unwrap();
    assert_eq!(state_of(&world)?, state::ANSWERED);
    age(&world, 20)?;
    forward(&world, &syn)?.unwrap();
    back(&world, &answer(&seen, &syn, SYN_ACK))?.unwrap();
    assert!(age_of(&world)? >= 20, "more of the same keeps it no longer");
    // What it is kept for.
    forward(&world, &to_vip(1, tcp_flags::ACK))?.unwrap();
    assert_eq!(state_of(&world)?, state::ESTABLISHED);
    Ok(())
}

#[test]
fn half_open_flows_go_after_thirty_seconds() -> anyhow::Result<()> {
    let Some(world) = world("half open time", 0)? else {
        return Ok(());
    };
    open(&world, 1)?;
    age(&world, 40)?;
    world.set(names::SEGMENTS, INGRESS, &segment_word(SEGMENT))?;
    let out = world.xdp(&to_vip(1, tcp_flags::ACK).build()?)?;
    assert_eq!(out.reason, Reason::ResetSent);
    assert_eq!((world.flows()?.len(), world.ports_in_use()?), (0, 0));
    Ok(())
}

#[test]
fn a_flood_that_members_answer_leaves_established_flows_alone() -> anyhow::Result<()> {
    let Some(world) = world("answered flood", 0)? else {
        return Ok(());
    };
    let mut kept = Vec::new();
    for port in 1..=40 {
        let seen = open(&world, port)?;
        forward(&world, &to_vip(port, tcp_flags::ACK))?.unwrap();
        kept.push((port, seen));
    }
    // The test's table has 2048 slots.
    for port in 1000..=4500 {
        let syn = Frame::syn(FAMILY, PORT).from(FAMILY.addr(1, 9), port);
        let seen = forward(&world, &syn)?.unwrap();
        back(&world, &answer(&seen, &syn, SYN_ACK))?.unwrap();
    }
    for (port, seen) in kept {
        assert_eq!(
            forward(&world, &to_vip(port, tcp_flags::ACK))?.unwrap(),
            seen
        );
    }
    assert_eq!(world.flows()?.len(), world.ports_in_use()?);
    Ok(())
}

#[test]
fn a_half_closed_flow_lives_as_long_as_the_other_half_sends() -> anyhow::Result<()> {
    let Some(world) = world("half closed", 0)? else {
        return Ok(());
    };
    let seen = open(&world, 1)?;
    let ack = to_vip(1, tcp_flags::ACK);
    forward(&world, &ack)?.unwrap();
    forward(&world, &to_vip(1, FIN_ACK))?.unwrap();
    assert_eq!(state_of(&world)?, state::CLIENT_CLOSED);
    for _ in 0..3 {
        age(&world, 50)?;
        back(&world, &answer(&seen, &ack, tcp_flags::ACK))?.unwrap();
        assert!(age_of(&world)? <= 1, "the member's data");
        age(&world, 50)?;
        assert_eq!(forward(&world, &ack)?.unwrap(), seen);
        assert!(age_of(&world)? <= 1, "the client's acknowledgement");
    }
    back(&world, &answer(&seen, &ack, FIN_ACK))?.unwrap();
    assert_eq!(state_of(&world)?, state::CLOSED);
    age(&world, 5)?;
    forward(&world, &ack)?.unwrap();
    assert!(age_of(&world)? >= 5, "what is over is not kept");
    Ok(())
}

#[test]
fn under_dsr_what_follows_a_fin_stays_with_its_member() -> anyhow::Result<()> {
    let change = |record: &mut ListenerRecord| {
        record.kind = listener_kind::DSR_IPIP;
        record.algorithm = lb_common::maps::algorithm::ROUND_ROBIN;
    };
    let Some(world) = flows::world("dsr half closed", change)? else {
        return Ok(());
    };
    let way = |flags| -> anyhow::Result<Vec<u8>> {
        let out = world.xdp(&to_vip(1, flags).build()?)?;
        assert_eq!(out.reason, Reason::DsrForward);
        Ok(out.bytes.get(26..34).context("outer addresses")?.to_vec())
    };
    let first = way(tcp_flags::SYN)?;
    way(tcp_flags::ACK)?;
    way(FIN_ACK)?;
    for _ in 0..5 {
        // Acknowledgements of what the member still sends.
        age(&world, 8)?;
        assert_eq!(way(tcp_flags::ACK)?, first);
        assert!(age_of(&world)? <= 1);
    }
    assert_eq!(world.flows()?.len(), 1);
    Ok(())
}

#[test]
fn datagrams_that_nobody_answers_stay_with_their_member() -> anyhow::Result<()> {
    let Some(world) = world("one way", 0)? else {
        return Ok(());
    };
    let datagram = Frame::udp(FAMILY, PORT);
    let seen = forward(&world, &datagram)?.unwrap();
    for _ in 0..3 {
        age(&world, 25)?;
        assert_eq!(forward(&world, &datagram)?.unwrap(), seen);
        assert!(age_of(&world)? <= 1);
    }
    assert_eq!(
        state_of(&world)?,
        state::OPENING,
        "the first to go when room is needed"
    );
    Ok(())
}

#[test]
fn a_new_syn_on_a_closed_flow_opens_another_and_counts_go_down() -> anyhow::Result<()> {
    let Some(world) = world("again", 0)? else {
        return Ok(());
    };
    let seen = open(&world, 1)?;
    forward(&world, &to_vip(1, tcp_flags::ACK))?.unwrap();
    back(&world, &answer(&seen, &to_vip(1, 0), FIN_ACK))?.unwrap();
    forward(&world, &to_vip(1, FIN_ACK))?.unwrap();
    let live = |index: u32| -> anyhow::Result<u64> {
        world
            .get(names::LISTENER_LIVE, &index.to_ne_bytes())?
            .map(|live: lb_common::maps::live::ListenerLive| live.flows)
            .context("a listener's counts")
    };
    let counted = live(listener(FAMILY))?;
    assert_eq!(lb_common::maps::live::active(counted), 0);
    assert_eq!(lb_common::maps::live::entries(counted), 1);
    forward(&world, &to_vip(1, tcp_flags::SYN))?.unwrap();
    let counted = live(listener(FAMILY))?;
    assert_eq!(lb_common::maps::live::active(counted), 1);
    assert_eq!(lb_common::maps::live::entries(counted), 1);
    assert!(members(FAMILY).len() > 1);
    Ok(())
}
