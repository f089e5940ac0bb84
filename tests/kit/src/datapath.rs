//! The kernel programs loaded without an agent, for test runs and benches: the object with small or
//! large tables, and every map of it by name, its values as bytes or records.
//!
//! Left out on purpose: what is written into the maps. That is each test's own world.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use anyhow::{Context as _, bail};
use aya::{Ebpf, EbpfLoader};
use lb_common::{
    hash::{address_slot, address_word},
    maps::{AddressBucket, AddressRecord, Config, names},
    reason::Reason,
};
use lb_sys::bpf::Map;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Entries of the tables whose size an agent chooses.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Blocks of each family's flows.
    pub flow_blocks: u32,
    /// NAT's source ports.
    pub reverse: u32,
    /// Blocks of clients with a member of their own.
    pub persist: u32,
    /// Drains.
    pub drains: u32,
}

/// Makes the maps; no program is loaded yet.
///
/// # Errors
/// When there is no object, or the kernel refuses a map.
pub fn load(object: &Path, sizes: &Sizes) -> anyhow::Result<Ebpf> {
    EbpfLoader::new()
        .map_max_entries(names::FLOWS4, sizes.flow_blocks)
        .map_max_entries(names::FLOWS6, sizes.flow_blocks)
        .map_max_entries(names::REVERSE, sizes.reverse)
        .map_max_entries(names::PERSIST, sizes.persist)
        .map_max_entries(names::DRAINS, sizes.drains)
        .load_file(object)
        .with_context(|| format!("{}: run `cargo xtask build-ebpf`", object.display()))
}

/// A map by a descriptor of our own.
///
/// # Errors
/// When it is of a type that the programs have none of.
pub fn own_map(map: &aya::maps::Map) -> anyhow::Result<Map> {
    Ok(Map::from_fd(map_fd(map)?.try_clone_to_owned()?)?)
}

fn map_fd(map: &aya::maps::Map) -> anyhow::Result<BorrowedFd<'_>> {
    use aya::maps::Map as M;
    Ok(match map {
        M::Array(data)
        | M::ArrayOfMaps(data)
        | M::DevMapHash(data)
        | M::HashMap(data)
        | M::LpmTrie(data)
        | M::PerCpuArray(data)
        | M::RingBuf(data) => data.fd().as_fd(),
        other => bail!("no such map is expected: {other:?}"),
    })
}

/// All maps of a loaded object.
#[derive(Debug)]
pub struct Tables(BTreeMap<String, Map>);

impl Tables {
    /// Of an object.
    ///
    /// # Errors
    /// See [`own_map`].
    pub fn of(ebpf: &Ebpf) -> anyhow::Result<Self> {
        let maps = ebpf
            .maps()
            .map(|(name, map)| Ok((name.to_owned(), own_map(map)?)));
        Ok(Self(maps.collect::<anyhow::Result<_>>()?))
    }

    /// One of them.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn map(&self, name: &str) -> anyhow::Result<&Map> {
        self.0.get(name).with_context(|| format!("no map {name}"))
    }

    /// Writes one entry of an array; where XDP keeps what it found there, it shall search anew.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set<V: IntoBytes + Immutable>(
        &self,
        name: &str,
        index: u32,
        value: &V,
    ) -> anyhow::Result<()> {
        self.map(name)?
            .update(&index.to_ne_bytes(), value.as_bytes())
            .with_context(|| format!("cannot write entry {index} of {name}"))?;
        if matches!(
            name,
            names::SEGMENTS | names::ADDRESSES | names::ADDRESS_RECORDS | names::PORTS
        ) {
            let mut config: Config = self.get(names::CONFIG, &[0; 4])?.context("no entry")?;
            config.generation = config.generation.wrapping_add(1);
            return self.set(names::CONFIG, 0, &config);
        }
        Ok(())
    }

    /// Reads one entry of a map.
    ///
    /// # Errors
    /// The kernel's.
    pub fn get<V: FromBytes + KnownLayout + Immutable>(
        &self,
        name: &str,
        key: &[u8],
    ) -> anyhow::Result<Option<V>> {
        let map = self.map(name)?;
        let mut value = vec![0; map.lookup_bytes()];
        if !map.lookup(key, &mut value)? {
            return Ok(None);
        }
        Ok(V::read_from_prefix(&value).ok().map(|(value, _)| value))
    }

    /// Writes an address of ours as record `index` and publishes it.
    ///
    /// # Errors
    /// When its bucket is full.
    pub fn publish(&self, seed: u64, index: u32, record: &AddressRecord) -> anyhow::Result<()> {
        self.set(names::ADDRESS_RECORDS, index, record)?;
        let (bucket, tag) = address_slot(seed, record.segment, &record.addr);
        let mut words: AddressBucket = self
            .get(names::ADDRESSES, &bucket.to_ne_bytes())?
            .context("no bucket")?;
        let free = words.words.iter_mut().find(|word| **word == 0);
        *free.context("a bucket is full")? = address_word(tag, index);
        self.set(names::ADDRESSES, bucket, &words)
    }

    /// Packets by reason since the maps were made, of all CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn reasons(&self) -> anyhow::Result<BTreeMap<Reason, u64>> {
        let map = self.map(names::REASONS)?;
        let mut bytes = vec![0; map.lookup_bytes()];
        let mut counts = BTreeMap::new();
        for reason in Reason::ALL {
            map.lookup(&(*reason as u32).to_ne_bytes(), &mut bytes)?;
            let per_cpu = bytes.as_chunks::<8>().0.iter();
            counts.insert(*reason, per_cpu.map(|cpu| u64::from_ne_bytes(*cpu)).sum());
        }
        Ok(counts)
    }

    /// Sum of a value's words over all CPUs, for values that are nothing but 64-bit counters.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self, name: &str, index: u32) -> anyhow::Result<Vec<u64>> {
        let map = self.map(name)?;
        let mut bytes = vec![0; map.lookup_bytes()];
        map.lookup(&index.to_ne_bytes(), &mut bytes)?;
        let words = (map.shape().value_size / 8) as usize;
        let mut sums = vec![0; words];
        for cpu in bytes.chunks_exact(words * 8) {
            for (sum, word) in sums.iter_mut().zip(cpu.as_chunks::<8>().0) {
                *sum += u64::from_ne_bytes(*word);
            }
        }
        Ok(sums)
    }
}
