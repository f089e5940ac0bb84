//! Requests of the old dialect in Octavia's words: pure.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::answer::{self, Refusal};

const COLLECTIONS: &[&str] = &[
    "loadbalancers",
    "listeners",
    "pools",
    "healthmonitors",
    "l7policies",
];
const PROTOCOLS: &[&str] = &["TCP", "HTTP", "HTTPS", "TERMINATED_HTTPS"];
const ALGORITHMS: &[&str] = &["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"];
const MONITORS: &[&str] = &["HTTP", "HTTPS", "PING", "TCP"];
/// Listener and pool protocols that go together.
const PAIRS: &[(&str, &str)] = &[
    ("TCP", "TCP"),
    ("HTTP", "HTTP"),
    ("HTTPS", "HTTPS"),
    ("TERMINATED_HTTPS", "HTTP"),
];
/// Characters of a reference to a secret.
const REFERENCE_MAX: usize = 128;

/// What of the old API a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Resource,
    Stats,
    Statuses(Uuid),
    Graph,
    Quota,
}

/// A request's place in the old API, and the path that serves it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Door {
    /// Octavia's path.
    pub(super) path: String,
    kind: Kind,
    creates: bool,
}

impl Door {
    /// `None`: the old API has no such path.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let path = path.strip_suffix(".json").unwrap_or(path);
        let rest = path.strip_prefix("/v2.0/")?;
        let segments: Vec<&str> = rest.split('/').collect();
        let (kind, path) = match segments.as_slice() {
            ["quotas", ..] => (Kind::Quota, format!("/v2.0/lbaas/{rest}")),
            ["lbaas", "graphs"] if method == Method::POST => {
                (Kind::Graph, "/v2.0/lbaas/loadbalancers".to_owned())
            }
            ["lbaas", "loadbalancers", _, "failover"] => return None,
            ["lbaas", "loadbalancers", id, "statuses"] => {
                (Kind::Statuses(id.parse().ok()?), format!("/v2.0/{rest}"))
            }
            ["lbaas", _, _, "stats"] => (Kind::Stats, format!("/v2.0/{rest}")),
            ["lbaas", collection, ..] if COLLECTIONS.contains(collection) => {
                (Kind::Resource, format!("/v2.0/{rest}"))
            }
            _ => return None,
        };
        Some(Self {
            path,
            kind,
            creates: method == Method::POST,
        })
    }

    /// The load balancer whose status tree is asked for.
    pub(super) fn tree_of(&self) -> Option<Uuid> {
        match self.kind {
            Kind::Statuses(id) => Some(id),
            _ => None,
        }
    }

    /// The status code of a success.
    pub(super) fn status(&self, octavia: StatusCode, has_body: bool) -> StatusCode {
        match (self.kind, octavia) {
            (Kind::Quota, StatusCode::ACCEPTED) if has_body => StatusCode::OK,
            (Kind::Quota, StatusCode::ACCEPTED) => StatusCode::NO_CONTENT,
            _ => octavia,
        }
    }

    /// The body in Octavia's words, when the old rules let it through.
    pub(super) fn body(&self, document: Value) -> Result<Value, Refusal> {
        match self.kind {
            Kind::Graph => {
                let inner = document.get("graph").and_then(|it| it.get("loadbalancer"));
                let inner = inner.ok_or_else(|| Refusal::bad("graph.loadbalancer is missing."))?;
                check_load_balancer(inner)?;
                check_tree(inner)?;
                Ok(json!({"loadbalancer": inner}))
            }
            Kind::Resource => {
                let object = document.as_object().and_then(|map| map.iter().next());
                if let Some((key, fields)) = object {
                    self.check(key, fields)?;
                }
                Ok(document)
            }
            Kind::Stats | Kind::Statuses(_) | Kind::Quota => Ok(document),
        }
    }

    fn check(&self, key: &str, fields: &Value) -> Result<(), Refusal> {
        match key {
            "loadbalancer" if self.creates => check_load_balancer(fields),
            "listener" => check_listener(fields),
            "pool" => check_pool(fields),
            "member" if self.creates => check_member(fields),
            "healthmonitor" => one_of(fields, "type", MONITORS),
            "l7policy" => check_policy(fields),
            "rule" => check_rule(fields),
            _ => Ok(()),
        }
    }

    /// A success in the old words.
    pub(super) fn answer(&self, value: Value) -> Value {
        let mut value = value;
        match self.kind {
            Kind::Graph => {
                let inner = value.get_mut("loadbalancer").map(Value::take);
                value = json!({"graph": {"loadbalancer": inner}});
            }
            Kind::Stats => answer::stats(&mut value),
            Kind::Quota => answer::quota(&mut value),
            Kind::Resource | Kind::Statuses(_) => {}
        }
        answer::links(&mut value);
        value
    }
}

/// Another object whose protocol decides.
#[derive(Debug)]
pub(super) struct Lookup {
    /// Below `/v2.0/lbaas/`.
    pub(super) path: String,
    protocol: String,
    is_listener: bool,
}

