//! Answers in the old dialect's words: pure.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use lb_model::{
    resource::{Common, L7Policy},
    tree::Tree,
};
use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// Resource classes of the old quotas.
const QUOTAS: &[&str] = &[
    "loadbalancer",
    "listener",
    "pool",
    "member",
    "healthmonitor",
    "l7policy",
    "tenant_id",
    "project_id",
];

/// A failure, as Neutron tells it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, kind: &'static str, message: String) -> Self {
        Self {
            status,
            kind,
            message,
        }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message.into())
    }

    pub(super) fn no_such_url() -> Self {
        let message = "The resource could not be found.".to_owned();
        Self::new(StatusCode::NOT_FOUND, "HTTPNotFound", message)
    }

    pub(super) fn of(error: &ApiError) -> Self {
        Self::told(error.status, error.text.clone())
    }

    /// What Octavia's body of a failure says.
    pub(super) fn from_octavia(status: StatusCode, body: &Value) -> Self {
        let texts = ["faultstring", "description", "message", "title"].into_iter();
        let mut texts = texts.filter_map(|key| body.get(key)?.as_str());
        let text = texts.find(|text| !text.is_empty()).unwrap_or_default();
        Self::told(status, text.to_owned())
    }

    fn told(status: StatusCode, message: String) -> Self {
        let (status, kind) = match status.as_u16() {
            400 if message.contains("while the listener protocol is") => {
                (StatusCode::CONFLICT, "ListenerPoolProtocolMismatch")
            }
            400 => (status, "BadRequest"),
            403 if message.to_lowercase().contains("quota") => (StatusCode::CONFLICT, "OverQuota"),
            403 => (status, "PolicyNotAuthorized"),
            404 => (status, "EntityNotFound"),
            409 if message.contains("immutable") => (status, "StateInvalid"),
            409 => (status, "Conflict"),
            501 => (status, "UnsupportedOption"),
            503 => (status, "ServiceUnavailable"),
            _ => (status, "HTTPError"),
        };
        Self::new(status, kind, message)
    }

    pub(super) fn body(&self) -> Value {
        json!({"NeutronError": {
            "type": self.kind,
            "message": self.message,
            "detail": "",
        }})
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

/// The old counters are four.
pub(super) fn stats(value: &mut Value) {
    if let Some(stats) = value.get_mut("stats").and_then(Value::as_object_mut) {
        stats.remove("request_errors");
    }
}

/// Quotas of the classes that the old service knew.
pub(super) fn quota(value: &mut Value) {
    let keep = |quota: &mut Value| {
        if let Some(map) = quota.as_object_mut() {
            map.retain(|key, _| QUOTAS.contains(&key.as_str()));
        }
    };
    if let Some(quota) = value.get_mut("quota") {
        keep(quota);
    }
    if let Some(quotas) = value.get_mut("quotas").and_then(Value::as_array_mut) {
        quotas.iter_mut().for_each(keep);
    }
}

/// Links lead back to this door.
pub(super) fn links(value: &mut Value) {
    let Some(map) = value.as_object_mut() else {
        return;
    };
    let lists = map.iter_mut().filter(|(key, _)| key.ends_with("_links"));
    for link in lists.filter_map(|(_, list)| list.as_array_mut()).flatten() {
        if let Some(Value::String(href)) = link.get_mut("href") {
            *href = href
                .replacen("/v2.0/lbaas/quotas", "/neutron/v2.0/quotas", 1)
                .replacen("/v2.0/lbaas/", "/neutron/v2.0/lbaas/", 1)
                .replacen("/neutron/neutron/", "/neutron/", 1);
        }
    }
}

/// The status tree: the monitor's old key, and the policies that Octavia's tree leaves out.
pub(super) fn statuses(value: Value, tree: Option<&Tree>) -> Value {
    let mut value = value;
    let listeners = value.pointer_mut("/statuses/loadbalancer/listeners");
    for listener in listeners
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        for pool in objects(listener.get_mut("pools")) {
            if let Some(monitor) = pool.remove("health_monitor") {
                pool.insert("healthmonitor".to_owned(), monitor);
            }
        }
        let id = listener
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let known = tree.and_then(|tree| {
            let mut listeners = tree.listeners.iter();
            listeners.find(|known| known.id.to_string() == id)
        });
        let policies = known.into_iter().flat_map(|known| &known.l7policies);
        let policies: Vec<Value> = policies.map(policy_node).collect();
        if let Some(map) = listener.as_object_mut() {
            map.insert("l7policies".to_owned(), Value::Array(policies));
        }
    }
    value
}

fn objects(list: Option<&mut Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let items = list.and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut)
}

fn policy_node(policy: &L7Policy) -> Value {
    let rules = policy.rules.iter().map(|rule| {
        json!({
            "id": rule.id,
            "type": rule.kind,
            "provisioning_status": rule.common.provisioning_status,
        })
    });
    let mut node = named(&policy.common);
    node.insert("id".to_owned(), json!(policy.id));
    node.insert("action".to_owned(), json!(policy.action));
    node.insert("rules".to_owned(), rules.collect());
    if let Some(pool) = policy.redirect_pool_id {
        node.insert("redirect_pool".to_owned(), json!({"id": pool}));
    }
    Value::Object(node)
}

fn named(common: &Common) -> Map<String, Value> {
    let mut node = Map::new();
    node.insert("name".to_owned(), json!(common.name));
    node.insert(
        "provisioning_status".to_owned(),
        json!(common.provisioning_status),
    );
    node
}
