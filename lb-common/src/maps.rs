//! Keys and values of every BPF map, and their names.
//!
//! How a packet finds its way (all in arrays, so that the cost does not grow with their fill):
//!
//! ```text
//! SEGMENTS[ifindex] ── segment, flags
//! ADDRESSES[hash(segment, addr)]: 8 words {tag, record index} ── one cache line
//!   └─ ADDRESS_RECORDS[index]: full key, kind ─┬─ VIP ──── PORTS[base + hash(proto, port) & mask]
//!                                              │             └─ LISTENERS[index] ─┬─ STEER[lb] ── AMPHORAE[index]
//!                                              │                                  └─ FLOWS4, FLOWS6 [hash(client, listener)]
//!                                              │                                      hit, or MAGLEV[slot] ── MEMBERS[index]
//!                                              ├─ AMPHORA ─ AMPHORAE[index]   (answers of members to an amphora)
//!                                              └─ SNAT ──── REVERSE           (answers of members to XDP NAT)
//! ```
//!
//! The flow table is in [`flow`].
//!
//! Publishing (design invariant 5): a record larger than eight bytes is written to a free index and
//! then published by one 8-byte store of the word that points at it; it is not changed while
//! published. `STEER`, `LATCH` and `NEIGHBOURS` entries are single words.

mod addr;
pub mod flow;
pub mod limits;
pub mod live;
pub mod names;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use self::addr::{Addr, Be16};

/// Version of everything in this file. In the pin path; an agent never adopts another one.
pub const MAP_ABI: u32 = 3;

/// Slots of a Maglev table: a prime.
pub const MAGLEV_SLOTS: usize = 65_537;
/// Bytes of a table in `MAGLEV`: [u16; 65_540] (three spare ones for user space), then at
/// [`MAGLEV_TURNS_AT`] a u32 of turns and four zero bytes.
pub const MAGLEV_VALUE_BYTES: usize = 131_088;
/// Where in a table its number of turns is (u32 in the machine's order).
///
/// - By [`algorithm::HASH`] ignored.
/// - By [`algorithm::ROUND_ROBIN`] the length of one round, i.e. the sum of the weights divided by their
///   greatest common divisor, at most [`MAGLEV_SLOTS`]. The round is written from slot 0 on and
///   repeated to the end of the table, so that every slot has a member.
/// - By [`algorithm::LEAST_CONNECTIONS`] the number of members, each once from slot 0 on, repeated to the
///   end of the table.
pub const MAGLEV_TURNS_AT: usize = 131_080;

/// `CONFIG[0]`; mmap-able.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// [`MAP_ABI`] of the writer.
    pub abi: u32,
    /// First port of the SNAT range.
    pub snat_port_min: u16,
    /// Last port of the SNAT range.
    pub snat_port_max: u16,
    /// Most ICMP echo answers and such a second and CPU.
    pub icmp_per_second: u32,
    /// 1: answer ICMP echo to a VIP.
    pub vip_icmp_echo: u32,
    /// Keys the hashes, so that nobody outside can aim at one bucket.
    pub hash_seed: u64,
    /// Pages of `FLOWS4` minus one ([`flow::pages`] of its entries; a power of two minus one).
    pub flow4_mask: u32,
    /// Pages of `FLOWS6` minus one.
    pub flow6_mask: u32,
    /// Pages of `REVERSE` minus one.
    pub reverse_mask: u32,
    /// Blocks of `PERSIST` minus one.
    pub persist_mask: u32,
    /// Most RST a second and CPU in answer to TCP packets of unknown NAT flows.
    pub rst_per_second: u32,
    /// DSR over IPIP: the outer IPv4 source's fixed part, in network order.
    pub outer_v4: [u8; 4],
    /// Bits of the outer source that vary with the flow (in IPv4 the low ones of `outer_v4`, in IPv6
    /// those of its last 32): a power of two minus one, host order.
    pub outer_spread: u32,
    /// Goes up after every change of `SEGMENTS`, `ADDRESSES`, `ADDRESS_RECORDS` or `PORTS`: XDP keeps what it
    /// found there as long as this stays.
    pub generation: u32,
    /// DSR over IPIP: the outer IPv6 source; its last 32 bits vary with the flow.
    pub outer_v6: Addr,
}

