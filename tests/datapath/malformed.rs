//! Packets that are cut short, lie about themselves, or come in pieces: dropped with their reason
//! when they are ours, passed untouched when nobody can tell.

use lb_common::reason::Reason;

use super::{
    frames::{Family, Frame},
    world::{STEER_PORT, World, XDP_DROP, XDP_PASS},
};

#[test]
fn every_cut_is_passed_or_dropped_untouched() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("cuts")? else {
        return Ok(());
    };
    for family in Family::BOTH {
        let network = if family == Family::V4 { 34 } else { 54 };
        for frame in [
            Frame::syn(family, STEER_PORT),
            Frame::udp(family, STEER_PORT),
        ] {
            let whole = frame.build()?;
            // The kernel wants at least an Ethernet header.
            for cut in 14..whole.len() {
                let frame = &whole[..cut];
                let out = world.xdp(frame)?;
                let expected = if cut < network {
                    (XDP_PASS, Reason::TooShort)
                } else {
                    (XDP_DROP, Reason::Truncated)
                };
                assert_eq!(
                    (out.verdict, out.reason),
                    expected,
                    "{family:?} cut at {cut}"
                );
                assert_eq!(out.bytes, frame);
            }
        }
    }
    Ok(())
}

#[test]
fn lies_and_pieces_have_their_reasons() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("lies")? else {
        return Ok(());
    };
    let v4 = Frame::syn(Family::V4, STEER_PORT).build()?;
    let v4_udp = Frame::udp(Family::V4, STEER_PORT).build()?;
    let v6 = Frame::syn(Family::V6, STEER_PORT).build()?;
    let cases: [(&[u8], usize, u8, Reason); 11] = [
        (&v4, 14, 0x65, Reason::Malformed),
        (&v4, 14, 0x41, Reason::Malformed),
        (&v4, 16, 0xff, Reason::Truncated),
        (&v4, 17, 19, Reason::Malformed),
        (&v4, 20, 0x20, Reason::Fragment),
        (&v4, 21, 0x08, Reason::Fragment),
        (&v4, 46, 0x40, Reason::Malformed),
        (&v4, 46, 0xf0, Reason::Malformed),
        (&v4_udp, 38, 0xff, Reason::Malformed),
        (&v6, 14, 0x40, Reason::Malformed),
        (&v6, 18, 0xff, Reason::Truncated),
    ];
    for (frame, at, value, reason) in cases {
        let mut frame = frame.to_vec();
        frame[at] = value;
        let out = world.xdp(&frame)?;
        assert_eq!((out.verdict, out.reason), (XDP_DROP, reason), "byte {at}");
        assert_eq!(out.bytes, frame);
    }
    Ok(())
}

/// An IPv6 packet to the VIP with these headers before TCP.
fn with_extensions(first: u8, extensions: &[u8]) -> anyhow::Result<Vec<u8>> {
    let plain = Frame::syn(Family::V6, STEER_PORT).build()?;
    let mut frame = plain[..54].to_vec();
    let length = plain.len() - 54 + extensions.len();
    frame[18..20].copy_from_slice(&u16::try_from(length)?.to_be_bytes());
    frame[20] = first;
    frame.extend(extensions);
    frame.extend(&plain[54..]);
    Ok(frame)
}

#[test]
fn extension_headers_are_walked_to_a_bound() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("extensions")? else {
        return Ok(());
    };
    let options = |next: u8, units: u8| {
        let mut header = vec![0; 8 * (usize::from(units) + 1)];
        header[0] = next;
        header[1] = units;
        header
    };
    let chain = [
        options(60, 0),
        options(44, 2),
        vec![51, 0, 0, 0, 0, 0, 0, 1],
    ]
    .concat();
    // Authentication header: 4-byte units, less two.
    let mut authentication = vec![0; 24];
    authentication[0] = 6;
    authentication[1] = 4;
    let chain = [chain, authentication].concat();
    let six = [options(60, 0).repeat(5), options(6, 31)].concat();
    let seven = [options(60, 0).repeat(6), options(6, 0)].concat();
    let cases = [
        (0, chain, Reason::Steered),
        (60, six, Reason::Steered),
        (60, seven, Reason::ExtensionHeaders),
        (44, vec![6, 0, 0, 1, 0, 0, 0, 1], Reason::Fragment),
        (44, vec![6, 0, 0, 8, 0, 0, 0, 1], Reason::Fragment),
        (44, vec![6, 0, 0, 0, 0, 0, 0, 1], Reason::Steered),
        (43, vec![6, 0, 4, 1, 0, 0, 0, 0], Reason::RoutingHeader),
        (43, vec![6, 0, 4, 0, 0, 0, 0, 0], Reason::Steered),
        (60, vec![6, 200, 0, 0, 0, 0, 0, 0], Reason::Malformed),
        (59, vec![], Reason::Protocol),
    ];
    for (first, extensions, reason) in cases {
        let frame = with_extensions(first, &extensions)?;
        assert_eq!(world.xdp(&frame)?.reason, reason, "{first} {extensions:?}");
    }
    Ok(())
}

#[test]
fn ipv4_mapped_addresses_on_ipv6_are_nobodys() -> anyhow::Result<()> {
    let Some(world) = World::with_pair("mapped")? else {
        return Ok(());
    };
    let to = Frame::syn(Family::V6, STEER_PORT).to(Family::V4.vip(), STEER_PORT);
    let out = world.xdp(&to.build()?)?;
    assert_eq!((out.verdict, out.reason), (XDP_PASS, Reason::NotOurs));
    let from = Frame::syn(Family::V6, STEER_PORT).from(Family::V4.client(), 9);
    assert_eq!(world.xdp(&from.build()?)?.reason, Reason::MartianSource);
    Ok(())
}
