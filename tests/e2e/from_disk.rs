//! An agent that never had a server: it carries what it finds on its disk, here a specification
//! written by hand.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use lb_agent::desired::Disk;
use lb_model::{
    enums::{LbAlgorithm, ListenerProtocol, PoolProtocol, Topology as Amphorae},
    id::{AmphoraId, ListenerId, LoadBalancerId, MemberId, NetworkId, PoolId, SubnetId},
    spec::{
        AmphoraSpec, ListenerPath, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec, PortSpec,
        SubnetSpec, VipSpec,
    },
};
use lb_testkit::{
    client::{self, Http},
    load, require_root,
    system::config::{MEMBERS_V4, PUBLIC_V4, PUBLIC_V6},
    topology::{
        CLIENT_SUBNET_V4, CLIENT_SUBNET_V6, MEMBER_SUBNET_V4, MEMBER_SUBNET_V6, SERVERS_V4,
        SERVERS_V6,
    },
};
use lb_wire::ca::CertificateAuthority;
use uuid::Uuid;

use crate::world::{ANSWER, SERVER_PORT, SERVER_TCP_PORT, World};

/// Networks of the configuration that the kit writes.
const PUBLIC: &str = "5a000000-0000-4000-8000-000000000001";
const MEMBERS: &str = "5b000000-0000-4000-8000-000000000001";
const MEMBERS_V6: &str = "5b000000-0000-4000-8000-000000000006";
const HOST: &str = "host-a";
const VIPS: [&str; 2] = ["198.51.100.10", "2001:db8:1::10"];
const HTTP: u16 = 80;
const HASHED: u16 = 9000;
const CONNECTIONS: usize = 40;
/// Longest the requests of a loop may go unanswered around a kill without an agent.
const WINDOW: Duration = Duration::from_millis(150);

/// Namespaces and interfaces are named by the first digits, and are the machine's: no two runs of
/// this test may have the same.
fn id(n: u128) -> Uuid {
    let run = u128::from(std::process::id()) & 0xffff;
    Uuid::from_u128((run << 112) | (n << 96))
}

fn subnet(n: &str) -> anyhow::Result<SubnetId> {
    Ok(SubnetId(n.parse()?))
}

fn subnets() -> anyhow::Result<Vec<SubnetSpec>> {
    [
        (PUBLIC_V4, PUBLIC, 1, CLIENT_SUBNET_V4),
        (PUBLIC_V6, PUBLIC, 1, CLIENT_SUBNET_V6),
        (MEMBERS_V4, MEMBERS, 2, MEMBER_SUBNET_V4),
        (MEMBERS_V6, MEMBERS, 2, MEMBER_SUBNET_V6),
    ]
    .into_iter()
    .map(|(n, network, segment, cidr)| {
        Ok(SubnetSpec {
            id: subnet(n)?,
            network_id: NetworkId(network.parse()?),
            segment,
            cidr: cidr.parse()?,
            gateway_ip: None,
        })
    })
    .collect()
}

fn port(of: &str, address: &str) -> anyhow::Result<PortSpec> {
    Ok(PortSpec {
        subnet_id: subnet(of)?,
        address: address.parse()?,
    })
}

fn amphora(n: u128) -> anyhow::Result<AmphoraSpec> {
    Ok(AmphoraSpec {
        id: AmphoraId(id(100 + n)),
        ports: vec![
            port(PUBLIC_V4, &format!("198.51.100.2{n}"))?,
            port(PUBLIC_V6, &format!("2001:db8:1::2{n}"))?,
            port(MEMBERS_V4, &format!("203.0.113.12{n}"))?,
            port(MEMBERS_V6, &format!("2001:db8:2::12{n}"))?,
        ],
    })
}

fn listener(number: u16, path: ListenerPath, pool: PoolId) -> ListenerSpec {
    let hashed = path == ListenerPath::Xdp;
    ListenerSpec {
        path,
        default_pool_id: Some(pool),
        ..ListenerSpec::new(
            ListenerId(id(u128::from(number))),
            if hashed {
                ListenerProtocol::Tcp
            } else {
                ListenerProtocol::Http
            },
            number,
        )
    }
}

fn pool(n: u128, protocol: PoolProtocol, port: u16) -> anyhow::Result<PoolSpec> {
    let v4 = SERVERS_V4.map(|address| (IpAddr::V4(address), MEMBERS_V4));
    let v6 = SERVERS_V6.map(|address| (IpAddr::V6(address), MEMBERS_V6));
    let members = v4.into_iter().chain(v6).zip(0_u128..);
    Ok(PoolSpec {
        members: members
            .map(|((address, of), number)| {
                Ok(MemberSpec::new(
                    MemberId(id(n + 1 + number)),
                    address,
                    port,
                    subnet(of)?,
                ))
            })
            .collect::<anyhow::Result<_>>()?,
        ..PoolSpec::new(
            PoolId(id(n)),
            protocol,
            if protocol == PoolProtocol::Tcp {
                LbAlgorithm::SourceIpPort
            } else {
                LbAlgorithm::RoundRobin
            },
        )
    })
}

