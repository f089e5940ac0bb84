//! Which amphora gets a load balancer's packets, and putting them on its veth.
//!
//! The active, unless it is dead by the rule of `lb_common::heartbeat` and the standby may take over;
//! then the epoch is latched and the standby has it until the agent writes another word. A device that
//! is gone counts as death. Both dead or frozen: nothing changes.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    heartbeat::{self, HeartbeatPage, TRAFFIC_STAMP_NS},
    maps::{AmphoraRecord, Event, FlowKey, SteerWord, event_kind},
    packet::Transport,
    reason::Reason,
};

use crate::{
    drain,
    frame::Mac,
    link,
    maps::{AMPHORAE, HEARTBEATS, LATCH, Page, STEER},
    stats,
    walk::Packet,
    word::exchange,
};

/// What a packet is to its conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Part {
    /// Belongs to one.
    Belongs,
    /// Opens one (TCP).
    Opens,
    /// Tells of one (an ICMP error), so opens none.
    Tells,
}

impl Part {
    #[inline(always)]
    pub(crate) fn of(transport: &Transport) -> Self {
        if transport.is_syn() {
            Self::Opens
        } else {
            Self::Belongs
        }
    }
}

/// Sends the packet to the amphora whose turn it is.
///
/// A function of its own, as are the other big ones: each has its own stack frame, and the limit is
/// 512 bytes for all that are open.
#[inline(never)]
pub(crate) fn steer(
    ctx: &XdpContext,
    packet: &Packet,
    lb: u32,
    key: &FlowKey,
    part: Part,
) -> Reason {
    let (Ok(reason) | Err(reason)) = try_steer(ctx, packet, lb, key, part);
    reason
}

#[inline(always)]
fn try_steer(
    ctx: &XdpContext,
    packet: &Packet,
    lb: u32,
    key: &FlowKey,
    part: Part,
) -> Result<Reason, Reason> {
    let word = STEER.get(lb).ok_or(Reason::BadRecord)?;
    // SAFETY: a live map value; the agent stores whole words.
    let word = SteerWord::from_word(unsafe { core::ptr::read_volatile(word) });
    let (active, standby) = (word.active as u32, word.standby as u32);
    if active == 0 {
        return Err(Reason::NoAmphora);
    }
    let now = stats::now_ns();
    let may_fail_over = word.epoch != 0 && standby != 0;
    let mut choice = if is_latched(lb, word.epoch) {
        touch(page(standby), active, now);
        Choice::ToStandby
    } else {
        let page = page(active);
        touch(page, standby, now);
        let deadline = deadline(page);
        if may_fail_over
            && heartbeat::is_dead(deadline, now)
            && standby_may_take_over(deadline, standby, now)
        {
            Choice::FailOver
        } else if word.draining && drain::follows(standby, key, part, now) {
            Choice::ByDrain
        } else {
            Choice::ToActive
        }
    };
    let mut record = amphora(choice.index(active, standby))?;
    if !link::leave_by(record.ifindex) {
        choice = match choice {
            Choice::ToActive if may_fail_over && !heartbeat::is_dead(deadline_of(standby), now) => {
                Choice::FailOver
            }
            Choice::ByDrain => Choice::ToActive,
            _ => return Err(Reason::AmphoraUnreachable),
        };
        record = amphora(choice.index(active, standby))?;
        if !link::leave_by(record.ifindex) {
            return Err(Reason::AmphoraUnreachable);
        }
    }
    if matches!(choice, Choice::FailOver) {
        latch(lb, active, standby, word.epoch, now);
    }
    send(ctx, packet, record)?;
    if part == Part::Tells {
        return Ok(Reason::SteeredIcmpError);
    }
    Ok(choice.reason())
}

/// The active amphora of a load balancer about which there is nothing to decide and nothing to note: it is
/// alive, no drain is under way, nothing is latched, and its page was told of traffic lately.
#[inline(always)]
pub(crate) fn settled(lb: u32, now: u64) -> Option<u32> {
    // SAFETY: a live map value; the agent stores whole words.
    let word = SteerWord::from_word(unsafe { core::ptr::read_volatile(STEER.get(lb)?) });
    if word.draining || is_latched(lb, word.epoch) {
        return None;
    }
    let page = page(word.active as u32)?;
    // SAFETY: a live map value, whose words are stored whole.
    let (deadline, stamped) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*page).deadline_ns),
            core::ptr::read_volatile(&raw const (*page).traffic_ns),
        )
    };
    if heartbeat::is_dead(deadline, now)
        || heartbeat::is_after(now, stamped.wrapping_add(TRAFFIC_STAMP_NS))
    {
        return None;
    }
    Some(word.active as u32)
}

