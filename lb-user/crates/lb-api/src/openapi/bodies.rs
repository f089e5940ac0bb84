//! Schemas of request bodies, from the readers themselves.

use lb_model::{
    availability_zone::{
        AvailabilityZoneCreate, AvailabilityZoneProfileCreate, AvailabilityZoneProfileUpdate,
        AvailabilityZoneUpdate,
    },
    fault::Fault,
    flavor::{FlavorCreate, FlavorProfileCreate, FlavorProfileUpdate, FlavorUpdate},
    provider::Provider,
    quota::QuotaUpdate,
    request::{
        HealthMonitorCreate, HealthMonitorUpdate, L7PolicyCreate, L7PolicyUpdate, L7RuleCreate,
        L7RuleUpdate, ListenerCreate, ListenerUpdate, LoadBalancerCreate, LoadBalancerUpdate,
        MemberCreate, MemberUpdate, PoolCreate, PoolUpdate,
        outline::{FieldOutline, Kind, outline},
    },
};
use serde_json::{Map, Value, json};

use super::words;

type Outline = Result<Vec<FieldOutline>, Fault>;

/// Every body's schema by its name. One that cannot be had is left out, which a test notices.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    for (name, root, fields) in outlines() {
        let Ok(fields) = fields else { continue };
        let inner = [
            ("LoadBalancerCreate", true),
            ("PoolCreate", false),
            ("PoolUpdate", false),
        ]
        .iter()
        .find(|(whole, _)| *whole == name);
        if let Some((_, is_tree)) = inner {
            nested(&mut schemas, name, root, &fields, *is_tree);
        }
        let object = object(name, root, &fields);
        let envelope = json!({
            "type": "object",
            "properties": {root: {"$ref": format!("#/components/schemas/{name}")}},
            "required": [root],
            "additionalProperties": false,
        });
        schemas.insert(name.to_owned(), object);
        schemas.insert(format!("{name}Body"), envelope);
    }
    schemas.extend(by_hand());
    schemas
}

