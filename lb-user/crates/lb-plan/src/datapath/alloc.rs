//! Who has which place in the arrays. Persisted by the agent before the maps are written, so that a
//! restarted agent finds every object where the packets find it.
//!
//! Invariants:
//! - An object keeps its index as long as it lives; what publishes a record by a word (addresses,
//!   members) gets a new index when the record's content changes, because a published record is
//!   not changed.
//! - What is given up is retired and not used again before [`Allocations::reclaim`].
//! - A refused change leaves no trace: [`super::load_balancer`] works on a copy.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::maps::limits;
use lb_model::id::{AmphoraId, ListenerId, LoadBalancerId, MemberId, NetworkId, PoolId};
use serde::{Deserialize, Serialize};

use super::{
    Error,
    index::{Block, Blocks, Indices},
};

/// VIPs of one load balancer, and the records that one VIP has in its life, are told apart or taken
/// for one by this much of their record's index (`lb_common::maps::flow::Word::vip`).
const RECORDS_TOLD_APART: u32 = 256;

/// Places of all objects of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocations {
    /// Keys the hash of `ADDRESSES`; goes into `CONFIG`.
    hash_seed: u64,
    load_balancer_indices: Indices,
    address_records: Indices,
    listeners: Indices,
    amphorae: Indices,
    maglev: Indices,
    members: Indices,
    ports: Blocks,
    by_load_balancer: BTreeMap<LoadBalancerId, Places>,
    /// Retired records of addresses, and the load balancer index whose flows may name them.
    #[serde(default)]
    retired_records: BTreeMap<u32, u32>,
}

/// Places of one load balancer's objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Places {
    pub(super) index: u32,
    pub(super) ports: Option<PortBlock>,
    pub(super) addresses: Vec<AddressPlace>,
    pub(super) listeners: BTreeMap<ListenerId, u32>,
    pub(super) amphorae: BTreeMap<AmphoraId, AmphoraPlaces>,
    pub(super) pools: BTreeMap<PoolId, PoolPlaces>,
}

/// The block of `PORTS` that all VIPs of a load balancer share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PortBlock {
    pub(super) block: Block,
    /// Word in the block to (protocol, port).
    pub(super) words: BTreeMap<u32, (u8, u16)>,
}

/// Where an address stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AddressPlace {
    pub(super) segment: u32,
    pub(super) address: IpAddr,
    pub(super) bucket: u32,
    pub(super) tag: u32,
    pub(super) word: u32,
    pub(super) record: u32,
    /// Fingerprint of the record.
    pub(super) content: u64,
}

/// One index a network that an amphora is joined to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AmphoraPlaces {
    /// Network of the primary VIP.
    pub(super) home: Option<NetworkId>,
    pub(super) networks: BTreeMap<NetworkId, u32>,
}

/// A pool that XDP balances.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PoolPlaces {
    /// Table of the IPv4 members, once there were some.
    pub(super) v4: Option<u32>,
    /// Table of the IPv6 members, once there were some.
    pub(super) v6: Option<u32>,
    pub(super) members: BTreeMap<MemberId, MemberPlace>,
}

/// A member that XDP balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberPlace {
    pub(super) index: u16,
    /// Fingerprint of the record.
    pub(super) content: u64,
}

/// What flows still name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Listener indices.
    pub listeners: BTreeSet<u32>,
    /// Member indices.
    pub members: BTreeSet<u32>,
    /// Load balancer indices.
    pub load_balancers: BTreeSet<u32>,
}

/// What [`Allocations::reclaim`] freed of the records that outlive their object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// In `MEMBERS`.
    pub members: BTreeSet<u32>,
    /// In `ADDRESS_RECORDS`.
    pub address_records: BTreeSet<u32>,
}

