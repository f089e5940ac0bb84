//! The writes that lead from one state of the maps to another, in an order in which a packet never
//! follows a word to a record that is not there.
//!
//! 1. what nothing points at yet: records, new interfaces, new prefixes;
//! 2. Maglev tables, each swapped as a whole;
//! 3. listeners that change in place. They keep their index, since counters, flows and prefixes
//!    name it; a record is two 8-byte halves that are valid in any mixture, the table's first;
//! 4. the words that publish: ports, then addresses, then segments;
//! 5. words that go, in the opposite order, and at last what they pointed at.
//!
//! In place changes also an amphora's record: its veth was replaced, so nothing could reach it by
//! the old one.
//!
//! Flows outlive what they name: a member's record, and that of a VIP, stays when the object is gone,
//! the member's marked so that it gets no new flows. It goes, and its index may go to another, when no
//! flow names it any more ([`super::Allocations::reclaim`], [`clear_freed`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use lb_common::maps::{
    AddressRecord, AmphoraRecord, AnswerRecord, ListenerRecord, MemberRecord, address_kind,
    live::LbShare, member_flags,
};

use super::{Cidr, DesiredMaps, Freed, MaglevTable};

/// One write. `None` clears the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapWrite {
    /// `SEGMENTS`.
    Segment {
        /// Interface.
        ifindex: u32,
        /// 0: not ours.
        word: u64,
    },
    /// `DEVS`.
    Dev {
        /// Interface.
        ifindex: u32,
        /// Whether packets may be redirected to it.
        present: bool,
    },
    /// `DENIED`.
    Denied {
        /// Prefix.
        cidr: Cidr,
        /// Whether it is denied.
        present: bool,
    },
    /// One word of a bucket of `ADDRESSES`.
    Address {
        /// Bucket.
        bucket: u32,
        /// Which of its words.
        slot: u32,
        /// 0: empty.
        word: u64,
    },
    /// `ADDRESS_RECORDS`.
    AddressRecord {
        /// Index.
        index: u32,
        /// Content.
        record: Option<AddressRecord>,
    },
    /// `PORTS`.
    Port {
        /// Index.
        index: u32,
        /// 0: empty.
        word: u64,
    },
    /// `LISTENERS`.
    Listener {
        /// Index.
        index: u32,
        /// Content.
        record: Option<ListenerRecord>,
    },
    /// `MAGLEV`.
    Maglev {
        /// Slot.
        slot: u32,
        /// Content.
        table: Option<MaglevTable>,
    },
    /// `MEMBERS`.
    Member {
        /// Index.
        index: u32,
        /// Content.
        record: Option<MemberRecord>,
    },
    /// `LB_SHARES`.
    Share {
        /// Load balancer.
        index: u32,
        /// Content.
        share: Option<LbShare>,
    },
    /// `CIDRS`.
    Cidr {
        /// Prefix.
        cidr: Cidr,
        /// Whether it is allowed.
        present: bool,
    },
    /// `AMPHORAE`.
    Amphora {
        /// Index.
        index: u32,
        /// Content.
        record: Option<AmphoraRecord>,
    },
    /// `ANSWERS`.
    Answer {
        /// Edge end of an amphora's veth.
        ifindex: u32,
        /// Content.
        record: Option<AnswerRecord>,
    },
}

/// Entries of `new` that `old` lacks or has otherwise.
fn changed<'a, K: Ord + Copy, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, &'a V)> {
    new.iter()
        .filter(|(key, value)| old.get(key) != Some(value))
        .map(|(key, value)| (*key, value))
}

/// Keys of `old` that `new` lacks.
fn gone<'a, K: Ord + Copy, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = K> {
    old.keys().copied().filter(|key| !new.contains_key(key))
}

fn without<'a, T: Ord + Copy>(
    all: &'a BTreeSet<T>,
    those: &'a BTreeSet<T>,
) -> impl Iterator<Item = T> + use<'a, T> {
    all.difference(those).copied()
}

/// The writes from `old` to `new`, to be carried out in order.
#[must_use]
pub fn diff(old: &DesiredMaps, new: &DesiredMaps) -> Vec<MapWrite> {
    let mut writes = Vec::new();
    add_records(old, new, &mut writes);
    change_listeners(old, new, &mut writes);
    publish(old, new, &mut writes);
    withdraw(old, new, &mut writes);
    remove_records(old, new, &mut writes);
    writes
}

/// The writes that clear records whose index was freed: nothing names them any more.
#[must_use]
pub fn clear_freed(freed: &Freed) -> Vec<MapWrite> {
    let members = freed.members.iter().map(|index| MapWrite::Member {
        index: *index,
        record: None,
    });
    let addresses = freed.address_records.iter();
    let addresses = addresses.map(|index| MapWrite::AddressRecord {
        index: *index,
        record: None,
    });
    members.chain(addresses).collect()
}

