//! Why the data path did with a packet what it did.
//!
//! Every return path of every program has one of these, counted per CPU in `REASONS`. Numbers are
//! part of the map layout: append, never renumber without raising [`crate::maps::MAP_ABI`].

/// What became of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Left to the kernel's stack, byte for byte.
    Passed,
    /// Sent on (to an amphora, a member or a client) or answered.
    Forwarded,
    /// Dropped.
    Dropped,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $fate:ident;)+) => {
        /// One number a return path.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)+
        }

        impl Reason {
            /// All, in order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Name for counters and people.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// What became of the packet.
            #[must_use]
            #[inline(always)]
            pub const fn fate(self) -> Fate {
                match self {
                    $(Self::$name => Fate::$fate,)+
                }
            }
        }
    };
}

reasons! {
    /// Came in by an interface without a segment.
    NoSegment = 0, "no_segment", Passed;
    /// Neither IPv4 nor IPv6: ARP, LLDP, anything unknown.
    NotIp = 1, "not_ip", Passed;
    /// Too short to tell whose it is.
    TooShort = 2, "too_short", Passed;
    /// To an address that is not ours.
    NotOurs = 3, "not_ours", Passed;
    /// Neighbour or router discovery to an address of ours: the kernel answers.
    NeighbourDiscovery = 4, "neighbour_discovery", Passed;

    /// To the active amphora.
    Steered = 5, "steered", Forwarded;
    /// To the standby: the active is dead and the failover latched.
    SteeredToStandby = 6, "steered_to_standby", Forwarded;
    /// To the amphora that a drain leads to.
    SteeredByDrain = 7, "steered_by_drain", Forwarded;
    /// ICMP error about a connection, to the amphora that has it.
    SteeredIcmpError = 8, "steered_icmp_error", Forwarded;
    /// To an amphora's own address.
    ToAmphora = 9, "to_amphora", Forwarded;
    /// NAT, client to member.
    NatForward = 10, "nat_forward", Forwarded;
    /// NAT, member to client.
    NatReverse = 11, "nat_reverse", Forwarded;
    /// ICMP error about a NAT flow, translated.
    NatIcmpError = 12, "nat_icmp_error", Forwarded;
    /// ICMP echo to a VIP answered.
    EchoAnswered = 13, "echo_answered", Forwarded;
    /// From an amphora, on its way out.
    Answered = 14, "answered", Forwarded;

    /// Ends before its headers do, or before its lengths say.
    Truncated = 15, "truncated", Dropped;
    /// Lengths or versions that contradict each other.
    Malformed = 16, "malformed", Dropped;
    /// A piece of a datagram.
    Fragment = 17, "fragment", Dropped;
    /// More IPv6 extension headers than are walked.
    ExtensionHeaders = 18, "extension_headers", Dropped;
    /// IPv6 routing header that is not at its end.
    RoutingHeader = 19, "routing_header", Dropped;
    /// An IP protocol that no listener can have.
    Protocol = 20, "protocol", Dropped;
    /// Tagged for a VLAN that this interface's segment is not.
    Vlan = 21, "vlan", Dropped;
    /// Sent to a group address of the link.
    LinkGroup = 22, "link_group", Dropped;
    /// Source is loopback, multicast, unspecified or broadcast.
    MartianSource = 23, "martian_source", Dropped;
    /// Source is the destination.
    Land = 24, "land", Dropped;
    /// TTL or hop limit used up.
    Ttl = 25, "ttl", Dropped;

    /// The VIP's load balancer is disabled.
    VipDisabled = 26, "vip_disabled", Dropped;
    /// To a VIP, but no listener has the port.
    NoListener = 27, "no_listener", Dropped;
    /// Source is not in the listener's `allowed_cidrs`.
    CidrDenied = 28, "cidr_denied", Dropped;
    /// No amphora is named.
    NoAmphora = 29, "no_amphora", Dropped;
    /// The amphora's interface is gone, and so is the other's.
    AmphoraUnreachable = 30, "amphora_unreachable", Dropped;
    /// Echo to a VIP with answers switched off, or ICMP of another type.
    IcmpIgnored = 31, "icmp_ignored", Dropped;
    /// More ICMP than is answered in a second.
    IcmpRate = 32, "icmp_rate", Dropped;
    /// ICMP error about nothing we know.
    IcmpErrorUnknown = 33, "icmp_error_unknown", Dropped;

    /// NAT: the pool has no usable member.
    NoMember = 34, "no_member", Dropped;
    /// NAT: TCP or SCTP, of no flow we know and not opening one.
    NoFlow = 35, "no_flow", Dropped;
    /// NAT: no free source port among those tried.
    SnatExhausted = 36, "snat_exhausted", Dropped;
    /// NAT: flow table full.
    FlowsFull = 37, "flows_full", Dropped;
    /// NAT: the member's link address is not known.
    NoNeighbour = 38, "no_neighbour", Dropped;
    /// NAT: the interface to leave by is not one of ours.
    NoDevice = 39, "no_device", Dropped;
    /// To a NAT source address, but of no flow.
    NoReverseFlow = 40, "no_reverse_flow", Dropped;

    /// Amphora's veth without a record.
    AnswerUnknownDevice = 41, "answer_unknown_device", Dropped;
    /// From an amphora: not IP.
    AnswerNotIp = 42, "answer_not_ip", Dropped;
    /// From an amphora: neighbour or router discovery, group membership.
    AnswerDiscovery = 43, "answer_discovery", Dropped;
    /// From an amphora: a source that is not its own.
    AnswerSpoofed = 44, "answer_spoofed", Dropped;
    /// From an amphora: to where no amphora may send.
    AnswerDenied = 45, "answer_denied", Dropped;

    /// A record that should be there is not: the agent is writing, or wrong.
    BadRecord = 46, "bad_record", Dropped;
    /// The kernel refused to change or redirect the packet.
    HelperFailed = 47, "helper_failed", Dropped;
    /// ICMP echo to a VIP answered, sent back by the queue it came from (XDP_TX).
    EchoReturned = 48, "echo_returned", Forwarded;

    /// DSR, client to member.
    DsrForward = 49, "dsr_forward", Forwarded;
    /// DSR, client to the member that the hash names: there was no room to record the flow.
    DsrUnrecorded = 50, "dsr_unrecorded", Forwarded;
    /// DSR: ICMP error about a flow, to its member.
    DsrIcmpError = 51, "dsr_icmp_error", Forwarded;
    /// Larger than what fits on the way to the member: the client was told (packet too big).
    TooBigTold = 52, "too_big_told", Forwarded;
    /// The same, but more than are told in a second.
    TooBig = 53, "too_big", Dropped;
    /// NAT: TCP of no flow we know, answered with RST.
    ResetSent = 54, "reset_sent", Forwarded;
    /// The listener has its connection_limit.
    ConnectionLimit = 55, "connection_limit", Dropped;
    /// More SYN a second than the listener may have.
    SynRate = 56, "syn_rate", Dropped;
    /// The load balancer has its share of flows.
    ShareFlows = 57, "share_flows", Dropped;
    /// The load balancer has its share of source ports.
    SharePorts = 58, "share_ports", Dropped;
    /// The load balancer has its share of new flows a second.
    ShareRate = 59, "share_rate", Dropped;
    /// NAT: the member refused a connection; the client's next SYN goes to another.
    MemberRefused = 60, "member_refused", Dropped;
    /// NAT: SCTP of no flow we know, answered with ABORT (or SHUTDOWN COMPLETE).
    AbortSent = 61, "abort_sent", Forwarded;
}

impl Reason {
    /// How many there are.
    #[expect(clippy::cast_possible_truncation, reason = "a few dozen")]
    pub const COUNT: u32 = Self::ALL.len() as u32;
}

const _: () = assert!(Reason::COUNT <= crate::maps::limits::REASONS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_names_unique() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.name());
            for other in &Reason::ALL[index + 1..] {
                assert_ne!(reason.name(), other.name());
            }
        }
    }
}
