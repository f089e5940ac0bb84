//! What hosts observe, and what is kept beside the trees.

use super::*;
use lb_model::spec::{ListenerReport, LoadBalancerReport, MemberReport};

fn report(tree: &Tree, bytes: u64, up: Option<bool>) -> LoadBalancerReport {
    LoadBalancerReport {
        id: tree.load_balancer.id,
        applied_generation: 1,
        failover_count: 0,
        error: None,
        failed_listeners: Vec::new(),
        amphorae: Vec::new(),
        listeners: vec![ListenerReport {
            id: tree.listeners[0].id,
            bytes_in: bytes,
            bytes_out: bytes * 2,
            active_connections: 1,
            total_connections: bytes,
            request_errors: 0,
        }],
        members: vec![MemberReport {
            pool_id: tree.pools[0].id,
            member_id: tree.pools[0].members[0].id,
            up,
        }],
    }
}

async fn furnished(store: &Store) -> Tree {
    let id = create(store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let furnished = store.change_tree(id, |tree| {
        furnish(tree);
        Ok(tree.clone())
    });
    furnished.await.unwrap()
}

on_both! {
async fn counters_go_on_when_what_counts_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tree = furnished(&store).await;
    for bytes in [100, 150, 150, 30] {
        store
            .record_reports("host-a", &[report(&tree, bytes, None)])
            .await
            .unwrap();
    }
    store
        .record_reports("host-b", &[report(&tree, 5, None)])
        .await
        .unwrap();
    let stats = store.listener_stats(tree.load_balancer.id).await.unwrap()[&tree.listeners[0].id];
    assert_eq!((stats.bytes_in, stats.bytes_out), (185, 370));
    assert_eq!(
        (stats.total_connections, stats.active_connections),
        (185, 2)
    );
    store.forget_connections("host-a").await.unwrap();
    let stats = store.listener_stats(tree.load_balancer.id).await.unwrap()[&tree.listeners[0].id];
    assert_eq!((stats.bytes_in, stats.active_connections), (185, 1));
}
}

on_both! {
async fn a_report_told_twice_at_once_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tree = furnished(&store).await;
    for bytes in (100..=2000).step_by(100) {
        let told = [report(&tree, bytes, None)];
        let again = || store.record_reports("host-a", &told);
        let (first, second, third) = tokio::join!(again(), again(), again());
        first.and(second).and(third).unwrap();
    }
    let stats = store.listener_stats(tree.load_balancer.id).await.unwrap()[&tree.listeners[0].id];
    assert_eq!((stats.bytes_in, stats.total_connections), (2000, 2000));
}
}

on_both! {
async fn last_known_health_stays_until_its_monitor_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tree = furnished(&store).await;
    let (id, member) = (tree.load_balancer.id, tree.pools[0].members[0].id);
    store
        .record_reports("h", &[report(&tree, 1, Some(false))])
        .await
        .unwrap();
    store
        .record_reports("h", &[report(&tree, 1, None)])
        .await
        .unwrap();
    assert!(!store.member_health(id).await.unwrap()[&member]);
    let carried = store.read_carried(id).await.unwrap().unwrap();
    assert!(!carried.member_health[&member]);
    let removed = store.change_tree(id, |tree| {
        tree.pools[0].health_monitor = None;
        Ok(())
    });
    removed.await.unwrap();
    assert!(store.member_health(id).await.unwrap().is_empty());
}
}

on_both! {
async fn reports_of_what_is_gone_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let tree = furnished(&store).await;
    let id = tree.load_balancer.id;
    store.remove_tree(id).await.unwrap();
    store
        .record_reports("h", &[report(&tree, 1, Some(true))])
        .await
        .unwrap();
    assert!(store.listener_stats(id).await.unwrap().is_empty());
    assert!(store.member_health(id).await.unwrap().is_empty());
}
}

on_both! {
async fn settings_and_amphorae_keep_what_was_set() {
    use crate::AmphoraUpdate;
    use lb_model::enums::{AmphoraRole, AmphoraStatus};

    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.setting("epoch").await.unwrap(), None);
    store.set_setting("epoch", "1").await.unwrap();
    store.set_setting("epoch", "2").await.unwrap();
    assert_eq!(store.setting("epoch").await.unwrap().as_deref(), Some("2"));
    let id = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let amphora = store.amphorae(id).await.unwrap()[0].amphora.id;
    let update = AmphoraUpdate {
        host: "host-a".into(),
        role: AmphoraRole::Backup,
        status: AmphoraStatus::Allocated,
    };
    assert!(store.update_amphora(amphora, &update).await.unwrap());
    assert!(!store.update_amphora(amphora, &update).await.unwrap());
    let row = store.amphora(amphora).await.unwrap().unwrap().amphora;
    assert_eq!(
        (row.host.as_str(), row.role),
        ("host-a", AmphoraRole::Backup)
    );
    assert_eq!(row.status, AmphoraStatus::Allocated);
    assert!(row.updated_at.is_some());
}
}
