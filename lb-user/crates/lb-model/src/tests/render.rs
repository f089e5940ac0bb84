//! Answers: exactly the contract's keys, the expanded tree, the status tree.

use serde_json::{Value, json};

use crate::{
    render,
    testing::{CERTIFICATE, World, posted, world},
};

/// The keys of an object, sorted, as one line.
fn keys(value: &Value) -> String {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys.join(" ")
}

fn sorted(keys: &str) -> String {
    let mut keys: Vec<_> = keys.split_whitespace().collect();
    keys.sort_unstable();
    keys.join(" ")
}

const COMMON: &str = "id provisioning_status operating_status admin_state_up project_id tenant_id \
    created_at updated_at tags";

fn full() -> World {
    posted(json!({
        "listeners": [{"protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "p"},
            "l7policies": [{"action": "REJECT",
                "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/x"}]}]}],
        "pools": [{"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "members": [{"address": "192.0.2.20", "protocol_port": 80}],
            "healthmonitor": {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1,
                "http_version": 1.1}},
            {"name": "q", "protocol": "TCP", "lb_algorithm": "SOURCE_IP"}],
    }))
    .unwrap()
}

#[test]
fn every_object_has_exactly_the_contract_s_keys() {
    let world = full();
    let tree = &world.tree;
    let (listener, pool) = (&tree.listeners[0], &tree.pools[0]);
    let policy = &listener.l7policies[0];
    let monitor = pool.health_monitor.as_ref().unwrap();
    let table = [
        (
            render::load_balancer(tree),
            "name description vip_address vip_port_id vip_subnet_id \
            vip_network_id vip_sg_ids additional_vips listeners pools provider flavor_id \
            vip_qos_policy_id availability_zone vip_vnic_type",
        ),
        (
            render::listener(tree, listener),
            "name description protocol protocol_port \
            connection_limit default_tls_container_ref sni_container_refs default_pool_id \
            l7policies insert_headers loadbalancers timeout_client_data timeout_member_connect \
            timeout_member_data timeout_tcp_inspect client_ca_tls_container_ref \
            client_authentication client_crl_container_ref allowed_cidrs tls_ciphers tls_versions \
            alpn_protocols hsts_max_age hsts_include_subdomains hsts_preload",
        ),
        (
            render::pool(tree, pool),
            "name description protocol lb_algorithm session_persistence \
            loadbalancers listeners members tls_container_ref ca_tls_container_ref \
            crl_container_ref tls_enabled tls_ciphers tls_versions alpn_protocols healthmonitor_id",
        ),
        (
            render::pool(tree, &tree.pools[1]),
            "name description protocol lb_algorithm \
            session_persistence loadbalancers listeners members tls_container_ref \
            ca_tls_container_ref crl_container_ref tls_enabled tls_ciphers tls_versions \
            alpn_protocols",
        ),
        (
            render::member(tree, &pool.members[0]),
            "name address protocol_port weight backup \
            subnet_id monitor_address monitor_port vnic_type",
        ),
        (
            render::health_monitor(tree, pool, monitor),
            "name type delay timeout max_retries \
            max_retries_down http_method url_path expected_codes pools http_version domain_name",
        ),
        (
            render::l7policy(tree, listener, policy),
            "name description action listener_id \
            redirect_pool_id redirect_url redirect_prefix position rules redirect_http_code",
        ),
        (
            render::l7rule(tree, &policy.rules[0]),
            "type compare_type key value invert",
        ),
    ];
    for (value, own) in table {
        assert_eq!(keys(&value), sorted(&format!("{COMMON} {own}")));
    }
    // Contract section 14.
    let count = |value: Value| value.as_object().unwrap().len();
    assert_eq!(count(render::load_balancer(tree)), 24);
    assert_eq!(count(render::listener(tree, listener)), 34);
    assert_eq!(count(render::pool(tree, pool)), 25);
    assert_eq!(count(render::member(tree, &pool.members[0])), 18);
    assert_eq!(count(render::health_monitor(tree, pool, monitor)), 21);
    assert_eq!(count(render::l7policy(tree, listener, policy)), 19);
    assert_eq!(count(render::l7rule(tree, &policy.rules[0])), 14);
}

