//! References to CAs and to lists of revoked certificates: read, and judged against each other.

use serde_json::{Value, json};

use crate::{
    ctx::{AuthorityFact, RevocationListFact},
    testing::{AUTHORITY, CERTIFICATE, REVOCATION_LIST, World, outcome, world},
};

/// What is not refused by these rules is refused by the data path, which asks no client for a
/// certificate.
const ACCEPTED: u16 = 501;

const OTHER: &str = "other-ca";

fn tls(world: &mut World, more: Value) -> u16 {
    let base = json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": CERTIFICATE});
    outcome(&world.listener(crate::testing::merged(base, more)))
}

#[test]
fn a_list_of_revoked_certificates_counts_only_with_the_signature_of_its_authority() {
    let table: &[(Value, u16)] = &[
        (json!({"client_ca_tls_container_ref": AUTHORITY}), ACCEPTED),
        (json!({"client_ca_tls_container_ref": "nowhere"}), 400),
        // A certificate with its key is no CA.
        (json!({"client_ca_tls_container_ref": CERTIFICATE}), 400),
        (
            json!({"client_ca_tls_container_ref": AUTHORITY, "client_crl_container_ref": REVOCATION_LIST}),
            ACCEPTED,
        ),
        (
            json!({"client_ca_tls_container_ref": OTHER, "client_crl_container_ref": REVOCATION_LIST}),
            400,
        ),
        (
            json!({"client_ca_tls_container_ref": AUTHORITY, "client_crl_container_ref": "nowhere"}),
            400,
        ),
        (json!({"client_crl_container_ref": REVOCATION_LIST}), 400),
    ];
    for (fields, expected) in table {
        assert_eq!(tls(&mut world(), fields.clone()), *expected, "{fields}");
    }
}

#[test]
fn the_same_holds_towards_members() {
    let table: &[(Value, u16)] = &[
        (json!({"tls_container_ref": CERTIFICATE}), ACCEPTED),
        (json!({"tls_container_ref": "broken"}), 400),
        (json!({"ca_tls_container_ref": "nowhere"}), 400),
        (
            json!({"ca_tls_container_ref": AUTHORITY, "crl_container_ref": REVOCATION_LIST}),
            ACCEPTED,
        ),
        (
            json!({"ca_tls_container_ref": OTHER, "crl_container_ref": REVOCATION_LIST}),
            400,
        ),
        (json!({"crl_container_ref": REVOCATION_LIST}), 400),
    ];
    for (fields, expected) in table {
        assert_eq!(
            outcome(&world().pool(fields.clone())),
            *expected,
            "{fields}"
        );
    }
}

#[test]
fn at_put_the_stored_half_is_judged_with_the_new_one() {
    let mut world = world();
    let id = world.pool(json!({})).unwrap();
    world.settle();
    // As a provider that verifies members would have left it.
    let pool = world
        .tree
        .pools
        .iter_mut()
        .find(|pool| pool.id == id)
        .unwrap();
    pool.ca_tls_container_ref = Some(OTHER.to_owned());
    let put = |world: &mut World, fields: Value| outcome(&world.put_pool(id, fields));
    assert_eq!(
        put(&mut world, json!({"crl_container_ref": REVOCATION_LIST})),
        400
    );
    let both = json!({"crl_container_ref": REVOCATION_LIST, "ca_tls_container_ref": AUTHORITY});
    assert_eq!(put(&mut world, both), ACCEPTED);
}

#[test]
fn everything_that_cannot_be_read_is_named_at_once() {
    let mut world = world();
    world.facts.authorities.insert(
        "bad-ca".to_owned(),
        AuthorityFact::Unreadable {
            reason: "no certificate in it".to_owned(),
        },
    );
    world.facts.revocation_lists.insert(
        "bad-crl".to_owned(),
        RevocationListFact::Unreadable {
            reason: "no CRL in it".to_owned(),
        },
    );
    let fault = world
        .listener(
            json!({"protocol": "TERMINATED_HTTPS", "default_tls_container_ref": "broken",
            "client_ca_tls_container_ref": "bad-ca", "client_crl_container_ref": "bad-crl"}),
        )
        .unwrap_err();
    assert!(
        fault.public().contains(
            "broken (not a certificate), bad-ca (no certificate in it), bad-crl (no CRL in it)"
        ),
        "{fault}"
    );
}
