//! A loaded data path with maps as an agent would fill them: a VIP of each family with TCP and UDP
//! listeners on port 80 and a hundred members, and as many other VIPs as asked for.

use std::{collections::BTreeMap, os::fd::AsFd as _, path::Path};

use anyhow::Context as _;
use aya::{
    Ebpf,
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    heartbeat::{BUSY_VALID_NS, HeartbeatPage, deadline_word},
    maglev,
    maps::{
        Addr, AddressRecord, AmphoraRecord, Be16, Config, ListenerCounters, ListenerRecord,
        MAGLEV_SLOTS, MAGLEV_VALUE_BYTES, MAP_ABI, MemberRecord, SEGMENT_TX, SteerWord,
        address_kind,
        flow::{self, Block4, Block6, Reverse, Word, state},
        listener_kind, maglev_slots, names, neighbour_word, port_home, port_word, segment_word,
        vip_flags,
    },
    reason::Reason,
};
use lb_sys::{
    bpf::{MMAPABLE, Map, Shape, map_type},
    clock,
};
use lb_testkit::datapath::{self, Sizes, Tables};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use super::Mode;

/// What BPF_PROG_TEST_RUN gives as the interface.
pub const INGRESS: u32 = 1;
const SEGMENT: u32 = 7;
const LB: u32 = 1;
pub const PORT: u16 = 80;
const MEMBERS: u16 = 100;
/// Words of a VIP's block in `PORTS`.
const BLOCK: u32 = 4;
const SEED: u64 = 0x1234_5678_9abc_def0;
const AMPHORA: u16 = 1;
const PERSIST_BLOCKS: u32 = 1024;
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0];
const MEMBER_MAC: [u8; 6] = [2, 0xbb, 0, 0, 0, 1];

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub mode: Mode,
    /// VIPs of each family; one of them is measured.
    pub vips: u32,
    /// Flows that the tables are made for.
    pub flows: u32,
    /// Interface that packets come in by and leave by.
    pub ingress: u32,
}

impl Setup {
    /// Twice as many slots as flows.
    const fn blocks(self) -> u32 {
        self.flows * 2 / 8
    }

    /// Entries for source ports of NAT.
    pub const fn reverse(self) -> u32 {
        self.flows * 2
    }
}

/// A loaded program and its maps.
#[derive(Debug)]
pub struct World {
    ebpf: Ebpf,
    tables: Tables,
    next_record: u32,
    next_ports: u32,
}

