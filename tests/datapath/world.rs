//! A loaded data path whose maps are filled by hand, as the agent would.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, bail};
use aya::{
    Ebpf,
    maps::RingBuf,
    programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    heartbeat::{BUSY_VALID_NS, HeartbeatPage, deadline_word},
    maps::{
        Addr, AddressRecord, AmphoraRecord, AnswerRecord, CidrKey, Config, Event, ListenerCounters,
        ListenerRecord, MAP_ABI, SteerWord, address_kind,
        flow::{self, Block4, Block6, Reverse, Word},
        listener_kind, names, port_home, port_word, segment_word, vip_flags,
    },
    reason::Reason,
};
use lb_sys::{
    bpf::{MMAPABLE, Map, Shape, map_type},
    clock,
};
use lb_testkit::datapath::{self, Sizes, Tables};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::frames::Family;

/// What `BPF_PROG_TEST_RUN` gives as the interface: loopback.
pub(crate) const INGRESS: u32 = 1;
pub(crate) const SEGMENT: u32 = 7;
pub(crate) const LB: u32 = 3;
pub(crate) const ACTIVE: u16 = 11;
pub(crate) const STANDBY: u16 = 12;
/// Listeners of the VIP by port.
pub(crate) const STEER_LISTENER: u32 = 21;
pub(crate) const STEER_PORT: u16 = 80;
pub(crate) const EPOCH: u32 = 5;
/// Sizes of the tables: small ones.
pub(crate) const FLOW_BLOCKS: u32 = 256;
pub(crate) const REVERSE_ENTRIES: u32 = 4096;
const PERSIST_BLOCKS: u32 = 64;
/// Words of a VIP's block in `PORTS`.
const BLOCK: u32 = 16;
pub(crate) const SEED: u64 = 0x1234_5678_9abc_def0;

pub(crate) const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
pub(crate) const XDP_TX: u32 = 3;
pub(crate) const XDP_REDIRECT: u32 = 4;

/// What a program did with a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: u32,
    pub(crate) reason: Reason,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct World {
    ebpf: Ebpf,
    tables: Tables,
    pages: BTreeMap<u16, Map>,
    next_record: u32,
}

fn load_error(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { verifier_log, .. } => {
            let log = verifier_log.to_string();
            let tail = log.len().saturating_sub(4000);
            anyhow::anyhow!("the verifier refuses: …{}", &log[tail..])
        }
        other => other.into(),
    }
}

/// Edge end's interface of an amphora, its MAC and that of the inner end.
pub(crate) fn veth(amphora: u16) -> (u32, [u8; 6], [u8; 6]) {
    let low = u8::try_from(amphora).unwrap();
    (
        1000 + u32::from(amphora),
        [2, 0xed, 0, 0, 0, low],
        [2, 0xa0, 0, 0, 0, low],
    )
}

impl World {
    /// Loaded and empty; `None` when the test must be skipped.
    pub(crate) fn empty(test: &str) -> anyhow::Result<Option<Self>> {
        if !lb_testkit::require_root(test)? {
            return Ok(None);
        }
        let object = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/lbaas.bpf.o");
        let sizes = Sizes {
            flow_blocks: FLOW_BLOCKS,
            reverse: REVERSE_ENTRIES,
            persist: PERSIST_BLOCKS,
            drains: 256,
        };
        let mut ebpf = datapath::load(&object, &sizes)?;
        let program: &mut Xdp = ebpf
            .program_mut(names::PROGRAM_XDP)
            .context("no program")?
            .try_into()?;
        program.load().map_err(load_error)?;
        let program: &mut Xdp = ebpf
            .program_mut(names::PROGRAM_SWEEP)
            .context("no program")?
            .try_into()?;
        program.load().map_err(load_error)?;
        let program: &mut SchedClassifier = ebpf
            .program_mut(names::PROGRAM_ANSWER)
            .context("no program")?
            .try_into()?;
        program.load().map_err(load_error)?;
        let world = Self {
            tables: Tables::of(&ebpf)?,
            ebpf,
            pages: BTreeMap::new(),
            next_record: 1,
        };
        world.configure(true, 1000)?;
        world.set(names::SEGMENTS, INGRESS, &segment_word(SEGMENT))?;
        Ok(Some(world))
    }

