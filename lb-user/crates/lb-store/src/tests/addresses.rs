//! Addresses: taken once, freed, and following what a tree needs.

use std::collections::BTreeSet;

use lb_model::request::load_balancer::AdditionalVipRequest;

use super::*;
use crate::{Near, NeededPort, NetworkDriver as _, NetworkError, PortPurpose, Which, needed_ports};

fn network_error(result: Result<Tree, StoreError>) -> NetworkError {
    match result {
        Err(StoreError::Network(error)) => error,
        other => panic!("{other:?}"),
    }
}

on_both! {
async fn concurrent_creates_never_get_one_address() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let creates: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            lb_telemetry::task::spawn("create", async move {
                create(&store, &format!("lb{number}"), &on_subnet(v4()))
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut vips = BTreeSet::new();
    for one in creates {
        let tree = one.await.unwrap().unwrap();
        assert!(vips.insert(tree.load_balancer.vip.address));
    }
    let ports = store.port_page(None, 100).await.unwrap();
    assert_eq!(ports.len(), 60);
    let addresses: BTreeSet<_> = ports.iter().map(|port| port.address).collect();
    assert_eq!(addresses.len(), 60);
    assert!(!addresses.contains(&address("192.0.2.0")));
    assert!(!addresses.contains(&address("192.0.2.1")));
}
}

on_both! {
async fn a_subnet_runs_dry_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.free_addresses(small()).await.unwrap(), 4);
    let first = create(&store, "lb", &on_subnet(small())).await.unwrap();
    assert_eq!(store.free_addresses(small()).await.unwrap(), 1);
    let error = network_error(create(&store, "next", &on_subnet(small())).await);
    assert_eq!(error, NetworkError::Exhausted(small()));
    assert_eq!(
        store.port_page(None, 100).await.unwrap().len(),
        3,
        "a failed create leaves nothing"
    );
    assert!(store.remove_tree(first.load_balancer.id).await.unwrap());
    create(&store, "next", &on_subnet(small())).await.unwrap();
}
}

on_both! {
async fn a_freed_address_is_the_last_to_be_given_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = create(&store, "a", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer;
    store.remove_tree(first.id).await.unwrap();
    let second = create(&store, "b", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer;
    assert_ne!(first.vip.address, second.vip.address);
}
}

on_both! {
async fn a_wanted_address_is_given_once_and_only_if_it_fits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut wanted = on_subnet(v4());
    let cases = [
        ("192.0.2.0", Some("reserved")),
        ("192.0.2.255", Some("reserved")),
        ("192.0.2.1", Some("reserved")),
        ("203.0.113.5", Some("not in subnet")),
        ("192.0.2.50", None),
        ("192.0.2.50", Some("already in use")),
    ];
    for (text, problem) in cases {
        wanted.address = Some(address(text));
        match (create(&store, "lb", &wanted).await, problem) {
            (Ok(tree), None) => assert_eq!(tree.load_balancer.vip.address, address(text)),
            (Err(error), Some(problem)) => assert!(error.to_string().contains(problem), "{error}"),
            (other, _) => panic!("{text}: {other:?}"),
        }
    }
}
}

on_both! {
async fn a_network_alone_prefers_its_ipv4_subnet() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut request = on_subnet(v4());
    request.subnet_id = None;
    let error = create(&store, "x", &request).await.unwrap_err();
    assert!(error.to_string().contains("one of"), "{error}");
    request.network_id = Some(network_id());
    let vip = create(&store, "lb", &request)
        .await
        .unwrap()
        .load_balancer
        .vip;
    assert_eq!((vip.network_id, vip.subnet_id), (network_id(), v4()));
    request.address = Some(address("2001:db8::50"));
    let vip = create(&store, "lb", &request)
        .await
        .unwrap()
        .load_balancer
        .vip;
    assert_eq!(vip.subnet_id, v6());
    request.subnet_id = Some(small());
    let error = create(&store, "x", &request).await.unwrap_err();
    assert!(error.to_string().contains("does not belong"), "{error}");
}
}

on_both! {
async fn additional_vips_are_of_the_same_network_and_no_subnet_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let mut request = on_subnet(v4());
    let more = |subnet_id| AdditionalVipRequest {
        subnet_id,
        address: None,
    };
    request.additional = vec![more(v6())];
    let balancer = create(&store, "lb", &request).await.unwrap().load_balancer;
    assert_eq!(balancer.additional_vips[0].subnet_id, v6());
    request.additional = vec![more(v4())];
    let error = create(&store, "lb", &request).await.unwrap_err();
    assert!(error.to_string().contains("Duplicate"), "{error}");
    request.additional = vec![more(small())];
    let error = create(&store, "lb", &request).await.unwrap_err();
    assert!(error.to_string().contains("same network"), "{error}");
}
}

