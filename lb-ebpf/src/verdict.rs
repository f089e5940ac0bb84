//! What became of a packet, in one register: its reason and the action that goes with it.

use aya_ebpf::bindings::xdp_action;
use lb_common::reason::{Fate, Reason};

use crate::steer::Part;

/// Reason in the low half, action in the high one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict(pub(crate) u32);

impl Verdict {
    /// With the action that a reason has but for XDP_TX.
    #[inline(always)]
    pub(crate) fn of(reason: Reason) -> Self {
        let action = match reason.fate() {
            _ if matches!(reason, Reason::EchoReturned) => xdp_action::XDP_TX,
            Fate::Passed => xdp_action::XDP_PASS,
            Fate::Forwarded => xdp_action::XDP_REDIRECT,
            Fate::Dropped => xdp_action::XDP_DROP,
        };
        Self(reason as u32 | action << 16)
    }

    /// Sent back by the queue it came from.
    #[inline(always)]
    pub(crate) fn returned(reason: Reason) -> Self {
        Self(reason as u32 | xdp_action::XDP_TX << 16)
    }

    #[inline(always)]
    pub(crate) fn reason(self) -> u32 {
        self.0 & 0xffff
    }

    #[inline(always)]
    pub(crate) fn action(self) -> u32 {
        self.0 >> 16
    }

    #[inline(always)]
    pub(crate) fn is(self, reason: Reason) -> bool {
        self.reason() == reason as u32
    }

    #[inline(always)]
    pub(crate) fn is_forwarded(self) -> bool {
        self.action() > xdp_action::XDP_PASS
    }
}

/// What is to be done with the packet in this CPU's scratch value, where that is not done at once:
/// the stack would be too short.
pub(crate) enum Todo {
    /// It is this listener's, to be balanced.
    Balance(u32),
    /// It is this listener's and of no known flow.
    Open(u32),
    /// It is this load balancer's, to be steered.
    Steer(u32, Part),
    /// It is an ICMP error about a flow of this listener, for its member.
    ErrorToMember(u32),
    /// It is an ICMP error about what a member got, for its client.
    ErrorToClient,
    /// It is a member's, for its client.
    Reverse,
}

const BALANCE: u32 = 1 << 31;
const STEER: u32 = 1 << 30;
const ERROR: u32 = BALANCE | STEER;
const TO_CLIENT: u32 = 1 << 29;
const REVERSE: u32 = 1;
const PART_SHIFT: u32 = 28;
const UNKNOWN: u32 = 1 << 29;

impl Verdict {
    #[inline(always)]
    pub(crate) fn postponed(todo: Todo) -> Self {
        match todo {
            Todo::Balance(listener) => Self(BALANCE | listener),
            Todo::Open(listener) => Self(BALANCE | UNKNOWN | listener),
            Todo::ErrorToMember(listener) => Self(ERROR | listener),
            Todo::ErrorToClient => Self(ERROR | TO_CLIENT),
            Todo::Reverse => Self(ERROR | TO_CLIENT | REVERSE),
            Todo::Steer(lb, part) => Self(STEER | (part as u32) << PART_SHIFT | lb),
        }
    }

    /// What is still to be done.
    #[inline(always)]
    pub(crate) fn todo(self) -> Option<Todo> {
        if self.0 & ERROR == 0 {
            return None;
        }
        if self.0 & ERROR == ERROR {
            return if self.0 & TO_CLIENT == 0 {
                Some(Todo::ErrorToMember(self.0 & 0xffff))
            } else if self.0 & REVERSE == 0 {
                Some(Todo::ErrorToClient)
            } else {
                Some(Todo::Reverse)
            };
        }
        if self.0 & BALANCE != 0 {
            if self.0 & UNKNOWN != 0 {
                return Some(Todo::Open(self.0 & 0xffff));
            }
            return Some(Todo::Balance(self.0 & 0xffff));
        }
        let part = match self.0 >> PART_SHIFT & 3 {
            0 => Part::Belongs,
            1 => Part::Opens,
            _ => Part::Tells,
        };
        Some(Todo::Steer(self.0 & 0xffff, part))
    }
}

impl From<Reason> for Verdict {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self::of(reason)
    }
}
