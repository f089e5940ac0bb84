//! L7 policies and rules: normalisation, positions, the type and comparison table, locks.

use serde_json::{Value, json};

use crate::{
    enums::{
        L7PolicyAction as Action, L7RuleCompareType as Compare, L7RuleType as Kind,
        ProvisioningStatus as Status,
    },
    id::{L7PolicyId, ListenerId, PoolId},
    l7_rules,
    testing::{World, code, outcome, world},
};

fn with_listener() -> (World, ListenerId, PoolId) {
    let mut world = world();
    let listener = world.listener(json!({})).unwrap();
    world.settle();
    let pool = world.pool(json!({})).unwrap();
    world.settle();
    (world, listener, pool)
}

fn with_policy() -> (World, L7PolicyId) {
    let (mut world, listener, _) = with_listener();
    let policy = world.policy(listener, json!({})).unwrap();
    world.settle();
    (world, policy)
}

fn order(world: &World) -> Vec<&str> {
    let policies = &world.tree.listeners[0].l7policies;
    policies
        .iter()
        .map(|policy| policy.common.name.as_str())
        .collect()
}

/// Action; whether it has a pool, a URL, a prefix; its code.
type Normalised = (Action, bool, bool, bool, Option<u16>);

#[test]
fn arguments_are_normalised_at_create() {
    let url = "https://example.com/x";
    let table: &[(Value, Result<Normalised, u16>)] = &[
        (json!({}), Ok((Action::Reject, false, false, false, None))),
        (
            json!({"redirect_url": url, "redirect_pool_id": "<pool>", "redirect_http_code": 301}),
            Ok((Action::Reject, false, false, false, None)),
        ),
        (
            json!({"action": "REDIRECT_TO_POOL", "redirect_pool_id": "<pool>", "redirect_http_code": 301}),
            Ok((Action::RedirectToPool, true, false, false, None)),
        ),
        (
            json!({"action": "REDIRECT_TO_URL", "redirect_pool_id": "<pool>"}),
            Err(400),
        ),
        (
            json!({"action": "REDIRECT_TO_URL", "redirect_url": url}),
            Ok((Action::RedirectToUrl, false, true, false, Some(302))),
        ),
        (
            json!({"action": "REDIRECT_TO_POOL", "redirect_prefix": url, "redirect_http_code": 308}),
            Err(400),
        ),
        (
            json!({"action": "REDIRECT_PREFIX", "redirect_prefix": url, "redirect_http_code": 308}),
            Ok((Action::RedirectPrefix, false, false, true, Some(308))),
        ),
        (
            json!({"redirect_pool_id": "33333333-3333-3333-3333-333333333333"}),
            Err(404),
        ),
        (
            json!({"action": "REDIRECT_TO_URL", "redirect_url": url, "redirect_pool_id": "<pool>"}),
            Err(400),
        ),
        (json!({"action": "REDIRECT_TO_URL"}), Err(400)),
        (json!({"action": "REDIRECT_TO_POOL"}), Err(400)),
        (json!({"action": "REDIRECT_PREFIX"}), Err(400)),
        (json!({"action": "<absent>"}), Err(400)),
        (
            json!({"action": "REDIRECT_TO_URL", "redirect_url": "ftp://a"}),
            Err(400),
        ),
        (
            json!({"action": "REDIRECT_TO_URL", "redirect_url": url, "redirect_http_code": 300}),
            Err(400),
        ),
        (
            json!({"redirect_pool_id": "11111111-1111-1111-1111-111111111111",
            "action": "REDIRECT_TO_POOL"}),
            Err(404),
        ),
        (json!({"position": 0}), Err(400)),
        (json!({"rules": [{}]}), Err(400)),
    ];
    for (fields, expected) in table {
        let (mut world, listener, pool) = with_listener();
        let mut fields = fields.clone();
        if fields["redirect_pool_id"] == "<pool>" {
            fields["redirect_pool_id"] = json!(pool);
        } else if fields["redirect_pool_id"].is_null() {
            fields.as_object_mut().unwrap().remove("redirect_pool_id");
        }
        let got = world.policy(listener, fields.clone());
        let got = got.map_err(|fault| code(&fault)).map(|id| {
            let (_, policy) = world.tree.l7policy(id).unwrap();
            (
                policy.action,
                policy.redirect_pool_id.is_some(),
                policy.redirect_url.is_some(),
                policy.redirect_prefix.is_some(),
                policy.redirect_http_code,
            )
        });
        assert_eq!(got, *expected, "{fields}");
    }
}

