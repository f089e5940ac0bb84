//! Loading programs and adopting or making maps.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::maps::{
    Addr, Config, GENERATION_WORD, MAP_ABI,
    flow::{self, Block4, Block6, Reverse},
    limits, names,
};
use lb_plan::datapath::{DesiredMaps, Freed, clear_freed, diff};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{Datapath, Doing as _, Error, View, aya, maps, object, pins};

/// What a program returns that passes a packet.
const XDP_PASS: u32 = 2;
/// Source ports of XDP NAT: above the well-known ones, below none.
const SNAT_PORTS: (u16, u16) = (10_000, 65_535);
/// ICMP echoes and errors answered by one CPU in a second.
const ICMP_PER_SECOND: u32 = 1_000;
/// RST sent by one CPU in a second for packets of unknown flows.
const RST_PER_SECOND: u32 = 1_000;
/// Outer sources of DSR over IPIP: addresses of benchmark networks (RFC 2544, RFC 5180), which
/// nobody answers to.
const OUTER_V4: [u8; 4] = [198, 18, 0, 0];
const OUTER_V6: [u8; 16] = [0x20, 0x01, 0, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const OUTER_SPREAD: u32 = 0xffff;

impl Datapath {
    /// Loads the programs of this binary with the maps pinned below `bpf_dir`, making those that are
    /// not there. Attaches nothing.
    ///
    /// # Errors
    /// Without privileges, with pins of another layout, and when the kernel refuses.
    pub fn open(bpf_dir: &Path) -> Result<Self, Error> {
        let object = object::bytes()?;
        let dir = pins::prepare(bpf_dir)?;
        let mut adopted = 0;
        let mut loader = EbpfLoader::new();
        for (name, wanted) in maps::PINNED {
            let path = dir.join(name);
            if path.exists() {
                // aya takes whatever is pinned there without a look.
                maps::check(name, maps::open(&dir, name)?.shape(), wanted, &dir)?;
                adopted += 1;
            }
            loader.map_pin_path(name, path);
        }
        let mut programs = loader
            .load(object)
            .map_err(aya(|| "cannot load the XDP object".to_owned()))?;
        load::<Xdp, _>(&mut programs, names::PROGRAM_XDP, Xdp::load)?;
        load::<Xdp, _>(&mut programs, names::PROGRAM_PASS, Xdp::load)?;
        load::<Xdp, _>(&mut programs, names::PROGRAM_SWEEP, Xdp::load)?;
        start_sweep(&mut programs)?;
        load::<SchedClassifier, _>(&mut programs, names::PROGRAM_ANSWER, SchedClassifier::load)?;
        let datapath = Self {
            maps: View::of(&dir)?,
            dir,
            programs: Mutex::new(programs),
            adopted: adopted == maps::PINNED.len(),
        };
        tracing::info!(
            dir = %datapath.dir.display(),
            adopted = datapath.adopted,
            "data path loaded"
        );
        Ok(datapath)
    }

    /// Whether the maps were there already, with what a former agent wrote.
    #[must_use]
    pub const fn adopted(&self) -> bool {
        self.adopted
    }

    /// Its maps.
    #[must_use]
    pub const fn view(&self) -> &View {
        &self.maps
    }

    /// The seed that the maps' addresses are hashed with; `None` when they are fresh.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hash_seed(&self) -> Result<Option<u64>, Error> {
        let config = self.config()?;
        Ok((config.abi == MAP_ABI).then_some(config.hash_seed))
    }

    fn config(&self) -> Result<Config, Error> {
        let mut config = Config::new_zeroed();
        self.maps
            .config
            .lookup(&0_u32.to_ne_bytes(), config.as_mut_bytes())
            .doing(|| "cannot read the data path's configuration".to_owned())?;
        Ok(config)
    }

    /// Switches the data path on: until then every packet passes. `hash_seed` is that of the
    /// allocations. Maps with another seed were written by other allocations, so that none of their
    /// indices means anything: they are emptied first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn configure(&self, hash_seed: u64) -> Result<(), Error> {
        let found = self.config()?;
        let wanted = Config {
            abi: MAP_ABI,
            snat_port_min: SNAT_PORTS.0,
            snat_port_max: SNAT_PORTS.1,
            icmp_per_second: ICMP_PER_SECOND,
            vip_icmp_echo: 1,
            hash_seed,
            flow4_mask: flow::pages(limits::FLOW_BLOCKS4, size_of::<Block4>()) - 1,
            flow6_mask: flow::pages(limits::FLOW_BLOCKS6, size_of::<Block6>()) - 1,
            reverse_mask: flow::pages(limits::REVERSE_ENTRIES, size_of::<Reverse>()) - 1,
            persist_mask: limits::PERSIST_BLOCKS - 1,
            rst_per_second: RST_PER_SECOND,
            outer_v4: OUTER_V4,
            outer_spread: OUTER_SPREAD,
            generation: found.generation,
            outer_v6: Addr::v6(OUTER_V6),
        };
        if found == wanted {
            return Ok(());
        }
        if found.abi == MAP_ABI && found.hash_seed != hash_seed {
            tracing::warn!("the data path was written by an agent with another state: starts anew");
            self.clear()?;
        }
        self.maps
            .config
            .update(&0_u32.to_ne_bytes(), wanted.as_bytes())
            .doing(|| "cannot write the data path's configuration".to_owned())?;
        self.raise_generation()
    }

    /// Tells XDP to search anew for what it knows of interfaces, addresses and ports.
    pub(super) fn raise_generation(&self) -> Result<(), Error> {
        let words = &self.maps.config_words;
        let word = words.load(GENERATION_WORD).unwrap_or_default();
        if words.store(GENERATION_WORD, word.wrapping_add(1 << 32)) {
            Ok(())
        } else {
            Err(Error::Missing(names::CONFIG))
        }
    }

    /// Empties every map but the counters.
    fn clear(&self) -> Result<(), Error> {
        let found = self.read()?;
        self.apply(&diff(&found, &DesiredMaps::default()))?;
        for load_balancer in 0..limits::LOAD_BALANCERS {
            self.forget_steer(load_balancer)?;
        }
        for member in 0..limits::MEMBERS {
            self.set_neighbour(member, None)?;
        }
        self.forget_heartbeats()?;
        self.clear_flows()?;
        // These stayed for flows, which are no more.
        self.apply(&clear_freed(&Freed {
            members: found.members.into_keys().collect(),
            address_records: found.address_records.into_keys().collect(),
        }))
    }

    pub(super) fn programs(&self) -> MutexGuard<'_, Ebpf> {
        // What a panicking holder left is whole: aya's calls do not leave halves.
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the data path below `bpf_dir` down: links, maps and everything in them.
    ///
    /// # Errors
    /// The kernel's. Nothing there is no error.
    pub fn remove(bpf_dir: &Path) -> Result<(), Error> {
        pins::remove(bpf_dir)
    }
}

