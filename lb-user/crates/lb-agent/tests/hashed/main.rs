//! Connections hashed straight to members: from a specification to packets, over veths, without an
//! amphora and without the rest of the agent. Next hops are written by hand.
//!
//! Needs root and the object of `cargo xtask build-ebpf`.

#[cfg(test)]
mod tests {
    mod balance;
    mod dsr;
    mod restart;
    mod sctp;
    mod ways;

    use std::{
        collections::BTreeMap,
        fs,
        io::{BufRead as _, BufReader, Write as _},
        net::{IpAddr, SocketAddr, TcpStream},
        path::PathBuf,
        time::Duration,
    };

    use anyhow::{Context as _, ensure};
    use lb_agent::bpf::Datapath;
    use lb_common::maps::live;
    use lb_common::{
        maps::{Event, event_kind},
        reason::Reason,
    };
    use lb_model::{
        enums::{LbAlgorithm, ListenerProtocol, PoolProtocol, Topology as Amphorae},
        id::{ListenerId, LoadBalancerId, MemberId, NetworkId, PoolId, SubnetId},
        spec::{
            ListenerPath, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec, PortSpec,
            SubnetSpec, VipSpec,
        },
    };
    use lb_plan::datapath::{
        Allocations, DesiredMaps, Facts, Health, Uplink, diff, host, load_balancer,
    };
    use lb_testkit::{
        backend::Backend,
        client::tcp_name,
        command::run,
        require_root,
        topology::{
            CLIENT_SUBNET_V4, CLIENT_SUBNET_V6, ClientSide, MEMBER_INTERFACE, MEMBER_SUBNET_V4,
            MEMBER_SUBNET_V6, SERVERS_V4, SERVERS_V6, Topology, UPLINK_CLIENT, UPLINK_MEMBER,
        },
        unique,
    };
    use uuid::Uuid;

    const PORT: u16 = 7000;
    const SEED: u64 = 0x0123_4567_89ab_cdef;
    const LIMIT: Duration = Duration::from_secs(2);
    const CONNECTIONS: usize = 60;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    /// One family's load balancer: its addresses and its members.
    struct Family {
        number: u128,
        vip: IpAddr,
        snat: IpAddr,
        servers: [IpAddr; 2],
        subnets: [&'static str; 2],
    }

    fn families() -> anyhow::Result<[Family; 2]> {
        Ok([
            Family {
                number: 4,
                vip: "198.51.100.10".parse()?,
                snat: "203.0.113.50".parse()?,
                servers: SERVERS_V4.map(IpAddr::V4),
                subnets: [CLIENT_SUBNET_V4, MEMBER_SUBNET_V4],
            },
            Family {
                number: 6,
                vip: "2001:db8:1::10".parse()?,
                snat: "2001:db8:2::50".parse()?,
                servers: SERVERS_V6.map(IpAddr::V6),
                subnets: [CLIENT_SUBNET_V6, MEMBER_SUBNET_V6],
            },
        ])
    }

    fn network(member: bool) -> NetworkId {
        NetworkId(id(1 + u128::from(member)))
    }

