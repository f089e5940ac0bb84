//! Layers, and what is said about wrong settings.

use super::*;

const NETWORKS: &str = r#"
[[networks]]
id = "3f0c9a52-6d1e-4a0b-8b51-0d9f2c7e4a11"
name = "public"
segment = 1
[[networks.subnets]]
id = "5a6be2f5-7a02-4d51-9d3c-0f8a5d7b1c22"
name = "public-v4"
cidr = "192.0.2.0/24"
gateway_ip = "192.0.2.1"
allocation_pools = [{ start = "192.0.2.10", end = "192.0.2.200" }]
"#;

fn load(
    text: &str,
    environment: &[(&str, &str)],
    settings: &[&str],
) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lb.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&Sources {
        file: Some(file),
        settings: settings.iter().map(|&text| text.to_owned()).collect(),
        environment: environment
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        simulated: false,
    })
}

#[test]
fn later_layers_win_and_the_rest_stays() {
    let file = "[api]\nlisten = \"127.0.0.1:1\"\ndefault_project = \"a\"\n[controller]\npending_timeout_secs = 5";
    let config = load(
        file,
        &[
            ("LBAAS_API__LISTEN", "127.0.0.1:2"),
            ("LBAAS_STATE_DIR", "/tmp/state"),
            ("LBAAS_AGENT__HOST", "007"),
            ("LBAAS_LOG", "debug"),
            ("HOME", "/root"),
        ],
        &[
            "api.listen=127.0.0.1:3",
            "agent.drain_timeout_secs = 7",
            "agent.spare_amphorae = 3",
        ],
    )
    .unwrap();
    assert_eq!(config.api.listen.port(), 3);
    assert_eq!(config.api.default_project, "a");
    assert_eq!(config.controller.pending_timeout.as_secs(), 5);
    assert_eq!(config.state_dir, Path::new("/tmp/state"));
    assert_eq!(config.agent.host, "007");
    assert_eq!(config.agent.credentials, Path::new("/tmp/state/agents/007"));
    assert_eq!(config.agent.drain_timeout.as_secs(), 7);
    assert_eq!(config.agent.spare_amphorae, 3);
}

#[test]
fn interfaces_name_networks_by_name_or_id() {
    let text = format!("{NETWORKS}\n[[agent.interfaces]]\nname = \"up0\"\nnetworks = [\"public\"]");
    let by_name = load(&text, &[], &[]).unwrap().agent.interfaces;
    let id = "3f0c9a52-6d1e-4a0b-8b51-0d9f2c7e4a11";
    let by_id = load(
        "",
        &[(
            "LBAAS_AGENT__INTERFACES",
            &format!("[{{name=\"up0\", networks=[\"{id}\"]}}]"),
        )],
        &[],
    )
    .unwrap()
    .agent
    .interfaces;
    assert_eq!(by_name, by_id);
    assert_eq!(by_name[0].networks[0].to_string(), id);
}

/// Wrong files, and what the complaint must contain.
const WRONG: &[(&str, &[&str])] = &[
    (
        "[api]\nlisten = 5",
        &["lb.toml: api.listen = 5", "127.0.0.1:9876"],
    ),
    (
        "[api]\nlisten = \"nowhere\"",
        &["api.listen = \"nowhere\"", "address and port"],
    ),
    (
        "[api]\nlisten = \"192.0.2.1:80\"",
        &["api.listen", "loopback"],
    ),
    (
        "[api]\nlisen = \"127.0.0.1:1\"",
        &["api.lisen", "unknown key", "listen, auth_strategy"],
    ),
    (
        "[api]\nauth_strategy = \"kerberos\"",
        &["auth_strategy = \"kerberos\"", "noauth"],
    ),
    (
        "[api]\ndefault_project = \"\"",
        &["default_project = \"\"", "32 hexadecimal"],
    ),
    (
        "[quotas]\ndefault_pool_quota = -2",
        &["quotas.default_pool_quota = -2", "-1 to 2000000000"],
    ),
    (
        "[quotas]\ndefault_pools = 1",
        &["quotas.default_pools", "unknown key", "default_pool_quota"],
    ),
    (
        "[[providers]]\nname = \"amphora\"",
        &["name = \"amphora\"", "a name of its own"],
    ),
    (
        "[api]\ndefault_provider = \"ovn\"",
        &["default_provider = \"ovn\"", "amphora"],
    ),
    ("api = 1", &["api = 1", "[api]"]),
    ("[apis]", &["lb.toml: apis", "unknown key", "state_dir"]),
    ("state_dir = \"var\"", &["state_dir = \"var\"", "absolute"]),
    (
        "[controller]\npending_timeout_secs = 0",
        &["pending_timeout_secs = 0", "1 to 86400"],
    ),
    (
        "[controller]\npending_timeout_secs = \"5\"",
        &["pending_timeout_secs = \"5\"", "whole number"],
    ),
    (
        "[controller]\nloadbalancer_topology = \"single\"",
        &["loadbalancer_topology = \"single\"", "ACTIVE_STANDBY"],
    ),
    (
        "[members]\ndeny_cidrs = [\"x\"]",
        &["members.deny_cidrs = \"x\"", "10.0.0.0/8"],
    ),
    (
        "[members]\ndeny_cidrs = \"x\"",
        &["members.deny_cidrs = \"x\"", "list"],
    ),
    ("[networks]\nid = 1", &["networks", "[[networks]]"]),
    (
        "[[networks]]\nname = \"a\"",
        &["networks[0].id", "missing", "UUID"],
    ),
    (
        "[agent]\nhost = \"a/b\"",
        &["agent.host = \"a/b\"", "letters"],
    ),
    (
        "[agent]\nserver = \"a\"",
        &["agent.server = \"a\"", "host:port"],
    ),
    (
        "[agent]\nedge_netns = \"a/b\"",
        &["agent.edge_netns", "/run/netns"],
    ),
    (
        "[[agent.interfaces]]\nname = \"up0\"\nnetworks = [\"x\"]",
        &["agent.interfaces[0].networks = \"x\"", "[[networks]]"],
    ),
    (
        "[[agent.interfaces]]\nname = \"an-interface-too-long\"",
        &["agent.interfaces[0].name"],
    ),
    ("state_dir =", &["lb.toml: line 1", "not TOML"]),
];

