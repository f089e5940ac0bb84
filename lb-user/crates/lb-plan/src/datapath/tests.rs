//! Cases that the properties do not show, and what both are made of.

mod properties;

use std::collections::BTreeMap;

use lb_common::{
    hash,
    maps::{
        ListenerRecord, address_kind, limits, listener_flags, listener_kind, maglev_slot_of,
        member_flags, vip_flags,
    },
};
use lb_model::{
    enums::{LbAlgorithm, ListenerProtocol, PoolProtocol, Topology},
    id::{AmphoraId, ListenerId, LoadBalancerId, MemberId, NetworkId, PoolId, SubnetId},
    spec::{
        AmphoraSpec, ListenerPath, ListenerSpec, LoadBalancerSpec, MemberSpec, PoolSpec, PortSpec,
        SubnetSpec, VipSpec,
    },
};
use uuid::Uuid;

use super::{plan::addr, *};

const SEED: u64 = 0x5eed;
const PUBLIC: u128 = 1;
const PRIVATE: u128 = 2;
const PRIVATE_V6: u128 = 3;
/// Members with this number and above are IPv6.
const FIRST_V6: u8 = 10;

fn id(kind: u128, lb: u8, n: u8) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::from(lb) << 8 | u128::from(n))
}

fn port(subnet: u128, address: [u8; 4]) -> PortSpec {
    PortSpec {
        subnet_id: SubnetId(Uuid::from_u128(subnet)),
        address: address.into(),
    }
}

fn member_address(n: u8) -> IpAddr {
    if n < FIRST_V6 {
        [198, 51, 100, n].into()
    } else {
        [0x2001, 0xdb8, 2, 0, 0, 0, 0, u16::from(n)].into()
    }
}

/// What differs between the load balancers of the tests.
#[derive(Clone, Debug)]
struct Shape {
    enabled: bool,
    second_vip: bool,
    amphorae: u8,
    /// Port, whether XDP balances it, whether prefixes are allowed, algorithm by address alone.
    listeners: Vec<(u16, bool, bool, bool)>,
    /// Weight, backup, number.
    members: Vec<(u16, bool, u8)>,
}

fn listener(lb: u8, (port, hashed, cidrs, _): (u16, bool, bool, bool)) -> ListenerSpec {
    ListenerSpec {
        path: if hashed {
            ListenerPath::Xdp
        } else {
            ListenerPath::Amphora
        },
        allowed_cidrs: if cidrs {
            vec!["203.0.113.0/24".parse().expect("a network")]
        } else {
            Vec::new()
        },
        default_pool_id: Some(PoolId(id(11, lb, u8::from(hashed)))),
        ..ListenerSpec::new(
            ListenerId(id(10, lb, u8::try_from(port % 256).expect("small"))),
            if hashed {
                ListenerProtocol::Tcp
            } else {
                ListenerProtocol::Http
            },
            port,
        )
    }
}

fn pool(lb: u8, shape: &Shape, hashed: bool) -> PoolSpec {
    PoolSpec {
        members: shape
            .members
            .iter()
            .map(|&(weight, backup, n)| MemberSpec {
                weight,
                backup,
                ..MemberSpec::new(
                    MemberId(id(12, lb, n)),
                    member_address(n),
                    8080,
                    SubnetId(Uuid::from_u128(if n < FIRST_V6 {
                        PRIVATE
                    } else {
                        PRIVATE_V6
                    })),
                )
            })
            .collect(),
        ..PoolSpec::new(
            PoolId(id(11, lb, u8::from(hashed))),
            if hashed {
                PoolProtocol::Tcp
            } else {
                PoolProtocol::Http
            },
            if shape.listeners.iter().any(|listener| listener.3) {
                LbAlgorithm::SourceIp
            } else {
                LbAlgorithm::SourceIpPort
            },
        )
    }
}