fn spec() -> anyhow::Result<LoadBalancerSpec> {
    let pools = vec![
        pool(1000, PoolProtocol::Http, SERVER_PORT)?,
        pool(2000, PoolProtocol::Tcp, SERVER_TCP_PORT)?,
    ];
    let [http, tcp] = [PoolId(id(1000)), PoolId(id(2000))];
    Ok(LoadBalancerSpec {
        vips: VIPS
            .iter()
            .zip([PUBLIC_V4, PUBLIC_V6])
            .map(|(address, of)| {
                Ok(VipSpec {
                    address: address.parse()?,
                    subnet_id: subnet(of)?,
                })
            })
            .collect::<anyhow::Result<_>>()?,
        amphorae: vec![amphora(1)?, amphora(2)?],
        snat: vec![
            port(MEMBERS_V4, "203.0.113.110")?,
            port(MEMBERS_V6, "2001:db8:2::110")?,
        ],
        subnets: subnets()?,
        listeners: vec![
            listener(HTTP, ListenerPath::Amphora, http),
            listener(HASHED, ListenerPath::Xdp, tcp),
        ],
        pools,
        ..LoadBalancerSpec::new(LoadBalancerId(id(1)), Amphorae::ActiveStandby)
    })
}

/// What a server would have left: a specification, and credentials to ask it with.
fn write_disk(state: &Path, spec: &LoadBalancerSpec) -> anyhow::Result<()> {
    CertificateAuthority::open(state)?.ensure_agent(state, HOST)?;
    Ok(Disk::open(state.join("agent"))?.put_spec(spec)?)
}

fn at(vip: &str, port: u16) -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::new(vip.parse()?, port))
}

#[test]
fn an_agent_without_a_server_carries_what_is_on_its_disk() -> anyhow::Result<()> {
    if !require_root("an_agent_without_a_server_carries_what_is_on_its_disk")? {
        return Ok(());
    }
    let mut world = World::prepare()?;
    let spec = spec()?;
    write_disk(&world.system.directory("state"), &spec)?;
    world.system.start("agent")?;
    let pair = world
        .system
        .whole_pair(&spec.id.to_string())
        .with_context(|| world.system.logs())?;
    let both = BTreeSet::from(["server1".to_owned(), "server2".to_owned()]);
    for vip in VIPS {
        let mut names = BTreeSet::new();
        for _ in 0..8 {
            names.insert(world.server(at(vip, HTTP)?, "/")?);
        }
        ensure!(names == both, "HTTP by {vip}: {names:?}");
        let mut names = BTreeSet::new();
        for _ in 0..CONNECTIONS {
            let to = at(vip, HASHED)?;
            let name = world.topology.in_client(|| client::tcp_name(to, ANSWER))?;
            names.insert(name.with_context(|| format!("{to}\n{}", world.system.logs()))?);
        }
        ensure!(names == both, "TCP by {vip}: {names:?}");
    }

    // Without an agent a connection goes on, and so does its load balancer without its active.
    let to = at(VIPS[0], HTTP)?;
    let mut kept = world.topology.in_client(|| Http::connect(to, ANSWER))??;
    ensure!(kept.get("/", &[])?.status == 200);
    world.system.kill("agent")?;
    ensure!(
        kept.get("/", &[])?.status == 200,
        "the agent's death cut a connection"
    );
    let target = load::Target {
        address: to,
        path: "/".to_owned(),
        timeout: ANSWER,
    };
    let attempts = world.topology.in_client(|| -> anyhow::Result<_> {
        let requests = load::paced(&target, Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(500));
        pair.active()?.signal("KILL")?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(requests.stop())
    })??;
    let window = load::longest_window(&attempts);
    ensure!(attempts.len() > 100 && window < WINDOW, "{window:?}");
    ensure!(attempts.last().is_some_and(|last| last.outcome.is_ok()));

    // The next agent adopts the failover and brings the pair back. What the last one saw is no news.
    fs::remove_file(world.system.agent_status())?;
    world.system.start("agent")?;
    let after = world
        .system
        .whole_pair(&spec.id.to_string())
        .with_context(|| world.system.logs())?;
    ensure!(after.active()?.id != pair.active()?.id, "{after:?}");
    ensure!(after.epoch > pair.epoch);
    ensure!(world.get(to, "/")?.status == 200);
    Ok(())
}