/// Whose turn it is, and why.
#[derive(Clone, Copy)]
enum Choice {
    ToActive,
    ByDrain,
    ToStandby,
    /// The standby from now on.
    FailOver,
}

impl Choice {
    #[inline(always)]
    fn index(self, active: u32, standby: u32) -> u32 {
        match self {
            Self::ToActive => active,
            Self::ByDrain | Self::ToStandby | Self::FailOver => standby,
        }
    }

    #[inline(always)]
    fn reason(self) -> Reason {
        match self {
            Self::ToActive => Reason::Steered,
            Self::ByDrain => Reason::SteeredByDrain,
            Self::ToStandby | Self::FailOver => Reason::SteeredToStandby,
        }
    }
}

/// Puts the packet on an amphora's veth, whoever is active.
#[inline(always)]
pub(crate) fn deliver(ctx: &XdpContext, packet: &Packet, index: u32) -> Result<Reason, Reason> {
    let record = amphora(index)?;
    if !link::leave_by(record.ifindex) {
        return Err(Reason::AmphoraUnreachable);
    }
    send(ctx, packet, record)?;
    Ok(Reason::ToAmphora)
}

#[inline(always)]
fn send(ctx: &XdpContext, packet: &Packet, record: &AmphoraRecord) -> Result<(), Reason> {
    let (dst_mac, src_mac) = (Mac::load(&record.dst_mac), Mac::load(&record.src_mac));
    link::write_header(ctx, packet.l3(), packet.is_v6, dst_mac, src_mac)
}

#[inline(always)]
fn amphora(index: u32) -> Result<&'static AmphoraRecord, Reason> {
    AMPHORAE.get(index).ok_or(Reason::BadRecord)
}

/// The heartbeat page of an amphora; `None` until the agent has made it.
#[inline(always)]
fn page(amphora: u32) -> Option<*mut HeartbeatPage> {
    HEARTBEATS
        .get_value_ptr_mut(amphora, &0)
        .map(<*mut Page>::cast)
}

/// Its deadline word; 0 without a page.
#[inline(always)]
pub(crate) fn deadline_of(amphora: u32) -> u64 {
    deadline(page(amphora))
}

#[inline(always)]
fn deadline(page: Option<*mut HeartbeatPage>) -> u64 {
    match page {
        // SAFETY: a live map value; the amphora stores whole words.
        Some(page) => unsafe { core::ptr::read_volatile(&raw const (*page).deadline_ns) },
        None => 0,
    }
}

#[inline(always)]
fn standby_may_take_over(active_deadline: u64, standby: u32, now: u64) -> bool {
    let Some(page) = page(standby) else {
        return false;
    };
    // The amphora writes `alive_since_ns` first, so the deadline is read first.
    // SAFETY: a live map value; the amphora stores whole words.
    let (standby_deadline, since) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*page).deadline_ns),
            core::ptr::read_volatile(&raw const (*page).alive_since_ns),
        )
    };
    heartbeat::may_take_over(active_deadline, standby_deadline, since, now)
}

/// Notes traffic in the page of the one that has it, and in the other's, so that both stamp fast.
#[inline(always)]
fn touch(page_of_one: Option<*mut HeartbeatPage>, other: u32, now: u64) {
    let Some(one) = page_of_one else {
        return;
    };
    // SAFETY: live map values; XDP alone writes this word, and any of its writers is right.
    unsafe {
        let stamped = core::ptr::read_volatile(&raw const (*one).traffic_ns);
        if !heartbeat::is_after(now, stamped.wrapping_add(TRAFFIC_STAMP_NS)) {
            return;
        }
        core::ptr::write_volatile(&raw mut (*one).traffic_ns, now);
        if let Some(other) = page(other) {
            core::ptr::write_volatile(&raw mut (*other).traffic_ns, now);
        }
    }
}

#[inline(always)]
fn is_latched(lb: u32, epoch: u32) -> bool {
    let latched = match LATCH.get(lb) {
        // SAFETY: a live map value, stored whole.
        Some(latched) => unsafe { core::ptr::read_volatile(latched) },
        None => 0,
    };
    epoch != 0 && latched == epoch as u64
}

/// Latches the epoch and tells the agent, once: of CPUs that come at the same time, one exchanges.
#[inline(never)]
fn latch(lb: u32, from: u32, to: u32, epoch: u32, now: u64) {
    let Some(word) = LATCH.get_ptr_mut(lb) else {
        return;
    };
    // SAFETY: a live map value.
    let seen = unsafe { core::ptr::read_volatile(word) };
    if seen == epoch as u64 || !exchange(word, seen, epoch as u64) {
        return;
    }
    stats::tell(&Event {
        kind: event_kind::FAILED_OVER,
        lb,
        from,
        to,
        epoch,
        _pad: 0,
        at_ns: now,
    });
}
