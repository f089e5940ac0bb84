//! What the maps hold, read back in the form of what they must hold.

use std::io;

use lb_common::{
    maps::{
        Addr, AddressRecord, AmphoraRecord, AnswerRecord, ListenerRecord, MAGLEV_SLOTS,
        MAGLEV_TURNS_AT, MemberRecord, live::LbShare, names,
    },
    reason::Reason,
};
use lb_plan::datapath::{Cidr, DesiredMaps, MaglevTable};
use lb_sys::bpf::{Map, Words};
use zerocopy::FromBytes;

use super::{Datapath, Doing as _, Error, View, maps::TRIE_KEY};

impl Datapath {
    /// As [`View::read`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<DesiredMaps, Error> {
        self.view().read()
    }
}

impl View {
    /// Every entry that is not empty. Some tenths of a second; for an agent that starts, or whose
    /// last write failed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self) -> Result<DesiredMaps, Error> {
        self.read_maps()
            .doing(|| "cannot read the data path's maps back".to_owned())
    }

    /// The slots of a pool's table, and how many of them are one round of turns; `None` when there
    /// is no table in `slot`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn table(&self, slot: u32) -> Result<Option<(Vec<u16>, u32)>, Error> {
        let doing = || format!("cannot read table {slot} of {}", names::MAGLEV);
        let Some(table) = self.maglev.inner(slot).doing(doing)? else {
            return Ok(None);
        };
        let mut value = vec![0; table.lookup_bytes()];
        table
            .lookup(&0_u32.to_ne_bytes(), &mut value)
            .doing(doing)?;
        let slots = value.as_chunks::<2>().0.iter().take(MAGLEV_SLOTS);
        let slots = slots.map(|two| u16::from_ne_bytes(*two)).collect();
        let turns = value.get(MAGLEV_TURNS_AT..).and_then(<[u8]>::first_chunk);
        Ok(Some((
            slots,
            turns.map_or(0, |four| u32::from_ne_bytes(*four)),
        )))
    }

    /// MAC of a member's next hop, when it is known.
    #[must_use]
    pub fn next_hop(&self, member: u32) -> Option<[u8; 6]> {
        let word = self.neighbours.load(member as usize)?;
        let [a, b, c, d, e, f, ..] = word.to_le_bytes();
        (word >> 63 != 0).then_some([a, b, c, d, e, f])
    }

    /// Packets by reason, as one CPU counted them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reasons_on(&self, cpu: usize) -> Result<Vec<u64>, Error> {
        let mut counts = Vec::with_capacity(Reason::ALL.len());
        for reason in Reason::ALL {
            let mut values = vec![0; self.reasons.lookup_bytes()];
            self.reasons
                .lookup(&(*reason as u32).to_ne_bytes(), &mut values)
                .doing(|| format!("cannot read {}", names::REASONS))?;
            let count = values.as_chunks::<8>().0.get(cpu);
            counts.push(count.map_or(0, |count| u64::from_ne_bytes(*count)));
        }
        Ok(counts)
    }

    fn read_maps(&self) -> io::Result<DesiredMaps> {
        let maps = self;
        let mut all = DesiredMaps {
            segments: words(&maps.segments).collect(),
            ports: words(&maps.ports).collect(),
            addresses: words(&maps.addresses)
                .map(|(index, word)| ((index / 8, index % 8), word))
                .collect(),
            denied: prefixes(&maps.denied)?.into_iter().collect(),
            cidrs: prefixes(&maps.cidrs)?.into_iter().collect(),
            ..DesiredMaps::default()
        };
        keys::<4>(&maps.devs, |key| {
            all.devs.insert(u32::from_ne_bytes(*key));
        })?;
        records(&maps.address_records, |index, record: AddressRecord| {
            if record.kind != 0 {
                all.address_records.insert(index, record);
            }
        })?;
        records(&maps.listeners, |index, record: ListenerRecord| {
            if record.kind != 0 {
                all.listeners.insert(index, record);
            }
        })?;
        records(&maps.members, |index, record: MemberRecord| {
            if record.ifindex != 0 {
                all.members.insert(index, record);
            }
        })?;
        records(&maps.lb_shares, |lb, share: LbShare| {
            if share != LbShare::default() {
                all.shares.insert(lb, share);
            }
        })?;
        records(&maps.amphorae, |index, record: AmphoraRecord| {
            if record.ifindex != 0 {
                all.amphorae.insert(index, record);
            }
        })?;
        records(&maps.answers, |ifindex, record: AnswerRecord| {
            if record.egress_ifindex != 0 {
                all.answers.insert(ifindex, record);
            }
        })?;
        for slot in 0..maps.maglev.shape().max_entries {
            let Some(table) = maps.maglev.inner(slot)? else {
                continue;
            };
            let mut value = vec![0; table.lookup_bytes()];
            table.lookup(&0_u32.to_ne_bytes(), &mut value)?;
            if let Some(table) = MaglevTable::read(&value) {
                all.maglev.insert(slot, table);
            }
        }
        Ok(all)
    }
}

fn words(words: &Words) -> impl Iterator<Item = (u32, u64)> {
    (0..words.len())
        .filter_map(|index| Some((u32::try_from(index).ok()?, words.load(index)?)))
        .filter(|(_, word)| *word != 0)
}

fn records<T: FromBytes>(map: &Map, mut visit: impl FnMut(u32, T)) -> io::Result<()> {
    map.scan(|key, value| {
        if let (Ok(index), Ok(record)) = (u32::read_from_bytes(key), T::read_from_bytes(value)) {
            visit(index, record);
        }
    })
}

/// Walks a map that knows no batches.
fn keys<const N: usize>(map: &Map, mut visit: impl FnMut(&[u8; N])) -> io::Result<()> {
    let mut key: [u8; N];
    let mut next = [0; N];
    let mut known: Option<&[u8]> = None;
    // The agent is the only writer, so no key goes while it walks; the bound is a belt.
    for _ in 0..=map.shape().max_entries {
        if !map.next_key(known, &mut next)? {
            return Ok(());
        }
        visit(&next);
        key = next;
        known = Some(&key);
    }
    Ok(())
}

fn prefixes(map: &Map) -> io::Result<Vec<Cidr>> {
    let mut all = Vec::new();
    keys::<TRIE_KEY>(map, |key| {
        if let Some(cidr) = prefix(key) {
            all.push(cidr);
        }
    })?;
    Ok(all)
}

fn prefix(key: &[u8; TRIE_KEY]) -> Option<Cidr> {
    let (bits, rest) = key.split_first_chunk::<4>()?;
    let (listener, rest) = rest.split_first_chunk::<4>()?;
    Some(Cidr {
        listener: u32::from_be_bytes(*listener),
        bits: u8::try_from(u32::from_ne_bytes(*bits).checked_sub(32)?).ok()?,
        addr: Addr(*rest.first_chunk::<16>()?),
    })
}

#[cfg(test)]
mod tests {
    use super::{super::apply::trie_key, *};

    #[test]
    fn a_prefix_survives_the_way_into_a_key_and_back() {
        for (net, listener) in [("192.0.2.0/24", 0), ("2001:db8::/32", 77), ("::/0", 1)] {
            let cidr = Cidr::new(listener, &net.parse().expect("a network"));
            assert_eq!(prefix(&trie_key(&cidr)), Some(cidr));
        }
    }
}