fn spec(lb: u8, shape: &Shape) -> LoadBalancerSpec {
    let subnet = |n: u128, network: u8, cidr: &str| SubnetSpec {
        id: SubnetId(Uuid::from_u128(n)),
        network_id: NetworkId(Uuid::from_u128(network.into())),
        segment: network.into(),
        cidr: cidr.parse().expect("a network"),
        gateway_ip: None,
    };
    let vip = |n: u8| VipSpec {
        address: [192, 0, 2, n].into(),
        subnet_id: SubnetId(Uuid::from_u128(PUBLIC)),
    };
    LoadBalancerSpec {
        project_id: "p".to_owned(),
        enabled: shape.enabled,
        vips: if shape.second_vip {
            vec![vip(lb), vip(100 + lb)]
        } else {
            vec![vip(lb)]
        },
        amphorae: (0..shape.amphorae)
            .map(|n| AmphoraSpec {
                id: AmphoraId(id(14, lb, n)),
                ports: vec![
                    port(PUBLIC, [192, 0, 2, 200 + 2 * lb + n]),
                    port(PRIVATE, [198, 51, 100, 200 + 2 * lb + n]),
                ],
            })
            .collect(),
        snat: vec![
            port(PRIVATE, [198, 51, 100, 150 + lb]),
            PortSpec {
                subnet_id: SubnetId(Uuid::from_u128(PRIVATE_V6)),
                address: [0x2001, 0xdb8, 2, 0, 0, 0, 1, u16::from(lb)].into(),
            },
        ],
        subnets: vec![
            subnet(PUBLIC, 1, "192.0.2.0/24"),
            subnet(PRIVATE, 2, "198.51.100.0/24"),
            subnet(PRIVATE_V6, 2, "2001:db8:2::/64"),
        ],
        listeners: shape.listeners.iter().map(|&of| listener(lb, of)).collect(),
        pools: vec![pool(lb, shape, false), pool(lb, shape, true)],
        ..LoadBalancerSpec::new(LoadBalancerId(id(13, lb, 0)), Topology::ActiveStandby)
    }
}

fn facts() -> Facts {
    let uplink = |ifindex: u8| Uplink {
        ifindex: u32::from(ifindex),
        mac: [2, 0, 0, 0, 0, ifindex],
        segment: u32::from(ifindex),
        mtu: 1500,
        returns: ifindex == 2,
    };
    let mut facts = Facts::default();
    for (network, n) in [(PUBLIC, 1), (PRIVATE, 2)] {
        let network = NetworkId(Uuid::from_u128(network));
        facts.uplinks.insert(network, uplink(n));
        for lb in 0..4 {
            for amphora in 0..2 {
                let ifindex = 100 + 10 * u32::from(n) + 2 * u32::from(lb) + u32::from(amphora);
                let veth = Veth {
                    ifindex,
                    edge_mac: [2, 1, 0, n, lb, amphora],
                    inner_mac: [2, 2, 0, n, lb, amphora],
                };
                let amphora = AmphoraId(id(14, lb, amphora));
                facts.veths.insert((amphora, network), veth);
            }
        }
    }
    facts
}

fn hashed(members: Vec<(u16, bool, u8)>) -> Shape {
    Shape {
        enabled: true,
        second_vip: false,
        amphorae: 2,
        listeners: vec![(80, false, false, false), (90, true, false, false)],
        members,
    }
}

fn nat_table(maps: &DesiredMaps) -> Option<Vec<u8>> {
    let nat = maps
        .listeners
        .values()
        .find(|listener| listener.kind == listener_kind::NAT)?;
    let table = maps.maglev.get(&maglev_slot_of(nat.maglev, false))?;
    Some(
        table
            .members()
            .iter()
            .map(|member| member.addr.0[15])
            .collect(),
    )
}

#[test]
fn only_usable_members_get_slots() {
    let facts = facts();
    let mut allocations = Allocations::new(SEED);
    let shape = hashed(vec![
        (1, false, 1),
        (0, false, 2),
        (5, false, 3),
        (1, true, 4),
    ]);
    let mut spec = spec(0, &shape);
    let mut health = Health::new();
    let table = |spec: &LoadBalancerSpec, allocations: &mut Allocations, health: &Health| {
        nat_table(&load_balancer(spec, allocations, &facts, health).expect("room"))
    };
    assert_eq!(
        table(&spec, &mut allocations, &health),
        Some(vec![1, 3]),
        "no weight, no slot"
    );
    let pool = spec.pools[1].id;
    let member = |n| (pool, MemberId(id(12, 0, n)));
    health.insert(member(1), false);
    assert_eq!(
        table(&spec, &mut allocations, &health),
        Some(vec![1, 3]),
        "health of a pool without a monitor is no news"
    );
    let monitor = serde_json::json!({
        "id": Uuid::nil(), "project_id": "p", "name": "", "description": "", "tags": [],
        "admin_state_up": true, "provisioning_status": "ACTIVE", "operating_status": "ONLINE",
        "created_at": "2026-01-01T00:00:00", "updated_at": null,
        "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1,
        "http_method": null, "url_path": null, "expected_codes": null, "http_version": null,
        "domain_name": null,
    });
    spec.pools[1].health_monitor = Some(serde_json::from_value(monitor).expect("a monitor"));
    assert_eq!(
        table(&spec, &mut allocations, &health),
        Some(vec![3]),
        "down"
    );
    health.insert(member(3), false);
    assert_eq!(
        table(&spec, &mut allocations, &health),
        Some(vec![4]),
        "backups only now"
    );
    health.insert(member(4), false);
    assert_eq!(table(&spec, &mut allocations, &health), None, "nobody");
    health.remove(&member(3));
    spec.pools[1].members[2].last_known_up = Some(false);
    assert_eq!(
        table(&spec, &mut allocations, &health),
        None,
        "known to be down before"
    );
    health.insert(member(3), true);
    assert_eq!(
        table(&spec, &mut allocations, &health),
        Some(vec![3]),
        "up again"
    );
}

