//! What a change of a tree did to the statuses of its objects.

use std::collections::HashMap;

use lb_model::{
    enums::{OperatingStatus, ProvisioningStatus},
    resource::Common,
    tree::Tree,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{EventKind, NewEvent};

type Statuses = (ProvisioningStatus, OperatingStatus);

/// The event of a load balancer that was just made.
pub(crate) fn created(tree: &Tree) -> NewEvent {
    let changes: Vec<Value> = objects(tree).map(|object| object.shown()).collect();
    event(tree, &changes)
}

/// The event of a change; `None`: no status changed.
pub(crate) fn status_changes(before: &Tree, after: &Tree) -> Option<NewEvent> {
    let mut known: HashMap<Uuid, (&'static str, Statuses)> = objects(before)
        .map(|object| (object.id, (object.kind, object.statuses())))
        .collect();
    let mut changes = Vec::new();
    for object in objects(after) {
        let was = known.remove(&object.id);
        if was.is_none_or(|(_, statuses)| statuses != object.statuses()) {
            changes.push(object.shown());
        }
    }
    let mut gone: Vec<(Uuid, &str)> = known
        .into_iter()
        .map(|(id, (kind, _))| (id, kind))
        .collect();
    gone.sort_unstable();
    for (id, kind) in gone {
        changes.push(json!({
            "type": kind,
            "id": id,
            "provisioning_status": ProvisioningStatus::Deleted,
        }));
    }
    (!changes.is_empty()).then(|| event(after, &changes))
}

fn event(tree: &Tree, changes: &[Value]) -> NewEvent {
    let owner = &tree.load_balancer;
    NewEvent {
        project_id: owner.project_id.clone(),
        kind: EventKind::Status,
        load_balancer_id: Some(owner.id),
        message: String::new(),
        data: json!({ "changes": changes }),
    }
}

struct Object<'t> {
    kind: &'static str,
    id: Uuid,
    common: &'t Common,
}

impl Object<'_> {
    fn statuses(&self) -> Statuses {
        (
            self.common.provisioning_status,
            self.common.operating_status,
        )
    }

    fn shown(&self) -> Value {
        json!({
            "type": self.kind,
            "id": self.id,
            "name": self.common.name,
            "provisioning_status": self.common.provisioning_status,
            "operating_status": self.common.operating_status,
        })
    }
}

/// Every object of a tree, the load balancer first.
fn objects(tree: &Tree) -> impl Iterator<Item = Object<'_>> {
    fn object<'t>(kind: &'static str, id: Uuid, common: &'t Common) -> Object<'t> {
        Object { kind, id, common }
    }
    let owner = &tree.load_balancer;
    let listeners = tree.listeners.iter().flat_map(|listener| {
        let policies = listener.l7policies.iter().flat_map(|policy| {
            let rules = policy.rules.iter();
            let rules = rules.map(|rule| object("l7rule", rule.id.0, &rule.common));
            std::iter::once(object("l7policy", policy.id.0, &policy.common)).chain(rules)
        });
        std::iter::once(object("listener", listener.id.0, &listener.common)).chain(policies)
    });
    let pools = tree.pools.iter().flat_map(|pool| {
        let members = pool.members.iter();
        let members = members.map(|member| object("member", member.id.0, &member.common));
        let monitor = pool.health_monitor.iter();
        let monitor = monitor.map(|monitor| object("healthmonitor", monitor.id.0, &monitor.common));
        std::iter::once(object("pool", pool.id.0, &pool.common))
            .chain(members)
            .chain(monitor)
    });
    std::iter::once(object("loadbalancer", owner.id.0, &owner.common))
        .chain(listeners)
        .chain(pools)
}
