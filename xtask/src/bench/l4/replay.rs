//! The wrapper from user space: tells it what to send to which program, and takes the time.

use std::path::Path;

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
};
use lb_common::replay::{Plan, names, order};
use lb_sys::{bpf::Map, clock};
use lb_testkit::datapath::own_map;
use zerocopy::{FromBytes as _, IntoBytes as _};

const XDP_ABORTED: u32 = 0;

/// Which flows the packets are of.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// That of the template.
    One,
    /// These numbers, one after the other.
    From(u64),
    /// Likewise, but clients and ports all over the place.
    Scattered(u64),
    /// A power of two of them, any order.
    Random(u32),
}

/// The wrapper, loaded.
pub struct Replay {
    ebpf: Ebpf,
    target: ProgramArray<MapData>,
    plan: Map,
    random: u64,
}

impl Replay {
    pub fn load(object: &Path) -> anyhow::Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load_file(object)
            .with_context(|| object.display().to_string())?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program
                .load()
                .with_context(|| format!("the verifier refuses {name}"))?;
        }
        let plan = own_map(ebpf.map(names::PLAN).context("no plan")?)?;
        let target = ebpf.take_map(names::TARGET).context("no target")?;
        Ok(Self {
            target: target.try_into()?,
            plan,
            ebpf,
            random: 0x9e37_79b9_7f4a_7c15,
        })
    }

    /// A program of the bench's own.
    pub fn own(&self, name: &str) -> anyhow::Result<ProgramFd> {
        let program: &Xdp = self.ebpf.program(name).context("no program")?.try_into()?;
        Ok(program.fd()?.try_clone()?)
    }

    /// Sends `packets` packets to `program`; nanoseconds of processor time a packet.
    pub fn run(
        &mut self,
        program: &ProgramFd,
        packet: &[u8],
        flows: Order,
        packets: u32,
    ) -> anyhow::Result<f64> {
        self.run_by(program, packet, flows, packets, None)
    }

    /// The same with what comes out really sent, as if it had come in by an interface (of the caller's
    /// namespace).
    pub fn run_live(
        &mut self,
        program: &ProgramFd,
        packet: &[u8],
        packets: u32,
        ifindex: u32,
    ) -> anyhow::Result<f64> {
        self.run_by(program, packet, Order::One, packets, Some(ifindex))
    }

    /// Attaches a program of the bench's own; it stays as long as this.
    pub fn attach(&mut self, name: &str, interface: &str) -> anyhow::Result<()> {
        let program: &mut Xdp = self
            .ebpf
            .program_mut(name)
            .context("no program")?
            .try_into()?;
        program
            .attach(interface, XdpMode::Driver)
            .with_context(|| format!("{name} on {interface}"))?;
        Ok(())
    }

    fn run_by(
        &mut self,
        program: &ProgramFd,
        packet: &[u8],
        flows: Order,
        packets: u32,
        live: Option<u32>,
    ) -> anyhow::Result<f64> {
        self.target
            .set(0, program, 0)
            .context("the kernel does not let the wrapper call the program")?;
        let first = self.write_plan(packet, flows, live.is_some())?;
        let wrapper: &Xdp = self
            .ebpf
            .program(names::PROGRAM_REPLAY)
            .context("no wrapper")?
            .try_into()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = packets;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let length = u32::try_from(packet.len())?;
        let context = [0, length, 0, live.unwrap_or_default(), 0, 0].map(u32::to_ne_bytes);
        if live.is_some() {
            options.ctx_in = Some(context.as_flattened());
            options.attrs = TestRunAttrs::new().xdp_live_frames(64);
        }
        let begin = clock::thread_cpu_ns();
        let ran = wrapper.test_run(options)?;
        let spent = clock::thread_cpu_ns() - begin;
        // Live frames have no one verdict.
        ensure!(
            live.is_some() || ran.return_value != XDP_ABORTED,
            "the wrapper could not restore the packet"
        );
        let plan = self.read_plan()?;
        ensure!(
            plan.next - first == u64::from(packets),
            "{} packets were sent instead of {packets}",
            plan.next - first
        );
        self.random = plan.random;
        #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
        Ok(spent as f64 / f64::from(packets))
    }

    fn write_plan(&self, packet: &[u8], flows: Order, live: bool) -> anyhow::Result<u64> {
        let mut plan = Plan {
            is_live: u32::from(live),
            length: u32::try_from(packet.len())?,
            is_first: 1,
            is_v6: u32::from(packet.get(12..14) == Some(&[0x86, 0xdd])),
            random: self.random,
            ..Plan::default()
        };
        let bytes = plan.template.as_mut_bytes();
        for (to, from) in bytes.iter_mut().zip(packet) {
            *to = *from;
        }
        match flows {
            Order::One => {}
            Order::From(first) => {
                (plan.order, plan.mask, plan.next) = (order::COUNT, u32::MAX, first);
            }
            Order::Scattered(first) => {
                (plan.order, plan.mask, plan.next) = (order::SCATTERED, u32::MAX, first);
            }
            Order::Random(flows) => {
                ensure!(flows.is_power_of_two(), "flows in random order");
                (plan.order, plan.mask) = (order::RANDOM, flows - 1);
            }
        }
        self.plan.update(&[0; 4], plan.as_bytes())?;
        Ok(plan.next)
    }

    fn read_plan(&self) -> anyhow::Result<Plan> {
        let mut bytes = vec![0; self.plan.lookup_bytes()];
        self.plan.lookup(&[0; 4], &mut bytes)?;
        let (plan, _) = Plan::read_from_prefix(&bytes).ok().context("plan")?;
        Ok(plan)
    }
}