const _: () = assert!(size_of::<Config>() == 72);

/// The word of `CONFIG` whose upper half (as a number of this machine's order) is
/// [`Config::generation`]; the lower one is [`Config::outer_spread`].
pub const GENERATION_WORD: usize = core::mem::offset_of!(Config, outer_spread) / 8;

const _: () = assert!(core::mem::offset_of!(Config, generation) == GENERATION_WORD * 8 + 4);
const _: () = assert!(cfg!(target_endian = "little"));

/// `SEGMENTS` word: segment in the low half, bit 63 set when the interface is ours.
#[must_use]
pub const fn segment_word(segment: u32) -> u64 {
    (1 << 63) | segment as u64
}

/// Bit of a `SEGMENTS` word: what leaves by the interface it came in by is sent by XDP_TX, which is
/// cheaper than a redirect. Only for devices with an XDP_TX of their own: a veth whose peer has no
/// program loses such packets.
pub const SEGMENT_TX: u64 = 1 << 62;

/// One cache line of `ADDRESSES`: words of tag (high half, never 0) and record index (low half);
/// 0 is empty ([`crate::hash::address_slot`], [`crate::hash::address_word`]). A bucket never holds
/// two words of one tag: XDP looks at the first only, and compares its record's full key. Who would
/// insert a second (one in 2^32) picks another `hash_seed` or refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct AddressBucket {
    /// Words.
    pub words: [u64; 8],
}

/// Kind of an address of ours ([`AddressRecord::kind`]).
pub mod address_kind {
    /// A VIP.
    pub const VIP: u32 = 1;
    /// An amphora's own address: packets go to amphora `owner`.
    pub const AMPHORA: u32 = 2;
    /// A source address of XDP NAT: packets are answers of members.
    pub const SNAT: u32 = 3;
}

/// One address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AddressRecord {
    /// Full key, first part.
    pub segment: u32,
    /// See [`address_kind`].
    pub kind: u32,
    /// Full key, second part.
    pub addr: Addr,
    /// Load balancer index for a VIP and for SNAT, index in `AMPHORAE` for an amphora.
    pub owner: u32,
    /// First word of the VIP's block in `PORTS`.
    pub ports_base: u32,
    /// Words of the block minus one (a power of two minus one).
    pub ports_mask: u32,
    /// [`vip_flags`].
    pub flags: u32,
}

const _: () = assert!(size_of::<AddressRecord>() == 40);

/// Flags of a VIP record.
pub mod vip_flags {
    /// The load balancer is enabled; without it every packet is dropped.
    pub const ENABLED: u32 = 1;
}

/// `PORTS` word: protocol, port, listener index; 0 is empty.
#[must_use]
pub const fn port_word(protocol: u8, port: u16, listener: u32) -> u64 {
    ((protocol as u64) << 48) | ((port as u64) << 32) | listener as u64
}

/// Where in its block a listener's word has its home.
#[must_use]
#[inline(always)]
pub const fn port_home(protocol: u8, port: u16) -> u32 {
    let h = ((protocol as u32) << 16 | port as u32).wrapping_mul(0x9e37_79b1);
    h ^ (h >> 15)
}

/// Kind of a listener ([`ListenerRecord::kind`]).
pub mod listener_kind {
    /// Packets go to the active amphora.
    pub const STEER: u32 = 1;
    /// Packets are NATed straight to members.
    pub const NAT: u32 = 2;
    /// Direct server return: the link header is rewritten, nothing else. Members are neighbours.
    pub const DSR_L2: u32 = 3;
    /// Direct server return: the packet goes to the member inside another IP packet, of the family of
    /// the member's address.
    pub const DSR_IPIP: u32 = 4;
}

