//! `pool`, `member` and `healthmonitor`.

use serde_json::{Value, json};

use super::{described, named, references, with, without};
use crate::{
    id::{HealthMonitorId, LoadBalancerId, PoolId},
    resource::{HealthMonitor, Member, Pool},
    tree::Tree,
    view::{HealthMonitorView, MemberView, PoolView},
};

/// A pool with references to its members.
#[must_use]
pub fn pool(tree: &Tree, pool: &Pool) -> Value {
    let around = Around {
        project_id: tree.project_id(),
        load_balancer_id: tree.id(),
        listeners: references(tree.listeners_using(pool.id).map(|listener| listener.id)),
        members: references(pool.members.iter().map(|member| member.id)),
        health_monitor: pool.health_monitor.as_ref().map(|monitor| monitor.id),
    };
    pool_object(pool, &around)
}

/// The same, of what a list knows.
#[must_use]
pub fn pool_view(view: &PoolView) -> Value {
    let around = Around {
        project_id: &view.project_id,
        load_balancer_id: view.load_balancer_id,
        listeners: references(&view.listeners),
        members: references(&view.members),
        health_monitor: view.health_monitor,
    };
    pool_object(&view.pool, &around)
}

/// What a pool's representation shows beside the pool.
struct Around<'a> {
    project_id: &'a str,
    load_balancer_id: LoadBalancerId,
    listeners: Value,
    members: Value,
    health_monitor: Option<HealthMonitorId>,
}

fn pool_object(pool: &Pool, around: &Around<'_>) -> Value {
    let mut object = described(&pool.common, around.project_id);
    if let Some(monitor) = around.health_monitor {
        object.insert("healthmonitor_id".to_owned(), json!(monitor));
    }
    with(
        object,
        json!({
            "id": pool.id,
            "protocol": pool.protocol,
            "lb_algorithm": pool.lb_algorithm,
            "session_persistence": pool.session_persistence,
            "loadbalancers": references([around.load_balancer_id]),
            "listeners": around.listeners,
            "members": around.members,
            "tls_enabled": pool.tls_enabled,
            "tls_container_ref": pool.tls_container_ref,
            "ca_tls_container_ref": pool.ca_tls_container_ref,
            "crl_container_ref": pool.crl_container_ref,
            "tls_ciphers": pool.tls_ciphers,
            "tls_versions": pool.tls_versions,
            "alpn_protocols": pool.alpn_protocols,
        }),
    )
}

/// A pool in the answer to a single-call create.
pub(super) fn expanded(tree: &Tree, pool: &Pool) -> Value {
    let mut value = without(
        self::pool(tree, pool),
        &["loadbalancers", "healthmonitor_id"],
    );
    let members: Value = pool.members.iter().map(|each| member(tree, each)).collect();
    let monitor = pool
        .health_monitor
        .as_ref()
        .map(|monitor| without(health_monitor(tree, pool, monitor), &["pools"]));
    if let Some(object) = value.as_object_mut() {
        object.insert("members".to_owned(), members);
        object.insert("healthmonitor".to_owned(), json!(monitor));
    }
    value
}

/// A member.
#[must_use]
pub fn member(tree: &Tree, member: &Member) -> Value {
    member_object(tree.project_id(), member)
}

/// The same, of what a list knows.
#[must_use]
pub fn member_view(view: &MemberView) -> Value {
    member_object(&view.project_id, &view.member)
}

fn member_object(project_id: &str, member: &Member) -> Value {
    with(
        named(&member.common, project_id),
        json!({
            "id": member.id,
            "address": member.address,
            "protocol_port": member.protocol_port,
            "weight": member.weight,
            "backup": member.backup,
            "subnet_id": member.subnet_id,
            "monitor_address": member.monitor_address,
            "monitor_port": member.monitor_port,
            "vnic_type": member.vnic_type,
        }),
    )
}

/// A health monitor.
#[must_use]
pub fn health_monitor(tree: &Tree, pool: &Pool, monitor: &HealthMonitor) -> Value {
    monitor_object(tree.project_id(), pool.id, monitor)
}

/// The same, of what a list knows.
#[must_use]
pub fn health_monitor_view(view: &HealthMonitorView) -> Value {
    monitor_object(&view.project_id, view.pool_id, &view.health_monitor)
}

fn monitor_object(project_id: &str, pool_id: PoolId, monitor: &HealthMonitor) -> Value {
    // Stored as text, because 1.1 is not a number one computes with; shown as the number it is.
    let version = match monitor.http_version.as_deref() {
        Some("1.0") => json!(1.0),
        Some("1.1") => json!(1.1),
        _ => Value::Null,
    };
    with(
        named(&monitor.common, project_id),
        json!({
            "id": monitor.id,
            "type": monitor.kind,
            "delay": monitor.delay,
            "timeout": monitor.timeout,
            "max_retries": monitor.max_retries,
            "max_retries_down": monitor.max_retries_down,
            "http_method": monitor.http_method,
            "url_path": monitor.url_path,
            "expected_codes": monitor.expected_codes,
            "http_version": version,
            "domain_name": monitor.domain_name,
            "pools": references([pool_id]),
        }),
    )
}
