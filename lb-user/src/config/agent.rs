//! Section `[agent]`: the host and its interfaces.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use lb_agent::{AmphoraLimits, FlowLogConfig, L4Limits};
use lb_model::{amphora::FlowLog, id::NetworkId};

use super::{ConfigError, Controller, Network, network_named, reader::Section};

const SERVERS: &str =
    "host:port of the server's controller.sync_listen, of several separated by commas";
const BPF_DIR: &str = "/run/lbaas/bpf";
const DRAIN_TIMEOUT_SECS: u64 = 30;
const FLOW_LOG: &str = "a file, syslog:SOCKET or journal";
/// A flow log of this length is put aside.
const FLOW_LOG_MIB: u64 = 256;
/// Two pairs.
const SPARE_AMPHORAE: usize = 4;
/// Each is a process and a namespace.
const SPARE_AMPHORAE_MAX: u64 = 64;
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// Longest interface name, without the closing zero (IFNAMSIZ).
const INTERFACE_CHARS_MAX: usize = 15;

/// One host's agent.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    /// Names the host; the name in the agent's certificate.
    pub(crate) host: String,
    /// Where the servers' `sync_listen` are reached, `host:port`, several separated by commas.
    pub(crate) server: String,
    /// Directory with ca.pem, agent.pem and agent.key.
    pub(crate) credentials: PathBuf,
    /// The network namespace XDP works in; `None`: the one the agent is started in.
    pub(crate) edge_netns: Option<String>,
    /// Where maps and links are pinned.
    pub(crate) bpf_dir: PathBuf,
    /// Longest a planned failover waits for connections to end.
    pub(crate) drain_timeout: Duration,
    /// Amphorae kept ready for load balancers to come; 0: none.
    pub(crate) spare_amphorae: usize,
    /// What a load balancer may have of the data path.
    pub(crate) l4: L4Limits,
    /// What an amphora may have of the host.
    pub(crate) amphora: AmphoraLimits,
    /// Where tenants' requests and connections are logged; `None`: nowhere.
    pub(crate) flow_log: Option<FlowLogConfig>,
    /// What XDP is attached to. Nothing else is ever touched.
    pub(crate) interfaces: Vec<Interface>,
}

/// An interface of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// Networks it leads to.
    pub(crate) networks: Vec<NetworkId>,
}

impl Agent {
    pub(super) fn read(
        mut section: Section,
        networks: &[Network],
        state_dir: &Path,
        controller: &Controller,
    ) -> Result<Self, ConfigError> {
        let host = read_host(&mut section)?;
        let server: String = section
            .parsed("server", SERVERS)?
            .unwrap_or_else(|| controller.sync_listen.to_string());
        let has_port = |one: &str| {
            one.trim()
                .rsplit_once(':')
                .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok())
        };
        if !server.split(',').all(has_port) {
            let value = Some(format!("{server:?}"));
            return Err(section.wrong("server", value, format!("must be {SERVERS}")));
        }
        let credentials = section
            .parsed(
                "credentials",
                "a directory with ca.pem, agent.pem and agent.key",
            )?
            .unwrap_or_else(|| state_dir.join("agents").join(&host));
        let edge_netns: Option<String> = section.parsed("edge_netns", "a name in /run/netns")?;
        if let Some(name) = edge_netns
            .as_ref()
            .filter(|name| name.is_empty() || name.contains('/'))
        {
            let value = Some(format!("{name:?}"));
            return Err(section.wrong("edge_netns", value, "must be a name in /run/netns"));
        }
        let bpf_dir = section
            .parsed("bpf_dir", "a directory")?
            .unwrap_or_else(|| PathBuf::from(BPF_DIR));
        let drain_timeout = section
            .integer("drain_timeout_secs", 0..=86_400)?
            .unwrap_or(DRAIN_TIMEOUT_SECS);
        let spare_amphorae = section
            .integer("spare_amphorae", 0..=SPARE_AMPHORAE_MAX)?
            .and_then(|given| usize::try_from(given).ok())
            .unwrap_or(SPARE_AMPHORAE);
        let l4 = read_limits(&mut section)?;
        let amphora = read_amphora_limits(&mut section)?;
        let flow_log = read_flow_log(&mut section)?;
        let interfaces = read_interfaces(&mut section, networks)?;
        section.finish()?;
        Ok(Self {
            host,
            server,
            credentials,
            edge_netns,
            bpf_dir,
            drain_timeout: Duration::from_secs(drain_timeout),
            spare_amphorae,
            l4,
            amphora,
            flow_log,
            interfaces,
        })
    }
}

