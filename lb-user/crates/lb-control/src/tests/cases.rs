//! The controller before a fake agent: what is sent, settled, repeated, late or lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use lb_model::{
    capability::{Capability, CapabilitySet},
    enums::{AmphoraRole, AmphoraStatus, OperatingStatus, ProvisioningStatus},
    id::LoadBalancerId,
    request::{ListenerCreate, LoadBalancerUpdate},
    tree::Tree,
};
use lb_store::now;
use lb_wire::{
    ca::CertificateAuthority,
    client::{DirectDialer, SyncClient},
    server::Handler as _,
    tls,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    agent::{FakeAgent, Link, Mood, report, report_request, sync_request},
    world::{HOST, World},
};

/// Longer than any test.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);
/// From commit to ACTIVE the product has 100 ms; a test on a busy machine gets more.
const SOON: Duration = Duration::from_millis(500);

pub(crate) fn http() -> Value {
    json!({
        "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "pool1",
            "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "members": [{"address": "192.0.2.200", "protocol_port": 8080}],
        }}]
    })
}

pub(crate) fn direct(world: &World, mood: Mood) -> FakeAgent {
    FakeAgent::start(Link::Direct(Arc::clone(&world.controller)), mood)
}

fn new_listener(
    tree: &mut Tree,
    ctx: &mut lb_model::ctx::Ctx<'_>,
) -> Result<(), lb_model::fault::Fault> {
    let id = tree.id();
    let body =
        json!({"listener": {"loadbalancer_id": id, "protocol": "HTTP", "protocol_port": 81}});
    tree.create_listener(ListenerCreate::parse(&body)?, ctx)?;
    Ok(())
}

fn rename(tree: &mut Tree, ctx: &mut lb_model::ctx::Ctx<'_>) -> Result<(), lb_model::fault::Fault> {
    let body = json!({"loadbalancer": {"name": "other"}});
    tree.update_load_balancer(LoadBalancerUpdate::parse(&body)?, ctx)
}

fn statuses(tree: &Tree) -> BTreeSet<ProvisioningStatus> {
    let listeners = tree.listeners.iter().map(|one| &one.common);
    let pools = tree.pools.iter().map(|one| &one.common);
    let all = std::iter::once(&tree.load_balancer.common)
        .chain(listeners)
        .chain(pools);
    all.map(|common| common.provisioning_status).collect()
}