on_both! {
async fn ports_follow_the_members() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let id = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .id;
    let count = async |purpose, subnet| {
        let ports = store.ports(id).await.unwrap();
        ports
            .iter()
            .filter(|port| port.purpose == purpose && port.subnet_id == subnet)
            .count()
    };
    assert_eq!(count(PortPurpose::Amphora, v4()).await, 2);
    let kept = store.ports(id).await.unwrap();
    store
        .change_tree(id, |tree| {
            furnish(tree);
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(count(PortPurpose::Amphora, small()).await, 2);
    assert_eq!(count(PortPurpose::Snat, v4()).await, 1);
    assert_eq!(count(PortPurpose::Snat, small()).await, 0);
    let now = store.ports(id).await.unwrap();
    assert!(
        kept.iter().all(|port| now.contains(port)),
        "an address that is needed stays"
    );
    store
        .change_tree(id, |tree| {
            tree.pools.clear();
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(store.ports(id).await.unwrap(), kept);
}
}

on_both! {
async fn hosts_own_addresses_are_never_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let own = BTreeSet::from([address("192.0.2.2"), address("2001:db8::1")]);
    store.report_host("host-a", &own).await.unwrap();
    assert_eq!(store.host_addresses().await.unwrap(), own);
    let vip = create(&store, "lb", &on_subnet(v4()))
        .await
        .unwrap()
        .load_balancer
        .vip;
    assert!(!own.contains(&vip.address), "{}", vip.address);
    assert_eq!(store.hosts().await.unwrap()[0].name, "host-a");
}
}

#[test]
fn needed_ports_are_those_of_every_slot_and_every_l4_member_subnet() {
    let vips = Vips {
        vip: lb_model::resource::Vip {
            address: address("192.0.2.2"),
            port_id: lb_model::id::PortId(Uuid::nil()),
            subnet_id: v4(),
            network_id: network_id(),
        },
        additional: Vec::new(),
    };
    let mut tree = bare(LoadBalancerId(Uuid::nil()), "lb", Topology::Single, vips);
    let amphora = |subnet_id| NeededPort {
        purpose: PortPurpose::Amphora,
        slot: Some(0),
        subnet_id,
    };
    let snat = |subnet_id| NeededPort {
        purpose: PortPurpose::Snat,
        slot: None,
        subnet_id,
    };
    assert_eq!(needed_ports(&tree), BTreeSet::from([amphora(v4())]));
    furnish(&mut tree);
    let all = BTreeSet::from([amphora(v4()), amphora(small()), snat(v4())]);
    assert_eq!(needed_ports(&tree), all);
    // A member of another family than every VIP has no way, so no address is taken for it.
    tree.pools[1].members = vec![member("six", "2001:db8::7", None)];
    assert!(
        !needed_ports(&tree)
            .iter()
            .any(|port| port.purpose == PortPurpose::Snat)
    );
    tree.load_balancer.topology = Topology::ActiveStandby;
    let slots = needed_ports(&tree)
        .iter()
        .filter(|port| port.slot == Some(1))
        .count();
    assert_eq!(slots, 2);
}

#[tokio::test]
async fn a_wrong_catalog_is_told_by_key_and_value() {
    let wrong = |change: fn(&mut Vec<Network>)| {
        let mut networks = networks();
        change(&mut networks);
        NetworkCatalog::new(networks).unwrap_err().to_string()
    };
    let text = wrong(|it| it[0].subnets[1].gateway_ip = Some(address("203.0.113.1")));
    assert!(text.contains("gateway_ip: 203.0.113.1"), "{text}");
    let text = wrong(|it| it[1].id = it[0].id);
    assert!(text.contains("networks.id"), "{text}");
    let text = wrong(|it| it[0].subnets[1].cidr = "192.0.2.1/24".parse().unwrap());
    assert!(text.contains("host bits"), "{text}");
    let text = wrong(|it| it[1].subnets[0].allocation_pools[0].end = address("192.0.2.9"));
    assert!(text.contains("allocation_pools"), "{text}");
    let catalog = NetworkCatalog::new(networks()).unwrap();
    let public = catalog.networks(Which::Named("public")).await.unwrap();
    assert_eq!(public.len(), 1);
    let named = catalog.subnets(Which::Named("small-v4")).await.unwrap();
    assert_eq!(named[0].subnet.id, small());
    let six = catalog.subnet(v6(), Near::default()).await.unwrap();
    assert!(six.unwrap().subnet.is_ipv6());
}
