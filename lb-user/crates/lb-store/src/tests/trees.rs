//! Trees: stored, changed, refused, removed.

use super::*;
use lb_model::fault::Fault;

on_both! {
async fn a_tree_comes_back_as_it_was_stored_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let stored = store
        .change_tree(id, |tree| {
            furnish(tree);
            Ok(tree.clone())
        })
        .await
        .unwrap();
    assert_eq!(store.read_tree(id).await.unwrap().unwrap(), stored);
    // As after a kill: nothing is closed, only the lock ends with the process.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let again = open(copy.path()).await;
    assert_eq!(again.read_tree(id).await.unwrap().unwrap(), stored);
    assert_eq!(
        again.ports(id).await.unwrap(),
        store.ports(id).await.unwrap()
    );
}
}

on_both! {
async fn a_refused_change_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let before = create(&store, "lb", &on_subnet(v4())).await.unwrap();
    let id = before.load_balancer.id;
    let ports = store.ports(id).await.unwrap();
    let mut changes = store.changes();
    changes.mark_unchanged();
    let refused = store
        .change_tree(id, |tree| {
            furnish(tree);
            Err::<(), _>(Fault::Conflict("no".into()))
        })
        .await;
    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
    assert_eq!(store.read_tree(id).await.unwrap().unwrap(), before);
    assert_eq!(store.ports(id).await.unwrap(), ports);
    assert!(!changes.has_changed().unwrap());
}
}

on_both! {
async fn a_change_that_finds_no_address_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let before = create(&store, "lb", &on_subnet(v4())).await.unwrap();
    let id = before.load_balancer.id;
    let unknown = SubnetId(Uuid::from_u128(99));
    let refused = store
        .change_tree(id, |tree| {
            let lost = member("m", "203.0.113.1", Some(unknown));
            tree.pools.push(pool("p", PoolProtocol::Http, vec![lost]));
            Ok(())
        })
        .await;
    let error = crate::NetworkError::SubnetNotFound(unknown);
    assert!(
        matches!(&refused, Err(StoreError::Network(it)) if *it == error),
        "{refused:?}"
    );
    assert_eq!(store.read_tree(id).await.unwrap().unwrap(), before);
}
}

on_both! {
async fn objects_taken_out_moved_and_added_are_stored_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let steps: &[fn(&mut Tree)] = &[
        furnish,
        |tree| tree.listeners[0].l7policies.swap(0, 1),
        |tree| tree.listeners[0].l7policies[0].rules.insert(0, rule("new")),
        |tree| {
            tree.pools[0].members.remove(0);
            tree.pools[0]
                .members
                .insert(0, member("m0", "192.0.2.99", None));
        },
        |tree| {
            tree.pools[0].health_monitor.as_mut().unwrap().id = HealthMonitorId(Uuid::new_v4());
        },
        |tree| {
            let taken = tree.pools[0].members.remove(0);
            tree.pools[1].members.push(taken);
            tree.pools.remove(0);
        },
        |tree| tree.listeners[0].common.tags = vec!["one".into(), "edge".into()],
        |tree| {
            tree.listeners.remove(0);
            tree.listeners
                .push(listener("late", ListenerProtocol::Http, 80));
        },
        |tree| tree.listeners.reverse(),
    ];
    for (number, step) in steps.iter().enumerate() {
        let after = store
            .change_tree(id, |tree| {
                step(tree);
                Ok(tree.clone())
            })
            .await
            .unwrap();
        assert_eq!(
            store.read_tree(id).await.unwrap().unwrap(),
            after,
            "step {number}"
        );
    }
}
}

on_both! {
async fn a_change_wakes_and_no_change_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let mut changes = store.changes();
    changes.mark_unchanged();
    store.change_tree(id, |_tree| Ok(())).await.unwrap();
    assert!(!changes.has_changed().unwrap());
    store
        .change_tree(id, |tree| {
            tree.load_balancer.generation += 1;
            Ok(())
        })
        .await
        .unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(
        store.generations().await.unwrap(),
        BTreeMap::from([(id, 2)])
    );
}
}

on_both! {
async fn every_object_knows_its_load_balancer_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let tree = store
        .change_tree(id, |tree| {
            furnish(tree);
            Ok(tree.clone())
        })
        .await
        .unwrap();
    let listener = &tree.listeners[0];
    let policy = &listener.l7policies[0];
    let pool = &tree.pools[0];
    let monitor = pool.health_monitor.as_ref().unwrap();
    assert_eq!(
        store.owner_of_listener(listener.id).await.unwrap(),
        Some(id)
    );
    assert_eq!(store.owner_of_policy(policy.id).await.unwrap(), Some(id));
    assert_eq!(
        store.owner_of_rule(policy.rules[0].id).await.unwrap(),
        Some(id)
    );
    assert_eq!(store.owner_of_pool(pool.id).await.unwrap(), Some(id));
    assert_eq!(
        store.owner_of_member(pool.members[0].id).await.unwrap(),
        Some(id)
    );
    assert_eq!(store.owner_of_monitor(monitor.id).await.unwrap(), Some(id));
    store
        .change_tree(id, |tree| {
            tree.load_balancer.common.provisioning_status = ProvisioningStatus::Deleted;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(store.owner_of_rule(policy.rules[0].id).await.unwrap(), None);
    assert!(store.read_tree(id).await.unwrap().is_none());
    assert!(store.port_page(None, 9).await.unwrap().is_empty());
    assert!(store.amphorae(id).await.unwrap().is_empty());
    let gone = store.change_tree(id, |_tree| Ok(())).await;
    let fault = id.not_found();
    assert!(matches!(gone, Err(StoreError::Refused(it)) if *it == fault));
}
}

on_both! {
async fn what_is_carried_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let carried = store.read_carried(id).await.unwrap().unwrap();
    assert_eq!(carried.amphorae.len(), 2);
    for row in &carried.amphorae {
        let own = carried
            .ports
            .iter()
            .find(|port| port.amphora_id == Some(row.amphora.id));
        assert_eq!(row.amphora.vrrp_ip, own.map(|port| port.address));
        assert_eq!(row.amphora.vrrp_port_id, own.map(|port| port.id));
    }
    assert!(
        store
            .read_carried(LoadBalancerId(Uuid::nil()))
            .await
            .unwrap()
            .is_none()
    );
}
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).await;
    let catalog = NetworkCatalog::new(networks()).unwrap();
    let second = Store::open(dir.path(), "server", Arc::new(catalog)).await;
    let text = second.unwrap_err().to_string();
    assert!(text.contains("lbaas test, process"), "{text}");
}
