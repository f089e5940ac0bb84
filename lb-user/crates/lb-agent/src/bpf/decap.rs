//! The member's side of DSR over IPIP: one program on the interfaces by which the load balancer's
//! packets come in. Nothing is pinned: it goes with the value, and with the process.
//!
//! Left out on purpose: addresses and routes. The VIP must be an address of the member (on its
//! loopback), which is the member's own to arrange.

use std::os::fd::AsFd as _;

use aya::{
    Ebpf, EbpfLoader,
    maps::Map as AyaMap,
    programs::{Xdp, links::FdLink},
};
use lb_common::{
    maps::{Addr, CidrKey},
    tunnel::{Outcome, names, prefix_bits},
};
use lb_sys::bpf::Map;
use zerocopy::IntoBytes as _;

use super::{Doing as _, Error, XdpMode, attach, aya, object};

/// The loaded decapsulator.
#[derive(Debug)]
pub struct Decap {
    programs: Ebpf,
    links: Vec<FdLink>,
}

impl Decap {
    /// Loads it. With prefixes (address and bits) only packets from these are opened, all other
    /// tunnels are dropped; without, all are opened.
    ///
    /// # Errors
    /// Without privileges, or with more prefixes than the kernel's table has room for.
    pub fn load(sources: &[(Addr, u8)]) -> Result<Self, Error> {
        let mut programs = EbpfLoader::new()
            .load(object::decap()?)
            .map_err(aya(|| "cannot load the decapsulator".to_owned()))?;
        let program: &mut Xdp = programs
            .program_mut(names::PROGRAM_DECAP)
            .ok_or(Error::Missing(names::PROGRAM_DECAP))?
            .try_into()
            .map_err(aya(|| "the decapsulator".to_owned()))?;
        program
            .load()
            .map_err(aya(|| "cannot load the decapsulator".to_owned()))?;
        let decap = Self {
            programs,
            links: Vec::new(),
        };
        let table = decap.map(names::SOURCES)?;
        for (addr, bits) in sources {
            let mut key = prefix_bits(addr, *bits).to_ne_bytes().to_vec();
            let prefix = CidrKey {
                listener: [0; 4],
                addr: addr.0,
            };
            key.extend(prefix.as_bytes());
            table
                .update(&key, &1_u32.to_ne_bytes())
                .doing(|| format!("cannot allow a source of {bits} bits"))?;
        }
        if !sources.is_empty() {
            decap
                .map(names::RESTRICTED)?
                .update(&[0; 4], &1_u64.to_ne_bytes())
                .doing(|| "cannot restrict sources".to_owned())?;
        }
        Ok(decap)
    }

    /// Puts it on an interface of the calling thread's namespace, until the value goes.
    ///
    /// # Errors
    /// When there is no such interface, or another XDP program is on it.
    pub fn attach(&mut self, interface: &str, generic: bool) -> Result<XdpMode, Error> {
        let xdp: &mut Xdp = self
            .programs
            .program_mut(names::PROGRAM_DECAP)
            .ok_or(Error::Missing(names::PROGRAM_DECAP))?
            .try_into()
            .map_err(aya(|| "the decapsulator".to_owned()))?;
        let (link, mode) = attach::any_mode(xdp, interface, names::PROGRAM_DECAP, generic)?;
        self.links.push(link);
        Ok(mode)
    }

    /// What became of packets so far, of all CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counts(&self) -> Result<Vec<(Outcome, u64)>, Error> {
        let map = self.map(names::COUNTS)?;
        let mut bytes = vec![0; map.lookup_bytes()];
        let mut counts = Vec::new();
        for outcome in Outcome::ALL {
            map.lookup(&(outcome as u32).to_ne_bytes(), &mut bytes)
                .doing(|| "cannot read a counter".to_owned())?;
            let per_cpu = bytes.as_chunks::<8>().0.iter();
            counts.push((outcome, per_cpu.map(|cpu| u64::from_ne_bytes(*cpu)).sum()));
        }
        Ok(counts)
    }

    /// The program, for test runs.
    ///
    /// # Errors
    /// When the object lacks it.
    pub fn program(&self) -> Result<&Xdp, Error> {
        self.programs
            .program(names::PROGRAM_DECAP)
            .ok_or(Error::Missing(names::PROGRAM_DECAP))?
            .try_into()
            .map_err(aya(|| "the decapsulator".to_owned()))
    }

    fn map(&self, name: &'static str) -> Result<Map, Error> {
        let Some(AyaMap::Array(data) | AyaMap::PerCpuArray(data) | AyaMap::LpmTrie(data)) =
            self.programs.map(name)
        else {
            return Err(Error::Missing(name));
        };
        data.fd()
            .as_fd()
            .try_clone_to_owned()
            .and_then(Map::from_fd)
            .doing(|| format!("cannot open map {name}"))
    }
}