#[test]
fn a_put_keeps_what_it_does_not_name_but_forgets_the_code_of_a_new_target() {
    let (mut world, listener, pool) = with_listener();
    let id = world
        .policy(
            listener,
            json!({"action": "REDIRECT_TO_URL", "redirect_url": "http://a/",
            "redirect_http_code": 308}),
        )
        .unwrap();
    world.settle();
    let policy = |world: &World| world.tree.l7policy(id).unwrap().1.clone();
    world.put_policy(id, json!({"name": "n"})).unwrap();
    assert_eq!(policy(&world).redirect_http_code, Some(308));
    world.settle();
    world
        .put_policy(id, json!({"redirect_http_code": 307}))
        .unwrap();
    assert_eq!(policy(&world).redirect_http_code, Some(307));
    world.settle();
    world
        .put_policy(id, json!({"redirect_url": "http://b/"}))
        .unwrap();
    assert_eq!(policy(&world).redirect_http_code, Some(302));
    world.settle();
    world
        .put_policy(id, json!({"redirect_pool_id": pool}))
        .unwrap();
    assert_eq!(policy(&world).action, Action::RedirectToPool);
    assert_eq!(
        (
            policy(&world).redirect_url,
            policy(&world).redirect_http_code
        ),
        (None, None)
    );
    world.settle();
    assert_eq!(
        outcome(&world.put_policy(id, json!({"redirect_pool_id": null}))),
        400
    );
    assert_eq!(outcome(&world.put_policy(id, json!({"action": null}))), 400);
    assert_eq!(
        outcome(&world.put_policy(id, json!({}))),
        400,
        "the one resource without no-op"
    );
    world.put_policy(id, json!({"action": "REJECT"})).unwrap();
    assert_eq!(policy(&world).redirect_pool_id, None);
}

#[test]
fn positions_are_dense() {
    let (mut world, listener, _) = with_listener();
    let add = |world: &mut World, name: &str, position: Value| {
        let id = world
            .policy(listener, json!({"name": name, "position": position}))
            .unwrap();
        world.settle();
        id
    };
    add(&mut world, "a", json!("<absent>"));
    add(&mut world, "b", json!(2_147_483_647));
    let c = add(&mut world, "c", json!(1));
    let d = add(&mut world, "d", json!(2));
    assert_eq!(order(&world), ["c", "d", "a", "b"]);
    world.put_policy(c, json!({"position": 3})).unwrap();
    world.settle();
    assert_eq!(order(&world), ["d", "a", "c", "b"]);
    world.put_policy(d, json!({"position": 99})).unwrap();
    world.settle();
    assert_eq!(order(&world), ["a", "c", "b", "d"]);
    world.put_policy(d, json!({"name": "d2"})).unwrap();
    world.settle();
    assert_eq!(order(&world), ["a", "c", "b", "d2"]);
    world.run(|tree, ctx| tree.delete_l7policy(c, ctx)).unwrap();
    world.settle();
    assert_eq!(order(&world), ["a", "b", "d2"]);
}

#[test]
fn policies_need_an_http_listener() {
    let (mut world, _, _) = with_listener();
    let tcp = world
        .listener(json!({"protocol": "TCP", "protocol_port": 81}))
        .unwrap();
    world.settle();
    assert_eq!(outcome(&world.policy(tcp, json!({}))), 501);
}

#[test]
fn every_type_and_comparison_is_decided() {
    use {Compare as C, Kind as K};
    for kind in K::ALL {
        for compare in C::ALL {
            let expected = match kind {
                K::HostName | K::Path | K::Header | K::Cookie => 200,
                K::FileType if matches!(compare, C::EqualTo | C::Regex) => 200,
                K::SslConnHasCert | K::SslVerifyResult if *compare == C::EqualTo => 501,
                K::SslDnField => 501,
                _ => 400,
            };
            let key = match kind {
                K::Header | K::Cookie | K::SslDnField => json!("CN"),
                _ => Value::Null,
            };
            let value = match kind {
                K::SslConnHasCert => "True",
                K::SslVerifyResult => "0",
                _ => "x",
            };
            let (mut world, policy) = with_policy();
            let got = world.rule(
                policy,
                json!({"type": kind, "compare_type": compare,
                "key": key, "value": value}),
            );
            assert_eq!(outcome(&got), expected, "{kind} {compare}");
            assert_eq!(l7_rules::comparable(*kind, *compare), expected != 400);
        }
    }
}