impl Allocations {
    /// None yet. `hash_seed` is random: it keeps others from aiming at one bucket.
    #[must_use]
    pub fn new(hash_seed: u64) -> Self {
        Self {
            hash_seed,
            load_balancer_indices: Indices::starting_at(1),
            address_records: Indices::starting_at(1),
            listeners: Indices::starting_at(1),
            amphorae: Indices::starting_at(1),
            maglev: Indices::starting_at(0),
            members: Indices::starting_at(1),
            ports: Blocks::new(),
            by_load_balancer: BTreeMap::new(),
            retired_records: BTreeMap::new(),
        }
    }

    /// What keys the hash of `ADDRESSES`.
    #[must_use]
    pub const fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// Index of a load balancer in `STEER` and `LATCH`.
    #[must_use]
    pub fn load_balancer(&self, id: LoadBalancerId) -> Option<u32> {
        self.by_load_balancer.get(&id).map(|places| places.index)
    }

    /// Who has an index in `STEER`: for events.
    #[must_use]
    pub fn load_balancer_at(&self, index: u32) -> Option<LoadBalancerId> {
        self.by_load_balancer
            .iter()
            .find(|(_, places)| places.index == index)
            .map(|(id, _)| *id)
    }

    /// Index of an amphora in `STEER` and `HEARTBEATS`: of its record in the VIP's network.
    #[must_use]
    pub fn amphora(&self, load_balancer: LoadBalancerId, amphora: AmphoraId) -> Option<u16> {
        let places = self.by_load_balancer.get(&load_balancer)?;
        let of = places.amphorae.get(&amphora)?;
        let index = of.networks.get(&of.home?)?;
        u16::try_from(*index).ok()
    }

    /// Index of a listener in `LISTENERS` and `LISTENER_STATS`.
    #[must_use]
    pub fn listener(&self, load_balancer: LoadBalancerId, listener: ListenerId) -> Option<u32> {
        let places = self.by_load_balancer.get(&load_balancer)?;
        places.listeners.get(&listener).copied()
    }

    /// Index of a member in `MEMBERS` and `NEIGHBOURS`.
    #[must_use]
    pub fn member(
        &self,
        load_balancer: LoadBalancerId,
        pool: PoolId,
        member: MemberId,
    ) -> Option<u32> {
        let places = self.by_load_balancer.get(&load_balancer)?;
        let place = places.pools.get(&pool)?.members.get(&member)?;
        Some(u32::from(place.index))
    }

    /// Who has an index in `LISTENERS`.
    #[must_use]
    pub fn listener_at(&self, index: u32) -> Option<(LoadBalancerId, ListenerId)> {
        self.by_load_balancer.iter().find_map(|(owner, places)| {
            let mut all = places.listeners.iter();
            let (id, _) = all.find(|(_, at)| **at == index)?;
            Some((*owner, *id))
        })
    }

    /// Who has an index in `MEMBERS`.
    #[must_use]
    pub fn member_at(&self, index: u32) -> Option<(LoadBalancerId, PoolId, MemberId)> {
        self.by_load_balancer.iter().find_map(|(owner, places)| {
            places.pools.iter().find_map(|(pool, places)| {
                let mut all = places.members.iter();
                let (id, _) = all.find(|(_, place)| u32::from(place.index) == index)?;
                Some((*owner, *pool, *id))
            })
        })
    }

