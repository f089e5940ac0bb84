//! Ways that are out of the ordinary, by real sockets: a member that is its own VIP's client, packets that
//! do not fit, and packets whose hops are counted.

use lb_testkit::command::sysctl;

use super::*;

/// Longer than any packet, and than a few.
const LONG: usize = 100_000;

/// A line of [`LONG`] bytes, there and back.
pub(super) fn long_echo(world: &World, to: SocketAddr) -> anyhow::Result<()> {
    let sent = "x".repeat(LONG);
    let mut connection = world.topology.in_client(|| Held::open(to))??;
    connection.line()?;
    ensure!(connection.echo(&sent)? == sent, "another line came back");
    Ok(())
}

/// What a namespace has learnt of the way to `to`.
fn route(netns: Option<&str>, to: IpAddr) -> anyhow::Result<String> {
    run(netns, "ip", &["route", "get", &to.to_string()])
}

#[test]
fn a_member_reaches_its_own_vip_and_every_member_behind_it_itself_too() -> anyhow::Result<()> {
    if !require_root("a_member_reaches_its_own_vip_and_every_member_behind_it_itself_too")? {
        return Ok(());
    }
    let mut world = World::new()?;
    let vips: [IpAddr; 2] = ["203.0.113.60".parse()?, "2001:db8:2::60".parse()?];
    for (family, vip) in families()?.into_iter().zip(vips) {
        let mut spec = spec(&family)?;
        // In the members' network, as with tenants who have but one.
        spec.vips[0].address = vip;
        spec.vips[0].subnet_id = spec.subnets[1].id;
        world.carry(&spec)?;
        let member = world.topology.member();
        let uplink = world
            .facts
            .uplinks
            .get(&network(true))
            .context("an uplink")?;
        let mac = uplink.mac.map(|byte| format!("{byte:02x}")).join(":");
        let at = vip.to_string();
        let known = [
            "neigh",
            "replace",
            &at,
            "lladdr",
            &mac,
            "dev",
            MEMBER_INTERFACE,
        ];
        run(Some(member), "ip", &known)?;
        let mut shares = BTreeMap::<String, usize>::new();
        for _ in 0..CONNECTIONS {
            let to = SocketAddr::new(vip, PORT);
            let name = lb_sys::netns::run_in(member, || tcp_name(to, LIMIT))??;
            *shares.entry(name).or_default() += 1;
        }
        // One of the two is where the connections come from.
        ensure!(shares.len() == 2, "{shares:?}");
    }
    Ok(())
}

#[test]
fn a_client_is_told_what_fits_towards_members() -> anyhow::Result<()> {
    const FITS: u16 = 1300;
    if !require_root("a_client_is_told_what_fits_towards_members")? {
        return Ok(());
    }
    let mut world = World::new()?;
    let uplink = world.facts.uplinks.get_mut(&network(true));
    uplink.context("an uplink")?.mtu = FITS;
    for family in families()? {
        world.carry(&spec(&family)?)?;
        let before = world.count(Reason::TooBigTold)?;
        long_echo(&world, SocketAddr::new(family.vip, PORT))?;
        ensure!(world.count(Reason::TooBigTold)? > before);
        let learnt = route(world.topology.client(), family.vip)?;
        ensure!(learnt.contains(&format!("mtu {FITS}")), "{learnt}");
    }
    Ok(())
}

#[test]
fn members_are_two_hops_away() -> anyhow::Result<()> {
    if !require_root("members_are_two_hops_away")? {
        return Ok(());
    }
    let world = World::new()?;
    let [family, _] = families()?;
    let to = SocketAddr::new(family.vip, PORT);
    for (hops, reached) in [(1, false), (2, true)] {
        let before = world.count(Reason::Ttl)?;
        let key = "net/ipv4/ip_default_ttl";
        sysctl(world.topology.client(), key, &hops.to_string())?;
        let connect = || TcpStream::connect_timeout(&to, LIMIT);
        let connected = world.topology.in_client(connect)?.is_ok();
        ensure!(connected == reached, "{hops} hops");
        ensure!((world.count(Reason::Ttl)? > before) != reached);
    }
    Ok(())
}