    fn spec(family: &Family) -> anyhow::Result<LoadBalancerSpec> {
        let n = family.number << 8;
        let subnet = |member: bool| SubnetId(id(n + 1 + u128::from(member)));
        let subnets = [false, true]
            .into_iter()
            .zip(family.subnets)
            .map(|(member, cidr)| {
                Ok(SubnetSpec {
                    id: subnet(member),
                    network_id: network(member),
                    segment: 1 + u32::from(member),
                    cidr: cidr.parse()?,
                    gateway_ip: None,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let pool = PoolId(id(n + 10));
        let members = family.servers.iter().zip(20_u128..);
        Ok(LoadBalancerSpec {
            vips: vec![VipSpec {
                address: family.vip,
                subnet_id: subnet(false),
            }],
            snat: vec![PortSpec {
                subnet_id: subnet(true),
                address: family.snat,
            }],
            subnets,
            listeners: vec![ListenerSpec {
                path: ListenerPath::Xdp,
                default_pool_id: Some(pool),
                ..ListenerSpec::new(ListenerId(id(n + 5)), ListenerProtocol::Tcp, PORT)
            }],
            pools: vec![PoolSpec {
                members: members
                    .map(|(address, number)| {
                        MemberSpec::new(MemberId(id(n + number)), *address, PORT + 1, subnet(true))
                    })
                    .collect(),
                ..PoolSpec::new(pool, PoolProtocol::Tcp, LbAlgorithm::SourceIpPort)
            }],
            ..LoadBalancerSpec::new(LoadBalancerId(id(n)), Amphorae::Single)
        })
    }

    /// A connection that stays open.
    struct Held(BufReader<TcpStream>);

    impl Held {
        fn open(to: SocketAddr) -> anyhow::Result<Self> {
            let stream = TcpStream::connect_timeout(&to, LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            Ok(Self(BufReader::new(stream)))
        }

        fn line(&mut self) -> anyhow::Result<String> {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            Ok(line.trim_end().to_owned())
        }

        fn echo(&mut self, line: &str) -> anyhow::Result<String> {
            self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
            self.line()
        }
    }

    /// Namespaces, servers and a data path, all of it gone with the value.
    struct World {
        datapath: Option<Datapath>,
        pins: PathBuf,
        topology: Topology,
        facts: Facts,
        allocations: Allocations,
        maps: BTreeMap<LoadBalancerId, DesiredMaps>,
        servers: Vec<Backend>,
    }

    impl World {
        fn new() -> anyhow::Result<Self> {
            let pins = PathBuf::from("/run").join(unique("lbaas-test-hashed"));
            let topology = Topology::new("lbthash", ClientSide::Namespace)?;
            let mut world = Self {
                datapath: None,
                pins,
                facts: Facts::default(),
                allocations: Allocations::new(SEED),
                maps: BTreeMap::new(),
                servers: Vec::new(),
                topology,
            };
            world.start()?;
            Ok(world)
        }

        fn start(&mut self) -> anyhow::Result<()> {
            for index in 0..2 {
                let addresses = [SERVERS_V4[index].into(), SERVERS_V6[index].into()];
                let name = format!("server{}", index + 1);
                let netns = Some(self.topology.member());
                let server = Backend::start(netns, &name, &addresses, PORT, PORT + 1)?;
                self.servers.push(server);
            }
            for (member, name) in [(false, UPLINK_CLIENT), (true, UPLINK_MEMBER)] {
                let uplink = self.in_edge(|| {
                    Ok(Uplink {
                        ifindex: lb_sys::iface::index(name)?,
                        mac: lb_sys::iface::mac(name)?,
                        segment: 1 + u32::from(member),
                        mtu: 1500,
                        returns: false,
                    })
                })?;
                self.facts.uplinks.insert(network(member), uplink);
            }
            let datapath = self.datapath.insert(Datapath::open(&self.pins)?);
            datapath.configure(SEED)?;
            let writes = diff(&DesiredMaps::default(), &host(&self.facts));
            let edge = self.topology.edge();
            lb_sys::netns::run_in(edge, || -> anyhow::Result<()> {
                datapath.apply(&writes)?;
                datapath.attach_uplink(UPLINK_CLIENT)?;
                datapath.attach_uplink(UPLINK_MEMBER)?;
                Ok(())
            })??;
            for family in families()? {
                self.carry(&spec(&family)?)?;
                self.tell_neighbours(&family)?;
            }
            Ok(())
        }

        fn datapath(&self) -> anyhow::Result<&Datapath> {
            self.datapath.as_ref().context("no data path")
        }

        fn in_edge<T: Send>(
            &self,
            body: impl FnOnce() -> anyhow::Result<T> + Send,
        ) -> anyhow::Result<T> {
            lb_sys::netns::run_in(self.topology.edge(), body)?
        }

        /// Brings the data path to `spec`.
        fn carry(&mut self, spec: &LoadBalancerSpec) -> anyhow::Result<()> {
            let old = self.maps.remove(&spec.id).unwrap_or_default();
            let allocations = &mut self.allocations;
            let new = load_balancer(spec, allocations, &self.facts, &Health::new())?;
            let datapath = self.datapath()?;
            self.in_edge(|| Ok(datapath.apply(&diff(&old, &new))?))?;
            let pool = &spec.pools[0];
            let member = self.topology.member();
            let mac = lb_sys::netns::run_in(member, || lb_sys::iface::mac(MEMBER_INTERFACE))??;
            for member in &pool.members {
                let index = self.allocations.member(spec.id, pool.id, member.id);
                let index = index.context("a member without an index")?;
                self.datapath()?.set_neighbour(index, Some(mac))?;
            }
            self.maps.insert(spec.id, new);
            Ok(())
        }

        /// What the edge's kernel answers by proxy for a whole agent.
        fn tell_neighbours(&self, family: &Family) -> anyhow::Result<()> {
            let mac = |n| -> anyhow::Result<String> {
                let uplink = self.facts.uplinks.get(&network(n)).context("an uplink")?;
                Ok(uplink.mac.map(|byte| format!("{byte:02x}")).join(":"))
            };
            for (netns, address, mac, dev) in [
                (
                    self.topology.client(),
                    family.vip,
                    mac(false)?,
                    self.topology.client_interface(),
                ),
                (
                    Some(self.topology.member()),
                    family.snat,
                    mac(true)?,
                    MEMBER_INTERFACE,
                ),
            ] {
                let address = address.to_string();
                let arguments = ["neigh", "replace", &address, "lladdr", &mac, "dev", dev];
                run(netns, "ip", &arguments)?;
            }
            Ok(())
        }

        fn connect(&self, to: IpAddr) -> anyhow::Result<String> {
            let to = SocketAddr::new(to, PORT);
            Ok(self.topology.in_client(|| tcp_name(to, LIMIT))??)
        }

        /// Who answered how often.
        fn connect_often(&self, to: IpAddr) -> anyhow::Result<BTreeMap<String, usize>> {
            let mut shares = BTreeMap::new();
            for _ in 0..CONNECTIONS {
                *shares.entry(self.connect(to)?).or_default() += 1;
            }
            Ok(shares)
        }

        fn count(&self, reason: Reason) -> anyhow::Result<u64> {
            let counters = self.datapath()?.view().counters()?;
            let found = counters.iter().find(|count| count.reason == reason);
            Ok(found.context("a counter")?.packets)
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            self.datapath = None;
            let removed = Datapath::remove(&self.pins);
            let gone = fs::remove_dir_all(&self.pins);
            if removed.is_err() || gone.is_err() {
                eprintln!(
                    "{} is left behind: {removed:?} {gone:?}",
                    self.pins.display()
                );
            }
        }
    }

    #[test]
    fn connections_are_shared_by_members_and_counted() -> anyhow::Result<()> {
        if !require_root("connections_are_shared_by_members_and_counted")? {
            return Ok(());
        }
        let world = World::new()?;
        for family in families()? {
            let spec = spec(&family)?;
            let shares = world.connect_often(family.vip)?;
            ensure!(shares.len() == 2, "{shares:?}");
            ensure!(
                shares.values().all(|share| *share > CONNECTIONS / 5),
                "{shares:?}"
            );
            let index = world.allocations.listener(spec.id, spec.listeners[0].id);
            let index = index.context("an index")?;
            let counters = world.datapath()?.view().listener_counters(index)?;
            ensure!(
                counters.flows == u64::try_from(CONNECTIONS)?,
                "{counters:?}"
            );
            ensure!(
                counters.bytes_in > 0 && counters.bytes_out > 0,
                "{counters:?}"
            );
        }
        ensure!(world.count(Reason::NatForward)? > 0);
        ensure!(world.count(Reason::NatReverse)? > 0);
        Ok(())
    }

    #[test]
    fn a_client_of_a_family_without_members_is_dropped_not_translated() -> anyhow::Result<()> {
        if !require_root("a_client_of_a_family_without_members_is_dropped_not_translated")? {
            return Ok(());
        }
        let mut world = World::new()?;
        let [v4, v6] = families()?;
        let mut both = spec(&v4)?;
        let other = spec(&v6)?;
        let gone = world
            .maps
            .remove(&other.id)
            .context("the other load balancer")?;
        world
            .datapath()?
            .apply(&diff(&gone, &DesiredMaps::default()))?;
        world.allocations.remove(other.id);
        both.vips.extend(other.vips);
        both.subnets.extend(other.subnets);
        world.carry(&both)?;
        world.connect(v4.vip)?;
        ensure!(world.connect(v6.vip).is_err());
        ensure!(world.count(Reason::NoMember)? > 0);
        Ok(())
    }

    #[test]
    fn a_member_taken_out_keeps_its_connections_and_gets_no_new_ones() -> anyhow::Result<()> {
        if !require_root("a_member_taken_out_keeps_its_connections_and_gets_no_new_ones")? {
            return Ok(());
        }
        let mut world = World::new()?;
        for family in families()? {
            let mut spec = spec(&family)?;
            let to = SocketAddr::new(family.vip, PORT);
            let connect = || Held::open(to);
            // Held until the end: with eight of them both members have some.
            let mut held = Vec::new();
            for _ in 0..8 {
                let mut connection = world.topology.in_client(connect)??;
                let name = connection.line()?;
                held.push((name, connection));
            }
            spec.pools[0].members.truncate(1);
            world.carry(&spec)?;
            let shares = world.connect_often(family.vip)?;
            ensure!(shares.keys().eq(["server1"]), "{shares:?}");
            for (name, connection) in &mut held {
                ensure!(connection.echo("still there")? == "still there", "{name}");
            }
            let in_use = world.datapath()?.view().in_use();
            let index = |spec: &LoadBalancerSpec, n: usize| {
                let pool = &spec.pools[0];
                world
                    .allocations
                    .member(spec.id, pool.id, pool.members[n].id)
            };
            let first = index(&spec, 0).context("an index")?;
            ensure!(in_use.members.contains(&first));
            ensure!(
                in_use.members.len() >= 2,
                "the one taken out is still in use"
            );
        }
        Ok(())
    }

    #[test]
    fn a_flow_is_seen_and_active_until_it_is_closed() -> anyhow::Result<()> {
        if !require_root("a_flow_is_seen_and_active_until_it_is_closed")? {
            return Ok(());
        }
        let world = World::new()?;
        for family in families()? {
            let spec = spec(&family)?;
            let index = world.allocations.listener(spec.id, spec.listeners[0].id);
            let index = index.context("an index")?;
            let to = SocketAddr::new(family.vip, PORT);
            let mut open = world.topology.in_client(|| Held::open(to))??;
            open.line()?;
            let datapath = world.datapath()?;
            let view = datapath.view();
            let flows = || -> Vec<lb_agent::bpf::Flow> {
                let all = view.flows(family.vip.is_ipv6());
                all.filter(|flow| flow.listener == index).collect()
            };
            let seen = flows();
            ensure!(seen.len() == 1, "{seen:?}");
            ensure!(seen[0].state() == "established", "{seen:?}");
            ensure!(live::active(view.flows_of_listener(index)) == 1);
            ensure!(view.in_use().listeners.contains(&index));
            drop(open);
            let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
            while live::active(view.flows_of_listener(index)) != 0 {
                ensure!(tokio::time::Instant::now() < deadline, "{:?}", flows());
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    #[test]
    fn no_usable_member_is_told_and_so_is_an_unknown_next_hop() -> anyhow::Result<()> {
        if !require_root("no_usable_member_is_told_and_so_is_an_unknown_next_hop")? {
            return Ok(());
        }
        let mut world = World::new()?;
        let [family, _] = families()?;
        let mut spec = spec(&family)?;
        spec.pools[0]
            .members
            .iter_mut()
            .for_each(|member| member.weight = 0);
        world.carry(&spec)?;
        ensure!(world.connect(family.vip).is_err());
        ensure!(world.count(Reason::NoMember)? > 0);

        // Nobody has this address.
        spec.pools[0].members.truncate(1);
        spec.pools[0].members[0].weight = 1;
        spec.pools[0].members[0].address = "203.0.113.99".parse()?;
        world.carry(&spec)?;
        let index =
            world
                .allocations
                .member(spec.id, spec.pools[0].id, spec.pools[0].members[0].id);
        let index = index.context("an index")?;
        world.datapath()?.set_neighbour(index, None)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let event: Event = runtime.block_on(async {
            let mut events = world.datapath()?.events()?;
            ensure!(world.connect(family.vip).is_err());
            let next = tokio::time::timeout(LIMIT, events.next()).await;
            Ok(next.context("no event came")??)
        })?;
        ensure!(event.kind == event_kind::NO_NEIGHBOUR, "{event:?}");
        ensure!(event.from == index, "{event:?}");
        ensure!(Some(event.lb) == world.allocations.load_balancer(spec.id));
        Ok(())
    }
}
