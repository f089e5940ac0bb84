//! A UDP listener that the flavor gives to the amphora: steered there, answered, failed over.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;
use lb_model::{
    enums::{L4Path, LbAlgorithm, ListenerProtocol, PoolProtocol, Topology},
    spec::{ListenerPath, ListenerSpec, MemberSpec, PoolSpec},
};
use lb_sys::netns;
use lb_testkit::{require_root, topology::SERVERS_V4, wait};
use uuid::Uuid;

use crate::world::{LIMIT, VIP_V4, VIP_V6, World};

const PORT: u16 = 5300;
const MEMBER: u16 = 5353;

/// Answers each datagram with its own address and what was sent.
struct Echo {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Option<()>>>,
}

impl Echo {
    fn start(namespace: &str) -> anyhow::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for address in SERVERS_V4 {
            let socket = netns::run_in(namespace, || {
                UdpSocket::bind(SocketAddr::new(address.into(), MEMBER))
            })??;
            socket.set_read_timeout(Some(Duration::from_millis(100)))?;
            let over = Arc::clone(&over);
            threads.push(netns::spawn_in(namespace, move || {
                let mut buffer = [0; 2048];
                while !over.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                        continue;
                    };
                    let said = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                    drop(socket.send_to(format!("{address} {said}").as_bytes(), from));
                }
            })?);
        }
        Ok(Self { over, threads })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn ask(world: &World, socket: &UdpSocket, said: &str) -> anyhow::Result<String> {
    let mut buffer = [0; 2048];
    let mut answer = None;
    // Datagrams may be lost, above all while an amphora is.
    wait::until(LIMIT, Duration::from_millis(10), || {
        socket.send(said.as_bytes())?;
        answer = socket.recv(&mut buffer).ok();
        Ok(answer.is_some())
    })?;
    let length = answer.with_context(|| format!("no answer\n{}", world.logs()))?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

fn client(world: &World, vip: &str) -> anyhow::Result<UdpSocket> {
    let to = SocketAddr::new(vip.parse()?, PORT);
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = world.topology.in_client(|| UdpSocket::bind(any))??;
    world.topology.in_client(|| socket.connect(to))??;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    Ok(socket)
}

fn with_udp(world: &mut World) -> anyhow::Result<()> {
    let subnet = world.spec.subnets.last().context("of the members")?.id;
    let members = SERVERS_V4.iter();
    let members =
        members.map(|at| MemberSpec::new(Uuid::new_v4().into(), (*at).into(), MEMBER, subnet));
    let pool = PoolSpec {
        members: members.collect(),
        ..PoolSpec::new(
            Uuid::new_v4().into(),
            PoolProtocol::Udp,
            LbAlgorithm::RoundRobin,
        )
    };
    let mut listener = ListenerSpec {
        default_pool_id: Some(pool.id),
        ..ListenerSpec::new(Uuid::new_v4().into(), ListenerProtocol::Udp, PORT)
    };
    world.spec.pools.push(pool);
    world.spec.l4_path = L4Path::Proxy;
    listener.path = ListenerPath::Amphora;
    world.spec.listeners.push(listener);
    Ok(())
}

#[test]
fn udp_through_amphorae_is_answered_and_failed_over() {
    if !require_root("udp_through_amphorae_is_answered_and_failed_over").unwrap() {
        return;
    }
    let mut world = World::new(Topology::ActiveStandby).unwrap();
    let _echo = Echo::start(world.topology.member()).unwrap();
    with_udp(&mut world).unwrap();
    world.store().unwrap();
    world.start().unwrap();
    let before = world.whole(2).unwrap();
    for vip in [VIP_V4, VIP_V6] {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..8 {
            let socket = client(&world, vip).unwrap();
            let first = ask(&world, &socket, &number.to_string()).unwrap();
            let (member, said) = first.split_once(' ').unwrap();
            assert_eq!(said, number.to_string(), "{vip}");
            assert_eq!(
                ask(&world, &socket, "again").unwrap(),
                format!("{member} again")
            );
            seen.insert(member.to_owned());
        }
        assert_eq!(seen.len(), 2, "{vip}");
    }
    let socket = client(&world, VIP_V4).unwrap();
    ask(&world, &socket, "before").unwrap();
    let active = before.active().unwrap();
    active.signal("KILL").unwrap();
    world.left(&active.id).unwrap();
    let answer = ask(&world, &socket, "after").unwrap();
    assert!(answer.ends_with(" after"), "{answer}");
}
