//! The cases: which packets, of how many flows, along which path, and what they should cost at most.

use clap::ValueEnum;
use lb_common::reason::Reason;

use super::Mode;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// One known flow, TCP over IPv4.
    Tcp4,
    /// One known flow, UDP over IPv4.
    Udp4,
    /// One known flow, TCP over IPv6.
    Tcp6,
    /// One known flow, UDP over IPv6.
    Udp6,
    /// SYN of a known flow.
    Syn4,
    /// What the member answers (NAT alone).
    Reply4,
    /// To an address that is not ours.
    NotVip,
    /// 65,536 known flows in random order.
    Known64k,
    /// 524,288 known flows in random order.
    Known512k,
    /// Every packet a new flow.
    New,
}

/// How many flows a case's packets are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    One,
    /// In random order: a power of two.
    Known(u32),
    New,
}

impl Case {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp4 => "tcp4",
            Self::Udp4 => "udp4",
            Self::Tcp6 => "tcp6",
            Self::Udp6 => "udp6",
            Self::Syn4 => "syn4",
            Self::Reply4 => "reply4",
            Self::NotVip => "not-vip",
            Self::Known64k => "known64k",
            Self::Known512k => "known512k",
            Self::New => "new",
        }
    }

    /// Whether there is such a thing in this mode.
    pub fn is_of(self, mode: Mode) -> bool {
        self != Self::Reply4 || mode == Mode::Nat
    }

    pub const fn is_v6(self) -> bool {
        matches!(self, Self::Tcp6 | Self::Udp6)
    }

    pub const fn protocol(self) -> u8 {
        match self {
            Self::Udp4 | Self::Udp6 => 17,
            _ => 6,
        }
    }

    pub const fn flows(self) -> Flows {
        match self {
            Self::Known64k => Flows::Known(1 << 16),
            Self::Known512k => Flows::Known(1 << 19),
            Self::New => Flows::New,
            _ => Flows::One,
        }
    }

    /// What has to be counted for each packet.
    pub const fn path(self, mode: Mode) -> Reason {
        match (self, mode) {
            (Self::NotVip, _) => Reason::NotOurs,
            (Self::Reply4, _) => Reason::NatReverse,
            (_, Mode::Steer) => Reason::Steered,
            (_, Mode::Nat) => Reason::NatForward,
            (_, Mode::DsrL2 | Mode::DsrIpip) => Reason::DsrForward,
        }
    }

    /// The same of the packets that its flows begin with.
    pub const fn path_of_first(self, mode: Mode) -> Reason {
        match self {
            Self::Reply4 => Self::Tcp4.path(mode),
            _ => self.path(mode),
        }
    }

    /// Most net nanoseconds a packet, on the machine where Katran takes 62-69 for `tcp4`; of NAT at many
    /// flows in terms of DSR's there. Steering is to stay below DSR.
    pub const fn goal(self, mode: Mode) -> Option<f64> {
        match (self, mode) {
            (Self::NotVip, _) => Some(15.0),
            (Self::Known64k, Mode::Nat) => None,
            // One and a half times the other modes' goal.
            (Self::Known512k, Mode::Nat) => Some(195.0),
            (Self::New, Mode::Nat) | (Self::Syn4, _) => None,
            (_, Mode::Nat) => Some(75.0),
            (Self::Tcp4 | Self::Reply4, _) => Some(45.0),
            (Self::Udp4 | Self::Udp6, _) => Some(50.0),
            (Self::Tcp6, _) => Some(48.0),
            (Self::Known64k, _) => Some(95.0),
            (Self::Known512k | Self::New, _) => Some(130.0),
        }
    }

    /// Most of what LRU_HASH alone takes for the same packets, in DSR over IPIP.
    pub const fn ratio_goal(self, mode: Mode) -> Option<f64> {
        match (self, mode) {
            (Self::Tcp4, Mode::DsrIpip) => Some(3.7),
            (Self::Known64k, Mode::DsrIpip) => Some(0.75),
            (Self::Known512k, Mode::DsrIpip) => Some(0.36),
            (Self::New, Mode::DsrIpip) => Some(0.21),
            _ => None,
        }
    }

    /// Whether the kernel's maps are shown the same packets.
    pub const fn has_floor(self) -> bool {
        matches!(
            self,
            Self::Tcp4 | Self::Known64k | Self::Known512k | Self::New
        )
    }
}
