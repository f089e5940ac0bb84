//! The edge's network, against a real kernel: namespaces of the test's own.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use lb_agent::{
    AgentConfig, Interface,
    edge::{Addresses, AmphoraNetwork, Netlink, Sysctls, Uplinks, netns_name, remove_amphora},
};
use lb_model::{
    enums::Topology as LbTopology,
    spec::{AmphoraSpec, LoadBalancerSpec, PortSpec, SubnetSpec, VipSpec},
};
use lb_sys::netns;
use lb_testkit::{
    command::run,
    topology::{ClientSide, Topology, UPLINK_CLIENT, UPLINK_MEMBER},
};
use uuid::Uuid;

fn config(dir: &std::path::Path, networks: [Uuid; 2]) -> AgentConfig {
    let interface = |name: &str, network: Uuid| Interface {
        name: name.to_owned(),
        networks: vec![network.into()],
    };
    let [public, members] = networks;
    AgentConfig {
        host: "test".to_owned(),
        server: None,
        credentials: dir.to_owned(),
        state_dir: dir.join("state"),
        run_dir: dir.join("run"),
        edge_netns: None,
        bpf_dir: dir.join("bpf"),
        drain_timeout: std::time::Duration::from_secs(5),
        l4: lb_agent::L4Limits::default(),
        spare_amphorae: 0,
        amphora: lb_agent::AmphoraLimits::default(),
        interfaces: vec![
            interface(UPLINK_CLIENT, public),
            interface(UPLINK_MEMBER, members),
        ],
        deny: Vec::new(),
        flow_log: None,
        binary: "/bin/false".into(),
    }
}

fn spec(networks: [Uuid; 2]) -> anyhow::Result<LoadBalancerSpec> {
    let [public, members] = networks;
    let subnet = |network: Uuid, segment: u32, cidr: &str| -> anyhow::Result<SubnetSpec> {
        Ok(SubnetSpec {
            id: Uuid::new_v4().into(),
            network_id: network.into(),
            segment,
            cidr: cidr.parse()?,
            gateway_ip: None,
        })
    };
    let subnets = vec![
        subnet(public, 1, "198.51.100.0/24")?,
        subnet(public, 1, "2001:db8:1::/64")?,
        subnet(members, 2, "203.0.113.0/24")?,
    ];
    let [v4, v6, inner] = subnets.as_slice() else {
        anyhow::bail!("three subnets");
    };
    Ok(LoadBalancerSpec {
        project_id: String::new(),
        vips: vec![
            VipSpec {
                address: "198.51.100.10".parse()?,
                subnet_id: v4.id,
            },
            VipSpec {
                address: "2001:db8:1::10".parse()?,
                subnet_id: v6.id,
            },
        ],
        amphorae: vec![AmphoraSpec {
            id: Uuid::new_v4().into(),
            ports: vec![
                PortSpec {
                    subnet_id: v4.id,
                    address: "198.51.100.11".parse()?,
                },
                PortSpec {
                    subnet_id: inner.id,
                    address: "203.0.113.111".parse()?,
                },
            ],
        }],
        subnets,
        ..LoadBalancerSpec::new(Uuid::new_v4().into(), LbTopology::Single)
    })
}

/// Runs a future in a namespace, as the agent's process would.
fn in_edge<T: Send>(
    edge: &str,
    body: impl Future<Output = anyhow::Result<T>> + Send,
) -> anyhow::Result<T> {
    netns::run_in(edge, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(body)
    })?
}

async fn carry(config: &AgentConfig, spec: &LoadBalancerSpec) -> anyhow::Result<()> {
    let netlink = Netlink::here()?;
    let mut sysctls = Sysctls::open(config.state_dir.join("sysctls.json"))?;
    let uplinks = Uplinks::prepare(config, &netlink, &mut sysctls).await?;
    // A veth without a program on its peer loses what XDP returns.
    anyhow::ensure!(uplinks.all().iter().all(|link| !link.hardware));
    let mut addresses = Addresses::prepare(&netlink).await?;
    addresses.apply(&netlink, &uplinks, spec).await?;
    for amphora in &spec.amphorae {
        let network = AmphoraNetwork::new(spec, amphora, &uplinks)?;
        let first = network.ensure(&netlink).await?;
        let second = network.ensure(&netlink).await?;
        anyhow::ensure!(first.len() == 2, "one veth a network");
        anyhow::ensure!(first == second, "a second time finds everything");
    }
    Ok(())
}

async fn put_back(config: &AgentConfig, spec: &LoadBalancerSpec) -> anyhow::Result<()> {
    let netlink = Netlink::here()?;
    for amphora in &spec.amphorae {
        remove_amphora(&netlink, amphora.id).await?;
    }
    let sysctls = Sysctls::open(config.state_dir.join("sysctls.json"))?;
    sysctls.restore()?;
    Ok(())
}

fn sends_from(netns_name: &str, to: &str) -> anyhow::Result<IpAddr> {
    let to = SocketAddr::new(to.parse()?, 9);
    let from = netns::run_in(netns_name, || -> std::io::Result<IpAddr> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        Ok(socket.local_addr()?.ip())
    })??;
    Ok(from)
}

#[test]
fn amphora_network_and_addresses_stand_and_go() {
    if !lb_testkit::require_root("edge").unwrap() {
        return;
    }
    let topology = Topology::new("lbagent", ClientSide::Namespace).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    let networks = [Uuid::new_v4(), Uuid::new_v4()];
    let config = config(dir.path(), networks);
    let spec = spec(networks).unwrap();
    let amphora = netns_name(spec.amphorae[0].id);
    let outcome = in_edge(topology.edge(), carry(&config, &spec));
    let checks = outcome.and_then(|()| {
        // Members are reached from an address of their subnet, everything else from the own one.
        anyhow::ensure!(
            sends_from(&amphora, "203.0.113.11")? == "203.0.113.111".parse::<IpAddr>()?
        );
        anyhow::ensure!(sends_from(&amphora, "192.0.2.9")? == "198.51.100.11".parse::<IpAddr>()?);
        let told = run(Some(&amphora), "ip", &["-o", "address"])?;
        for address in ["198.51.100.10/32", "2001:db8:1::10/128", "198.51.100.11/32"] {
            anyhow::ensure!(told.contains(address), "{address} in {told}");
        }
        let neighbours = run(Some(&amphora), "ip", &["neigh"])?;
        anyhow::ensure!(neighbours.contains("169.254.0.1 dev eth0"), "{neighbours}");
        anyhow::ensure!(neighbours.contains("fe80::1 dev eth1"), "{neighbours}");
        // The edge's kernel answers for the addresses: the client learns the uplink's MAC.
        for address in ["198.51.100.10", "198.51.100.11", "2001:db8:1::10"] {
            let to = SocketAddr::new(address.parse()?, 9);
            topology.in_client(|| {
                std::net::TcpStream::connect_timeout(&to, std::time::Duration::from_millis(100))
                    .is_ok()
            })?;
            let told = run(topology.client(), "ip", &["neigh", "show", address])?;
            anyhow::ensure!(told.contains("lladdr"), "{address}: {told}");
        }
        Ok(())
    });
    in_edge(topology.edge(), put_back(&config, &spec)).unwrap();
    checks.unwrap();
    assert!(!netns::exists(&amphora));
    let key = format!("/proc/sys/net/ipv4/conf/{UPLINK_CLIENT}/forwarding");
    let forwarding = netns::run_in(topology.edge(), || std::fs::read_to_string(&key)).unwrap();
    assert_eq!(forwarding.unwrap().trim(), "0", "as it was found");
}
