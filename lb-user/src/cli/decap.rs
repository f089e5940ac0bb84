//! `lbaas decap`: opens the tunnels of DSR over IPIP on a member that has no tunnel device. Runs until it
//! is told to stop and leaves nothing behind.

use std::{fmt::Write as _, net::IpAddr};

use clap::Args;
use ipnet::IpNet;
use lb_agent::bpf::{Decap, XdpMode};
use lb_common::maps::Addr;

use crate::{cli::print, failure::Failure, role::process::run_until_signal};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Interface by which the load balancer's packets come in; repeatable.
    #[arg(required = true, value_name = "INTERFACE")]
    interfaces: Vec<String>,
    /// Open packets from these networks alone, drop other tunnels; repeatable. The load balancer's
    /// outer sources are in 198.18.0.0/16 and 2001:2::/96.
    #[arg(long = "source", value_name = "CIDR")]
    sources: Vec<IpNet>,
    /// Run in the kernel's stack instead of the driver.
    #[arg(long)]
    generic: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let sources: Vec<(Addr, u8)> = options.sources.iter().map(prefix).collect();
    let mut decap = Decap::load(&sources).map_err(Failure::failed)?;
    for interface in &options.interfaces {
        let mode = decap
            .attach(interface, options.generic)
            .map_err(Failure::failed)?;
        let mode = match mode {
            XdpMode::Generic => "generic",
            XdpMode::Driver | XdpMode::Adopted => "native",
        };
        print(&format!("{interface}: opening IPIP, {mode} XDP\n"))?;
    }
    run_until_signal(async |shutdown| {
        shutdown.cancelled().await;
        Ok(())
    })?;
    let mut text = String::new();
    for (outcome, packets) in decap.counts().map_err(Failure::failed)? {
        // Writing to a String cannot fail.
        writeln!(text, "{:10} {packets}", outcome.name()).unwrap_or_default();
    }
    print(&text)
}

fn prefix(net: &IpNet) -> (Addr, u8) {
    let addr = match net.network() {
        IpAddr::V4(addr) => Addr::v4(addr.octets()),
        IpAddr::V6(addr) => Addr::v6(addr.octets()),
    };
    (addr, net.prefix_len())
}