/// The measured VIP.
pub const fn vip(is_v6: bool) -> Addr {
    if is_v6 {
        Addr::v6([0xfc, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    } else {
        Addr::v4([10, 200, 1, 1])
    }
}

/// Listener of the measured VIP.
pub const fn listener(is_v6: bool, protocol: u8) -> u32 {
    1 + is_v6 as u32 * 2 + (protocol == 17) as u32
}

impl World {
    /// Loads and fills.
    pub fn load(object: &Path, setup: &Setup) -> anyhow::Result<Self> {
        let sizes = Sizes {
            flow_blocks: setup.blocks(),
            reverse: setup.reverse(),
            persist: PERSIST_BLOCKS,
            drains: 256,
        };
        let mut ebpf = datapath::load(object, &sizes)?;
        let program: &mut Xdp = ebpf
            .program_mut(names::PROGRAM_XDP)
            .context("no program")?
            .try_into()?;
        program.load().context("the verifier refuses")?;
        let mut world = Self {
            tables: Tables::of(&ebpf)?,
            ebpf,
            next_record: 1,
            next_ports: BLOCK,
        };
        world.fill(setup)?;
        Ok(world)
    }

    pub fn program(&self) -> anyhow::Result<&Xdp> {
        Ok(self
            .ebpf
            .program(names::PROGRAM_XDP)
            .context("no program")?
            .try_into()?)
    }

    /// Pins the program.
    pub fn pin(&self, path: &Path) -> anyhow::Result<()> {
        let fd = self.program()?.fd()?.try_clone()?;
        lb_sys::bpf::pin_object(fd.as_fd(), path)
            .with_context(|| format!("cannot pin {}", path.display()))
    }

    pub fn program_fd(&self) -> anyhow::Result<ProgramFd> {
        Ok(self.program()?.fd()?.try_clone()?)
    }

    /// Sends one packet; what left.
    pub fn once(&self, packet: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut out = vec![0; packet.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.data_out = Some(&mut out);
        let size = self.program()?.test_run(options)?.data_size_out;
        out.truncate(usize::try_from(size)?);
        Ok(out)
    }

    /// Makes all flows those of NAT that the member has answered.
    pub fn establish(&self) -> anyhow::Result<()> {
        let opened = |word: u64| {
            let word = Word(word);
            (word.state() == state::OPENING).then(|| word.with_state(state::ESTABLISHED).0)
        };
        self.change(names::FLOWS4, |block: &mut Block4| {
            change_slots(&mut block.slots, opened)
        })?;
        self.change(names::FLOWS6, |block: &mut Block6| {
            change_slots(&mut block.slots, opened)
        })?;
        self.change(names::REVERSE, |entry: &mut Reverse| {
            opened(entry.word).is_some_and(|word| {
                entry.word = word;
                true
            })
        })
    }

    /// Writes the entries that `change` says it has changed.
    fn change<V: FromBytes + IntoBytes + Immutable + KnownLayout>(
        &self,
        name: &str,
        mut change: impl FnMut(&mut V) -> bool,
    ) -> anyhow::Result<()> {
        let map = self.tables.map(name)?;
        let mut changed = Vec::new();
        map.scan(|key, value| {
            if let Ok(mut value) = V::read_from_bytes(value)
                && change(&mut value)
            {
                changed.push((key.to_vec(), value));
            }
        })?;
        for (key, value) in changed {
            map.update(&key, value.as_bytes())?;
        }
        Ok(())
    }

    /// Flows in the tables.
    pub fn flows_known(&self) -> anyhow::Result<u64> {
        let mut known = 0;
        for name in [names::FLOWS4, names::FLOWS6] {
            self.tables.map(name)?.scan(|_, value| {
                if let Ok((block, _)) = Block4::read_from_prefix(value) {
                    let live = block.slots.iter().filter(|slot| Word(slot.word).is_live());
                    known += live.count() as u64;
                }
            })?;
        }
        Ok(known)
    }

    /// Packets by reason since the program was loaded.
    pub fn reasons(&self) -> anyhow::Result<BTreeMap<Reason, u64>> {
        self.tables.reasons()
    }

    /// Flows that were opened at all listeners.
    pub fn flows_opened(&self) -> anyhow::Result<u64> {
        /// Which counter of a listener that is.
        const FLOWS: usize = std::mem::offset_of!(ListenerCounters, flows) / 8;
        let mut opened = 0;
        for (is_v6, protocol) in [(false, 6), (false, 17), (true, 6), (true, 17)] {
            let counters = self
                .tables
                .counters(names::LISTENER_STATS, listener(is_v6, protocol))?;
            opened += counters.get(FLOWS).copied().context("no counter")?;
        }
        Ok(opened)
    }

    fn set<V: IntoBytes + Immutable>(
        &self,
        name: &str,
        index: u32,
        value: &V,
    ) -> anyhow::Result<()> {
        self.tables.set(name, index, value)
    }

    fn fill(&mut self, setup: &Setup) -> anyhow::Result<()> {
        let config = Config {
            abi: MAP_ABI,
            snat_port_min: 1024,
            snat_port_max: 65_535,
            icmp_per_second: 1000,
            vip_icmp_echo: 1,
            hash_seed: SEED,
            flow4_mask: flow::pages(setup.blocks(), size_of::<Block4>()) - 1,
            flow6_mask: flow::pages(setup.blocks(), size_of::<Block6>()) - 1,
            reverse_mask: flow::pages(setup.reverse(), size_of::<Reverse>()) - 1,
            persist_mask: PERSIST_BLOCKS - 1,
            rst_per_second: 1000,
            outer_v4: [198, 18, 0, 0],
            outer_spread: 0xffff,
            generation: 1,
            outer_v6: Addr::v6([0x20, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        };
        self.set(names::CONFIG, 0, &config)?;
        let ingress = setup.ingress;
        self.set(
            names::SEGMENTS,
            ingress,
            &(segment_word(SEGMENT) | SEGMENT_TX),
        )?;
        self.set(names::DEVS, ingress, &[ingress, 0])?;
        if setup.mode == Mode::Steer {
            self.amphora(ingress)?;
        }
        for is_v6 in [false, true] {
            self.members(is_v6, ingress)?;
            if setup.mode == Mode::Nat {
                self.sources(is_v6)?;
            }
            for protocol in [6, 17] {
                self.listener(setup.mode, is_v6, protocol)?;
            }
            let ports = self.ports(is_v6)?;
            self.vip(vip(is_v6), ports)?;
            for other in 1..setup.vips {
                let ports = self.ports(is_v6)?;
                self.vip(other_vip(other, is_v6), ports)?;
            }
        }
        Ok(())
    }

    fn listener(&self, mode: Mode, is_v6: bool, protocol: u8) -> anyhow::Result<()> {
        let slot = u32::from(is_v6);
        let record = ListenerRecord {
            kind: match mode {
                Mode::Steer => listener_kind::STEER,
                Mode::Nat => listener_kind::NAT,
                Mode::DsrL2 => listener_kind::DSR_L2,
                Mode::DsrIpip => listener_kind::DSR_IPIP,
            },
            lb: LB,
            maglev: maglev_slots(Some(slot), Some(slot)),
            protocol,
            port: Be16::new(PORT),
            ..ListenerRecord::default()
        };
        self.set(names::LISTENERS, listener(is_v6, protocol), &record)
    }

    /// A block of its own with both listeners.
    fn ports(&mut self, is_v6: bool) -> anyhow::Result<u32> {
        let base = self.next_ports;
        self.next_ports += BLOCK;
        for protocol in [6, 17] {
            for probe in 0..BLOCK {
                let at = base + ((port_home(protocol, PORT) + probe) & (BLOCK - 1));
                if self.tables.get::<u64>(names::PORTS, &at.to_ne_bytes())? == Some(0) {
                    let word = port_word(protocol, PORT, listener(is_v6, protocol));
                    self.set(names::PORTS, at, &word)?;
                    break;
                }
            }
        }
        Ok(base)
    }

    fn vip(&mut self, addr: Addr, ports_base: u32) -> anyhow::Result<()> {
        let record = AddressRecord {
            segment: SEGMENT,
            kind: address_kind::VIP,
            addr,
            owner: LB,
            ports_base,
            ports_mask: BLOCK - 1,
            flags: vip_flags::ENABLED,
        };
        let index = self.next_record;
        self.next_record += 1;
        self.tables.publish(SEED, index, &record)
    }

    /// What members see as their client.
    fn sources(&mut self, is_v6: bool) -> anyhow::Result<()> {
        for number in 0..MEMBERS {
            let record = AddressRecord {
                segment: SEGMENT,
                kind: address_kind::SNAT,
                addr: snat(number, is_v6),
                owner: LB,
                ports_base: 0,
                ports_mask: 0,
                flags: 0,
            };
            let index = self.next_record;
            self.next_record += 1;
            self.tables.publish(SEED, index, &record)?;
        }
        Ok(())
    }

    fn members(&self, is_v6: bool, ifindex: u32) -> anyhow::Result<()> {
        let first = if is_v6 { 1001 } else { 1 };
        let mut entries = Vec::new();
        for number in 0..MEMBERS {
            let index = first + number;
            let [high, low] = (number + 1).to_be_bytes();
            let addr = if is_v6 {
                Addr::v6([0xfc, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, high, low])
            } else {
                Addr::v4([10, 50, high, low])
            };
            let record = MemberRecord {
                segment: SEGMENT,
                ifindex,
                addr,
                snat: snat(number, is_v6),
                port: Be16::new(PORT),
                src_mac: OUR_MAC,
                lb: LB,
                weight: 1,
                mtu: 1500,
                flags: 0,
                _pad: 0,
            };
            self.set(names::MEMBERS, u32::from(index), &record)?;
            self.set(
                names::NEIGHBOURS,
                u32::from(index),
                &neighbour_word(MEMBER_MAC),
            )?;
            entries.push(maglev::Entry::new(&addr.0, 1, index));
        }
        let mut table = vec![0_u16; MAGLEV_VALUE_BYTES / 2];
        let (slots, _) = table.split_at_mut(MAGLEV_SLOTS);
        maglev::fill(&mut entries, slots);
        let shape = Shape {
            map_type: map_type::ARRAY,
            key_size: 4,
            value_size: u32::try_from(MAGLEV_VALUE_BYTES)?,
            max_entries: 1,
            flags: 0,
        };
        let inner = Map::create(shape, "maglev")?;
        inner.update(&[0; 4], table.as_bytes())?;
        Ok(self
            .tables
            .map(names::MAGLEV)?
            .set_inner(u32::from(is_v6), &inner)?)
    }

    /// One amphora behind the interface that packets come by, alive for a day.
    fn amphora(&self, ifindex: u32) -> anyhow::Result<()> {
        let record = AmphoraRecord {
            ifindex,
            lb: LB,
            dst_mac: MEMBER_MAC,
            src_mac: OUR_MAC,
        };
        self.set(names::AMPHORAE, u32::from(AMPHORA), &record)?;
        let shape = Shape {
            map_type: map_type::ARRAY,
            key_size: 4,
            value_size: 4096,
            max_entries: 1,
            flags: MMAPABLE,
        };
        let page = Map::create(shape, "page")?;
        let now = clock::monotonic_ns();
        let mut head = HeartbeatPage::new_zeroed();
        head.alive_since_ns = now;
        head.deadline_ns = deadline_word(now + 86_400_000_000_000 - BUSY_VALID_NS, true);
        let mut value = vec![0; page.lookup_bytes()];
        head.write_to_prefix(&mut value).ok().context("page")?;
        page.update(&[0; 4], &value)?;
        self.tables
            .map(names::HEARTBEATS)?
            .set_inner(u32::from(AMPHORA), &page)?;
        let word = SteerWord {
            active: AMPHORA,
            standby: 0,
            epoch: 1,
            draining: false,
        };
        self.set(names::STEER, LB, &word.to_word())
    }
}

fn change_slots(slots: &mut [flow::Slot], new: impl Fn(u64) -> Option<u64>) -> bool {
    let mut is_changed = false;
    for slot in slots {
        if let Some(word) = new(slot.word) {
            slot.word = word;
            is_changed = true;
        }
    }
    is_changed
}

/// Source address towards a member.
fn snat(member: u16, is_v6: bool) -> Addr {
    let [high, low] = (member + 1).to_be_bytes();
    if is_v6 {
        Addr::v6([0xfc, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, high, low])
    } else {
        Addr::v4([10, 51, high, low])
    }
}

/// VIPs that nobody sends to.
fn other_vip(number: u32, is_v6: bool) -> Addr {
    let [_, a, b, c] = number.to_be_bytes();
    if is_v6 {
        Addr::v6([0xfc, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c])
    } else {
        Addr::v4([10, 100 + a, b, c])
    }
}