/// Starts the sweep of the flow table, or takes the one over that runs: the timer calls this binary's
/// program from now on.
fn start_sweep(programs: &mut Ebpf) -> Result<(), Error> {
    let doing = || "cannot start the sweep of the flow table".to_owned();
    let name = names::PROGRAM_SWEEP;
    let program = programs.program_mut(name).ok_or(Error::Missing(name))?;
    let program = <&mut Xdp>::try_from(program).map_err(aya(doing))?;
    let mut options = TestRunOptions::new();
    // Any packet will do: it is not looked at.
    options.data_in = Some(&[0; 64]);
    let verdict = program.test_run(options).map_err(aya(doing))?.return_value;
    if verdict == XDP_PASS {
        return Ok(());
    }
    Err(Error::Io {
        doing: doing(),
        source: std::io::Error::other(format!("the program says {verdict}")),
    })
}

fn load<P, L>(programs: &mut Ebpf, name: &'static str, load: L) -> Result<(), Error>
where
    for<'a> &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
    L: FnOnce(&mut P) -> Result<(), aya::programs::ProgramError>,
{
    let doing = || format!("the kernel refuses program {name}");
    let program = programs.program_mut(name).ok_or(Error::Missing(name))?;
    let program = <&mut P>::try_from(program).map_err(aya(doing))?;
    load(program).map_err(aya(doing))
}
