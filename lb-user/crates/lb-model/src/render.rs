//! Resources as clients see them (contract Appendix A): the objects without their envelope.
//!
//! Every key is always there, with two exceptions: a pool's `healthmonitor_id` and the status
//! tree's `health_monitor` are absent when there is no monitor. `tenant_id` repeats `project_id`.
//! Timestamps have no fraction.

mod listener;
mod load_balancer;
mod packed;
mod pool;
mod status_tree;

pub use self::{
    listener::{l7policy, l7policy_view, l7rule, l7rule_view, listener, listener_view},
    load_balancer::{LoadBalancerDocument, amphora, load_balancer, load_balancer_expanded, stats},
    packed::{PackedLoadBalancer, pack},
    pool::{health_monitor, health_monitor_view, member, member_view, pool, pool_view},
    status_tree::status_tree,
};

use serde_json::{Map, Value, json};

use crate::resource::Common;

/// A JSON object under construction.
type Object = Map<String, Value>;

/// Ids as Octavia lists them: `[{"id": …}]`.
fn references<T: std::fmt::Display>(ids: impl IntoIterator<Item = T>) -> Value {
    ids.into_iter()
        .map(|id| json!({"id": id.to_string()}))
        .collect()
}

/// The fields every object has but for name and description.
fn unnamed(common: &Common, project_id: &str) -> Object {
    let mut object = Object::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("admin_state_up", json!(common.admin_state_up));
    put("provisioning_status", json!(common.provisioning_status));
    put("operating_status", json!(common.operating_status));
    put("created_at", json!(common.created_at));
    put("updated_at", json!(common.updated_at));
    put("tags", json!(common.tags));
    put("project_id", json!(project_id));
    put("tenant_id", json!(project_id));
    object
}

/// The fields of members and monitors.
fn named(common: &Common, project_id: &str) -> Object {
    let mut object = unnamed(common, project_id);
    object.insert("name".to_owned(), json!(common.name));
    object
}

/// The fields of everything else.
fn described(common: &Common, project_id: &str) -> Object {
    let mut object = named(common, project_id);
    object.insert("description".to_owned(), json!(common.description));
    object
}

/// Adds the fields of a JSON object literal.
fn with(mut object: Object, fields: Value) -> Value {
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

/// Takes keys out that an expanded answer does not have.
fn without(mut value: Value, keys: &[&str]) -> Value {
    if let Some(object) = value.as_object_mut() {
        for key in keys {
            object.remove(*key);
        }
    }
    value
}