impl Lookup {
    /// What has to be known of another object before this body can be judged.
    pub(super) fn of(door: &Door, method: &Method, document: &Value) -> Option<Self> {
        if *method != Method::POST || door.kind != Kind::Resource {
            return None;
        }
        let text = |object: &str, key: &str| document.get(object)?.get(key)?.as_str();
        if let (Some(id), Some(protocol)) = (text("pool", "listener_id"), text("pool", "protocol"))
        {
            let id: Uuid = id.parse().ok()?;
            return Some(Self {
                path: format!("listeners/{id}"),
                protocol: protocol.to_owned(),
                is_listener: true,
            });
        }
        let id: Uuid = text("listener", "default_pool_id")?.parse().ok()?;
        Some(Self {
            path: format!("pools/{id}"),
            protocol: text("listener", "protocol")?.to_owned(),
            is_listener: false,
        })
    }

    /// Judges the pair; `other` is the answer to the look-up.
    pub(super) fn judge(&self, other: &Value) -> Result<(), Refusal> {
        let key = if self.is_listener { "listener" } else { "pool" };
        let found = other.get(key).and_then(|object| object.get("protocol"));
        let Some(found) = found.and_then(Value::as_str) else {
            return Ok(());
        };
        let (listener, pool) = if self.is_listener {
            (found, self.protocol.as_str())
        } else {
            (self.protocol.as_str(), found)
        };
        if PAIRS.contains(&(listener, pool)) {
            return Ok(());
        }
        Err(Refusal::new(
            StatusCode::CONFLICT,
            "ListenerPoolProtocolMismatch",
            format!("Listener protocol {listener} and pool protocol {pool} are not compatible."),
        ))
    }
}

fn check_load_balancer(fields: &Value) -> Result<(), Refusal> {
    if is_set(fields, "provider") && is_set(fields, "flavor_id") {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "ProviderFlavorConflict",
            "provider and flavor_id cannot be given together.".to_owned(),
        ));
    }
    if is_set(fields, "vip_subnet_id") || is_set(fields, "vip_network_id") {
        return Ok(());
    }
    Err(Refusal::bad("vip_subnet_id is missing."))
}

fn check_tree(load_balancer: &Value) -> Result<(), Refusal> {
    let list = |object: &Value, key: &str| {
        let items = object.get(key).and_then(Value::as_array);
        items.cloned().unwrap_or_default()
    };
    let pool = |pool: &Value| {
        check_pool(pool)?;
        if let Some(monitor) = pool.get("healthmonitor") {
            one_of(monitor, "type", MONITORS)?;
        }
        list(pool, "members").iter().try_for_each(check_member)
    };
    for listener in list(load_balancer, "listeners") {
        check_listener(&listener)?;
        listener.get("default_pool").map_or(Ok(()), pool)?;
        for policy in list(&listener, "l7policies") {
            list(&policy, "rules").iter().try_for_each(check_rule)?;
            policy.get("redirect_pool").map_or(Ok(()), pool)?;
        }
    }
    list(load_balancer, "pools").iter().try_for_each(pool)
}

fn check_listener(fields: &Value) -> Result<(), Refusal> {
    one_of(fields, "protocol", PROTOCOLS)?;
    let one = fields.get("default_tls_container_ref").into_iter();
    let more = fields.get("sni_container_refs").and_then(Value::as_array);
    let mut references = one
        .chain(more.into_iter().flatten())
        .filter_map(Value::as_str);
    if references.any(|text| text.chars().count() > REFERENCE_MAX) {
        return Err(Refusal::bad(format!(
            "A reference has at most {REFERENCE_MAX} characters."
        )));
    }
    Ok(())
}

fn check_pool(fields: &Value) -> Result<(), Refusal> {
    one_of(fields, "protocol", PROTOCOLS)?;
    one_of(fields, "lb_algorithm", ALGORITHMS)
}

fn check_member(fields: &Value) -> Result<(), Refusal> {
    if is_set(fields, "subnet_id") {
        return Ok(());
    }
    Err(Refusal::bad("subnet_id is missing."))
}

fn check_policy(fields: &Value) -> Result<(), Refusal> {
    let needs = match fields.get("action").and_then(Value::as_str) {
        Some("REDIRECT_TO_POOL") => "redirect_pool_id",
        Some("REDIRECT_TO_URL") => "redirect_url",
        _ => return Ok(()),
    };
    if is_set(fields, needs) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::CONFLICT,
        "L7PolicyRedirectMissing",
        format!("{needs} is missing."),
    ))
}

fn check_rule(fields: &Value) -> Result<(), Refusal> {
    let kind = fields.get("type").and_then(Value::as_str);
    if !matches!(kind, Some("HEADER" | "COOKIE")) || is_set(fields, "key") {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::NOT_FOUND,
        "L7RuleKeyMissing",
        "A rule of this type needs a key.".to_owned(),
    ))
}

fn one_of(fields: &Value, key: &str, known: &[&str]) -> Result<(), Refusal> {
    match fields.get(key).and_then(Value::as_str) {
        Some(text) if !known.contains(&text) => Err(Refusal::bad(format!(
            "Invalid input for {key}: one of {} is needed.",
            known.join(", ")
        ))),
        _ => Ok(()),
    }
}

fn is_set(fields: &Value, key: &str) -> bool {
    fields.get(key).is_some_and(|value| !value.is_null())
}