#[test]
fn a_minimal_listener_shows_the_defaults() {
    let mut world = world();
    let id = world.listener(json!({})).unwrap();
    let shown = render::listener(&world.tree, world.tree.listener(id).unwrap());
    let expected = json!({"connection_limit": -1, "allowed_cidrs": null, "insert_headers": {},
        "sni_container_refs": [], "default_pool_id": null, "l7policies": [], "tags": [],
        "timeout_client_data": 50_000, "timeout_member_connect": 5_000,
        "timeout_member_data": 50_000, "timeout_tcp_inspect": 0, "tls_ciphers": null,
        "client_authentication": "NONE", "hsts_max_age": null, "hsts_preload": false,
        "provisioning_status": "PENDING_CREATE", "operating_status": "OFFLINE",
        "updated_at": null, "protocol": "HTTP", "admin_state_up": true, "tenant_id": "p"});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&shown[key], value, "{key}");
    }
    assert_eq!(shown["loadbalancers"], json!([{"id": world.tree.id()}]));
    assert_eq!(
        shown["created_at"], "1970-01-01T00:00:03",
        "no fraction, no offset"
    );
}

#[test]
fn a_tls_listener_shows_its_materialised_defaults() {
    let mut world = world();
    let id = world
        .listener(
            json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": CERTIFICATE,
            "connection_limit": null}),
        )
        .unwrap();
    let shown = render::listener(&world.tree, world.tree.listener(id).unwrap());
    assert_eq!(shown["tls_versions"], json!(["TLSv1.2", "TLSv1.3"]));
    assert_eq!(
        shown["alpn_protocols"],
        json!(["h2", "http/1.1", "http/1.0"])
    );
    assert!(
        shown["tls_ciphers"]
            .as_str()
            .unwrap()
            .starts_with("TLS_AES_128_GCM_SHA256:TLS_AES_256")
    );
    assert_eq!(
        shown["connection_limit"],
        Value::Null,
        "null at create is stored"
    );
}

#[test]
fn the_answer_to_a_create_is_expanded() {
    let world = full();
    let shown = render::load_balancer_expanded(&world.tree);
    let listener = &shown["listeners"][0];
    assert!(listener.get("loadbalancers").is_none());
    assert_eq!(listener["l7policies"][0]["rules"][0]["value"], "/x");
    assert_eq!(listener["l7policies"][0]["position"], 1);
    let pool = &shown["pools"][0];
    assert!(pool.get("loadbalancers").is_none() && pool.get("healthmonitor_id").is_none());
    assert_eq!(pool["members"][0]["address"], "192.0.2.20");
    assert_eq!(pool["healthmonitor"]["http_version"], json!(1.1));
    assert_eq!(shown["pools"][1]["healthmonitor"], Value::Null);
    let bare = render::load_balancer(&world.tree);
    assert_eq!(keys(&bare["listeners"][0]), "id");
}

#[test]
fn the_status_tree_shows_what_listeners_reach() {
    let world = full();
    let shown = render::status_tree(&world.tree);
    let root = &shown["loadbalancer"];
    assert_eq!(
        keys(root),
        "id listeners name operating_status provisioning_status"
    );
    let listener = &root["listeners"][0];
    assert_eq!(
        keys(listener),
        "id name operating_status pools provisioning_status"
    );
    assert_eq!(
        listener["pools"].as_array().unwrap().len(),
        1,
        "the unattached pool is not there"
    );
    let pool = &listener["pools"][0];
    assert_eq!(pool["health_monitor"]["type"], "HTTP");
    assert_eq!(pool["members"][0]["protocol_port"], 80);
    assert_eq!(
        keys(&pool["members"][0]),
        "address id name operating_status protocol_port provisioning_status"
    );
}

#[test]
fn statistics_are_sums_and_zeros() {
    let empty = render::stats([]);
    assert_eq!(empty["bytes_in"], 0);
    let report = crate::spec::ListenerReport {
        id: world().tree.id().0.into(),
        bytes_in: 1,
        bytes_out: 2,
        active_connections: 3,
        total_connections: 4,
        request_errors: 5,
    };
    let sum = render::stats([&report, &report]);
    assert_eq!(
        sum,
        json!({"bytes_in": 2, "bytes_out": 4, "active_connections": 6,
        "total_connections": 8, "request_errors": 10})
    );
}