#[test]
fn keys_and_values_are_checked_by_type() {
    let table: &[(&str, &str, Value, &str, u16)] = &[
        ("HEADER", "EQUAL_TO", json!("X-A"), "a", 200),
        ("HEADER", "EQUAL_TO", Value::Null, "a", 400),
        ("HEADER", "EQUAL_TO", json!("X A"), "a", 400),
        ("HEADER", "EQUAL_TO", json!("X-A"), "a b", 400),
        ("HEADER", "EQUAL_TO", json!("X-A"), "\"a b\"", 200),
        ("HEADER", "EQUAL_TO", json!("X-A"), "ä", 400),
        ("COOKIE", "EQUAL_TO", json!("c"), "a;b", 400),
        ("COOKIE", "EQUAL_TO", json!("c"), "a", 200),
        ("PATH", "EQUAL_TO", json!("ignored"), "/a", 200),
        ("PATH", "EQUAL_TO", Value::Null, "", 400),
        ("PATH", "EQUAL_TO", Value::Null, "/a\nb", 400),
        ("PATH", "REGEX", Value::Null, "^/(a|b)[0-9]+$", 200),
        ("PATH", "REGEX", Value::Null, "(", 400),
        ("PATH", "REGEX", Value::Null, "(?=a)b", 501),
        ("PATH", "REGEX", Value::Null, r"(a)\1", 501),
        ("PATH", "REGEX", Value::Null, "((a{99}){99}){99}", 501),
        ("SSL_CONN_HAS_CERT", "EQUAL_TO", json!("k"), "true", 400),
        ("SSL_CONN_HAS_CERT", "EQUAL_TO", Value::Null, "no", 400),
        ("SSL_VERIFY_RESULT", "EQUAL_TO", Value::Null, "-1", 400),
        ("SSL_DN_FIELD", "EQUAL_TO", json!("1CN"), "x", 400),
    ];
    for (kind, compare, key, value, expected) in table {
        let (mut world, policy) = with_policy();
        let got = world.rule(
            policy,
            json!({"type": kind, "compare_type": compare, "key": key,
            "value": value}),
        );
        assert_eq!(outcome(&got), *expected, "{kind} {compare} {key} {value:?}");
    }
}

#[test]
fn a_put_judges_the_merged_rule() {
    let (mut world, policy) = with_policy();
    let id = world
        .rule(policy, json!({"key": "stored", "invert": true}))
        .unwrap();
    assert_eq!(
        world.tree.l7rule(policy, id).unwrap().key.as_deref(),
        Some("stored")
    );
    world.settle();
    world
        .put_rule(policy, id, json!({"value": "/x", "invert": null}))
        .unwrap();
    let rule = world.tree.l7rule(policy, id).unwrap();
    assert_eq!(
        (rule.key.as_deref(), rule.invert, rule.value.as_str()),
        (None, false, "/x")
    );
    world.settle();
    assert_eq!(
        outcome(&world.put_rule(policy, id, json!({"type": "HEADER"}))),
        400
    );
    for field in ["type", "compare_type", "value"] {
        assert_eq!(
            outcome(&world.put_rule(policy, id, json!({field: null}))),
            400,
            "{field}"
        );
    }
}

#[test]
fn a_policy_has_at_most_fifty_rules() {
    let (mut world, policy) = with_policy();
    for _ in 0..50 {
        world.rule(policy, json!({})).unwrap();
        world.settle();
    }
    assert_eq!(outcome(&world.rule(policy, json!({}))), 409);
}

#[test]
fn a_rule_locks_its_policy_its_listener_and_the_load_balancer() {
    let (mut world, policy) = with_policy();
    let rule = world.rule(policy, json!({})).unwrap();
    let (listener, seen) = world.tree.l7policy(policy).unwrap();
    assert_eq!(seen.common.provisioning_status, Status::PendingUpdate);
    assert_eq!(listener.common.provisioning_status, Status::PendingUpdate);
    let fault = world.rule(policy, json!({})).unwrap_err();
    assert!(
        fault.public().starts_with("L7Policy "),
        "{}",
        fault.public()
    );
    world.settle();
    world
        .run(|tree, ctx| tree.delete_l7rule(policy, rule, ctx))
        .unwrap();
    world.settle();
    assert!(world.tree.l7rule(policy, rule).is_err());
}
