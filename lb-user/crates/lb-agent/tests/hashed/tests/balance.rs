//! How new flows get their member, by real sockets.

use std::net::UdpSocket;

use lb_model::{enums::SessionPersistenceType, resource::SessionPersistence};
use lb_testkit::datagrams::Answering;

use super::*;

#[test]
fn datagrams_are_taken_in_weighted_turns_and_answered() -> anyhow::Result<()> {
    if !require_root("datagrams_are_taken_in_weighted_turns_and_answered")? {
        return Ok(());
    }
    let mut world = World::new()?;
    for family in families()? {
        let mut spec = spec(&family)?;
        spec.listeners[0].protocol = ListenerProtocol::Udp;
        spec.pools[0].protocol = PoolProtocol::Udp;
        spec.pools[0].lb_algorithm = LbAlgorithm::RoundRobin;
        spec.pools[0].members[0].weight = 2;
        world.carry(&spec)?;
        let members = family
            .servers
            .map(|address| SocketAddr::new(address, PORT + 1));
        let mut servers = Vec::new();
        for (number, member) in (0_u8..).zip(members) {
            let socket =
                lb_sys::netns::run_in(world.topology.member(), || UdpSocket::bind(member))??;
            servers.push(Answering::start(socket, move |_| vec![number])?);
        }
        let vip = SocketAddr::new(family.vip, PORT);
        let any: IpAddr = if vip.is_ipv4() { "0.0.0.0" } else { "::" }.parse()?;
        let answers = world
            .topology
            .in_client(|| -> anyhow::Result<[usize; 2]> {
                let mut answers = [0; 2];
                for _ in 0..30 {
                    let client = UdpSocket::bind(SocketAddr::new(any, 0))?;
                    client.set_read_timeout(Some(LIMIT * 5))?;
                    client.connect(vip)?;
                    let mut who = [0; 1];
                    // The second packet of a flow goes where the first went.
                    for _ in 0..2 {
                        client.send(b"who")?;
                        client.recv(&mut who)?;
                    }
                    answers[usize::from(who[0])] += 1;
                }
                Ok(answers)
            })??;
        ensure!(answers.iter().sum::<usize>() == 30);
        // Exact on each CPU; a round that is not over may be off by a turn.
        ensure!((17..=23).contains(&answers[0]), "{answers:?}");
        let index = world.allocations.listener(spec.id, spec.listeners[0].id);
        let counters = index.context("an index")?;
        let counters = world.datapath()?.view().listener_counters(counters)?;
        // IP length: header, UDP header, payload.
        let header = if vip.is_ipv4() { 20 } else { 40 };
        ensure!(counters.bytes_in == 60 * (header + 8 + 3), "{counters:?}");
        ensure!(counters.bytes_out == 60 * (header + 8 + 1), "{counters:?}");
        ensure!(counters.flows == 30, "{counters:?}");
    }
    Ok(())
}

#[test]
fn the_least_connected_member_is_taken_up_to_the_limit() -> anyhow::Result<()> {
    if !require_root("the_least_connected_member_is_taken_up_to_the_limit")? {
        return Ok(());
    }
    let mut world = World::new()?;
    for family in families()? {
        let mut spec = spec(&family)?;
        spec.pools[0].lb_algorithm = LbAlgorithm::LeastConnections;
        spec.listeners[0].connection_limit = Some(6);
        world.carry(&spec)?;
        let to = SocketAddr::new(family.vip, PORT);
        let mut held = Vec::new();
        let mut shares = BTreeMap::<String, usize>::new();
        for _ in 0..6 {
            let mut connection = world.topology.in_client(|| Held::open(to))??;
            *shares.entry(connection.line()?).or_default() += 1;
            held.push(connection);
        }
        ensure!(shares.values().eq(&[3, 3]), "{shares:?}");
        ensure!(
            world.topology.in_client(|| Held::open(to))?.is_err(),
            "a seventh of six"
        );
        ensure!(world.count(Reason::ConnectionLimit)? > 0);
        held.truncate(3);
        let deadline = tokio::time::Instant::now() + LIMIT * 4;
        while world.topology.in_client(|| Held::open(to))?.is_err() {
            ensure!(
                tokio::time::Instant::now() < deadline,
                "the count goes down again"
            );
        }
    }
    Ok(())
}

#[test]
fn a_client_is_kept_on_its_member_while_that_gets_flows() -> anyhow::Result<()> {
    if !require_root("a_client_is_kept_on_its_member_while_that_gets_flows")? {
        return Ok(());
    }
    let mut world = World::new()?;
    for family in families()? {
        let mut spec = spec(&family)?;
        spec.pools[0].lb_algorithm = LbAlgorithm::RoundRobin;
        spec.pools[0].session_persistence = Some(SessionPersistence {
            kind: SessionPersistenceType::SourceIp,
            cookie_name: None,
            persistence_timeout: None,
            persistence_granularity: None,
        });
        world.carry(&spec)?;
        let shares = world.connect_often(family.vip)?;
        ensure!(shares.len() == 1, "{shares:?}");
        let kept = usize::from(shares.contains_key("server2"));
        spec.pools[0].members[kept].weight = 0;
        world.carry(&spec)?;
        let moved = world.connect_often(family.vip)?;
        ensure!(
            moved.len() == 1 && !moved.keys().eq(shares.keys()),
            "{moved:?}"
        );
    }
    Ok(())
}
