//! A database that was put back: hosts are ahead of it, and carry what it does not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lb_model::{
    enums::ProvisioningStatus,
    id::{LoadBalancerId, NetworkId},
};
use lb_wire::{
    message::{DescribedAddress, Description, SyncRequest, SyncResponse},
    server::Handler as _,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    agent::{FakeAgent, Link, Mood, report, report_request, sync_request},
    world::{HOST, SUBNET, World},
};

const NEVER: Duration = Duration::from_secs(3600);

async fn sync(world: &World, request: SyncRequest) -> SyncResponse {
    let asked = world.controller.sync(request);
    let answered = tokio::time::timeout(Duration::from_secs(10), asked).await;
    answered.unwrap().unwrap()
}

#[tokio::test]
async fn what_a_host_has_of_another_history_does_not_win_over_the_database() {
    let world = World::new(NEVER).await;
    let id = world.create(json!({})).await;
    let known = BTreeMap::from([(id, 99)]);
    let response = sync(&world, sync_request(HOST, known, BTreeSet::new())).await;
    assert_eq!(response.changed[0].id, id);
    assert_eq!(response.changed[0].generation, 100);
}

#[tokio::test]
async fn failovers_that_a_host_has_counted_and_the_database_forgot_do_not_swallow_the_next() {
    let world = World::new(NEVER).await;
    let id = world.create(json!({})).await;
    let known = BTreeMap::new();
    let mut spec = sync(&world, sync_request(HOST, known, BTreeSet::new()))
        .await
        .changed
        .remove(0);
    spec.failover_count = 5;
    let reports = vec![report(&spec, Mood::Willing)];
    let told = report_request(HOST, reports, Vec::new());
    world.controller.report(told).await.unwrap();
    assert_eq!(world.tree(id).await.load_balancer.failover_count, 5);
}

#[tokio::test]
async fn an_orphan_is_kept_listed_and_taken_down_when_an_operator_says_so() {
    let world = World::new(NEVER).await;
    let id = LoadBalancerId(Uuid::new_v4());
    let of_ours = world.create(json!({})).await;
    let known = || BTreeMap::from([(id, 5), (of_ours, 1)]);
    let response = sync(&world, sync_request(HOST, known(), BTreeSet::new())).await;
    assert_eq!(response.describe, [id]);
    assert!(response.gone.is_empty() && response.changed.is_empty());

    let vip = "192.0.2.9".parse().unwrap();
    let mut request = sync_request(HOST, known(), BTreeSet::new());
    request.described = vec![Description {
        id,
        project_id: "p".to_owned(),
        addresses: vec![DescribedAddress {
            network_id: NetworkId(Uuid::from_u128(1)),
            subnet_id: SUBNET,
            address: vip,
        }],
    }];
    let controller = Arc::clone(&world.controller);
    let held = lb_telemetry::task::spawn("sync", async move { controller.sync(request).await });
    let listed = async {
        loop {
            let orphans = world.store.orphans().await.unwrap();
            if orphans.iter().any(|orphan| orphan.addresses == [vip]) {
                return orphans;
            }
            tokio::task::yield_now().await;
        }
    };
    let orphans = tokio::time::timeout(Duration::from_secs(10), listed)
        .await
        .unwrap();
    assert_eq!((orphans[0].id, orphans[0].host.as_str()), (id, HOST));
    assert_eq!(orphans.len(), 1);
    assert!(!held.is_finished(), "kept");

    assert!(world.store.confirm_orphan(id).await.unwrap());
    assert_eq!(held.await.unwrap().unwrap().unwrap().gone, [id]);
    // Until nothing is left of it, it is listed and its addresses are not given to others.
    let leaving = sync_request(HOST, BTreeMap::from([(of_ours, 1)]), BTreeSet::from([id]));
    let waits = tokio::time::timeout(Duration::from_millis(100), world.controller.sync(leaving));
    assert!(waits.await.is_err());
    assert_eq!(world.store.orphans().await.unwrap().len(), 1);
    let told = report_request(HOST, Vec::new(), vec![id]);
    world.controller.report(told).await.unwrap();
    assert!(world.store.orphans().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_created_and_deleted_is_never_an_orphan() {
    let world = World::new(NEVER).await;
    let link = Link::Direct(Arc::clone(&world.controller));
    let _agent = FakeAgent::start(link, Mood::Willing);
    for _time in 0..10 {
        let id = world.create(json!({})).await;
        world.until_status(id, ProvisioningStatus::Active).await;
        world
            .change(id, |tree, ctx| tree.delete_load_balancer(false, ctx))
            .await;
        world.until(id, |tree| tree.is_none()).await;
        assert!(world.store.orphans().await.unwrap().is_empty());
    }
}