/// How a new flow gets its member ([`ListenerRecord::algorithm`]). What `MAGLEV` holds for the pool
/// depends on it: see [`MAGLEV_TURNS_AT`].
pub mod algorithm {
    /// Maglev: by address and port, or by address alone ([`super::listener_flags::HASH_ADDR_ONLY`]).
    pub const HASH: u32 = 0;
    /// Weighted round robin: a turn a flow, exact per CPU.
    pub const ROUND_ROBIN: u32 = 1;
    /// Fewest active connections for its weight, of up to 64 members; of more, of 64 in turn.
    pub const LEAST_CONNECTIONS: u32 = 2;
}

/// Flags of a listener.
pub mod listener_flags {
    /// `CIDRS` must hold the source.
    pub const CIDRS: u32 = 1;
    /// Hash on source address only (SOURCE_IP), not on address and port.
    pub const HASH_ADDR_ONLY: u32 = 2;
}

/// One listener: one cache line. Its index is below 65,536: flows name it in 16 bits.
///
/// Changed in place: the first two words are valid in any mixture, and so is every later field.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ListenerRecord {
    /// See [`listener_kind`].
    pub kind: u32,
    /// See [`listener_flags`].
    pub flags: u32,
    /// Load balancer index.
    pub lb: u32,
    /// Slots in `MAGLEV` (not for STEER), one for packets of each family: [`maglev_slots`]. NAT does
    /// not cross families; DSR over IPIP may, so there both tables may hold members of both.
    pub maglev: u32,
    /// See [`algorithm`]. The fields from here on mean nothing to STEER.
    pub algorithm: u32,
    /// Most active connections; 0: no limit.
    pub connection_limit: u32,
    /// Most new TCP flows a second (of all CPUs); 0: no limit. Means something to STEER, too.
    pub syn_per_second: u32,
    /// Seconds after which a flow without a packet is forgotten: the longer of timeout_client_data and
    /// timeout_member_data. Clamped to [`limits::IDLE_MAX_S`]; 0 stands for
    /// [`limits::IDLE_DEFAULT_S`].
    pub idle_s: u32,
    /// NAT: seconds (timeout_member_connect, rounded up) after which the retransmission of a SYN that
    /// no member answered goes to another one; 0 stands for 5.
    pub connect_s: u32,
    /// SOURCE_IP persistence: seconds after a client's last new flow in which its next one goes to the
    /// same member; 0: none.
    pub persistence_s: u32,
    /// SOURCE_IP persistence: leading bits of an IPv4 client that count (persistence_granularity).
    pub persistence_bits_v4: u8,
    /// Likewise of an IPv6 client.
    pub persistence_bits_v6: u8,
    /// IP protocol, as in `PORTS`.
    pub protocol: u8,
    /// Zero.
    pub _pad: u8,
    /// Port, as in `PORTS`.
    pub port: Be16,
    /// Zero.
    pub _pad2: [u8; 2],
    /// Zero.
    pub _pad3: [u32; 4],
}

const _: () = assert!(size_of::<ListenerRecord>() == 64);
const _: () = assert!(limits::MAGLEV_TABLES < NO_MAGLEV);

/// Half of [`ListenerRecord::maglev`] without a usable member.
const NO_MAGLEV: u32 = 0xffff;

/// [`ListenerRecord::maglev`] from the slots for IPv4 (low half) and IPv6; `None`: no usable member.
#[must_use]
pub const fn maglev_slots(v4: Option<u32>, v6: Option<u32>) -> u32 {
    const fn half(slot: Option<u32>) -> u32 {
        match slot {
            Some(slot) if slot < limits::MAGLEV_TABLES => slot,
            Some(_) | None => NO_MAGLEV,
        }
    }
    half(v6) << 16 | half(v4)
}

/// The slot in `MAGLEV` for packets of one family; beyond the map's end without a usable member.
#[must_use]
#[inline(always)]
pub const fn maglev_slot_of(slots: u32, is_v6: bool) -> u32 {
    if is_v6 { slots >> 16 } else { slots & 0xffff }
}

