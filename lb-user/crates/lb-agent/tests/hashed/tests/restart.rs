//! Programs replaced under load, as a restarted or upgraded agent does: nothing is lost.

use std::{
    net::UdpSocket,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use lb_testkit::datagrams::Answering;

use super::*;

const RESTARTS: usize = 3;
/// Answers between one restart and the next.
const BETWEEN: usize = 200;

#[test]
fn an_agent_that_starts_again_loses_no_datagram() -> anyhow::Result<()> {
    if !require_root("an_agent_that_starts_again_loses_no_datagram")? {
        return Ok(());
    }
    let mut world = World::new()?;
    let [family, _] = families()?;
    let mut spec = spec(&family)?;
    spec.listeners[0].protocol = ListenerProtocol::Udp;
    spec.pools[0].protocol = PoolProtocol::Udp;
    spec.pools[0].members.truncate(1);
    world.carry(&spec)?;
    let at = SocketAddr::new(family.servers[0], PORT + 1);
    let server = lb_sys::netns::run_in(world.topology.member(), || UdpSocket::bind(at))??;
    let _server = Answering::echo(server)?;
    let (answered, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let vip = SocketAddr::new(family.vip, PORT);
    let (topology, pins, datapath) = (&world.topology, &world.pins, &mut world.datapath);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let load = scope.spawn(|| {
            topology.in_client(|| -> anyhow::Result<()> {
                let client = UdpSocket::bind("0.0.0.0:0")?;
                client.set_read_timeout(Some(LIMIT * 5))?;
                client.connect(vip)?;
                let mut answer = [0; 8];
                while !is_over.load(Ordering::Relaxed) {
                    let number = answered.load(Ordering::Relaxed);
                    client.send(&number.to_ne_bytes())?;
                    client
                        .recv(&mut answer)
                        .with_context(|| format!("datagram {number}"))?;
                    ensure!(answer == number.to_ne_bytes(), "answer to another datagram");
                    answered.store(number + 1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let mut restart = |number: usize| -> anyhow::Result<()> {
            while answered.load(Ordering::Relaxed) < number * BETWEEN && !load.is_finished() {
                std::thread::yield_now();
            }
            *datapath = None;
            let opened = datapath.insert(Datapath::open(pins)?);
            lb_sys::netns::run_in(topology.edge(), || -> anyhow::Result<()> {
                opened.attach_uplink(UPLINK_CLIENT)?;
                opened.attach_uplink(UPLINK_MEMBER)?;
                Ok(())
            })?
        };
        let restarted = (1..=RESTARTS).try_for_each(&mut restart);
        let seen = answered.load(Ordering::Relaxed);
        while answered.load(Ordering::Relaxed) < seen + BETWEEN && !load.is_finished() {
            std::thread::yield_now();
        }
        is_over.store(true, Ordering::Relaxed);
        restarted?;
        match load.join() {
            Ok(outcome) => outcome?,
            Err(_) => anyhow::bail!("the load panicked"),
        }
    })?;
    ensure!(answered.load(Ordering::Relaxed) >= RESTARTS * BETWEEN);
    Ok(())
}