#[test]
fn each_family_has_the_members_it_can_reach() {
    let mut allocations = Allocations::new(SEED);
    let shape = hashed(vec![(1, false, 1), (1, false, FIRST_V6), (1, true, 2)]);
    let spec = spec(0, &shape);
    let maps = load_balancer(&spec, &mut allocations, &facts(), &Health::new()).expect("room");
    let nat = maps
        .listeners
        .values()
        .find(|listener| listener.kind == listener_kind::NAT);
    let nat = nat.expect("a hashed listener");
    for (is_v6, n) in [(false, 1), (true, FIRST_V6)] {
        let table = maps
            .maglev
            .get(&maglev_slot_of(nat.maglev, is_v6))
            .expect("a table");
        let members: Vec<_> = table.members().iter().map(|member| member.addr).collect();
        assert_eq!(members, [addr(member_address(n))]);
    }
}

#[test]
fn indices_stay_and_records_move() {
    let mut facts = facts();
    let mut allocations = Allocations::new(SEED);
    let spec = spec(0, &hashed(vec![(1, false, 1)]));
    load_balancer(&spec, &mut allocations, &facts, &Health::new()).expect("room");
    let pool = spec.pools[1].id;
    let member = spec.pools[1].members[0].id;
    let listener = spec.listeners[1].id;
    let amphora = spec.amphorae[1].id;
    let before = (
        allocations.listener(spec.id, listener),
        allocations.amphora(spec.id, amphora),
        allocations.load_balancer(spec.id),
    );
    let member_before = allocations.member(spec.id, pool, member);
    for uplink in facts.uplinks.values_mut() {
        uplink.mac[1] = 77;
    }
    load_balancer(&spec, &mut allocations, &facts, &Health::new()).expect("room");
    let after = (
        allocations.listener(spec.id, listener),
        allocations.amphora(spec.id, amphora),
        allocations.load_balancer(spec.id),
    );
    assert_eq!(before, after);
    assert!(before.0.is_some() && before.1.is_some() && before.2.is_some());
    assert_ne!(
        member_before,
        allocations.member(spec.id, pool, member),
        "its record changed"
    );
    assert_eq!(
        allocations.load_balancer_at(before.2.expect("index")),
        Some(spec.id)
    );
}

#[test]
fn a_load_balancer_that_is_off_answers_nobody() {
    let mut shape = hashed(vec![(1, false, 1)]);
    shape.enabled = false;
    let mut allocations = Allocations::new(SEED);
    let maps =
        load_balancer(&spec(0, &shape), &mut allocations, &facts(), &Health::new()).expect("room");
    assert!(maps.ports.is_empty() && maps.listeners.is_empty());
    let vip = maps
        .address_records
        .values()
        .find(|record| record.kind == address_kind::VIP);
    let vip = vip.expect("its address is still ours");
    assert_eq!(vip.flags & vip_flags::ENABLED, 0);
    assert!(
        vip.ports_mask + 1 >= limits::PORT_PROBES,
        "a block of its own all the same"
    );
}

#[test]
fn an_amphora_without_a_veth_has_an_index_and_no_entry() {
    let mut facts = facts();
    let mut allocations = Allocations::new(SEED);
    let spec = spec(0, &hashed(Vec::new()));
    let gone = spec.amphorae[1].id;
    facts.veths.retain(|(amphora, _), _| *amphora != gone);
    let maps = load_balancer(&spec, &mut allocations, &facts, &Health::new()).expect("room");
    let index = allocations.amphora(spec.id, gone).expect("an index");
    assert!(!maps.amphorae.contains_key(&u32::from(index)));
    assert_eq!(maps.answers.len(), 2, "the other's two veths");
}