/// `STEER` word: who gets a load balancer's L7 packets. Amphora index 0 is nobody.
///
/// Bits: active 16, standby 16, epoch 31, draining 1 (highest).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SteerWord {
    /// Index of the active amphora; during a drain the one that is left.
    pub active: u16,
    /// Index of the standby; during a drain the one that gets new connections.
    pub standby: u16,
    /// Goes up with every word written that names another active (31 bits).
    pub epoch: u32,
    /// A planned failover is under way from `active` to `standby`.
    pub draining: bool,
}

impl SteerWord {
    /// As stored.
    #[must_use]
    pub const fn to_word(self) -> u64 {
        self.active as u64
            | (self.standby as u64) << 16
            | ((self.epoch & 0x7fff_ffff) as u64) << 32
            | (self.draining as u64) << 63
    }

    /// From the stored word.
    #[must_use]
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "masks and shifts say which bits are meant"
    )]
    pub const fn from_word(word: u64) -> Self {
        Self {
            active: word as u16,
            standby: (word >> 16) as u16,
            epoch: ((word >> 32) & 0x7fff_ffff) as u32,
            draining: word >> 63 != 0,
        }
    }
}

/// One veth of an amphora: how to put a packet on it. An amphora has one veth a network it is joined
/// to, so one record each. `STEER`, `HEARTBEATS` and `ANSWERS` name an amphora by the index of its
/// record in the VIP's network; an [`address_kind::AMPHORA`] record names the veth of its own network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AmphoraRecord {
    /// Edge end of the veth.
    pub ifindex: u32,
    /// Load balancer index.
    pub lb: u32,
    /// MAC of the inner end.
    pub dst_mac: [u8; 6],
    /// MAC of the edge end.
    pub src_mac: [u8; 6],
}

const _: () = assert!(size_of::<AmphoraRecord>() == 20);

/// One member that XDP balances: one cache line. Flows name it by its index (16 bits), so a record
/// stays as it is, even after the member was removed, as long as [`live::entries`] of
/// `MEMBER_LIVE[index]` is not 0; only then may the index stand for another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemberRecord {
    /// Segment it is in.
    pub segment: u32,
    /// Interface it is reached through.
    pub ifindex: u32,
    /// Address.
    pub addr: Addr,
    /// Source address for NAT; not used by DSR.
    pub snat: Addr,
    /// Port. DSR cannot change it: there it must be the listener's.
    pub port: Be16,
    /// MAC of `ifindex`.
    pub src_mac: [u8; 6],
    /// Load balancer index.
    pub lb: u32,
    /// 1..=256, for [`algorithm::LEAST_CONNECTIONS`] (the other algorithms have it in their table).
    pub weight: u16,
    /// Largest IP packet towards it (DSR over IPIP: with the outer header); 0: not checked.
    pub mtu: u16,
    /// See [`member_flags`]. These alone may change while flows name the record.
    pub flags: u32,
    /// Zero.
    pub _pad: u32,
}

const _: () = assert!(size_of::<MemberRecord>() == 64);

/// Flags of a member.
pub mod member_flags {
    /// Persistence leads no new flow here: the member is down, has weight 0, is a backup that is not
    /// needed, or was removed. (Tables do not name it either.)
    pub const NO_NEW_FLOWS: u32 = 1;
}

/// `NEIGHBOURS` word: MAC of a member's next hop in the low 48 bits (first byte lowest), bit 63 set
/// when it is known.
#[must_use]
pub const fn neighbour_word(mac: [u8; 6]) -> u64 {
    (1 << 63) | u64::from_le_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0])
}

/// A conversation as seen on the wire, in one direction: key of `DRAINS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FlowKey {
    /// Segment of the interface it came in by.
    pub segment: u32,
    /// IP protocol.
    pub protocol: u8,
    /// Zero.
    pub _pad: [u8; 3],
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Source port.
    pub src_port: Be16,
    /// Destination port.
    pub dst_port: Be16,
    /// Zero.
    pub _pad2: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 48);