#[test]
fn every_complaint_names_place_key_value_and_what_is_right() {
    for (text, wanted) in WRONG {
        let told = load(text, &[], &[]).unwrap_err().to_string();
        for part in *wanted {
            assert!(told.contains(part), "{text:?}: {told}");
        }
    }
}

#[test]
fn complaints_about_other_layers_name_them() {
    let told = load("", &[("LBAAS_API__LISTEN", "x")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("environment variable LBAAS_API__LISTEN: api.listen = x"),
        "{told}"
    );
    let told = load("", &[("LBAAS_NO__SUCH", "x")], &[])
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("LBAAS_NO__SUCH") && told.contains("unknown key"),
        "{told}"
    );
    let told = load("", &[], &["api.listen=x"]).unwrap_err().to_string();
    assert!(told.starts_with("flag --set: api.listen = x"), "{told}");
    let told = load("", &[], &["api.listen"]).unwrap_err().to_string();
    assert!(told.contains("section.key=value"), "{told}");
}

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let sources = Sources {
        file: Some(PathBuf::from("/nowhere/lb.toml")),
        ..Sources::default()
    };
    let told = Config::load(&sources).unwrap_err().to_string();
    assert!(told.starts_with("/nowhere/lb.toml: "), "{told}");
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let text = format!(
        "{NETWORKS}\n[members]\ndeny_cidrs = [\"10.0.0.0/8\"]\n[[agent.interfaces]]\nname = \"up0\"\nnetworks = [\"public\"]"
    );
    let first = load(&text, &[], &[]).unwrap().to_toml();
    let second = load(&first, &[], &[]).unwrap().to_toml();
    assert_eq!(first, second);
    assert!(
        first.contains("192.0.2.10") && first.contains("10.0.0.0/8"),
        "{first}"
    );
}

#[test]
fn a_simulated_host_has_networks_and_free_ports_unless_told_otherwise() {
    let simulated = |environment: &[(&str, &str)]| {
        Config::load(&Sources {
            file: None,
            settings: Vec::new(),
            environment: environment
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            simulated: true,
        })
        .unwrap()
    };
    let config = simulated(&[]);
    assert_eq!(config.controller.sync_listen.port(), 0);
    assert_eq!(config.network_driver, NetworkDriver::Noop);
    let config = simulated(&[("LBAAS_NETWORK__DRIVER", "embedded")]);
    assert_eq!(config.network_driver, NetworkDriver::Embedded);
    assert_eq!(config.networks.len(), 2);
    let id = "3f0c9a52-6d1e-4a0b-8b51-0d9f2c7e4a11";
    let config = simulated(&[
        ("LBAAS_CONTROLLER__SYNC_LISTEN", "127.0.0.1:7"),
        (
            "LBAAS_NETWORKS",
            &format!("[{{id=\"{id}\", name=\"n\", segment=1}}]"),
        ),
    ]);
    assert_eq!(config.controller.sync_listen.port(), 7);
    assert_eq!(config.network_driver, NetworkDriver::Embedded);
    assert_eq!(config.networks.len(), 1);
}

#[test]
fn the_network_driver_is_one_of_two() {
    let config = load("", &[("LBAAS_NETWORK__DRIVER", "noop")], &[]).unwrap();
    assert_eq!(config.network_driver, NetworkDriver::Noop);
    assert_eq!(
        load("", &[], &[]).unwrap().network_driver,
        NetworkDriver::Embedded
    );
    let rules = load("[network]\nallow_vip_port_id = false", &[], &[]);
    assert!(!rules.unwrap().vip_rules.allow_port_id);
    let error = load("[network]\ndriver = \"neutron\"", &[], &[]).unwrap_err();
    assert!(error.to_string().contains("network.driver"), "{error}");
}

