//! Direct server return by real sockets: members have the VIP on their loopback and answer clients
//! themselves; and what the decapsulator does to single packets.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

use aya::programs::{TestRun as _, TestRunOptions};
use lb_agent::bpf::Decap;
use lb_common::{maps::Addr, tunnel::Outcome};
use lb_model::enums::ForwardingMode;
use lb_testkit::{command::sysctl, datagrams::Answering};

use super::*;

/// DSR cannot change it.
const SERVED: u16 = PORT + 1;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Where the data path says that outer packets come from.
fn sources() -> [(Addr, u8); 2] {
    [
        (Addr::v4([198, 18, 0, 0]), 16),
        (
            Addr::v6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0).octets()),
            96,
        ),
    ]
}

/// Members find clients through the edge, whose kernel forwards what is not ours.
fn route_answers(world: &World) -> anyhow::Result<()> {
    let (edge, member) = (world.topology.edge(), world.topology.member());
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        sysctl(Some(edge), key, "1")?;
    }
    for name in ["all", UPLINK_CLIENT, UPLINK_MEMBER] {
        sysctl(Some(edge), &format!("net/ipv4/conf/{name}/rp_filter"), "0")?;
    }
    for (subnet, edge) in [
        (CLIENT_SUBNET_V4, "203.0.113.1"),
        (CLIENT_SUBNET_V6, "2001:db8:2::1"),
    ] {
        let arguments = [
            "route",
            "replace",
            subnet,
            "via",
            edge,
            "dev",
            MEMBER_INTERFACE,
        ];
        run(Some(member), "ip", &arguments)?;
    }
    for family in families()? {
        let bits = if family.vip.is_ipv4() { 32 } else { 128 };
        let vip = format!("{}/{bits}", family.vip);
        run(Some(member), "ip", &["address", "add", &vip, "dev", "lo"])?;
    }
    run(Some(member), "ip", &["link", "set", "lo", "up"]).map(drop)
}

/// A server of both protocols at the VIP, in the members' namespace.
fn serve(world: &World, vip: IpAddr) -> anyhow::Result<(Backend, Answering)> {
    let member = world.topology.member();
    let server = Backend::start(Some(member), "dsr", &[vip], PORT, SERVED)?;
    let at = SocketAddr::new(vip, SERVED);
    let socket = lb_sys::netns::run_in(member, || UdpSocket::bind(at))??;
    Ok((server, Answering::echo(socket)?))
}

fn direct(
    family: &Family,
    mode: ForwardingMode,
    protocol: ListenerProtocol,
) -> anyhow::Result<LoadBalancerSpec> {
    let mut spec = spec(family)?;
    spec.forwarding_mode = mode;
    spec.listeners[0].protocol = protocol;
    spec.listeners[0].port = SERVED;
    if protocol == ListenerProtocol::Udp {
        spec.pools[0].protocol = PoolProtocol::Udp;
    }
    Ok(spec)
}

/// Ten connections, ten datagrams.
fn be_served(world: &mut World, family: &Family, mode: ForwardingMode) -> anyhow::Result<()> {
    let to = SocketAddr::new(family.vip, SERVED);
    world.carry(&direct(family, mode, ListenerProtocol::Tcp)?)?;
    for _ in 0..10 {
        let name = world.topology.in_client(|| tcp_name(to, LIMIT))??;
        ensure!(name == "dsr", "{name}");
    }
    world.carry(&direct(family, mode, ListenerProtocol::Udp)?)?;
    world.topology.in_client(|| -> anyhow::Result<()> {
        let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse()?;
        for number in 0..10 {
            let client = UdpSocket::bind(SocketAddr::new(any, 0))?;
            client.set_read_timeout(Some(LIMIT * 5))?;
            client.connect(to)?;
            client.send(&[number; 100])?;
            let mut answer = [0; 200];
            let length = client.recv(&mut answer)?;
            ensure!(answer[..length] == [number; 100]);
        }
        Ok(())
    })?
}

#[test]
fn members_answer_clients_themselves() -> anyhow::Result<()> {
    if !require_root("members_answer_clients_themselves")? {
        return Ok(());
    }
    let mut world = World::new()?;
    route_answers(&world)?;
    let member = world.topology.member().to_owned();
    for family in families()? {
        let _server = serve(&world, family.vip)?;
        be_served(&mut world, &family, ForwardingMode::DsrL2)
            .with_context(|| format!("{} by link address", family.vip))?;
        for generic in [false, true] {
            let mut decap = Decap::load(&sources())?;
            lb_sys::netns::run_in(&member, || decap.attach(MEMBER_INTERFACE, generic))??;
            be_served(&mut world, &family, ForwardingMode::DsrIpip)
                .with_context(|| format!("{} by IPIP, generic: {generic}", family.vip))?;
            // Full packets do not fit with the outer header: the client is told, and sends shorter ones.
            world.carry(&direct(
                &family,
                ForwardingMode::DsrIpip,
                ListenerProtocol::Tcp,
            )?)?;
            ways::long_echo(&world, SocketAddr::new(family.vip, SERVED))?;
            let taken = if family.vip.is_ipv4() {
                Outcome::V4InV4
            } else {
                Outcome::V6InV6
            };
            let counts = decap.counts()?;
            // A connection is three packets at least.
            ensure!(
                counts
                    .iter()
                    .any(|(outcome, count)| *outcome == taken && *count >= 40),
                "{counts:?}"
            );
            drop(decap);
            let link = run(Some(&member), "ip", &["link", "show", MEMBER_INTERFACE])?;
            ensure!(!link.contains("prog/xdp"), "{link}");
        }
    }
    ensure!(world.count(Reason::DsrForward)? > 0);
    ensure!(world.count(Reason::TooBigTold)? > 0);
    ensure!(world.count(Reason::NatForward)? == 0);
    Ok(())
}