#[tokio::test]
async fn over_the_wire_a_change_is_active_soon_and_everything_is_shown() {
    let world = World::new(NEVER).await;
    let ca = CertificateAuthority::open(world.dir.path()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let tls = tls::server_config(&ca.issue_server().unwrap()).unwrap();
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    lb_telemetry::task::spawn(
        "server",
        lb_wire::server::serve(listener, tls, Arc::clone(&world.controller), shutdown),
    );
    let credentials = ca.issue_agent(HOST).unwrap();
    let client = SyncClient::new(&credentials, address, Arc::new(DirectDialer)).unwrap();
    let _agent = FakeAgent::start(Link::Wire(Box::new(client)), Mood::Willing);

    let id = world.create(http()).await;
    world.until_status(id, ProvisioningStatus::Active).await;
    let tree = world.tree(id).await;
    assert_eq!(statuses(&tree), [ProvisioningStatus::Active].into());
    assert_eq!(
        tree.load_balancer.common.operating_status,
        OperatingStatus::Online
    );
    assert_eq!(
        tree.listeners[0].common.operating_status,
        OperatingStatus::Online
    );

    world.change(id, new_listener).await;
    let committed = Instant::now();
    world.until_status(id, ProvisioningStatus::Active).await;
    let took = committed.elapsed();
    println!("from commit to ACTIVE: {took:?}");
    assert!(took < SOON, "{took:?}");

    let wait = async {
        loop {
            let rows = world.store.amphorae(id).await.unwrap();
            let mut roles: Vec<_> = rows.iter().map(|row| row.amphora.role).collect();
            roles.sort();
            let placed = rows.iter().all(|row| {
                row.amphora.host == HOST && row.amphora.status == AmphoraStatus::Allocated
            });
            if placed && roles == [AmphoraRole::Master, AmphoraRole::Backup] {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait)
        .await
        .unwrap();
    let hosts = world.store.hosts().await.unwrap();
    assert_eq!(hosts[0].name, HOST);
    let counted = async {
        while world.store.listener_stats(id).await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_held_sync_is_woken_by_a_commit() {
    let world = World::new(NEVER).await;
    let controller = Arc::clone(&world.controller);
    let held = lb_telemetry::task::spawn("sync", async move {
        let answer = controller
            .sync(sync_request(HOST, BTreeMap::new(), BTreeSet::new()))
            .await;
        (Instant::now(), answer.unwrap())
    });
    // It is being held, so it has no answer yet.
    tokio::task::yield_now().await;
    assert!(!held.is_finished());
    let id = world.create(json!({})).await;
    let committed = Instant::now();
    let (answered, response) = held.await.unwrap().unwrap();
    assert_eq!(response.changed[0].id, id);
    assert!(answered.duration_since(committed) < Duration::from_millis(100));

    // Known: nothing to tell.
    let asked = world.controller.sync(sync_request(
        HOST,
        BTreeMap::from([(id, 1)]),
        BTreeSet::new(),
    ));
    let held = tokio::time::timeout(Duration::from_millis(100), asked).await;
    assert!(held.is_err(), "{held:?}");
}

#[tokio::test]
async fn what_a_host_cannot_do_is_an_error_until_it_can() {
    let world = World::new(NEVER).await;
    let agent = direct(&world, Mood::Unable);
    let id = world.create(http()).await;
    world.until_status(id, ProvisioningStatus::Error).await;
    *agent.mood.lock().unwrap() = Mood::Willing;
    world.until_status(id, ProvisioningStatus::Active).await;
    assert_eq!(
        statuses(&world.tree(id).await),
        [ProvisioningStatus::Active].into()
    );

    // A child's failure is the child's: the load balancer stays usable.
    *agent.mood.lock().unwrap() = Mood::Unable;
    world.change(id, new_listener).await;
    world.until_status(id, ProvisioningStatus::Active).await;
    let tree = world.tree(id).await;
    let failed: Vec<_> = tree
        .listeners
        .iter()
        .map(|one| one.common.provisioning_status)
        .collect();
    assert_eq!(
        failed,
        [ProvisioningStatus::Active, ProvisioningStatus::Error]
    );
    *agent.mood.lock().unwrap() = Mood::Willing;
    world
        .until(id, |tree| {
            tree.is_some_and(|tree| statuses(tree) == [ProvisioningStatus::Active].into())
        })
        .await;
}

#[tokio::test]
async fn without_an_agent_a_change_fails_at_its_deadline_and_recovers_by_itself() {
    let timeout = Duration::from_millis(200);
    let world = World::new(timeout).await;
    let begun = Instant::now();
    let id = world.create(http()).await;
    world.until_status(id, ProvisioningStatus::Error).await;
    assert!(begun.elapsed() >= timeout);
    let _agent = direct(&world, Mood::Willing);
    world.until_status(id, ProvisioningStatus::Active).await;
    world.change(id, rename).await;
    world.until_status(id, ProvisioningStatus::Active).await;
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_goes_on_where_it_was() {
    let world = World::new(NEVER).await;
    let id = world.create(http()).await;
    let going = world.create(json!({})).await;
    let world = world.restarted(NEVER).await;
    assert_eq!(world.status(id).await, ProvisioningStatus::PendingCreate);
    {
        let _agent = direct(&world, Mood::Willing);
        world.until_status(id, ProvisioningStatus::Active).await;
        world.until_status(going, ProvisioningStatus::Active).await;
    }
    world.change(id, rename).await;
    world
        .change(going, |tree, ctx| tree.delete_load_balancer(true, ctx))
        .await;
    let world = world.restarted(NEVER).await;
    let _agent = direct(&world, Mood::Willing);
    world.until_status(id, ProvisioningStatus::Active).await;
    world.until(going, |tree| tree.is_none()).await;
    assert_eq!(world.tree(id).await.load_balancer.common.name, "other");
}

/// The specification of a load balancer, as its host gets it.
async fn spec_of(world: &World, id: LoadBalancerId) -> lb_model::spec::LoadBalancerSpec {
    let asked = sync_request(HOST, BTreeMap::new(), BTreeSet::new());
    let answer = world.controller.sync(asked).await.unwrap();
    answer
        .changed
        .into_iter()
        .find(|spec| spec.id == id)
        .unwrap()
}

#[tokio::test]
async fn reports_may_come_late_twice_and_in_any_order() {
    let world = World::new(NEVER).await;
    let id = world.create(http()).await;
    let first = report(&spec_of(&world, id).await, Mood::Willing);
    let tell = async |reports| {
        world
            .controller
            .report(report_request(HOST, reports, Vec::new()))
            .await
            .unwrap();
    };
    tell(vec![first.clone()]).await;
    assert_eq!(world.status(id).await, ProvisioningStatus::Active);

    world.change(id, rename).await;
    // Late: about the generation before. Also when it complains.
    let refused = report(&spec_of(&world, id).await, Mood::Unable);
    tell(vec![first.clone()]).await;
    assert_eq!(world.status(id).await, ProvisioningStatus::PendingUpdate);
    tell(vec![refused.clone()]).await;
    assert_eq!(
        world.status(id).await,
        ProvisioningStatus::PendingUpdate,
        "it has not got it yet"
    );

    let second = report(&spec_of(&world, id).await, Mood::Willing);
    tell(vec![second.clone(), first.clone(), second.clone()]).await;
    tell(vec![second]).await;
    let settled = world.tree(id).await;
    assert_eq!(statuses(&settled), [ProvisioningStatus::Active].into());
    tell(vec![first]).await;
    assert_eq!(
        world.tree(id).await,
        settled,
        "an old report changes nothing"
    );
}

#[tokio::test]
async fn a_repeated_report_writes_nothing() {
    let world = World::new(NEVER).await;
    let id = world.create(http()).await;
    let told = report(&spec_of(&world, id).await, Mood::Willing);
    let tell = async || {
        let request = report_request(HOST, vec![told.clone()], Vec::new());
        world.controller.report(request).await.unwrap();
    };
    tell().await;
    let mut changes = world.store.changes();
    changes.borrow_and_update();
    tell().await;
    tell().await;
    assert!(!changes.has_changed().unwrap());
}

#[tokio::test]
async fn a_load_balancer_ends_when_its_own_host_says_so() {
    let world = World::new(NEVER).await;
    let id = world.create(json!({})).await;
    let told = report(&spec_of(&world, id).await, Mood::Willing);
    let report = async |host, reports, removed| {
        world
            .controller
            .report(report_request(host, reports, removed))
            .await
            .unwrap();
    };
    report(HOST, vec![told.clone()], Vec::new()).await;
    report(HOST, Vec::new(), vec![id]).await;
    assert_eq!(
        world.status(id).await,
        ProvisioningStatus::Active,
        "nobody asked for its end"
    );

    world
        .change(id, |tree, ctx| tree.delete_load_balancer(false, ctx))
        .await;
    report(HOST, vec![told], Vec::new()).await;
    report("host-b", Vec::new(), vec![id]).await;
    assert_eq!(world.status(id).await, ProvisioningStatus::PendingDelete);

    let asked = sync_request(HOST, BTreeMap::from([(id, 1)]), BTreeSet::new());
    assert_eq!(world.controller.sync(asked).await.unwrap().gone, [id]);
    let asked = sync_request("host-b", BTreeMap::new(), BTreeSet::new());
    let other =
        tokio::time::timeout(Duration::from_millis(100), world.controller.sync(asked)).await;
    assert!(other.is_err(), "another host is told nothing: {other:?}");

    report(HOST, Vec::new(), vec![id]).await;
    assert!(world.store.read_tree(id).await.unwrap().is_none());
    report(HOST, Vec::new(), vec![id]).await;
}

#[tokio::test]
async fn a_failover_is_done_when_the_host_has_counted_it() {
    let world = World::new(NEVER).await;
    let id = world.create(json!({})).await;
    let tell = async |told| {
        world
            .controller
            .report(report_request(HOST, vec![told], Vec::new()))
            .await
            .unwrap();
    };
    tell(report(&spec_of(&world, id).await, Mood::Willing)).await;
    world.change(id, Tree::failover_load_balancer).await;
    let done = report(&spec_of(&world, id).await, Mood::Willing);
    assert_eq!(done.failover_count, 1);
    let mut under_way = done.clone();
    under_way.failover_count = 0;
    tell(under_way).await;
    assert_eq!(world.status(id).await, ProvisioningStatus::PendingUpdate);
    tell(done).await;
    assert_eq!(world.status(id).await, ProvisioningStatus::Active);
}

#[tokio::test]
async fn what_no_host_ever_had_is_deleted_without_one() {
    let world = World::new(Duration::from_millis(100)).await;
    // The server's own machine is no host that carries load balancers.
    world
        .store
        .report_host("@server", &BTreeSet::new())
        .await
        .unwrap();
    let id = world.create(http()).await;
    world.until_status(id, ProvisioningStatus::Error).await;
    world
        .change(id, |tree, ctx| tree.delete_load_balancer(true, ctx))
        .await;
    world.until(id, |tree| tree.is_none()).await;
}

#[tokio::test]
async fn a_deletion_that_the_host_does_not_confirm_is_taken_back_at_its_deadline() {
    let world = World::new(Duration::from_millis(300)).await;
    let id = world.create(http()).await;
    {
        let _agent = direct(&world, Mood::Willing);
        world.until_status(id, ProvisioningStatus::Active).await;
    }
    world
        .change(id, |tree, ctx| tree.delete_load_balancer(true, ctx))
        .await;
    world.until_status(id, ProvisioningStatus::Error).await;
    let _agent = direct(&world, Mood::Willing);
    world.until_status(id, ProvisioningStatus::Active).await;
}

#[tokio::test]
async fn what_an_agent_declares_can_be_asked_for_from_then_on() {
    let world = World::new(NEVER).await;
    let mut request = sync_request(HOST, BTreeMap::new(), BTreeSet::new());
    request.capabilities = BTreeSet::from(["hsts".to_owned(), "teleportation".to_owned()]);
    let id = world.create(json!({})).await;
    world.controller.sync(request.clone()).await.unwrap();
    let declared: CapabilitySet = [Capability::Hsts].into_iter().collect();
    assert_eq!(world.store.capabilities().await.unwrap(), declared);

    // An agent of a version that declares nothing takes it all back.
    request.capabilities.clear();
    world.controller.sync(request).await.unwrap();
    let none = CapabilitySet::default();
    assert_eq!(world.store.capabilities().await.unwrap(), none);
    assert_eq!(world.status(id).await, ProvisioningStatus::PendingCreate);
}

#[tokio::test]
async fn a_host_that_fell_silent_has_no_open_connections_until_it_tells_of_some() {
    let world = World::new(Duration::from_secs(60)).await;
    let id = world.create(http()).await;
    {
        let _agent = direct(&world, Mood::Willing);
        world.until_status(id, ProvisioningStatus::Active).await;
    }
    let tree = world.store.read_tree(id).await.unwrap().unwrap();
    let spec = crate::gather::gather(&world.store, id).await.unwrap();
    let mut told = report(&spec.unwrap().built.unwrap().spec, Mood::Willing);
    told.listeners[0].active_connections = 5;
    let told = [told];
    let open = async || {
        let stats = world.store.listener_stats(id).await.unwrap();
        let stats = stats.get(&tree.listeners[0].id).copied();
        stats.unwrap_or_default().active_connections
    };
    // What the agent told last may come later than its end.
    while open().await != 5 {
        world.store.record_reports(HOST, &told).await.unwrap();
    }
    let mut silent = BTreeSet::new();
    let look = async |seconds: i64, silent: &mut BTreeSet<String>| {
        let then = lb_model::time::Timestamp(now().0 + seconds * 1_000_000);
        world.controller.look_at_hosts(then, silent).await.unwrap();
    };
    look(100, &mut silent).await;
    assert_eq!((open().await, silent.len()), (5, 0));
    look(200, &mut silent).await;
    assert_eq!((open().await, silent.len()), (0, 1));
    look(0, &mut silent).await;
    assert!(silent.is_empty(), "heard of again");
}
