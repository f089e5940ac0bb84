//! Reports of every kind against one load balancer.

use lb_model::{
    enums::{ListenerProtocol, OperatingStatus},
    spec::{ListenerReport, MemberReport},
};

use super::*;
use crate::fixture::{id, listener, member, monitored, pool, tree};

fn told(tree: &Tree, up: Option<bool>) -> LoadBalancerReport {
    let members = tree.pools.iter().flat_map(|pool| {
        pool.members.iter().map(move |member| MemberReport {
            pool_id: pool.id,
            member_id: member.id,
            up,
        })
    });
    LoadBalancerReport {
        id: tree.load_balancer.id,
        applied_generation: tree.load_balancer.generation,
        failover_count: tree.load_balancer.failover_count,
        error: None,
        failed_listeners: Vec::new(),
        amphorae: vec![AmphoraReport {
            id: id(0x40),
            active: true,
            ready: true,
            pid: None,
        }],
        listeners: tree
            .listeners
            .iter()
            .map(|listener| ListenerReport {
                id: listener.id,
                bytes_in: 0,
                bytes_out: 0,
                active_connections: 0,
                total_connections: 0,
                request_errors: 0,
            })
            .collect(),
        members: members.collect(),
    }
}

fn fold_in(tree: &mut Tree, report: &LoadBalancerReport, broken: &[ListenerId]) -> bool {
    let broken = broken.iter().copied().collect();
    fold(
        tree,
        report,
        Circumstances {
            broken: &broken,
            received_generation: tree.load_balancer.generation,
            now: Timestamp(1),
        },
    )
}

fn pending() -> Tree {
    let mut made = tree();
    made.load_balancer.common.provisioning_status = ProvisioningStatus::PendingUpdate;
    made.listeners[0].common.provisioning_status = ProvisioningStatus::PendingUpdate;
    made
}

#[test]
fn a_listener_without_its_certificate_is_in_error_and_the_rest_is_active() {
    let mut made = pending();
    made.listeners
        .push(listener(2, ListenerProtocol::TerminatedHttps, None));
    let mut report = told(&made, None);
    report.listeners.retain(|one| one.id != id(2));
    assert!(fold_in(&mut made, &report, &[id(2)]));
    let statuses: Vec<_> = made
        .listeners
        .iter()
        .map(|one| one.common.provisioning_status)
        .collect();
    assert_eq!(
        statuses,
        [ProvisioningStatus::Active, ProvisioningStatus::Error]
    );
    assert_eq!(
        made.listeners[1].common.operating_status,
        OperatingStatus::Error
    );
    assert_eq!(
        made.load_balancer.common.provisioning_status,
        ProvisioningStatus::Active
    );
    assert!(
        !fold_in(&mut made, &report, &[id(2)]),
        "again changes nothing"
    );
    // The certificate is back.
    let report = told(&made, None);
    assert!(fold_in(&mut made, &report, &[]));
    assert_eq!(
        made.listeners[1].common.operating_status,
        OperatingStatus::Online
    );
}

#[test]
fn members_found_down_lower_pool_and_load_balancer() {
    let mut made = tree();
    made.pools[0].health_monitor = Some(monitored());
    for (up, member, owner) in [
        (false, OperatingStatus::Error, OperatingStatus::Error),
        (true, OperatingStatus::Online, OperatingStatus::Online),
    ] {
        let report = told(&made, Some(up));
        assert!(fold_in(&mut made, &report, &[]));
        assert_eq!(made.pools[0].members[0].common.operating_status, member);
        assert_eq!(made.load_balancer.common.operating_status, owner);
    }
}

#[test]
fn with_no_amphora_in_charge_nothing_observed_is_believed() {
    let mut made = tree();
    let mut report = told(&made, None);
    report.listeners.clear();
    report.amphorae[0].ready = false;
    assert!(!fold_in(&mut made, &report, &[]));
    report.amphorae[0].ready = true;
    assert!(fold_in(&mut made, &report, &[]));
    assert_eq!(
        made.listeners[0].common.operating_status,
        OperatingStatus::Error
    );
}

#[test]
fn a_listener_of_the_data_path_is_open_though_no_amphora_tells_of_it() {
    let mut made = tree();
    made.listeners
        .push(listener(2, ListenerProtocol::Tcp, Some(13)));
    made.pools.push(pool(13));
    made.listeners[1].timeout_member_connect = None;
    made.pools[2].members.push(member(114, "2001:db8::50"));
    let mut report = told(&made, None);
    report.listeners.retain(|one| one.id != id(2));
    fold_in(&mut made, &report, &[]);
    assert_eq!(
        made.listeners[1].common.operating_status,
        OperatingStatus::Online
    );
}

#[test]
fn a_deletion_is_never_settled_by_a_report() {
    let mut made = tree();
    made.load_balancer.common.provisioning_status = ProvisioningStatus::PendingDelete;
    let before = made.clone();
    let report = told(&made, None);
    assert!(!fold_in(&mut made, &report, &[]));
    assert_eq!(made, before);
}

#[test]
fn roles_follow_who_carries_the_traffic() {
    for (topology, active, ready, role, status) in [
        (
            Topology::Single,
            true,
            true,
            AmphoraRole::Standalone,
            AmphoraStatus::Allocated,
        ),
        (
            Topology::Single,
            false,
            false,
            AmphoraRole::Standalone,
            AmphoraStatus::Booting,
        ),
        (
            Topology::ActiveStandby,
            true,
            true,
            AmphoraRole::Master,
            AmphoraStatus::Allocated,
        ),
        (
            Topology::ActiveStandby,
            false,
            true,
            AmphoraRole::Backup,
            AmphoraStatus::Allocated,
        ),
        (
            Topology::ActiveStandby,
            false,
            false,
            AmphoraRole::Backup,
            AmphoraStatus::Booting,
        ),
    ] {
        let report = AmphoraReport {
            id: id(1),
            active,
            ready,
            pid: None,
        };
        assert_eq!(amphora_row(topology, &report), (role, status));
    }
}
