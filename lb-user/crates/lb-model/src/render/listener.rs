//! `listener`, `l7policy` and `rule`.

use serde_json::{Value, json};

use super::{described, references, unnamed, with, without};
use crate::{
    id::{L7PolicyId, L7RuleId, ListenerId, LoadBalancerId},
    resource::{L7Policy, L7Rule, Listener},
    tree::Tree,
    view::{L7PolicyView, L7RuleView, ListenerView},
};

/// A listener with references to its policies.
#[must_use]
pub fn listener(tree: &Tree, listener: &Listener) -> Value {
    let policies = listener.l7policies.iter().map(|policy| policy.id);
    listener_object(tree.project_id(), tree.id(), listener, policies)
}

/// The same, of what a list knows.
#[must_use]
pub fn listener_view(view: &ListenerView) -> Value {
    let policies = view.l7policies.iter().copied();
    listener_object(
        &view.project_id,
        view.load_balancer_id,
        &view.listener,
        policies,
    )
}

fn listener_object(
    project_id: &str,
    load_balancer_id: LoadBalancerId,
    listener: &Listener,
    policies: impl Iterator<Item = L7PolicyId>,
) -> Value {
    let cidrs = &listener.allowed_cidrs;
    let value = with(
        described(&listener.common, project_id),
        json!({
            "id": listener.id,
            "protocol": listener.protocol,
            "protocol_port": listener.protocol_port,
            "connection_limit": listener.connection_limit,
            "default_tls_container_ref": listener.default_tls_container_ref,
            "sni_container_refs": listener.sni_container_refs,
            "default_pool_id": listener.default_pool_id,
            "l7policies": references(policies),
            "insert_headers": listener.insert_headers,
            "loadbalancers": references([load_balancer_id]),
            "allowed_cidrs": (!cidrs.is_empty()).then_some(cidrs),
            "client_ca_tls_container_ref": listener.client_ca_tls_container_ref,
            "client_authentication": listener.client_authentication,
            "client_crl_container_ref": listener.client_crl_container_ref,
        }),
    );
    let timeouts_and_tls = json!({
        "timeout_client_data": listener.timeout_client_data,
        "timeout_member_connect": listener.timeout_member_connect,
        "timeout_member_data": listener.timeout_member_data,
        "timeout_tcp_inspect": listener.timeout_tcp_inspect,
        "tls_ciphers": listener.tls_ciphers,
        "tls_versions": listener.tls_versions,
        "alpn_protocols": listener.alpn_protocols,
        "hsts_max_age": listener.hsts_max_age,
        "hsts_include_subdomains": listener.hsts_include_subdomains,
        "hsts_preload": listener.hsts_preload,
    });
    match value {
        Value::Object(object) => with(object, timeouts_and_tls),
        other => other,
    }
}

/// A listener in the answer to a single-call create.
pub(super) fn expanded(tree: &Tree, listener: &Listener) -> Value {
    let mut value = without(self::listener(tree, listener), &["loadbalancers"]);
    let policies = listener.l7policies.iter().map(|policy| {
        let mut value = l7policy(tree, listener, policy);
        let rules: Value = policy.rules.iter().map(|rule| l7rule(tree, rule)).collect();
        if let Some(object) = value.as_object_mut() {
            object.insert("rules".to_owned(), rules);
        }
        value
    });
    let policies: Value = policies.collect();
    if let Some(object) = value.as_object_mut() {
        object.insert("l7policies".to_owned(), policies);
    }
    value
}

/// A policy with references to its rules. Its position is its place, counted from 1.
#[must_use]
pub fn l7policy(tree: &Tree, listener: &Listener, policy: &L7Policy) -> Value {
    let place = listener
        .l7policies
        .iter()
        .position(|other| other.id == policy.id);
    let position = place.map(|place| place.saturating_add(1));
    let rules = policy.rules.iter().map(|rule| rule.id);
    policy_object(tree.project_id(), listener.id, policy, position, rules)
}

/// The same, of what a list knows.
#[must_use]
pub fn l7policy_view(view: &L7PolicyView) -> Value {
    let rules = view.rules.iter().copied();
    let position = usize::try_from(view.position).ok();
    policy_object(
        &view.project_id,
        view.listener_id,
        &view.l7policy,
        position,
        rules,
    )
}

fn policy_object(
    project_id: &str,
    listener_id: ListenerId,
    policy: &L7Policy,
    position: Option<usize>,
    rules: impl Iterator<Item = L7RuleId>,
) -> Value {
    with(
        described(&policy.common, project_id),
        json!({
            "id": policy.id,
            "listener_id": listener_id,
            "action": policy.action,
            "redirect_pool_id": policy.redirect_pool_id,
            "redirect_url": policy.redirect_url,
            "redirect_prefix": policy.redirect_prefix,
            "redirect_http_code": policy.redirect_http_code,
            "position": position,
            "rules": references(rules),
        }),
    )
}

/// A rule.
#[must_use]
pub fn l7rule(tree: &Tree, rule: &L7Rule) -> Value {
    rule_object(tree.project_id(), rule)
}

/// The same, of what a list knows.
#[must_use]
pub fn l7rule_view(view: &L7RuleView) -> Value {
    rule_object(&view.project_id, &view.l7rule)
}

fn rule_object(project_id: &str, rule: &L7Rule) -> Value {
    with(
        unnamed(&rule.common, project_id),
        json!({
            "id": rule.id,
            "type": rule.kind,
            "compare_type": rule.compare_type,
            "key": rule.key,
            "value": rule.value,
            "invert": rule.invert,
        }),
    )
}