    /// With a VIP of each family, a steered listener on TCP and UDP, and a fresh pair of amphorae.
    pub(crate) fn with_pair(test: &str) -> anyhow::Result<Option<Self>> {
        let Some(mut world) = Self::empty(test)? else {
            return Ok(None);
        };
        let listener = ListenerRecord {
            kind: listener_kind::STEER,
            flags: 0,
            lb: LB,
            maglev: u32::MAX,
            ..ListenerRecord::default()
        };
        world.listener(STEER_LISTENER, &listener)?;
        for family in Family::BOTH {
            world.vip(
                SEGMENT,
                family.vip(),
                family.ports_base(),
                vip_flags::ENABLED,
            )?;
            for protocol in [6, 17] {
                world.port(family, protocol, STEER_PORT, STEER_LISTENER)?;
            }
        }
        for amphora in [ACTIVE, STANDBY] {
            world.amphora(amphora)?;
            world.device(veth(amphora).0)?;
            world.stamp(amphora, 0)?;
        }
        world.steer(ACTIVE, STANDBY, EPOCH, false)?;
        Ok(Some(world))
    }

    fn map(&self, name: &str) -> anyhow::Result<&Map> {
        self.tables.map(name)
    }

    /// Writes one entry of an array.
    pub(crate) fn set<V: IntoBytes + Immutable>(
        &self,
        name: &str,
        index: u32,
        value: &V,
    ) -> anyhow::Result<()> {
        self.tables.set(name, index, value)
    }

    /// Reads one entry of a map.
    pub(crate) fn get<V: FromBytes + KnownLayout + Immutable>(
        &self,
        name: &str,
        key: &[u8],
    ) -> anyhow::Result<Option<V>> {
        self.tables.get(name, key)
    }

    pub(crate) fn configure(&self, echo: bool, icmp_per_second: u32) -> anyhow::Result<()> {
        self.configure_all(echo, icmp_per_second, (20_000, 59_999))
    }