/// [`FlowKey`] by whole words: padding written byte by byte costs the bpf back end a call.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct FlowKeyWords {
    segment: u32,
    protocol: u32,
    src: Addr,
    dst: Addr,
    src_port: Be16,
    dst_port: Be16,
    pad: u32,
}

impl FlowKey {
    /// A key with its padding.
    #[must_use]
    #[inline(always)]
    pub const fn new(
        segment: u32,
        protocol: u8,
        (src, src_port): (Addr, Be16),
        (dst, dst_port): (Addr, Be16),
    ) -> Self {
        zerocopy::transmute!(FlowKeyWords {
            segment,
            protocol: (protocol as u32).to_le(),
            src,
            dst,
            src_port,
            dst_port,
            pad: 0,
        })
    }
}

/// Key of `CIDRS` and `DENIED`: prefix length counts the bits of listener (32) and address (128).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CidrKey {
    /// Listener index in network order (a trie compares bytes).
    pub listener: [u8; 4],
    /// Address, as in [`Addr`].
    pub addr: [u8; 16],
}

const _: () = assert!(size_of::<CidrKey>() == 20);

/// Where packets from an amphora's veth leave the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AnswerRecord {
    /// Uplink they leave by; 0: not one of ours.
    pub egress_ifindex: u32,
    /// Amphora index: only sources that belong to it may pass.
    pub amphora: u32,
    /// Load balancer index: its VIPs are such sources too.
    pub lb: u32,
    /// Segment of the network behind the uplink.
    pub segment: u32,
}

const _: () = assert!(size_of::<AnswerRecord>() == 16);

/// Per-CPU counters of one listener or member. Bytes are TCP payload, or IP length of anything else.
/// DSR never sees what goes out. The counters of an index start at zero when it gets a new owner.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ListenerCounters {
    /// Packets from clients.
    pub packets_in: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Packets to clients (NAT only).
    pub packets_out: u64,
    /// Bytes to clients (NAT only).
    pub bytes_out: u64,
    /// Flows opened (not for STEER).
    pub flows: u64,
    /// Flows that were refused, by us or by the member.
    pub errors: u64,
}

/// Counters of a member.
pub type MemberCounters = ListenerCounters;

/// Kind of an [`Event`].
pub mod event_kind {
    /// XDP left `from` for `to` by itself.
    pub const FAILED_OVER: u32 = 1;
    /// A member's next hop is not known.
    pub const NO_NEIGHBOUR: u32 = 2;
}

/// What XDP tells the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Event {
    /// See [`event_kind`].
    pub kind: u32,
    /// Load balancer index.
    pub lb: u32,
    /// Amphora index left, or member index.
    pub from: u32,
    /// Amphora index taken.
    pub to: u32,
    /// Epoch of the word that was left.
    pub epoch: u32,
    /// Zero.
    pub _pad: u32,
    /// When (CLOCK_MONOTONIC, coarse).
    pub at_ns: u64,
}

const _: () = assert!(size_of::<Event>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_keys_by_words_are_flow_keys() {
        let (client, vip) = (Addr::v4([198, 51, 100, 7]), Addr::v4([192, 0, 2, 1]));
        let key = FlowKey::new(7, 6, (client, Be16::new(40_000)), (vip, Be16::new(80)));
        let expected = FlowKey {
            segment: 7,
            protocol: 6,
            _pad: [0; 3],
            src: client,
            dst: vip,
            src_port: Be16::new(40_000),
            dst_port: Be16::new(80),
            _pad2: 0,
        };
        assert_eq!(key, expected);
    }

    #[test]
    fn addresses_are_words() {
        let addr = Addr::v4([192, 0, 2, 1]);
        let (first, second) = addr.words();
        assert_eq!(Addr::from_words(first, second), addr);
        assert!(addr.is_v4());
        assert!(!Addr::v6([1; 16]).is_v4());
    }
}
