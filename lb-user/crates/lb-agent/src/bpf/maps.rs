//! The pinned maps: which there are, what shape they must have, and their handles.

use std::path::Path;

use lb_common::maps::{
    AddressBucket, AddressRecord, AmphoraRecord, AnswerRecord, CidrKey, Config, FlowKey,
    ListenerCounters, ListenerRecord, MAP_ABI, MemberCounters, MemberRecord,
    flow::{Block4, Block6, PersistBlock, Reverse},
    limits,
    live::{LbLive, LbShare, ListenerLive},
    names,
};
use lb_sys::bpf::{MMAPABLE, Map, Shape, Words, map_type};

use super::{Doing as _, Error};

/// Bytes of a trie's key: prefix length, then the key.
pub(super) const TRIE_KEY: usize = 4 + size_of::<CidrKey>();

const fn shape<K, V>(map_type: u32, max_entries: u32, flags: u32) -> Shape {
    Shape {
        map_type,
        key_size: bytes(size_of::<K>()),
        value_size: bytes(size_of::<V>()),
        max_entries,
        flags,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sizes of small structures, known when compiling"
)]
const fn bytes(size: usize) -> u32 {
    size as u32
}

const fn array<V>(max_entries: u32) -> Shape {
    shape::<u32, V>(map_type::ARRAY, max_entries, 0)
}

const fn words<V>(max_entries: u32) -> Shape {
    shape::<u32, V>(map_type::ARRAY, max_entries, MMAPABLE)
}

/// `struct bpf_devmap_val`: interface and program (none).
pub(super) type DevValue = [u32; 2];

/// Every pinned map with its shape.
pub(super) const PINNED: [(&str, Shape); 32] = [
    (names::CONFIG, words::<Config>(1)),
    (names::SEGMENTS, words::<u64>(limits::IFINDEXES)),
    (
        names::ADDRESSES,
        words::<AddressBucket>(limits::ADDRESS_BUCKETS),
    ),
    (
        names::ADDRESS_RECORDS,
        array::<AddressRecord>(limits::ADDRESS_RECORDS),
    ),
    (names::PORTS, words::<u64>(limits::PORTS)),
    (names::LISTENERS, array::<ListenerRecord>(limits::LISTENERS)),
    (names::STEER, words::<u64>(limits::LOAD_BALANCERS)),
    (names::LATCH, words::<u64>(limits::LOAD_BALANCERS)),
    (names::AMPHORAE, array::<AmphoraRecord>(limits::AMPHORAE)),
    (
        names::HEARTBEATS,
        shape::<u32, u32>(map_type::ARRAY_OF_MAPS, limits::AMPHORAE, 0),
    ),
    (
        names::MAGLEV,
        shape::<u32, u32>(map_type::ARRAY_OF_MAPS, limits::MAGLEV_TABLES, 0),
    ),
    (names::MEMBERS, array::<MemberRecord>(limits::MEMBERS)),
    (names::NEIGHBOURS, words::<u64>(limits::MEMBERS)),
    (names::FLOWS4, words::<Block4>(limits::FLOW_BLOCKS4)),
    (names::FLOWS6, words::<Block6>(limits::FLOW_BLOCKS6)),
    (names::REVERSE, words::<Reverse>(limits::REVERSE_ENTRIES)),
    (
        names::PERSIST,
        words::<PersistBlock>(limits::PERSIST_BLOCKS),
    ),
    (
        names::LISTENER_LIVE,
        words::<ListenerLive>(limits::LISTENERS),
    ),
    (names::MEMBER_LIVE, words::<u64>(limits::MEMBERS)),
    (names::LB_LIVE, words::<LbLive>(limits::LOAD_BALANCERS)),
    (names::LB_SHARES, array::<LbShare>(limits::LOAD_BALANCERS)),
    // A timer and two cursors.
    (names::SWEEP, array::<[u64; 3]>(1)),
    (
        names::TURNS,
        shape::<u32, u64>(map_type::PERCPU_ARRAY, limits::LISTENERS, 0),
    ),
    (
        names::MEMBER_STATS,
        shape::<u32, MemberCounters>(map_type::PERCPU_ARRAY, limits::MEMBERS, 0),
    ),
    (
        names::DRAINS,
        shape::<FlowKey, u32>(map_type::HASH, limits::DRAINS, 0),
    ),
    (
        names::CIDRS,
        shape::<[u8; TRIE_KEY], u32>(map_type::LPM_TRIE, limits::CIDRS, 0),
    ),
    (
        names::DEVS,
        shape::<u32, DevValue>(map_type::DEVMAP_HASH, limits::DEVICES, 0),
    ),
    (names::ANSWERS, array::<AnswerRecord>(limits::IFINDEXES)),
    (
        names::DENIED,
        shape::<[u8; TRIE_KEY], u32>(map_type::LPM_TRIE, limits::DENIED, 0),
    ),
    (
        names::LISTENER_STATS,
        shape::<u32, ListenerCounters>(map_type::PERCPU_ARRAY, limits::LISTENERS, 0),
    ),
    (
        names::REASONS,
        shape::<u32, u64>(map_type::PERCPU_ARRAY, limits::REASONS, 0),
    ),
    (
        names::EVENTS,
        shape::<(), ()>(map_type::RINGBUF, limits::EVENT_BYTES, 0),
    ),
];