    /// All load balancers that have a place.
    pub fn load_balancers(&self) -> impl Iterator<Item = LoadBalancerId> + '_ {
        self.by_load_balancer.keys().copied()
    }

    /// Gives up every place of a load balancer that is gone.
    pub fn remove(&mut self, id: LoadBalancerId) {
        let Some(places) = self.by_load_balancer.remove(&id) else {
            return;
        };
        self.load_balancer_indices.retire(places.index);
        for address in &places.addresses {
            self.address_records.retire(address.record);
            self.retired_records.insert(address.record, places.index);
        }
        for index in places.listeners.values() {
            self.listeners.retire(*index);
        }
        for index in places.amphorae.values().flat_map(|of| of.networks.values()) {
            self.amphorae.retire(*index);
        }
        for pool in places.pools.values() {
            for slot in [pool.v4, pool.v6].into_iter().flatten() {
                self.maglev.retire(slot);
            }
            for member in pool.members.values() {
                self.members.retire(u32::from(member.index));
            }
        }
        if let Some(ports) = places.ports {
            self.ports.retire(ports.block);
        }
    }

    /// Frees what was given up and is not `in_use`. To be called with what a sweep of the flows
    /// found, when the sweep began after the removals were written. What is freed is to be cleared in
    /// the maps ([`super::clear_freed`]).
    pub fn reclaim(&mut self, in_use: &InUse) -> Freed {
        let named = |index: &u32| in_use.load_balancers.contains(index);
        self.load_balancer_indices.reclaim(|index| named(&index));
        self.retired_records.retain(|_, owner| named(owner));
        let address_records = self
            .address_records
            .reclaim(|record| self.retired_records.contains_key(&record));
        self.amphorae.reclaim(|_| false);
        self.maglev.reclaim(|_| false);
        self.ports.reclaim();
        self.listeners
            .reclaim(|index| in_use.listeners.contains(&index));
        let members = self
            .members
            .reclaim(|index| in_use.members.contains(&index));
        Freed {
            members,
            address_records,
        }
    }
}

/// One load balancer's turn: its places taken out, changed, and put back.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) id: LoadBalancerId,
    pub(super) places: Places,
    all: &'a mut Allocations,
}

impl<'a> Turn<'a> {
    /// Takes the places of `id` out of `all`; [`Self::end`] puts them back.
    pub(super) fn begin(all: &'a mut Allocations, id: LoadBalancerId) -> Result<Self, Error> {
        let places = if let Some(places) = all.by_load_balancer.remove(&id) {
            places
        } else {
            let limit = limits::LOAD_BALANCERS;
            let index = all.load_balancer_indices.take(limit).ok_or(Error::Full {
                load_balancer: id,
                what: "load balancers",
                limit,
            })?;
            Places {
                index,
                ports: None,
                addresses: Vec::new(),
                listeners: BTreeMap::new(),
                amphorae: BTreeMap::new(),
                pools: BTreeMap::new(),
            }
        };
        Ok(Self { id, places, all })
    }

    pub(super) fn end(self) {
        self.all.by_load_balancer.insert(self.id, self.places);
    }

    pub(super) const fn hash_seed(&self) -> u64 {
        self.all.hash_seed
    }

    const fn full(&self, what: &'static str, limit: u32) -> Error {
        Error::Full {
            load_balancer: self.id,
            what,
            limit,
        }
    }

    /// The index of a listener, new or old.
    pub(super) fn listener(&mut self, id: ListenerId) -> Result<u32, Error> {
        if let Some(index) = self.places.listeners.get(&id) {
            return Ok(*index);
        }
        let limit = limits::LISTENERS;
        let index = self.all.listeners.take(limit);
        let index = index.ok_or(self.full("listeners", limit))?;
        self.places.listeners.insert(id, index);
        Ok(index)
    }

    /// Gives up the listeners that are not in `keep`.
    pub(super) fn keep_listeners(&mut self, keep: &BTreeSet<ListenerId>) {
        let all = &mut *self.all;
        self.places.listeners.retain(|id, index| {
            let stays = keep.contains(id);
            if !stays {
                all.listeners.retire(*index);
            }
            stays
        });
    }

    /// The index of an amphora in one network.
    pub(super) fn amphora(&mut self, id: AmphoraId, network: NetworkId) -> Result<u32, Error> {
        let known = self.places.amphorae.get(&id);
        if let Some(index) = known.and_then(|of| of.networks.get(&network)) {
            return Ok(*index);
        }
        let limit = limits::AMPHORAE;
        let index = self.all.amphorae.take(limit);
        let index = index.ok_or(self.full("amphorae", limit))?;
        let of = self.places.amphorae.entry(id).or_default();
        of.home.get_or_insert(network);
        of.networks.insert(network, index);
        Ok(index)
    }

