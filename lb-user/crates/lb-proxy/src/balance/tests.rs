//! Every algorithm over members in every state.

//! Which member is chosen.

use std::sync::Arc;

use lb_model::{
    enums::PoolProtocol,
    id::{MemberId, PoolId},
};
use lb_probe::health::{Health, MemberHealth};
use uuid::Uuid;

use super::*;
use crate::config::Persistence;

fn pool(algorithm: LbAlgorithm, members: &[(u16, bool, bool)]) -> PoolConfig {
    PoolConfig {
        id: PoolId(Uuid::nil()),
        protocol: PoolProtocol::Http,
        tls: None,
        algorithm,
        persistence: Persistence::None,
        members: members
            .iter()
            .zip(1..)
            .map(|(&(weight, backup, up), port)| MemberConfig {
                id: MemberId(Uuid::from_u128(u128::from(port))),
                address: ([192, 0, 2, 1], port).into(),
                source: None,
                weight,
                backup,
                health: Arc::new(MemberHealth::monitored(Health::initial(Some(up)))),
            })
            .collect(),
    }
}

fn loads(pool: &PoolConfig) -> Vec<Rc<Load>> {
    pool.members.iter().map(|_| Rc::default()).collect()
}

fn client(number: u32) -> SocketAddr {
    (
        std::net::Ipv4Addr::from_bits(0x0a00_0000 | number),
        u16::try_from(number % 60_000).unwrap() + 1,
    )
        .into()
}

fn counts(pool: &PoolConfig, times: u32) -> Vec<usize> {
    let mut balance = Balance::new(pool);
    let loads = loads(pool);
    let mut counts = vec![0; pool.members.len()];
    for number in 0..times {
        if let Some(index) = balance.next(pool, &loads, client(number), &[]) {
            counts[index] += 1;
        }
    }
    counts
}

const ALL: [LbAlgorithm; 4] = [
    LbAlgorithm::RoundRobin,
    LbAlgorithm::LeastConnections,
    LbAlgorithm::SourceIp,
    LbAlgorithm::SourceIpPort,
];

#[test]
fn shares_of_a_round_are_exactly_the_weights() {
    let members = [
        (3, false, true),
        (1, false, true),
        (0, false, true),
        (4, false, true),
    ];
    let pool = pool(LbAlgorithm::RoundRobin, &members);
    assert_eq!(counts(&pool, 80), [30, 10, 0, 40]);
}

#[test]
fn down_members_are_skipped_and_backups_share_when_no_primary_is_left() {
    for algorithm in ALL {
        let some_up = pool(
            algorithm,
            &[(1, false, false), (1, false, true), (1, true, true)],
        );
        assert_eq!(counts(&some_up, 4), [0, 4, 0]);
        let none_up = pool(
            algorithm,
            &[
                (1, false, false),
                (0, false, true),
                (1, true, true),
                (1, true, true),
            ],
        );
        let shares = counts(&none_up, 100);
        assert!(
            shares[2] > 20 && shares[3] > 20,
            "{algorithm:?}: {shares:?}"
        );
        assert_eq!(counts(&pool(algorithm, &[(1, false, false)]), 4), [0]);
    }
}

#[test]
fn a_tried_member_is_not_chosen_again() {
    for algorithm in ALL {
        let pool = pool(algorithm, &[(9, false, true), (1, false, true)]);
        let loads = loads(&pool);
        let mut balance = Balance::new(&pool);
        assert_eq!(balance.next(&pool, &loads, client(1), &[0]), Some(1));
        assert_eq!(balance.next(&pool, &loads, client(1), &[0, 1]), None);
    }
}

#[test]
fn open_exchanges_follow_the_weights() {
    let pool = pool(
        LbAlgorithm::LeastConnections,
        &[(3, false, true), (1, false, true)],
    );
    let loads = loads(&pool);
    let mut balance = Balance::new(&pool);
    let mut open = Vec::new();
    for number in 0..40 {
        let index = balance
            .next(&pool, &loads, client(number), &[])
            .expect("one is usable");
        open.push(Busy::count(&loads[index]));
    }
    assert_eq!((loads[0].open(), loads[1].open()), (30, 10));
    // Whoever gets free is next.
    open.retain(|busy| !Rc::ptr_eq(&busy.0, &loads[1]));
    assert_eq!(loads[1].open(), 0);
    assert_eq!(balance.next(&pool, &loads, client(1), &[]), Some(1));
}

#[test]
fn without_load_members_take_turns() {
    let pool = pool(
        LbAlgorithm::LeastConnections,
        &[(1, false, true), (1, false, true), (1, false, true)],
    );
    assert_eq!(counts(&pool, 9), [3, 3, 3]);
}

#[test]
fn a_source_stays_and_shares_are_about_the_weights() {
    let members = [(3, false, true), (1, false, true), (0, false, true)];
    let pool = pool(LbAlgorithm::SourceIp, &members);
    let shares = counts(&pool, 4000);
    assert!((2850..3150).contains(&shares[0]), "{shares:?}");
    assert_eq!(shares[2], 0);
    let loads = loads(&pool);
    let mut balance = Balance::new(&pool);
    let mut at = |port| balance.next(&pool, &loads, ([198, 51, 100, 7], port).into(), &[]);
    let first = at(1);
    assert!((2..100).all(|port| at(port) == first), "the port counts");
    let mapped = "[::ffff:198.51.100.7]:9".parse().expect("an address");
    assert_eq!(balance.next(&pool, &loads, mapped, &[]), first);
}

#[test]
fn ports_spread_one_source() {
    let pool = pool(
        LbAlgorithm::SourceIpPort,
        &[(1, false, true), (1, false, true)],
    );
    let loads = loads(&pool);
    let mut balance = Balance::new(&pool);
    let second = (1..1001_u16)
        .filter(|port| {
            balance.next(&pool, &loads, ([198, 51, 100, 7], *port).into(), &[]) == Some(1)
        })
        .count();
    assert!((400..600).contains(&second), "{second}");
}

#[test]
fn a_member_that_goes_moves_its_own_clients_only() {
    let four = [(1, false, true); 4];
    let before = pool(LbAlgorithm::SourceIp, &four);
    let mut after = pool(LbAlgorithm::SourceIp, &four);
    after.members.remove(2);
    let (mut one, mut other) = (Balance::new(&before), Balance::new(&after));
    let (loads_before, loads_after) = (loads(&before), loads(&after));
    for number in 0..500 {
        let was = one
            .next(&before, &loads_before, client(number), &[])
            .expect("usable");
        let is = other
            .next(&after, &loads_after, client(number), &[])
            .expect("usable");
        let (was, is) = (before.members[was].id, after.members[is].id);
        assert!(was == is || was == MemberId(Uuid::from_u128(3)));
    }
}