    pub(crate) fn configure_all(
        &self,
        echo: bool,
        icmp_per_second: u32,
        snat_ports: (u16, u16),
    ) -> anyhow::Result<()> {
        let before: Config = self.get(names::CONFIG, &[0; 4])?.context("config")?;
        let config = Config {
            abi: MAP_ABI,
            snat_port_min: snat_ports.0,
            snat_port_max: snat_ports.1,
            icmp_per_second,
            vip_icmp_echo: u32::from(echo),
            hash_seed: SEED,
            flow4_mask: flow::pages(FLOW_BLOCKS, size_of::<Block4>()) - 1,
            flow6_mask: flow::pages(FLOW_BLOCKS, size_of::<Block6>()) - 1,
            reverse_mask: flow::pages(REVERSE_ENTRIES, size_of::<Reverse>()) - 1,
            persist_mask: PERSIST_BLOCKS - 1,
            rst_per_second: 1000,
            outer_v4: [198, 18, 0, 0],
            outer_spread: 0xffff,
            generation: before.generation.wrapping_add(1),
            outer_v6: Addr::v6([0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        };
        self.set(names::CONFIG, 0, &config)
    }

    /// An address of ours.
    pub(crate) fn address(&mut self, record: &AddressRecord) -> anyhow::Result<()> {
        let index = self.next_record;
        self.next_record += 1;
        self.tables.publish(SEED, index, record)
    }

    pub(crate) fn vip(
        &mut self,
        segment: u32,
        addr: Addr,
        ports_base: u32,
        flags: u32,
    ) -> anyhow::Result<()> {
        self.address(&AddressRecord {
            segment,
            kind: address_kind::VIP,
            addr,
            owner: LB,
            ports_base,
            ports_mask: BLOCK - 1,
            flags,
        })
    }

    /// An address of another kind.
    pub(crate) fn owned(&mut self, kind: u32, addr: Addr, owner: u32) -> anyhow::Result<()> {
        self.address(&AddressRecord {
            segment: SEGMENT,
            kind,
            addr,
            owner,
            ports_base: 0,
            ports_mask: 0,
            flags: 0,
        })
    }

    pub(crate) fn listener(&self, index: u32, record: &ListenerRecord) -> anyhow::Result<()> {
        self.set(names::LISTENERS, index, record)
    }

    /// Publishes a listener's port at a VIP of [`Family`].
    pub(crate) fn port(
        &self,
        family: Family,
        protocol: u8,
        port: u16,
        listener: u32,
    ) -> anyhow::Result<()> {
        for probe in 0..4 {
            let at = family.ports_base() + ((port_home(protocol, port) + probe) & (BLOCK - 1));
            if self.get::<u64>(names::PORTS, &at.to_ne_bytes())? == Some(0) {
                return self.set(names::PORTS, at, &port_word(protocol, port, listener));
            }
        }
        bail!("no free word for port {port}")
    }

    pub(crate) fn amphora(&mut self, index: u16) -> anyhow::Result<()> {
        let (ifindex, src_mac, dst_mac) = veth(index);
        let record = AmphoraRecord {
            ifindex,
            lb: LB,
            dst_mac,
            src_mac,
        };
        self.set(names::AMPHORAE, u32::from(index), &record)?;
        let shape = Shape {
            map_type: map_type::ARRAY,
            key_size: 4,
            value_size: 4096,
            max_entries: 1,
            flags: MMAPABLE,
        };
        let page = Map::create(shape, "page")?;
        self.map(names::HEARTBEATS)?
            .set_inner(u32::from(index), &page)?;
        self.pages.insert(index, page);
        Ok(())
    }

    /// An entry of `DEVS`; which device it stands for does not matter to a test run.
    pub(crate) fn device(&self, ifindex: u32) -> anyhow::Result<()> {
        self.set(names::DEVS, ifindex, &[INGRESS, 0])
    }

    pub(crate) fn remove_device(&self, ifindex: u32) -> anyhow::Result<()> {
        self.map(names::DEVS)?.delete(&ifindex.to_ne_bytes())?;
        Ok(())
    }

    pub(crate) fn page(&self, amphora: u16) -> anyhow::Result<HeartbeatPage> {
        let page = self.pages.get(&amphora).context("no page")?;
        let mut value = vec![0; page.lookup_bytes()];
        page.lookup(&[0; 4], &mut value)?;
        let (page, _) = HeartbeatPage::read_from_prefix(&value)
            .ok()
            .context("page")?;
        Ok(page)
    }

    fn write_page(&self, amphora: u16, head: &HeartbeatPage) -> anyhow::Result<()> {
        let page = self.pages.get(&amphora).context("no page")?;
        let mut value = vec![0; page.lookup_bytes()];
        head.write_to_prefix(&mut value).ok().context("page")?;
        Ok(page.update(&[0; 4], &value)?)
    }

    /// A busy stamp made `ago_ns` ago, by an amphora that has run for a minute. Fresh stamps
    /// (`ago_ns` 0) are good for an hour here, so that a slow test machine changes nothing.
    pub(crate) fn stamp(&self, amphora: u16, ago_ns: u64) -> anyhow::Result<()> {
        let now = clock::monotonic_ns();
        let mut page = self.page(amphora)?;
        page.alive_since_ns = now.saturating_sub(60_000_000_000);
        page.deadline_ns = if ago_ns == 0 {
            deadline_word(now + 3_600_000_000_000 - BUSY_VALID_NS, true)
        } else {
            deadline_word(now.saturating_sub(ago_ns), true)
        };
        self.write_page(amphora, &page)
    }

    /// Changes a page by hand.
    pub(crate) fn edit_page(
        &self,
        amphora: u16,
        edit: impl FnOnce(&mut HeartbeatPage),
    ) -> anyhow::Result<()> {
        let mut page = self.page(amphora)?;
        edit(&mut page);
        self.write_page(amphora, &page)
    }

    pub(crate) fn steer(
        &self,
        active: u16,
        standby: u16,
        epoch: u32,
        draining: bool,
    ) -> anyhow::Result<()> {
        let word = SteerWord {
            active,
            standby,
            epoch,
            draining,
        };
        self.set(names::STEER, LB, &word.to_word())
    }

    pub(crate) fn latch(&self) -> anyhow::Result<u64> {
        self.get(names::LATCH, &LB.to_ne_bytes())?.context("latch")
    }

    pub(crate) fn prefix(
        &self,
        map: &str,
        listener: u32,
        addr: Addr,
        bits: u32,
    ) -> anyhow::Result<()> {
        let key = CidrKey {
            listener: listener.to_be_bytes(),
            addr: addr.0,
        };
        let mut bytes = (32 + bits).to_ne_bytes().to_vec();
        bytes.extend(key.as_bytes());
        Ok(self.map(map)?.update(&bytes, &1u32.to_ne_bytes())?)
    }

    pub(crate) fn answer_from(&self, ifindex: u32, record: &AnswerRecord) -> anyhow::Result<()> {
        self.set(names::ANSWERS, ifindex, record)
    }

    pub(crate) fn set_inner(&self, map: &str, index: u32, inner: &Map) -> anyhow::Result<()> {
        Ok(self.map(map)?.set_inner(index, inner)?)
    }

    /// Words of the flows of both families.
    pub(crate) fn flows(&self) -> anyhow::Result<Vec<(Family, Word)>> {
        let mut flows = Vec::new();
        for (name, family) in [(names::FLOWS4, Family::V4), (names::FLOWS6, Family::V6)] {
            self.map(name)?.scan(|_, value| {
                if let Ok((block, _)) = Block4::read_from_prefix(value) {
                    let words = block.slots.iter().map(|slot| Word(slot.word));
                    flows.extend(
                        words
                            .filter(|word| word.is_live())
                            .map(|word| (family, word)),
                    );
                }
            })?;
        }
        Ok(flows)
    }

    /// Starts the sweep of the flow table, as the agent does.
    pub(crate) fn start_sweep(&self) -> anyhow::Result<()> {
        let program: &Xdp = self
            .ebpf
            .program(names::PROGRAM_SWEEP)
            .context("no program")?
            .try_into()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(&[0; 64]);
        let verdict = program.test_run(options)?.return_value;
        anyhow::ensure!(verdict == XDP_PASS, "the sweep does not start: {verdict}");
        Ok(())
    }

    /// Source ports in use.
    pub(crate) fn ports_in_use(&self) -> anyhow::Result<usize> {
        let mut used = 0;
        self.map(names::REVERSE)?.scan(|_, value| {
            if let Ok(entry) = Reverse::read_from_bytes(value) {
                used += usize::from(Word(entry.word).is_live());
            }
        })?;
        Ok(used)
    }

    pub(crate) fn counters(&self, listener: u32) -> anyhow::Result<ListenerCounters> {
        let sums = self.tables.counters(names::LISTENER_STATS, listener)?;
        ListenerCounters::read_from_bytes(sums.as_bytes())
            .ok()
            .context("counters")
    }

    /// Events since the last call.
    pub(crate) fn events(&mut self) -> anyhow::Result<Vec<Event>> {
        let map = self.ebpf.map_mut(names::EVENTS).context("no map")?;
        let mut ring = RingBuf::try_from(map)?;
        let mut events = Vec::new();
        while let Some(item) = ring.next() {
            events.push(Event::read_from_bytes(&item).ok().context("event")?);
        }
        Ok(events)
    }

    /// Runs a frame through a program and finds the one reason that was counted.
    fn run(
        &self,
        frame: &[u8],
        program: impl FnOnce(&Ebpf, TestRunOptions<'_>) -> anyhow::Result<(u32, u32)>,
    ) -> anyhow::Result<Outcome> {
        let before = self.tables.reasons()?;
        let mut bytes = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut bytes);
        let (verdict, size) = program(&self.ebpf, options)?;
        bytes.truncate(usize::try_from(size)?);
        let counted: Vec<_> = self
            .tables
            .reasons()?
            .into_iter()
            .map(|(reason, after)| (reason, after - before.get(&reason).copied().unwrap_or(0)))
            .filter(|(_, count)| *count != 0)
            .collect();
        match counted[..] {
            [(reason, 1)] => Ok(Outcome {
                verdict,
                reason,
                bytes,
            }),
            _ => bail!("a packet has one reason, not {counted:?}"),
        }
    }

    /// Through `lb_xdp`.
    pub(crate) fn xdp(&self, frame: &[u8]) -> anyhow::Result<Outcome> {
        self.run(frame, |ebpf, options| {
            let program: &Xdp = ebpf
                .program(names::PROGRAM_XDP)
                .context("no program")?
                .try_into()?;
            let result = program.test_run(options)?;
            Ok((result.return_value, result.data_size_out))
        })
    }

    /// Through `lb_xdp`: verdict and bytes, without what was counted, which takes longer than the packet.
    pub(crate) fn raw(&self, frame: &[u8]) -> anyhow::Result<(u32, Vec<u8>)> {
        let program: &Xdp = self
            .ebpf
            .program(names::PROGRAM_XDP)
            .context("no program")?
            .try_into()?;
        let mut bytes = vec![0; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut bytes);
        let result = program.test_run(options)?;
        bytes.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, bytes))
    }

    /// Through `lb_xdp`, and nothing but the verdict: reading the counters takes longer than the packet.
    pub(crate) fn verdict(&self, frame: &[u8]) -> anyhow::Result<u32> {
        let program: &Xdp = self
            .ebpf
            .program(names::PROGRAM_XDP)
            .context("no program")?
            .try_into()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        Ok(program.test_run(options)?.return_value)
    }

    /// Packets by reason so far.
    pub(crate) fn reasons(&self) -> anyhow::Result<BTreeMap<Reason, u64>> {
        self.tables.reasons()
    }

    /// Through `lb_answer`.
    pub(crate) fn answer(&self, frame: &[u8]) -> anyhow::Result<Outcome> {
        self.run(frame, |ebpf, options| {
            let program: &SchedClassifier = ebpf
                .program(names::PROGRAM_ANSWER)
                .context("no program")?
                .try_into()?;
            let result = program.test_run(options)?;
            Ok((result.return_value, result.data_size_out))
        })
    }

    pub(crate) fn ebpf_mut(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    pub(crate) fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }
}