    /// Gives up what amphorae have outside `keep`.
    pub(super) fn keep_amphorae(&mut self, keep: &BTreeSet<(AmphoraId, NetworkId)>) {
        let all = &mut *self.all;
        for (id, of) in &mut self.places.amphorae {
            of.networks.retain(|network, index| {
                let stays = keep.contains(&(*id, *network));
                if !stays {
                    all.amphorae.retire(*index);
                }
                stays
            });
        }
        self.places.amphorae.retain(|_, of| !of.networks.is_empty());
    }

    /// The slot in `MAGLEV` of a pool's members of one family.
    pub(super) fn table(&mut self, id: PoolId, is_v6: bool) -> Result<u32, Error> {
        let limit = limits::MAGLEV_TABLES;
        let full = self.full("hashed pools", limit);
        let pool = self.places.pools.entry(id).or_default();
        let known = if is_v6 { &mut pool.v6 } else { &mut pool.v4 };
        if let Some(slot) = known {
            return Ok(*slot);
        }
        let slot = self.all.maglev.take(limit).ok_or(full)?;
        Ok(*known.insert(slot))
    }

    /// The index of a member whose record has fingerprint `content`.
    pub(super) fn member(
        &mut self,
        pool: PoolId,
        id: MemberId,
        content: u64,
    ) -> Result<u16, Error> {
        let known = self
            .places
            .pools
            .get(&pool)
            .and_then(|pool| pool.members.get(&id))
            .copied();
        if let Some(place) = known {
            if place.content == content {
                return Ok(place.index);
            }
            self.all.members.retire(u32::from(place.index));
        }
        let limit = limits::MEMBERS;
        let index = self.all.members.take(limit);
        let index = index.and_then(|index| u16::try_from(index).ok());
        let index = index.ok_or(self.full("hashed members", limit))?;
        let pool = self.places.pools.entry(pool).or_default();
        pool.members.insert(id, MemberPlace { index, content });
        Ok(index)
    }

    /// Gives up pools and members that are not in `keep`.
    pub(super) fn keep_pools(&mut self, keep: &BTreeMap<PoolId, BTreeSet<MemberId>>) {
        let all = &mut *self.all;
        self.places.pools.retain(|id, pool| {
            let members = keep.get(id);
            pool.members.retain(|member, place| {
                let stays = members.is_some_and(|members| members.contains(member));
                if !stays {
                    all.members.retire(u32::from(place.index));
                }
                stays
            });
            if members.is_none() {
                for slot in [pool.v4, pool.v6].into_iter().flatten() {
                    all.maglev.retire(slot);
                }
            }
            members.is_some()
        });
    }

    /// The block of ports with a word for each of `wanted`; those that stay keep their word unless
    /// the block must grow.
    pub(super) fn ports(&mut self, wanted: &BTreeSet<(u8, u16)>) -> Result<&PortBlock, Error> {
        let old = self.places.ports.take();
        let mut words = BTreeMap::new();
        if let Some(old) = &old {
            words.clone_from(&old.words);
            words.retain(|_, port| wanted.contains(port));
            if let Some(words) = place(words, wanted, old.block.size) {
                let block = old.block;
                return Ok(self.places.ports.insert(PortBlock { block, words }));
            }
        }
        let limit = limits::PORTS;
        let full = self.full("ports of listeners", limit);
        let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let least = old
            .as_ref()
            .map_or(limits::PORT_PROBES, |old| old.block.size * 2);
        let mut size = count
            .checked_mul(2)
            .and_then(u32::checked_next_power_of_two)
            .ok_or_else(|| full.clone())?
            .max(least);
        while size <= limit {
            if let Some(words) = place(BTreeMap::new(), wanted, size) {
                let block = self.all.ports.take(size, limit).ok_or(full)?;
                if let Some(old) = old {
                    self.all.ports.retire(old.block);
                }
                return Ok(self.places.ports.insert(PortBlock { block, words }));
            }
            size *= 2;
        }
        Err(full)
    }

