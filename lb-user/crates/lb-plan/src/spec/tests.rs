//! What comes into a specification, and what stays out.

use std::net::IpAddr;

use lb_model::{
    enums::{ClientAuthentication, L4Path, ListenerProtocol, PoolProtocol},
    id::AmphoraId,
    secret::Secret,
    spec::ListenerPath,
};

use super::*;
use crate::fixture::{MEMBER_SUBNET, VIP_SUBNET, id, listener, member, monitored, pool, tree, vip};

fn certificate(name: &str) -> CertificateSpec {
    CertificateSpec {
        id: name.to_owned(),
        chain_pem: String::new(),
        key_pem: Secret::new(String::new()),
        hosts: Vec::new(),
        ocsp: None,
    }
}

fn subnet(number: u128, cidr: &str) -> SubnetSpec {
    SubnetSpec {
        id: id(number),
        network_id: id(2),
        segment: 1,
        cidr: cidr.parse().unwrap(),
        gateway_ip: None,
    }
}

fn build_with(tree: &Tree, certificates: &[CertificateSpec]) -> Result<Built, SpecError> {
    let port = |subnet: u128, address: &str| PortSpec {
        subnet_id: id(subnet),
        address: address.parse().unwrap(),
    };
    build(Inputs {
        tree,
        amphorae: &[AmphoraSpec {
            id: id::<AmphoraId>(0x40),
            ports: vec![port(VIP_SUBNET, "192.0.2.20")],
        }],
        snat: &[],
        subnets: &[
            subnet(VIP_SUBNET, "192.0.2.0/24"),
            subnet(MEMBER_SUBNET, "198.51.100.0/24"),
            subnet(0xa6, "2001:db8::/64"),
            subnet(0xa9, "203.0.113.0/24"),
        ],
        certificates,
        authorities: &BTreeMap::from([("ca".to_owned(), "CA".to_owned())]),
        revocation_lists: &BTreeMap::new(),
        health: &BTreeMap::from([(id(111), false)]),
    })
}

fn spec(tree: &Tree) -> LoadBalancerSpec {
    build_with(tree, &[]).unwrap().spec
}

fn pools(tree: &Tree) -> Vec<PoolId> {
    spec(tree).pools.iter().map(|pool| pool.id).collect()
}

#[test]
fn a_whole_tree_comes_through_with_its_defaults() {
    let made = spec(&tree());
    assert_eq!((made.generation, made.failover_count), (9, 2));
    assert_eq!(made.vips.len(), 2);
    let listener = &made.listeners[0];
    assert_eq!(listener.path, ListenerPath::Amphora);
    assert_eq!(listener.timeout_client_data_ms, 50_000);
    assert_eq!(listener.timeout_member_connect_ms, 7);
    assert_eq!(listener.connection_limit, None);
    assert_eq!(listener.l7policies.len(), 1);
    assert_eq!(made.pools.len(), 2);
    let subnets: Vec<_> = made.subnets.iter().map(|subnet| subnet.id).collect();
    assert_eq!(subnets, [id(VIP_SUBNET), id(0xa6)], "only those named");
}