/// Checks an open map. Of the flags only [`MMAPABLE`] matters: others do not change what is in it.
pub(super) fn check(
    name: &'static str,
    found: Shape,
    wanted: Shape,
    dir: &Path,
) -> Result<(), Error> {
    let comparable = |shape: Shape| Shape {
        flags: shape.flags & MMAPABLE,
        ..shape
    };
    if comparable(found) == comparable(wanted) {
        return Ok(());
    }
    Err(Error::Shape {
        name,
        found: format!("{found:?}"),
        wanted: format!("{wanted:?}"),
        path: dir.to_owned(),
    })
}

/// The maps of a data path, whoever loaded it: to look into them no program is needed.
#[derive(Debug)]
pub struct View {
    pub(super) config: Map,
    pub(super) config_words: Words,
    pub(super) segments: Words,
    pub(super) addresses: Words,
    pub(super) address_records: Map,
    pub(super) ports: Words,
    pub(super) listeners: Map,
    pub(super) steer: Words,
    pub(super) latch: Words,
    pub(super) amphorae: Map,
    pub(super) heartbeats: Map,
    pub(super) maglev: Map,
    pub(super) members: Map,
    pub(super) neighbours: Words,
    pub(super) flows4: Words,
    pub(super) flows6: Words,
    pub(super) reverse: Words,
    pub(super) persist: Words,
    pub(super) listener_live: Words,
    pub(super) member_live: Words,
    pub(super) lb_live: Words,
    pub(super) lb_shares: Map,
    pub(super) member_stats: Map,
    pub(super) drains: Map,
    pub(super) cidrs: Map,
    pub(super) devs: Map,
    pub(super) answers: Map,
    pub(super) denied: Map,
    pub(super) listener_stats: Map,
    pub(super) reasons: Map,
}

impl View {
    /// Opens the maps that an agent pinned below `bpf_dir`.
    ///
    /// # Errors
    /// When there are none of this layout, or they may not be opened.
    pub fn open(bpf_dir: &Path) -> Result<Self, Error> {
        let dir = bpf_dir.join(format!("v{MAP_ABI}"));
        if !dir.join(names::CONFIG).exists() {
            return Err(Error::Absent {
                path: dir,
                ours: MAP_ABI,
            });
        }
        Self::of(&dir)
    }

    /// Opens what is pinned in `dir`, checking each map's shape.
    pub(super) fn of(dir: &Path) -> Result<Self, Error> {
        for (name, wanted) in PINNED {
            check(name, open(dir, name)?.shape(), wanted, dir)?;
        }
        Ok(Self {
            config: open(dir, names::CONFIG)?,
            config_words: open_words(dir, names::CONFIG)?,
            segments: open_words(dir, names::SEGMENTS)?,
            addresses: open_words(dir, names::ADDRESSES)?,
            address_records: open(dir, names::ADDRESS_RECORDS)?,
            ports: open_words(dir, names::PORTS)?,
            listeners: open(dir, names::LISTENERS)?,
            steer: open_words(dir, names::STEER)?,
            latch: open_words(dir, names::LATCH)?,
            amphorae: open(dir, names::AMPHORAE)?,
            heartbeats: open(dir, names::HEARTBEATS)?,
            maglev: open(dir, names::MAGLEV)?,
            members: open(dir, names::MEMBERS)?,
            neighbours: open_words(dir, names::NEIGHBOURS)?,
            flows4: open_words(dir, names::FLOWS4)?,
            flows6: open_words(dir, names::FLOWS6)?,
            reverse: open_words(dir, names::REVERSE)?,
            persist: open_words(dir, names::PERSIST)?,
            listener_live: open_words(dir, names::LISTENER_LIVE)?,
            member_live: open_words(dir, names::MEMBER_LIVE)?,
            lb_live: open_words(dir, names::LB_LIVE)?,
            lb_shares: open(dir, names::LB_SHARES)?,
            member_stats: open(dir, names::MEMBER_STATS)?,
            drains: open(dir, names::DRAINS)?,
            cidrs: open(dir, names::CIDRS)?,
            devs: open(dir, names::DEVS)?,
            answers: open(dir, names::ANSWERS)?,
            denied: open(dir, names::DENIED)?,
            listener_stats: open(dir, names::LISTENER_STATS)?,
            reasons: open(dir, names::REASONS)?,
        })
    }
}

pub(super) fn open(dir: &Path, name: &str) -> Result<Map, Error> {
    let path = dir.join(name);
    Map::open(&path).doing(|| format!("cannot open the map pinned at {}", path.display()))
}

fn open_words(dir: &Path, name: &str) -> Result<Words, Error> {
    let map = open(dir, name)?;
    Words::new(&map).doing(|| format!("cannot map the words of {name}"))
}
