//! Names of the map statics in lb-ebpf.

/// ARRAY\[1\] of [`super::Config`].
pub const CONFIG: &str = "CONFIG";
/// ARRAY by ifindex of u64 [`super::segment_word`].
pub const SEGMENTS: &str = "SEGMENTS";
/// ARRAY of [`super::AddressBucket`].
pub const ADDRESSES: &str = "ADDRESSES";
/// ARRAY of [`super::AddressRecord`].
pub const ADDRESS_RECORDS: &str = "ADDRESS_RECORDS";
/// ARRAY of u64 [`super::port_word`].
pub const PORTS: &str = "PORTS";
/// ARRAY of [`super::ListenerRecord`].
pub const LISTENERS: &str = "LISTENERS";
/// ARRAY by load balancer index of u64 [`super::SteerWord`].
pub const STEER: &str = "STEER";
/// ARRAY by load balancer index of u64: the epoch that XDP left; written by XDP alone.
pub const LATCH: &str = "LATCH";
/// ARRAY of [`super::AmphoraRecord`].
pub const AMPHORAE: &str = "AMPHORAE";
/// ARRAY_OF_MAPS by amphora index of mmap-able ARRAY\[1\] with 4096-byte values.
pub const HEARTBEATS: &str = "HEARTBEATS";
/// ARRAY_OF_MAPS by maglev slot of ARRAY\[1\] with values of [`super::MAGLEV_VALUE_BYTES`].
pub const MAGLEV: &str = "MAGLEV";
/// ARRAY of [`super::MemberRecord`].
pub const MEMBERS: &str = "MEMBERS";
/// ARRAY by member index of u64 [`super::neighbour_word`].
pub const NEIGHBOURS: &str = "NEIGHBOURS";
/// Mmap-able ARRAY of [`super::flow::Block4`]: flows of IPv4 clients. Written by the kernel alone.
pub const FLOWS4: &str = "FLOWS4";
/// Mmap-able ARRAY of [`super::flow::Block6`]: flows of IPv6 clients. Written by the kernel alone.
pub const FLOWS6: &str = "FLOWS6";
/// Mmap-able ARRAY of [`super::flow::Reverse`]: what members answer to. Written by the kernel alone.
pub const REVERSE: &str = "REVERSE";
/// Mmap-able ARRAY of [`super::flow::PersistBlock`]: which member a client had. Written by the kernel
/// alone.
pub const PERSIST: &str = "PERSIST";
/// Mmap-able ARRAY by listener index of [`super::live::ListenerLive`]. Written by the kernel alone.
pub const LISTENER_LIVE: &str = "LISTENER_LIVE";
/// Mmap-able ARRAY by member index of u64 ([`super::live::entries`], [`super::live::active`]). Written
/// by the kernel alone.
pub const MEMBER_LIVE: &str = "MEMBER_LIVE";
/// Mmap-able ARRAY by load balancer index of [`super::live::LbLive`]. Written by the kernel alone.
pub const LB_LIVE: &str = "LB_LIVE";
/// ARRAY by load balancer index of [`super::live::LbShare`].
pub const LB_SHARES: &str = "LB_SHARES";
/// ARRAY\[1\] of the timer that sweeps the flow table, and where it is. Pinned, so that it goes on
/// without an agent.
pub const SWEEP: &str = "SWEEP";
/// PERCPU_ARRAY by listener index of u64: turns of round robin.
pub const TURNS: &str = "TURNS";
/// PERCPU_ARRAY by member index of [`super::MemberCounters`].
pub const MEMBER_STATS: &str = "MEMBER_STATS";
/// HASH [`super::FlowKey`] to u32 amphora index: who follows a drain.
pub const DRAINS: &str = "DRAINS";
/// LPM_TRIE [`super::CidrKey`] to u32 1.
pub const CIDRS: &str = "CIDRS";
/// DEVMAP_HASH ifindex to ifindex.
pub const DEVS: &str = "DEVS";
/// ARRAY by ifindex of [`super::AnswerRecord`]: where packets from an amphora's veth leave.
pub const ANSWERS: &str = "ANSWERS";
/// LPM_TRIE [`super::CidrKey`] (listener field 0) to u32 1: addresses amphorae may not reach.
pub const DENIED: &str = "DENIED";
/// PERCPU_ARRAY by listener index of [`super::ListenerCounters`].
pub const LISTENER_STATS: &str = "LISTENER_STATS";
/// PERCPU_ARRAY by reason number of u64.
pub const REASONS: &str = "REASONS";
/// RINGBUF of [`super::Event`].
pub const EVENTS: &str = "EVENTS";
/// XDP program on uplinks.
pub const PROGRAM_XDP: &str = "lb_xdp";
/// XDP program that starts the sweep of the flow table: run once (BPF_PROG_TEST_RUN) by who loads;
/// returns XDP_PASS when it did.
pub const PROGRAM_SWEEP: &str = "lb_sweep";
/// TCX ingress program on the edge end of an amphora's veth.
pub const PROGRAM_ANSWER: &str = "lb_answer";
/// XDP program that passes everything: on a veth end whose peer sends by XDP_TX, which veth
/// delivers only to an end with a program.
pub const PROGRAM_PASS: &str = "lb_pass";