#[test]
fn what_does_not_hang_together_names_the_load_balancer_and_changes_nothing() {
    let mut allocations = Allocations::new(SEED);
    let good = spec(0, &hashed(vec![(1, false, 1)]));
    load_balancer(&good, &mut allocations, &facts(), &Health::new()).expect("room");
    let known = allocations.clone();
    let refuse = |change: &dyn Fn(&mut LoadBalancerSpec, &mut Facts)| {
        let (mut spec, mut facts) = (spec(1, &hashed(vec![(1, false, 1)])), facts());
        change(&mut spec, &mut facts);
        let mut allocations = known.clone();
        let refused = load_balancer(&spec, &mut allocations, &facts, &Health::new());
        assert_eq!(allocations, known);
        let error = refused.expect_err("refused");
        assert!(error.to_string().contains(&spec.id.to_string()), "{error}");
        error
    };
    let error = refuse(&|spec, _| spec.vips[0].address = [192, 0, 2, 0].into());
    assert!(matches!(error, Error::AddressTaken { owner, .. } if owner == good.id));
    let error = refuse(&|spec, _| spec.subnets.truncate(1));
    assert!(matches!(error, Error::UnknownSubnet { .. }));
    let error = refuse(&|_, facts| facts.uplinks.clear());
    assert!(matches!(error, Error::NoUplink { .. }));
    let error = refuse(&|spec, _| spec.snat.clear());
    assert!(matches!(error, Error::NoSnat { .. }));
}

#[test]
fn many_listeners_get_a_larger_block_and_each_is_found() {
    let facts = facts();
    let mut allocations = Allocations::new(SEED);
    let mut shape = hashed(Vec::new());
    for count in [1, 2, 5, 40, 150] {
        shape.listeners = (0..count)
            .map(|n| (7_000 + n, false, false, false))
            .collect();
        let maps = load_balancer(&spec(0, &shape), &mut allocations, &facts, &Health::new())
            .expect("room");
        let vip = maps
            .address_records
            .values()
            .find(|record| record.kind == address_kind::VIP);
        let vip = vip.expect("a VIP");
        for (port, ..) in &shape.listeners {
            let home = lb_common::maps::port_home(6, *port);
            let found = (0..limits::PORT_PROBES).any(|probe| {
                let at = vip.ports_base + (home.wrapping_add(probe) & vip.ports_mask);
                maps.ports
                    .get(&at)
                    .is_some_and(|word| word >> 32 == 6 << 16 | u64::from(*port))
            });
            assert!(found, "port {port} of {count}");
        }
    }
}

#[test]
fn a_full_host_refuses_and_takes_again_after_reclaim() {
    let facts = facts();
    let mut full = serde_json::to_value(Allocations::new(SEED)).expect("JSON");
    full["load_balancer_indices"]["next"] = (limits::LOAD_BALANCERS - 1).into();
    let mut allocations: Allocations = serde_json::from_value(full).expect("JSON");
    let last = spec(0, &hashed(Vec::new()));
    load_balancer(&last, &mut allocations, &facts, &Health::new()).expect("the last place");
    let more = spec(1, &hashed(Vec::new()));
    let try_more = |allocations: &mut Allocations| {
        load_balancer(&more, allocations, &facts, &Health::new()).map(drop)
    };
    let full = Error::Full {
        load_balancer: more.id,
        what: "load balancers",
        limit: limits::LOAD_BALANCERS,
    };
    assert_eq!(try_more(&mut allocations), Err(full.clone()));
    allocations.remove(last.id);
    assert_eq!(
        try_more(&mut allocations),
        Err(full),
        "a packet may still be on its way"
    );
    allocations.reclaim(&InUse::default());
    assert_eq!(try_more(&mut allocations), Ok(()));
}

#[test]
fn only_an_uplink_that_returns_packets_is_told_to() {
    let segments = host(&facts()).segments;
    let expected = [
        (1, lb_common::maps::segment_word(1)),
        (
            2,
            lb_common::maps::segment_word(2) | lb_common::maps::SEGMENT_TX,
        ),
    ];
    assert_eq!(segments, expected.into());
}