/// Link header, outer header and what is in it.
fn tunnel(outer_v6: bool, inner_v6: bool) -> (Vec<u8>, Vec<u8>) {
    let mut inner = vec![if inner_v6 { 0x60 } else { 0x45 }];
    inner.resize(64, 0xaa);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let protocol = if inner_v6 { 41 } else { 4 };
    if outer_v6 {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 64, protocol, 64]);
        frame.extend(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0x12, 0x34).octets());
        frame.extend(Ipv6Addr::LOCALHOST.octets());
    } else {
        frame.extend([8, 0, 0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend(Ipv4Addr::new(198, 18, 200, 7).octets());
        frame.extend([10, 0, 0, 1]);
    }
    frame.extend(&inner);
    let mut bare = frame[..12].to_vec();
    bare.extend(if inner_v6 { [0x86, 0xdd] } else { [8, 0] });
    bare.extend(inner);
    (frame, bare)
}

/// Verdict, what is left, and what was counted.
fn open(decap: &Decap, frame: &[u8]) -> anyhow::Result<(u32, Vec<u8>, Outcome)> {
    let before = decap.counts()?;
    let mut out = vec![0; frame.len()];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let ran = decap.program()?.test_run(options)?;
    out.truncate(usize::try_from(ran.data_size_out)?);
    let after = decap.counts()?;
    let counted = before.iter().zip(&after).find(|(old, new)| old.1 != new.1);
    let (_, (outcome, _)) = counted.context("nothing was counted")?;
    Ok((ran.return_value, out, *outcome))
}

#[test]
fn what_is_in_a_tunnel_comes_out_as_it_went_in() -> anyhow::Result<()> {
    if !require_root("what_is_in_a_tunnel_comes_out_as_it_went_in")? {
        return Ok(());
    }
    let decap = Decap::load(&sources())?;
    for (outer_v6, inner_v6, outcome) in [
        (false, false, Outcome::V4InV4),
        (false, true, Outcome::V6InV4),
        (true, false, Outcome::V4InV6),
        (true, true, Outcome::V6InV6),
    ] {
        let (frame, bare) = tunnel(outer_v6, inner_v6);
        ensure!(open(&decap, &frame)? == (XDP_PASS, bare, outcome));

        // From elsewhere: dropped if there are sources, opened if there are none.
        let mut foreign = frame.clone();
        foreign[if outer_v6 { 22 } else { 26 }] ^= 0x40;
        let (verdict, _, outcome) = open(&decap, &foreign)?;
        ensure!((verdict, outcome) == (XDP_DROP, Outcome::Refused));
        let (verdict, ..) = open(&Decap::load(&[])?, &foreign)?;
        ensure!(verdict == XDP_PASS);

        // Another version than the outer header says, and no whole header at all.
        let start = if outer_v6 { 54 } else { 34 };
        let mut other = frame.clone();
        other[start] ^= 0x20;
        for wrong in [&other[..], &frame[..start + 19]] {
            let (verdict, _, outcome) = open(&decap, wrong)?;
            ensure!((verdict, outcome) == (XDP_DROP, Outcome::Malformed));
        }
    }
    Ok(())
}

#[test]
fn what_is_no_tunnel_passes_byte_for_byte() -> anyhow::Result<()> {
    if !require_root("what_is_no_tunnel_passes_byte_for_byte")? {
        return Ok(());
    }
    let decap = Decap::load(&sources())?;
    let (v4, _) = tunnel(false, false);
    let (v6, _) = tunnel(true, true);
    let edit = |frame: &[u8], at: usize, byte: u8| {
        let mut frame = frame.to_vec();
        frame[at] = byte;
        frame
    };
    for frame in [
        edit(&v4, 23, 6),
        edit(&v6, 20, 17),
        // Options, a first fragment, a later one.
        edit(&v4, 14, 0x46),
        edit(&v4, 20, 0x20),
        edit(&v4, 21, 1),
        // ARP, and a frame that ends early.
        edit(&v4, 13, 6),
        v4[..30].to_vec(),
        v6[..40].to_vec(),
    ] {
        let passed = open(&decap, &frame)?;
        ensure!(
            passed == (XDP_PASS, frame.clone(), Outcome::Passed),
            "{frame:x?}"
        );
    }
    Ok(())
}
