//! What the maps must hold, as ordered plain tables.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use lb_common::maps::{
    Addr, AddressRecord, AmphoraRecord, AnswerRecord, ListenerRecord, MemberRecord, address_kind,
    live::LbShare, maglev_slot_of,
};

use super::MaglevTable;

/// An entry of `CIDRS` or `DENIED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    /// Listener index; 0 in `DENIED`.
    pub listener: u32,
    /// Bits of `addr` that count, 0..=128.
    pub bits: u8,
    /// Address with the other bits zero.
    pub addr: Addr,
}

impl Cidr {
    /// The entry for `net`. Both families are the same 128 bits in the maps: a v4 prefix gets the 96
    /// of its mapping.
    #[must_use]
    pub fn new(listener: u32, net: &IpNet) -> Self {
        let net = net.trunc();
        match net {
            IpNet::V4(v4) => Self {
                listener,
                bits: 96 + v4.prefix_len(),
                addr: Addr::v4(v4.addr().octets()),
            },
            IpNet::V6(v6) => Self {
                listener,
                bits: v6.prefix_len(),
                addr: Addr::v6(v6.addr().octets()),
            },
        }
    }
}

/// Entries of all maps that desired state decides, of one load balancer or of a whole host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DesiredMaps {
    /// `SEGMENTS`: ifindex to word.
    pub segments: BTreeMap<u32, u64>,
    /// `DEVS`: interfaces that packets may be redirected to.
    pub devs: BTreeSet<u32>,
    /// `DENIED`.
    pub denied: BTreeSet<Cidr>,
    /// `ADDRESSES`: (bucket, word in it) to word.
    pub addresses: BTreeMap<(u32, u32), u64>,
    /// `ADDRESS_RECORDS`.
    pub address_records: BTreeMap<u32, AddressRecord>,
    /// `PORTS`.
    pub ports: BTreeMap<u32, u64>,
    /// `LISTENERS`.
    pub listeners: BTreeMap<u32, ListenerRecord>,
    /// `MAGLEV`.
    pub maglev: BTreeMap<u32, MaglevTable>,
    /// `MEMBERS`.
    pub members: BTreeMap<u32, MemberRecord>,
    /// `LB_SHARES`: load balancer index to what it may have.
    pub shares: BTreeMap<u32, LbShare>,
    /// `CIDRS`.
    pub cidrs: BTreeSet<Cidr>,
    /// `AMPHORAE`.
    pub amphorae: BTreeMap<u32, AmphoraRecord>,
    /// `ANSWERS`: ifindex of a veth's edge end to record.
    pub answers: BTreeMap<u32, AnswerRecord>,
}

impl DesiredMaps {
    /// Adds the entries of `other`: of another load balancer of the same host.
    pub fn merge(&mut self, other: &Self) {
        self.segments.extend(&other.segments);
        self.devs.extend(&other.devs);
        self.denied.extend(&other.denied);
        self.addresses.extend(&other.addresses);
        self.address_records.extend(&other.address_records);
        self.ports.extend(&other.ports);
        self.listeners.extend(&other.listeners);
        self.maglev.extend(
            other
                .maglev
                .iter()
                .map(|(slot, table)| (*slot, table.clone())),
        );
        self.members.extend(&other.members);
        self.shares.extend(&other.shares);
        self.cidrs.extend(&other.cidrs);
        self.amphorae.extend(&other.amphorae);
        self.answers.extend(&other.answers);
    }

    /// The entries that belong to the load balancer with this index: for one that is to be left as
    /// it is because nothing can be planned for it now.
    #[must_use]
    pub fn of_load_balancer(&self, index: u32) -> Self {
        let listeners = only(&self.listeners, |_, listener| listener.lb == index);
        let amphorae = only(&self.amphorae, |_, amphora| amphora.lb == index);
        let address_records = only(&self.address_records, |_, record| match record.kind {
            address_kind::AMPHORA => amphorae.contains_key(&record.owner),
            _ => record.owner == index,
        });
        let tables: BTreeSet<u32> = listeners
            .values()
            .flat_map(|listener| [false, true].map(|v6| maglev_slot_of(listener.maglev, v6)))
            .collect();
        // Words name what they point at in their low half.
        let names = |word: &u64| u32::try_from(word & 0xffff_ffff).unwrap_or(0);
        Self {
            devs: amphorae.values().map(|amphora| amphora.ifindex).collect(),
            addresses: only(&self.addresses, |_, word| {
                address_records.contains_key(&names(word))
            }),
            ports: only(&self.ports, |_, word| listeners.contains_key(&names(word))),
            maglev: only(&self.maglev, |slot, _| tables.contains(slot)),
            members: only(&self.members, |_, member| member.lb == index),
            shares: only(&self.shares, |lb, _| *lb == index),
            cidrs: self
                .cidrs
                .iter()
                .filter(|cidr| listeners.contains_key(&cidr.listener))
                .copied()
                .collect(),
            answers: only(&self.answers, |_, answer| answer.lb == index),
            listeners,
            amphorae,
            address_records,
            ..Self::default()
        }
    }
}

fn only<K: Ord + Copy, V: Clone>(
    all: &BTreeMap<K, V>,
    keep: impl Fn(&K, &V) -> bool,
) -> BTreeMap<K, V> {
    all.iter()
        .filter(|(key, value)| keep(key, value))
        .map(|(key, value)| (*key, value.clone()))
        .collect()
}
