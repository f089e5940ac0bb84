//! The status tree of `GET …/status` (contract 2.1): listeners, and the pools reached through them.
//! L7 policies are not in it, nor pools that no listener uses.

use serde_json::{Map, Value, json};

use super::with;
use crate::{
    resource::{Common, Listener, Pool},
    tree::Tree,
};

/// What goes under `statuses`.
#[must_use]
pub fn status_tree(tree: &Tree) -> Value {
    let root = &tree.load_balancer;
    let listeners: Value = tree
        .listeners
        .iter()
        .map(|listener| listener_node(tree, listener))
        .collect();
    let node = with(
        statuses(&root.common),
        json!({"id": root.id, "listeners": listeners}),
    );
    json!({ "loadbalancer": node })
}

fn listener_node(tree: &Tree, listener: &Listener) -> Value {
    let reached = |pool: &&Pool| {
        tree.listeners_using(pool.id)
            .any(|user| user.id == listener.id)
    };
    let pools: Value = tree.pools.iter().filter(reached).map(pool_node).collect();
    with(
        statuses(&listener.common),
        json!({"id": listener.id, "pools": pools}),
    )
}

fn pool_node(pool: &Pool) -> Value {
    let members: Value = pool
        .members
        .iter()
        .map(|member| {
            with(
                statuses(&member.common),
                json!({
                    "id": member.id,
                    "address": member.address,
                    "protocol_port": member.protocol_port,
                }),
            )
        })
        .collect();
    let mut object = statuses(&pool.common);
    if let Some(monitor) = &pool.health_monitor {
        let node = with(
            statuses(&monitor.common),
            json!({"id": monitor.id, "type": monitor.kind}),
        );
        object.insert("health_monitor".to_owned(), node);
    }
    with(object, json!({"id": pool.id, "members": members}))
}

fn statuses(common: &Common) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(common.name));
    object.insert(
        "operating_status".to_owned(),
        json!(common.operating_status),
    );
    object.insert(
        "provisioning_status".to_owned(),
        json!(common.provisioning_status),
    );
    object
}