#[test]
fn the_database_is_set_by_environment_and_its_password_never_shown() {
    let url = "postgresql://lb:s3cret@db.example:5433/lbaas";
    let config = load("", &[("LBAAS_DATABASE__URL", url)], &[]).unwrap();
    let shown = config.to_toml();
    assert!(
        shown.contains("url = \"postgresql://lb@db.example:5433/lbaas\""),
        "{shown}"
    );
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(!format!("{config:?}").contains("s3cret"));
    let wrong = "mysql://lb:s3cret@db/lbaas";
    let error = load("", &[("LBAAS_DATABASE__URL", wrong)], &[]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("database.url"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn what_the_deployment_takes_is_read_shown_and_read_again() {
    let file = "[api]\nallow_ping_health_monitors = false\nminimum_tls_version = \"TLSv1.2\"\n\
                udp_connect_min_interval_health_monitor = -1\n\
                tls_cipher_prohibit_list = [\"AES128-SHA\"]";
    let config = load(
        file,
        &[("LBAAS_API__ALLOW_PROMETHEUS_LISTENERS", "false")],
        &[],
    )
    .unwrap();
    let deployment = &config.api.deployment;
    assert!(deployment.tls_terminated_listeners);
    assert!(!deployment.ping_health_monitors && !deployment.prometheus_listeners);
    assert_eq!(deployment.udp_connect_delay_min, -1);
    assert_eq!(deployment.prohibited_ciphers, ["AES128-SHA"]);
    let again = load(&config.to_toml(), &[], &[]).unwrap();
    assert_eq!(again.api.deployment, *deployment);
    for bad in [
        "[api]\nminimum_tls_version = \"TLSv1.4\"",
        "[api]\nminimum_tls_version = \"TLSv1.3\"",
        "[api]\ntls_cipher_prohibit_list = [\"TLS_AES_128_GCM_SHA256\"]",
    ] {
        assert!(load(bad, &[], &[]).is_err(), "{bad}");
    }
}

#[test]
fn the_front_door_is_read_shown_and_read_again() {
    let file = "[api]\nmount_prefix = \"/lb/\"\napi_base_uri = \"https://a.example\"\n\
                healthcheck_enabled = false\npagination_max_limit = 50\nsettle_wait_ms = 0\n\
                allow_sorting = false\nmax_request_body_size = 114688\n\
                [cors]\nallowed_origin = [\"https://h.example\"]";
    let config = load(file, &[("LBAAS_API__JSON_DEPTH_MAX", "20")], &[]).unwrap();
    let front = &config.api.front;
    assert_eq!(front.door.mount_prefix, "/lb");
    assert_eq!(front.door.json_depth_max, 20);
    assert!(!front.door.healthcheck && !front.door.listing.sorting);
    assert!(front.door.listing.filtering && !front.door.trusts_proxy_headers);
    assert_eq!((front.page_items_max, front.body_bytes_max), (50, 114_688));
    assert!(front.settle_wait.is_zero());
    assert_eq!(front.door.allowed_origins, ["https://h.example"]);
    let again = load(&config.to_toml(), &[], &[]).unwrap();
    assert_eq!(again.api.front.door, front.door);
    for (bad, key) in [
        ("[api]\nmount_prefix = \"/v2/x\"", "api.mount_prefix"),
        ("[api]\nmount_prefix = \"x\"", "api.mount_prefix"),
        ("[api]\napi_base_uri = \"ftp://x\"", "api.api_base_uri"),
        (
            "[api]\nmax_request_body_size = 1",
            "api.max_request_body_size",
        ),
        (
            "[cors]\nallowed_origin = [\"horizon\"]",
            "cors.allowed_origin",
        ),
        ("[cors]\nallowed = []", "cors.allowed"),
    ] {
        assert_eq!(load(bad, &[], &[]).unwrap_err().key, key, "{bad}");
    }
}

#[test]
fn quotas_and_providers_are_settings() {
    let text = format!(
        "{NETWORKS}[[providers]]\nname = \"edge\"\n[quotas]\ndefault_member_quota = 50\n\
         [api]\ndefault_provider = \"edge\"\n"
    );
    let environment = [("LBAAS_QUOTAS__DEFAULT_POOL_QUOTA", "7")];
    let config = load(&text, &environment, &[]).unwrap();
    assert_eq!((config.quotas.member, config.quotas.pool), (50, 7));
    assert_eq!((config.quotas.loadbalancer, config.quotas.l7rule), (-1, -1));
    let names: Vec<&str> = config.providers.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["amphora", "octavia", "edge"]);
    let shown = load(&config.to_toml(), &[], &[]).unwrap();
    assert_eq!(
        (shown.quotas, shown.providers),
        (config.quotas, config.providers)
    );
}

#[test]
fn the_sample_is_read_and_has_finite_quotas() {
    let sample = include_str!("../../../packaging/lbaas.toml.sample");
    let config = load(&format!("{sample}\n{NETWORKS}"), &[], &[]).unwrap();
    assert_eq!(config.quotas.finite().count(), 7);
}
