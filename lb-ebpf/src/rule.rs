//! What packets make of a flow's state (`lb_common::maps::flow::state`), and which of them keep it.

use lb_common::{maps::flow::state, packet::tcp_flags};

use crate::flow::Side;

/// What follows from a packet: four bits a state say the next one, and from [`KEEPS`] on a bit a state says
/// that a flow that stays in it keeps its stamp. As numbers, since each comparison would be a path of its own
/// for the verifier, in each turn of [`lb_advance`].
#[derive(Clone, Copy)]
pub(crate) struct Rule(u64);

/// Behind the next states of twelve.
const KEEPS: u32 = 48;
/// Every state stays.
const STAYS: Rule = Rule(0xba98_7654_3210);

impl Rule {
    const fn leads(self, from: u8, to: u8) -> Self {
        let at = from as u32 * 4;
        Self(self.0 & !(0xf << at) | (to as u64) << at)
    }

    const fn keeps(self, state: u8) -> Self {
        Self(self.0 | 1 << (KEEPS + state as u32))
    }

    /// Of a flow that is no more half-open.
    const fn leads_from_open(self, to: u8) -> Self {
        self.leads(state::OPENING, to)
            .leads(state::ANSWERED, to)
            .leads(state::ESTABLISHED, to)
    }

    /// For a packet with these flags, of a [`Side`].
    #[inline(always)]
    pub(crate) fn of(flags: u32, side: u32) -> Self {
        Self(lb_rule(flags, side))
    }

    #[inline(always)]
    pub(crate) const fn next(self, state: u8) -> u8 {
        (self.0 >> (state as u32 * 4) & 0xf) as u8
    }

    #[inline(always)]
    pub(crate) const fn is_kept(self, state: u8) -> bool {
        self.0 >> (KEEPS + state as u32) & 1 != 0
    }
}

/// RST, and FIN where only the client is seen.
const ENDS: Rule = STAYS
    .leads_from_open(state::CLOSED)
    .leads(state::CLIENT_CLOSED, state::CLOSED)
    .leads(state::MEMBER_CLOSED, state::CLOSED)
    .keeps(state::CLOSED);
const CLIENT_FIN: Rule = STAYS
    .leads_from_open(state::CLIENT_CLOSED)
    .leads(state::MEMBER_CLOSED, state::CLOSED)
    .keeps(state::CLOSED);
const MEMBER_FIN: Rule = STAYS
    .leads_from_open(state::MEMBER_CLOSED)
    .leads(state::CLIENT_CLOSED, state::CLOSED)
    .keeps(state::CLOSED);
/// More SYN do not keep what is half-open.
const SYN: Rule = STAYS
    .keeps(state::OPENING)
    .keeps(state::ANSWERED)
    .keeps(state::CLOSED);
/// The client may be nobody: it has yet to say that it heard.
const MEMBER_SYN: Rule = SYN.leads(state::OPENING, state::ANSWERED);
const CLIENT_SPEAKS: Rule = STAYS
    .leads(state::ANSWERED, state::ESTABLISHED)
    .keeps(state::CLOSED);
const MEMBER_SPEAKS: Rule = STAYS
    .leads(state::OPENING, state::ESTABLISHED)
    .keeps(state::CLOSED);
/// What comes after FIN may be the acknowledgement of a long answer that nobody here sees.
const ONLY_CLIENT_SPEAKS: Rule = STAYS.leads(state::OPENING, state::ESTABLISHED);

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn lb_rule(flags: u32, side: u32) -> u64 {
    let flags = flags as u8;
    let (is_client, is_member) = (side == Side::Client as u32, side == Side::Member as u32);
    let rule = if flags & tcp_flags::RST != 0 {
        ENDS
    } else if flags & tcp_flags::FIN != 0 {
        if is_client {
            CLIENT_FIN
        } else if is_member {
            MEMBER_FIN
        } else {
            ENDS
        }
    } else if flags & tcp_flags::SYN != 0 {
        if is_member { MEMBER_SYN } else { SYN }
    } else if is_client {
        CLIENT_SPEAKS
    } else if is_member {
        MEMBER_SPEAKS
    } else {
        ONLY_CLIENT_SPEAKS
    };
    rule.0
}