fn add_records(old: &DesiredMaps, new: &DesiredMaps, writes: &mut Vec<MapWrite>) {
    let present = true;
    writes.extend(without(&new.denied, &old.denied).map(|cidr| MapWrite::Denied { cidr, present }));
    writes.extend(without(&new.devs, &old.devs).map(|ifindex| MapWrite::Dev { ifindex, present }));
    writes.extend(
        changed(&old.amphorae, &new.amphorae).map(|(index, record)| MapWrite::Amphora {
            index,
            record: Some(*record),
        }),
    );
    writes.extend(
        changed(&old.answers, &new.answers).map(|(ifindex, record)| MapWrite::Answer {
            ifindex,
            record: Some(*record),
        }),
    );
    writes.extend(
        changed(&old.members, &new.members).map(|(index, record)| MapWrite::Member {
            index,
            record: Some(*record),
        }),
    );
    writes.extend(
        changed(&old.address_records, &new.address_records).map(|(index, record)| {
            MapWrite::AddressRecord {
                index,
                record: Some(*record),
            }
        }),
    );
    writes.extend(
        changed(&old.shares, &new.shares).map(|(index, share)| MapWrite::Share {
            index,
            share: Some(*share),
        }),
    );
    writes.extend(without(&new.cidrs, &old.cidrs).map(|cidr| MapWrite::Cidr { cidr, present }));
    for (slot, table) in &new.maglev {
        if !old.maglev.get(slot).is_some_and(|known| known.same(table)) {
            writes.push(MapWrite::Maglev {
                slot: *slot,
                table: Some(table.clone()),
            });
        }
    }
}

fn change_listeners(old: &DesiredMaps, new: &DesiredMaps, writes: &mut Vec<MapWrite>) {
    for (index, record) in changed(&old.listeners, &new.listeners) {
        if let Some(known) = old.listeners.get(&index) {
            let table_first = ListenerRecord {
                lb: record.lb,
                maglev: record.maglev,
                ..*known
            };
            if table_first != *record && table_first != *known {
                writes.push(MapWrite::Listener {
                    index,
                    record: Some(table_first),
                });
            }
        }
        writes.push(MapWrite::Listener {
            index,
            record: Some(*record),
        });
    }
}

fn publish(old: &DesiredMaps, new: &DesiredMaps, writes: &mut Vec<MapWrite>) {
    writes.extend(
        changed(&old.ports, &new.ports).map(|(index, word)| MapWrite::Port { index, word: *word }),
    );
    writes.extend(
        changed(&old.addresses, &new.addresses).map(|((bucket, slot), word)| MapWrite::Address {
            bucket,
            slot,
            word: *word,
        }),
    );
    writes.extend(
        changed(&old.segments, &new.segments).map(|(ifindex, word)| MapWrite::Segment {
            ifindex,
            word: *word,
        }),
    );
}

fn withdraw(old: &DesiredMaps, new: &DesiredMaps, writes: &mut Vec<MapWrite>) {
    writes.extend(
        gone(&old.segments, &new.segments).map(|ifindex| MapWrite::Segment { ifindex, word: 0 }),
    );
    writes.extend(
        gone(&old.addresses, &new.addresses).map(|(bucket, slot)| MapWrite::Address {
            bucket,
            slot,
            word: 0,
        }),
    );
    writes.extend(gone(&old.ports, &new.ports).map(|index| MapWrite::Port { index, word: 0 }));
}

fn remove_records(old: &DesiredMaps, new: &DesiredMaps, writes: &mut Vec<MapWrite>) {
    let present = false;
    let record = None;
    writes.extend(
        gone(&old.listeners, &new.listeners).map(|index| MapWrite::Listener { index, record }),
    );
    writes
        .extend(gone(&old.maglev, &new.maglev).map(|slot| MapWrite::Maglev { slot, table: None }));
    let members = gone(&old.members, &new.members).filter_map(|index| {
        let mut record = *old.members.get(&index)?;
        let marked = record.flags & member_flags::NO_NEW_FLOWS != 0;
        record.flags |= member_flags::NO_NEW_FLOWS;
        let record = Some(record);
        (!marked).then_some(MapWrite::Member { index, record })
    });
    writes.extend(members);
    let records = gone(&old.address_records, &new.address_records).filter(|index| {
        let record = old.address_records.get(index);
        record.is_none_or(|record| record.kind != address_kind::VIP)
    });
    writes.extend(records.map(|index| MapWrite::AddressRecord {
        index,
        record: None,
    }));
    writes
        .extend(gone(&old.shares, &new.shares).map(|index| MapWrite::Share { index, share: None }));
    writes.extend(without(&old.cidrs, &new.cidrs).map(|cidr| MapWrite::Cidr { cidr, present }));
    writes.extend(
        gone(&old.answers, &new.answers).map(|ifindex| MapWrite::Answer {
            ifindex,
            record: None,
        }),
    );
    writes.extend(
        gone(&old.amphorae, &new.amphorae).map(|index| MapWrite::Amphora {
            index,
            record: None,
        }),
    );
    writes.extend(without(&old.devs, &new.devs).map(|ifindex| MapWrite::Dev { ifindex, present }));
    writes.extend(without(&old.denied, &new.denied).map(|cidr| MapWrite::Denied { cidr, present }));
}