/// What is switched off, or going, is as if it were not there.
#[test]
fn what_is_off_or_going_is_left_out() {
    type Change = fn(&mut Tree);
    let off: fn(&mut Common) = |common| common.admin_state_up = false;
    let going: fn(&mut Common) =
        |common| common.provisioning_status = ProvisioningStatus::PendingDelete;
    for away in [off, going] {
        let mut made = tree();
        away(&mut made.listeners[0].common);
        assert!(spec(&made).listeners.is_empty());
        assert!(spec(&made).pools.is_empty(), "nothing leads to them");

        let mut made = tree();
        away(&mut made.listeners[0].l7policies[0].common);
        assert!(spec(&made).listeners[0].l7policies.is_empty());
        assert_eq!(pools(&made), [id(11)]);

        let mut made = tree();
        away(&mut made.listeners[0].l7policies[0].rules[0].common);
        assert!(
            spec(&made).listeners[0].l7policies.is_empty(),
            "no rule, no match"
        );

        let mut made = tree();
        away(&mut made.pools[1].common);
        assert!(
            spec(&made).listeners[0].l7policies.is_empty(),
            "nowhere to send to"
        );

        let mut made = tree();
        away(&mut made.pools[0].common);
        assert_eq!(spec(&made).listeners[0].default_pool_id, None);
        assert_eq!(pools(&made), [id(12)]);

        let mut made = tree();
        away(&mut made.pools[0].members[0].common);
        assert!(spec(&made).pools[0].members.is_empty());

        let mut made = tree();
        made.pools[0].health_monitor = Some(monitored());
        away(&mut made.pools[0].health_monitor.as_mut().unwrap().common);
        assert!(spec(&made).pools[0].health_monitor.is_none());
    }
    let keeps: &[Change] = &[
        |tree| tree.listeners[0].common.provisioning_status = ProvisioningStatus::Error,
        |tree| tree.listeners[0].common.provisioning_status = ProvisioningStatus::PendingCreate,
        |tree| tree.pools[0].common.provisioning_status = ProvisioningStatus::PendingUpdate,
    ];
    for change in keeps {
        let mut made = tree();
        change(&mut made);
        assert_eq!(
            spec(&made),
            spec(&tree()),
            "other statuses mean nothing to a host"
        );
    }
}

#[test]
fn a_load_balancer_that_is_off_keeps_its_addresses() {
    let mut made = tree();
    made.load_balancer.common.admin_state_up = false;
    let made = spec(&made);
    assert!(!made.enabled);
    assert_eq!(made.vips.len(), 2);
}

#[test]
fn a_pool_nobody_uses_is_carried_only_when_monitored() {
    let mut made = tree();
    made.pools.push(pool(13));
    assert_eq!(pools(&made), [id(11), id(12)]);
    made.pools[2].health_monitor = Some(monitored());
    assert_eq!(pools(&made), [id(11), id(12), id(13)]);
}

#[test]
fn what_pool_and_flavor_say_decides_on_the_path() {
    let mut made = tree();
    made.load_balancer.additional_vips.clear();
    made.listeners[0].protocol = ListenerProtocol::Tcp;
    made.listeners[0].timeout_member_connect = None;
    made.pools[0].protocol = PoolProtocol::Tcp;
    let of = |tree: &Tree| (spec(tree).listeners[0].path, path(tree, &tree.listeners[0]));
    assert_eq!(of(&made), (ListenerPath::Xdp, PathReason::Flows));
    let mut tls = made.clone();
    tls.pools[0].tls_enabled = true;
    assert_eq!(of(&tls), (ListenerPath::Amphora, PathReason::MemberTls));
    tls.pools[0].common.admin_state_up = false;
    assert_eq!(path(&tls, &tls.listeners[0]), PathReason::Flows, "not used");
    let mut proxy = made.clone();
    proxy.load_balancer.placement.l4_path = L4Path::Proxy;
    assert_eq!(of(&proxy), (ListenerPath::Amphora, PathReason::FlavorProxy));
    made.load_balancer.additional_vips = vec![vip("2001:db8::10", 0xa6)];
    assert_eq!(of(&made).1, PathReason::MemberFamilies);
    made.pools[0].members.push(member(112, "2001:db8::50"));
    assert_eq!(of(&made).1, PathReason::Flows);
}

#[test]
fn a_member_is_reached_by_its_subnet_or_the_vip_of_its_family() {
    let mut made = tree();
    made.pools[0].members = vec![
        member(1, "192.0.2.50"),
        member(2, "2001:db8::50"),
        Member {
            subnet_id: Some(id(MEMBER_SUBNET)),
            ..member(3, "198.51.100.50")
        },
    ];
    let made = spec(&made);
    let subnets: Vec<SubnetId> = made.pools[0].members.iter().map(|m| m.subnet_id).collect();
    assert_eq!(subnets, [id(VIP_SUBNET), id(0xa6), id(MEMBER_SUBNET)]);
    assert!(
        made.subnets
            .iter()
            .any(|subnet| subnet.id == id(MEMBER_SUBNET))
    );
    let address: IpAddr = "2001:db8::50".parse().unwrap();
    assert_eq!(made.pools[0].members[1].address, address);
}

