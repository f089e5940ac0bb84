//! `lbaas config show`: the settings as a file that would give the same.

use std::fmt::Write as _;

use lb_model::{amphora::FlowLog, id::NetworkId};

use super::{Config, Network, auth};

impl Config {
    /// TOML of everything in force.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = String::new();
        match self.write(&mut text) {
            // Writing into a String cannot fail.
            Ok(()) | Err(std::fmt::Error) => text,
        }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "state_dir = {:?}  # database, CA, credentials",
            self.state_dir
        )?;
        writeln!(out, "run_dir = {:?}  # sockets", self.run_dir)?;
        super::database::write(out, &self.database)?;
        let api = &self.api;
        writeln!(out, "\n[api]\nlisten = \"{}\"", api.listen)?;
        writeln!(
            out,
            "auth_strategy = \"{}\"  # or keystone; testing believes headers",
            api.auth_strategy
        )?;
        writeln!(out, "default_project = {:?}", api.default_project)?;
        writeln!(out, "default_provider = {:?}", api.default_provider)?;
        writeln!(
            out,
            "force_listen = {}  # true: no authentication beyond loopback",
            api.force_listen
        )?;
        writeln!(
            out,
            "neutron_lbaas = {}  # true: the old dialect under /neutron/v2.0",
            api.neutron_lbaas
        )?;
        api.front.write(out)?;
        super::deployment::write(&api.deployment, out)?;
        api.front.write_cors(out)?;
        super::providers::write(&self.providers, out)?;
        super::quotas::write(&self.quotas, out)?;
        auth::write(out, self)?;
        self.key_manager.write(out, &self.database.secrets_key)?;
        let controller = &self.controller;
        writeln!(
            out,
            "\n[controller]\nsync_listen = \"{}\"",
            controller.sync_listen
        )?;
        writeln!(
            out,
            "loadbalancer_topology = \"{}\"  # or ACTIVE_STANDBY",
            controller.topology
        )?;
        writeln!(
            out,
            "pending_timeout_secs = {}",
            controller.pending_timeout.as_secs()
        )?;
        match &controller.host {
            Some(host) => writeln!(out, "host = {host:?}")?,
            None => writeln!(
                out,
                "# host = \"…\"  # where load balancers are placed; default: agent.host"
            )?,
        }
        writeln!(
            out,
            "\n[network]\ndriver = \"{}\"  # or noop: everything exists, for tests of the API",
            self.network_driver.as_str()
        )?;
        self.write_vip_rules(out)?;
        for network in &self.networks {
            write_network(out, network)?;
        }
        let denied: Vec<String> = self
            .deny_cidrs
            .iter()
            .map(|net| format!("\"{net}\""))
            .collect();
        writeln!(out, "\n[members]\ndeny_cidrs = [{}]", denied.join(", "))?;
        self.write_agent(out)
    }

    fn write_vip_rules(&self, out: &mut String) -> std::fmt::Result {
        let rules = &self.vip_rules;
        for (key, allowed) in [
            ("allow_vip_port_id", rules.allow_port_id),
            ("allow_vip_network_id", rules.allow_network_id),
            ("allow_vip_subnet_id", rules.allow_subnet_id),
        ] {
            writeln!(out, "{key} = {allowed}")?;
        }
        let list = |ids: &[NetworkId]| {
            let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
            ids.join(", ")
        };
        match &rules.valid_networks {
            Some(valid) => writeln!(out, "valid_vip_networks = [{}]", list(valid))?,
            None => writeln!(out, "# valid_vip_networks = [\"…\"]  # default: all")?,
        }
        let denied = list(&rules.denied_networks);
        writeln!(out, "denylist_vip_networks = [{denied}]")
    }

    fn write_agent(&self, out: &mut String) -> std::fmt::Result {
        let agent = &self.agent;
        writeln!(out, "\n[agent]\nhost = {:?}", agent.host)?;
        writeln!(out, "server = {:?}", agent.server)?;
        writeln!(out, "credentials = {:?}", agent.credentials)?;
        match &agent.edge_netns {
            Some(name) => writeln!(out, "edge_netns = {name:?}")?,
            None => writeln!(
                out,
                "# edge_netns = \"…\"  # default: where the agent is started"
            )?,
        }
        writeln!(out, "bpf_dir = {:?}", agent.bpf_dir)?;
        writeln!(
            out,
            "drain_timeout_secs = {}",
            agent.drain_timeout.as_secs()
        )?;
        writeln!(out, "spare_amphorae = {}", agent.spare_amphorae)?;
        match &agent.flow_log {
            Some(log) => write_flow_log(out, log)?,
            None => writeln!(out, "# flow_log = \"…\"  # default: nowhere")?,
        }
        let l4 = agent.l4;
        writeln!(out, "flows_per_load_balancer = {}", l4.flows)?;
        writeln!(out, "nat_ports_per_load_balancer = {}", l4.ports)?;
        writeln!(out, "new_flows_per_second = {}", l4.new_per_second)?;
        writeln!(out, "syn_per_second = {}", l4.syn_per_second)?;
        let amphora = agent.amphora;
        writeln!(out, "amphora_memory_mib = {}", amphora.memory_mib)?;
        writeln!(out, "amphora_cpu_percent = {}", amphora.cpu_percent)?;
        writeln!(out, "amphora_processes = {}", amphora.processes)?;
        for interface in &agent.interfaces {
            let networks: Vec<String> = interface
                .networks
                .iter()
                .map(|id| format!("\"{id}\""))
                .collect();
            writeln!(out, "\n[[agent.interfaces]]\nname = {:?}", interface.name)?;
            writeln!(out, "networks = [{}]", networks.join(", "))?;
        }
        Ok(())
    }
}

fn write_flow_log(out: &mut String, log: &lb_agent::FlowLogConfig) -> std::fmt::Result {
    let target = match &log.target {
        FlowLog::File(path) => path.clone(),
        FlowLog::Syslog(socket) => format!("syslog:{socket}"),
        FlowLog::Journal => "journal".to_owned(),
    };
    writeln!(out, "flow_log = {target:?}")?;
    writeln!(out, "flow_log_mib = {}", log.file_bytes_max >> 20)?;
    writeln!(out, "flow_log_projects = {:?}", log.projects)
}

fn write_network(out: &mut String, network: &Network) -> std::fmt::Result {
    writeln!(out, "\n[[networks]]\nid = \"{}\"", network.id)?;
    writeln!(
        out,
        "name = {:?}\nsegment = {}",
        network.name, network.segment
    )?;
    if let Some(project) = &network.project_id {
        writeln!(out, "project_id = {project:?}")?;
    }
    for subnet in &network.subnets {
        writeln!(out, "\n[[networks.subnets]]\nid = \"{}\"", subnet.id)?;
        writeln!(out, "name = {:?}\ncidr = \"{}\"", subnet.name, subnet.cidr)?;
        if let Some(gateway) = subnet.gateway_ip {
            writeln!(out, "gateway_ip = \"{gateway}\"")?;
        }
        if !subnet.allocation_pools.is_empty() {
            let pools: Vec<String> = subnet
                .allocation_pools
                .iter()
                .map(|(start, end)| format!("{{ start = \"{start}\", end = \"{end}\" }}"))
                .collect();
            writeln!(out, "allocation_pools = [{}]", pools.join(", "))?;
        }
    }
    Ok(())
}
