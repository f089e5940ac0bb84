//! Carrying out writes, in the order they were planned.

use std::io;

use lb_common::maps::{ListenerRecord, MAGLEV_VALUE_BYTES, MemberRecord, names};
use lb_plan::datapath::{Cidr, MaglevTable, MapWrite};
use lb_sys::bpf::{Map, Shape, map_type};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::{
    Datapath, Doing as _, Error,
    maps::TRIE_KEY,
    steer::{load, store},
};

const TABLE: Shape = Shape {
    map_type: map_type::ARRAY,
    key_size: 4,
    #[expect(clippy::cast_possible_truncation, reason = "131 kB")]
    value_size: MAGLEV_VALUE_BYTES as u32,
    max_entries: 1,
    flags: 0,
};

impl Datapath {
    /// Carries out `writes` in order, up to the first that fails. After a failure the maps are
    /// somewhere between two good states; [`Self::read`] and a new difference lead on from there.
    ///
    /// # Errors
    /// The kernel's, naming map and entry.
    pub fn apply(&self, writes: &[MapWrite]) -> Result<(), Error> {
        writes.iter().try_for_each(|write| self.write(write))
    }

    fn write(&self, write: &MapWrite) -> Result<(), Error> {
        let maps = &self.maps;
        match write {
            MapWrite::Segment { ifindex, word } => {
                store(&maps.segments, names::SEGMENTS, *ifindex, *word)?;
                self.raise_generation()
            }
            MapWrite::Port { index, word } => {
                store(&maps.ports, names::PORTS, *index, *word)?;
                self.raise_generation()
            }
            MapWrite::Address { bucket, slot, word } => {
                let index = bucket * 8 + slot;
                store(&maps.addresses, names::ADDRESSES, index, *word)?;
                self.raise_generation()
            }
            MapWrite::Dev { ifindex, present } => self.dev(*ifindex, *present),
            MapWrite::Denied { cidr, present } => {
                prefix(&maps.denied, names::DENIED, cidr, *present)
            }
            MapWrite::Cidr { cidr, present } => prefix(&maps.cidrs, names::CIDRS, cidr, *present),
            MapWrite::AddressRecord { index, record } => {
                record_at(
                    &maps.address_records,
                    names::ADDRESS_RECORDS,
                    *index,
                    record.as_ref(),
                )?;
                self.raise_generation()
            }
            MapWrite::Listener { index, record } => self.listener(*index, record.as_ref()),
            MapWrite::Maglev { slot, table } => self.maglev(*slot, table.as_ref()),
            MapWrite::Member { index, record } => self.member(*index, record.as_ref()),
            MapWrite::Share { index, share } => {
                record_at(&maps.lb_shares, names::LB_SHARES, *index, share.as_ref())
            }
            MapWrite::Amphora { index, record } => {
                record_at(&maps.amphorae, names::AMPHORAE, *index, record.as_ref())
            }
            MapWrite::Answer { ifindex, record } => {
                record_at(&maps.answers, names::ANSWERS, *ifindex, record.as_ref())
            }
        }
    }

    fn dev(&self, ifindex: u32, present: bool) -> Result<(), Error> {
        let key = ifindex.to_ne_bytes();
        let result = if present {
            let value = [ifindex, 0];
            self.maps.devs.update(&key, value.as_bytes())
        } else {
            // The kernel removes the entry of an interface that went away.
            self.maps.devs.delete(&key).map(drop)
        };
        match result {
            // Without the entry XDP takes the amphora for gone, which it is; the event of its link
            // is on its way. The rest must be written all the same.
            Err(error) if present && error.kind() == io::ErrorKind::InvalidInput => {
                tracing::warn!(ifindex, "no such interface (any more) in this namespace");
                Ok(())
            }
            result => result.doing(|| format!("cannot write entry {ifindex} of {}", names::DEVS)),
        }
    }

    fn member(&self, index: u32, record: Option<&MemberRecord>) -> Result<(), Error> {
        let name = names::MEMBERS;
        let mut known = MemberRecord::new_zeroed();
        self.maps
            .members
            .lookup(&index.to_ne_bytes(), known.as_mut_bytes())
            .doing(|| format!("cannot read entry {index} of {name}"))?;
        if record.is_some_and(|record| !is_same_member(record, &known)) {
            // Nobody's next hop or counters are inherited by whoever gets the index.
            if load(&self.maps.neighbours, names::NEIGHBOURS, index)? != 0 {
                store(&self.maps.neighbours, names::NEIGHBOURS, index, 0)?;
            }
            self.reset_member_counters(index)?;
        }
        record_at(&self.maps.members, name, index, record)
    }

    fn listener(&self, index: u32, record: Option<&ListenerRecord>) -> Result<(), Error> {
        let name = names::LISTENERS;
        if record.is_some() {
            let mut known = ListenerRecord::new_zeroed();
            self.maps
                .listeners
                .lookup(&index.to_ne_bytes(), known.as_mut_bytes())
                .doing(|| format!("cannot read entry {index} of {name}"))?;
            if known.kind == 0 {
                self.reset_counters(index)?;
            }
        }
        record_at(&self.maps.listeners, name, index, record)
    }

    fn maglev(&self, slot: u32, table: Option<&MaglevTable>) -> Result<(), Error> {
        let doing = || format!("cannot write table {slot} of {}", names::MAGLEV);
        let Some(table) = table else {
            let removed = self.maps.maglev.delete(&slot.to_ne_bytes());
            return removed.map(drop).doing(doing);
        };
        let fresh = Map::create(TABLE, "lbaas_maglev").doing(doing)?;
        fresh
            .update(&0_u32.to_ne_bytes(), &table.value())
            .doing(doing)?;
        self.maps.maglev.set_inner(slot, &fresh).doing(doing)
    }
}

/// Whether two records differ at most in what changes in place.
fn is_same_member(one: &MemberRecord, other: &MemberRecord) -> bool {
    let alike = |record: &MemberRecord| MemberRecord {
        weight: 0,
        mtu: 0,
        flags: 0,
        ..*record
    };
    alike(one) == alike(other)
}

/// Writes an entry of an array; `None` writes zeros.
fn record_at<T: IntoBytes + FromZeros + Immutable>(
    map: &Map,
    name: &str,
    index: u32,
    record: Option<&T>,
) -> Result<(), Error> {
    let zeros = T::new_zeroed();
    map.update(&index.to_ne_bytes(), record.unwrap_or(&zeros).as_bytes())
        .doing(|| format!("cannot write entry {index} of {name}"))
}

/// A trie's key: how many bits count, listener (network order), address.
pub(super) fn trie_key(cidr: &Cidr) -> [u8; TRIE_KEY] {
    let mut key = [0; TRIE_KEY];
    let parts = (32 + u32::from(cidr.bits))
        .to_ne_bytes()
        .into_iter()
        .chain(cidr.listener.to_be_bytes())
        .chain(cidr.addr.0);
    for (to, from) in key.iter_mut().zip(parts) {
        *to = from;
    }
    key
}

fn prefix(map: &Map, name: &str, cidr: &Cidr, present: bool) -> Result<(), Error> {
    let key = trie_key(cidr);
    let result = if present {
        map.update(&key, &1_u32.to_ne_bytes())
    } else {
        map.delete(&key).map(drop)
    };
    result.doing(|| format!("cannot write an entry of {name}"))
}