#[test]
fn last_known_health_is_told_for_monitored_pools_only() {
    let mut made = tree();
    assert_eq!(spec(&made).pools[0].members[0].last_known_up, None);
    made.pools[0].health_monitor = Some(monitored());
    assert_eq!(spec(&made).pools[0].members[0].last_known_up, Some(false));
}

#[test]
fn only_headers_that_are_switched_on_are_inserted() {
    let mut made = tree();
    made.listeners[0].insert_headers = BTreeMap::from(
        [
            ("X-Forwarded-For", "TRUE"),
            ("X-Forwarded-Port", "false"),
            ("X-Forwarded-Proto", "x"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    assert_eq!(spec(&made).listeners[0].insert_headers, ["X-Forwarded-For"]);
}

#[test]
fn a_listener_without_its_certificate_does_not_stop_the_others() {
    let mut made = tree();
    let mut tls = listener(2, ListenerProtocol::TerminatedHttps, Some(11));
    tls.default_tls_container_ref = Some("a".to_owned());
    tls.sni_container_refs = vec!["b".to_owned()];
    made.listeners.push(tls);
    // Left over from what it was before: not terminated, so not needed.
    made.listeners[0].sni_container_refs = vec!["c".to_owned()];
    let needed = secret_refs(&made).certificates;
    assert_eq!(needed, ["a", "b"].map(str::to_owned).into());

    let built = build_with(&made, &[certificate("a"), certificate("z")]).unwrap();
    assert_eq!(built.spec.listeners.len(), 1);
    assert_eq!(built.unservable.len(), 1);
    assert_eq!(built.unservable[0].listener_id, id(2));
    assert!(built.unservable[0].reason.contains('b'));
    assert!(built.spec.certificates.is_empty());

    let built = build_with(&made, &["b", "a", "z"].map(certificate)).unwrap();
    assert!(built.unservable.is_empty());
    let named: Vec<_> = built
        .spec
        .certificates
        .iter()
        .map(|one| one.id.as_str())
        .collect();
    assert_eq!(named, ["a", "b"]);
}

#[test]
fn tls_comes_with_its_secrets_or_not_at_all() {
    let mut made = tree();
    let mut tls = listener(2, ListenerProtocol::TerminatedHttps, Some(11));
    tls.default_tls_container_ref = Some("a".to_owned());
    tls.client_ca_tls_container_ref = Some("ca".to_owned());
    tls.client_authentication = ClientAuthentication::Mandatory;
    tls.hsts_max_age = Some(300);
    made.listeners.push(tls);
    made.pools[0].tls_enabled = true;
    made.pools[0].tls_container_ref = Some("b".to_owned());
    let certificates = ["a", "b"].map(certificate);
    let built = build_with(&made, &certificates).unwrap();
    assert_eq!(built.unservable, []);
    let tls = &built.spec.listeners[1].tls;
    assert_eq!(tls.client_ca.as_deref(), Some("CA"));
    assert_eq!(tls.hsts.map(|hsts| hsts.max_age), Some(300));
    assert_eq!(built.spec.certificates.len(), 2);
    let tls = built.spec.pools[0].tls.as_ref().unwrap();
    assert_eq!(tls.client_certificate.as_deref(), Some("b"));

    // A pool that cannot be checked takes every listener that sends to it with it.
    made.pools[0].ca_tls_container_ref = Some("gone".to_owned());
    let built = build_with(&made, &certificates).unwrap();
    assert_eq!(built.spec.listeners, []);
    assert_eq!(built.unservable.len(), 2);
    assert!(built.unservable[0].reason.contains("authority gone"));
}

#[test]
fn a_tls_listener_that_gave_its_certificates_up_is_left_out_alone() {
    let mut made = tree();
    let bare = listener(2, ListenerProtocol::TerminatedHttps, Some(11));
    made.listeners.push(bare);
    let built = build_with(&made, &[]).unwrap();
    assert_eq!(built.spec.listeners.len(), 1);
    assert_eq!(built.unservable.len(), 1);
    assert!(built.unservable[0].reason.contains("no certificate"));
}

#[test]
fn a_subnet_that_left_the_configuration_is_named() {
    let mut made = tree();
    made.load_balancer.vip.subnet_id = id(0xdead);
    let error = build_with(&made, &[]).unwrap_err();
    assert_eq!(error, SpecError::UnknownSubnet(id(0xdead)));
}
