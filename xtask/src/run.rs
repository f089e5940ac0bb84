//! `cargo xtask run`: the demonstration, on one machine, with one command.

mod check;
mod lines;
mod watch;

use std::net::IpAddr;

use anyhow::Context as _;
use clap::Args;
use lb_testkit::{
    certs::TestCa,
    demo::{self, Demonstration},
    system::config::RealInterface,
};

use crate::{build, sandbox::Sandbox, setup, shell};

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Do what the printed lines say, assert each answer, break things on purpose, print a table,
    /// take everything down and exit with 0 or 1.
    #[arg(long, conflicts_with = "interface")]
    check: bool,
    /// Attach XDP to this interface of this host, instead of making a sandbox.
    #[arg(long, requires = "subnet")]
    interface: Option<String>,
    /// Subnet behind that interface: VIPs, members and our own addresses are taken from it.
    #[arg(long, requires = "interface")]
    subnet: Option<String>,
    /// The subnet's router.
    #[arg(long, requires = "interface")]
    gateway: Option<IpAddr>,
    /// First address of the subnet that may be taken.
    #[arg(long, requires = "last")]
    first: Option<IpAddr>,
    /// Last address of the subnet that may be taken.
    #[arg(long, requires = "first")]
    last: Option<IpAddr>,
    /// Two application servers on port 8080 for the demonstration.
    #[arg(long, num_args = 2, requires = "interface")]
    servers: Vec<IpAddr>,
}

impl RunArgs {
    fn real(&self) -> Option<RealInterface> {
        Some(RealInterface {
            interface: self.interface.clone()?,
            subnet: self.subnet.clone()?,
            gateway: self.gateway,
            range: self.first.zip(self.last),
        })
    }
}

/// Builds, starts, creates the demonstration; then shows what happens until Ctrl-C, or checks.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    setup::setup(setup::Scope::Everything)?;
    build::ebpf()?;
    let binary = build::lbaas()?;
    let interrupted = watch::Interrupt::install()?;
    let mut sandbox = Sandbox::create(&binary, args.real().as_ref())?;
    let roles: &[&str] = if args.check {
        &["server", "agent"]
    } else {
        &["all-in-one"]
    };
    for role in roles {
        sandbox.system.start(role)?;
    }
    sandbox.system.wait_ready()?;
    let place = match args.servers.as_slice() {
        [first, second] => lines::place_on_interface([*first, *second]),
        _ if sandbox.servers() == 2 => Sandbox::place(),
        _ => {
            let api = sandbox.system.api_address();
            shell::say(&format!(
                "Without --servers there is no demonstration; the API is at http://{api}"
            ));
            return watch::until_interrupted(&mut sandbox, &interrupted);
        }
    };
    let ca = TestCa::create(&sandbox.system.directory("ca"))?;
    shell::say("creating the demonstration through the API");
    let demonstration =
        demo::create(&sandbox.system.api(), &place, &ca).with_context(|| sandbox.system.logs())?;
    if args.check {
        return check::check(&mut sandbox, &demonstration, &ca);
    }
    print(&sandbox, &demonstration, &ca);
    watch::until_interrupted(&mut sandbox, &interrupted)
}

fn print(sandbox: &Sandbox, demonstration: &Demonstration, ca: &TestCa) {
    let elsewhere = if sandbox.topology.is_some() {
        "another shell"
    } else {
        "a shell of another machine"
    };
    shell::say(&format!("\nIt runs. Try, in {elsewhere}:\n"));
    for line in lines::curl(demonstration, &ca.certificate()) {
        shell::say(&format!("  {:<76} # {}", line.shown(), line.expects));
    }
    shell::say(
        "\nThe openstack client (pip install python-openstackclient python-octaviaclient):\n",
    );
    let api = sandbox.system.api_address();
    shell::say(&format!(
        "  export OS_AUTH_TYPE=none OS_ENDPOINT=http://{api}"
    ));
    for line in lines::openstack() {
        shell::say(&format!("  {}", line.shown()));
    }
    shell::say("\nKill the active amphora (watch the change below, and the answers go on):\n");
    shell::say(&format!(
        "  {}",
        lines::kill(&sandbox.system.agent_status())
    ));
    shell::say("\nCtrl-C takes everything down. Changes of state:\n");
}