fn read_limits(section: &mut Section) -> Result<L4Limits, ConfigError> {
    let default = L4Limits::default();
    let mut read = |key: &'static str, default: u32| -> Result<u32, ConfigError> {
        let given = section.integer(key, 0..=u64::from(u32::MAX))?;
        Ok(given
            .and_then(|given| u32::try_from(given).ok())
            .unwrap_or(default))
    };
    Ok(L4Limits {
        flows: read("flows_per_load_balancer", default.flows)?,
        ports: read("nat_ports_per_load_balancer", default.ports)?,
        new_per_second: read("new_flows_per_second", default.new_per_second)?,
        syn_per_second: read("syn_per_second", default.syn_per_second)?,
    })
}

fn read_amphora_limits(section: &mut Section) -> Result<AmphoraLimits, ConfigError> {
    let default = AmphoraLimits::default();
    let mut read = |key: &'static str, most: u64, default: u32| -> Result<u32, ConfigError> {
        let given = section.integer(key, 0..=most)?;
        Ok(given
            .and_then(|given| u32::try_from(given).ok())
            .unwrap_or(default))
    };
    Ok(AmphoraLimits {
        memory_mib: read("amphora_memory_mib", 1 << 22, default.memory_mib)?,
        cpu_percent: read("amphora_cpu_percent", 100_000, default.cpu_percent)?,
        processes: read("amphora_processes", 1 << 20, default.processes)?,
    })
}

fn read_flow_log(section: &mut Section) -> Result<Option<FlowLogConfig>, ConfigError> {
    let target: Option<String> = section.parsed("flow_log", FLOW_LOG)?;
    let mebibytes = section.integer("flow_log_mib", 1..=1 << 20)?;
    let projects = section.list("flow_log_projects", "project ids")?;
    let Some(target) = target else {
        return Ok(None);
    };
    let target = match target.strip_prefix("syslog:") {
        Some(socket) if socket.starts_with('/') => FlowLog::Syslog(socket.to_owned()),
        None if target == "journal" => FlowLog::Journal,
        None if target.starts_with('/') => FlowLog::File(target),
        _ => {
            let value = Some(format!("{target:?}"));
            return Err(section.wrong("flow_log", value, format!("must be {FLOW_LOG}")));
        }
    };
    Ok(Some(FlowLogConfig {
        target,
        file_bytes_max: mebibytes.unwrap_or(FLOW_LOG_MIB) << 20,
        projects,
    }))
}

fn read_host(section: &mut Section) -> Result<String, ConfigError> {
    let host: Option<String> = section.parsed("host", "the host's name")?;
    let host = host.unwrap_or_else(|| {
        std::fs::read_to_string(HOSTNAME)
            .map(|name| name.trim().to_owned())
            .unwrap_or_default()
    });
    match lb_wire::ca::check_host(&host) {
        Ok(()) => Ok(host),
        Err(_wrong) => Err(section.wrong(
            "host",
            Some(format!("{host:?}")),
            "must be letters, digits, '.', '_' and '-', at most 64, not beginning with '.'",
        )),
    }
}

fn read_interfaces(
    section: &mut Section,
    networks: &[Network],
) -> Result<Vec<Interface>, ConfigError> {
    let mut interfaces: Vec<Interface> = Vec::new();
    for mut entry in section.sections("interfaces")? {
        let name: String = entry.required("name", "an interface's name")?;
        if name.is_empty() || name.len() > INTERFACE_CHARS_MAX || name.contains('/') {
            let value = Some(format!("{name:?}"));
            return Err(entry.wrong("name", value, "must be an interface's name"));
        }
        if interfaces.iter().any(|other| other.name == name) {
            let value = Some(format!("{name:?}"));
            return Err(entry.wrong("name", value, "must be named once"));
        }
        let names: Vec<String> = entry.list("networks", "ids or names of [[networks]]")?;
        let mut ids = Vec::with_capacity(names.len());
        for named in names {
            let id = match network_named(networks, &named) {
                Some(network) => network.id,
                // An agent's own file need not repeat the networks: ids are enough.
                None => named.parse().map_err(|_no_id| {
                    let known: Vec<&str> = networks
                        .iter()
                        .map(|network| network.name.as_str())
                        .collect();
                    entry.wrong(
                        "networks",
                        Some(format!("{named:?}")),
                        format!(
                            "must be an id or one of the [[networks]]: {}",
                            known.join(", ")
                        ),
                    )
                })?,
            };
            if interfaces.iter().any(|other| other.networks.contains(&id)) || ids.contains(&id) {
                let value = Some(format!("{named:?}"));
                return Err(entry.wrong(
                    "networks",
                    value,
                    "must be reached by one interface only",
                ));
            }
            ids.push(id);
        }
        entry.finish()?;
        interfaces.push(Interface {
            name,
            networks: ids,
        });
    }
    Ok(interfaces)
}
