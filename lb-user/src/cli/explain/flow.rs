//! `lbaas explain flow`: runs the program that is attached on a packet nobody sent, and says what
//! became of it and why. It is the program itself that answers, so it cannot be out of date.

mod answer;
mod packet;

use std::net::SocketAddr;

use clap::Args;
use lb_agent::{Disk, View};
use lb_common::{maps::Addr, reason::Reason};
use lb_plan::datapath::{Allocations, DesiredMaps};
use lb_sys::bpf::{Program, Ran, on_one_cpu};

use crate::{cli::print, config::Config, failure::Failure};

use self::packet::{Kind, Question};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// SRC:PORT -> DST:PORT/PROTO, quoted or as words; PROTO is tcp, udp or sctp.
    #[arg(required = true, num_args = 1.., value_name = "SRC:PORT -> DST:PORT/PROTO")]
    words: Vec<String>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    /// The uplink it comes in by; default: the first of a segment that has the VIP.
    #[arg(long)]
    interface: Option<String>,
}

/// What the packet met.
struct Seen {
    question: Question,
    interface: String,
    segment: u32,
    /// The flow was there before: an ACK was sent, no SYN.
    known: bool,
    ran: Ran,
    reasons: Vec<Reason>,
    maps: DesiredMaps,
    flow: Option<lb_agent::Flow>,
    left: Option<&'static str>,
}

pub(crate) fn run(options: &Options, config: &Config) -> Result<(), Failure> {
    let Options {
        words,
        json,
        interface,
    } = options;
    let question = Question::parse(&words.join(" ")).map_err(Failure::Usage)?;
    let seen = match &config.agent.edge_netns {
        None => look(config, question, interface.as_deref()),
        Some(name) => lb_sys::netns::run_in(name, || look(config, question, interface.as_deref()))
            .map_err(Failure::failed)?,
    };
    let seen = seen.map_err(|error| Failure::Failed(format!("{error:#}")))?;
    let disk = Disk::open(config.state_dir.join("agent")).map_err(Failure::failed)?;
    let names = disk.allocations().map_err(Failure::failed)?;
    let names = names.unwrap_or_else(|| Allocations::new(0));
    let specs = disk.specs().map_err(Failure::failed)?;
    let answer = answer::of(&seen, &names, &specs);
    if *json {
        let text = serde_json::to_string_pretty(&answer).map_err(Failure::failed)?;
        return print(&format!("{text}\n"));
    }
    print(&answer::text(&answer))
}

/// Runs the program. In the edge's namespace.
fn look(config: &Config, question: Question, asked: Option<&str>) -> anyhow::Result<Seen> {
    use anyhow::Context as _;
    let view = View::open(&config.agent.bpf_dir)?;
    let maps = view.read()?;
    let (interface, ifindex, segment) = uplink(config, &maps, &question, asked)?;
    let link = lb_agent::bpf::uplink_pin(&config.agent.bpf_dir, &interface, ifindex);
    let program = Program::of_link(&link)
        .with_context(|| format!("no XDP program of lbaas on {interface}"))?;
    let find = || {
        let client = addr(question.client);
        let mut flows = view.flows(question.client.is_ipv6());
        let listener = answer::listener(&maps, segment, &question).map(|(index, _)| index);
        flows.find(|flow| {
            flow.client == client
                && flow.client_port == question.client.port()
                && Some(flow.listener) == listener
        })
    };
    let known = find().is_some();
    let packet = question.packet(if known { Kind::Known } else { Kind::First });
    let (ran, reasons) = on_one_cpu(|cpu| -> anyhow::Result<_> {
        let before = view.reasons_on(cpu)?;
        let ran = program.run_xdp(ifindex, &packet)?;
        let after = view.reasons_on(cpu)?;
        let counted = Reason::ALL
            .iter()
            .zip(before.iter().zip(&after))
            .filter(|(_, (before, after))| before != after)
            .map(|(reason, _)| *reason);
        Ok((ran, counted.collect::<Vec<_>>()))
    })??;
    let flow = find();
    let left = match &flow {
        Some(_) if !known => Some(forget(&program, ifindex, &question)?),
        _ => None,
    };
    Ok(Seen {
        question,
        interface,
        segment,
        known,
        ran,
        reasons,
        maps,
        flow,
        left,
    })
}

/// The kernel alone writes flows, so a TCP or SCTP flow is ended as a client would; others cannot be.
fn forget(program: &Program, ifindex: u32, question: &Question) -> anyhow::Result<&'static str> {
    if question.has_connections() {
        program.run_xdp(ifindex, &question.packet(Kind::Reset))?;
        return Ok("an entry that was closed (RST, or ABORT of SCTP) and goes within seconds");
    }
    Ok("an entry that goes when its idle time is over")
}

pub(crate) fn addr(socket: SocketAddr) -> Addr {
    match socket {
        SocketAddr::V4(v4) => Addr::v4(v4.ip().octets()),
        SocketAddr::V6(v6) => Addr::v6(v6.ip().octets()),
    }
}

/// Interface, its number and its segment.
fn uplink(
    config: &Config,
    maps: &DesiredMaps,
    question: &Question,
    asked: Option<&str>,
) -> anyhow::Result<(String, u32, u32)> {
    let target = addr(question.vip);
    let mut first = None;
    for interface in &config.agent.interfaces {
        let name = &interface.name;
        if asked.is_some_and(|asked| asked != name) {
            continue;
        }
        let ifindex = lb_sys::iface::index(name)?;
        let Some(word) = maps.segments.get(&ifindex) else {
            continue;
        };
        let segment = crate::cli::bpf::low(*word);
        let mut records = maps.address_records.values();
        if records.any(|record| record.segment == segment && record.addr == target) {
            return Ok((name.clone(), ifindex, segment));
        }
        first.get_or_insert((name.clone(), ifindex, segment));
    }
    first.ok_or_else(|| anyhow::anyhow!("no such uplink is in the data path"))
}
