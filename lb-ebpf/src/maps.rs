//! The map statics. Names, keys and values are those of `lb_common::maps`; sizes are its `limits`.
//!
//! All are BTF maps: maps of maps need the inner map's definition from BTF, and one kind of
//! definition is easier to read than two.

use aya_ebpf::{
    bindings::bpf_fib_lookup,
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    heartbeat::HeartbeatPage,
    maps::{
        AddressBucket, AddressRecord, AmphoraRecord, AnswerRecord, CidrKey, Config, Event, FlowKey,
        ListenerCounters, ListenerRecord, MAGLEV_SLOTS, MAGLEV_TURNS_AT, MAGLEV_VALUE_BYTES,
        MemberCounters, MemberRecord,
        flow::{Block4, Block6, PersistBlock, Reverse},
        limits,
        live::{LbLive, LbShare, ListenerLive},
    },
    packet::Transport,
};

use crate::{balance::Seek, directory::Services, sweep::Sweep, walk::Packet};

/// `BPF_F_MMAPABLE`: user space maps the values instead of asking for them. Maps of words have it, so
/// that the agent's store is one 8-byte store; the kernel's copy for an update promises no such thing.
const MMAPABLE: usize = 1024;

/// One amphora's page. Only its head is used; the value is a page so that it can be mapped.
#[repr(C)]
pub(crate) struct Page {
    pub(crate) head: HeartbeatPage,
    _rest: [u64; (4096 - size_of::<HeartbeatPage>()) / 8],
}

const _: () = assert!(size_of::<Page>() == 4096);

/// One table of a pool: member indices, spare words of user space, turns.
#[repr(C, align(8))]
pub(crate) struct MaglevTable {
    pub(crate) slots: [u16; MAGLEV_SLOTS],
    _spare: [u16; 3],
    pub(crate) turns: u32,
    _pad: u32,
}

const _: () = assert!(size_of::<MaglevTable>() == MAGLEV_VALUE_BYTES);
const _: () = assert!(core::mem::offset_of!(MaglevTable, turns) == MAGLEV_TURNS_AT);

/// ICMP answers, or RST, given by this CPU in the second that began at `since_ns`.
#[repr(C)]
pub(crate) struct IcmpBudget {
    pub(crate) since_ns: u64,
    pub(crate) used: u64,
}

/// What is too large for the stack.
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) packet: Packet,
    pub(crate) transport: Transport,
    pub(crate) key: FlowKey,
    pub(crate) seek: Seek,
    pub(crate) query: bpf_fib_lookup,
}

const IFINDEXES: usize = limits::IFINDEXES as usize;
const LBS: usize = limits::LOAD_BALANCERS as usize;
const AMPHORA_RECORDS: usize = limits::AMPHORAE as usize;
const LISTENER_RECORDS: usize = limits::LISTENERS as usize;
const MEMBER_RECORDS: usize = limits::MEMBERS as usize;

#[btf_map]
pub(crate) static CONFIG: Array<Config, 1, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static SEGMENTS: Array<u64, IFINDEXES, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static ADDRESSES: Array<AddressBucket, { limits::ADDRESS_BUCKETS as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub(crate) static ADDRESS_RECORDS: Array<AddressRecord, { limits::ADDRESS_RECORDS as usize }> =
    Array::new();
#[btf_map]
pub(crate) static PORTS: Array<u64, { limits::PORTS as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static LISTENERS: Array<ListenerRecord, LISTENER_RECORDS> = Array::new();
#[btf_map]
pub(crate) static STEER: Array<u64, LBS, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static LATCH: Array<u64, LBS, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static AMPHORAE: Array<AmphoraRecord, AMPHORA_RECORDS> = Array::new();
#[btf_map]
pub(crate) static HEARTBEATS: ArrayOfMaps<Array<Page, 1, MMAPABLE>, AMPHORA_RECORDS> =
    ArrayOfMaps::new();
#[btf_map]
pub(crate) static MAGLEV: ArrayOfMaps<Array<MaglevTable, 1>, { limits::MAGLEV_TABLES as usize }> =
    ArrayOfMaps::new();
#[btf_map]
pub(crate) static MEMBERS: Array<MemberRecord, MEMBER_RECORDS> = Array::new();
#[btf_map]
pub(crate) static NEIGHBOURS: Array<u64, MEMBER_RECORDS, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static FLOWS4: Array<Block4, { limits::FLOW_BLOCKS4 as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static FLOWS6: Array<Block6, { limits::FLOW_BLOCKS6 as usize }, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static REVERSE: Array<Reverse, { limits::REVERSE_ENTRIES as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub(crate) static PERSIST: Array<PersistBlock, { limits::PERSIST_BLOCKS as usize }, MMAPABLE> =
    Array::new();
#[btf_map]
pub(crate) static LISTENER_LIVE: Array<ListenerLive, LISTENER_RECORDS, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static MEMBER_LIVE: Array<u64, MEMBER_RECORDS, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static LB_LIVE: Array<LbLive, LBS, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static LB_SHARES: Array<LbShare, LBS> = Array::new();
#[btf_map]
pub(crate) static TURNS: PerCpuArray<u64, LISTENER_RECORDS> = PerCpuArray::new();
#[btf_map]
pub(crate) static MEMBER_STATS: PerCpuArray<MemberCounters, MEMBER_RECORDS> = PerCpuArray::new();
#[btf_map]
pub(crate) static DRAINS: HashMap<FlowKey, u32, { limits::DRAINS as usize }> = HashMap::new();
#[btf_map]
pub(crate) static CIDRS: LpmTrie<CidrKey, u32, { limits::CIDRS as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static DEVS: DevMapHash<{ limits::DEVICES as usize }> = DevMapHash::new();
#[btf_map]
pub(crate) static ANSWERS: Array<AnswerRecord, IFINDEXES> = Array::new();
#[btf_map]
pub(crate) static DENIED: LpmTrie<CidrKey, u32, { limits::DENIED as usize }> = LpmTrie::new();
#[btf_map]
pub(crate) static LISTENER_STATS: PerCpuArray<ListenerCounters, LISTENER_RECORDS> =
    PerCpuArray::new();
#[btf_map]
pub(crate) static REASONS: PerCpuArray<u64, { limits::REASONS as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static EVENTS: RingBuf<Event, { limits::EVENT_BYTES as usize }> = RingBuf::new();
#[btf_map]
pub(crate) static ICMP_BUDGET: PerCpuArray<IcmpBudget, 2> = PerCpuArray::new();
#[btf_map]
pub(crate) static SWEEP: Array<Sweep, 1> = Array::new();
#[btf_map]
pub(crate) static SERVICES: PerCpuArray<Services, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