/// Name, root key, and what its reader asks for.
fn outlines() -> Vec<(&'static str, &'static str, Outline)> {
    let id = "00000000-0000-4000-8000-000000000001";
    let pool = json!({"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "loadbalancer_id": id,
                      "session_persistence": {"type": "SOURCE_IP"}});
    let listener = json!({"protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": id});
    let member = json!({"address": "192.0.2.1", "protocol_port": 80});
    let monitor =
        json!({"pool_id": id, "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1});
    let rule = json!({"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"});
    let enabled = [Provider::new("amphora", "")];
    let profile = json!({"name": "n", "provider_name": "amphora", "flavor_data": "{}"});
    let zone_profile =
        json!({"name": "n", "provider_name": "amphora", "availability_zone_data": "{}"});
    macro_rules! body {
        ($reader:ident, $root:literal, $sample:expr) => {
            (stringify!($reader), $root, outline(&json!({$root: $sample}), $reader::parse))
        };
    }
    vec![
        body!(LoadBalancerCreate, "loadbalancer", tree()),
        body!(LoadBalancerUpdate, "loadbalancer", json!({})),
        body!(ListenerCreate, "listener", listener),
        body!(ListenerUpdate, "listener", json!({})),
        body!(PoolCreate, "pool", pool),
        body!(
            PoolUpdate,
            "pool",
            json!({"session_persistence": {"type": "SOURCE_IP"}})
        ),
        body!(MemberCreate, "member", member),
        body!(MemberUpdate, "member", json!({})),
        body!(HealthMonitorCreate, "healthmonitor", monitor),
        body!(HealthMonitorUpdate, "healthmonitor", json!({})),
        body!(
            L7PolicyCreate,
            "l7policy",
            json!({"listener_id": id, "action": "REJECT"})
        ),
        body!(L7PolicyUpdate, "l7policy", json!({"action": "REJECT"})),
        body!(L7RuleCreate, "rule", rule),
        body!(L7RuleUpdate, "rule", json!({})),
        body!(QuotaUpdate, "quota", json!({})),
        body!(
            FlavorCreate,
            "flavor",
            json!({"name": "n", "flavor_profile_id": id})
        ),
        body!(FlavorUpdate, "flavor", json!({})),
        (
            "FlavorProfileCreate",
            "flavorprofile",
            outline(&json!({"flavorprofile": profile}), |body| {
                FlavorProfileCreate::parse(body, &enabled)
            }),
        ),
        body!(FlavorProfileUpdate, "flavorprofile", json!({})),
        body!(
            AvailabilityZoneCreate,
            "availability_zone",
            json!({"name": "n", "availability_zone_profile_id": id})
        ),
        body!(AvailabilityZoneUpdate, "availability_zone", json!({})),
        (
            "AvailabilityZoneProfileCreate",
            "availability_zone_profile",
            outline(
                &json!({"availability_zone_profile": zone_profile}),
                |body| AvailabilityZoneProfileCreate::parse(body, &enabled),
            ),
        ),
        body!(
            AvailabilityZoneProfileUpdate,
            "availability_zone_profile",
            json!({})
        ),
    ]
}

/// A load balancer with one of everything that can stand below it.
fn tree() -> Value {
    let id = "00000000-0000-4000-8000-000000000001";
    let pool = |name: &str| {
        json!({
            "name": name, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": {"type": "SOURCE_IP"},
            "members": [{"address": "192.0.2.1", "protocol_port": 80}],
            "healthmonitor": {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1},
        })
    };
    json!({
        "vip_subnet_id": id,
        "additional_vips": [{"subnet_id": "00000000-0000-4000-8000-000000000002"}],
        "pools": [pool("a")],
        "listeners": [{
            "protocol": "HTTP", "protocol_port": 80, "default_pool": pool("b"),
            "l7policies": [{
                "action": "REDIRECT_TO_POOL", "redirect_pool": pool("c"),
                "rules": [{"type": "PATH", "compare_type": "EQUAL_TO", "value": "/"}],
            }],
        }],
    })
}

/// Fields that hold objects: of which reader, and whether a list of them.
const NESTED: &[(&str, &str, bool)] = &[
    ("additional_vips", "additional_vips", true),
    ("listeners", "listener", true),
    ("pools", "pool", true),
    ("default_pool", "pool", false),
    ("redirect_pool", "pool", false),
    ("l7policies", "l7policy", true),
    ("rules", "rule", true),
    ("members", "member", true),
    ("healthmonitor", "healthmonitor", false),
    ("session_persistence", "session_persistence", false),
];

fn part_name(whole: &str, part: &str) -> String {
    let parts = part.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    format!("{whole}{}", parts.collect::<String>())
}

fn nested(
    schemas: &mut Map<String, Value>,
    name: &str,
    root: &str,
    fields: &[FieldOutline],
    is_tree: bool,
) {
    let mut parts: Vec<&str> = fields.iter().map(|field| field.object).collect();
    parts.sort_unstable();
    parts.dedup();
    for part in parts {
        if part != root && (is_tree || part == "session_persistence") {
            schemas.insert(part_name(name, part), object(name, part, fields));
        }
    }
}

fn object(name: &str, part: &str, fields: &[FieldOutline]) -> Value {
    let own = fields.iter().filter(|field| field.object == part);
    let mut properties = Map::new();
    let mut required = Vec::new();
    let has = |part: &str| fields.iter().any(|field| field.object == part);
    for field in own {
        let inner = NESTED
            .iter()
            .find(|(key, inner, _)| *key == field.key && has(inner));
        let mut schema = match inner {
            Some((_, inner, is_list)) => {
                let reference =
                    json!({"$ref": format!("#/components/schemas/{}", part_name(name, inner))});
                if *is_list {
                    json!({"type": "array", "items": reference})
                } else {
                    reference
                }
            }
            None => kind(&field.kind, field.nullable),
        };
        if let Value::Object(map) = &mut schema {
            let (default, text) = words::of_field(part, field.key);
            if let Some(text) = text {
                map.insert("description".to_owned(), json!(text));
            }
            if let Some(default) = default.filter(|_| name.ends_with("Create")) {
                let default = serde_json::from_str(default).unwrap_or(Value::Null);
                map.insert("default".to_owned(), default);
            }
        }
        properties.insert(field.key.to_owned(), schema);
        if field.required {
            required.push(field.key);
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn kind(kind: &Kind, nullable: bool) -> Value {
    let typed = |name: &str| {
        if nullable {
            json!([name, "null"])
        } else {
            json!(name)
        }
    };
    match kind {
        Kind::Text { chars_max } => json!({"type": typed("string"), "maxLength": chars_max}),
        Kind::Integer { min, max } => {
            json!({"type": typed("integer"), "minimum": min, "maximum": max})
        }
        Kind::Boolean => json!({"type": typed("boolean")}),
        Kind::Choice(values) if nullable => {
            let values: Vec<Value> = values
                .iter()
                .map(|value| json!(value))
                .chain([Value::Null])
                .collect();
            json!({ "enum": values })
        }
        Kind::Choice(values) => json!({"type": "string", "enum": values}),
        Kind::Uuid => json!({"type": typed("string"), "format": "uuid"}),
        Kind::Address => {
            json!({"type": typed("string"), "description": "An IPv4 or IPv6 address."})
        }
        Kind::List => json!({"type": typed("array")}),
        Kind::Texts => {
            json!({"type": typed("array"), "items": {"type": "string", "maxLength": 255}})
        }
        Kind::Cidrs => json!({"type": typed("array"), "items": {"type": "string"}}),
        Kind::TextMap => json!({
            "type": typed("object"),
            "additionalProperties": {"type": "string", "maxLength": 255},
        }),
        Kind::Any => json!({}),
    }
}

/// Bodies that are read in another way.
fn by_hand() -> Map<String, Value> {
    let member = json!({"$ref": "#/components/schemas/MemberCreate"});
    let value = json!({
        "MemberBatchBody": {
            "type": "object",
            "properties": {"members": {"type": "array", "items": member}},
            "required": ["members"],
            "additionalProperties": false,
        },
        "ResizeBody": {
            "type": "object",
            "properties": {"new_flavor_id": {"type": "string", "format": "uuid"}},
            "required": ["new_flavor_id"],
            "additionalProperties": false,
        },
        "StatusResetBody": {
            "type": "object",
            "properties": {"status": {
                "type": "object",
                "properties": {"provisioning_status": {"enum": ["ACTIVE", "ERROR"]}},
                "required": ["provisioning_status"],
                "additionalProperties": false,
            }},
            "required": ["status"],
            "additionalProperties": false,
        },
        "SecretBody": {
            "type": "object",
            "properties": {
                "name": {"type": ["string", "null"], "maxLength": 255},
                "payload": {"type": "string"},
                "payload_content_type": {"type": "string", "maxLength": 255},
                "payload_content_encoding": {"type": ["string", "null"], "enum": ["base64", null]},
                "secret_type": {"type": ["string", "null"], "maxLength": 255},
                "algorithm": {"type": ["string", "null"], "maxLength": 255},
                "mode": {"type": ["string", "null"], "maxLength": 255},
                "bit_length": {"type": ["integer", "null"], "minimum": 0},
                "expiration": {"type": ["string", "null"], "maxLength": 255},
            },
        },
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
