//! Cipher lists, versions and ALPN of listeners and pools (contract 2.2, 2.3, 8.3).

use serde_json::{Value, json};

use crate::{
    capability::CapabilitySet,
    testing::{CERTIFICATE, World, merged, outcome, world},
};

const SUITES: &str = "ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256:DHE-RSA-AES128-GCM-SHA256";

fn capable() -> World {
    let mut world = world();
    world.facts.capabilities = CapabilitySet::all();
    world
}

fn tls(fields: Value) -> Value {
    merged(
        json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": CERTIFICATE}),
        fields,
    )
}

/// Fields, and the answer on a TLS listener or pool, on another one at POST, and at PUT.
fn table() -> Vec<(Value, u16, u16, u16)> {
    vec![
        (json!({"tls_ciphers": SUITES}), 200, 200, 200),
        (json!({"tls_ciphers": null}), 200, 200, 200),
        (json!({"tls_ciphers": "BOGUS"}), 400, 400, 400),
        (json!({"tls_ciphers": "A B"}), 400, 400, 400),
        (
            json!({"tls_ciphers": "TLS_AES_128_GCM_SHA256"}),
            400,
            200,
            400,
        ),
        (
            json!({"tls_ciphers": "TLS_AES_128_GCM_SHA256", "tls_versions": ["TLSv1.3"]}),
            200,
            200,
            200,
        ),
        (
            json!({"tls_ciphers": "DHE-RSA-AES128-GCM-SHA256"}),
            400,
            200,
            400,
        ),
        (json!({"tls_versions": []}), 400, 200, 400),
        (json!({"tls_versions": ["TLSv9"]}), 400, 200, 400),
        (json!({"tls_versions": ["TLSv1", "TLSv1.2"]}), 200, 200, 200),
        (json!({"tls_versions": ["TLSv1.1"]}), 501, 200, 501),
        (json!({"alpn_protocols": []}), 400, 200, 400),
        (json!({"alpn_protocols": ["bogus"]}), 400, 400, 400),
        (json!({"alpn_protocols": ["http/1.0"]}), 200, 200, 200),
    ]
}

#[test]
fn listeners_answer_as_in_the_table() {
    for (fields, spoken, other, put) in table() {
        assert_eq!(
            outcome(&capable().listener(tls(fields.clone()))),
            spoken,
            "{fields}"
        );
        assert_eq!(
            outcome(&capable().listener(fields.clone())),
            other,
            "{fields}"
        );
        let mut world = capable();
        let id = world.listener(tls(json!({}))).unwrap();
        world.settle();
        assert_eq!(
            outcome(&world.put_listener(id, fields.clone())),
            put,
            "{fields}"
        );
    }
}

#[test]
fn pools_answer_as_in_the_table() {
    let enabled = json!({"tls_enabled": true});
    for (fields, spoken, other, put) in table() {
        let over = merged(enabled.clone(), fields.clone());
        assert_eq!(outcome(&capable().pool(over)), spoken, "{fields}");
        assert_eq!(outcome(&capable().pool(fields.clone())), other, "{fields}");
        let mut world = capable();
        let id = world.pool(enabled.clone()).unwrap();
        world.settle();
        assert_eq!(
            outcome(&world.put_pool(id, fields.clone())),
            put,
            "{fields}"
        );
    }
}

#[test]
fn what_cannot_be_offered_is_kept_and_shown() {
    let mut world = capable();
    let id = world.listener(tls(json!({"tls_ciphers": SUITES}))).unwrap();
    let listener = world.tree.listener(id).unwrap();
    assert_eq!(listener.tls_ciphers.as_deref(), Some(SUITES));
    assert_eq!(
        crate::tls::not_offered(SUITES),
        ["DHE-RSA-AES128-GCM-SHA256"]
    );
}