    /// The place of an address whose record has fingerprint `content`, and whose word has this
    /// bucket and tag. A bucket must not hold two words of one tag.
    pub(super) fn address(
        &mut self,
        segment: u32,
        address: IpAddr,
        (bucket, tag): (u32, u32),
        content: u64,
    ) -> Result<AddressPlace, Error> {
        let taken = |owner| Error::AddressTaken {
            load_balancer: self.id,
            address,
            owner,
        };
        let mut used = 0_u8;
        let mut tag_taken = false;
        for (owner, places) in &self.all.by_load_balancer {
            for place in places.addresses.iter().filter(|p| p.bucket == bucket) {
                if place.segment == segment && place.address == address {
                    return Err(taken(*owner));
                }
                used |= 1 << place.word;
                tag_taken |= place.tag == tag;
            }
        }
        let mut own = None;
        for (at, place) in self.places.addresses.iter().enumerate() {
            if place.segment == segment && place.address == address {
                own = Some(at);
            } else if place.bucket == bucket {
                used |= 1 << place.word;
                tag_taken |= place.tag == tag;
            }
        }
        let limit = limits::ADDRESS_RECORDS;
        let full = self.full("addresses", limit);
        if let Some(place) = own.and_then(|at| self.places.addresses.get_mut(at)) {
            if place.content != content {
                // A flow's word holds the low byte of its VIP's record.
                let alike = place.record % RECORDS_TOLD_APART;
                let records = &mut self.all.address_records;
                let record = records
                    .take_where(limit, |index| index % RECORDS_TOLD_APART == alike)
                    .or_else(|| records.take(limit))
                    .ok_or(full)?;
                records.retire(place.record);
                let owner = self.places.index;
                self.all.retired_records.insert(place.record, owner);
                place.record = record;
                place.content = content;
            }
            return Ok(place.clone());
        }
        let word = used.trailing_ones();
        if word >= u8::BITS || tag_taken {
            return Err(self.full("addresses of one hash bucket", u8::BITS));
        }
        let taken: BTreeSet<u32> = self
            .places
            .addresses
            .iter()
            .map(|place| place.record % RECORDS_TOLD_APART)
            .collect();
        let records = &mut self.all.address_records;
        let record = records
            .take_where(limit, |index| {
                !taken.contains(&(index % RECORDS_TOLD_APART))
            })
            .or_else(|| records.take(limit))
            .ok_or(full)?;
        let place = AddressPlace {
            segment,
            address,
            bucket,
            tag,
            word,
            record,
            content,
        };
        self.places.addresses.push(place.clone());
        Ok(place)
    }

    /// Gives up the addresses that are not in `keep`.
    pub(super) fn keep_addresses(&mut self, keep: &BTreeSet<(u32, IpAddr)>) {
        let all = &mut *self.all;
        let owner = self.places.index;
        self.places.addresses.retain(|place| {
            let stays = keep.contains(&(place.segment, place.address));
            if !stays {
                all.address_records.retire(place.record);
                all.retired_records.insert(place.record, owner);
            }
            stays
        });
    }
}

/// Finds a word for each of `wanted` that has none in `words`, in a block of `size`.
fn place(
    mut words: BTreeMap<u32, (u8, u16)>,
    wanted: &BTreeSet<(u8, u16)>,
    size: u32,
) -> Option<BTreeMap<u32, (u8, u16)>> {
    let placed: BTreeSet<_> = words.values().copied().collect();
    for &(protocol, port) in wanted.difference(&placed) {
        let home = lb_common::maps::port_home(protocol, port);
        let word = (0..limits::PORT_PROBES)
            .map(|probe| home.wrapping_add(probe) & (size - 1))
            .find(|word| !words.contains_key(word))?;
        words.insert(word, (protocol, port));
    }
    Some(words)
}
